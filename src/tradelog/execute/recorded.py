"""Orders that a bot sends itself, through the recording client: on record before they leave, and as they end.

Each function is one step inside a transaction of the caller; none makes a request. An attempt of such an
order is tracked and reconciled like any other. What has no clear answer is looked up, never submitted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tradelog.domain import clock, ids
from tradelog.domain.account import AccountKey
from tradelog.domain.status import AttemptStatus, CommandKind, CommandStatus, DecisionStatus
from tradelog.execute.brokers.base import Exchange
from tradelog.execute.outbox import exchanges, responses, transitions
from tradelog.execute.outbox.claims import acquire_lease, insert_attempt, wire_order
from tradelog.execute.outbox.exchanges import Purpose
from tradelog.execute.outbox.responses import Classification, ResponseKind
from tradelog.execute.track import orders
from tradelog.execute.track.orders import Owner
from tradelog.operate.alerts import raise_alert
from tradelog.store import decisions
from tradelog.store.writer import Transaction

# What ends a bot's order without one at the broker, and the state of its attempt then.
_NOT_PLACED = {
    ResponseKind.NOT_SENT: AttemptStatus.NOT_SENT,
    ResponseKind.BAD_KEYS: AttemptStatus.NOT_ACCEPTED,
    ResponseKind.THROTTLED: AttemptStatus.NOT_ACCEPTED,
}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a bot acts: its strategy, what it says of it, and the record versions that it rests on."""

    strategy: str
    rationale: Mapping[str, Any]
    inputs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Sent:
    """A bot's order as it is about to leave."""

    decision_id: str
    execution_id: str
    client_order_id: str


def insert(
    tx: Transaction,
    account: AccountKey,
    reason: Reason,
    body: Mapping[str, Any],
    *,
    actor: str,
    worker_id: str,
    lease: timedelta,
) -> Sent:
    """Record an order of these terms that is about to leave; ``body`` is its JSON, numbers as Decimal."""
    client_order_id = body.get("client_order_id") or None
    own: dict[str, Any] = {} if client_order_id is None else {"client_order_id": client_order_id}
    decision_id, client_order_id = decisions.insert(
        tx,
        _intent(tx, account, reason, body, actor),
        reason.inputs,
        sent={"status": DecisionStatus.EXECUTING, **own},
    )
    tx.journal("decision.recorded", decision_id)
    decision = tx.dicts("SELECT * FROM trade_decisions WHERE decision_id = ?", (decision_id,))[0]
    execution_id, _ = insert_attempt(tx, decision, client_order_id)
    acquire_lease(tx, decision, worker_id, lease)
    tx.journal("client.sending", execution_id, decision=decision_id)
    return Sent(decision_id, execution_id, client_order_id)


def is_in_outbox(tx: Transaction, account: AccountKey, reason: Reason, body: Mapping[str, Any]) -> bool:
    """Whether the bot's id names a decision of its outbox that was, or may be, sent under another id."""
    row = tx.one(
        "SELECT 1 FROM trade_decisions WHERE broker = ? AND environment = ? AND account = ?"
        " AND strategy_name = ? AND decision_key = ? AND (status IN ('pending', 'executing', 'executed')"
        " OR EXISTS (SELECT 1 FROM trade_executions e WHERE e.decision_id = trade_decisions.decision_id"
        " AND e.alpaca_order_id IS NOT NULL))",
        (*account, reason.strategy, body.get("client_order_id")),
    )
    return row is not None


def is_plain(body: Mapping[str, Any]) -> bool:
    """Whether an order's JSON is all told by the terms of a decision; what is not is kept as a command."""
    client_order_id = body.get("client_order_id")
    if orders.terms_of(body) is None or (body.get("qty") is not None and body.get("notional") is not None):
        return False
    numbers = ("qty", "notional", "limit_price", "stop_price", "trail_price", "trail_percent")
    is_number = all(
        body.get(name) is None or responses.decimal_field(body, name) is not None for name in numbers
    )
    is_flag = body.get("extended_hours") in (None, True, False)
    return is_number and is_flag and (client_order_id is None or isinstance(client_order_id, str))


def note_retry(tx: Transaction, sent: Sent, exchange: Exchange) -> None:
    """Record an answer that alpaca-py tries again after."""
    classification = responses.classify_submit(exchange)
    exchanges.record_exchange(tx, exchange, Purpose.SUBMIT, sent.execution_id, classification)
    tx.update("trade_executions", sent.execution_id, {"resent_at": tx.now})
    tx.journal("client.resending", sent.execution_id)


