"""Order updates: the state and fills of our orders, and the adoption of orders that others placed.

Every function is one step inside a transaction of the caller; none makes a request. Nothing is written
where nothing changed, so that polling a resting order for a day adds nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tradelog.domain import clock, money
from tradelog.domain.account import AccountKey
from tradelog.domain.status import AttemptStatus, DecisionStatus
from tradelog.execute.outbox import responses, transitions
from tradelog.execute.outbox.claims import insert_attempt, wire_order
from tradelog.operate.alerts import clear, raise_alert
from tradelog.store import decisions
from tradelog.store.writer import Transaction

# The columns of alpaca_orders in which an order can change.
_STATE = ("client_order_id", "status", "filled_quantity", "filled_avg_price", "replaces", "replaced_by")
# How far an order's time at the broker may be from the request that it came of.
COMMAND_SECONDS = 120.0
CLEARED_BY_ORDER = ("outcome_unknown", "broker_not_sent", "broker_not_accepted", "unknown_order_status")


@dataclass(frozen=True, slots=True)
class Owner:
    """The attempt and the decision that an order belongs to."""

    execution_id: str
    decision_id: str


def state_of(order: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of alpaca_orders that an order sets, in stored form."""
    average = responses.decimal_field(order, "filled_avg_price")
    return {
        "client_order_id": order["client_order_id"],
        "status": order["status"],
        "filled_quantity": money.to_text(responses.decimal_field(order, "filled_qty") or money.ZERO),
        "filled_avg_price": None if average is None else money.to_text(average),
        **{name: _id(order.get(name)) for name in ("replaces", "replaced_by")},
    }


def is_update(connection: sqlite3.Connection, order: Mapping[str, Any]) -> bool:
    """Whether an order differs from the store, and is not older."""
    stored = connection.execute(
        f"SELECT {', '.join(_STATE)}, json_extract(raw, '$.updated_at') FROM alpaca_orders"
        " WHERE broker_order_id = ?",
        (order["id"],),
    ).fetchone()
    if stored is None:
        return True
    then, now = clock.read_moment(stored[-1]), clock.read_moment(order.get("updated_at"))
    # Of two workers one may receive an older response later.
    is_older = then is not None and now is not None and now < then
    return not is_older and tuple(stored[:-1]) != tuple(state_of(order).values())


def apply_order(
    tx: Transaction,
    account: AccountKey,
    owner: Owner,
    order: Mapping[str, Any],
    source: str,
    call_id: int | None = None,
) -> None:
    """Record the broker's view of an order and its consequences; nothing where nothing changed."""
    status = responses.attempt_status(order)
    filled = responses.decimal_field(order, "filled_qty") or money.ZERO
    if _goes_back(tx, owner.execution_id, order, status, filled):
        # A bust, or an order that lives again: recorded as the broker has it, and a person must look.
        if _note_order(tx, account, owner, order, source, call_id):
            text = f"{order['symbol']}: order {order['id']} went back to {order['status']}, filled {filled}"
            raise_alert(tx, "order_went_back", str(order["id"]), text, once=True)
            tx.journal("order.went_back", owner.execution_id)
        return
    if not _note_order(tx, account, owner, order, source, call_id):
        return
    average = responses.decimal_field(order, "filled_avg_price")
    changes: dict[str, Any] = {
        "status": status,
        "broker_status": order["status"],
        "alpaca_order_id": order["id"],
        "filled_quantity": money.to_text(filled),
        "filled_avg_price": None if average is None else money.to_text(average),
        "submitted_at": clock.read_moment(order.get("submitted_at") or order.get("created_at")),
        "filled_at": clock.read_moment(order.get("filled_at")),
        # Whatever was unknown before, the order is known now.
        "error_message": None,
        "failure_code": None,
    }
    if status == AttemptStatus.REJECTED:
        changes |= {"rejected_at": tx.now, "failure_code": "rejected_by_venue"}
    attempt = tx.dicts("SELECT * FROM trade_executions WHERE execution_id = ?", (owner.execution_id,))[0]
    tx.update("trade_executions", owner.execution_id, changes)
    if attempt["replaces"] is not None and attempt["alpaca_order_id"] is None:
        decision = tx.dicts("SELECT * FROM trade_decisions WHERE decision_id = ?", (owner.decision_id,))[0]
        transitions.check_replacement_terms(tx, owner.decision_id, wire_order(decision, attempt), order)
    if filled:
        _sum_fills(tx, owner.execution_id, order["id"])
    clear(tx, owner.decision_id, CLEARED_BY_ORDER)
    if str(order["status"]) not in responses.LIVE | responses.TERMINAL.keys():
        text = f"{order['symbol']}: the broker's status {order['status']!r} is not known"
        raise_alert(tx, "unknown_order_status", owner.decision_id, text)
    transitions.update_decision(tx, owner.decision_id)
    tx.journal(f"order.{source}", owner.execution_id)


