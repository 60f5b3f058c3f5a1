"""Account activities that are no fills, as the broker lists them: fees, splits, dividends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from tradelog.domain import clock, money
from tradelog.domain.account import AccountKey
from tradelog.domain.symbols import position_symbol
from tradelog.errors import UsageError
from tradelog.execute.outbox.responses import decimal_field
from tradelog.operate.alerts import raise_alert
from tradelog.store.writer import Transaction


def record_activities(tx: Transaction, account: AccountKey, items: Sequence[Any]) -> int:
    """Record each new activity; returns how many. An unreadable one raises an alert once."""
    added = 0
    for item in items:
        row = parse_activity(item)
        if row is None:
            name = item.get("id") if isinstance(item, dict) else None
            if isinstance(name, str):
                text = f"activity {name} of the broker lacks required fields, and is not recorded"
                raise_alert(tx, "activity_unreadable", name, text, once=True)
                tx.journal_rest("activity.unreadable", name)
            continue
        existing = tx.one("SELECT 1 FROM account_activities WHERE activity_id = ?", (row["activity_id"],))
        if existing is None:
            tx.insert(
                "account_activities",
                {
                    **account.as_columns(),
                    **row,
                    "seen_at": tx.now,
                },
            )
            tx.journal("activity.added", row["activity_id"])
            added += 1
    return added


def parse_activity(item: Any) -> dict[str, Any] | None:
    """The columns of an activity that is no fill; None for anything not in the broker's form."""
    if not isinstance(item, dict):
        return None
    name, kind, day = (item.get(key) for key in ("id", "activity_type", "date"))
    if not (isinstance(name, str) and name and isinstance(kind, str) and kind and isinstance(day, str)):
        return None
    try:
        date = clock.parse_day(day[:10])
    except UsageError:
        return None
    symbol = item.get("symbol")
    return {
        "activity_id": name,
        "kind": kind,
        "sub_kind": _text(item.get("activity_sub_type")),
        "status": _text(item.get("status")),
        "symbol": position_symbol(symbol) if isinstance(symbol, str) and symbol else None,
        "quantity": _number(_change(item)),
        "net_amount": _number(decimal_field(item, "net_amount")),
        "activity_date": date.isoformat(),
        "raw": json.dumps(item, ensure_ascii=False, default=str),
    }


def created_at(item: Mapping[str, Any]) -> str | None:
    """When the broker made an activity, by which it lists them; its day where that is missing."""
    return clock.read_moment(item.get("created_at")) or clock.read_moment(f"{item.get('date')}T00:00:00Z")


def _change(item: Mapping[str, Any]) -> Decimal | None:
    """The change in shares: of a split with both quantities, the new ones less the old."""
    old, new = decimal_field(item, "old_qty"), decimal_field(item, "new_qty")
    return decimal_field(item, "qty") if old is None or new is None else new - old


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Decimal | None) -> str | None:
    return None if value is None else money.to_text(value)
