"""How things stand: what waits, what is open or unknown at the broker, who works, what needs a person."""

from __future__ import annotations

import socket
from typing import Any

from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.domain.account import AccountKey
from tradelog.domain.text import counted
from tradelog.report import limits
from tradelog.store import control_state
from tradelog.store.control_state import Rows
from tradelog.store.process import boot_id, is_alive
from tradelog.store.reader import Reader, Row
from tradelog.store.workers import RECORDING_CLIENT

# A worker without a heartbeat for so long counts as dead.
SILENT_SECONDS = 60.0
# Decisions that are due for so long, without a worker, need attention.
IDLE_SECONDS = 600.0
OVERDUE_SECONDS = 86_400.0
# A send that takes longer than this is none that a worker is just making.
SENDING_SECONDS = 60.0

_OURS = "broker = :broker AND environment = :environment AND account = :account"
_QUEUE = f"""
SELECT count(*) AS pending, min(created_at) AS oldest,
       count(*) FILTER (WHERE next_attempt_at IS NULL OR next_attempt_at <= :now) AS due,
       min(created_at) FILTER (WHERE next_attempt_at IS NULL OR next_attempt_at <= :now) AS oldest_due
FROM trade_decisions WHERE {_OURS} AND status = 'pending' AND needs_attention IS NULL
"""
_UNKNOWN = f"""
SELECT decision_id, execution_id, symbol, status, started_at AS since, error_message AS message,
       (SELECT count(*) FROM broker_calls c WHERE c.execution_id = trade_executions.execution_id
        AND c.purpose = 'lookup') AS lookups
FROM trade_executions WHERE {_OURS} AND status IN ('sending', 'unknown') ORDER BY id
"""
_OPEN = """
SELECT e.decision_id, e.execution_id, e.symbol, d.side, coalesce(e.quantity, d.quantity) AS quantity,
       d.notional, d.order_type, coalesce(e.limit_price, d.limit_price) AS limit_price, e.status,
       e.broker_status, e.filled_quantity,
       coalesce((SELECT max(v.seen_at) FROM order_events v WHERE v.broker_order_id = e.alpaca_order_id),
                e.started_at) AS since, d.strategy_name
FROM trade_executions e JOIN trade_decisions d ON d.decision_id = e.decision_id
WHERE e.broker = :broker AND e.environment = :environment AND e.account = :account
  AND e.status IN ('accepted', 'partially_filled') ORDER BY e.id
"""
_ATTENTION = f"""
SELECT decision_id, symbol, needs_attention FROM trade_decisions
WHERE {_OURS} AND needs_attention IS NOT NULL AND id IN (
    SELECT id FROM trade_decisions WHERE status = 'pending' AND {_OURS}
    UNION ALL SELECT id FROM trade_decisions INDEXED BY ix_decisions_executing WHERE status = 'executing')
ORDER BY id
"""
_REQUESTS = """
SELECT r.request_id, r.kind, r.decision_id, r.status, r.created_at AS since, r.tries, r.message
FROM order_requests r INDEXED BY uq_requests_open JOIN trade_decisions d ON d.decision_id = r.decision_id
WHERE r.ended_at IS NULL AND d.broker = :broker AND d.environment = :environment AND d.account = :account
ORDER BY r.id
"""
_WORKERS = f"""
SELECT worker_id, host, pid, boot_id, started_at, heartbeat_at, stopped_at,
       (SELECT o.offset_ms FROM clock_offsets o WHERE o.subject = worker_id) AS clock_offset_ms FROM workers
WHERE {_OURS} AND role = 'worker' ORDER BY heartbeat_at DESC LIMIT 20
"""
# A bot gives no heartbeat. One of another host, which cannot be asked, may run for a month.
_BOTS = f"""
SELECT worker_id, host, pid, boot_id, started_at FROM workers WHERE {_OURS} AND role = :role
AND started_at >= :since ORDER BY started_at DESC LIMIT 20
"""
BOT_SECONDS = 30 * 86_400.0


def status(reader: Reader, config: Config) -> dict[str, Any]:
    """The state of the account; ``attention`` lists what needs a person, and is empty otherwise."""
    account = config.account
    params = {**account.as_columns(), "now": clock.now_text()}
    marks = reader.one(f"SELECT opened_at, completed_at FROM reconcile_marks WHERE {_OURS}", params) or {}
    state: dict[str, Any] = {
        "account": account.as_columns(),
        "queue": reader.one(_QUEUE, params),
        "unknown": reader.rows(_UNKNOWN, params),
        "open_orders": reader.rows(_OPEN, params),
        "requests": reader.rows(_REQUESTS, params),
        "needs_attention": reader.rows(_ATTENTION, params),
        "halts": control_state.open_halts(reader.rows, account),
        "approval": limits.waiting(reader, config),
        "breaks": breaks(reader, account),
        "alerts": open_alerts(reader),
        "workers": [_worker(row) for row in reader.rows(_WORKERS, params)],
        "bots": recording_bots(reader.rows, account),
        "bot_strategies": recording_strategies(reader.rows, account),
        "reconciled_at": marks.get("completed_at"),
    }
    state["workers"] = [row for row in state["workers"] if row["alive"]] or state["workers"][:1]
    state["attention"] = _attention(state)
    return state


