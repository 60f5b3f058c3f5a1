"""Positions: opening position, adjustments and fills, beside the broker's figures and open orders."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from tradelog.domain import money
from tradelog.domain.account import AccountKey
from tradelog.report.status import breaks
from tradelog.store.reader import Reader

_SPLITS = """
SELECT symbol, quantity FROM account_activities WHERE broker = ? AND environment = ? AND account = ?
AND kind = 'SPLIT' AND symbol IS NOT NULL AND quantity IS NOT NULL AND coalesce(status, '') <> 'canceled'
"""


def positions(reader: Reader, account: AccountKey) -> dict[str, Any]:
    """Rows by symbol of what is held or has an open order, with the broker's figure, its age, and breaks."""
    parts: dict[str, dict[str, Decimal]] = {}

    def add(symbol: str, name: str, quantity: Decimal) -> None:
        held = parts.setdefault(symbol.replace("/", ""), {})
        held[name] = held.get(name, money.ZERO) + quantity

    ours = "broker = ? AND environment = ? AND account = ?"
    for row in reader.rows(f"SELECT symbol, kind, quantity FROM position_entries WHERE {ours}", account):
        add(row["symbol"], row["kind"], money.parse(row["quantity"]))
    for row in reader.rows(f"SELECT symbol, side, quantity FROM fills WHERE {ours}", account):
        signed = money.parse(row["quantity"]) * (1 if row["side"] == "buy" else -1)
        add(row["symbol"], "bought" if signed > 0 else "sold", signed)
    for row in reader.rows(_SPLITS, account):
        add(row["symbol"], "split", money.parse(row["quantity"]))
    broker_positions, as_of = _broker_positions(reader, account)
    for symbol, quantity in broker_positions.items():
        add(symbol, "broker", quantity)
    for row in _open(reader, account):
        left = money.parse(row["quantity"] or "0") - money.parse(row["filled_quantity"])
        add(row["symbol"], "buying" if row["side"] == "buy" else "selling", left)
    rows = [_row(symbol, held, as_of is not None) for symbol, held in sorted(parts.items())]
    marks = reader.one(f"SELECT opened_at, completed_at FROM reconcile_marks WHERE {ours}", account) or {}
    return {
        "account": account.as_columns(),
        "positions": [row for row in rows if _is_shown(row)],
        "broker_as_of": as_of,
        "opened_at": marks.get("opened_at"),
        "reconciled_at": marks.get("completed_at"),
        "breaks": breaks(reader, account),
    }


def _row(symbol: str, held: dict[str, Decimal], is_known: bool) -> dict[str, Any]:
    names = ("opening", "adjustment", "bought", "sold", "split")
    values: dict[str, Any] = {name: held.get(name, money.ZERO) for name in names}
    values["expected"] = sum(values.values(), money.ZERO)
    values["broker"] = held.get("broker", money.ZERO) if is_known else None
    values |= {name: held.get(name, money.ZERO) for name in ("buying", "selling")}
    return {"symbol": symbol} | {
        name: None if number is None else money.to_text(number) for name, number in values.items()
    }


def _is_shown(row: dict[str, Any]) -> bool:
    return any(row[name] not in ("0", None) for name in ("expected", "broker", "buying", "selling"))


def _broker_positions(reader: Reader, account: AccountKey) -> tuple[dict[str, Decimal], str | None]:
    """The broker's positions of the last snapshot, and its time; one is taken whenever shares changed."""
    row = reader.one(
        "SELECT value, as_of FROM broker_snapshots WHERE broker = ? AND environment = ? AND account = ?"
        " AND kind = 'position' AND subject = '' ORDER BY snapshot_id DESC LIMIT 1",
        account,
    )
    if row is None:
        return {}, None
    held: dict[str, Decimal] = {}
    for item in json.loads(row["value"]):
        try:
            quantity = money.parse(item["qty"])
        except (ValueError, KeyError, TypeError):  # a response that an older tradelog stored unread
            continue
        held[item["symbol"]] = -abs(quantity) if item.get("side") == "short" else quantity
    return held, str(row["as_of"])


def _open(reader: Reader, account: AccountKey) -> list[dict[str, Any]]:
    return reader.rows(
        "SELECT e.symbol, d.side, coalesce(e.quantity, d.quantity) AS quantity, e.filled_quantity"
        " FROM trade_executions e JOIN trade_decisions d ON d.decision_id = e.decision_id"
        " WHERE e.broker = ? AND e.environment = ? AND e.account = ?"
        " AND e.status IN ('accepted', 'partially_filled')",
        account,
    )
