"""The outbox in the store: claim an attempt, settle it, take over what another left behind.

Every function here is one step inside a transaction of the caller; none talks to the broker. A
claim carries a lease and a token that grows with each claim, and every settle insists on its own
token: who woke up late cannot write the outcome of somebody else's attempt.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from tradelog import clock, ids, money
from tradelog.execute import outcome
from tradelog.execute.brokers.base import Exchange, WireOrder
from tradelog.store.process import boot_id, is_alive
from tradelog.store.writer import Transaction

Account = tuple[str, str, str]


class LeaseLost(Exception):
    """Another worker has taken this decision over; nothing was written."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An attempt that is ours until the lease ends."""

    decision_id: str
    execution_id: str
    token: int
    order: WireOrder
    started_at: str
    expires_at: str | None


# The oldest decision that may be sent now. An unsettled send holds back its symbol, and so does an
# earlier decision that waits for its next try: a sell never overtakes its buy.
_DUE = """
SELECT * FROM trade_decisions d
WHERE d.broker = ? AND d.environment = ? AND d.account = ? AND d.status = 'pending'
  AND d.needs_attention IS NULL
  AND (d.next_attempt_at IS NULL OR d.next_attempt_at <= ?)
  AND NOT EXISTS (
    SELECT 1 FROM trade_executions e
    WHERE e.broker = d.broker AND e.environment = d.environment AND e.account = d.account
      AND e.symbol = d.symbol AND e.status IN ('sending', 'unknown'))
  AND NOT EXISTS (
    SELECT 1 FROM trade_decisions p
    WHERE p.broker = d.broker AND p.environment = d.environment AND p.account = d.account
      AND p.status = 'pending' AND p.needs_attention IS NULL AND p.symbol = d.symbol AND p.id < d.id)
ORDER BY d.id LIMIT 1
"""

_UNSETTLED = """
SELECT d.*, e.execution_id, e.status AS execution_status, e.started_at AS attempt_started_at
FROM trade_executions e JOIN trade_decisions d ON d.decision_id = e.decision_id
WHERE e.broker = ? AND e.environment = ? AND e.account = ? AND e.status IN ('sending', 'unknown')
ORDER BY e.id
"""


def expire_unsent(tx: Transaction, account: Account) -> int:
    """Cancel pending decisions whose time has run out; returns how many."""
    rows = tx.query(
        "SELECT decision_id, expires_at FROM trade_decisions WHERE broker = ? AND environment = ?"
        " AND account = ? AND status = 'pending' AND expires_at <= ?",
        (*account, tx.now),
    )
    for decision_id, expires_at in rows:
        changes = {
            "status": "cancelled",
            "failure_code": "expired_unsent",
            "failure_message": f"expired at {expires_at} before it was sent",
            "failed_at": tx.now,
        }
        tx.update("trade_decisions", decision_id, changes)
        tx.journal("decision.expired_unsent", decision_id)
    return len(rows)


def claim(tx: Transaction, account: Account, worker_id: str, lease: timedelta) -> Claim | None:
    """Take the oldest due decision and write down the attempt; None where nothing is due."""
    expire_unsent(tx, account)
    found = tx.dicts(_DUE, (*account, tx.now))
    if not found:
        return None
    decision = found[0]
    attempt = tx.one(
        "SELECT coalesce(max(attempt_number), 0) + 1 FROM trade_executions WHERE decision_id = ?",
        (decision["decision_id"],),
    )[0]
    execution_id = ids.new(ids.EXECUTION)
    broker, environment, name = account
    tx.update("trade_decisions", decision["decision_id"], {"status": "executing", "next_attempt_at": None})
    tx.insert(
        "trade_executions",
        {
            "execution_id": execution_id,
            "decision_id": decision["decision_id"],
            "attempt_number": attempt,
            "client_order_id": decision["client_order_id"],
            "broker": broker,
            "environment": environment,
            "account": name,
            "symbol": decision["symbol"],
            "status": "sending",
            "filled_quantity": "0",
            "started_at": tx.now,
        },
    )
    token = _lease(tx, decision, worker_id, lease)
    tx.journal("execution.claimed", execution_id, decision=decision["decision_id"], attempt=attempt)
    return Claim(
        decision["decision_id"], execution_id, token, wire_order(decision), tx.now, decision["expires_at"]
    )


