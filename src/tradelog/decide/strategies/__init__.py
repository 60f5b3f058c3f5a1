"""Strategies are plugins: entry points of the group ``tradelog.strategies``, by their names."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from tradelog.decide.strategies.base import Strategy
from tradelog.errors import ConfigError, NotFound

GROUP = "tradelog.strategies"
# What a plugin's class must have, beside ``__init__(parameters)``.
MEMBERS = ("name", "version", "kind", "Parameters", "window_days", "evaluate")


@dataclass(frozen=True, slots=True)
class Installed:
    """A strategy as it is installed; ``error`` says why it cannot be loaded."""

    name: str
    package: str
    version: str | None
    error: str | None


def load(name: str) -> type[Strategy]:
    """A strategy's class. Raises NotFound for an unknown name, ConfigError for an unusable plugin."""
    plugins = entry_points(group=GROUP)
    if name not in plugins.names:
        near = difflib.get_close_matches(name, sorted(plugins.names), n=1, cutoff=0.0)
        raise NotFound(
            f"no strategy is named {name!r}",
            hint=f"did you mean {near[0]!r}? tradelog run-strategy --list" if near else None,
        )
    return _load(plugins[name])


def installed() -> list[Installed]:
    """All strategies by name, also those that cannot be loaded."""
    listed = []
    for plugin in sorted(entry_points(group=GROUP), key=lambda item: item.name):
        package = plugin.dist.name if plugin.dist is not None else plugin.module
        try:
            listed.append(Installed(plugin.name, package, _load(plugin).version, None))
        except ConfigError as error:
            listed.append(Installed(plugin.name, package, None, error.message))
    return listed


def _load(plugin: EntryPoint) -> type[Strategy]:
    where = f"the strategy {plugin.name!r}"
    try:
        strategy = plugin.load()
    except Exception as error:  # whatever a plugin raises is named as the plugin's
        raise ConfigError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    missing = [name for name in MEMBERS if not hasattr(strategy, name)]
    if not isinstance(strategy, type) or missing:
        what = f"lacks {', '.join(missing)}" if missing else "is no class"
        raise ConfigError(f"{where} {what}", hint="see tradelog.decide.strategies.base.Strategy")
    parameters: Any = strategy.Parameters  # type: ignore[attr-defined]
    if not is_dataclass(parameters) or not parameters.__dataclass_params__.frozen:  # type: ignore[union-attr]
        raise ConfigError(f"{where}: its Parameters are no frozen dataclass")
    if strategy.name != plugin.name:  # type: ignore[attr-defined]
        raise ConfigError(f"{where} calls itself {strategy.name!r}")  # type: ignore[attr-defined]
    return strategy
