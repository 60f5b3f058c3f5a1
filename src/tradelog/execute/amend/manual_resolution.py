"""Manual resolution: look up an unknown outcome now, or record a person's decision about it.

A person's decision is a control event with its reason; it removes nothing that was recorded before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tradelog.domain.status import AttemptStatus, DecisionStatus, RequestStatus
from tradelog.errors import NotFound, TradelogError, UsageError
from tradelog.execute.account import positions
from tradelog.execute.outbox import claims, exchanges, responses, transitions
from tradelog.execute.outbox.exchanges import Purpose
from tradelog.execute.outbox.responses import Classification
from tradelog.execute.risk.controls import record_event
from tradelog.execute.session import BrokerSession
from tradelog.execute.submission import Submitter
from tradelog.execute.track import orders
from tradelog.execute.track.orders import Owner
from tradelog.operate.alerts import clear
from tradelog.store.writer import Transaction, Writer


def ask_broker(session: BrokerSession, submitter: Submitter, decision_id: str) -> Classification:
    """Look up a decision's unknown attempt now. Raises UsageError where there is none."""
    with session.writer.transaction() as tx:
        execution = _unsettled(tx, decision_id)
        _refuse_held(tx, decision_id, session.worker_id)
        claim = claims.take_over_attempt(tx, execution["execution_id"], session.worker_id, session.lease)
    return submitter.look_up(claim)


def resolve_not_placed(writer: Writer, decision_id: str, reason: str) -> None:
    """Record a person's decision that the order was never placed: the attempt and its decision end."""
    with writer.transaction() as tx:
        execution = _unsettled(tx, decision_id)
        _refuse_held(tx, decision_id, "")
        message = f"not placed, by {writer.actor}: {reason}"
        changes = {"status": AttemptStatus.NOT_ACCEPTED, "error_message": message}
        tx.update("trade_executions", execution["execution_id"], changes)
        record_event(
            tx, "resolve.not_placed", execution["execution_id"], writer.actor, reason, execution["status"]
        )
        live = tx.one(
            "SELECT 1 FROM trade_executions WHERE decision_id = ?"
            " AND status NOT IN ('not_sent', 'not_accepted')",
            (decision_id,),
        )
        state: dict[str, Any] = {"needs_attention": None, "next_attempt_at": None}
        if live is None:
            state |= {"status": DecisionStatus.FAILED, "failure_code": "other", "failure_message": message}
            state["failed_at"] = tx.now
        tx.update("trade_decisions", decision_id, state)
        for (request_id,) in tx.query(
            "SELECT request_id FROM order_requests WHERE execution_id = ? AND ended_at IS NULL",
            (execution["execution_id"],),
        ):
            transitions.end_request(tx, request_id, RequestStatus.OVERTAKEN, message)
        if live is not None:
            transitions.update_decision(tx, decision_id)
        _fence(tx, decision_id)
        clear(tx, decision_id)
        tx.journal("decision.resolved", decision_id)


def adopt_order(session: BrokerSession, decision_id: str, broker_order_id: str, reason: str) -> None:
    """Record a person's decision which of the broker's orders it is; it is looked up and adopted.

    Raises NotFound, UsageError where it belongs to another decision, TradelogError without a response.
    """
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", broker_order_id):
        raise UsageError(f"{broker_order_id!r} is no id of an order", hint="the broker's page shows it")
    exchange = session.broker.order(broker_order_id)
    classification = responses.classify_lookup(exchange)
    with session.writer.transaction() as tx:
        execution = _unsettled(tx, decision_id)
        _refuse_held(tx, decision_id, session.worker_id)
        call_id = exchanges.record_exchange(tx, exchange, Purpose.LOOKUP, execution["execution_id"])
        order = classification.order
        if order is not None:
            _refuse_other(tx, decision_id, broker_order_id)
            _refuse_unlike(tx, decision_id, order)
            owner = Owner(execution["execution_id"], decision_id)
            old = execution["status"]
            record_event(
                tx, "resolve.adopted", owner.execution_id, session.writer.actor, reason, old, broker_order_id
            )
            tx.update("trade_decisions", decision_id, {"needs_attention": None, "next_attempt_at": None})
            orders.apply_order(tx, session.account, owner, order, "lookup", call_id)
            _fence(tx, decision_id)
            clear(tx, decision_id)
        tx.journal_rest("decision.resolved", decision_id)
    if classification.kind is responses.ResponseKind.NOT_FOUND:
        raise NotFound(
            f"the broker has no order {broker_order_id}", hint="tradelog reconcile lists what it has"
        )
    if classification.order is None:
        raise TradelogError(
            f"no response about {broker_order_id}: {classification.message}", hint="try again"
        )