def note_foreign(
    tx: Transaction,
    account: AccountKey,
    order: Mapping[str, Any],
    source: str,
    call_id: int | None,
    *,
    quiet: bool = False,
) -> None:
    """Record an order without a decision, such as one of several legs, with an alert unless ``quiet``."""
    if not _note_order(tx, account, None, order, source, call_id):
        return
    if not quiet:
        text = (
            f"{order['symbol']}: order {order['id']} is no simple order, and is recorded without a decision"
        )
        raise_alert(tx, "order_not_adopted", str(order["id"]), text, once=True)
    tx.journal("order.kept", str(order["id"]))


def apply_fills(tx: Transaction, account: AccountKey, activities: Sequence[Mapping[str, Any]]) -> int:
    """Record the fills of known orders that are not on record; returns how many were new."""
    added = 0
    for item in activities:
        order = tx.one(
            "SELECT execution_id FROM alpaca_orders WHERE broker_order_id = ? AND broker = ?"
            " AND environment = ? AND account = ?",
            (item["order_id"], *account),
        )
        if order is None:
            continue
        fill = _fill(tx, account, item, order[0])
        stored = tx.one(
            "SELECT broker_order_id, quantity, price FROM fills WHERE fill_id = ?", (fill["fill_id"],)
        )
        if stored is not None:
            if tuple(stored) != (fill["broker_order_id"], fill["quantity"], fill["price"]):
                text = (
                    f"fill {item['id']} has two contents at the broker: now {item['qty']} at {item['price']}"
                )
                raise_alert(tx, "fill_conflict", str(item["id"]), text, once=True)
                tx.journal_rest("fill.conflict", str(item["id"]))
            continue
        added += 1
        tx.insert("fills", fill)
        if order[0] is not None:
            _sum_fills(tx, order[0], item["order_id"])
        tx.journal("fill.recorded", str(item["id"]))
    return added


def _sum_fills(tx: Transaction, execution_id: str, order_id: str) -> None:
    """By the order, not the attempt: its fills may have come before its owner was known."""
    rows = tx.query("SELECT quantity FROM fills WHERE broker_order_id = ?", (order_id,))
    total = sum((money.parse(row[0]) for row in rows), money.ZERO)
    tx.unaudited(
        "UPDATE trade_executions SET fills_quantity = ? WHERE execution_id = ?",
        (money.to_text(total), execution_id),
    )


def is_of_another(tx: Transaction, execution_id: str, order: Mapping[str, Any]) -> bool:
    """Whether an order is known as that of another attempt, which has the same client order id."""
    row = tx.one("SELECT execution_id FROM alpaca_orders WHERE broker_order_id = ?", (order["id"],))
    return row is not None and row[0] is not None and row[0] != execution_id


