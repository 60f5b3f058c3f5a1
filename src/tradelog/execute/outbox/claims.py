"""Claims: the next ready decision of the outbox, taken under a lease, and the order that it stands for.

Every function here is one step inside a transaction of the caller; none makes a request. A claim carries
a lease and a fencing token that grows with each claim, and every later write checks its own token: a
worker that woke up late cannot write the outcome of another worker's attempt.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from tradelog.domain import clock, ids, money
from tradelog.domain.account import AccountKey
from tradelog.domain.status import AttemptStatus, DecisionStatus
from tradelog.execute.brokers.base import OrderChange, WireOrder
from tradelog.store.control_state import Rows
from tradelog.store.process import boot_id, is_alive
from tradelog.store.writer import Transaction


class LeaseLost(Exception):
    """Another worker has taken this decision over; nothing was written."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An attempt that this worker owns until the lease ends.

    ``order`` is what the broker must have afterwards. A replacement has ``change``, the request, and
    ``old_order_id``, the order that it replaces. ``leased_at`` is of `clock.running_seconds`. What a bot
    sends itself ``is_recorded``: it is looked up, and never submitted.
    """

    decision_id: str
    execution_id: str
    token: int
    order: WireOrder
    started_at: str
    expires_at: str | None
    leased_at: float
    change: OrderChange | None = None
    old_order_id: str | None = None
    strategy: str = ""
    is_recorded: bool = False


# The oldest decision that may be submitted now. An unsettled attempt holds back its symbol, and so does an
# earlier decision that waits for its next try: a sell never overtakes its buy. What is halted, or waits for
# a person or for the open, holds back nothing: an exit must not wait behind it.
_MAY = """
    {0}.status = 'pending' AND {0}.needs_attention IS NULL
    AND {0}.strategy_name NOT IN (SELECT value FROM json_each(:strategies))
    AND replace(replace(replace({0}.symbol, '/', ''), '.', ''), '-', '')
        NOT IN (SELECT value FROM json_each(:symbols))
    AND ({0}.approval IS 'approved'
         OR {0}.strategy_name NOT IN (SELECT value FROM json_each(:approved_only)))
"""
_DUE = f"""
SELECT * FROM trade_decisions d
WHERE d.broker = :broker AND d.environment = :environment AND d.account = :account
  AND {_MAY.format("d")}
  AND (d.next_attempt_at IS NULL OR d.next_attempt_at <= :now
       OR (d.next_attempt_at = d.held_until AND NOT :waits))
  AND (d.expires_at IS NULL OR d.expires_at > :now)
  AND NOT EXISTS (
    SELECT 1 FROM trade_executions e
    WHERE e.broker = d.broker AND e.environment = d.environment AND e.account = d.account
      AND e.symbol = d.symbol AND e.status IN ('sending', 'unknown'))
  AND NOT EXISTS (
    SELECT 1 FROM trade_decisions p
    WHERE p.broker = d.broker AND p.environment = d.environment AND p.account = d.account
      AND p.symbol = d.symbol AND p.id < d.id AND {_MAY.format("p")}
      AND (p.held_until IS NULL OR p.held_until <= :now))
ORDER BY d.id LIMIT 1
"""

_UNSETTLED = """
SELECT d.*, e.execution_id, e.status AS execution_status, e.started_at AS attempt_started_at
FROM trade_executions e JOIN trade_decisions d ON d.decision_id = e.decision_id
WHERE e.broker = ? AND e.environment = ? AND e.account = ? AND e.status IN ('sending', 'unknown')
ORDER BY e.id
"""


def next_ready(
    rows: Rows,
    account: AccountKey,
    now: str,
    *,
    waits: bool = False,
    strategies: Sequence[str] = (),
    symbols: Sequence[str] = (),
    approved_only: Sequence[str] = (),
) -> dict[str, Any] | None:
    """The oldest decision that may be submitted now, except of these strategies and symbols; None for none.

    Those of the strategies in ``approved_only`` must have been approved; those that are held for the open are
    left out while orders are to wait for it. ``rows`` runs SQL, in a transaction or outside of one.
    """
    params = {**account.as_columns(), "now": now, "waits": waits}
    lists = {"strategies": strategies, "symbols": symbols, "approved_only": approved_only}
    ready = rows(_DUE, params | {key: json.dumps(value) for key, value in lists.items()})
    return ready[0] if ready else None


def claim_decision(
    tx: Transaction, decision: Mapping[str, Any], worker_id: str, lease: timedelta, value: Decimal | None
) -> Claim:
    """Claim a ready decision and record the attempt; ``value`` is the order's value in dollars."""
    decision_id = decision["decision_id"]
    tx.update("trade_decisions", decision_id, {"status": DecisionStatus.EXECUTING, "next_attempt_at": None})
    # An absurd value is left out, rather than stored in a form that cannot be read back.
    worth = None if value is None or value.adjusted() > money.LARGEST else money.to_text(value)
    execution_id, attempt = insert_attempt(tx, decision, decision["client_order_id"], order_value=worth)
    token = acquire_lease(tx, decision, worker_id, lease)
    tx.journal("execution.claimed", execution_id, decision=decision_id, attempt=attempt)
    return Claim(
        decision_id,
        execution_id,
        token,
        wire_order(decision),
        tx.now,
        decision["expires_at"],
        clock.running_seconds(),
        strategy=decision["strategy_name"],
    )