def settle(
    tx: Transaction,
    account: AccountKey,
    sent: Sent,
    exchange: Exchange,
    *,
    may_have_landed: bool,
    purpose: Purpose = Purpose.SUBMIT,
    actor: str = "",
) -> Classification:
    """Record the last answer of a bot's call and what it proves; ``may_have_landed`` one before it."""
    is_lookup = purpose is Purpose.LOOKUP
    classification = responses.classify_lookup(exchange) if is_lookup else responses.classify_submit(exchange)
    call_id = exchanges.record_exchange(tx, exchange, purpose, sent.execution_id, classification)
    order = classification.order
    if order is not None and is_lookup and _is_of_another(tx, sent, order):
        classification = Classification(ResponseKind.DUPLICATE, f"its id is that of order {order['id']}")
        _reject(tx, sent, transitions.DUPLICATE_ID, classification.message)
    elif order is not None:
        _accept(tx, account, sent, order, call_id, actor)
    elif is_lookup or may_have_landed or classification.kind is ResponseKind.UNKNOWN:
        _leave_unknown(tx, sent, classification)
    elif classification.kind in _NOT_PLACED:
        status = _NOT_PLACED[classification.kind]
        changes = {"status": status, "error_message": classification.message}
        tx.update("trade_executions", sent.execution_id, changes)
        _fail(tx, sent, transitions.NOT_PLACED, classification.message)
    else:
        is_duplicate = classification.kind is ResponseKind.DUPLICATE
        code = transitions.DUPLICATE_ID if is_duplicate else classification.failure_code
        _reject(tx, sent, code, classification.message)
    _end_lease(tx, sent.decision_id)
    tx.journal_rest("client.answered", sent.execution_id)
    return classification


def insert_command(
    tx: Transaction,
    account: AccountKey,
    reason: Reason,
    kind: CommandKind,
    request: tuple[str, str, str | None],
    *,
    target: str | None,
    actor: str,
) -> str:
    """Record a bot's command that is about to leave; ``request`` is method, path and JSON."""
    command_id = ids.new(ids.COMMAND)
    method, path, body = request
    tx.insert(
        "client_commands",
        {
            "command_id": command_id,
            **account.as_columns(),
            "strategy_name": reason.strategy,
            "kind": kind,
            "target": target,
            "method": method,
            "path": path,
            "request": body,
            "reason": json.dumps(dict(reason.rationale), ensure_ascii=False, default=str),
            "actor": actor,
            "started_at": tx.now,
            "status": CommandStatus.SENDING,
        },
    )
    tx.journal("client.commanding", command_id)
    return command_id


def note_command_retry(tx: Transaction, command_id: str, exchange: Exchange) -> None:
    """Record an answer that alpaca-py tries a command again after."""
    classification = responses.classify_cancel(exchange)
    exchanges.record_exchange(tx, exchange, Purpose.COMMAND, None, classification, command_id=command_id)
    tx.journal("client.resending", command_id)


def end_command(
    tx: Transaction,
    account: AccountKey,
    reason: Reason,
    command_id: str,
    exchange: Exchange,
    *,
    may_have_worked: bool,
    actor: str,
) -> None:
    """Record the answer to a bot's command, with the orders in it as its children."""
    is_done = exchange.status is not None and 200 <= exchange.status < 300
    classification = responses.classify_cancel(exchange)
    if is_done:
        classification = Classification(ResponseKind.REQUESTED, "done")
    call_id = exchanges.record_exchange(
        tx, exchange, Purpose.COMMAND, None, classification, command_id=command_id
    )
    if is_done:
        status = CommandStatus.DONE
        for order in _orders_in(exchange.json()):
            _adopt_child(tx, account, reason, order, command_id, call_id, actor)
    elif may_have_worked or classification.kind is ResponseKind.UNKNOWN:
        status = CommandStatus.UNKNOWN
    elif classification.kind is ResponseKind.NOT_SENT:
        status = CommandStatus.NOT_SENT
    else:
        status = CommandStatus.REFUSED
    message = None if is_done else classification.message
    tx.update("client_commands", command_id, {"status": status, "message": message, "ended_at": tx.now})
    tx.journal("client.command_ended", command_id)


def _intent(
    tx: Transaction,
    account: AccountKey,
    reason: Reason,
    order: Mapping[str, Any],
    actor: str,
) -> dict[str, Any]:
    terms = orders.terms_of(order)
    assert terms is not None  # what has none is recorded as a command
    return {
        "signal_id": None,
        "strategy_name": reason.strategy,
        "strategy_version": None,
        "actor": actor,
        **account.as_columns(),
        **terms,
        "extended_hours": int(order.get("extended_hours") is True),
        "decision_rationale": json.dumps(dict(reason.rationale), ensure_ascii=False, default=str),
        "basis": tx.seq,
        "expires_at": None,
        "created_at": tx.now,
    }


def _is_of_another(tx: Transaction, sent: Sent, order: Mapping[str, Any]) -> bool:
    decision = tx.dicts("SELECT * FROM trade_decisions WHERE decision_id = ?", (sent.decision_id,))[0]
    return (
        orders.is_of_another(tx, sent.execution_id, order)
        or responses.mismatch(order, wire_order(decision)) is not None
    )