def unsettled(
    tx: Transaction, account: Account, worker_id: str, lease: timedelta, *, asked: Container[str] = ()
) -> Claim | None:
    """Take over an attempt whose outcome is not known and whose owner is gone, or is us.

    One that was ``sending`` may or may not have left: it becomes ``unknown``. Executions in ``asked``
    have had their turn.
    """
    for decision in tx.dicts(_UNSETTLED, account):
        if decision["execution_id"] in asked:
            continue
        is_due = decision["next_attempt_at"] is None or decision["next_attempt_at"] <= tx.now
        if decision["needs_attention"] or not is_due or _is_held(tx, decision, worker_id):
            continue
        token = _lease(tx, decision, worker_id, lease)
        if decision["execution_status"] == "sending":
            changes = {"status": "unknown", "error_message": "the worker ended between send and answer"}
            tx.update("trade_executions", decision["execution_id"], changes)
            tx.journal("execution.found_unsettled", decision["execution_id"])
        return Claim(
            decision["decision_id"],
            decision["execution_id"],
            token,
            wire_order(decision),
            decision["attempt_started_at"],
            decision["expires_at"],
        )
    return None


def log_call(tx: Transaction, exchange: Exchange, purpose: str, execution_id: str | None) -> None:
    """Keep an exchange as it was on the wire."""
    body, encoding = exchange.text()
    tx.insert(
        "broker_calls",
        {
            "execution_id": execution_id,
            "purpose": purpose,
            "method": exchange.method,
            "url": exchange.url,
            "request_body": exchange.request_body,
            "status": exchange.status,
            "response_headers": json.dumps(dict(exchange.headers)) if exchange.headers else None,
            "response_body": body if exchange.status is not None else None,
            "body_encoding": encoding,
            "error": exchange.error,
            "started_at": exchange.started_at,
            "ended_at": exchange.ended_at,
        },
    )


def settle_refused(tx: Transaction, claim: Claim, verdict: outcome.Verdict) -> None:
    """The broker refused the order: it fails, for the reason that it gave."""
    details = {"failure_code": verdict.failure_code, "error_message": verdict.message}
    execution = {"status": "rejected", "rejected_at": tx.now, **details}
    tx.update("trade_executions", claim.execution_id, execution)
    _change_decision(
        tx,
        claim,
        {
            "status": "failed",
            "failed_at": tx.now,
            "failure_code": verdict.failure_code,
            "failure_message": verdict.message,
        },
    )
    raise_alert(tx, "trade_failed", claim.decision_id, f"{claim.order.symbol}: {verdict.message}")
    tx.journal("execution.refused", claim.execution_id)


def settle_returned(
    tx: Transaction, claim: Claim, verdict: outcome.Verdict, status: str, retry_at: str | None
) -> None:
    """The attempt is over and the order did not get there: the decision is pending as before."""
    tx.update("trade_executions", claim.execution_id, {"status": status, "error_message": verdict.message})
    _change_decision(tx, claim, {"status": "pending", "next_attempt_at": retry_at})
    raise_alert(tx, f"broker_{status}", claim.decision_id, verdict.message)
    tx.journal(f"execution.{status}", claim.execution_id)


def settle_unknown(tx: Transaction, claim: Claim, message: str, ask_at: str) -> None:
    """Nothing is proved. It stays open, ages visibly, and is asked about at ``ask_at``."""
    tx.update("trade_executions", claim.execution_id, {"status": "unknown", "error_message": message})
    _change_decision(tx, claim, {"next_attempt_at": ask_at})
    raise_alert(tx, "outcome_unknown", claim.decision_id, f"{claim.order.symbol}: {message}")
    tx.journal("execution.unknown", claim.execution_id)


def settle_stuck(tx: Transaction, claim: Claim, why: str) -> None:
    """No further step is safe without a person."""
    _change_decision(tx, claim, {"needs_attention": why})
    raise_alert(tx, "needs_attention", claim.decision_id, f"{claim.order.symbol}: {why}")
    tx.journal("decision.needs_attention", claim.decision_id)