def owner_of(tx: Transaction, account: AccountKey, order: Mapping[str, Any]) -> Owner | None:
    """The attempt that an order of the broker belongs to; None where it has no owner here."""
    row = tx.one(
        "SELECT execution_id, decision_id FROM alpaca_orders WHERE broker_order_id = ? AND broker = ?"
        " AND environment = ? AND account = ? AND execution_id IS NOT NULL",
        (order["id"], *account),
    ) or tx.one(
        # Of several attempts under one id the last one is the one that may have reached the broker.
        "SELECT execution_id, decision_id FROM trade_executions WHERE client_order_id = ? AND broker = ?"
        " AND environment = ? AND account = ? AND alpaca_order_id IS NULL"
        # A bot's order that was refused because its id was taken is not the one that has it.
        " AND coalesce(failure_code, '') <> ?"
        " ORDER BY status IN ('sending', 'unknown') DESC, id DESC LIMIT 1",
        (order["client_order_id"], *account, transitions.DUPLICATE_ID),
    )
    if row is not None and row[0] is not None:
        return Owner(row[0], row[1])
    decision = tx.dicts(
        "SELECT * FROM trade_decisions d WHERE client_order_id = ? AND broker = ? AND environment = ?"
        " AND account = ? AND status IN ('pending', 'cancelled') AND adopted = 0 AND NOT EXISTS (SELECT 1"
        " FROM trade_executions e WHERE e.client_order_id = d.client_order_id"
        " AND e.alpaca_order_id IS NOT NULL)",
        (order["client_order_id"], *account),
    )
    if not decision or responses.mismatch(order, wire_order(decision[0])) is not None:
        return None
    # Never submitted by this store, and yet there: the store was restored from an older copy.
    execution_id, _ = insert_attempt(tx, decision[0], order["client_order_id"], status=AttemptStatus.UNKNOWN)
    text = f"{order['symbol']}: the broker has an order of this decision that this store never submitted"
    raise_alert(tx, "landed_unrecorded", decision[0]["decision_id"], text)
    return Owner(execution_id, decision[0]["decision_id"])


def adopt(
    tx: Transaction, account: AccountKey, order: Mapping[str, Any], actor: str, *, command: str | None = None
) -> Owner | None:
    """Adopt an order that others placed, after the fact; None where it is no simple order.

    One that replaces a known order continues that decision; ``command`` is the bot's that asked for it,
    and needs no alert. Any other becomes a decision of strategy ``manual``.
    """
    replaced = tx.dicts(
        "SELECT d.*, e.execution_id FROM alpaca_orders o"
        " JOIN trade_executions e ON e.execution_id = o.execution_id"
        " JOIN trade_decisions d ON d.decision_id = e.decision_id"
        " WHERE o.broker_order_id = ? AND o.broker = ? AND o.environment = ? AND o.account = ?",
        (_id(order.get("replaces")), *account),
    )
    terms = terms_of(order)
    if terms is None:
        return None
    if replaced:
        return _continue(tx, replaced[0], order, terms, command)
    of_bot = _parent_of(tx, account, order)
    if of_bot is not None:
        return adopt_child(tx, account, order, terms, of_bot, actor)
    rationale = {
        "recorded_after_the_fact": True,
        "why": "found at the broker: tradelog did not submit it",
        "broker_order": {key: value for key, value in order.items() if key != "legs"},
    }
    decision_id, _ = decisions.insert(
        tx,
        {
            "signal_id": None,
            "strategy_name": "manual",
            "strategy_version": None,
            "actor": actor,
            **account.as_columns(),
            **terms,
            "extended_hours": int(order.get("extended_hours") is True),
            "decision_rationale": json.dumps(rationale, ensure_ascii=False, default=str),
            "basis": tx.seq,
            "expires_at": None,
            "created_at": tx.now,
        },
        adopted={"client_order_id": order["client_order_id"], "status": DecisionStatus.EXECUTING},
    )
    decision = {**terms, "decision_id": decision_id}
    decision |= account.as_columns()
    execution_id, _ = insert_attempt(tx, decision, order["client_order_id"], status=AttemptStatus.ACCEPTED)
    if str(order["client_order_id"]).startswith("tl-"):
        text = f"{order['symbol']}: an order with a tradelog id that this store does not have"
        raise_alert(tx, "order_of_another_log", decision_id, text)
    tx.journal("order.adopted", decision_id)
    return Owner(execution_id, decision_id)


@dataclass(frozen=True, slots=True)
class Parent:
    """What an order came of: a command of a bot, or the order whose leg it is. ``rationale`` is JSON."""

    parent: str
    strategy: str
    rationale: str


