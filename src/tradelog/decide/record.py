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

# The strategy of decisions that a person makes, on the command line or at the broker.
MANUAL = "manual"
KEY_LENGTH = 128

# The keys of a line of `tradelog decide --input`.
KEYS = (
    *("key", "strategy", "symbol", "side", "quantity", "notional", "order_type", "limit_price", "stop_price"),
    *("trail_price", "trail_percent", "time_in_force", "extended_hours", "expires_at", "rationale", "inputs"),
)


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision to record. ``inputs`` are record version ids; ``rationale`` is a JSON object.

    ``basis`` is the last journal sequence it could see, by default the newest. It is submitted before
    ``expires_at`` (store text, UTC) or not at all. ``key`` is its strategy's own name for it: recorded
    once more with the same key, it is the first one that counts.
    """

    strategy: str
    terms: OrderTerms
    rationale: Mapping[str, Any]
    inputs: tuple[int, ...] = ()
    strategy_version: str | None = None
    signal_id: str | None = None
    basis: int | None = None
    expires_at: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """``is_repeat`` where the key was used before: then these are the first decision's ids."""

    decision_id: str
    client_order_id: str
    is_repeat: bool = False


def parse(values: Mapping[str, Any]) -> Decision:
    """A decision from named values; raises InvalidDecision, also for a name that is not known."""
    for key in values:
        if key not in KEYS:
            raise InvalidDecision(str(key), "is not a known key", hint=f"known: {', '.join(KEYS)}")
    strategy = values.get("strategy")
    if strategy is None:
        raise InvalidDecision("strategy", "is missing", hint="the name of what decides, such as my-bot")
    if not isinstance(strategy, str) or not strategy.strip() or not strategy.isprintable():
        raise InvalidDecision("strategy", "must be a name")
    inputs = values.get("inputs", ())
    if not isinstance(inputs, list | tuple) or not all(
        type(item) is int and 0 < item < 2**63 for item in inputs
    ):
        raise InvalidDecision("inputs", "must be a list of record version numbers")
    return Decision(
        strategy.strip(),
        parse_terms(values),
        _rationale(values.get("rationale")),
        tuple(sorted(set(inputs))),
        expires_at=_moment(values, "expires_at"),
        key=_key(values.get("key")),
    )


def record(writer: Writer, account: AccountKey, decision: Decision) -> Recorded:
    """Commit a decision on its own. Raises InvalidDecision, StoreError; then nothing was recorded."""
    with writer.transaction() as tx:
        return record_in(tx, account, decision, actor=writer.actor)


def record_in(tx: Transaction, account: AccountKey, decision: Decision, *, actor: str) -> Recorded:
    """Record a decision within a transaction that may hold its signal as well.

    One whose key was used before is not recorded again. Raises InvalidDecision where it differs.
    """
    if decision.key is not None:
        earlier = _earlier(tx, account, decision)
        if earlier is not None:
            return earlier
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
    if decision.key is not None:
        intent["decision_key"] = decision.key
    decision_id, client_order_id = decisions.insert(tx, intent, decision.inputs)
    tx.journal("decision.recorded", decision_id)
    return Recorded(decision_id, client_order_id)


def _earlier(tx: Transaction, account: AccountKey, decision: Decision) -> Recorded | None:
    """The decision that has this key. Raises InvalidDecision where it is another one."""
    rows = tx.dicts(
        "SELECT * FROM trade_decisions WHERE strategy_name = ? AND broker = ? AND environment = ?"
        " AND account = ? AND decision_key = ?",
        (decision.strategy, *account, decision.key),
    )
    if not rows:
        return None
    row = rows[0]
    stored = json.loads(row["decision_rationale"])
    stored.pop("data_lineage", None)
    given = json.loads(_encode(decision.rationale))
    given.pop("data_lineage", None)
    inputs = tx.query(
        "SELECT version_id FROM decision_inputs WHERE decision = ? ORDER BY version_id", (row["id"],)
    )
    terms = decision.terms.as_columns()
    # A trail has columns only where it is set.
    pairs = [(name, row[name], terms.get(name)) for name in (*terms, "trail_price", "trail_percent")]
    pairs += [("expires_at", row["expires_at"], decision.expires_at), ("rationale", stored, given)]
    pairs.append(("inputs", [number for (number,) in inputs], sorted(decision.inputs)))
    other = next((name for name, then, now in pairs if then != now), None)
    if other is not None:
        raise InvalidDecision(
            "key",
            f"{decision.key!r} was used for {row['decision_id']}, whose {other} is another",
            hint=f"tradelog show {row['decision_id']}; a new decision needs a key of its own",
        )
    return Recorded(row["decision_id"], row["client_order_id"], is_repeat=True)


def _rationale(value: Any) -> dict[str, Any]:
    """The reason as a JSON object. Raises InvalidDecision where none is given."""
    if isinstance(value, str) and value.strip():
        return {"why": value}
    if value is None or value == {} or isinstance(value, str):
        raise InvalidDecision("rationale", "is missing", hint='why it is made: a text, or {"why": "..."}')
    if not isinstance(value, dict):
        raise InvalidDecision("rationale", "must be a JSON object or a text")
    return value


def _key(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > KEY_LENGTH:
        raise InvalidDecision("key", f"must be a text of 1 to {KEY_LENGTH} printable characters")
    return value


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
