"""What was sent already: the sums and counts that limits are held against, read under the claim's lock.

An order counts from the moment it was claimed, under its client order id, once however often it was
tried, and whatever became of it; only what provably never left does not. What an answer of the broker
cannot know of yet, since we began it after the question or have no word on it, is added to that answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tradelog import clock, money
from tradelog.execute.outbox import Account
from tradelog.execute.positions import folded
from tradelog.execute.snapshots import Snapshot
from tradelog.store.writer import Transaction

_SENT = """
SELECT e.client_order_id, e.execution_id, e.status, e.symbol, d.side, e.started_at, e.filled_quantity,
       e.filled_avg_price, coalesce(e.quantity, d.quantity) AS quantity, d.notional, e.order_value,
       coalesce(e.limit_price, d.limit_price, d.stop_price) AS own_price, o.updated_at
FROM trade_executions e JOIN trade_decisions d ON d.decision_id = e.decision_id
LEFT JOIN alpaca_orders o ON o.broker_order_id = e.alpaca_order_id
WHERE e.broker = ? AND e.environment = ? AND e.account = ? AND e.status <> 'not_sent'
"""
# No answer that a check looks at is nearly so old.
_ANSWER_SECONDS = 86_400.0
_OPEN = ("sending", "unknown", "accepted", "partially_filled")


class Spending:
    """Of one account, leaving out the order ``client_order_id``; ``price`` values what has no other.

    ``replaced`` is the client order id of the order whose place it takes: what that one holds is free.
    """

    def __init__(
        self,
        tx: Transaction,
        account: Account,
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
        """Dollars sent in a symbol, or in all, since the market's day began."""
        start = clock.start_of_day(clock.market_today())
        sent = self._sent(" AND e.started_at >= ? AND d.adopted = 0", start)
        return sum((_worth(row) for row in sent if symbol is None or row["symbol"] == symbol), money.ZERO)

    def orders(self, seconds: float) -> int:
        """How many orders were begun in the last seconds."""
        return self._count(clock.later(self._tx.now, -seconds))

    def orders_today(self) -> int:
        return self._count(clock.start_of_day(clock.market_today()))

    def duplicate(self, decision: Mapping[str, Any], window: Decimal | None) -> str | None:
        """A decision of the same strategy, symbol, side and size that was sent within the window."""
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

    def available(self, held: Snapshot, symbol: str) -> Decimal:
        """Shares that are held and promised to no other sell."""
        free = money.ZERO
        reserved_by_broker = True
        for item in held.value:
            if folded(item["symbol"]) != folded(symbol):
                continue
            quantity = money.parse(item["qty"])
            quantity = -abs(quantity) if item.get("side") == "short" else quantity
            told = item.get("qty_available")
            reserved_by_broker = told is not None
            free = min(quantity, money.parse(told)) if told is not None else quantity
        for row in self._sent(" AND e.symbol = ? AND d.side = 'sell'", symbol):
            if row["client_order_id"] == self._replaced:
                free += _left(row, self._price) if reserved_by_broker else money.ZERO
            elif self._is_later(row, held):
                free -= _shares(row, self._price)
            elif not reserved_by_broker and row["status"] in _OPEN:
                free -= _left(row, self._price)
        return free

    def exposure(self, held: Snapshot) -> Decimal | None:
        """Dollars at risk: positions at the broker's value, and all buys that it may not have in them yet."""
        total = money.ZERO
        for item in held.value:
            try:
                worth = item.get("market_value")
                if worth is None:
                    worth = money.parse(item["qty"]) * money.parse(item["current_price"])
                total += abs(money.parse(worth))
            except (KeyError, ValueError):
                return None
        return total + self._open_buys(held)

    def power(self, account: Snapshot, unknown: dict[str, str]) -> Decimal | None:
        """The buying power told, less what was begun since."""
        try:
            told = money.parse(account.value.get("buying_power"))
        except ValueError:
            unknown["account"] = "it tells no buying power"
            return None
        for row in self._sent(" AND d.side = 'buy'"):
            if row["client_order_id"] == self._replaced:
                told += _worth(row) * _share_left(row)
            elif self._is_later(row, account):
                told -= _worth(row)
        return told

    def _open_buys(self, held: Snapshot) -> Decimal:
        total = money.ZERO
        for row in self._sent(" AND d.side = 'buy'"):
            if row["client_order_id"] == self._replaced:
                continue
            if self._is_later(row, held):
                total += _worth(row)
            elif row["status"] in _OPEN:
                total += _worth(row) * _share_left(row)
        return total

    def _is_later(self, row: Mapping[str, Any], snapshot: Snapshot) -> bool:
        """Whether the broker may have answered before it had this order."""
        began_later = row["started_at"] >= snapshot.as_of or (row["updated_at"] or "") >= snapshot.as_of
        return row["status"] in ("sending", "unknown") or began_later

    def _sent(self, more: str, *values: Any) -> list[dict[str, Any]]:
        """One row an order, its last attempt, without our own."""
        if "started_at" not in more:
            # What ended long before any answer that is looked at cannot matter to it.
            more += (
                " AND (e.status IN ('sending', 'unknown', 'accepted', 'partially_filled')"
                " OR e.started_at >= ? OR o.updated_at >= ?)"
            )
            values += (clock.later(self._tx.now, -_ANSWER_SECONDS),) * 2
        rows = self._tx.dicts(f"{_SENT}{more} ORDER BY e.id", (*self._account, *values))
        last = {row["client_order_id"]: row for row in rows}
        last.pop(self._own, None)
        return list(last.values())

    def _count(self, since: str) -> int:
        return int(
            self._tx.one(
                "SELECT count(DISTINCT e.client_order_id) FROM trade_executions e JOIN trade_decisions d"
                " ON d.decision_id = e.decision_id WHERE e.broker = ? AND e.environment = ?"
                " AND e.account = ? AND e.started_at >= ? AND e.status <> 'not_sent'"
                " AND e.client_order_id <> ? AND d.adopted = 0",
                (*self._account, since, self._own),
            )[0]
        )


def _worth(row: Mapping[str, Any]) -> Decimal:
    """Dollars that an order counted for when it was claimed; for one of before there were limits, the best
    that its row tells."""
    if row["order_value"] is not None:
        return money.parse(row["order_value"])
    if row["notional"] is not None:
        return money.parse(row["notional"])
    price = row["own_price"] or row["filled_avg_price"]
    return money.ZERO if price is None else money.parse(row["quantity"]) * money.parse(price)


def _shares(row: Mapping[str, Any], price: Decimal | None) -> Decimal:
    if row["quantity"] is not None:
        return money.parse(row["quantity"])
    return money.parse(row["notional"]) / price if price else money.parse(row["filled_quantity"])


def _left(row: Mapping[str, Any], price: Decimal | None) -> Decimal:
    return max(_shares(row, price) - money.parse(row["filled_quantity"]), money.ZERO)


def _share_left(row: Mapping[str, Any]) -> Decimal:
    """How much of an order is not filled yet, as a part of one; of an order for dollars, all of it."""
    if row["quantity"] is None:
        return Decimal(1)
    quantity = money.parse(row["quantity"])
    return max(quantity - money.parse(row["filled_quantity"]), money.ZERO) / quantity