def adopt_child(
    tx: Transaction,
    account: AccountKey,
    order: Mapping[str, Any],
    terms: Mapping[str, Any],
    parent: Parent,
    actor: str,
    inputs: Sequence[int] = (),
) -> Owner:
    """Record an order that came of a bot's command or order, under its name."""
    decision_id, _ = decisions.insert(
        tx,
        {
            "signal_id": None,
            "strategy_name": parent.strategy,
            "strategy_version": None,
            "actor": actor,
            **account.as_columns(),
            **terms,
            "extended_hours": int(order.get("extended_hours") is True),
            "decision_rationale": parent.rationale,
            "basis": tx.seq,
            "expires_at": None,
            "created_at": tx.now,
            "parent": parent.parent,
        },
        inputs,
        sent={"client_order_id": order["client_order_id"], "status": DecisionStatus.EXECUTING},
    )
    tx.journal("decision.recorded", decision_id)
    decision = tx.dicts("SELECT * FROM trade_decisions WHERE decision_id = ?", (decision_id,))[0]
    execution_id, _ = insert_attempt(tx, decision, order["client_order_id"], status=AttemptStatus.ACCEPTED)
    tx.journal("client.child", decision_id)
    return Owner(execution_id, decision_id)


def _parent_of(tx: Transaction, account: AccountKey, order: Mapping[str, Any]) -> Parent | None:
    """The command or the order of a bot that an order came of, where its answer has not told, or was lost."""
    at = clock.read_moment(order.get("submitted_at") or order.get("created_at"))
    if at is None or str(order["client_order_id"]).startswith("tl-"):
        return None
    # The broker's clock may differ from ours, and a call takes its time.
    window = (*account, clock.later(at, -COMMAND_SECONDS), clock.later(at, COMMAND_SECONDS))
    symbol = str(order["symbol"])
    row = tx.one(
        "SELECT command_id, strategy_name, reason FROM client_commands WHERE broker = ? AND environment = ?"
        " AND account = ? AND started_at BETWEEN ? AND ? AND status NOT IN ('refused', 'not_sent') AND ("
        " kind = 'close_all' OR (kind = 'close' AND replace(target, '/', '') = replace(?, '/', ''))"
        " OR (kind = 'order' AND instr(request, ?) > 0)) ORDER BY id DESC LIMIT 1",
        (*window, symbol, json.dumps(symbol)),
    )
    if row is not None:
        return Parent(*row)
    if (order.get("type") or order.get("order_type")) == "market":
        return None  # a leg takes profit, or stops a loss
    row = tx.one(
        "SELECT decision_id, strategy_name FROM trade_decisions WHERE broker = ? AND environment = ?"
        " AND account = ? AND created_at BETWEEN ? AND ? AND recorded = 1 AND parent IS NULL AND symbol = ?"
        " AND json_extract(decision_rationale, '$.client.request.order_class') IN ('bracket', 'oto', 'oco')"
        " ORDER BY id DESC LIMIT 1",
        (*window, symbol),
    )
    return None if row is None else Parent(row[0], row[1], json.dumps({"why": f"a leg of {row[0]}"}))


def _continue(
    tx: Transaction,
    old: Mapping[str, Any],
    order: Mapping[str, Any],
    terms: Mapping[str, Any],
    command: str | None,
) -> Owner:
    own = {name: terms[name] for name in ("quantity", "limit_price", "stop_price", "time_in_force")}
    execution_id, _ = insert_attempt(
        tx, old, order["client_order_id"], status=AttemptStatus.ACCEPTED, replaces=old["execution_id"], **own
    )
    if command is None and not _is_replaced_by_bot(tx, old, order):
        text = f"{order['symbol']}: replaced at the broker by order {order['id']}, not by tradelog"
        raise_alert(tx, "replaced_at_broker", old["decision_id"], text)
    tx.journal("order.continued", execution_id)
    return Owner(execution_id, old["decision_id"])


def _is_replaced_by_bot(tx: Transaction, old: Mapping[str, Any], order: Mapping[str, Any]) -> bool:
    """Whether a bot asked for this replacement through the recording client, and got no clear answer."""
    row = tx.one(
        "SELECT 1 FROM client_commands WHERE broker = ? AND environment = ? AND account = ?"
        " AND started_at >= ? AND kind = 'replace' AND target = ?"
        " AND status IN ('sending', 'unknown', 'done')",
        (*(old[name] for name in ("broker", "environment", "account", "created_at")), order["replaces"]),
    )
    return row is not None


