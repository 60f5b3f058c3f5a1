"""The terms of an order, checked the same from every entry point, up to the wire.

The rules are Alpaca's, as far as they hold for every account (docs.alpaca.markets, "Placing
Orders"): prices from $1.00 up have two decimals and below it four; fractional and notional orders are
day orders of a simple type; extended hours take limit orders for the day or until cancelled; a
trailing stop has one trail, in dollars or in percent, is for whole shares, and for day or gtc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any, TypeVar

from tradelog.domain import money, symbols
from tradelog.errors import InvalidDecision

Choice = TypeVar("Choice", bound=StrEnum)


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TRAILING_STOP = "trailing_stop"


class TimeInForce(StrEnum):
    """How long an order stands; ``opg`` and ``cls`` are for the opening and closing auctions."""

    DAY = "day"
    GTC = "gtc"
    OPG = "opg"
    CLS = "cls"
    IOC = "ioc"
    FOK = "fok"


# Types with a limit price, and types with a stop price.
LIMIT_TYPES = (OrderType.LIMIT, OrderType.STOP_LIMIT)
STOP_TYPES = (OrderType.STOP, OrderType.STOP_LIMIT)
AUCTIONS = (TimeInForce.OPG, TimeInForce.CLS)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTerms:
    """The terms of an order. Exactly one of ``quantity`` (shares) and ``notional`` (dollars) is set.

    ``trail_price`` (dollars) or ``trail_percent`` is how far a trailing stop stays behind the price. An
    adopted order may have an ``order_type`` or ``time_in_force`` that this version does not know.
    """

    symbol: str
    side: str
    quantity: Decimal | None = None
    notional: Decimal | None = None
    order_type: str = OrderType.MARKET
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: str = TimeInForce.DAY
    extended_hours: bool = False
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None

    @property
    def is_fractional(self) -> bool:
        """Whether it is for parts of a share, or for dollars."""
        return self.quantity is None or money.places(self.quantity) > 0

    @property
    def is_crypto(self) -> bool:
        """Whether the symbol is a crypto pair."""
        return "/" in self.symbol

    def as_columns(self) -> dict[str, Any]:
        """The terms in stored form. A trail has columns only where it is set: they came later."""
        trails = {"trail_price": self.trail_price, "trail_percent": self.trail_percent}
        return {
            "symbol": self.symbol,
            "side": str(self.side),
            "quantity": _text(self.quantity),
            "notional": _text(self.notional),
            "order_type": str(self.order_type),
            "limit_price": _text(self.limit_price),
            "stop_price": _text(self.stop_price),
            "time_in_force": str(self.time_in_force),
            "extended_hours": int(self.extended_hours),
            **{name: _text(trail) for name, trail in trails.items() if trail is not None},
        }


def parse_terms(values: Mapping[str, Any]) -> OrderTerms:
    """Terms from text, numbers, Decimals or alpaca-py's enums by field name.

    Raises InvalidDecision, which names the field.
    """
    terms = OrderTerms(
        symbol=_symbol(values.get("symbol")),
        side=_choice(values, "side", Side, None),
        quantity=_number(values, "quantity"),
        notional=_number(values, "notional"),
        order_type=_choice(values, "order_type", OrderType, OrderType.MARKET),
        limit_price=_number(values, "limit_price"),
        stop_price=_number(values, "stop_price"),
        time_in_force=_choice(values, "time_in_force", TimeInForce, TimeInForce.DAY),
        extended_hours=_flag(values, "extended_hours"),
        trail_price=_number(values, "trail_price"),
        trail_percent=_number(values, "trail_percent"),
    )
    _check_size(terms)
    _check_prices(terms)
    _check_trail(terms)
    _check_kind(terms)
    return terms


def is_regular_session(symbol: str, time_in_force: str, *, extended_hours: bool) -> bool:
    """Whether an order of these terms belongs into the regular session: crypto never closes."""
    return not ("/" in symbol or extended_hours or time_in_force in AUCTIONS)


def _symbol(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidDecision("symbol", "is missing")
    try:
        return symbols.parse(value)
    except ValueError as error:
        raise InvalidDecision("symbol", str(error)) from error


def _choice(values: Mapping[str, Any], name: str, kind: type[Choice], default: Choice | None) -> Choice:
    value = values.get(name)
    if isinstance(value, Enum):
        # Such as alpaca-py's OrderSide.BUY: its value is Alpaca's text.
        value = value.value
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or value not in tuple(kind):
        problem = "is missing" if value is None else f"{value!r} is not known"
        raise InvalidDecision(name, problem, hint=f"one of: {', '.join(kind)}")
    return kind(value)


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


def _check_size(terms: OrderTerms) -> None:
    if (terms.quantity is None) == (terms.notional is None):
        raise InvalidDecision("quantity", "give either quantity or notional, and only one of them")
    if terms.quantity is not None and money.places(terms.quantity) > 9:
        raise InvalidDecision("quantity", f"{terms.quantity} has more than nine decimals")
    if terms.notional is not None and money.places(terms.notional) > 2:
        raise InvalidDecision("notional", f"{terms.notional} has parts of a cent")


def _check_prices(terms: OrderTerms) -> None:
    for name, price, kinds in (
        ("limit_price", terms.limit_price, LIMIT_TYPES),
        ("stop_price", terms.stop_price, STOP_TYPES),
    ):
        if price is None and terms.order_type in kinds:
            raise InvalidDecision(name, f"a {terms.order_type} order needs one")
        if price is not None and terms.order_type not in kinds:
            raise InvalidDecision(name, f"a {terms.order_type} order takes none")
        if price is not None and not money.is_price(price):
            raise InvalidDecision(
                name, f"{price} is finer than the market's steps", hint="two decimals from $1, four below"
            )


def _check_trail(terms: OrderTerms) -> None:
    trails = [name for name in ("trail_price", "trail_percent") if getattr(terms, name) is not None]
    if terms.order_type != "trailing_stop":
        if trails:
            raise InvalidDecision(trails[0], f"a {terms.order_type} order takes none")
        return
    if len(trails) != 1:
        raise InvalidDecision(
            "trail_price", "a trailing_stop order needs trail_price or trail_percent, and one"
        )
    if terms.trail_price is not None and not money.is_price(terms.trail_price):
        raise InvalidDecision("trail_price", f"{terms.trail_price} is finer than the market's steps")
    if terms.trail_percent is not None and (
        terms.trail_percent >= 100 or money.places(terms.trail_percent) > 2
    ):
        raise InvalidDecision("trail_percent", "must be below 100, with two decimals at most")
    if terms.is_fractional:
        raise InvalidDecision("quantity", "a trailing_stop order is for whole shares")
    if terms.time_in_force not in ("day", "gtc"):
        raise InvalidDecision("time_in_force", "a trailing_stop order is for day or gtc")


def _check_kind(terms: OrderTerms) -> None:
    if terms.is_fractional and not terms.is_crypto and terms.time_in_force != "day":
        raise InvalidDecision("time_in_force", "fractional and notional orders are day orders")
    if terms.extended_hours and not (terms.order_type == "limit" and terms.time_in_force in ("day", "gtc")):
        raise InvalidDecision("extended_hours", "needs a limit order for day or gtc")
    if terms.time_in_force in AUCTIONS and terms.order_type not in ("market", "limit"):
        raise InvalidDecision("time_in_force", f"{terms.time_in_force} takes market and limit orders only")


def _text(number: Decimal | None) -> str | None:
    return None if number is None else money.to_text(number)
