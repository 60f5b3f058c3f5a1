"""Requests to cancel or replace: recorded in one commit, processed in others.

A cancel is about a decision: every order that it has at the broker is to go. A replace gives its newest order
other terms; ``quantity`` is what all orders of the decision are to reach together.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tradelog.domain import money
from tradelog.domain.order import LIMIT_TYPES, STOP_TYPES
from tradelog.domain.status import DecisionStatus, RequestKind
from tradelog.errors import UsageError
from tradelog.execute.outbox import claims, transitions
from tradelog.store.writer import Transaction

REPLACEABLE_TERMS = ("quantity", "limit_price", "stop_price", "time_in_force")


def request_cancel(tx: Transaction, decision_id: str, reason: str | None, actor: str) -> str:
    """Record that a decision is to be cancelled; returns the request, an open one where there is one.

    What was never submitted is cancelled right away. Raises UsageError where it has ended.
    """
    decision = load_decision(tx, decision_id)
    if not DecisionStatus(decision["status"]).is_open:
        raise UsageError(
            f"{decision_id} is {decision['status']} already; there is nothing to cancel",
            hint=f"tradelog show {decision_id}",
        )
    open_request = tx.one(
        "SELECT request_id FROM order_requests WHERE decision_id = ? AND kind = 'cancel'"
        " AND ended_at IS NULL",
        (decision_id,),
    )
    if open_request is not None:
        return str(open_request[0])
    request_id = transitions.insert_request(tx, RequestKind.CANCEL, decision_id, {}, reason, actor)
    if decision["status"] == DecisionStatus.PENDING:
        transitions.cancel_unsubmitted(tx, decision_id)
    tx.journal("cancel.asked", request_id, decision=decision_id)
    return request_id


def request_replace(
    tx: Transaction, decision_id: str, terms: Mapping[str, Any], reason: str | None, actor: str
) -> str:
    """Record that a decision's order is to be replaced with other terms; returns the request.

    Raises UsageError for terms that the order cannot have, and where there is no order to replace.
    """
    decision = load_decision(tx, decision_id)
    open_request = tx.one(
        "SELECT kind FROM order_requests WHERE decision_id = ? AND ended_at IS NULL", (decision_id,)
    )
    if open_request is not None:
        raise UsageError(
            f"a {open_request[0]} of {decision_id} is under way", hint=f"tradelog show {decision_id}"
        )
    target = newest_live_attempt(tx, decision_id)
    if target is None:
        raise UsageError(
            f"{decision_id} has no order at the broker that could be replaced (it is {decision['status']})",
            hint=f"tradelog show {decision_id}",
        )
    new_terms(tx, decision, target, terms)
    request_id = transitions.insert_request(
        tx, RequestKind.REPLACE, decision_id, _stored_terms(terms), reason, actor
    )
    tx.journal("replace.asked", request_id, decision=decision_id)
    return request_id


def new_terms(
    tx: Transaction, decision: Mapping[str, Any], target: Mapping[str, Any], terms: Mapping[str, Any]
) -> dict[str, Any]:
    """The terms of the new order as columns of its execution. Raises UsageError for impossible ones."""
    if decision["quantity"] is None:
        raise UsageError(
            "an order for an amount of money cannot be replaced",
            hint=f"tradelog cancel {decision['decision_id']}, then record a new decision",
        )
    old = claims.wire_order(decision, target)
    for name, price, kinds in (
        ("limit_price", terms.get("limit_price"), LIMIT_TYPES),
        ("stop_price", terms.get("stop_price"), STOP_TYPES),
    ):
        if price is not None and old.order_type not in kinds:
            raise UsageError(f"a {old.order_type} order has no {name.replace('_', ' ')}")
        if price is not None and not money.is_price(price):
            raise UsageError(
                f"{name.replace('_', ' ')} {money.to_text(price)} is finer than the market's steps",
                hint="two decimals from $1, four below",
            )
    quantity = _remaining(tx, decision, terms.get("quantity"))
    assert old.quantity is not None
    if quantity != old.quantity and money.places(quantity):
        raise UsageError(
            f"only whole shares can be replaced, and {money.to_text(quantity)} remain",
            hint=f"tradelog cancel {decision['decision_id']}, then record a new decision for the rest",
        )
    own = {
        "quantity": quantity,
        "limit_price": terms.get("limit_price") or old.limit_price,
        "stop_price": terms.get("stop_price") or old.stop_price,
    }
    time_in_force = str(terms.get("time_in_force") or old.time_in_force)
    if (*own.values(), time_in_force) == (old.quantity, old.limit_price, old.stop_price, old.time_in_force):
        raise UsageError("the order has these terms already")
    columns = {name: None if number is None else money.to_text(number) for name, number in own.items()}
    return {**columns, "time_in_force": time_in_force}


def load_decision(tx: Transaction, decision_id: str) -> dict[str, Any]:
    """The row of a decision that exists."""
    return tx.dicts("SELECT * FROM trade_decisions WHERE decision_id = ?", (decision_id,))[0]


def newest_live_attempt(tx: Transaction, decision_id: str) -> dict[str, Any] | None:
    """The newest order of a decision that is live at the broker."""
    rows = live_attempts(tx, decision_id)
    return rows[-1] if rows else None


def live_attempts(tx: Transaction, decision_id: str) -> list[dict[str, Any]]:
    """The attempts of a decision whose orders are live at the broker, oldest first."""
    return tx.dicts(
        "SELECT * FROM trade_executions WHERE decision_id = ? AND alpaca_order_id IS NOT NULL"
        " AND status IN ('accepted', 'partially_filled') ORDER BY id",
        (decision_id,),
    )


def _remaining(tx: Transaction, decision: Mapping[str, Any], total: Decimal | None) -> Decimal:
    """What is left of ``total``, or of the decision's quantity. Raises UsageError where nothing is."""
    executions = tx.dicts(
        "SELECT filled_quantity FROM trade_executions WHERE decision_id = ?", (decision["decision_id"],)
    )
    filled = transitions.filled_quantity_of(executions)
    target = total if total is not None else transitions.target_quantity(tx, decision)
    assert target is not None
    if target <= filled:
        raise UsageError(f"{money.to_text(filled)} are filled already; {money.to_text(target)} leave nothing")
    return target - filled


def _stored_terms(terms: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: money.to_text(value) if isinstance(value, Decimal) else str(value)
        for name, value in terms.items()
        if value is not None
    }


def parse_stored_terms(terms: Mapping[str, str]) -> dict[str, Any]:
    """The terms of a request as it is stored, with numbers as Decimal."""
    return {name: value if name == "time_in_force" else money.parse(value) for name, value in terms.items()}
