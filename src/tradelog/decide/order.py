"""What may stand in a decision: the order fields, checked the same from every entry point.

The rules are Alpaca's, as far as they hold for every account (docs.alpaca.markets, "Placing
Orders"): prices from $1.00 up have two decimals and below it four; fractional and notional orders are
day orders of a simple type; extended hours take limit orders for the day or until cancelled; a
trailing stop has one trail, in dollars or in percent, is for whole shares, and for day or gtc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

from tradelog.domain import clock, money, symbols
from tradelog.errors import InvalidDecision, UsageError

SIDES = ("buy", "sell")
ORDER_TYPES = ("market", "limit", "stop", "stop_limit", "trailing_stop")
TIMES_IN_FORCE = ("day", "gtc", "opg", "cls", "ioc", "fok")
LIMITED = ("limit", "stop_limit")
STOPPED = ("stop", "stop_limit")


@dataclass(frozen=True, slots=True)
class Order:
    """An order as decided. Exactly one of ``quantity`` (shares) and ``notional`` (dollars) is set.

    ``trail_price`` (dollars) or ``trail_percent`` is how far a trailing stop stays behind the price.
    """

    symbol: str
    side: str
    quantity: Decimal | None
    notional: Decimal | None
    order_type: str = "market"
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: str = "day"
    extended_hours: bool = False
    expires_at: str | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None

    @property
    def is_fractional(self) -> bool:
        return self.quantity is None or money.places(self.quantity) > 0


def parse(values: Mapping[str, Any]) -> Order:
    """An Order from text, numbers or Decimals by field name; raises InvalidDecision by field."""
    order = Order(
        symbol=_symbol(values.get("symbol")),
        side=_choice(values, "side", SIDES, None),
        quantity=_number(values, "quantity"),
        notional=_number(values, "notional"),
        order_type=_choice(values, "order_type", ORDER_TYPES, "market"),
        limit_price=_number(values, "limit_price"),
        stop_price=_number(values, "stop_price"),
        time_in_force=_choice(values, "time_in_force", TIMES_IN_FORCE, "day"),
        extended_hours=_flag(values, "extended_hours"),
        expires_at=_moment(values, "expires_at"),
        trail_price=_number(values, "trail_price"),
        trail_percent=_number(values, "trail_percent"),
    )
    _check_size(order)
    _check_prices(order)
    _check_trail(order)
    _check_kind(order)
    return order


def _symbol(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidDecision("symbol", "is missing")
    try:
        return symbols.parse(value)
    except ValueError as error:
        raise InvalidDecision("symbol", str(error)) from error


def _choice(values: Mapping[str, Any], name: str, allowed: tuple[str, ...], default: str | None) -> str:
    value = values.get(name)
    if isinstance(value, Enum):
        # Such as alpaca-py's OrderSide.BUY: its value is the broker's own word.
        value = value.value
    if value is None and default is not None:
        return default
    if value not in allowed:
        given = "is missing" if value is None else f"{value!r} is not known"
        raise InvalidDecision(name, given, hint=f"one of: {', '.join(allowed)}")
    return str(value)


def _number(values: Mapping[str, Any], name: str) -> Decimal | None:
    value = values.get(name)
    if value is None:
        return None
    try:
        number = money.parse(value)
    except ValueError as error:
        raise InvalidDecision(name, str(error), hint='write numbers as text, such as "10.5"') from error
    if number <= 0:
        raise InvalidDecision(name, f"{value} is not above zero")
    return number


def _flag(values: Mapping[str, Any], name: str) -> bool:
    value = values.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise InvalidDecision(name, f"{value!r} is neither true nor false")
    return value


def _moment(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidDecision(name, f"{value!r} is no time", hint="such as 2025-12-24T14:30:00Z")
    try:
        return clock.to_text(clock.parse_moment(value, clock.MARKET_ZONE))
    except UsageError as error:
        raise InvalidDecision(name, error.message, hint=error.hint) from error


def _check_size(order: Order) -> None:
    if (order.quantity is None) == (order.notional is None):
        raise InvalidDecision("quantity", "give either quantity or notional, and only one of them")
    if order.quantity is not None and money.places(order.quantity) > 9:
        raise InvalidDecision("quantity", f"{order.quantity} has more than nine decimals")
    if order.notional is not None and money.places(order.notional) > 2:
        raise InvalidDecision("notional", f"{order.notional} has parts of a cent")


def _check_prices(order: Order) -> None:
    for name, price, kinds in (
        ("limit_price", order.limit_price, LIMITED),
        ("stop_price", order.stop_price, STOPPED),
    ):
        if price is None and order.order_type in kinds:
            raise InvalidDecision(name, f"a {order.order_type} order needs one")
        if price is not None and order.order_type not in kinds:
            raise InvalidDecision(name, f"a {order.order_type} order takes none")
        if price is not None and not money.is_price(price):
            raise InvalidDecision(
                name, f"{price} is finer than the market's steps", hint="two decimals from $1, four below"
            )


def _check_trail(order: Order) -> None:
    given = [name for name in ("trail_price", "trail_percent") if getattr(order, name) is not None]
    if order.order_type != "trailing_stop":
        if given:
            raise InvalidDecision(given[0], f"a {order.order_type} order takes none")
        return
    if len(given) != 1:
        raise InvalidDecision(
            "trail_price", "a trailing_stop order needs trail_price or trail_percent, and one"
        )
    if order.trail_price is not None and not money.is_price(order.trail_price):
        raise InvalidDecision("trail_price", f"{order.trail_price} is finer than the market's steps")
    if order.trail_percent is not None and (
        order.trail_percent >= 100 or money.places(order.trail_percent) > 2
    ):
        raise InvalidDecision("trail_percent", "must be below 100, with two decimals at most")
    if order.is_fractional:
        raise InvalidDecision("quantity", "a trailing_stop order is for whole shares")
    if order.time_in_force not in ("day", "gtc"):
        raise InvalidDecision("time_in_force", "a trailing_stop order is for day or gtc")


def _check_kind(order: Order) -> None:
    is_crypto = "/" in order.symbol
    if order.is_fractional and not is_crypto and order.time_in_force != "day":
        raise InvalidDecision("time_in_force", "fractional and notional orders are day orders")
    if order.extended_hours and not (order.order_type == "limit" and order.time_in_force in ("day", "gtc")):
        raise InvalidDecision("extended_hours", "needs a limit order for day or gtc")
    if order.time_in_force in ("opg", "cls") and order.order_type not in ("market", "limit"):
        raise InvalidDecision("time_in_force", f"{order.time_in_force} takes market and limit orders only")
