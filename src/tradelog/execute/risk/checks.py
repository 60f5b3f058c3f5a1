"""The checks of ``[risk]``: each compares an observed value with its limit, right before submission.

Nothing here reads a clock, the store or the network: `pretrade` gathers the facts, and an unknown one
fails its check as stale data. A failed check fails the decision as ``risk.<check>``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tradelog.config.risk import RiskConfig
from tradelog.domain import money, symbols
from tradelog.domain.order import LIMIT_TYPES, is_regular_session
from tradelog.execute.brokers.base import WireOrder

STALE = "stale_data"


@dataclass(frozen=True, slots=True)
class Check:
    """``observed`` against ``limit``, both as text; ``code`` says which limit failed, None where none did."""

    name: str
    observed: str | None
    limit: str
    passed: bool
    note: str | None = None
    code: str | None = None

    def as_row(self) -> dict[str, Any]:
        """The check as it is recorded."""
        row = {"check": self.name, "observed": self.observed, "limit": self.limit, "passed": self.passed}
        return row if self.note is None else row | {"note": self.note}


# The message of a failed check: the thing, the fact, and the key of [risk] that decides.
_REASONS = {
    "restricted_symbol": "{observed} is on restricted_symbols",
    "allowed_symbol": "{observed} is not on allowed_symbols",
    "market_hours": "the market is {observed} (market_hours = {limit})",
    "asset": "the asset is {observed} (tradable_assets)",
    "order_quantity": "{observed} {shares}; the limit is {limit} (max_order_quantity)",
    "order_notional": "${observed}; the limit is ${limit} (max_order_notional)",
    "symbol_notional": "${observed} in the symbol today, with this order; the limit is ${limit}"
    " (max_symbol_notional)",
    "day_notional": "${observed} today, with this order; the limit is ${limit} (max_day_notional)",
    "orders_per_minute": "orders within a minute: {observed}; the limit is {limit} (max_orders_per_minute)",
    "orders_per_day": "orders today: {observed}; the limit is {limit} (max_orders_per_day)",
    "duplicate": "repeats {observed}; the limit is {limit} (duplicate_window_seconds)",
    "long_only": "{observed} {shares} to sell; {limit} (long_only)",
    "gross_exposure": "exposure of ${observed}; the limit is ${limit} (max_gross_exposure)",
    "buying_power": "${observed}; the buying power is ${limit} (buying_power)",
    "price_collar": "price {observed} is not {limit}, {note} (price_collar_percent)",
}


def failure_reason(check: Check) -> str:
    """Why a check failed, for people."""
    if check.code == STALE:
        return f"{check.name} cannot be checked: {check.note}"
    shares = "share" if check.observed == "1" else "shares"
    return _REASONS[check.name].format(
        observed=check.observed, limit=check.limit, note=check.note, shares=shares
    )


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts at the moment of the claim; None is unknown, or not needed by any limit.

    ``price`` values the order, ``quote`` is the market's price. Dollars and counts of the day and the
    minute leave this order out, and so do the ``available`` shares; ``exposure`` is without it and with it.
    ``duplicate`` is the decision that this one repeats. ``unknown`` says why a kind of snapshot is
    missing. ``unpriced`` says why an order without a known price passes ``order_notional``; None where it
    does not, and ``rough`` is the best estimate of its price then.
    """

    order: WireOrder
    price: Decimal | None = None
    quote: Decimal | None = None
    is_open: bool | None = None
    asset: Mapping[str, Any] | None = None
    available: Decimal | None = None
    exposure: tuple[Decimal, Decimal] | None = None
    power: Decimal | None = None
    symbol_sent: Decimal = money.ZERO
    day_sent: Decimal = money.ZERO
    orders_minute: int = 0
    orders_day: int = 0
    duplicate: str | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)
    unpriced: str | None = None
    rough: Decimal | None = None

    @property
    def value(self) -> Decimal | None:
        """The order's value in dollars at ``price``."""
        if self.order.notional is not None:
            return self.order.notional
        assert self.order.quantity is not None
        return None if self.price is None else self.order.quantity * self.price

    @property
    def quantity(self) -> Decimal | None:
        """Shares, of an order for dollars at ``price``."""
        if self.order.quantity is not None:
            return self.order.quantity
        assert self.order.notional is not None
        return None if self.price is None else self.order.notional / self.price


def run_checks(limits: RiskConfig, facts: Facts) -> list[Check]:
    """Every check that is on, in a fixed order; the first that failed names the reason."""
    results = (check(limits, facts) for check in _CHECKS)
    return [item for item in results if item is not None]


