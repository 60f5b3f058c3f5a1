"""State transitions: of an attempt by what a response proves, and of its decision by all its attempts.

Every function here is one step inside a transaction of the caller, under the lease of the claim.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tradelog.domain import clock, ids, money
from tradelog.domain.status import AttemptStatus, DecisionStatus, RefusedBy, RequestKind, RequestStatus
from tradelog.execute.brokers.base import WireOrder
from tradelog.execute.outbox import responses
from tradelog.execute.outbox.claims import Claim, release_lease, update_leased_decision
from tradelog.operate.alerts import TRADELOG, clear, raise_alert
from tradelog.store.writer import Transaction

# An attempt that waits for a person is still looked up, once in so long.
ATTENTION_POLL_SECONDS = 3600.0
# The failure code of an order that a bot sent, or was to send, and that never came to the broker.
NOT_PLACED = "not_placed"
# That of one whose client order id another order has.
DUPLICATE_ID = "duplicate_client_order_id"


def apply_refusal(tx: Transaction, claim: Claim, classification: responses.Classification) -> None:
    """End the attempt: the broker refused the order."""
    details = {"failure_code": classification.failure_code, "error_message": classification.message}
    execution = {"status": AttemptStatus.REJECTED, "rejected_at": tx.now, **details}
    tx.update("trade_executions", claim.execution_id, execution)
    # Touching the decision under the token is what proves that the attempt was still ours.
    update_leased_decision(tx, claim, {"next_attempt_at": None})
    update_decision(tx, claim.decision_id)
    release_lease(tx, claim.decision_id, claim.token)
    tx.journal("execution.refused", claim.execution_id)


def return_to_queue(
    tx: Transaction,
    claim: Claim,
    classification: responses.Classification,
    status: str,
    retry_at: str | None,
    *,
    alerts: bool = True,
) -> None:
    """End the attempt without an order, and return its decision or replacement to the queue."""
    tx.update(
        "trade_executions", claim.execution_id, {"status": status, "error_message": classification.message}
    )
    update_leased_decision(tx, claim, {"next_attempt_at": None})
    if claim.change is None:
        tx.update(
            "trade_decisions",
            claim.decision_id,
            {"status": DecisionStatus.PENDING, "next_attempt_at": retry_at},
        )
        cancel_unsubmitted(tx, claim.decision_id)
    else:
        request = _request_of(tx, claim.execution_id)
        if request is not None:
            tx.update(
                "order_requests", request, {"status": RequestStatus.PENDING, "next_attempt_at": retry_at}
            )
        update_decision(tx, claim.decision_id)
    release_lease(tx, claim.decision_id, claim.token)
    if alerts:
        raise_alert(tx, f"broker_{status}", claim.decision_id, classification.message)
    tx.journal(f"execution.{status}", claim.execution_id)


def mark_unknown(tx: Transaction, claim: Claim, message: str, lookup_at: str) -> None:
    """Keep the attempt open, with an alert: the response proves nothing. Looked up next at ``lookup_at``."""
    tx.update(
        "trade_executions", claim.execution_id, {"status": AttemptStatus.UNKNOWN, "error_message": message}
    )
    update_leased_decision(tx, claim, {"next_attempt_at": lookup_at})
    # The next look-up acquires the lease again; a person must not wait for it to run out.
    release_lease(tx, claim.decision_id, claim.token)
    raise_alert(tx, "outcome_unknown", claim.decision_id, f"{claim.order.symbol}: {message}")
    tx.journal("execution.unknown", claim.execution_id)


def require_attention(tx: Transaction, claim: Claim, why: str) -> None:
    """Stop the decision until a person has decided: no further step is safe."""
    at = clock.later(tx.now, ATTENTION_POLL_SECONDS)
    update_leased_decision(tx, claim, {"needs_attention": why, "next_attempt_at": at})
    release_lease(tx, claim.decision_id, claim.token)
    raise_alert(tx, "needs_attention", claim.decision_id, f"{claim.order.symbol}: {why}")
    tx.journal("decision.needs_attention", claim.decision_id)


def abandon_attempt(tx: Transaction, claim: Claim, why: str) -> None:
    """End an attempt that the broker has no order of, and that is not to be submitted again."""
    tx.update(
        "trade_executions", claim.execution_id, {"status": AttemptStatus.NOT_ACCEPTED, "error_message": why}
    )
    update_leased_decision(tx, claim, {"next_attempt_at": None})
    request = _request_of(tx, claim.execution_id)
    if request is not None:
        end_request(tx, request, RequestStatus.OVERTAKEN, why)
    if not cancel_unsubmitted(tx, claim.decision_id):
        update_decision(tx, claim.decision_id)
    release_lease(tx, claim.decision_id, claim.token)
    tx.journal("execution.given_up", claim.execution_id)


def end_absent(tx: Transaction, claim: Claim, why: str) -> None:
    """End the attempt of an order that a bot was to send itself, and that the broker does not have.

    It counts again if it turns up at the broker after all.
    """
    changes = {"status": AttemptStatus.NOT_ACCEPTED, "error_message": why}
    tx.update("trade_executions", claim.execution_id, changes)
    update_leased_decision(tx, claim, {"next_attempt_at": None})
    end_unsubmitted(tx, claim.decision_id, DecisionStatus.FAILED, NOT_PLACED, why)
    release_lease(tx, claim.decision_id, claim.token)
    clear(tx, claim.decision_id)
    raise_alert(tx, "trade_failed", claim.decision_id, f"{claim.order.symbol}: {why}")
    tx.journal("execution.absent", claim.execution_id)


def end_taken(tx: Transaction, claim: Claim, why: str) -> None:
    """End the attempt of a bot whose client order id another order has: its own never came to be.

    No alert: the bot was told, or has gone on under the same id.
    """
    changes = {"status": AttemptStatus.REJECTED, "failure_code": DUPLICATE_ID, "rejected_at": tx.now}
    tx.update("trade_executions", claim.execution_id, {**changes, "error_message": why})
    update_leased_decision(tx, claim, {"next_attempt_at": None})
    end_unsubmitted(tx, claim.decision_id, DecisionStatus.FAILED, DUPLICATE_ID, why)
    release_lease(tx, claim.decision_id, claim.token)
    clear(tx, claim.decision_id)
    tx.journal("execution.id_taken", claim.execution_id)


def check_replacement_terms(
    tx: Transaction, decision_id: str, requested: WireOrder, order: Mapping[str, Any]
) -> None:
    """Compare a replacement with the requested terms: the broker may keep the old quantity.

    A partly filled order that is given a new price only gets its whole quantity again
    (github.com/alpacahq/Alpaca-API/issues/165).
    """
    different = responses.replacement_mismatch(order, requested)
    if different is not None:
        why = f"the replacement differs from the request: {different}"
        tx.update("trade_decisions", decision_id, {"needs_attention": why})
        raise_alert(tx, "needs_attention", decision_id, f"{requested.symbol}: {why}")


def update_decision(tx: Transaction, decision_id: str) -> None:
    """Move a decision and its open requests to the status that its attempts add up to."""
    decision = tx.dicts("SELECT * FROM trade_decisions WHERE decision_id = ?", (decision_id,))[0]
    executions = tx.dicts(
        "SELECT * FROM trade_executions WHERE decision_id = ? AND status NOT IN ('not_sent', 'not_accepted')"
        " ORDER BY id",
        (decision_id,),
    )
    _end_replaces(tx, decision_id, executions)
    if _is_open(tx, executions):
        if decision["status"] != DecisionStatus.EXECUTING:
            # It had ended, and the broker has the order after all.
            revived = {"status": DecisionStatus.EXECUTING, "failure_code": None, "failure_message": None}
            tx.update("trade_decisions", decision_id, {**revived, "failed_at": None, "executed_at": None})
            clear(tx, decision_id, ("trade_failed",))
            if decision["failure_code"] == "cancelled_on_request":
                why = "it was to be cancelled, and its order is at the broker"
                insert_request(tx, RequestKind.CANCEL, decision_id, {}, why, TRADELOG)
        return
    if not executions:
        return
    changes, alert = _end(tx, decision, executions)
    if any(decision[name] != value for name, value in changes.items()):
        moment = "executed_at" if changes["status"] == DecisionStatus.EXECUTED else "failed_at"
        other = "failed_at" if moment == "executed_at" else "executed_at"
        tx.update("trade_decisions", decision_id, {**changes, moment: tx.now, other: None})
    if changes["status"] == DecisionStatus.FAILED and not decision["adopted"]:
        raise_alert(tx, "trade_failed", decision_id, alert)
    elif changes["status"] == DecisionStatus.EXECUTED:
        clear(tx, decision_id, ("trade_failed",))
    clear(tx, decision_id)
    _end_cancels(tx, decision_id, executions)


def cancel_unsubmitted(tx: Transaction, decision_id: str) -> bool:
    """End a decision that has no order and whose cancel was requested; True if it did."""
    requests = tx.query(
        "SELECT request_id FROM order_requests WHERE decision_id = ? AND kind = 'cancel'"
        " AND ended_at IS NULL",
        (decision_id,),
    )
    has_order = tx.one(
        "SELECT 1 FROM trade_executions WHERE decision_id = ? AND status NOT IN ('not_sent', 'not_accepted')",
        (decision_id,),
    )
    if not requests or has_order:
        return False
    end_unsubmitted(
        tx,
        decision_id,
        DecisionStatus.CANCELLED,
        "cancelled_on_request",
        "cancelled before it reached the broker",
    )
    for (request_id,) in requests:
        end_request(tx, request_id, RequestStatus.DONE, "it never reached the broker")
    clear(tx, decision_id)
    return True


def end_unsubmitted(tx: Transaction, decision_id: str, status: str, code: str, message: str) -> None:
    """End a decision that never became an order, as failed or cancelled. The caller journals."""
    changes = {
        "status": status,
        "failure_code": code,
        "failure_message": message,
        "failed_at": tx.now,
        "next_attempt_at": None,
        "needs_attention": None,
    }
    tx.update("trade_decisions", decision_id, changes)


def insert_request(
    tx: Transaction, kind: str, decision_id: str, terms: Mapping[str, Any], reason: str | None, actor: str
) -> str:
    """Record the request of a cancel or replace; returns its id. The caller journals."""
    request_id = ids.new(ids.REQUEST)
    tx.insert(
        "order_requests",
        {
            "request_id": request_id,
            "kind": kind,
            "decision_id": decision_id,
            "terms": json.dumps(terms, sort_keys=True),
            "reason": reason,
            "actor": actor,
            "created_at": tx.now,
            "status": RequestStatus.PENDING,
            "tries": 0,
        },
    )
    return request_id


def end_request(
    tx: Transaction, request_id: str, status: str, message: str | None, *, refused_by: str | None = None
) -> None:
    """End a cancel or replace. ``refused_by`` is a `RefusedBy`, or the failure code of a limit."""
    changes = {"status": status, "message": message, "ended_at": tx.now, "next_attempt_at": None}
    if refused_by is not None:
        changes["refused_by"] = str(refused_by)
    tx.update("order_requests", request_id, changes)


def filled_quantity_of(executions: list[dict[str, Any]]) -> Decimal:
    """The filled quantity of all attempts of one decision."""
    return sum((money.parse(row["filled_quantity"]) for row in executions), money.ZERO)


def _is_open(tx: Transaction, executions: list[dict[str, Any]]) -> bool:
    if any(AttemptStatus(row["status"]).is_open for row in executions):
        return True
    # Replaced by an order that is not on record yet.
    replaced = {row["replaces"] for row in executions if row["status"] != AttemptStatus.REJECTED}
    return any(
        row["status"] == AttemptStatus.REPLACED
        and row["execution_id"] not in replaced
        and not _continues_elsewhere(tx, row["alpaca_order_id"])
        for row in executions
    )


def _continues_elsewhere(tx: Transaction, order_id: str) -> bool:
    """Whether the order that replaced this one is on record as a decision of its own."""
    row = tx.one(
        "SELECT 1 FROM alpaca_orders o JOIN alpaca_orders n ON n.broker_order_id = o.replaced_by"
        " WHERE o.broker_order_id = ? AND n.decision_id IS NOT NULL AND n.decision_id <> o.decision_id",
        (order_id,),
    )
    return row is not None


def _end(
    tx: Transaction, decision: Mapping[str, Any], executions: list[dict[str, Any]]
) -> tuple[dict[str, Any], str]:
    """(final columns, text of an alert) of a decision whose orders have all ended."""
    over = {"next_attempt_at": None, "needs_attention": None, "failure_code": None, "failure_message": None}
    if filled_quantity_of(executions) > 0:
        return {"status": DecisionStatus.EXECUTED, **over}, ""
    ranks = (
        AttemptStatus.CANCELED,
        AttemptStatus.EXPIRED,
        AttemptStatus.REJECTED,
        AttemptStatus.FILLED,
        AttemptStatus.REPLACED,
    )
    last = min(executions, key=lambda row: ranks.index(row["status"]))
    request = tx.one(
        "SELECT 1 FROM order_requests WHERE decision_id = ? AND kind = 'cancel' AND tries > 0",
        (decision["decision_id"],),
    )
    is_refusal = last["status"] == AttemptStatus.REJECTED and last["error_message"]
    is_wanted = request is not None or _was_cancelled_by_bot(tx, executions)
    if last["status"] == AttemptStatus.CANCELED and is_wanted:
        end = (DecisionStatus.CANCELLED, "cancelled_on_request", "canceled at the broker, as requested")
    elif last["status"] == AttemptStatus.CANCELED:
        end = (
            DecisionStatus.FAILED,
            "canceled_at_broker",
            "canceled at the broker before anything was filled",
        )
    elif last["status"] == AttemptStatus.EXPIRED:
        end = (
            DecisionStatus.FAILED,
            "expired_unfilled",
            "its time in force ran out before anything was filled",
        )
    elif is_refusal:
        end = (DecisionStatus.FAILED, last["failure_code"], last["error_message"])
    elif last["status"] == AttemptStatus.REJECTED:
        end = (
            DecisionStatus.FAILED,
            "rejected_by_venue",
            "rejected by the venue after it was accepted; no reason is given",
        )
    elif last["status"] == AttemptStatus.REPLACED:
        end = (
            DecisionStatus.CANCELLED,
            "other",
            "replaced by an order that is on record as a decision of its own",
        )
    else:
        end = (DecisionStatus.FAILED, "other", "the broker reports it filled, with a quantity of zero")
    if decision["adopted"] and last["status"] in (AttemptStatus.CANCELED, AttemptStatus.EXPIRED):
        # No failure: its owner canceled it, or let it expire.
        end = (DecisionStatus.CANCELLED, end[1], end[2])
    status, code, message = end
    named = f"{decision['symbol']}: {message}"
    # The broker's own text is kept as it is.
    stored = message if is_refusal else named
    return {**over, "status": status, "failure_code": code, "failure_message": stored}, named


def _was_cancelled_by_bot(tx: Transaction, executions: list[dict[str, Any]]) -> bool:
    """Whether a bot cancelled one of these orders through the recording client."""
    placed = [row for row in executions if row["alpaca_order_id"] is not None]
    if not placed:
        return False
    row = tx.one(
        "SELECT 1 FROM client_commands WHERE broker = ? AND environment = ? AND account = ?"
        " AND started_at >= ? AND status NOT IN ('not_sent', 'refused')"
        " AND (kind IN ('cancel_all', 'close_all')"
        " OR (kind = 'cancel' AND target IN (SELECT value FROM json_each(?))))",
        (
            *(placed[0][name] for name in ("broker", "environment", "account")),
            placed[0]["started_at"],
            json.dumps([row["alpaca_order_id"] for row in placed]),
        ),
    )
    return row is not None


def _end_replaces(tx: Transaction, decision_id: str, executions: list[dict[str, Any]]) -> None:
    """Move the replaces whose two orders show how they ended."""
    by_id = {row["execution_id"]: row for row in executions}
    for request_id, execution_id, state in tx.query(
        "SELECT request_id, execution_id, status FROM order_requests WHERE decision_id = ?"
        " AND kind = 'replace' AND ended_at IS NULL AND execution_id IS NOT NULL AND status <> 'pending'",
        (decision_id,),
    ):
        new = by_id.get(execution_id)
        old = by_id.get(new["replaces"]) if new is not None else None
        if new is None or old is None:
            continue
        if new["status"] == AttemptStatus.REJECTED:
            message = new["error_message"] or "the venue rejected the replacement; the old order stands"
            by = RefusedBy.BROKER if new["alpaca_order_id"] is None else RefusedBy.VENUE
            end_request(tx, request_id, RequestStatus.REFUSED, message, refused_by=by)
            raise_alert(tx, "replace_refused", decision_id, f"{new['symbol']}: {message}")
        elif AttemptStatus(new["status"]).is_unsettled:
            continue
        elif old["status"] == AttemptStatus.REPLACED:
            end_request(tx, request_id, RequestStatus.DONE, None)
            _check_total(tx, decision_id, executions)
        elif AttemptStatus(old["status"]).is_terminal and AttemptStatus(new["status"]).is_terminal:
            end_request(tx, request_id, RequestStatus.OVERTAKEN, f"the old order was {old['status']} first")
        elif state == RequestStatus.SENDING:
            tx.update("order_requests", request_id, {"status": RequestStatus.SENT})


def target_quantity(tx: Transaction, decision: Mapping[str, Any]) -> Decimal | None:
    """The quantity that a decision's orders are to reach together; None for a notional one."""
    replaces = tx.query(
        "SELECT json_extract(terms, '$.quantity') FROM order_requests WHERE decision_id = ?"
        " AND kind = 'replace' AND status = 'done' AND json_extract(terms, '$.quantity') IS NOT NULL"
        " ORDER BY id DESC LIMIT 1",
        (decision["decision_id"],),
    )
    text = replaces[0][0] if replaces else decision["quantity"]
    return None if text is None else money.parse(text)