def insert_attempt(
    tx: Transaction, decision: Mapping[str, Any], client_order_id: str, **more: Any
) -> tuple[str, int]:
    """Record an attempt, ``sending`` by default; returns its id and its number."""
    attempt = tx.one(
        "SELECT coalesce(max(attempt_number), 0) + 1 FROM trade_executions WHERE decision_id = ?",
        (decision["decision_id"],),
    )[0]
    execution_id = ids.new(ids.EXECUTION)
    names = ("decision_id", "broker", "environment", "account", "symbol")
    tx.insert(
        "trade_executions",
        {
            "execution_id": execution_id,
            **{name: decision[name] for name in names},
            "attempt_number": attempt,
            "client_order_id": client_order_id,
            "status": AttemptStatus.SENDING,
            "filled_quantity": "0",
            "started_at": tx.now,
            **more,
        },
    )
    return execution_id, int(attempt)


def claim_unsettled(
    tx: Transaction, account: AccountKey, worker_id: str, lease: timedelta, *, looked_up: Container[str] = ()
) -> Claim | None:
    """Take over an attempt whose outcome is unknown and whose owner has gone, or is this worker.

    One that was ``sending`` may or may not have left: it becomes ``unknown``. Attempts in ``looked_up`` are
    left out.
    """
    for decision in tx.dicts(_UNSETTLED, account):
        if decision["execution_id"] in looked_up:
            continue
        is_due = decision["next_attempt_at"] is None or decision["next_attempt_at"] <= tx.now
        if not is_due or is_leased(tx, decision, worker_id):
            continue
        return take_over_attempt(tx, decision["execution_id"], worker_id, lease)
    return None


def take_over_attempt(tx: Transaction, execution_id: str, worker_id: str, lease: timedelta) -> Claim:
    """The claim of an attempt that is already recorded; ``unknown`` from here on if it was ``sending``."""
    execution = tx.dicts("SELECT * FROM trade_executions WHERE execution_id = ?", (execution_id,))[0]
    decision = tx.dicts("SELECT * FROM trade_decisions WHERE decision_id = ?", (execution["decision_id"],))[0]
    token = acquire_lease(tx, decision, worker_id, lease)
    if execution["status"] == AttemptStatus.SENDING:
        who = "bot" if decision["recorded"] else "worker"
        changes = {
            "status": AttemptStatus.UNKNOWN,
            "error_message": f"the {who} ended between submission and response",
        }
        tx.update("trade_executions", execution_id, changes)
        tx.journal("execution.found_unsettled", execution_id)
    return claim_of_attempt(tx, decision, execution, token)


def claim_of_attempt(
    tx: Transaction, decision: Mapping[str, Any], execution: Mapping[str, Any], token: int
) -> Claim:
    """The claim of an attempt's row under ``token``."""
    order = wire_order(decision, execution)
    change, old_order_id = None, None
    if execution["replaces"] is not None:
        old = tx.dicts("SELECT * FROM trade_executions WHERE execution_id = ?", (execution["replaces"],))[0]
        change, old_order_id = order_change(wire_order(decision, old), order), old["alpaca_order_id"]
    return Claim(
        decision["decision_id"],
        execution["execution_id"],
        token,
        order,
        execution["started_at"],
        decision["expires_at"],
        clock.running_seconds(),
        change,
        old_order_id,
        decision["strategy_name"],
        bool(decision["recorded"]),
    )


