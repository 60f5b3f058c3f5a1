"""tradelog known"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tradelog.cli import render
from tradelog.cli.context import load_config, open_reader
from tradelog.cli.render import Column
from tradelog.domain import clock
from tradelog.domain.text import counted
from tradelog.report import known as report

COLUMNS = (
    Column("since", "known since"),
    Column("version_id", "version", right=True),
    Column("run_id", "run", style="id"),
    Column("member", "who", flex=True),
    Column("person", "person"),
    Column("side", "type"),
    Column("event_date", "traded"),
    Column("filed_as_given", "disclosed"),
    Column("disclosure_lag_days", "lag, days", right=True),
    Column("amount", "amount, $", right=True),
    Column("remarks", "remarks", flex=True),
)


def command(
    symbol: Annotated[str, typer.Argument(help="The symbol, such as AAPL.")],
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="A moment; without a zone it is in the report's zone."),
    ] = None,
    as_filed: Annotated[
        bool, typer.Option("--as-filed", help="By the source's filing time instead of ours.")
    ] = False,
    show_all: Annotated[bool, typer.Option("--all", help="All rows, not the newest 50.")] = False,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what was known of a symbol at a moment, and since when."""
    config = load_config()
    zone = config.report.timezone
    moment = clock.now() if at is None else clock.parse_moment(at, zone)
    with open_reader(config) as reader:
        result = report.known(
            reader, symbol, moment, as_filed=as_filed, limit=-1 if show_all or output_json else report.NEWEST
        )
        unseen = 0
        if not result.total and not as_filed:
            unseen = report.known(reader, symbol, moment, as_filed=True, limit=0).total
    if output_json:
        render.as_json(
            {
                "symbol": result.symbol,
                "at": result.at,
                "by": "filing time of the source" if result.as_filed else "first seen by us",
                "total": result.total,
                "versions": result.versions,
            }
        )
        return
    how = "FILED by then, whenever we saw it" if result.as_filed else "known to us by then"
    render.heading(
        f"{result.symbol} at {clock.local(result.at, zone)} ({zone}): {counted(result.total, 'record')} {how}"
    )
    for row in result.versions:
        _decorate(row, zone)
    if result.versions:
        render.table(COLUMNS, result.versions)
    else:
        render.line("  nothing")
        if unseen:
            at_option = "" if at is None else f' --at "{at}"'
            listing = f"tradelog known {result.symbol}{at_option} --as-filed"
            render.note(f"hint: {counted(unseen, 'record')} filed by then; {listing} lists them")
    if len(result.versions) < result.total:
        render.note(f"  the {len(result.versions)} newest of {result.total}; --all shows all")


def _decorate(row: dict[str, Any], zone: str) -> None:
    row["since"] = clock.local(row["known_since"], zone)
    row["amount"] = render.amount(row["amount_low"], row["amount_high"])
    marks = (["backfill"] if row["backfill"] else []) + (["gone"] if row["gone"] else [])
    if row["archived"]:
        marks.append(f"the source's row is in {row['archived']}")
    if row["amends"]:
        several = "one of " if len(row["amends"]) > 1 else ""
        marks.append(f"amends {several}{' '.join(row['amends'])}")
    if row["amended_by"]:
        marks.append(f"amended by {' '.join(row['amended_by'])}")
    row["remarks"] = ", ".join(marks + [flag.replace("_", " ") for flag in row["flags"]])
