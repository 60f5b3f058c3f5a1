"""tradelog failures"""

from __future__ import annotations

from typing import Any

from tradelog.cli import options, render
from tradelog.cli.context import covered, load_config, open_reader
from tradelog.cli.paging import paged
from tradelog.cli.render import Column, heading, is_terminal, line, note, table
from tradelog.domain import clock
from tradelog.report import failures as report
from tradelog.report import subjects

COLUMNS = (
    Column("stage", "stage"),
    Column("reason", "reason"),
    Column("count", "times", right=True),
    Column("last", "last"),
    Column("trend", "by month", flex=True),
    Column("example", "newest", style="id"),
    Column("message", "example", flex=True),
)

# On a terminal the trend is a picture.
BARS = tuple(
    Column("bars", "by month", picture=True) if column.key == "trend" else column for column in COLUMNS
)


def command(
    strategy: options.Strategy = None,
    year: options.Year = None,
    first: options.First = None,
    last: options.Last = None,
    zone: options.Zone = None,
    output_json: options.Json = False,
    output_csv: options.Csv = False,
) -> None:
    """Count what was not executed this year, by stage and reason.

    Stages: risk, broker, venue, expired, person, unknown.
    """
    options.one_form(output_json, output_csv)
    config = load_config()
    days = covered(config, year, first, last, zone, this_year=True)
    with open_reader(config) as reader:
        entries = report.failures(reader, config.account, days, strategy=strategy)
        if not entries:
            subjects.check(reader, config, strategy=strategy)
    if output_json:
        render.as_json({"period": str(days), "failures": entries})
        return
    months = describe(entries, days.zone)
    if output_csv:
        render.as_csv(COLUMNS, entries)
        return
    with paged():
        heading(f"Failures  {days.title}  account {config.account.label}")
        if entries:
            table(BARS if is_terminal() and len(months) > 1 else COLUMNS, entries)
        else:
            line("nothing failed")
    if entries:
        if is_terminal() and len(months) > 1:
            note(f"a bar a month, {months[0]} to {months[-1]}")
        note("tradelog show ID shows one in full; --json lists more of each")


def describe(entries: list[dict[str, Any]], zone: str) -> list[str]:
    """What people read of each reason; returns the months that there are."""
    months = sorted({month for row in entries for month in row["months"]})
    for row in entries:
        newest = row["examples"][0]
        row["last"] = clock.local(row["latest"], zone)
        row["trend"] = ", ".join(f"{month}: {count}" for month, count in sorted(row["months"].items()))
        row["bars"] = render.sparkline([row["months"].get(month, 0) for month in months])
        row["example"], row["message"] = newest["decision_id"], newest["failure_message"]
    return months
