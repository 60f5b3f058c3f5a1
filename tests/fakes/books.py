"""What a broker like Alpaca keeps and answers, in memory: orders, fills, cash, shares.

``answer`` is the whole API as (status, value). Without a switch it does what Alpaca does: client ids
unique for ever, ``pending_new`` first with the fill behind it, cancels that are requests, replace chains,
decimal text, nanosecond times, New York's time in activity ids, buying power and shares held for orders.
"""

from __future__ import annotations

import json
import threading
import uuid
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from tests import wall_clock

ENDED = ("filled", "canceled", "expired", "rejected", "replaced")
Answer = tuple[int, Any]


class Books:
    """Switches: ``fills`` False leaves orders resting, ``is_open`` False is the night, ``hidden``
    look-ups by client id answer 404 first, ``late_activities`` questions for activities nothing,
    ``lost`` activities never show, ``shuffled`` ones come out of order, ``stuck_cancels`` never end,
    ``fills_on_cancel`` and ``rejects_later`` are what they say, ``keeps_quantity`` gives a replacement
    the whole old quantity and ``rejects_replacement`` refuses it after its 200."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.activities: list[dict[str, Any]] = []
        self.other_activities: list[dict[str, Any]] = []
        self.given: dict[str, Decimal] = {}
        self.fills = True
        self.is_open = True
        self.hidden = 0
        self.late_activities = 0
        self.lost: set[str] = set()
        self.shuffled = False
        self.stuck_cancels = False
        self.fills_on_cancel = False
        self.rejects_later = False
        self.keeps_quantity = False
        self.rejects_replacement = False
        self.unlisted: set[str] = set()
        self.price = "100.5"
        # Quotes and assets by symbol where they are not the usual ones; None is none.
        self.quotes: dict[str, str | None] = {}
        self.assets: dict[str, dict[str, Any] | None] = {}
        self.next_open: datetime | None = None
        self.next_close: datetime | None = None
        self.sessions: list[dict[str, str]] = []
        self.cash = Decimal(400_000)
        self.account_number = "PA123456789"
        self.reply_changes: dict[str, Any] = {}
        self._ids: set[str] = set()
        self._spent = Decimal(0)
        self.lock = threading.RLock()

    def answer(self, method: str, target: str, body: bytes) -> Answer:
        parts = urlsplit(target)
        path, query = parts.path.removeprefix("/v2"), parse_qs(parts.query)
        with self.lock:
            if path == "/orders":
                if method == "POST":
                    return self.place(json.loads(body))
                if method == "DELETE":
                    return 207, [{"id": key, "status": self.cancel(key)[0]} for key in self._open_ids()]
                return 200, self._list(query)
            if path == "/orders:by_client_order_id":
                return self._by_client_id(query["client_order_id"][0])
            if path.startswith("/orders/"):
                return self._one_order(method, path.removeprefix("/orders/"), body)
            if path == "/account":
                return 200, self._account()
            if path == "/positions":
                return 200, self.positions()
            if path == "/clock":
                return 200, self._clock()
            if path == "/calendar":
                first, last = query["start"][0], query["end"][0]
                return 200, [item for item in self.sessions if first <= item["date"] <= last]
            if path.endswith(("/quotes/latest", "/latest/quotes")):
                return 200, {"quotes": self._quotes(query["symbols"][0])}
            if path.startswith("/assets/"):
                return self._asset(path.removeprefix("/assets/"))
            if path.startswith("/account/activities"):
                return 200, self._page(query) if path.endswith("/FILL") else self._others(query)
        return missing("not found")

    def place(self, body: dict[str, Any]) -> Answer:
        with self.lock:
            client_id = body.get("client_order_id") or str(uuid.uuid4())
            refused = self._refusal(body, client_id)
            if refused is not None:
                return refused
            now = stamp()
            order = {
                "id": str(uuid.uuid4()),
                "client_order_id": client_id,
                **{"created_at": now, "updated_at": now, "submitted_at": now, "filled_at": None},
                **dict.fromkeys(("expired_at", "canceled_at", "failed_at", "replaced_at")),
                **{"replaced_by": None, "replaces": None},
                "asset_id": str(uuid.uuid5(uuid.NAMESPACE_DNS, body["symbol"])),
                "symbol": body["symbol"],
                "asset_class": "us_equity",
                **{"notional": plain(body.get("notional")), "qty": plain(body.get("qty"))},
                **{"filled_qty": "0", "filled_avg_price": None, "order_class": ""},
                **{"order_type": body["type"], "type": body["type"], "side": body["side"]},
                "time_in_force": body["time_in_force"],
                **{name: plain(body.get(name)) for name in ("limit_price", "stop_price")},
                **{"trail_percent": None, "trail_price": None, "hwm": None, "legs": None},
                "extended_hours": body.get("extended_hours", False),
                "status": "pending_new" if self.is_open else "accepted",
            }
            answer = dict(order)
            self.orders[order["id"]] = order
            self._ids.add(client_id)
            if self.fills and self.is_open:
                self.fill(order["id"], None, self.price)
            elif self.is_open:
                order["status"] = "new"
            return 200, answer | self.reply_changes

    def fill(self, order_id: str, quantity: str | None, price: str, *, status: str | None = None) -> None:
        """Fill so much more of an order, all that is left for None; ``status`` is where that leaves it."""
        with self.lock:
            order = self.orders[order_id]
            before = Decimal(order["filled_qty"])
            whole = (
                Decimal(order["qty"]) if order["qty"] else Decimal(order["notional"] or "1") / Decimal(price)
            ).quantize(Decimal("0.000000001"))
            part = whole - before if quantity is None else Decimal(quantity)
            done = before + part
            paid = before * Decimal(order["filled_avg_price"] or 0) + part * Decimal(price)
            self._spent += part * Decimal(price) * (1 if order["side"] == "buy" else -1)
            state = status or ("filled" if done >= whole else "partially_filled")
            order.update(
                status=state,
                filled_qty=plain(done),
                filled_avg_price=plain(paid / done),
                updated_at=stamp(),
                filled_at=stamp() if state == "filled" else order["filled_at"],
            )
            local = wall_clock.now().astimezone(ZoneInfo("America/New_York"))
            self.activities.append(
                {
                    "activity_type": "FILL",
                    "id": f"{local:%Y%m%d%H%M%S}{local.microsecond // 1000:03d}::{uuid.uuid4()}",
                    "transaction_time": stamp(),
                    "type": "fill" if state == "filled" else "partial_fill",
                    **{"price": plain(price), "qty": plain(part), "side": order["side"]},
                    **{"symbol": order["symbol"], "leaves_qty": plain(whole - done), "cum_qty": plain(done)},
                    **{"order_id": order_id, "order_status": state},
                }
            )

    def end(self, order_id: str, status: str) -> None:
        """The end that an order comes to by itself: canceled, expired, rejected."""
        with self.lock:
            name = {"canceled": "canceled_at", "expired": "expired_at", "rejected": "failed_at"}[status]
            self.orders[order_id].update({"status": status, name: stamp(), "updated_at": stamp()})

    def cancel(self, order_id: str) -> Answer:
        order = self.orders.get(order_id)
        if order is None:
            return missing(f"order not found for {order_id}")
        if order["status"] in ENDED:
            return refusal(422, 42210000, f'order is already in "{order["status"]}" state')
        if self.fills_on_cancel:
            self.fill(order_id, None, self.price)
        else:
            order.update(status="pending_cancel", updated_at=stamp())
        return 204, None

    def replace(self, order_id: str, body: dict[str, Any]) -> Answer:
        old = self.orders.get(order_id)
        if old is None:
            return missing(f"order not found for {order_id}")
        client_id = body.get("client_order_id") or str(uuid.uuid4())
        if self._has(client_id):
            return refusal(422, 40010001, "client_order_id must be unique")
        if old["status"] not in ("new", "partially_filled"):
            return refusal(422, 42210000, "unable to replace order, order isn't sent to exchange yet")
        if old["notional"] is not None:
            return refusal(422, 42210000, "notional orders cannot be replaced")
        if "qty" in body and Decimal(str(body["qty"])) % 1:
            return refusal(422, 40010001, "qty must be integer")
        now = stamp()
        new = {
            **old,
            **{name: plain(value) for name, value in body.items() if name in ("qty", "limit_price")},
        }
        new |= {name: body[name] for name in ("time_in_force",) if name in body}
        new |= {"id": str(uuid.uuid4()), "client_order_id": client_id, "replaces": old["id"]}
        new |= {"created_at": now, "updated_at": now, "submitted_at": now, "status": "new"}
        new |= {"filled_qty": "0", "filled_avg_price": None}
        if self.keeps_quantity:
            new["qty"] = old["qty"]
        self.orders[new["id"]] = new
        self._ids.add(client_id)
        answer = {**new, "status": "pending_new"}
        if self.rejects_replacement:
            self.end(new["id"], "rejected")
        else:
            old.update(status="replaced", replaced_by=new["id"], replaced_at=now, updated_at=now)
        return 200, answer

    def positions(self) -> list[dict[str, Any]]:
        with self.lock:
            return [
                {"symbol": name.replace("/", ""), "qty": plain(abs(quantity))}
                | {"side": "long" if quantity > 0 else "short", "avg_entry_price": self.price}
                | {"qty_available": plain(abs(quantity) - self._on_hold(name)), "current_price": self.price}
                | {"market_value": plain(quantity * Decimal(self.price))}
                for name, quantity in self._held().items()
                if quantity
            ]

    def _on_hold(self, symbol: str) -> Decimal:
        return sum((self._left(order) for order in self._live(symbol, "sell")), Decimal(0))

    def _held(self) -> dict[str, Decimal]:
        held = dict(self.given)
        for item in self.activities:
            if item.get("symbol") and item.get("qty"):
                signed = Decimal(item["qty"]) * (1 if item["side"] == "buy" else -1)
                held[item["symbol"]] = held.get(item["symbol"], Decimal(0)) + signed
        return held

    def _refusal(self, body: dict[str, Any], client_id: str) -> Answer | None:
        if self._has(client_id):
            return refusal(422, 40010001, "client_order_id must be unique")
        if len(client_id) > 128:
            return refusal(422, 40010001, "client_order_id must be no more than 128 characters")
        if (body.get("qty") is None) == (body.get("notional") is None):
            return refusal(422, 40010001, "qty or notional is required")
        size = Decimal(str(body.get("qty") or body.get("notional")))
        if size <= 0:
            return refusal(422, 40010001, "qty must be > 0")
        if body["symbol"] == "NOPE":
            return refusal(422, 42210000, f'asset "{body["symbol"]}" not found')
        if (body.get("notional") or size % 1) and body["time_in_force"] != "day":
            return refusal(422, 42210000, "fractional orders must be DAY orders")
        opposite = [
            order
            for order in self.orders.values()
            if order["symbol"] == body["symbol"]
            and order["side"] != body["side"]
            and order["status"] not in ENDED
        ]
        if opposite:
            text = "potential wash trade detected. use complex orders"
            return refusal(403, 40310000, text, existing_order_id=opposite[0]["id"])
        return self._uncovered(body, size)

    def _uncovered(self, body: dict[str, Any], size: Decimal) -> Answer | None:
        price = Decimal(str(body.get("limit_price") or self.price))
        if body["side"] == "buy":
            cost = size if body.get("notional") else size * price
            power = self._buying_power()
            if cost > power:
                extra = {"buying_power": plain(power), "cost_basis": plain(cost)}
                return refusal(403, 40310000, "insufficient buying power", **extra)
            return None
        held = self._held().get(body["symbol"], Decimal(0))
        on_hold = self._on_hold(body["symbol"])
        if held > 0 and size > held - on_hold:
            asked, left = plain(size), plain(held - on_hold)
            return refusal(
                403,
                40310000,
                f"insufficient qty available for order (requested: {asked}, available: {left})",
                available=left,
                existing_qty=plain(held),
                held_for_orders=plain(on_hold),
                symbol=body["symbol"],
                related_orders=[order["id"] for order in self._live(body["symbol"], "sell")],
            )
        return None

    def _buying_power(self) -> Decimal:
        resting = sum(
            (
                self._left(order) * Decimal(order["limit_price"] or self.price)
                for order in self._live(None, "buy")
            ),
            Decimal(0),
        )
        return self.cash - self._spent - resting

    def _live(self, symbol: str | None, side: str) -> list[dict[str, Any]]:
        return [
            order
            for order in self.orders.values()
            if order["side"] == side and order["status"] not in ENDED and symbol in (None, order["symbol"])
        ]

    @staticmethod
    def _left(order: dict[str, Any]) -> Decimal:
        return Decimal(order["qty"] or 0) - Decimal(order["filled_qty"])

    def _has(self, client_id: str) -> bool:
        return client_id in self._ids

    def _open_ids(self) -> list[str]:
        return [key for key, order in self.orders.items() if order["status"] not in ENDED]

    def _one_order(self, method: str, order_id: str, body: bytes) -> Answer:
        if method == "DELETE":
            return self.cancel(order_id)
        if method == "PATCH":
            return self.replace(order_id, json.loads(body))
        result = self.orders.get(order_id)
        return (200, self._seen(result)) if result else missing(f"order not found for {order_id}")

    def _seen(self, order: dict[str, Any]) -> dict[str, Any]:
        """An order as it is told; what was asked of it happens behind the first look at it."""
        if order["status"] == "pending_cancel" and not self.stuck_cancels:
            self.end(order["id"], "canceled")
        if self.rejects_later and order["status"] in ("new", "accepted", "pending_new"):
            self.end(order["id"], "rejected")
        return dict(order)

    def _by_client_id(self, client_id: str) -> Answer:
        if self.hidden > 0:
            self.hidden -= 1
            return missing("order not found")
        for order in self.orders.values():
            if order["client_order_id"] == client_id:
                return 200, self._seen(order)
        return missing("order not found")

    def _list(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        status, after = query.get("status", ["open"])[0], query.get("after", [""])[0].rstrip("Z")
        rows = [
            self._seen(order)
            for order in sorted(self.orders.values(), key=lambda order: str(order["submitted_at"]))
            if str(order["submitted_at"]).rstrip("Z") > after and order["id"] not in self.unlisted
        ]
        if status != "all":
            rows = [order for order in rows if (order["status"] in ENDED) == (status == "closed")]
        if query.get("direction", ["desc"])[0] == "desc":
            rows.reverse()
        return rows[: min(500, int(query.get("limit", ["50"])[0]))]

    def _account(self) -> dict[str, Any]:
        return {
            "account_number": self.account_number,
            **{"id": str(uuid.uuid5(uuid.NAMESPACE_DNS, self.account_number)), "status": "ACTIVE"},
            **{"currency": "USD", "cash": plain(self._buying_power()), "equity": plain(self.cash)},
            **{"buying_power": plain(self._buying_power()), "multiplier": "4"},
        }

    def _clock(self) -> dict[str, Any]:
        now = wall_clock.now().astimezone(ZoneInfo("America/New_York"))
        opens, closes = self.next_open or now + timedelta(days=1), self.next_close or now + timedelta(hours=3)
        turns = {"next_open": opens.isoformat(), "next_close": closes.isoformat()}
        return {"timestamp": now.isoformat(), "is_open": self.is_open, **turns}

    def _quotes(self, symbol: str) -> dict[str, Any]:
        price = self.quotes.get(symbol, self.price)
        if price is None:
            return {}
        return {symbol: {"ap": float(price), "as": 1, "bp": float(price), "bs": 1, "t": stamp()}}

    def _asset(self, symbol: str) -> Answer:
        if symbol == "NOPE" or self.assets.get(symbol, {}) is None:
            return missing(f"asset not found for {symbol}")
        return 200, {
            "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, symbol)),
            **{"class": "us_equity", "exchange": "NASDAQ", "symbol": symbol, "name": symbol},
            **{"status": "active", "tradable": True, "marginable": True, "shortable": True},
            **{"easy_to_borrow": True, "fractionable": True, "attributes": []},
            **(self.assets.get(symbol) or {}),
        }

    def _others(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        """Activities that are no fills, listed by when they were made."""
        rows = [item for item in self.other_activities if query["after"][0] < str(item["created_at"])]
        if "page_token" in query:
            ids = [item["id"] for item in rows]
            rows = rows[ids.index(query["page_token"][0]) + 1 :]
        return rows[: int(query["page_size"][0])]

    def _page(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        if self.late_activities > 0:
            self.late_activities -= 1
            return []
        after = query.get("after", [""])[0].rstrip("Z")
        until = query.get("until", ["~"])[0].rstrip("Z")
        rows = [
            item
            for item in self.activities
            if after < str(item["transaction_time"]).rstrip("Z") < until and item["id"] not in self.lost
        ]
        if self.shuffled:
            rows = rows[1::2] + rows[::2]
        if "page_token" in query:
            ids = [item["id"] for item in rows]
            rows = rows[ids.index(query["page_token"][0]) + 1 :]
        return rows[: int(query.get("page_size", ["100"])[0])]


def plain(number: Any) -> str | None:
    """A number as Alpaca writes it: text without an exponent and without trailing zeros."""
    if number is None:
        return None
    text = format(Decimal(str(number)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def refusal(status: int, code: int, message: str, **extra: Any) -> Answer:
    return status, {"code": code, "message": message, **extra}


def missing(message: str) -> Answer:
    return refusal(404, 40410000, message)


def stamp() -> str:
    """Now in nanoseconds, trailing zeros dropped, so that the number of digits varies."""
    now = wall_clock.now()
    return f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond:06d}5".rstrip("0").rstrip(".") + "Z"
