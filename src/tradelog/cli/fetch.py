"""tradelog fetch"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tradelog.cli.context import load_config
from tradelog.cli.render import as_json, line, note
from tradelog.config.load import secret
from tradelog.config.schema import DEFAULT_SOURCES, Config
from tradelog.domain import clock
from tradelog.domain.text import counted
from tradelog.errors import CredentialsMissing, UsageError

if TYPE_CHECKING:
    from tradelog.ingest.run import IngestionRun
    from tradelog.ingest.sources.base import Progress, Request, Source
    from tradelog.store.writer import Writer

WHAT = tuple(DEFAULT_SOURCES)


def command(
    what: Annotated[str, typer.Argument(help="What to fetch: congress, insider or committees.")],
    file: Annotated[Path | None, typer.Option(help="Read this file instead of the source.")] = None,
    since: Annotated[str | None, typer.Option(metavar="DAY", help="First day, YYYY-MM-DD.")] = None,
    until: Annotated[str | None, typer.Option(metavar="DAY", help="Last day, inclusive.")] = None,
    symbol: Annotated[str | None, typer.Option(help="One ticker only.")] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Everything that the source has, not only what is new.")
    ] = False,
    complete: Annotated[
        bool, typer.Option("--complete", help="The file lists everything: what it lacks is marked gone.")
    ] = False,
    allow_shrink: Annotated[
        bool, typer.Option("--allow-shrink", help="Accept a complete listing that lost many rows.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and count; write nothing, log nothing.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing on success.")] = False,
    output_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON.")] = False,
) -> None:
    """Fetch disclosures under an ingestion run: tradelog fetch congress."""
    if what not in WHAT:
        raise UsageError(f"{what!r} cannot be fetched", hint=f"known: {', '.join(WHAT)}")
    if complete and file is None:
        raise UsageError("--complete goes with --file", hint="each source declares what it lists")
    bounds = _bounds(since, until, symbol, history=history)
    set_options = {name: value for name, value in bounds.items() if value}
    if file is not None and set_options:
        raise UsageError(
            f"--{next(iter(set_options))} does not go with --file", hint="a file is read as a whole"
        )
    config = load_config()
    from tradelog.ingest import sources
    from tradelog.ingest.sources.base import Request

    sources.check_sections(config.sources)
    how = {"allow_shrink": allow_shrink, "dry": dry_run}
    if file is not None:
        params = {"file": _readable(file), "complete": complete}
        with _writer(config, dry=dry_run) as writer:
            with _run(writer, what, "file", params, complete=complete, **how) as run:
                sources.file_reader(what)(run, file)
            _report([run], quiet=quiet, output_json=output_json)
        return
    source = _source(config, what, set_options)
    settings = config.sources.settings(source.name, source.settings)
    request = Request(what, settings, _key(source), **bounds)
    runs = []
    with _writer(config, dry=dry_run) as writer, _progress(quiet=quiet) as progress:
        for part in source.parts(writer, replace(request, progress=progress)):
            params = {"source": source.name, **_written(part)}
            with _run(writer, what, source.commands[what], params, **how) as run:
                source.fetch(run, part)
            runs.append(run)
            if not output_json:
                _report([run], quiet=quiet, output_json=False)
    if output_json:
        _report(runs, quiet=quiet, output_json=True)


def _report(runs: list[IngestionRun], *, quiet: bool, output_json: bool) -> None:
    """Print the counts of runs; as JSON one run as it is, several as a list."""
    if output_json:
        summaries = [_summary(run) for run in runs]
        as_json(summaries[0] if len(summaries) == 1 else {"runs": summaries})
    elif not quiet:
        for run in runs:
            _print(run)


def _run(writer: Writer, what: str, feed: str, params: dict[str, Any], **how: bool) -> IngestionRun:
    from tradelog.ingest.run import IngestionRun

    return IngestionRun(writer, f"data_fetch:{what}", feed, params, **how)


def _source(config: Config, what: str, options: dict[str, Any]) -> Source:
    """The source that is configured for a command. Raises ConfigError, UsageError."""
    from tradelog.errors import ConfigError
    from tradelog.ingest import sources

    name = config.sources.use[what]
    source = sources.load(name)
    if what not in source.commands:
        able = ", ".join(item.name for item in sources.installed() if what in item.commands)
        raise ConfigError(
            f"[sources.{what}] use = {name!r}: that source does not offer {what}", hint=f"known: {able}"
        )
    for option in options:
        if option not in source.options.get(what, ()):
            raise UsageError(f"{name} has no --{option} for {what}")
    return source


def _key(source: Source) -> str | None:
    """The secret of a source. Raises CredentialsMissing with the ways on."""
    if source.key is None:
        return None
    key = secret(source.key)
    if key is None:
        raise CredentialsMissing(
            f"{source.name} needs a key, and {source.key} is not set",
            hint=f"export {source.key}=..., read a file you have: --file PATH, or choose another source:"
            " tradelog sources",
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise CredentialsMissing(
            f"{source.key} holds characters that no key has", hint="is it one line, and the key alone?"
        )
    return key


def _symbol(text: str) -> str:
    ticker = text.strip().upper()
    if len(ticker) > 20 or not re.fullmatch(r"[A-Z0-9]+([.\-/][A-Z0-9]+)*", ticker):
        raise UsageError(f"{text!r} is no ticker", hint="such as AAPL or BRK.B")
    return ticker


def _bounds(since: str | None, until: str | None, symbol: str | None, *, history: bool) -> dict[str, Any]:
    """The bounds of a request. Raises UsageError where they contradict each other."""
    first = None if since is None else clock.parse_day(since)
    last = None if until is None else clock.parse_day(until)
    ticker = None if symbol is None else _symbol(symbol)
    if first is not None and last is not None and first > last:
        raise UsageError(f"--since {first} is after --until {last}")
    if ticker and history:
        raise UsageError("--history is of all symbols", hint="leave one of --symbol and --history out")
    return {"since": first, "until": last, "symbol": ticker, "history": history}


def _readable(path: Path) -> str:
    """A path as text; bytes that are not UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def _written(request: Request) -> dict[str, Any]:
    """The parameters of a request that are set."""
    names = ("since", "until", "symbol", "history", "goes_on")
    parameters = {name: getattr(request, name) for name in names}
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in parameters.items()
        if value
    }


