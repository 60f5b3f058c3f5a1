"""tradelog decisions"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tradelog import clock
from tradelog.cli import render
from tradelog.cli.context import covered, load_config, open_reader
from tradelog.cli.render import Column, as_json, heading, line, note, table
from tradelog.errors import UsageError
from tradelog.report import decisions as report
from tradelog.store import controls

STATES = ("pending", "executing", "executed", "failed", "cancelled")
COLUMNS = (
    Column("created", "decided"),
    Column("decision_id", "decision", style="id"),
    Column("strategy_name", "strategy", flex=True, drop=1),
    Column("side", "side"),
    Column("symbol", "symbol"),
    Column("size", "size", right=True),
    Column("terms", "order", drop=2),
    Column("status", "status", style="status"),
    Column("why_not", "why not", flex=True),
)
NOT_TAKEN = (
    Column("created", "seen"),
    Column("signal_id", "signal", style="id"),
    Column("strategy_name", "strategy", flex=True),
    Column("side", "side"),
    Column("symbol", "symbol"),
    Column("episode", "counts from"),
    Column("reason", "not taken because", flex=True),
)


def command(
    symbol: Annotated[str | None, typer.Option(help="Only this symbol.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Only this strategy.")] = None,
    status: Annotated[str | None, typer.Option(help=f"Only {', '.join(STATES)}.")] = None,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those that wait for approval.")] = False,
    not_taken: Annotated[
        bool, typer.Option("--not-taken", help="Signals that were not acted on, and why.")
    ] = False,
    year: Annotated[int | None, typer.Option(help="A year of the market's days.")] = None,
    first: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First day, inclusive.")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day, inclusive.")] = None,
    show_all: Annotated[bool, typer.Option("--all", help="All of them, not the newest 50.")] = False,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List decisions, newest first, with what became of them; or the signals not taken."""
    if status is not None and status not in STATES:
        raise UsageError(f"no decision is {status!r}", hint=f"one of: {', '.join(STATES)}")
    if not_taken and (status is not None or waiting):
        raise UsageError("a signal that was not taken has no status", hint="leave --status and --waiting out")
    config = load_config()
    zone = config.report.timezone
    days = covered(config, year, first, last)
    approved_only = tuple(name for name, rule in config.controls.items() if rule.approval)
    wanted = report.Wanted(
        days,
        None if symbol is None else symbol.strip().upper(),
        strategy,
        status,
        approved_only if waiting else None,
    )
    listed = report.not_taken if not_taken else report.decisions
    with open_reader(config) as reader:
        found, total = listed(reader, config.account, wanted, limit=-1 if show_all else report.NEWEST)
        halts = controls.halts(reader.rows, config.account)
    if output_json:
        as_json({"period": str(days), "total": total, "signals" if not_taken else "decisions": found})
        return
    broker, environment, account = config.account
    what = "Signals not taken" if not_taken else "Decisions"
    heading(f"{what}  {days}  account {account} ({broker}, {environment})")
    if not found:
        line("none")
        return
    for row in found:
        row["created"] = clock.local(row["created_at"], zone)
        if not not_taken:
            _describe(row, approved_only, halts, zone)
    table(NOT_TAKEN if not_taken else COLUMNS, found)
    note(f"{len(found)} of {total}")


def _describe(row: dict[str, Any], approved_only: tuple[str, ...], halts: controls.Halts, zone: str) -> None:
    row["size"] = f"${row['notional']}" if row["notional"] else row["quantity"]
    row["terms"] = render.terms(row)
    why = ": ".join(filter(None, (row["failure_code"], row["failure_message"]))) or row["needs_attention"]
    if row["status"] == "pending":
        if halts.covers(row["strategy_name"], row["symbol"]):
            why = "halted"
        elif row["approval"] is None and row["strategy_name"] in approved_only:
            why = "waits for approval"
        elif row["held_until"] is not None and row["held_until"] > clock.now_text():
            why = f"waits for the open at {clock.local(row['held_until'], zone)}"
    row["why_not"] = why or ""
