"""tradelog run-worker"""

from __future__ import annotations

import signal
from dataclasses import fields
from types import FrameType
from typing import Annotated

import typer

from tradelog.cli.context import load_config, open_reader
from tradelog.cli.render import Column, as_json, line, note, table
from tradelog.config.risk import as_text, with_lifts
from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.domain.status import AttemptStatus, DecisionStatus
from tradelog.domain.text import counted
from tradelog.errors import NeedsAttention, TradelogError
from tradelog.report.drain import Drain, drain
from tradelog.store import control_state
from tradelog.store.reader import Row
from tradelog.store.writer import Writer


def command(
    once: Annotated[bool, typer.Option("--once", help="Drain the outbox, then end.")] = False,
    output_json: Annotated[bool, typer.Option("--json", help="With --once: print JSON.")] = False,
) -> None:
    """Submit decisions to the broker, and track their orders to the end."""
    from tradelog.execute.brokers import connect
    from tradelog.execute.worker import Worker
    from tradelog.store.opening import open_writer

    config = load_config()
    broker = connect(config)
    writer = open_writer(config.store_path, check_same_thread=False)
    try:
        worker = Worker(writer, broker, config)

        def stop(_number: int, _frame: FrameType | None) -> None:
            worker.stop()
            # A second signal ends at once.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        name, environment, account = config.account
        note(f"worker {worker.worker_id}: broker {name}, environment {environment}, account {account}")
        _note_limits(config, writer)
        worker.start()
        if worker.session.account_number is not None:
            note(f"the broker's account: {worker.session.account_number}")
        try:
            worker.run_once() if once else worker.run()
        finally:
            worker.finish()
    finally:
        writer.close()
    if once and not worker.has_reconciled:
        note("the reconciliation is incomplete: the broker did not respond to all of it; tradelog reconcile")
    if once:
        _print_drain(config, worker.summary.sent, worker.pretrade.ended, output_json)


def _note_limits(config: Config, writer: Writer) -> None:
    """Print which limits hold and what is halted: what may stop orders of this worker."""
    rows, account = writer.rows, config.account
    lifted = control_state.lifts(rows, account, clock.now_text())
    current = with_lifts(config.risk, {name: item.value for name, item in lifted.items()})
    limits = [(item.name, as_text(getattr(current, item.name))) for item in fields(current)]
    if current.throttle_orders is None:
        limits = [item for item in limits if item[0] != "throttle_minutes"]
    note("limits: " + ", ".join(f"{name} {text}" for name, text in limits if text not in ("off", "none")))
    for name, item in lifted.items():
        until = f"{clock.local(item.until, config.report.timezone)} ({config.report.timezone})"
        note(f"{name} is lifted until {until} by {item.actor}: {item.reason}")
    for row in control_state.open_halts(rows, account):
        what = "everything" if row["scope"] == "all" else f"{row['scope']} {row['subject']}"
        note(f"halted: {what}, by {row['actor']}: {row['reason']}")


COLUMNS = (
    Column("decision_id", "decision", style="id"),
    Column("side", "side"),
    Column("symbol", "symbol"),
    Column("status", "decision is", style="status"),
    Column("execution", "execution is", style="status"),
    Column("filled_quantity", "filled", right=True),
    Column("filled_avg_price", "at", right=True),
    Column("failure_code", "failure", flex=True),
)


def _print_drain(config: Config, submitted: set[str], ended: set[str], output_json: bool) -> None:
    with open_reader(config) as reader:
        left = drain(reader, config, submitted | ended)
    rows = left.decisions
    still_open = [row for row in rows if row["status"] == DecisionStatus.EXECUTING]
    unsent = len(ended - submitted)
    if output_json:
        as_json({"sent": len(submitted), "open": len(still_open), "unsent": unsent, "decisions": rows})
    elif not rows:
        line("nothing was due")
    else:
        table(COLUMNS, rows)
        done = sum(DecisionStatus(row["status"]).is_terminal for row in rows)
        never = f", {unsent} of them never submitted" if unsent else ""
        note(f"{len(submitted)} submitted, {done} ended{never}, {len(still_open)} still open")
    _note_waiting(left)
    _check_left(left, still_open)


def _note_waiting(left: Drain) -> None:
    if left.held:
        note(f"waiting for the market to open: {counted(left.held, 'decision')}")
    if left.halted:
        note(f"halted: {counted(left.halted, 'decision')}; tradelog limits shows by whom")
    if left.unapproved:
        note(
            f"waiting for tradelog approve: {counted(left.unapproved, 'decision')};"
            " tradelog decisions --waiting"
        )


def _check_left(left: Drain, still_open: list[Row]) -> None:
    """Raise TradelogError or NeedsAttention where something did not reach a known end."""
    if left.waiting:
        raise TradelogError(
            f"{counted(left.waiting, 'due decision')} not submitted:"
            " the broker did not respond, or the time was up",
            hint="they stay pending; run the worker again, or give it more [worker] once_seconds",
        )
    returned = [row for row in left.decisions if row["status"] == DecisionStatus.PENDING]
    if returned:
        raise TradelogError(
            f"{counted(len(returned), 'decision')} not submitted: {returned[0]['error_message']}",
            hint="they stay pending; the next run submits them",
        )
    unknown = [
        row for row in still_open if row["execution"] in (AttemptStatus.SENDING, AttemptStatus.UNKNOWN)
    ]
    if unknown:
        listed = ", ".join(row["decision_id"] for row in unknown)
        raise NeedsAttention(
            f"{counted(len(unknown), 'submission')} with no known outcome: {listed}",
            hint="run the worker again: it looks them up; tradelog show ID lists every exchange",
        )