def required_snapshots(limits: RiskConfig, order: WireOrder) -> frozenset[str]:
    """Which kinds of snapshots the checks of this order look at."""
    kinds = set()
    is_buy = order.side == "buy"
    valued = (
        *(limits.max_order_notional, limits.max_symbol_notional, limits.max_day_notional),
        limits.max_gross_exposure,
    )
    if order.notional is None:
        is_priced = is_buy and order.order_type in LIMIT_TYPES
        if not is_priced and (any(item is not None for item in valued) or (limits.buying_power and is_buy)):
            kinds.add("quote")
    elif limits.max_order_quantity is not None or (limits.long_only and not is_buy):
        kinds.add("quote")
    if limits.price_collar_percent is not None and collared_price(order) is not None:
        kinds.add("quote")
    if (limits.long_only and not is_buy) or limits.max_gross_exposure is not None:
        kinds.add("position")
    if limits.buying_power and is_buy:
        kinds.add("account")
    if limits.tradable_assets:
        kinds.add("asset")
    if limits.market_hours != "queue" and is_for_regular_session(order):
        kinds.add("clock")
    return frozenset(kinds)


def is_for_regular_session(order: WireOrder) -> bool:
    """Whether an order belongs into the regular session."""
    return is_regular_session(order.symbol, order.time_in_force, extended_hours=order.extended_hours)


def collared_price(order: WireOrder) -> Decimal | None:
    """The price of the order that must be near the market: its limit, or the price it was decided at."""
    if order.order_type in LIMIT_TYPES:
        return order.limit_price
    return order.reference_price


def valuing_price(order: WireOrder, quote: Decimal | None) -> Decimal | None:
    """The price that values a share of the order: a buy's limit, else the highest of its prices."""
    if order.side == "buy" and order.limit_price is not None:
        return order.limit_price
    if quote is None and order.limit_price is None:
        return None
    prices = [item for item in (quote, order.limit_price, order.stop_price) if item is not None]
    if quote is not None and order.side == "buy" and order.order_type == "trailing_stop":
        # It buys after the price has come up by its trail.
        prices.append(quote + (order.trail_price or money.ZERO))
        prices.append(quote * (1 + (order.trail_percent or money.ZERO) / 100))
    return max(prices)


def _order_notional(limits: RiskConfig, facts: Facts) -> Check | None:
    limit = limits.max_order_notional
    if limit is None or facts.value is not None or facts.unpriced is None:
        return _most("order_notional", limit, facts.value, facts, "quote")
    if facts.rough is None:
        return _check("order_notional", None, money.to_text(limit), True, facts.unpriced)
    assert facts.order.quantity is not None
    return _most("order_notional", limit, facts.order.quantity * facts.rough, facts, "quote")


def _order_quantity(limits: RiskConfig, facts: Facts) -> Check | None:
    return _most("order_quantity", limits.max_order_quantity, facts.quantity, facts, "quote")


def _symbol_notional(limits: RiskConfig, facts: Facts) -> Check | None:
    total = None if facts.value is None else facts.symbol_sent + facts.value
    return _most("symbol_notional", limits.max_symbol_notional, total, facts, "quote")


def _day_notional(limits: RiskConfig, facts: Facts) -> Check | None:
    total = None if facts.value is None else facts.day_sent + facts.value
    return _most("day_notional", limits.max_day_notional, total, facts, "quote")


def _gross_exposure(limits: RiskConfig, facts: Facts) -> Check | None:
    limit = limits.max_gross_exposure
    if limit is None:
        return None
    if facts.exposure is None:
        missing = "quote" if facts.value is None else "position"
        return _stale("gross_exposure", money.to_text(limit), facts, missing)
    before, after = facts.exposure
    note = None if after > before else "it does not increase the exposure"
    return _check("gross_exposure", _text(after), money.to_text(limit), after <= max(limit, before), note)


def _orders_per_minute(limits: RiskConfig, facts: Facts) -> Check | None:
    return _count("orders_per_minute", limits.max_orders_per_minute, facts.orders_minute + 1)


def _orders_per_day(limits: RiskConfig, facts: Facts) -> Check | None:
    return _count("orders_per_day", limits.max_orders_per_day, facts.orders_day + 1)


def _duplicate(limits: RiskConfig, facts: Facts) -> Check | None:
    if limits.duplicate_window_seconds is None:
        return None
    limit = f"once in {money.to_text(limits.duplicate_window_seconds)} s"
    note = None if facts.duplicate is None else "the same strategy, symbol, side and size"
    return _check("duplicate", facts.duplicate, limit, facts.duplicate is None, note)


def _restricted(limits: RiskConfig, facts: Facts) -> Check | None:
    if not limits.restricted_symbols:
        return None
    symbol = facts.order.symbol
    # Not which ones: the record of one symbol names no other. The list is in `limits --history`.
    limit = f"none of {len(limits.restricted_symbols)} restricted ones"
    passed = symbols.normalise(symbol) not in map(symbols.normalise, limits.restricted_symbols)
    return _check("restricted_symbol", symbol, limit, passed)


