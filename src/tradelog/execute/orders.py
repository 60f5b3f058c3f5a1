"""The broker's news about orders: their state, their fills, and what these make of a decision.

Every function is one step inside a transaction of the caller; none talks to the broker. Nothing is
written where nothing changed, so that asking about a resting order for a day adds nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tradelog import clock, money
from tradelog.execute import outcome
from tradelog.execute.outbox import Account, raise_alert
from tradelog.store.writer import Transaction

# How many attempts back a starting worker looks for fills that are missing.
RECENT = 10_000


def apply_order(
    tx: Transaction,
    account: Account,
    execution_id: str,
    decision_id: str,
    order: Mapping[str, Any],
    source: str,
) -> None:
    """Bring the broker's view of an order into the store; nothing is written where nothing changed."""
    status = outcome.execution_status(order)
    filled = outcome.number(order, "filled_qty") or money.ZERO
    if _is_stale(tx, execution_id, status, filled):
        return
    if not _note_order(tx, account, execution_id, decision_id, order, filled, source):
        return
    average = outcome.number(order, "filled_avg_price")
    changes: dict[str, Any] = {
        "status": status,
        "broker_status": order["status"],
        "alpaca_order_id": order["id"],
        "filled_quantity": money.to_text(filled),
        "filled_avg_price": None if average is None else money.to_text(average),
        "submitted_at": clock.read_moment(order.get("submitted_at") or order.get("created_at")),
        "filled_at": clock.read_moment(order.get("filled_at")),
    }
    if status == "rejected":
        changes |= {"rejected_at": tx.now, "failure_code": "rejected_by_venue"}
    tx.update("trade_executions", execution_id, changes)
    decision = _decision_after(tx, order, status, filled)
    if decision:
        tx.update("trade_decisions", decision_id, decision)
        tx.unaudited(
            "UPDATE trade_decisions SET lease_owner = NULL, lease_until = NULL WHERE decision_id = ?",
            (decision_id,),
        )
        if "needs_attention" in decision:
            raise_alert(tx, "needs_attention", decision_id, str(decision["needs_attention"]))
        elif decision["status"] == "failed":
            raise_alert(tx, "trade_failed", decision_id, str(decision["failure_message"]))
    if str(order["status"]) not in outcome.LIVE | outcome.TERMINAL.keys():
        text = f"{order['symbol']}: the broker says {order['status']!r}, a status we do not know"
        raise_alert(tx, "unknown_order_status", decision_id, text)
    tx.journal(f"order.{source}", execution_id)


def apply_fills(tx: Transaction, account: Account, activities: list[Mapping[str, Any]]) -> int:
    """Add the fills of our orders that are not there yet; returns how many were new."""
    broker, environment, name = account
    added = 0
    for item in activities:
        ours = tx.one(
            "SELECT execution_id FROM trade_executions WHERE alpaca_order_id = ? AND broker = ?"
            " AND environment = ? AND account = ?",
            (item["order_id"], *account),
        )
        if ours is None or tx.one("SELECT 1 FROM fills WHERE fill_id = ?", (item["id"],)):
            continue
        added += 1
        tx.insert(
            "fills",
            {
                "fill_id": item["id"],
                "broker_order_id": item["order_id"],
                "execution_id": ours[0],
                "broker": broker,
                "environment": environment,
                "account": name,
                "symbol": item["symbol"],
                "side": item["side"],
                "quantity": money.to_text(money.parse(item["qty"])),
                "price": money.to_text(money.parse(item["price"])),
                "price_basis": item.get("price_basis", "broker"),
                "transaction_time": clock.read_moment(item["transaction_time"]),
                "seen_at": tx.now,
            },
        )
        tx.journal("fill.recorded", str(item["id"]))
    return added


def filled_so_far(tx: Transaction, execution_id: str) -> Decimal:
    """The sum of an execution's fills."""
    rows = tx.query("SELECT quantity FROM fills WHERE execution_id = ?", (execution_id,))
    return sum((money.parse(row[0]) for row in rows), money.ZERO)