def _reject(tx: Transaction, sent: Sent, code: str | None, message: str) -> None:
    details: dict[str, Any] = {"failure_code": code, "error_message": message}
    details |= {"status": AttemptStatus.REJECTED, "rejected_at": tx.now}
    tx.update("trade_executions", sent.execution_id, details)
    transitions.update_decision(tx, sent.decision_id)


def _accept(
    tx: Transaction,
    account: AccountKey,
    sent: Sent,
    order: Mapping[str, Any],
    call_id: int,
    actor: str,
) -> None:
    decision = tx.dicts("SELECT * FROM trade_decisions WHERE decision_id = ?", (sent.decision_id,))[0]
    different = responses.mismatch(order, wire_order(decision))
    if different is not None:
        text = f"{decision['symbol']}: the answer to the bot is another order: {different}"
        raise_alert(tx, "order_unlike", sent.decision_id, text)
    _apply(tx, account, Owner(sent.execution_id, sent.decision_id), order, call_id)
    legs = order.get("legs")
    for leg in legs if isinstance(legs, list) else ():
        parsed = responses.parse_order(leg)
        if parsed is not None:
            leg_reason = Reason(decision["strategy_name"], {"why": f"a leg of {sent.decision_id}"})
            _adopt_child(tx, account, leg_reason, parsed, sent.decision_id, call_id, actor)


def _adopt_child(
    tx: Transaction,
    account: AccountKey,
    reason: Reason,
    order: Mapping[str, Any],
    parent: str,
    call_id: int,
    actor: str,
) -> None:
    """Record an order that came of a command, or a leg of another order, unless it is on record."""
    owner = orders.owner_of(tx, account, order)
    if owner is None and order.get("replaces"):
        owner = orders.adopt(tx, account, order, actor, command=parent)
    terms = orders.terms_of(order)
    if owner is None and terms is not None:
        why = json.dumps(dict(reason.rationale), ensure_ascii=False, default=str)
        came_of = orders.Parent(parent, reason.strategy, why)
        owner = orders.adopt_child(tx, account, order, terms, came_of, actor, reason.inputs)
    if owner is None:
        orders.note_foreign(tx, account, order, "submit", call_id, quiet=True)
    else:
        _apply(tx, account, owner, order, call_id)


def _apply(
    tx: Transaction, account: AccountKey, owner: Owner, order: Mapping[str, Any], call_id: int
) -> None:
    """Record the broker's view, unless a worker has recorded a later one while the bot waited for this."""
    stored = tx.one(
        "SELECT json_extract(raw, '$.updated_at') FROM alpaca_orders"
        " WHERE broker_order_id = ? AND execution_id IS NOT NULL",
        (order["id"],),
    )
    if stored is not None:
        then, now = clock.read_moment(stored[0]), clock.read_moment(order.get("updated_at"))
        if then is not None and now is not None and now <= then:
            return
    orders.apply_order(tx, account, owner, order, "submit", call_id)


def _orders_in(answer: Any) -> list[dict[str, Any]]:
    """The orders that an answer holds: itself, in a list of results, and the legs of each."""
    found: list[dict[str, Any]] = []
    waiting: Sequence[Any] = answer if isinstance(answer, list) else [answer]
    for item in waiting:
        order = responses.parse_order(item)
        if order is None and isinstance(item, dict):
            # An order of several legs has no symbol itself; a closed position has its order as body.
            order = responses.parse_order(item.get("body"))
        holder = order or (item if isinstance(item, dict) else {})
        legs = holder.get("legs")
        found += [] if order is None else [order]
        found += [
            leg for entry in (legs if isinstance(legs, list) else ()) if (leg := responses.parse_order(entry))
        ]
    return found


def _leave_unknown(tx: Transaction, sent: Sent, classification: Classification) -> None:
    tx.update(
        "trade_executions",
        sent.execution_id,
        {"status": AttemptStatus.UNKNOWN, "error_message": classification.message},
    )
    symbol = tx.one("SELECT symbol FROM trade_decisions WHERE decision_id = ?", (sent.decision_id,))[0]
    raise_alert(tx, "outcome_unknown", sent.decision_id, f"{symbol}: {classification.message}")


def _fail(tx: Transaction, sent: Sent, code: str, message: str) -> None:
    transitions.end_unsubmitted(tx, sent.decision_id, DecisionStatus.FAILED, code, message)
    symbol = tx.one("SELECT symbol FROM trade_decisions WHERE decision_id = ?", (sent.decision_id,))[0]
    raise_alert(tx, "trade_failed", sent.decision_id, f"{symbol}: {message}")


def _end_lease(tx: Transaction, decision_id: str) -> None:
    tx.unaudited(
        "UPDATE trade_decisions SET lease_owner = NULL, lease_until = NULL WHERE decision_id = ?",
        (decision_id,),
    )