def _allowed(limits: RiskConfig, facts: Facts) -> Check | None:
    if limits.allowed_symbols is None:
        return None
    symbol = facts.order.symbol
    limit = f"one of {len(limits.allowed_symbols)} allowed ones"
    passed = symbols.normalise(symbol) in map(symbols.normalise, limits.allowed_symbols)
    return _check("allowed_symbol", symbol, limit, passed)


def _long_only(limits: RiskConfig, facts: Facts) -> Check | None:
    if not limits.long_only or facts.order.side == "buy":
        return None
    if facts.available is None or facts.quantity is None:
        missing = "position" if facts.available is None else "quote"
        return _stale("long_only", "the position", facts, missing)
    limit = f"{money.to_text(max(facts.available, money.ZERO))} shares held and free"
    return _check("long_only", _text(facts.quantity), limit, facts.quantity <= facts.available)


def _price_collar(limits: RiskConfig, facts: Facts) -> Check | None:
    percent = limits.price_collar_percent
    price = collared_price(facts.order)
    if percent is None:
        return None
    limit = f"within {money.to_text(percent)} % of the quote"
    if price is None:
        return _check("price_collar", None, limit, True, "the order has no price to compare")
    # A stop-limit is sent to the market where its stop is, not where the market is now.
    is_stopped = facts.order.order_type == "stop_limit"
    market = facts.order.stop_price if is_stopped else facts.quote
    if market is None:
        return _stale("price_collar", limit, facts, "quote")
    # Compared by multiplying: a rounded quotient could pass what is over.
    passed = abs(price - market) * 100 <= market * percent
    note = f"{money.to_text(market)} is {'its stop' if is_stopped else 'the quote'}"
    return _check("price_collar", money.to_text(price), limit, passed, note)


def _buying_power(limits: RiskConfig, facts: Facts) -> Check | None:
    if not limits.buying_power or facts.order.side == "sell":
        return None
    if facts.power is None or facts.value is None:
        return _stale(
            "buying_power", "the buying power", facts, "account" if facts.power is None else "quote"
        )
    limit = money.to_text(max(facts.power, money.ZERO))
    return _check("buying_power", _text(facts.value), limit, facts.value <= facts.power)


def _asset(limits: RiskConfig, facts: Facts) -> Check | None:
    if not limits.tradable_assets:
        return None
    if facts.asset is None:
        return _stale("asset", "tradable", facts, "asset")
    is_whole = facts.order.quantity is not None and not money.places(facts.order.quantity)
    required = ("tradable",) if is_whole else ("tradable", "fractionable")
    missing = [name for name in required if facts.asset.get(name) is not True]
    observed = f"not {' and not '.join(missing)}" if missing else " and ".join(required)
    return _check("asset", observed, " and ".join(required), not missing)


def _market_hours(limits: RiskConfig, facts: Facts) -> Check | None:
    if limits.market_hours == "queue" or not is_for_regular_session(facts.order):
        return None
    if facts.is_open is None:
        return _stale("market_hours", "open", facts, "clock")
    # Under ``wait`` a closed market is no refusal: the decision is held.
    passed = facts.is_open or limits.market_hours == "wait"
    return _check("market_hours", "open" if facts.is_open else "closed", limits.market_hours, passed)


_CHECKS: tuple[Callable[[RiskConfig, Facts], Check | None], ...] = (
    *(_restricted, _allowed, _market_hours, _asset, _order_quantity, _order_notional, _symbol_notional),
    *(_day_notional, _orders_per_minute, _orders_per_day, _duplicate, _long_only, _gross_exposure),
    *(_buying_power, _price_collar),
)


def _most(
    name: str, limit: Decimal | None, observed: Decimal | None, facts: Facts, needed: str
) -> Check | None:
    if limit is None:
        return None
    text = money.to_text(limit)
    if observed is None:
        return _stale(name, text, facts, needed)
    return _check(name, _text(observed), text, observed <= limit)


def _count(name: str, limit: int | None, observed: int) -> Check | None:
    return None if limit is None else _check(name, str(observed), str(limit), observed <= limit)


def _check(name: str, observed: str | None, limit: str, passed: bool, note: str | None = None) -> Check:
    return Check(name, observed, limit, passed, note, None if passed else name)


def _stale(name: str, limit: str, facts: Facts, needed: str) -> Check:
    why = facts.unknown.get(needed, "not known")
    return Check(name, None, limit, False, f"{needed}: {why}", STALE)


def _text(number: Decimal) -> str:
    return money.to_text(number.quantize(Decimal("0.000000001")) if money.places(number) > 9 else number)
