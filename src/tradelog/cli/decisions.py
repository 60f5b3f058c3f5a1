"""tradelog decisions"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tradelog.cli import options, render
from tradelog.cli.context import covered, load_config, open_reader
from tradelog.cli.paging import paged
from tradelog.cli.render import Column, as_json, heading, line, note, table
from tradelog.domain import clock
from tradelog.errors import UsageError
from tradelog.report import decisions as report
from tradelog.report import subjects
from tradelog.store import control_state

STATES = ("pending", "executing", "executed", "failed", "cancelled")
COLUMNS = (
    Column("created", "decided"),
    Column("decision_id", "decision", style="id"),
    Column("strategy_name", "strategy", flex=True),
    Column("side", "side"),
    Column("symbol", "symbol"),
    Column("size", "size", right=True),
    Column("terms", "order"),
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
    symbol: options.Symbol = None,
    strategy: options.Strategy = None,
    status: Annotated[str | None, typer.Option(help=f"Only {', '.join(STATES)}.")] = None,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those that wait for approval.")] = False,
    not_taken: Annotated[
        bool, typer.Option("--not-taken", help="Signals that were not acted on, and why.")
    ] = False,
    year: options.Year = None,
    first: options.First = None,
    last: options.Last = None,
    zone: options.Zone = None,
    limit: options.Limit = None,
    show_all: options.All = False,
    output_json: options.Json = False,
    output_csv: options.Csv = False,
) -> None:
    """List decisions, newest first, with what became of them; or the signals not taken."""
    if status is not None and status not in STATES:
        raise UsageError(f"no decision is {status!r}", hint=f"one of: {', '.join(STATES)}")
    if not_taken and (status is not None or waiting):
        raise UsageError("a signal that was not taken has no status", hint="leave --status and --waiting out")
    options.one_form(output_json, output_csv)
    most = options.rows(limit, show_all, is_for_programs=output_json or output_csv)
    config = load_config()
    days = covered(config, year, first, last, zone)
    approved_only = tuple(name for name, rule in config.controls.items() if rule.approval)
    selection = report.Selection(
        days,
        None if symbol is None else symbol.strip().upper(),
        strategy,
        status,
        approved_only if waiting else None,
    )
    listed = report.not_taken if not_taken else report.decisions
    with open_reader(config) as reader:
        rows, total = listed(reader, config.account, selection, limit=most)
        halts = control_state.halts(reader.rows, config.account)
        if not rows:
            subjects.check(reader, config, strategy=strategy, symbol=symbol)
    if output_json:
        as_json({"period": str(days), "total": total, "signals" if not_taken else "decisions": rows})
        return
    for row in rows:
        if not_taken:
            row["created"] = clock.local(row["created_at"], days.zone)
        else:
            describe(row, days.zone)
            _waits(row, approved_only, halts, days.zone)
    columns = NOT_TAKEN if not_taken else COLUMNS
    if output_csv:
        render.as_csv(columns, rows)
        return
    what = "Signals not taken" if not_taken else "Decisions"
    _print(f"{what}  {days.title}  account {config.account.label}", columns, rows, total)


def _print(title: str, columns: Sequence[Column], rows: Sequence[dict[str, Any]], total: int) -> None:
    with paged():
        heading(title)
        if rows:
            table(columns, rows)
        else:
            line("none")
    if rows:
        note(f"{len(rows)} of {total}")


def describe(row: dict[str, Any], zone: str) -> None:
    """What people read of a decision, beside what its row holds."""
    row["created"] = clock.local(row["created_at"], zone)
    row["size"] = f"${row['notional']}" if row["notional"] else row["quantity"]
    row["terms"] = render.terms(row)
    why = ": ".join(filter(None, (row["failure_code"], row["failure_message"]))) or row["needs_attention"]
    row["why_not"] = why or ""


def _waits(
    row: dict[str, Any], approved_only: tuple[str, ...], halts: control_state.Halts, zone: str
) -> None:
    """Why a decision has not been sent yet."""
    if row["status"] != "pending":
        return
    if halts.covers(row["strategy_name"], row["symbol"]):
        row["why_not"] = "halted"
    elif row["approval"] is None and row["strategy_name"] in approved_only:
        row["why_not"] = "waits for approval"
    elif row["held_until"] is not None and row["held_until"] > clock.now_text():
        row["why_not"] = f"waits for the open at {clock.local(row['held_until'], zone)}"
