"""Recording a decision: validated, with its rationale and its inputs, in one durable commit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tradelog.decide import lineage, order
from tradelog.domain import money
from tradelog.domain.account import AccountKey
from tradelog.errors import InvalidDecision
from tradelog.store import decisions
from tradelog.store.writer import Transaction, Writer

MANUAL = "manual"

# What a line of `tradelog decide --input` may hold.
KEYS = (
    *("strategy", "symbol", "side", "quantity", "notional", "order_type", "limit_price", "stop_price"),
    *("trail_price", "trail_percent", "time_in_force", "extended_hours", "expires_at", "rationale", "inputs"),
)


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision to record. ``inputs`` are record version ids; ``rationale`` is a JSON object.

    ``basis`` is the last journal sequence it could see, by default the last one of all.
    """

    strategy: str
    order: order.Order
    rationale: Mapping[str, Any]
    inputs: tuple[int, ...] = ()
    strategy_version: str | None = None
    signal_id: str | None = None
    basis: int | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    decision_id: str
    client_order_id: str


def parse(values: Mapping[str, Any]) -> Decision:
    """A decision from named values; raises InvalidDecision, also for a name that is not known."""
    for key in values:
        if key not in KEYS:
            raise InvalidDecision(str(key), "is not a known key", hint=f"known: {', '.join(KEYS)}")
    strategy = values.get("strategy", MANUAL)
    if not isinstance(strategy, str) or not strategy.strip() or not strategy.isprintable():
        raise InvalidDecision("strategy", "must be a name")
    rationale = values.get("rationale", {})
    if isinstance(rationale, str):
        rationale = {"why": rationale}
    if not isinstance(rationale, dict):
        raise InvalidDecision("rationale", "must be a JSON object or a text")
    inputs = values.get("inputs", ())
    if not isinstance(inputs, list | tuple) or not all(
        type(item) is int and 0 < item < 2**63 for item in inputs
    ):
        raise InvalidDecision("inputs", "must be a list of record version numbers")
    return Decision(strategy.strip(), order.parse(values), rationale, tuple(sorted(set(inputs))))


def record(writer: Writer, account: AccountKey, decision: Decision) -> Recorded:
    """Commit a decision on its own. Raises InvalidDecision, StoreError; then nothing was recorded."""
    with writer.transaction() as tx:
        return record_in(tx, account, decision, actor=writer.actor)


def record_in(tx: Transaction, account: AccountKey, decision: Decision, *, actor: str) -> Recorded:
    """Record a decision within a transaction that may hold its signal as well."""
    runs = lineage.check(tx, decision.inputs)
    # Ours to say, whoever decides: the runs of exactly the versions that are linked below.
    rationale = _encode({**decision.rationale, "data_lineage": {"ingestion_runs": runs}})
    wanted = decision.order
    intent = {
        "signal_id": decision.signal_id,
        "strategy_name": decision.strategy,
        "strategy_version": decision.strategy_version,
        "actor": actor,
        **account.as_columns(),
        "symbol": wanted.symbol,
        "side": wanted.side,
        "quantity": _number(wanted.quantity),
        "notional": _number(wanted.notional),
        "order_type": wanted.order_type,
        "limit_price": _number(wanted.limit_price),
        "stop_price": _number(wanted.stop_price),
        "time_in_force": wanted.time_in_force,
        "extended_hours": int(wanted.extended_hours),
        "decision_rationale": rationale,
        "basis": tx.seq if decision.basis is None else decision.basis,
        "expires_at": wanted.expires_at,
        "created_at": tx.now,
    }
    # Columns that came later are part of an intent, and of its hash, where they are set.
    trails = {"trail_price": wanted.trail_price, "trail_percent": wanted.trail_percent}
    intent |= {name: money.to_text(value) for name, value in trails.items() if value is not None}
    decision_id, client_order_id = decisions.insert(tx, intent, decision.inputs)
    tx.journal("decision.recorded", decision_id)
    return Recorded(decision_id, client_order_id)


def _number(number: Any) -> str | None:
    return None if number is None else money.to_text(number)


def _encode(rationale: Mapping[str, Any]) -> str:
    try:
        text = _encoder(rationale)
        text.encode()
    except (TypeError, ValueError) as error:
        raise InvalidDecision("rationale", f"is no JSON: {error}") from error
    return text


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return money.to_text(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain).encode