@contextmanager
def _writer(config: Config, *, dry: bool) -> Iterator[Writer]:
    """The store to write to; for a dry run one that cannot be written, or a passing one."""
    from tradelog.store.opening import open_dry, open_writer

    if dry:
        with open_dry(config.store_path) as passing:
            yield passing
        return
    writer = open_writer(config.store_path)
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Progress]:
    """A bar on stderr where that is a terminal, and nothing else."""
    from tradelog.ingest.sources.base import Unwatched

    if quiet or not sys.stderr.isatty():
        yield Unwatched()
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), transient=True) as bars:
        yield _Bar(bars)


class _Bar:
    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._task = bars.add_task("fetching", total=None)
        self._steps = 0

    def expect(self, steps: int) -> None:
        self._steps += steps
        self._bars.update(self._task, total=self._steps)

    def advance(self) -> None:
        self._bars.advance(self._task)


def _summary(run: IngestionRun) -> dict[str, Any]:
    age = _age(run)
    return {
        "run_id": None if run.dry else run.run_id,
        "data_source": run.data_source,
        **run.counts.columns(),
        "unresolved_members": run.unresolved,
        "data_age_days": None if age is None else age.days,
    }


def _print(run: IngestionRun) -> None:
    counts = run.counts
    gone = f", {counts.gone} gone" if counts.gone else ""
    head = "dry run, nothing written" if run.dry else f"{run.run_id} completed"
    line(
        f"{head}: {counts.fetched} fetched from {run.data_source}:"
        f" {counts.created} created, {counts.updated} updated, {len(counts.unchanged)} unchanged,"
        f" {counts.quarantined} quarantined{gone}"
    )
    same = run.api_calls[-1].get("same_as") if run.api_calls else None
    if same:
        note(f"the file is byte for byte what {same} read")
    if run.marks_gone and counts.quarantined:
        note("some rows could not be read, so nothing was marked gone")
    if run.unresolved:
        note(
            f"{counted(len(run.unresolved), 'name')} of members not resolved to a person:"
            " tradelog people --unresolved lists them"
        )
    age = _age(run)
    if age is not None:
        note(f"the source last changed its seats {age.days} days ago")


def _age(run: IngestionRun) -> timedelta | None:
    from tradelog.ingest.sources import legislators

    return legislators.data_age(run) if run.data_source == legislators.FEED else None