def _check_total(tx: Transaction, decision_id: str, executions: list[dict[str, Any]]) -> None:
    """Check for an overfill: a fill can arrive while its order is being replaced."""
    decision = tx.dicts("SELECT * FROM trade_decisions WHERE decision_id = ?", (decision_id,))[0]
    total = target_quantity(tx, decision)
    newest = executions[-1]
    if total is None or newest["quantity"] is None:
        return
    reach = filled_quantity_of(executions[:-1]) + money.parse(newest["quantity"])
    if reach > total:
        why = (
            f"filled while it was replaced: the orders can reach {money.to_text(reach)}"
            f" of {money.to_text(total)} together"
        )
        tx.update("trade_decisions", decision_id, {"needs_attention": why})
        raise_alert(tx, "needs_attention", decision_id, f"{decision['symbol']}: {why}")


def _end_cancels(tx: Transaction, decision_id: str, executions: list[dict[str, Any]]) -> None:
    """End the open requests of a decision that has ended."""
    was_canceled = any(row["status"] == AttemptStatus.CANCELED for row in executions)
    filled = filled_quantity_of(executions)
    for request_id, kind in tx.query(
        "SELECT request_id, kind FROM order_requests WHERE decision_id = ? AND ended_at IS NULL",
        (decision_id,),
    ):
        if kind == RequestKind.CANCEL and was_canceled:
            message = f"after {money.to_text(filled)} was filled" if filled else None
            end_request(tx, request_id, RequestStatus.DONE, message)
        else:
            ended = executions[-1]["status"]
            end_request(tx, request_id, RequestStatus.OVERTAKEN, f"the order was {ended} before")


def _request_of(tx: Transaction, execution_id: str) -> str | None:
    row = tx.one("SELECT request_id FROM order_requests WHERE execution_id = ?", (execution_id,))
    return None if row is None else str(row[0])
