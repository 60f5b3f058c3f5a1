"""`Books` as a broker in the same process, without HTTP between, with faults and a tick around each call."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from tests.fakes.books import Books
from tradelog.domain import clock
from tradelog.execute.brokers.base import Exchange, OrderChange, WireOrder


@dataclass
class Fault:
    """For the next call of ``method``: carried out or not, then no answer, or this one."""

    method: str
    accept: bool = False
    status: int | None = None
    body: bytes = b""


class DirectBroker:
    name: ClassVar[str] = "alpaca"
    rejects_duplicate_ids: ClassVar[bool] = True
    refuses_without_price: ClassVar[bool] = False

    def __init__(self, books: Books, tick: Callable[[str], None] = lambda _: None) -> None:
        self.books = books
        self.faults: list[Fault] = []
        # (method, path, body) of every request that left, also of one that was lost on the way.
        self.seen: list[tuple[str, str, str]] = []
        self._tick = tick
        # Looks at a request right before it leaves.
        self.watch: Callable[[str, str, str], None] = lambda *_: None

    def submit(self, order: WireOrder) -> Exchange:
        return self._call("POST", "/v2/orders", order.body())

    def cancel(self, broker_order_id: str) -> Exchange:
        return self._call("DELETE", f"/v2/orders/{broker_order_id}")

    def replace(self, broker_order_id: str, change: OrderChange) -> Exchange:
        return self._call("PATCH", f"/v2/orders/{broker_order_id}", change.body())

    def find(self, client_order_id: str) -> Exchange:
        return self._get("/v2/orders:by_client_order_id", client_order_id=client_order_id)

    def order(self, broker_order_id: str) -> Exchange:
        return self._get(f"/v2/orders/{broker_order_id}")

    def orders(self, status: str, after: str | None) -> Exchange:
        return self._get("/v2/orders", status=status, after=after or "", direction="asc", limit="500")

    def fills(self, after: str, page_token: str | None, until: str | None = None) -> Exchange:
        asked = {"after": after, "direction": "asc", "page_size": "100"}
        asked |= {"page_token": page_token} if page_token else {}
        asked |= {"until": until} if until else {}
        return self._get("/v2/account/activities/FILL", **asked)

    def activities(self, after: str, page_token: str | None) -> Exchange:
        asked = {"category": "non_trade_activity", "after": after, "page_size": "100"}
        asked |= {"page_token": page_token} if page_token else {}
        return self._get("/v2/account/activities", **asked)

    def account(self) -> Exchange:
        return self._get("/v2/account")

    def positions(self) -> Exchange:
        return self._get("/v2/positions")

    def quote(self, symbol: str) -> Exchange:
        return self._get("/v2/stocks/quotes/latest", symbols=symbol)

    def asset(self, symbol: str) -> Exchange:
        return self._get(f"/v2/assets/{symbol}")

    def clock(self) -> Exchange:
        return self._get("/v2/clock")

    def calendar(self, start: str, end: str) -> Exchange:
        return self._get("/v2/calendar", start=start, end=end)

    def _get(self, path: str, **query: str) -> Exchange:
        return self._call("GET", path + ("?" + urlencode(query) if query else ""))

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Exchange:
        text = None if body is None else json.dumps(body)
        self.watch(method, path, text or "")
        self._tick(f"before {method}")
        started = clock.now_text()
        self.seen.append((method, path, text or ""))
        fault = next((item for item in self.faults if item.method == method), None)
        status: int | None
        if fault is not None:
            self.faults.remove(fault)
        if fault is None or fault.accept:
            status, value = self.books.answer(method, path, (text or "").encode())
            answer = b"" if status == 204 else json.dumps(value).encode()
        if fault is not None:
            status, answer = fault.status, fault.body
        self._tick(f"after {method}")
        return Exchange(
            method=method,
            url="direct:" + path,
            request_body=text,
            started_at=started,
            ended_at=clock.now_text(),
            status=status,
            body=answer,
            error="dropped" if status is None else None,
        )
