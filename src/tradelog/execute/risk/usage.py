"""Limit usage: the sums and counts that limits are compared with, read under the claim's lock.

An order counts from the moment it was claimed, under its client order id, once however often it was
tried, and whatever became of it; only one that provably never left does not. What a snapshot of the broker
cannot contain yet, because it was begun later or its outcome is unknown, is added to that snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tradelog.domain import clock, money
from tradelog.domain.account import AccountKey
from tradelog.domain.symbols import position_symbol
from tradelog.execute.account.snapshots import Snapshot
from tradelog.store import order_values
from tradelog.store.writer import Transaction

_OURS = "broker = :broker AND environment = :environment AND account = :account"
_SENT = """
SELECT e.id, e.client_order_id, e.symbol, d.side, d.adopted, {columns},
       (SELECT max(v.event_id) FROM order_events v WHERE v.broker_order_id = e.alpaca_order_id) AS last_event
FROM trade_executions e JOIN trade_decisions d ON d.decision_id = e.decision_id
WHERE e.id IN ({picked}) AND e.broker = :broker AND e.environment = :environment AND e.account = :account
  AND e.status <> 'not_sent' AND e.client_order_id <> :own ORDER BY e.id
"""
# Each part has an index of its own; together in one OR they would have none.
# What was begun since a moment: an order that is submitted again counts on that day, too.
_BEGUN = f"""
SELECT id FROM trade_executions WHERE {_OURS} AND started_at >= :since
UNION SELECT id FROM trade_executions WHERE resent_at >= :since
"""
# What a snapshot may not contain as it is now: open orders, and what came after the request.
_NOT_IN_SNAPSHOT = f"""
SELECT id FROM trade_executions WHERE {_OURS} AND status IN ('sending', 'unknown')
UNION SELECT id FROM trade_executions WHERE {_OURS} AND status IN ('accepted', 'partially_filled')
UNION SELECT id FROM trade_executions WHERE id > :execution
UNION SELECT x.id FROM order_events v JOIN trade_executions x ON x.execution_id = v.execution_id
  WHERE v.event_id > :event
