"""Recording a decision: validated, with its rationale and its inputs, in one durable commit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tradelog.decide import lineage
from tradelog.domain import clock, money
from tradelog.domain.account import AccountKey
from tradelog.domain.order import OrderTerms, parse_terms
from tradelog.errors import InvalidDecision, UsageError
from tradelog.store import decisions
from tradelog.store.writer import Transaction, Writer

MANUAL = "manual"

# The keys of a line of `tradelog decide --input`.
KEYS = (
    *("strategy", "symbol", "side", "quantity", "notional", "order_type", "limit_price", "stop_price"),
    *("trail_price", "trail_percent", "time_in_force", "extended_hours", "expires_at", "rationale", "inputs"),
)


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision to record. ``inputs`` are record version ids; ``rationale`` is a JSON object.

    ``basis`` is the last journal sequence it could see, by default the newest. It is submitted before
    ``expires_at`` (store text, UTC) or not at all.
    """

    strategy: str
    terms: OrderTerms
    rationale: Mapping[str, Any]
    inputs: tuple[int, ...] = ()
    strategy_version: str | None = None
    signal_id: str | None = None
    basis: int | None = None
    expires_at: str | None = None


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
    return Decision(
        strategy.strip(),
        parse_terms(values),
        rationale,
        tuple(sorted(set(inputs))),
        expires_at=_moment(values, "expires_at"),
    )


def record(writer: Writer, account: AccountKey, decision: Decision) -> Recorded:
    """Commit a decision on its own. Raises InvalidDecision, StoreError; then nothing was recorded."""
    with writer.transaction() as tx:
        return record_in(tx, account, decision, actor=writer.actor)


def record_in(tx: Transaction, account: AccountKey, decision: Decision, *, actor: str) -> Recorded:
    """Record a decision within a transaction that may hold its signal as well."""
    runs = lineage.check(tx, decision.inputs)
    # Set here, whoever decides: the runs of exactly the versions that are linked below.
    rationale = _encode({**decision.rationale, "data_lineage": {"ingestion_runs": runs}})
    intent = {
        "signal_id": decision.signal_id,
        "strategy_name": decision.strategy,
        "strategy_version": decision.strategy_version,
        "actor": actor,
        **account.as_columns(),
        **decision.terms.as_columns(),
        "decision_rationale": rationale,
        "basis": tx.seq if decision.basis is None else decision.basis,
        "expires_at": decision.expires_at,
        "created_at": tx.now,
    }
    decision_id, client_order_id = decisions.insert(tx, intent, decision.inputs)
    tx.journal("decision.recorded", decision_id)
    return Recorded(decision_id, client_order_id)


def _moment(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidDecision(name, f"{value!r} is no time", hint="such as 2025-12-24T14:30:00Z")
    try:
        return clock.to_text(clock.parse_moment(value, clock.MARKET_ZONE))
    except UsageError as error:
        raise InvalidDecision(name, error.message, hint=error.hint) from error


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
