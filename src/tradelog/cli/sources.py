"""tradelog sources"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tradelog.cli.context import load_config, open_reader
from tradelog.cli.render import Column, as_json, heading, is_terminal, note, pairs, table
from tradelog.config.load import secret
from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.errors import StoreMissing

# On a terminal one block per source: no line is wide enough for origin and terms side by side.
COLUMNS = (
    Column("name", "source"),
    Column("serves", "serves"),
    Column("used", "used for"),
    Column("origin", "origin"),
    Column("terms", "terms"),
    Column("key", "key"),
    Column("last", "last run"),
)


def command(output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the sources: origin, terms, key needed, last run."""
    from tradelog.ingest import sources

    config = load_config()
    sources.check_sections(config.sources)
    rows = [
        {
            "name": source.name,
            "serves": sorted(source.commands),
            "used_for": sorted(
                command for command, name in config.sources.use.items() if name == source.name
            ),
            "origin": source.origin,
            "terms": source.terms,
            "key_needed": source.key,
            "key_is_set": None if source.key is None else secret(source.key) is not None,
            "last_run": _last_run(config, sorted(source.commands.values())),
        }
        for source in sources.installed()
    ]
    if output_json:
        as_json({"sources": rows})
        return
    for row in rows:
        _decorate(row, config.report.timezone)
    if is_terminal():
        for row in rows:
            heading(str(row["name"]))
            pairs([(column.title, row[column.key]) for column in COLUMNS[1:]])
    else:
        table(COLUMNS, rows)
    note("which source a command uses: [sources.COMMAND] use in tradelog.toml; any file format: --file PATH")


def _last_run(config: Config, feeds: list[str]) -> dict[str, Any] | None:
    from tradelog.report import runs as report

    try:
        with open_reader(config) as reader:
            return report.last_of(reader, feeds)
    except StoreMissing:
        return None


def _decorate(row: dict[str, Any], zone: str) -> None:
    row["serves"] = ", ".join(row["serves"])
    row["used"] = ", ".join(row["used_for"])
    row["key"] = "none needed" if row["key_needed"] is None else row["key_needed"]
    if row["key_is_set"] is not None:
        row["key"] += " (set)" if row["key_is_set"] else " (not set)"
    last = row["last_run"]
    row["last"] = "never" if last is None else f"{last['status']} {clock.local(last['started_at'], zone)}"
