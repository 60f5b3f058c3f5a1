"""tradelog run-worker"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Annotated

import typer

from tradelog import clock
from tradelog.cli.context import load_config, open_reader
from tradelog.cli.render import Column, as_json, line, note, table
from tradelog.config import Config
from tradelog.errors import NeedsAttention, TradelogError


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
        worker.start()
        try:
            worker.run_once() if once else worker.run()
        finally:
            worker.finish()
    finally:
        writer.close()
    if once and not worker.has_reconciled:
        note("the broker was not compared with the log: it did not answer for all of it; tradelog reconcile")
    if once:
        _tell(config, sorted(worker.summary.sent), output_json)


_SENT = """
SELECT d.decision_id, d.symbol, d.side, d.status, d.failure_code, d.failure_message, d.needs_attention,
       e.status AS execution, e.error_message, e.filled_quantity, e.filled_avg_price
FROM trade_decisions d JOIN trade_executions e ON e.decision_id = d.decision_id
WHERE e.attempt_number = (
    SELECT max(x.attempt_number) FROM trade_executions x WHERE x.decision_id = d.decision_id)
  AND (d.decision_id IN (SELECT value FROM json_each(?)) OR d.status = 'executing')
  AND d.broker = ? AND d.environment = ? AND d.account = ?
ORDER BY d.id
"""

# Never sent at all, though their time has come.
_WAITING = """
SELECT count(*) FROM trade_decisions d
WHERE d.broker = ? AND d.environment = ? AND d.account = ? AND d.status = 'pending'
  AND d.needs_attention IS NULL AND (d.next_attempt_at IS NULL OR d.next_attempt_at <= ?)
  AND NOT EXISTS (
    SELECT 1 FROM trade_executions e WHERE e.symbol = d.symbol AND e.status IN ('sending', 'unknown')
      AND e.broker = d.broker AND e.environment = d.environment AND e.account = d.account)
  AND NOT EXISTS (SELECT 1 FROM trade_executions e WHERE e.decision_id = d.decision_id)
"""

COLUMNS = (
    Column("decision_id", "decision", style="id"),
    Column("side", "side"),
    Column("symbol", "symbol"),
    Column("status", "decision is", style="status"),
    Column("execution", "execution is", style="status", drop=1),
    Column("filled_quantity", "filled", right=True),
    Column("filled_avg_price", "at", right=True),
    Column("failure_code", "failure", flex=True),
)


def _tell(config: Config, sent: list[str], output_json: bool) -> None:
    import json

    with open_reader(config) as reader:
        rows = reader.rows(_SENT, (json.dumps(sent), *config.account))
        waiting = reader.value(_WAITING, (*config.account, clock.now_text()))
    still_open = [row for row in rows if row["status"] == "executing"]
    if output_json:
        as_json({"sent": len(sent), "open": len(still_open), "decisions": rows})
    elif not rows:
        line("nothing was due")
    else:
        table(COLUMNS, rows)
        done = sum(row["status"] not in ("executing", "pending") for row in rows)
        note(f"{len(sent)} sent, {done} ended, {len(still_open)} still open")
    if waiting:
        raise TradelogError(
            f"{waiting} due decisions were not sent: the broker did not answer, or the time was up",
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
