"""tradelog digest"""

from __future__ import annotations

import datetime
from typing import Annotated, Any

import typer

from tradelog.cli import decisions, failures, options, render, runs, trades
from tradelog.cli.context import load_config, open_reader
from tradelog.cli.paging import paged
from tradelog.cli.render import Column, dollars, heading, line, note, pairs, table
from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.report import period

# So much of each list is shown: a day is one page.
PAGE = 20
FAILURES = tuple(column for column in failures.COLUMNS if column.key not in ("trend", "last"))
UNKNOWN = (
    Column("decision_id", "decision", style="id"),
    Column("symbol", "symbol"),
    Column("status", "status", style="status"),
    Column("begun", "since"),
    Column("message", "reason", flex=True),
)
BREAKS = (
    Column("break_id", "break", style="id"),
    Column("kind", "of"),
    Column("symbol", "symbol"),
    Column("expected", "expected", right=True),
    Column("actual", "at the broker", right=True),
    Column("found", "found"),
    Column("closed", "closed"),
    Column("closed_why", "why", flex=True),
)
ALERTS = (
    Column("alert_id", "alert", right=True),
    Column("kind", "kind"),
    Column("told", "at"),
    Column("message", "what", flex=True),
)


def command(
    date: Annotated[
        str | None, typer.Option("--date", metavar="DATE", help="The day, by default today's.")
    ] = None,
    zone: options.Zone = None,
    output_json: options.Json = False,
) -> None:
    """Show a day of the market in one page: runs, decisions, trades, failures, unknown outcomes, breaks."""
    config = load_config()
    name = zone or config.report.timezone
    day = clock.market_today(name) if date is None else clock.parse_past_day(date, name)
    if output_json:
        render.as_json({"date": day.isoformat(), "timezone": name, **_digest(config, day, name)[0]})
        return
    with paged():
        page(config, day, name)


def page(config: Config, day: datetime.date, zone: str) -> None:
    """Print a day of a zone in one page."""
    summary, covered_day = _digest(config, day, zone)
    heading(f"{day:%A}, {day}  ({zone})  account {config.account.label}")
    _summary(summary)
    _lists(summary, covered_day)


def _digest(config: Config, day: datetime.date, zone: str) -> tuple[dict[str, Any], period.Period]:
    from tradelog.report import digest as report

    covered_day = period.of(None, day, day, zone)
    with open_reader(config) as reader:
        return report.digest(reader, config.account, covered_day), covered_day


def _summary(summary: dict[str, Any]) -> None:
    def states(name: str, total: int) -> str:
        listed = ", ".join(f"{number} {state}" for state, number in sorted(summary[name].items()))
        return f"{total}: {listed}" if total else "0"

    value = f", bought ${dollars(summary['bought'])}, sold ${dollars(summary['sold'])}"
    pairs(
        [
            ("runs", states("run_states", len(summary["runs"]))),
            ("decisions", states("decision_states", len(summary["decisions"]))),
            ("signals not taken", summary["signals_not_taken"]),
            ("trades", f"{len(summary['trades'])}{value if summary['trades'] else ''}"),
            ("failures", sum(row["count"] for row in summary["failures"])),
            ("unknown", len(summary["unknown"])),
            ("breaks", len(summary["breaks"])),
            ("alerts", len(summary["alerts"])),
        ]
    )


def _lists(summary: dict[str, Any], day: period.Period) -> None:
    for row in summary["runs"]:
        row["started"] = clock.local(row["started_at"], day.zone)
        row["dates"] = f"{row['data_date_start']} to {row['data_date_end']}" if row["data_date_start"] else ""
    for row in summary["decisions"]:
        decisions.describe(row, day.zone)
    for row in summary["trades"]:
        row["executed"] = clock.local(row["transaction_time"], day.zone)
        row["value"] = dollars(row["value"])
    failures.describe(summary["failures"], day.zone)
    for row in summary["unknown"]:
        row["begun"] = clock.local(row["since"], day.zone)
    for row in summary["breaks"]:
        row["found"] = clock.local(row["found_at"], day.zone)
        row["closed"] = clock.local(row["closed_at"], day.zone)
    for row in summary["alerts"]:
        row["told"] = clock.local(row["created_at"], day.zone)
    for title, columns, key in (
        ("Runs", runs.COLUMNS, "runs"),
        ("Decisions", decisions.COLUMNS, "decisions"),
        ("Trades", trades.COLUMNS, "trades"),
        ("Failures", FAILURES, "failures"),
        ("No known outcome", UNKNOWN, "unknown"),
        ("Breaks between the broker and the log", BREAKS, "breaks"),
        ("Alerts", ALERTS, "alerts"),
    ):
        rows = summary[key]
        if rows:
            line()
            heading(title)
            table(columns, rows[:PAGE])
        if len(rows) > PAGE:
            note(f"  the {PAGE} newest of {len(rows)}; --json has all")
