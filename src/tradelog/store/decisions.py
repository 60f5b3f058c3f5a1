"""The row of a decision, its hash and its client order id: made here, whoever decides or adopts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from tradelog.domain import ids
from tradelog.store.journal import canonical
from tradelog.store.writer import Transaction


def insert(
    tx: Transaction,
    intent: Mapping[str, Any],
    inputs: Sequence[int] = (),
    *,
    adopted: Mapping[str, Any] | None = None,
    sent: Mapping[str, Any] | None = None,
) -> tuple[str, str]:
    """Insert a decision with its inputs; returns (decision_id, client_order_id). The caller journals.

    ``intent`` holds the columns that never change, in stored form; of those in `WHERE_SET` only what is set.
    The decision's hash covers them and the inputs. ``adopted`` is for an order that is already at the
    broker, ``sent`` for one that a recording client sends itself: the columns that say so.
    """
    decision_id = ids.new(ids.DECISION)
    meant: dict[str, Any] = {"decision_id": decision_id, **intent}
    if adopted is not None:
        meant["adopted"] = 1
    if sent is not None:
        meant["recorded"] = 1
    hash_ = _hash(meant, inputs)
    client_order_id = ids.client_order_id(decision_id, hash_, 1)
    row = {
        **meant,
        "adopted": 0 if adopted is None else 1,
        "recorded": meant.get("recorded", 0),
        "decision_hash": hash_,
        "client_order_id": client_order_id,
        "status": "pending",
        "retry_count": 0,
        "lease_token": 0,
        **(adopted or sent or {}),
    }
    number = tx.insert("trade_decisions", row)
    if inputs:
        tx.insert_inputs(number, decision_id, inputs)
    return decision_id, str(row["client_order_id"])


# What a decision's hash covers of its row, beside what is covered where it is set only.
COVERED = (
    *("decision_id", "signal_id", "strategy_name", "strategy_version", "actor", "broker", "environment"),
    *("account", "symbol", "side", "quantity", "notional", "order_type", "limit_price", "stop_price"),
    *("time_in_force", "extended_hours", "decision_rationale", "basis", "expires_at", "created_at"),
)
WHERE_SET = ("trail_price", "trail_percent", "adopted", "decision_key", "recorded", "parent")
# The same as SQL over trade_decisions as ``d``: the text, in bytes, that the hash is taken over, where
# nothing else is set. SQLite writes it four times as fast; what does not agree is told by `hash_of`.
_INPUTS = (
    "SELECT json_group_array(version_id) FROM"
    " (SELECT i.version_id FROM decision_inputs i WHERE i.decision = d.id ORDER BY i.version_id)"
)
MEANT = "CAST(json_object({}) AS BLOB)".format(
    ", ".join(
        f"'{name}', json(({_INPUTS}))" if name == "inputs" else f"'{name}', d.{name}"
        for name in sorted((*COVERED, "inputs"))
    )
)


def hash_of(row: Mapping[str, Any], inputs: Sequence[int]) -> str:
    """The hash of a decision as its row and its inputs are now."""
    meant = {name: row[name] for name in COVERED}
    meant |= {name: row[name] for name in WHERE_SET if row[name]}
    return _hash(meant, inputs)


def _hash(meant: Mapping[str, Any], inputs: Sequence[int]) -> str:
    return sha256(canonical({**meant, "inputs": list(inputs)}).encode()).hexdigest()
