"""One module per source: the forms of its rows, and how it is fetched.

A fetch command reads files of every known form of its records, and queries the one source that is
configured for it. Sources are plugins: entry points of the group ``tradelog.sources``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from tradelog.config.schema import SourcesConfig
from tradelog.errors import ConfigError
from tradelog.ingest.run import IngestionRun
from tradelog.ingest.sources.base import Source

GROUP = "tradelog.sources"
# The module that reads the files of each command.
COMMANDS = {"congress": "congress", "insider": "insider", "committees": "legislators"}


def file_reader(command: str) -> Callable[[IngestionRun, Path], None]:
    """What reads a file for a fetch command."""
    reader: Callable[[IngestionRun, Path], None] = import_module(f"{__name__}.{COMMANDS[command]}").read_file
    return reader


def installed() -> list[Source]:
    """All sources, by name. Raises ConfigError for a plugin that cannot be loaded."""
    return [load(name) for name in sorted(entry_points(group=GROUP).names)]


def load(name: str) -> Source:
    """One source by its name. Raises ConfigError where there is none, or where it cannot be loaded."""
    plugins = entry_points(group=GROUP)
    if name not in plugins.names:
        near = difflib.get_close_matches(name, sorted(plugins.names), n=1, cutoff=0.0)
        raise ConfigError(
            f"no source is named {name!r}", hint=f"did you mean {near[0]!r}? tradelog sources lists all"
        )
    try:
        source = plugins[name].load()
    except Exception as error:  # whatever a plugin raises is named as the plugin's
        raise ConfigError(f"the source {name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(source, Source) or source.name != name:
        raise ConfigError(f"the entry point {name!r} of {GROUP} is no Source of that name")
    return source


def check_sections(config: SourcesConfig) -> None:
    """Raise ConfigError for a ``[sources.NAME]`` of which no source is known."""
    names = {*COMMANDS, *entry_points(group=GROUP).names}
    for name in config.tables:
        if name not in names:
            near = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.0)
            raise ConfigError(f"unknown key {name!r} in [sources]", hint=f"did you mean {near[0]!r}?")