def terms_of(order: Mapping[str, Any]) -> dict[str, Any] | None:
    """The terms of an order as columns of a decision; None for one that is no simple order.

    ``order`` is in the broker's form, as it is sent or as it is answered.
    """
    kind = order.get("type") or order.get("order_type")
    quantity, notional = responses.decimal_field(order, "qty"), responses.decimal_field(order, "notional")
    if order.get("side") not in ("buy", "sell") or not isinstance(kind, str) or not kind:
        return None
    if (quantity is None and notional is None) or not isinstance(order.get("symbol"), str):
        return None
    numbers = {"quantity": quantity, "notional": notional if quantity is None else None}
    numbers |= {name: responses.decimal_field(order, name) for name in ("limit_price", "stop_price")}
    # The hash of a decision covers these only where they are set.
    trails = {name: responses.decimal_field(order, name) for name in ("trail_price", "trail_percent")}
    numbers |= {name: number for name, number in trails.items() if number is not None}
    return {
        "symbol": order["symbol"],
        "side": order["side"],
        **{name: None if number is None else money.to_text(number) for name, number in numbers.items()},
        "order_type": kind,
        "time_in_force": str(order.get("time_in_force") or "day"),
    }


def _fill(
    tx: Transaction, account: AccountKey, item: Mapping[str, Any], execution_id: str | None
) -> dict[str, Any]:
    return {
        "fill_id": item["id"],
        "broker_order_id": item["order_id"],
        "execution_id": execution_id,
        **account.as_columns(),
        "symbol": item["symbol"],
        "side": item["side"],
        "quantity": money.to_text(money.parse(item["qty"])),
        "price": money.to_text(money.parse(item["price"])),
        "price_basis": item.get("price_basis", "broker"),
        "transaction_time": clock.read_moment(item["transaction_time"]),
        "seen_at": tx.now,
    }


def _goes_back(
    tx: Transaction, execution_id: str, order: Mapping[str, Any], status: str, filled: Decimal
) -> bool:
    """Whether the broker takes back a recorded fill or end of an order.

    A replaced one may live again: the venue can refuse its replacement.
    """
    stored = tx.one(
        "SELECT status, filled_quantity, alpaca_order_id FROM trade_executions WHERE execution_id = ?",
        (execution_id,),
    )
    if stored[2] is not None and stored[2] != order["id"]:
        return True
    has_ended = stored[0] in responses.TERMINAL.values() and stored[0] != AttemptStatus.REPLACED
    if stored[2] is None and stored[0] == AttemptStatus.REJECTED:
        # Refused by a response, and there all the same: the order counts.
        has_ended = False
    return filled < money.parse(stored[1]) or (has_ended and status not in responses.TERMINAL.values())


def _id(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _note_order(
    tx: Transaction,
    account: AccountKey,
    owner: Owner | None,
    order: Mapping[str, Any],
    source: str,
    call_id: int | None,
) -> bool:
    """Record the broker's order where it changed; True where it did."""
    state = state_of(order)
    stored = tx.one(
        f"SELECT {', '.join(_STATE)}, execution_id FROM alpaca_orders WHERE broker_order_id = ?",
        (order["id"],),
    )
    is_claimed = owner is not None and stored is not None and stored[-1] is None
    if stored is not None and tuple(stored[:-1]) == tuple(state.values()) and not is_claimed:
        return False
    owners = {"decision_id": owner.decision_id, "execution_id": owner.execution_id} if owner else {}
    raw = json.dumps(order, ensure_ascii=False, default=str)
    if stored is None:
        tx.insert(
            "alpaca_orders",
            {
                "broker_order_id": order["id"],
                **state,
                **account.as_columns(),
                "symbol": order["symbol"],
                **owners,
                "raw": raw,
                "first_seen_at": tx.now,
                "updated_at": tx.now,
            },
        )
    else:
        tx.update("alpaca_orders", order["id"], {**state, **owners, "raw": raw, "updated_at": tx.now})
    tx.insert(
        "order_events",
        {
            "broker_order_id": order["id"],
            "execution_id": None if owner is None else owner.execution_id,
            "status": order["status"],
            "filled_quantity": state["filled_quantity"],
            "source": source,
            "seen_at": tx.now,
            "call_id": call_id,
        },
    )
    return True