def recording_bots(rows: Rows, account: AccountKey) -> list[Row]:
    """The bots that run, as far as can be told, and send their own orders: no limit or halt is for them."""
    since = clock.later(clock.now_text(), -BOT_SECONDS)
    found = rows(_BOTS, {**account.as_columns(), "role": RECORDING_CLIENT, "since": since})
    return [
        {key: row[key] for key in ("worker_id", "host", "pid", "started_at")}
        for row in found
        if row["host"] != socket.gethostname()
        or (row["boot_id"] == boot_id() and is_alive(row["pid"], since=row["started_at"]))
    ]


def recording_strategies(rows: Rows, account: AccountKey) -> list[str]:
    """The bots that have sent orders of their own lately, whether or not one runs just now."""
    since = clock.later(clock.now_text(), -BOT_SECONDS)
    found = rows(
        f"SELECT DISTINCT strategy_name FROM trade_decisions WHERE {_OURS} AND created_at >= :since"
        " AND recorded = 1 ORDER BY strategy_name",
        {**account.as_columns(), "since": since},
    )
    return [str(row["strategy_name"]) for row in found]


def breaks(reader: Reader, account: AccountKey) -> list[Row]:
    """The open breaks of an account, oldest first."""
    return reader.rows(
        "SELECT break_id, kind, subject, symbol, expected, actual, found_at, changed_at FROM breaks"
        " WHERE broker = ? AND environment = ? AND account = ? AND closed_at IS NULL ORDER BY id",
        account,
    )


def open_alerts(reader: Reader) -> list[Row]:
    """The open alerts, oldest first."""
    return reader.rows(
        "SELECT alert_id, kind, subject, message, created_at, told_at, tell_error"
        " FROM alerts INDEXED BY uq_alerts_open"
        " WHERE acknowledged_at IS NULL ORDER BY alert_id"
    )


def age(since: str | None) -> str:
    """``3m`` for three minutes ago; empty for None."""
    if since is None:
        return ""
    seconds = max(0, int((clock.now() - clock.from_text(since)).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _worker(row: Row) -> Row:
    silent = (clock.now() - clock.from_text(row["heartbeat_at"])).total_seconds()
    alive = row["stopped_at"] is None and silent < SILENT_SECONDS
    if row["stopped_at"] is None and row["host"] == socket.gethostname():
        alive = row["boot_id"] == boot_id() and is_alive(row["pid"], since=row["started_at"])
    return {key: row[key] for key in ("worker_id", "host", "pid", "started_at", "heartbeat_at")} | {
        "alive": alive,
        "silent_seconds": int(silent),
        "stopped_at": row["stopped_at"],
        "clock_offset_ms": row["clock_offset_ms"],
    }


def _attention(state: dict[str, Any]) -> list[str]:
    problems = []
    moment = clock.later(clock.now_text(), -SENDING_SECONDS)
    lost = [row for row in state["unknown"] if row["status"] == "unknown" or row["since"] < moment]
    if lost:
        problems.append(f"{counted(len(lost), 'submission')} with no known outcome")
    for key, noun, more in (
        ("needs_attention", "decision", " waiting for a person"),
        ("approval", "decision", " waiting for approval"),
        ("breaks", "break", " with the broker's books"),
        ("alerts", "open alert", ""),
    ):
        if state[key]:
            problems.append(f"{counted(len(state[key]), noun)}{more}")
    workers = [row for row in state["workers"] if row["alive"]]
    last = state["workers"][0] if state["workers"] else None
    if last is not None and not workers and last["stopped_at"] is None:
        problems.append(f"worker {last['worker_id']} ended unexpectedly, and none runs")
    silent = [row for row in workers if row["silent_seconds"] > SILENT_SECONDS]
    problems += [
        f"worker {row['worker_id']} has had no heartbeat for {row['silent_seconds']} s" for row in silent
    ]
    reconciled = state["reconciled_at"]
    if state["open_orders"] and reconciled is not None:
        since = (clock.now() - clock.from_text(reconciled)).total_seconds()
        if since > OVERDUE_SECONDS:
            problems.append(f"orders are open, and the last reconciliation was {age(reconciled)} ago")
    oldest = state["queue"]["oldest_due"]
    if oldest is not None and not workers:
        waiting = (clock.now() - clock.from_text(oldest)).total_seconds()
        if waiting > IDLE_SECONDS:
            problems.append(f"decisions due for {age(oldest)}, and no worker runs")
    return problems