def acknowledge(writer: Writer, decision_id: str, reason: str) -> None:
    """Record that a person has looked at it: it continues. Raises UsageError if it does not wait."""
    with writer.transaction() as tx:
        row = tx.one("SELECT needs_attention FROM trade_decisions WHERE decision_id = ?", (decision_id,))
        if row[0] is None:
            raise UsageError(f"{decision_id} does not wait for a person", hint=f"tradelog show {decision_id}")
        record_event(tx, "resolve.seen", decision_id, writer.actor, reason, row[0])
        tx.update("trade_decisions", decision_id, {"needs_attention": None, "next_attempt_at": None})
        clear(tx, decision_id, ("needs_attention",), by=writer.actor)
        tx.journal("decision.resolved", decision_id)


def accept_break(writer: Writer, break_id: str, reason: str) -> dict[str, Any]:
    """Accept a break for a person's reason; returns its row as it was. Raises UsageError for a closed one."""
    with writer.transaction() as tx:
        row = tx.dicts("SELECT * FROM breaks WHERE break_id = ?", (break_id,))[0]
        if row["closed_at"] is not None:
            raise UsageError(f"{break_id} is closed already: {row['closed_why']}")
        record_event(tx, "break.accepted", break_id, writer.actor, reason, row["expected"], row["actual"])
        positions.accept_break(tx, break_id, reason, writer.actor)
    return row


def _unsettled(tx: Transaction, decision_id: str) -> dict[str, Any]:
    rows = tx.dicts(
        "SELECT * FROM trade_executions WHERE decision_id = ? AND status IN ('sending', 'unknown')"
        " ORDER BY id DESC LIMIT 1",
        (decision_id,),
    )
    if not rows:
        raise UsageError(
            f"{decision_id} has no attempt with an unknown outcome", hint=f"tradelog show {decision_id}"
        )
    return rows[0]


def _refuse_held(tx: Transaction, decision_id: str, worker_id: str) -> None:
    decision = tx.dicts("SELECT * FROM trade_decisions WHERE decision_id = ?", (decision_id,))[0]
    if claims.is_leased(tx, decision, worker_id):
        raise UsageError(
            f"a worker holds {decision_id} just now", hint="wait for it: tradelog status shows the result"
        )


def _refuse_other(tx: Transaction, decision_id: str, broker_order_id: str) -> None:
    row = tx.one("SELECT decision_id FROM alpaca_orders WHERE broker_order_id = ?", (broker_order_id,))
    if row is not None and row[0] not in (None, decision_id):
        raise UsageError(f"order {broker_order_id} belongs to {row[0]}", hint=f"tradelog show {row[0]}")


def _refuse_unlike(tx: Transaction, decision_id: str, order: Mapping[str, Any]) -> None:
    """Raise UsageError for an order that is another one; its size and its end are the person's to judge."""
    decision = tx.dicts("SELECT * FROM trade_decisions WHERE decision_id = ?", (decision_id,))[0]
    expected = claims.wire_order({**decision, "client_order_id": order["client_order_id"]})
    different = responses.mismatch(order, expected, sized=False)
    if different is not None:
        raise UsageError(f"order {order['id']} is not of {decision_id}: {different}")


def _fence(tx: Transaction, decision_id: str) -> None:
    """Take the lease from its owner: a worker that wakes now writes nothing."""
    tx.unaudited(
        "UPDATE trade_decisions SET lease_owner = NULL, lease_until = NULL, lease_token = lease_token + 1"
        " WHERE decision_id = ?",
        (decision_id,),
    )