def sends(tx: Transaction, claim: Claim) -> int:
    """How often this attempt's request was sent, or may have been: also one that left no answer."""
    logged, message, resent = tx.one(
        "SELECT (SELECT count(*) FROM broker_calls WHERE execution_id = ?1 AND purpose = 'submit'),"
        " e.error_message, d.retry_count FROM trade_executions e"
        " JOIN trade_decisions d ON d.decision_id = e.decision_id WHERE e.execution_id = ?1",
        (claim.execution_id,),
    )
    return max(int(logged), 0 if message is None else int(resent) + 1)


def last_refusal(tx: Transaction, claim: Claim) -> outcome.Verdict | None:
    """The refusal of the last send of this attempt, where it was one."""
    rows = tx.dicts(
        "SELECT * FROM broker_calls WHERE execution_id = ? AND purpose = 'submit'"
        " ORDER BY call_id DESC LIMIT 1",
        (claim.execution_id,),
    )
    if not rows or rows[0]["status"] is None or rows[0]["body_encoding"] != "utf-8":
        return None
    call = rows[0]
    verdict = outcome.of_submit(
        Exchange(
            method=call["method"],
            url=call["url"],
            request_body=call["request_body"],
            started_at=call["started_at"],
            ended_at=call["ended_at"],
            status=call["status"],
            body=call["response_body"].encode(),
        )
    )
    return verdict if verdict.kind is outcome.Kind.REFUSED else None


def resend(tx: Transaction, claim: Claim, sent: int) -> None:
    """Write down that the same id is sent once more, after it was ``sent`` times."""
    _change_decision(tx, claim, {"retry_count": sent})
    tx.update("trade_executions", claim.execution_id, {"status": "sending"})
    tx.journal("execution.resending", claim.execution_id)


def raise_alert(tx: Transaction, kind: str, subject: str, message: str) -> None:
    """One row a subject until somebody has acknowledged it. The caller's entry journals it."""
    known = tx.one(
        "SELECT 1 FROM alerts WHERE kind = ? AND subject = ? AND acknowledged_at IS NULL", (kind, subject)
    )
    if known is None:
        tx.insert("alerts", {"kind": kind, "subject": subject, "message": message, "created_at": tx.now})


def wire_order(decision: Mapping[str, Any]) -> WireOrder:
    """The order of a decision row as it goes on the wire."""
    market = json.loads(decision["decision_rationale"]).get("market_context")
    price = market.get("price") if isinstance(market, dict) else None
    try:
        reference = None if price is None else money.parse(price)
    except ValueError:  # a rationale is anybody's text; what is no price is none
        reference = None
    if reference is not None and reference <= 0:
        reference = None
    return WireOrder(
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
    )


def _change_decision(tx: Transaction, claim: Claim, changes: Mapping[str, Any]) -> None:
    """Change a decision that is still leased to us; raises LeaseLost where it is not."""
    is_ours = tx.update(
        "trade_decisions", claim.decision_id, changes, where="lease_token = :token", token=claim.token
    )
    if not is_ours:
        raise LeaseLost(claim.decision_id)


def check_lease(tx: Transaction, claim: Claim) -> None:
    """Raise LeaseLost unless the claim is still ours."""
    row = tx.one("SELECT lease_token FROM trade_decisions WHERE decision_id = ?", (claim.decision_id,))
    if row is None or row[0] != claim.token:
        raise LeaseLost(claim.decision_id)


def _lease(tx: Transaction, decision: Mapping[str, Any], worker_id: str, lease: timedelta) -> int:
    token = int(decision["lease_token"]) + 1
    until = clock.to_text(clock.from_text(tx.now) + lease)
    tx.unaudited(
        "UPDATE trade_decisions SET lease_owner = ?, lease_token = ?, lease_until = ? WHERE decision_id = ?",
        (worker_id, token, until, decision["decision_id"]),
    )
    return token


def _is_held(tx: Transaction, decision: Mapping[str, Any], worker_id: str) -> bool:
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