"""


class LimitUsage:
    """Of one account, leaving out the order ``client_order_id``; ``price`` values what has no other.

    ``replaced`` is the client order id of the order whose place it takes: what that one holds is free.
    """

    def __init__(
        self,
        tx: Transaction,
        account: AccountKey,
        client_order_id: str,
        price: Decimal | None,
        replaced: str | None = None,
    ) -> None:
        self._tx = tx
        self._account = account
        self._own = client_order_id
        self._price = price
        self._replaced = replaced

    def today(self, symbol: str | None) -> Decimal:
        """Order value submitted in a symbol, or in all, since the market's day began."""
        start = clock.start_of_day(clock.market_today())
        total = money.ZERO
        for row in self._begun(start):
            if symbol is None or position_symbol(row["symbol"]) == position_symbol(symbol):
                is_replaced = row["client_order_id"] == self._replaced
                # What the replacement takes back does not count twice.
                total += (order_values.order_value(row) or money.ZERO) * (
                    1 - order_values.open_fraction(row) if is_replaced else 1
                )
        return total

    def orders(self, seconds: float) -> int:
        """How many orders were begun in the last seconds."""
        return len(self._begun(clock.later(self._tx.now, -seconds)))

    def orders_today(self) -> int:
        """How many orders were begun since the market's day began."""
        return len(self._begun(clock.start_of_day(clock.market_today())))

    def duplicate(self, decision: Mapping[str, Any], window: Decimal | None) -> str | None:
        """A decision of the same strategy, symbol, side and size that was submitted within the window."""
        if window is None:
            return None
        row = self._tx.one(
            "SELECT d.decision_id FROM trade_executions e JOIN trade_decisions d"
            " ON d.decision_id = e.decision_id WHERE e.broker = ? AND e.environment = ? AND e.account = ?"
            " AND e.started_at > ? AND e.status <> 'not_sent' AND d.decision_id <> ? AND d.adopted = 0"
            " AND d.strategy_name = ? AND d.symbol = ? AND d.side = ? AND d.quantity IS ?"
            " AND d.notional IS ? LIMIT 1",
            (
                *(*self._account, clock.later(self._tx.now, -float(window)), decision["decision_id"]),
                *(decision[name] for name in ("strategy_name", "symbol", "side", "quantity", "notional")),
            ),
        )
        return None if row is None else str(row[0])

    def available(self, held: Snapshot, symbol: str) -> Decimal | None:
        """Shares that are held and reserved by no other sell; None where the snapshot cannot be read."""
        free = money.ZERO
        reserved_by_broker = True
        try:
            for item in held.value:
                if position_symbol(item["symbol"]) != position_symbol(symbol):
                    continue
                quantity = money.parse(item["qty"])
                quantity = -abs(quantity) if item.get("side") == "short" else quantity
                available_text = item.get("qty_available")
                reserved_by_broker = available_text is not None
                free = quantity if available_text is None else min(quantity, money.parse(available_text))
        except (KeyError, ValueError, TypeError):
            return None
        for row in self._not_in_snapshot(held):
            if row["side"] != "sell" or position_symbol(row["symbol"]) != position_symbol(symbol):
                continue
            if row["client_order_id"] == self._replaced:
                free += _left(row, self._price) if reserved_by_broker else money.ZERO
            elif self._is_later(row, held):
                free -= _shares(row, self._price)
            elif not reserved_by_broker:
                free -= _left(row, self._price)
        return free

    def exposure(
        self, held: Snapshot, symbol: str, side: str, value: Decimal
    ) -> tuple[Decimal, Decimal] | None:
        """Gross exposure in dollars without an order of ``value``, and with it; None without a price.

        Of each symbol the worst case counts: what is held, with all open buys filled, or all open sells.
        """
        try:
            values = {position_symbol(item["symbol"]): _market_value(item) for item in held.value}
        except (KeyError, ValueError, TypeError):
            return None
        buys: dict[str, Decimal] = {}
        sells: dict[str, Decimal] = {}
        for row in self._not_in_snapshot(held):
            if row["client_order_id"] == self._replaced:
                continue
            part = Decimal(1) if self._is_later(row, held) else order_values.open_fraction(row)
            if not part:
                continue
            dollars = order_values.order_value(row)
            if dollars is None:
                return None
            same_side = buys if row["side"] == "buy" else sells
            name = position_symbol(row["symbol"])
            same_side[name] = same_side.get(name, money.ZERO) + dollars * part

        def total() -> Decimal:
            dollars = money.ZERO
            for name in {*values, *buys, *sells}:
                has = values.get(name, money.ZERO)
                ends = (has, has + buys.get(name, money.ZERO), has - sells.get(name, money.ZERO))
                dollars += max(abs(item) for item in ends)
            return dollars

        before = total()
        same_side = buys if side == "buy" else sells
        same_side[position_symbol(symbol)] = same_side.get(position_symbol(symbol), money.ZERO) + value
        return before, total()

    def buying_power(self, account: Snapshot, unknown: dict[str, str]) -> Decimal | None:
        """The buying power of the snapshot, less what was begun since."""
        try:
            power = money.parse(account.value.get("buying_power"))
        except ValueError:
            unknown["account"] = "it has no buying power"
            return None
        for row in self._not_in_snapshot(account):
            if row["side"] != "buy":
                continue
            value = order_values.order_value(row) or money.ZERO
            if row["client_order_id"] == self._replaced:
                power += value * order_values.open_fraction(row)
            elif self._is_later(row, account):
                power -= value
        return power

    def _is_later(self, row: Mapping[str, Any], snapshot: Snapshot) -> bool:
        """Whether the snapshot may have been taken before the broker had this order, or this state of it."""
        execution, event = snapshot.seen
        return (
            row["status"] in ("sending", "unknown")
            or row["id"] > execution
            or (row["last_event"] or 0) > event
        )

    def _begun(self, since: str) -> list[dict[str, Any]]:
        """The orders that were submitted, or submitted again, since a moment; none that others placed."""
        return [row for row in self._sent(_BEGUN, since=since) if not row["adopted"]]

    def _not_in_snapshot(self, snapshot: Snapshot) -> list[dict[str, Any]]:
        """The orders that a snapshot may not contain as they are now."""
        execution, event = snapshot.seen
        return self._sent(_NOT_IN_SNAPSHOT, execution=execution, event=event)

    def _sent(self, picked: str, **values: Any) -> list[dict[str, Any]]:
        """One row per order, its last attempt, without the order that is checked."""
        params = self._account.as_columns() | {"own": self._own}
        rows = self._tx.dicts(_SENT.format(picked=picked, columns=order_values.COLUMNS), params | values)
        return list({row["client_order_id"]: row for row in rows}.values())


def _market_value(item: Mapping[str, Any]) -> Decimal:
    """A position's market value, negative for a short one."""
    worth = item.get("market_value")
    value = (
        money.parse(item["qty"]) * money.parse(item["current_price"]) if worth is None else money.parse(worth)
    )
    return -abs(value) if item.get("side") == "short" else value


def _shares(row: Mapping[str, Any], price: Decimal | None) -> Decimal:
    if row["quantity"] is not None:
        return money.parse(row["quantity"])
    return money.parse(row["notional"]) / price if price else money.parse(row["filled_quantity"])


def _left(row: Mapping[str, Any], price: Decimal | None) -> Decimal:
    return max(_shares(row, price) - money.parse(row["filled_quantity"]), money.ZERO)
