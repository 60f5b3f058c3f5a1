"""The value of an order in dollars, by its row: the same for checks and reports."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tradelog.domain import money

# What `order_value` reads, from trade_executions e and its decision d.
COLUMNS = """coalesce(e.quantity, d.quantity) AS quantity, d.notional, e.order_value, e.filled_quantity,
       e.filled_avg_price, coalesce(e.limit_price, d.limit_price, d.stop_price) AS own_price, e.status"""
OPEN = ("sending", "unknown", "accepted", "partially_filled")


def order_value(row: Mapping[str, Any]) -> Decimal | None:
    """Dollars that an order counted for when it was claimed. Without a claim under limits, the best estimate
    from its row; None where there is none."""
    if row["order_value"] is not None:
        return money.parse(row["order_value"])
    if row["notional"] is not None:
        return money.parse(row["notional"])
    price = row["own_price"] or row["filled_avg_price"]
    return None if price is None else money.parse(row["quantity"]) * money.parse(price)


def open_fraction(row: Mapping[str, Any]) -> Decimal:
    """The fraction of an order that may still be filled; 1 for an open notional order."""
    if row["status"] not in OPEN:
        return money.ZERO
    if row["quantity"] is None:
        return Decimal(1)
    quantity = money.parse(row["quantity"])
    return max(quantity - money.parse(row["filled_quantity"]), money.ZERO) / quantity