def order_change(old: WireOrder, new: WireOrder) -> OrderChange:
    """The fields of a replacement: only what differs, and its own client order id."""
    names = ("quantity", "limit_price", "stop_price", "time_in_force")
    differing = {name: getattr(new, name) for name in names if getattr(new, name) != getattr(old, name)}
    return OrderChange(client_order_id=new.client_order_id, **differing)


def record_resubmission(tx: Transaction, claim: Claim, sent: int) -> None:
    """Record that the same id is submitted once more, after ``sent`` submissions."""
    update_leased_decision(tx, claim, {"retry_count": sent})
    tx.update("trade_executions", claim.execution_id, {"status": AttemptStatus.SENDING, "resent_at": tx.now})
    tx.journal("execution.resending", claim.execution_id)


def wire_order(decision: Mapping[str, Any], execution: Mapping[str, Any] | None = None) -> WireOrder:
    """The order of a decision's row as it goes on the wire, with an attempt's own terms and id."""
    market = json.loads(decision["decision_rationale"]).get("market_context")
    price = market.get("price") if isinstance(market, dict) else None
    try:
        reference = None if price is None else money.parse(price)
    except ValueError:  # a rationale is free text
        reference = None
    if reference is not None and reference <= 0:
        reference = None
    order = WireOrder(
        client_order_id=decision["client_order_id"],
        symbol=decision["symbol"],
        side=decision["side"],
        quantity=_decimal(decision["quantity"]),
        notional=_decimal(decision["notional"]),
        order_type=decision["order_type"],
        limit_price=_decimal(decision["limit_price"]),
        stop_price=_decimal(decision["stop_price"]),
        time_in_force=decision["time_in_force"],
        extended_hours=bool(decision["extended_hours"]),
        reference_price=reference,
        trail_price=_decimal(decision["trail_price"]),
        trail_percent=_decimal(decision["trail_percent"]),
    )
    if execution is None:
        return order
    own: dict[str, Any] = {
        name: _decimal(execution[name])
        for name in ("quantity", "limit_price", "stop_price")
        if execution[name] is not None
    }
    if execution["time_in_force"] is not None:
        own["time_in_force"] = execution["time_in_force"]
    return replace(order, client_order_id=execution["client_order_id"], **own)


def update_leased_decision(tx: Transaction, claim: Claim, changes: Mapping[str, Any]) -> None:
    """Change a decision that is still under the claim's lease; raises LeaseLost where it is not."""
    is_ours = tx.update(
        "trade_decisions", claim.decision_id, changes, where="lease_token = :token", token=claim.token
    )
    if not is_ours:
        raise LeaseLost(claim.decision_id)


def check_lease(tx: Transaction, claim: Claim) -> None:
    """Raise LeaseLost unless the claim still holds the lease."""
    row = tx.one("SELECT lease_token FROM trade_decisions WHERE decision_id = ?", (claim.decision_id,))
    if row is None or row[0] != claim.token:
        raise LeaseLost(claim.decision_id)


def acquire_lease(tx: Transaction, decision: Mapping[str, Any], worker_id: str, lease: timedelta) -> int:
    """Lease a decision to a worker; returns the fencing token, which no claim had before."""
    token = int(decision["lease_token"]) + 1
    until = clock.to_text(clock.from_text(tx.now) + lease)
    tx.unaudited(
        "UPDATE trade_decisions SET lease_owner = ?, lease_token = ?, lease_until = ? WHERE decision_id = ?",
        (worker_id, token, until, decision["decision_id"]),
    )
    return token


def release_lease(tx: Transaction, decision_id: str, token: int) -> None:
    """Release a lease. The token stays: it only grows."""
    tx.unaudited(
        "UPDATE trade_decisions SET lease_owner = NULL, lease_until = NULL"
        " WHERE decision_id = ? AND lease_token = ?",
        (decision_id, token),
    )


def is_leased(tx: Transaction, decision: Mapping[str, Any], worker_id: str) -> bool:
    """Whether another worker that may be alive has the lease."""
    owner, until = decision["lease_owner"], decision["lease_until"]
    if owner is None or owner == worker_id or until is None or until <= tx.now:
        return False
    row = tx.one("SELECT host, pid, boot_id, started_at FROM workers WHERE worker_id = ?", (owner,))
    if row is None:
        return True
    host, pid, boot, started_at = row
    if host != socket.gethostname():
        return True
    return boot == boot_id() and is_alive(pid, since=started_at)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else money.parse(text)
