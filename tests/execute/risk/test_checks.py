"""Each check by itself, with the values around its limit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tradelog.config.risk import RiskConfig
from tradelog.execute.brokers.base import WireOrder
from tradelog.execute.risk import checks

OFF = RiskConfig(max_order_notional=None, long_only=False)


def order(**changes: Any) -> WireOrder:
    values: dict[str, Any] = {
        "client_order_id": "x",
        "symbol": "AAPL",
        "side": "buy",
        "quantity": Decimal(10),
        "notional": None,
        "order_type": "market",
        "limit_price": None,
        "stop_price": None,
        "time_in_force": "day",
        "extended_hours": False,
    }
    return WireOrder(**(values | changes))


def dollars(text: str, **changes: Any) -> WireOrder:
    return order(quantity=None, notional=Decimal(text), **changes)


def facts(placed: WireOrder | None = None, **known: Any) -> checks.Facts:
    return checks.Facts(order=placed or order(), **({"price": Decimal(100), "quote": Decimal(100)} | known))


def limits(**changes: Any) -> RiskConfig:
    from dataclasses import replace

    return replace(OFF, **changes)


D = Decimal
# The limit, what is known, and whether it passes; each group of three stands around one limit.
TABLE: list[tuple[str, dict[str, Any], checks.Facts, bool]] = [
    ("order_notional", {"max_order_notional": D("1000.01")}, facts(), True),
    ("order_notional", {"max_order_notional": D(1000)}, facts(), True),
    ("order_notional", {"max_order_notional": D("999.99")}, facts(), False),
    (
        "order_notional",
        {"max_order_notional": D(50)},
        facts(order(quantity=None, notional=D("50.01"))),
        False,
    ),
    ("order_notional", {"max_order_notional": D(50)}, facts(order(quantity=None, notional=D(50))), True),
    ("order_quantity", {"max_order_quantity": D("9.999999999")}, facts(), False),
    ("order_quantity", {"max_order_quantity": D(10)}, facts(), True),
    ("order_quantity", {"max_order_quantity": D(2)}, facts(order(quantity=None, notional=D(200))), True),
    (
        "order_quantity",
        {"max_order_quantity": D(2)},
        facts(order(quantity=None, notional=D("200.01"))),
        False,
    ),
    ("symbol_notional", {"max_symbol_notional": D(1500)}, facts(symbol_sent=D(500)), True),
    ("symbol_notional", {"max_symbol_notional": D(1500)}, facts(symbol_sent=D("500.01")), False),
    ("day_notional", {"max_day_notional": D(1500)}, facts(day_sent=D(500)), True),
    ("day_notional", {"max_day_notional": D(1500)}, facts(day_sent=D("500.01")), False),
    ("gross_exposure", {"max_gross_exposure": D(3000)}, facts(exposure=(D(2000), D(3000))), True),
    ("gross_exposure", {"max_gross_exposure": D(3000)}, facts(exposure=(D(0), D("3000.01"))), False),
    ("gross_exposure", {"max_gross_exposure": D(3000)}, facts(exposure=(D(9000), D(9000))), True),
    ("gross_exposure", {"max_gross_exposure": D(3000)}, facts(exposure=(D(9000), D("9000.01"))), False),
    ("orders_per_minute", {"max_orders_per_minute": 3}, facts(orders_minute=2), True),
    ("orders_per_minute", {"max_orders_per_minute": 3}, facts(orders_minute=3), False),
    ("orders_per_minute", {"max_orders_per_minute": 0}, facts(), False),
    ("orders_per_day", {"max_orders_per_day": 3}, facts(orders_day=2), True),
    ("orders_per_day", {"max_orders_per_day": 3}, facts(orders_day=3), False),
    ("duplicate", {"duplicate_window_seconds": D(60)}, facts(), True),
    ("duplicate", {"duplicate_window_seconds": D(60)}, facts(duplicate="dec_x"), False),
    ("restricted_symbol", {"restricted_symbols": ("MSFT",)}, facts(), True),
    ("restricted_symbol", {"restricted_symbols": ("MSFT", "AAPL")}, facts(), False),
    ("allowed_symbol", {"allowed_symbols": ("AAPL",)}, facts(), True),
    ("allowed_symbol", {"allowed_symbols": ("MSFT",)}, facts(), False),
    ("allowed_symbol", {"allowed_symbols": ()}, facts(), False),
    ("long_only", {"long_only": True}, facts(order(side="sell"), available=D(10)), True),
    ("long_only", {"long_only": True}, facts(order(side="sell"), available=D("9.999999999")), False),
    ("long_only", {"long_only": True}, facts(order(side="sell"), available=D(-3)), False),
    (
        *("long_only", {"long_only": True}),
        *(facts(order(side="sell", quantity=None, notional=D(500)), available=D(5)), True),
    ),
    (
        *("long_only", {"long_only": True}),
        *(facts(order(side="sell", quantity=None, notional=D("500.01")), available=D(5)), False),
    ),
    (
        *("price_collar", {"price_collar_percent": D(5)}),
        *(facts(order(order_type="limit", limit_price=D(105))), True),
    ),
    (
        *("price_collar", {"price_collar_percent": D(5)}),
        *(facts(order(order_type="limit", limit_price=D("105.01"))), False),
    ),
    (
        *("price_collar", {"price_collar_percent": D(5)}),
        *(facts(order(order_type="limit", limit_price=D("94.99"))), False),
    ),
    ("price_collar", {"price_collar_percent": D(5)}, facts(order(reference_price=D(95))), True),
    ("price_collar", {"price_collar_percent": D(5)}, facts(order(reference_price=D("94.99"))), False),
    ("price_collar", {"price_collar_percent": D(5)}, facts(order()), True),
    (
        *("price_collar", {"price_collar_percent": D(5)}),
        *(facts(order(order_type="stop_limit", stop_price=D(200), limit_price=D(210))), True),
    ),
    (
        *("price_collar", {"price_collar_percent": D(5)}),
        *(facts(order(order_type="stop_limit", stop_price=D(200), limit_price=D("210.01"))), False),
    ),
    ("buying_power", {"buying_power": True}, facts(power=D(1000)), True),
    ("buying_power", {"buying_power": True}, facts(power=D("999.99")), False),
    ("asset", {"tradable_assets": True}, facts(asset={"tradable": True, "fractionable": False}), True),
    ("asset", {"tradable_assets": True}, facts(asset={"tradable": False, "fractionable": True}), False),
    (
        *("asset", {"tradable_assets": True}),
        *(facts(order(quantity=D("0.5")), asset={"tradable": True, "fractionable": False}), False),
    ),
    (
        *("asset", {"tradable_assets": True}),
        *(facts(order(quantity=D("0.5")), asset={"tradable": True, "fractionable": True}), True),
    ),
    ("asset", {"tradable_assets": True}, facts(asset={"tradable": "yes"}), False),
    ("market_hours", {"market_hours": "refuse"}, facts(is_open=True), True),
    ("market_hours", {"market_hours": "refuse"}, facts(is_open=False), False),
    ("market_hours", {"market_hours": "wait"}, facts(is_open=False), True),
]


@pytest.mark.parametrize(("name", "limit", "known", "passes"), TABLE)
def test_a_check_and_the_values_around_its_limit(
    name: str, limit: dict[str, Any], known: checks.Facts, passes: bool
) -> None:
    result = checks.run_checks(limits(**limit), known)
    assert [item.name for item in result] == [name]
    assert result[0].passed is passes
    assert result[0].code == (None if passes else name)
    assert result[0].limit


@pytest.mark.parametrize(
    ("name", "limit", "known"),
    [
        ("order_notional", {"max_order_notional": D(1000)}, {"price": None, "quote": None}),
        ("symbol_notional", {"max_symbol_notional": D(1000)}, {"price": None, "quote": None}),
        ("day_notional", {"max_day_notional": D(1000)}, {"price": None, "quote": None}),
        ("gross_exposure", {"max_gross_exposure": D(9000)}, {"exposure": None}),
        ("long_only", {"long_only": True}, {"order": order(side="sell")}),
        (
            "price_collar",
            {"price_collar_percent": D(5)},
            {"quote": None, "order": order(reference_price=D(1))},
        ),
        ("buying_power", {"buying_power": True}, {}),
        ("asset", {"tradable_assets": True}, {}),
        ("market_hours", {"market_hours": "wait"}, {}),
    ],
)
def test_what_cannot_be_known_fails_as_stale(name: str, limit: dict[str, Any], known: dict[str, Any]) -> None:
    placed = known.pop("order", None)
    result = checks.run_checks(limits(**limit), facts(placed, **known))
    assert [(item.name, item.passed, item.code) for item in result] == [(name, False, "stale_data")]


def test_by_default_only_what_cannot_surprise_is_on() -> None:
    assert [item.name for item in checks.run_checks(RiskConfig(), facts())] == ["order_notional"]
    sold = facts(order(side="sell"), available=D(10))
    assert [item.name for item in checks.run_checks(RiskConfig(), sold)] == ["order_notional", "long_only"]


@pytest.mark.parametrize(
    ("placed", "quote", "price"),
    [
        (order(), D(100), D(100)),
        (order(order_type="limit", limit_price=D(90)), D(100), D(90)),
        (order(side="sell", order_type="limit", limit_price=D(90)), D(100), D(100)),
        (order(side="sell", order_type="limit", limit_price=D(120)), D(100), D(120)),
        (order(order_type="stop", stop_price=D(120)), D(100), D(120)),
        (order(reference_price=D(80)), None, None),
        (order(order_type="trailing_stop", trail_percent=D(10)), D(100), D(110)),
        (order(order_type="trailing_stop", trail_price=D(3)), D(100), D(103)),
        (order(order_type="trailing_stop", trail_price=D(3), side="sell"), D(100), D(100)),
        (order(reference_price=D(80)), D(100), D(100)),
        (order(), None, None),
    ],
)
def test_an_order_is_valued_at_what_it_may_cost(
    placed: WireOrder, quote: Decimal | None, price: Decimal | None
) -> None:
    assert checks.valuing_price(placed, quote) == price


@pytest.mark.parametrize(
    "placed",
    [
        order(symbol="BTC/USD"),
        order(order_type="limit", limit_price=D(90), extended_hours=True),
        order(time_in_force="opg"),
        order(time_in_force="cls"),
    ],
)
def test_what_is_not_for_the_session_keeps_no_hours(placed: WireOrder) -> None:
    assert checks.run_checks(limits(market_hours="refuse"), facts(placed, is_open=False)) == []
    assert checks.required_snapshots(limits(market_hours="refuse"), placed) == frozenset()


MARKET = order(order_type="market")
LIMITED = order(order_type="limit", limit_price=D(110))
STOPPED = order(order_type="stop_limit", limit_price=D(110), stop_price=D(109))
SELL = order(side="sell")


@pytest.mark.parametrize(
    ("name", "limits_", "known", "row"),
    [
        (
            "gross_exposure",
            {"max_gross_exposure": D(500)},
            facts(exposure=(D(900), D(900))),
            ("900", "500", True, "it does not increase the exposure", None),
        ),
        (
            "gross_exposure",
            {"max_gross_exposure": D(500)},
            facts(exposure=(D(400), D(500))),
            ("500", "500", True, None, None),
        ),
        (
            "gross_exposure",
            {"max_gross_exposure": D(500)},
            facts(exposure=(D(900), D(901))),
            ("901", "500", False, None, "gross_exposure"),
        ),
        (
            "gross_exposure",
            {"max_gross_exposure": D(500)},
            facts(price=None, quote=None, unknown={"quote": "none", "position": "late"}),
            (None, "500", False, "quote: none", "stale_data"),
        ),
        (
            "gross_exposure",
            {"max_gross_exposure": D(500)},
            facts(unknown={"quote": "none", "position": "late"}),
            (None, "500", False, "position: late", "stale_data"),
        ),
        (
            "duplicate",
            {"duplicate_window_seconds": D(60)},
            facts(),
            (None, "once in 60 s", True, None, None),
        ),
        (
            "duplicate",
            {"duplicate_window_seconds": D(60)},
            facts(duplicate="dec_1"),
            ("dec_1", "once in 60 s", False, "the same strategy, symbol, side and size", "duplicate"),
        ),
        (
            "long_only",
            {"long_only": True},
            facts(SELL, available=D(-3)),
            ("10", "0 shares held and free", False, None, "long_only"),
        ),
        (
            "long_only",
            {"long_only": True},
            facts(SELL, available=D(10)),
            ("10", "10 shares held and free", True, None, None),
        ),
        (
            "long_only",
            {"long_only": True},
            facts(SELL, unknown={"quote": "none", "position": "late"}),
            (None, "the position", False, "position: late", "stale_data"),
        ),
        (
            "long_only",
            {"long_only": True},
            facts(dollars("5", side="sell"), available=D(1), price=None, unknown={"quote": "none"}),
            (None, "the position", False, "quote: none", "stale_data"),
        ),
        (
            "price_collar",
            {"price_collar_percent": D(1)},
            facts(LIMITED, quote=D(110)),
            ("110", "within 1 % of the quote", True, "110 is the quote", None),
        ),
        (
            "price_collar",
            {"price_collar_percent": D(1)},
            facts(STOPPED, quote=D(50)),
            ("110", "within 1 % of the quote", True, "109 is its stop", None),
        ),
        (
            "price_collar",
            {"price_collar_percent": D(1)},
            facts(MARKET),
            (None, "within 1 % of the quote", True, "the order has no price to compare", None),
        ),
        (
            "buying_power",
            {"buying_power": True},
            facts(power=D(-5)),
            ("1000", "0", False, None, "buying_power"),
        ),
        ("buying_power", {"buying_power": True}, facts(power=D(1000)), ("1000", "1000", True, None, None)),
        (
            "buying_power",
            {"buying_power": True},
            facts(unknown={"account": "late", "quote": "none"}),
            (None, "the buying power", False, "account: late", "stale_data"),
        ),
        (
            "buying_power",
            {"buying_power": True},
            facts(power=D(1), price=None, unknown={"account": "late", "quote": "none"}),
            (None, "the buying power", False, "quote: none", "stale_data"),
        ),
        (
            "asset",
            {"tradable_assets": True},
            facts(asset={"tradable": True, "fractionable": False}),
            ("tradable", "tradable", True, None, None),
        ),
        (
            "asset",
            {"tradable_assets": True},
            facts(dollars("5"), asset={"tradable": False}),
            ("not tradable and not fractionable", "tradable and fractionable", False, None, "asset"),
        ),
        ("market_hours", {"market_hours": "wait"}, facts(is_open=True), ("open", "wait", True, None, None)),
        (
            "market_hours",
            {"market_hours": "wait"},
            facts(is_open=False),
            ("closed", "wait", True, None, None),
        ),
        (
            "market_hours",
            {"market_hours": "refuse"},
            facts(is_open=False),
            ("closed", "refuse", False, None, "market_hours"),
        ),
        (
            "order_notional",
            {"max_order_notional": D(1)},
            facts(price=None, quote=None, unpriced="no quote"),
            (None, "1", True, "no quote", None),
        ),
        (
            "order_notional",
            {"max_order_notional": D(1)},
            facts(price=None, quote=None, unpriced="no quote", rough=D("0.1")),
            ("1", "1", True, None, None),
        ),
        (
            "order_notional",
            {"max_order_notional": D(1)},
            facts(price=D(1), unpriced="no quote"),
            ("10", "1", False, None, "order_notional"),
        ),
        (
            "order_quantity",
            {"max_order_quantity": D(4)},
            facts(dollars("10"), price=D(3)),
            ("3.333333333", "4", True, None, None),
        ),
        (
            "order_quantity",
            {"max_order_quantity": D(4)},
            facts(order(quantity=D("1.123456789"))),
            ("1.123456789", "4", True, None, None),
        ),
    ],
)
def test_what_a_check_writes_down(
    name: str, limits_: dict[str, Any], known: checks.Facts, row: tuple[Any, ...]
) -> None:
    """What was observed, the limit, the verdict, why, and the code: kept with the decision."""
    results = {item.name: item for item in checks.run_checks(limits(**limits_), known)}
    check = results[name]
    assert (check.observed, check.limit, check.passed, check.note, check.code) == row
    assert ("note" in check.as_row()) is (check.note is not None)


def test_no_limit_is_no_check_even_without_a_price() -> None:
    unpriced = facts(price=None, quote=None, unpriced="no quote")
    assert checks.run_checks(limits(max_order_notional=None), unpriced) == []


@pytest.mark.parametrize(
    ("placed", "quote", "price"),
    [
        (order(side="buy"), D(100), D(100)),
        (order(side="buy", order_type="trailing_stop", trail_price=D(7)), D(100), D(107)),
        (order(side="buy", order_type="trailing_stop", trail_percent=D(5)), D(100), D(105)),
        (order(side="sell", order_type="trailing_stop", trail_price=D(7)), D(100), D(100)),
        (order(side="buy", order_type="limit", limit_price=D(90)), D(100), D(90)),
        (order(side="sell", order_type="limit", limit_price=D(110)), D(100), D(110)),
        (order(side="sell", order_type="limit", limit_price=D(110)), None, D(110)),
        (order(side="buy", order_type="stop", stop_price=D(120)), D(100), D(120)),
        (order(side="buy"), None, None),
    ],
)
def test_the_price_that_values_an_order(placed: WireOrder, quote: Any, price: Any) -> None:
    assert checks.valuing_price(placed, quote) == price


@pytest.mark.parametrize("check", sorted(checks._REASONS))
def test_every_check_has_a_reason_for_people(check: str) -> None:
    failed = checks.Check(check, "OBSERVED", "LIMIT", False, "NOTE", check)
    assert checks.failure_reason(failed)
    stale = checks.Check(check, None, "LIMIT", False, "quote: none", checks.STALE)
    assert checks.failure_reason(stale) == f"{check} cannot be checked: quote: none"
