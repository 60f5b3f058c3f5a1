"""The row of a decision, its hash and its client order id: made here, whoever decides or adopts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from tradelog import ids
from tradelog.store.journal import canonical
from tradelog.store.writer import Transaction


def insert(
    tx: Transaction,
    intent: Mapping[str, Any],
    inputs: Sequence[int] = (),
    *,
    adopted: Mapping[str, Any] | None = None,
) -> tuple[str, str]:
    """Insert a decision with its inputs; returns (decision_id, client_order_id). The caller journals.

    ``intent`` holds the columns that never change, in stored form. The decision's hash covers them and
    the inputs. ``adopted`` is for an order that is already at the broker: the columns that say so.
    """
    decision_id = ids.new(ids.DECISION)
    meant: dict[str, Any] = {"decision_id": decision_id, **intent}
    if adopted is not None:
        meant["adopted"] = 1
    digest = sha256(canonical({**meant, "inputs": list(inputs)}).encode()).hexdigest()
    client_order_id = ids.client_order_id(decision_id, digest, 1)
    row = {
        **meant,
        "adopted": 0 if adopted is None else 1,
        "decision_hash": digest,
        "client_order_id": client_order_id,
        "status": "pending",
        "retry_count": 0,
        "lease_token": 0,
        **(adopted or {}),
    }
    number = tx.insert("trade_decisions", row)
    if inputs:
        tx.insert_inputs(number, decision_id, inputs)
    return decision_id, str(row["client_order_id"])
