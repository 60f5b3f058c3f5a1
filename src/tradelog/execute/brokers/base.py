"""The protocol of a broker adapter, and the exchange that each call returns as it was on the wire."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, Protocol

from tradelog.domain import money
from tradelog.domain.order import OrderTerms

# What is kept of an answer's headers. An allow-list: a secret can only leak through a block-list.
KEPT_HEADERS = (
    *("x-request-id", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
    *("retry-after", "date", "content-type"),
)

# Alpaca's largest pages.
ORDERS_PAGE = 500
FILLS_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class WireOrder(OrderTerms):
    """The terms of an order with its id, as it is submitted.

    ``reference_price`` stays here: it is for simulated fills only.
    """

    client_order_id: str
    reference_price: Decimal | None = None

    def body(self) -> dict[str, Any]:
        """The JSON body of POST /v2/orders: numbers as text, without an exponent."""
        body: dict[str, Any] = {
            "symbol": self.symbol,
            "side": str(self.side),
            "type": str(self.order_type),
        }
        for name, number in (
            ("qty", self.quantity),
            ("notional", self.notional),
            ("limit_price", self.limit_price),
            ("stop_price", self.stop_price),
            ("trail_price", self.trail_price),
            ("trail_percent", self.trail_percent),
        ):
            if number is not None:
                body[name] = money.to_text(number)
        body["time_in_force"] = str(self.time_in_force)
        if self.extended_hours:
            body["extended_hours"] = True
        body["client_order_id"] = self.client_order_id
        return body


@dataclass(frozen=True, slots=True)
class OrderChange:
    """What a replacement changes of an order, and the client order id that the new order gets."""

    client_order_id: str
    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: str | None = None

    def body(self) -> dict[str, Any]:
        """The JSON body of PATCH /v2/orders/{id}: only what changes, numbers as text."""
        numbers = {"qty": self.quantity, "limit_price": self.limit_price, "stop_price": self.stop_price}
        body: dict[str, Any] = {
            name: money.to_text(number) for name, number in numbers.items() if number is not None
        }
        if self.time_in_force is not None:
            body["time_in_force"] = self.time_in_force
        body["client_order_id"] = self.client_order_id
        return body


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP exchange as it was on the wire.

    ``status`` is None where no answer came; ``error`` says why. ``left_host`` is False only
    where the request provably never left. Times are store text (UTC).
    """

    method: str
    url: str
    request_body: str | None
    started_at: str
    ended_at: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str | None = None
    left_host: bool = True

    def text(self) -> tuple[str, str]:
        """(body, encoding): the body as text where it is UTF-8, else its base64."""
        try:
            return self.body.decode(), "utf-8"
        except UnicodeDecodeError:
            return base64.b64encode(self.body).decode(), "base64"

    def json(self) -> Any:
        """The body as JSON with numbers as Decimal; None where it is none."""
        try:
            return json.loads(self.body, parse_float=Decimal)
        except (ValueError, RecursionError):
            return None


class Broker(Protocol):
    """A broker adapter. It never raises for what the broker or the network does: that is an Exchange.

    ``rejects_duplicate_ids`` is True where a client order id is taken once; ``refuses_without_price`` where
    the broker itself refuses an order that has no known price.
    """

    name: ClassVar[str]
    rejects_duplicate_ids: ClassVar[bool]
    refuses_without_price: ClassVar[bool]

    def submit(self, order: WireOrder) -> Exchange:
        """Submit an order, once."""
        ...

    def cancel(self, broker_order_id: str) -> Exchange:
        """Request the cancel of an order; whether it is canceled, only a later look-up shows."""
        ...

    def replace(self, broker_order_id: str, change: OrderChange) -> Exchange:
        """Request the replacement of an order; the response holds the new order."""
        ...

    def find(self, client_order_id: str) -> Exchange:
        """Look up an order by its client order id."""
        ...

    def order(self, broker_order_id: str) -> Exchange:
        """Look up an order by the broker's id."""
        ...

    def orders(self, status: str, after: str | None) -> Exchange:
        """A page of up to ORDERS_PAGE orders, ``open`` or ``all``, submitted after a moment, oldest first."""
        ...

    def fills(self, after: str, page_token: str | None, until: str | None = None) -> Exchange:
        """A page of up to FILLS_PAGE FILL activities between two moments (store text), oldest first."""
        ...

    def activities(self, after: str, page_token: str | None) -> Exchange:
        """A page of up to FILLS_PAGE activities that are no fills, made after a moment, oldest first."""
        ...

    def account(self) -> Exchange:
        """The account: its number, cash and buying power."""
        ...

    def positions(self) -> Exchange:
        """All positions."""
        ...

    def quote(self, symbol: str) -> Exchange:
        """The last quote, in the form of Alpaca's data API: ``{"quotes": {symbol: {"ap", "bp", "t"}}}``."""
        ...

    def asset(self, symbol: str) -> Exchange:
        """Whether a symbol is tradable and fractionable."""
        ...

    def clock(self) -> Exchange:
        """Whether the market is open now, and when it opens and closes next."""
        ...

    def calendar(self, start: str, end: str) -> Exchange:
        """The sessions from day to day: ``[{"date", "open", "close"}]`` in New York's time."""
        ...
