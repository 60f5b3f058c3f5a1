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
from tradelog.domain.text import counted
from tradelog.errors import NeedsAttention, TradelogError
from tradelog.store import control_state
from tradelog.store.writer import Writer


def command(
    once: Annotated[bool, typer.Option("--once", help="Drain what is due, then end.")] = False,
    output_json: Annotated[bool, typer.Option("--json", help="With --once: print JSON.")] = False,
) -> None:
    """Send what was decided to the broker, and follow it to its end."""
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
        _tell_limits(config, writer)
        worker.start()
        number = writer.rows(
            "SELECT account_number FROM broker_accounts WHERE broker = ? AND environment = ? AND account = ?",
            config.account,
        )
        if number:
            note(f"the broker's account: {number[0]['account_number']}")
        try:
            worker.run_once() if once else worker.run()
        finally:
            worker.finish()
    finally:
        writer.close()
    if once and not worker.has_reconciled:
        note("the broker was not compared with the log: it did not answer for all of it; tradelog reconcile")
    if once:
        _tell(config, worker.summary.sent, worker.pretrade.ended, output_json)


def _tell_limits(config: Config, writer: Writer) -> None:
    """Which limits hold, and what is halted: whoever starts a worker should see what will stop it."""
    rows, account = writer.rows, config.account
    lifted = control_state.lifts(rows, account, clock.now_text())
    current = with_lifts(config.risk, {name: item.value for name, item in lifted.items()})
    named = [(item.name, as_text(getattr(current, item.name))) for item in fields(current)]
    if current.throttle_orders is None:
        named = [item for item in named if item[0] != "throttle_minutes"]
    note("limits: " + ", ".join(f"{name} {text}" for name, text in named if text not in ("off", "none")))
    for name, item in lifted.items():
        until = f"{clock.local(item.until, config.report.timezone)} ({config.report.timezone})"
        note(f"{name} is lifted until {until} by {item.actor}: {item.reason}")
    for row in control_state.open_halts(rows, account):
        what = "everything" if row["scope"] == "all" else f"{row['scope']} {row['subject']}"
        note(f"halted: {what}, by {row['actor']}: {row['reason']}")


_SENT = """
SELECT d.decision_id, d.symbol, d.side, d.status, d.failure_code, d.failure_message, d.needs_attention,
       e.status AS execution, e.error_message, e.filled_quantity, e.filled_avg_price
FROM trade_decisions d LEFT JOIN trade_executions e ON e.decision_id = d.decision_id
  AND e.attempt_number = (
    SELECT max(x.attempt_number) FROM trade_executions x WHERE x.decision_id = d.decision_id)
WHERE (d.decision_id IN (SELECT value FROM json_each(?)) OR d.status = 'executing')
  AND d.broker = ? AND d.environment = ? AND d.account = ?
ORDER BY d.id
"""

# Never sent at all, though their time has come.
_WAITING = """
SELECT d.strategy_name, d.symbol, d.approval FROM trade_decisions d
WHERE d.broker = ? AND d.environment = ? AND d.account = ? AND d.status = 'pending'
  AND d.needs_attention IS NULL AND (d.next_attempt_at IS NULL OR d.next_attempt_at <= ?)
  AND NOT EXISTS (
    SELECT 1 FROM trade_executions e WHERE e.symbol = d.symbol AND e.status IN ('sending', 'unknown')
      AND e.broker = d.broker AND e.environment = d.environment AND e.account = d.account)
  AND NOT EXISTS (SELECT 1 FROM trade_executions e WHERE e.decision_id = d.decision_id)
"""

_HELD = """
SELECT count(*) FROM trade_decisions WHERE broker = ? AND environment = ? AND account = ?
AND status = 'pending' AND held_until > ?
"""

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


def _tell(config: Config, sent: set[str], ended: set[str], output_json: bool) -> None:
    import json

    with open_reader(config) as reader:
        rows = reader.rows(_SENT, (json.dumps(sorted(sent | ended)), *config.account))
        unsent = reader.rows(_WAITING, (*config.account, clock.now_text()))
        halts = control_state.halts(reader.rows, config.account)
        held = reader.value(_HELD, (*config.account, clock.now_text()))
    halted = [row for row in unsent if halts.covers(row["strategy_name"], row["symbol"])]
    unapproved = [
        row
        for row in unsent
        if row not in halted and row["approval"] is None and config.control(row["strategy_name"]).approval
    ]
    waiting = len(unsent) - len(halted) - len(unapproved)
    still_open = [row for row in rows if row["status"] == "executing"]
    if output_json:
        as_json({"sent": len(sent), "open": len(still_open), "unsent": len(ended - sent), "decisions": rows})
    elif not rows:
        line("nothing was due")
    else:
        table(COLUMNS, rows)
        done = sum(row["status"] not in ("executing", "pending") for row in rows)
        never = f", {len(ended - sent)} of them never sent" if ended - sent else ""
        note(f"{len(sent)} sent, {done} ended{never}, {len(still_open)} still open")
    if held:
        note(f"waiting for the market to open: {counted(held, 'decision')}")
    if halted:
        note(f"halted: {counted(len(halted), 'decision')}; tradelog limits shows by whom")
    if unapproved:
        note(
            f"waiting for tradelog approve: {counted(len(unapproved), 'decision')};"
            " tradelog decisions --waiting"
        )
    if waiting:
        raise TradelogError(
            f"{counted(waiting, 'due decision')} not sent: the broker did not answer, or the time was up",
            hint="they stay pending; run the worker again, or give it more [worker] once_seconds",
        )
    returned = [row for row in rows if row["status"] == "pending"]
    if returned:
        raise TradelogError(
            f"{len(returned)} could not be sent and stay pending: {returned[0]['error_message']}",
            hint="they are sent by the next run; nothing is lost",
        )
    doubtful = [row for row in still_open if row["execution"] in ("unknown", "sending")]
    if doubtful:
        listed = ", ".join(row["decision_id"] for row in doubtful)
        raise NeedsAttention(
            f"{len(doubtful)} sent with no known outcome: {listed}",
            hint="run the worker again: it asks the broker; tradelog show ID tells what was said",
        )
