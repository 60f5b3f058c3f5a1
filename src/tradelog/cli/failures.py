"""tradelog failures"""

from __future__ import annotations

from typing import Annotated

import typer

from tradelog import clock
from tradelog.cli.context import covered, load_config, open_reader
from tradelog.cli.render import Column, as_json, heading, line, note, table
from tradelog.report import failures as report

COLUMNS = (
    Column("stage", "said no"),
    Column("reason", "reason"),
    Column("count", "times", right=True),
    Column("last", "last"),
    Column("trend", "by month", flex=True, drop=1),
    Column("example", "newest", style="id"),
    Column("message", "which says", flex=True),
)


def command(
    year: Annotated[int | None, typer.Option(help="A year of the market's days.")] = None,
    first: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First day, inclusive.")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day, inclusive.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Only this strategy.")] = None,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count what was not executed, by who said no (limits, broker, venue, time, a person) and why."""
    config = load_config()
    days = covered(config, year, first, last)
    with open_reader(config) as reader:
        found = report.failures(reader, config.account, days, strategy=strategy)
    if output_json:
        as_json({"period": str(days), "failures": found})
        return
    broker, environment, account = config.account
    heading(f"Failures  {days}  account {account} ({broker}, {environment})")
    if not found:
        line("nothing failed")
        return
    for row in found:
        newest = row["examples"][0]
        row["last"] = clock.local(row["latest"], days.zone)
        row["trend"] = ", ".join(f"{month}: {count}" for month, count in sorted(row["months"].items()))
        row["example"], row["message"] = newest["decision_id"], newest["failure_message"]
    table(COLUMNS, found)
    note("tradelog show ID tells all of one; --json lists more of each")
