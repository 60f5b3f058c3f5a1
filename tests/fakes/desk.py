"""The stand-in broker with what bots use beside plain orders: positions to close, orders with legs."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.alpaca import FakeAlpaca
from tests.fakes.books import Answer, missing, plain, refusal


class Desk(FakeAlpaca):
    """``placed`` runs after an order was carried out, before its answer leaves; ``asked`` before both."""

    def __init__(self) -> None:
        super().__init__()
        self.placed: Callable[[], None] = lambda: None
        self.asked: Callable[[], None] = lambda: None

    def answer(self, method: str, target: str, body: bytes) -> Answer:
        parts = urlsplit(target)
        path, query = parts.path.removeprefix("/v2"), parse_qs(parts.query)
        if method == "POST" and path == "/orders":
            self.asked()
            answer = super().answer(method, target, body)
            self.placed()
            return answer
        if method == "DELETE" and path.startswith("/positions/"):
            return self._close(unquote(path.removeprefix("/positions/")), query)
        if method == "DELETE" and path == "/positions":
            return 207, [self._closed(item["symbol"]) for item in self.positions()]
        if method == "GET" and path.startswith("/positions/"):
            held = [item for item in self.positions() if item["symbol"] == path.removeprefix("/positions/")]
            return (200, held[0]) if held else missing("position does not exist")
        if method == "POST" and path.endswith("/exercise"):
            return 200, None
        return super().answer(method, target, body)

    def positions(self) -> list[dict[str, Any]]:
        """With what alpaca-py's model of a position requires."""
        more = {"asset_id": str(uuid.uuid4()), "exchange": "NASDAQ", "asset_class": "us_equity"}
        return [{**more, "side": "long", "cost_basis": "0", **item} for item in super().positions()]

    def place(self, body: dict[str, Any]) -> Answer:
        kind = body.get("order_class")
        if kind == "mleg":
            return self._place_legs(body)
        status, order = super().place(body)
        if status != 200 or kind not in ("bracket", "oto", "oco"):
            return status, order
        exits = [body[name] for name in ("take_profit", "stop_loss") if body.get(name)]
        order["legs"] = [self._leg(order, prices) for prices in exits]
        order["order_class"] = kind
        self.orders[order["id"]] |= {"legs": order["legs"], "order_class": kind}
        return status, order

    def _leg(self, parent: dict[str, Any], prices: dict[str, Any], **more: Any) -> dict[str, Any]:
        side = "sell" if parent.get("side") == "buy" else "buy"
        kind = "limit" if prices.get("limit_price") else "stop"
        leg = {
            **parent,
            **{"id": str(uuid.uuid4()), "client_order_id": str(uuid.uuid4()), "legs": None, "side": side},
            **{"status": "held", "filled_qty": "0", "type": kind, "order_type": kind},
            **{name: plain(prices.get(name)) for name in ("limit_price", "stop_price")},
            **more,
        }
        self.orders[leg["id"]] = leg
        return dict(leg)

    def _place_legs(self, body: dict[str, Any]) -> Answer:
        _, first = super().place(
            {**body, "symbol": "X", "side": "buy", "type": "market", "time_in_force": "day", "qty": "1"}
        )
        self.orders.pop(first["id"])
        self.activities.clear()
        legs = [
            self._leg(first, {"limit_price": "1"}, symbol=leg["symbol"], side=leg["side"])
            for leg in body["legs"]
        ]
        whole = {**first, "legs": legs, "order_class": "mleg", "status": "new"}
        for name in ("symbol", "side", "asset_id", "asset_class", "type", "order_type"):
            del whole[name]
        return 200, whole

    def _close(self, symbol: str, query: dict[str, list[str]]) -> Answer:
        held = self._held().get(symbol, Decimal(0))
        if not held:
            return missing("position does not exist")
        quantity = Decimal(query["qty"][0]) if "qty" in query else held
        return self.place(
            {"symbol": symbol, "side": "sell", "qty": str(quantity), "type": "market", "time_in_force": "day"}
        )

    def _closed(self, symbol: str) -> dict[str, Any]:
        status, body = self._close(symbol, {})
        if status != 200:
            return {"symbol": symbol, "status": status, "body": body}
        return {"symbol": symbol, "status": 200, "order_id": body["id"], "body": body}


def bodies(desk: Desk, method: str = "POST") -> list[dict[str, Any]]:
    """The JSON that the desk was sent, in order."""
    return [json.loads(item.body) for item in desk.seen if item.method == method and item.body]


__all__ = ["Desk", "bodies", "refusal"]