def owed_fills(connection: sqlite3.Connection, account: Account) -> dict[str, tuple[Any, str]]:
    """Recent orders whose fills do not add up yet: execution -> (order, attempt's start)."""
    rows = connection.execute(
        "SELECT e.execution_id, o.raw, e.started_at, e.filled_quantity FROM trade_executions e"
        " JOIN alpaca_orders o ON o.broker_order_id = e.alpaca_order_id"
        " WHERE e.id > (SELECT max(id) FROM trade_executions) - ? AND e.broker = ? AND e.environment = ?"
        " AND e.account = ? AND e.filled_quantity <> '0'"
        " AND e.status IN ('filled', 'canceled', 'expired', 'replaced', 'rejected')",
        (RECENT, *account),
    ).fetchall()
    owed = {}
    for execution_id, raw, started_at, filled in rows:
        known = connection.execute("SELECT quantity FROM fills WHERE execution_id = ?", (execution_id,))
        if sum((money.parse(row[0]) for row in known), money.ZERO) != money.parse(filled):
            owed[execution_id] = (json.loads(raw), started_at)
    return owed


def _decision_after(
    tx: Transaction, order: Mapping[str, Any], status: str, filled: Decimal
) -> dict[str, Any] | None:
    """What the end of an order makes of its decision; None while it is not over."""
    if status == "replaced":
        return {"needs_attention": f"replaced at the broker by order {order.get('replaced_by')}"}
    if status not in outcome.TERMINAL.values():
        return None
    if filled > 0:
        return {"status": "executed", "executed_at": tx.now, "next_attempt_at": None}
    reasons = {
        "rejected": ("rejected_by_venue", "rejected by the venue after it was accepted; no reason is given"),
        "expired": ("expired_unfilled", "its time in force ran out before anything was filled"),
        "canceled": ("canceled_at_broker", "canceled at the broker before anything was filled"),
        "filled": ("other", "the broker says filled, with a quantity of nothing"),
    }
    code, message = reasons[status]
    return {
        "status": "failed",
        "failed_at": tx.now,
        "failure_code": code,
        "failure_message": f"{order['symbol']}: {message}",
        "next_attempt_at": None,
    }


def _is_stale(tx: Transaction, execution_id: str, status: str, filled: Decimal) -> bool:
    """Whether this answer is older than what we know: an ended order does not live again."""
    known = tx.one(
        "SELECT status, filled_quantity FROM trade_executions WHERE execution_id = ?", (execution_id,)
    )
    has_ended = known[0] in outcome.TERMINAL.values()
    return filled < money.parse(known[1]) or (has_ended and status not in outcome.TERMINAL.values())


def _id(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _note_order(
    tx: Transaction,
    account: Account,
    execution_id: str,
    decision_id: str,
    order: Mapping[str, Any],
    filled: Decimal,
    source: str,
) -> bool:
    """Store the broker's order where it says something new; True where it does."""
    broker, environment, name = account
    average = outcome.number(order, "filled_avg_price")
    state = {
        "client_order_id": order["client_order_id"],
        "status": order["status"],
        "filled_quantity": money.to_text(filled),
        "filled_avg_price": None if average is None else money.to_text(average),
        **{name: _id(order.get(name)) for name in ("replaces", "replaced_by")},
    }
    known = tx.one(f"SELECT {', '.join(state)} FROM alpaca_orders WHERE broker_order_id = ?", (order["id"],))
    if known is not None and tuple(known) == tuple(state.values()):
        return False
    raw = json.dumps(order, ensure_ascii=False, default=str)
    if known is None:
        tx.insert(
            "alpaca_orders",
            {
                "broker_order_id": order["id"],
                **state,
                "broker": broker,
                "environment": environment,
                "account": name,
                "symbol": order["symbol"],
                "decision_id": decision_id,
                "execution_id": execution_id,
                "raw": raw,
                "first_seen_at": tx.now,
                "updated_at": tx.now,
            },
        )
    else:
        tx.update("alpaca_orders", order["id"], {**state, "raw": raw, "updated_at": tx.now})
    tx.insert(
        "order_events",
        {
            "broker_order_id": order["id"],
            "execution_id": execution_id,
            "status": order["status"],
            "filled_quantity": state["filled_quantity"],
            "source": source,
            "seen_at": tx.now,
        },
    )
    return True
