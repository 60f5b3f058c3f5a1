"""A simulated broker in a file of its own, which survives our crashes as a real one does.

It answers in Alpaca's form and fills at known prices only: the price that the decision carries, or the
last one of the price file. It never invents one: without a price an order is refused.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal, DecimalException
from pathlib import Path
from typing import Any, ClassVar

from tradelog.domain import clock, money
from tradelog.execute.brokers import market_hours
from tradelog.execute.brokers.base import FILLS_PAGE, ORDERS_PAGE, Exchange, OrderChange, WireOrder
from tradelog.prices import Prices
from tradelog.store.engine import connect_writer

URL = "simulated://broker"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS account (account_number TEXT PRIMARY KEY, cash TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, client_order_id TEXT NOT NULL UNIQUE, is_open INTEGER NOT NULL,
    price_label TEXT, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS fills (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, transaction_time TEXT NOT NULL,
    symbol TEXT NOT NULL, side TEXT NOT NULL, quantity TEXT NOT NULL, price TEXT NOT NULL,
    body TEXT NOT NULL) STRICT;
"""
_TAKEN_TIF = ("day", "gtc", "ioc", "fok")

Answer = tuple[int, Any]


class SimulatedBroker:
    name: ClassVar[str] = "simulated"
    rejects_duplicate_ids: ClassVar[bool] = True
    refuses_without_price: ClassVar[bool] = True

    def __init__(self, path: Path, prices: Prices, *, cash: Decimal) -> None:
        self._path = path
        self._prices = prices
        # The worker's jobs run on one thread at a time, though not always on the same one.
        self._connection = connect_writer(path, check_same_thread=False)
        self._connection.executescript(_SCHEMA)
        with self._transaction():
            if self._connection.execute("SELECT 1 FROM account").fetchone() is None:
                number = "SIM" + uuid.uuid4().hex[:9].upper()
                self._connection.execute("INSERT INTO account VALUES (?, ?)", (number, money.to_text(cash)))

    def close(self) -> None:
        """Close the broker's file."""
        self._connection.close()

    def submit(self, order: WireOrder) -> Exchange:
        body = order.body()
        started = clock.now_text()
        with self._transaction():
            answer = self._place(order)
        return _exchange("POST", "/v2/orders", json.dumps(body), started, answer)

    def cancel(self, broker_order_id: str) -> Exchange:
        started = clock.now_text()
        with self._transaction():
            answer = self._cancel(broker_order_id)
        return _exchange("DELETE", f"/v2/orders/{broker_order_id}", None, started, answer)

    def replace(self, broker_order_id: str, change: OrderChange) -> Exchange:
        started = clock.now_text()
        with self._transaction():
            answer = self._replace(broker_order_id, change)
        path = f"/v2/orders/{broker_order_id}"
        return _exchange("PATCH", path, json.dumps(change.body()), started, answer)

    def find(self, client_order_id: str) -> Exchange:
        path = f"/v2/orders:by_client_order_id?client_order_id={client_order_id}"
        return self._get_order(path, "client_order_id", client_order_id)

    def order(self, broker_order_id: str) -> Exchange:
        return self._get_order(f"/v2/orders/{broker_order_id}", "id", broker_order_id)

    def orders(self, status: str, after: str | None) -> Exchange:
        started = clock.now_text()
        rows = self._connection.execute(
            "SELECT body FROM orders WHERE (? = 'all' OR is_open = 1) AND body ->> 'submitted_at' > ?"
            " ORDER BY rowid LIMIT ?",
            (status, after or "", ORDERS_PAGE),
        ).fetchall()
        path = f"/v2/orders?status={status}&after={after or ''}"
        return _exchange("GET", path, None, started, (200, [json.loads(row[0]) for row in rows]))

    def fills(self, after: str, page_token: str | None, until: str | None = None) -> Exchange:
        rows = self._connection.execute(
            "SELECT body FROM fills WHERE transaction_time >= ? AND transaction_time <= ? AND number >"
            " coalesce((SELECT number FROM fills WHERE id = ?), 0) ORDER BY number LIMIT ?",
            (after, until or "~", page_token, FILLS_PAGE),
        ).fetchall()
        path = f"/v2/account/activities/FILL?after={after}"
        return _exchange("GET", path, None, clock.now_text(), (200, [json.loads(row[0]) for row in rows]))

    def activities(self, after: str, page_token: str | None) -> Exchange:  # noqa: ARG002
        """Always empty: it takes no fees and has no splits."""
        return _exchange("GET", "/v2/account/activities", None, clock.now_text(), (200, []))

    def account(self) -> Exchange:
        number, cash = self._connection.execute("SELECT account_number, cash FROM account").fetchone()
        worth = money.parse(cash) + sum(
            (money.parse(item["market_value"]) for item in self._positions()), money.ZERO
        )
        body = {
            "account_number": number,
            "status": "ACTIVE",
            "currency": "USD",
            "cash": cash,
            "buying_power": money.to_text(money.parse(cash) - self._reserved()),
            "equity": money.to_text(worth),
        }
        return _exchange("GET", "/v2/account", None, clock.now_text(), (200, body))

    def positions(self) -> Exchange:
        return _exchange("GET", "/v2/positions", None, clock.now_text(), (200, self._positions()))

    def quote(self, symbol: str) -> Exchange:
        """The last close of the price file, at both sides; no quotes where there is none."""
        bar = self._prices.last(symbol)
        quotes = {}
        if bar is not None:
            price = money.to_text(bar.close)
            quotes[symbol] = {"ap": price, "bp": price, "t": clock.end_of_day(bar.day)}
        path = f"/v2/stocks/quotes/latest?symbols={symbol}"
        return _exchange("GET", path, None, clock.now_text(), (200, {"quotes": quotes}))

    def asset(self, symbol: str) -> Exchange:
        asset = {"symbol": symbol, "status": "active", "tradable": True, "fractionable": True}
        return _exchange("GET", f"/v2/assets/{symbol}", None, clock.now_text(), (200, asset))

    def clock(self) -> Exchange:
        now = clock.now()
        coming = market_hours.weekday_sessions(now.date() - timedelta(days=1), now.date() + timedelta(days=7))
        body = {
            "timestamp": clock.to_text(now),
            "is_open": market_hours.is_open(coming, now),
            "next_open": clock.to_text(min(item.opens for item in coming if item.opens > now)),
            "next_close": clock.to_text(min(item.closes for item in coming if item.closes > now)),
        }
        return _exchange("GET", "/v2/clock", None, clock.now_text(), (200, body))

    def calendar(self, start: str, end: str) -> Exchange:
        """Every weekday has a session: this market knows no holidays."""
        zone = clock.zone(clock.MARKET_ZONE)
        listed = [
            {
                "date": item.opens.astimezone(zone).date().isoformat(),
                "open": f"{item.opens.astimezone(zone):%H:%M}",
                "close": f"{item.closes.astimezone(zone):%H:%M}",
            }
            for item in market_hours.weekday_sessions(date.fromisoformat(start), date.fromisoformat(end))
        ]
        path = f"/v2/calendar?start={start}&end={end}"
        return _exchange("GET", path, None, clock.now_text(), (200, listed))

    def _place(self, order: WireOrder) -> Answer:
        duplicate = self._connection.execute(
            "SELECT 1 FROM orders WHERE client_order_id = ?", (order.client_order_id,)
        ).fetchone()
        if duplicate is not None:
            return _refusal(422, 40010001, "client_order_id must be unique")
        if order.time_in_force not in _TAKEN_TIF:
            return _refusal(422, 42210000, f"the simulated broker takes no {order.time_in_force} orders")
        price, label = self._price(order)
        if price is None:
            return _refusal(
                422,
                42210000,
                f"no price known for {order.symbol}: name a file of closes in [market] prices,"
                " or give a limit price",
            )
        quantity = order.quantity
        if quantity is None:
            assert order.notional is not None
            try:
                quantity = money.quantity_for(order.notional, price)
            except DecimalException:
                return _refusal(422, 40010001, "qty is out of range")
        if quantity <= 0:
            return _refusal(422, 40010001, "qty must be > 0")
        refused = self._covered(order, quantity, price)
        if refused is not None:
            return refused
        body = _order_body(order, clock.now_text())
        if order.order_type == "trailing_stop":
            body = _trailed(body, price)
        self._connection.execute(
            "INSERT INTO orders VALUES (?, ?, 1, ?, ?)",
            (body["id"], order.client_order_id, label, json.dumps(body)),
        )
        return 200, self._advance(body, quantity, price, label, is_first=True)

    def _cancel(self, broker_order_id: str) -> Answer:
        body = self._body(broker_order_id)
        if body is None:
            return _refusal(404, 40410000, f"order not found for {broker_order_id}")
        if body["status"] != "new":
            return _refusal(422, 42210000, f'order is already in "{body["status"]}" state')
        now = clock.now_text()
        self._store(body | {"status": "canceled", "canceled_at": now, "updated_at": now})
        return 204, None

    def _replace(self, broker_order_id: str, change: OrderChange) -> Answer:
        old = self._body(broker_order_id)
        if old is None:
            return _refusal(404, 40410000, f"order not found for {broker_order_id}")
        duplicate = self._connection.execute(
            "SELECT 1 FROM orders WHERE client_order_id = ?", (change.client_order_id,)
        ).fetchone()
        if duplicate is not None:
            return _refusal(422, 40010001, "client_order_id must be unique")
        if old["status"] != "new":
            return _refusal(422, 42210000, "unable to replace order, order is not open")
        now = clock.now_text()
        new = {**old, **change.body(), "id": str(uuid.uuid4()), "replaces": old["id"]}
        new |= dict.fromkeys(("created_at", "updated_at", "submitted_at"), now)
        self._store(
            old | {"status": "replaced", "replaced_by": new["id"], "replaced_at": now, "updated_at": now}
        )
        self._connection.execute(
            "INSERT INTO orders VALUES (?, ?, 1, NULL, ?)",
            (new["id"], change.client_order_id, json.dumps(new)),
        )
        return 200, new

    def _body(self, broker_order_id: str) -> dict[str, Any] | None:
        row = self._connection.execute("SELECT body FROM orders WHERE id = ?", (broker_order_id,)).fetchone()
        return None if row is None else json.loads(row[0])

    def _store(self, body: dict[str, Any]) -> None:
        self._connection.execute(
            "UPDATE orders SET body = ?, is_open = ? WHERE id = ?",
            (json.dumps(body), int(body["status"] == "new"), body["id"]),
        )

    def _price(self, order: WireOrder) -> tuple[Decimal | None, str | None]:
        if order.reference_price is not None:
            return order.reference_price, self._prices.label or "the price that the decision carries"
        bar = self._prices.last(order.symbol)
        if bar is None:
            return None, None
        return bar.close, self._prices.label or self._prices.source

    def _covered(self, order: WireOrder, quantity: Decimal, price: Decimal) -> Answer | None:
        if order.side == "buy":
            cost = quantity * (order.limit_price or price)
            cash = money.parse(self._connection.execute("SELECT cash FROM account").fetchone()[0])
            power = cash - self._reserved()
            if cost > power:
                extra = {"buying_power": money.to_text(power), "cost_basis": money.to_text(cost)}
                return _refusal(403, 40310000, "insufficient buying power", **extra)
            return None
        held = self._quantities().get(order.symbol, money.ZERO)
        reserved = sum(
            (money.parse(body["qty"]) for body in self._open("sell") if body["symbol"] == order.symbol),
            money.ZERO,
        )
        if quantity > held - reserved:
            requested, available = money.to_text(quantity), money.to_text(held - reserved)
            return _refusal(
                403,
                40310000,
                f"insufficient qty available for order (requested: {requested}, available: {available})",
                available=available,
                existing_qty=money.to_text(held),
                held_for_orders=money.to_text(reserved),
                symbol=order.symbol,
            )
        return None

    def _advance(
        self, body: dict[str, Any], quantity: Decimal, price: Decimal, label: str | None, *, is_first: bool
    ) -> dict[str, Any]:
        """Fill the order where the price allows it, let it rest, or cancel what may not rest."""
        now = clock.now_text()
        before = body
        if body["type"] == "trailing_stop":
            body = _trailed(body, price)
        if _is_fillable(body, price):
            self._fill(body, quantity, price, label, now)
            body.update(
                status="filled",
                filled_at=now,
                filled_qty=money.to_text(quantity),
                filled_avg_price=money.to_text(price),
                updated_at=now,
            )
        elif is_first and body["time_in_force"] in ("ioc", "fok"):
            body.update(status="canceled", canceled_at=now, updated_at=now)
        elif is_first:
            body.update(status="new", qty=money.to_text(quantity))
        elif body == before:
            return body
        self._store(body)
        return body

    def _fill(
        self, body: dict[str, Any], quantity: Decimal, price: Decimal, label: str | None, now: str
    ) -> None:
        moment = clock.from_text(now).astimezone(clock.zone(clock.MARKET_ZONE))
        activity = {
            "activity_type": "FILL",
            "id": f"{moment:%Y%m%d%H%M%S}{moment.microsecond // 1000:03d}::{uuid.uuid4()}",
            "transaction_time": now,
            "type": "fill",
            "price": money.to_text(price),
            "qty": money.to_text(quantity),
            "side": body["side"],
            "symbol": body["symbol"],
            "leaves_qty": "0",
            "cum_qty": money.to_text(quantity),
            "order_id": body["id"],
            "order_status": "filled",
            "price_basis": f"simulated: {label}",
        }
        self._connection.execute(
            "INSERT INTO fills (id, transaction_time, symbol, side, quantity, price, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(activity["id"], now, body["symbol"], body["side"], activity["qty"], activity["price"]),
                json.dumps(activity),
            ),
        )
        cash = money.parse(self._connection.execute("SELECT cash FROM account").fetchone()[0])
        change = quantity * price * (-1 if body["side"] == "buy" else 1)
        self._connection.execute("UPDATE account SET cash = ?", (money.to_text(cash + change),))

    def _get_order(self, path: str, column: str, value: str) -> Exchange:
        started = clock.now_text()
        with self._transaction():
            row = self._connection.execute(
                f"SELECT body, is_open FROM orders WHERE {column} = ?", (value,)
            ).fetchone()
            if row is None:
                missing = _refusal(404, 40410000, f"order not found for {value}")
                return _exchange("GET", path, None, started, missing)
            body = json.loads(row[0])
            bar = self._prices.last(body["symbol"])
            if row[1] and bar is not None:
                label = self._prices.label or self._prices.source
                body = self._advance(body, money.parse(body["qty"]), bar.close, label, is_first=False)
        return _exchange("GET", path, None, started, (200, body))

    def _open(self, side: str) -> list[dict[str, Any]]:
        rows = self._connection.execute("SELECT body FROM orders WHERE is_open = 1").fetchall()
        return [body for row in rows if (body := json.loads(row[0]))["side"] == side]

    def _reserved(self) -> Decimal:
        """What resting buy orders hold of the cash."""
        return sum(
            (
                money.parse(body["qty"]) * money.parse(body["limit_price"] or body["stop_price"])
                for body in self._open("buy")
            ),
            money.ZERO,
        )

    def _quantities(self) -> dict[str, Decimal]:
        held: dict[str, Decimal] = {}
        for symbol, side, quantity in self._connection.execute("SELECT symbol, side, quantity FROM fills"):
            signed = money.parse(quantity) * (1 if side == "buy" else -1)
            held[symbol] = held.get(symbol, money.ZERO) + signed
        return {symbol: quantity for symbol, quantity in held.items() if quantity}

    def _positions(self) -> list[dict[str, Any]]:
        positions = []
        held: dict[str, Decimal] = {}
        for body in self._open("sell"):
            held[body["symbol"]] = held.get(body["symbol"], money.ZERO) + money.parse(body["qty"])
        for symbol, quantity in sorted(self._quantities().items()):
            bar = self._prices.last(symbol)
            price = bar.close if bar is not None else self._last_fill(symbol)
            positions.append(
                {
                    "symbol": symbol,
                    "qty": money.to_text(quantity),
                    "qty_available": money.to_text(quantity - held.get(symbol, money.ZERO)),
                    "side": "long",
                    "current_price": money.to_text(price),
                    "market_value": money.to_text(quantity * price),
                }
            )
        return positions

    def _last_fill(self, symbol: str) -> Decimal:
        row = self._connection.execute(
            "SELECT price FROM fills WHERE symbol = ? ORDER BY number DESC LIMIT 1", (symbol,)
        ).fetchone()
        return money.parse(row[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def _trailed(body: dict[str, Any], price: Decimal) -> dict[str, Any]:
    """A trailing stop after the market was seen at ``price``: the stop follows its best price so far."""
    is_buy = body["side"] == "buy"
    best = money.parse(body["hwm"]) if body["hwm"] else price
    best = min(best, price) if is_buy else max(best, price)
    if body["trail_percent"]:
        away = best * money.parse(body["trail_percent"]) / 100
    else:
        away = money.parse(body["trail_price"])
    stop = max(best + away if is_buy else best - away, money.ZERO)
    return body | {"hwm": money.to_text(best), "stop_price": money.to_text(stop)}


def _is_fillable(body: dict[str, Any], price: Decimal) -> bool:
    is_buy = body["side"] == "buy"
    limit = money.parse(body["limit_price"]) if body["limit_price"] else None
    stop = money.parse(body["stop_price"]) if body["stop_price"] else None
    if stop is not None and (price < stop if is_buy else price > stop):
        return False
    return limit is None or (price <= limit if is_buy else price >= limit)


def _order_body(order: WireOrder, now: str) -> dict[str, Any]:
    sent = order.body()
    return {
        "id": str(uuid.uuid4()),
        "client_order_id": order.client_order_id,
        "created_at": now,
        "updated_at": now,
        "submitted_at": now,
        "filled_at": None,
        "canceled_at": None,
        "symbol": order.symbol,
        "notional": sent.get("notional"),
        "qty": sent.get("qty"),
        "filled_qty": "0",
        "filled_avg_price": None,
        "order_class": "",
        "type": order.order_type,
        "side": order.side,
        "time_in_force": order.time_in_force,
        "limit_price": sent.get("limit_price"),
        "stop_price": sent.get("stop_price"),
        "trail_price": sent.get("trail_price"),
        "trail_percent": sent.get("trail_percent"),
        "hwm": None,
        "status": "pending_new",
        "replaces": None,
        "replaced_by": None,
        "extended_hours": order.extended_hours,
    }


def _refusal(status: int, code: int, message: str, **extra: str) -> Answer:
    return status, {"code": code, "message": message, **extra}


def _exchange(method: str, path: str, request: str | None, started: str, answer: Answer) -> Exchange:
    status, body = answer
    return Exchange(
        method=method,
        url=URL + path,
        request_body=request,
        started_at=started,
        ended_at=clock.now_text(),
        status=status,
        headers={"content-type": "application/json"},
        body=b"" if body is None else json.dumps(body).encode(),
    )
