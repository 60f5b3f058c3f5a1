"""Decimal numbers: what comes in, how it is written, and how shares and averages are rounded."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradelog.domain import money


@pytest.mark.parametrize(
    ("given_", "number"),
    [
        ("1.50", "1.50"),
        (" 7 ", "7"),
        (7, "7"),
        (Decimal("0.1"), "0.1"),
        ("-3", "-3"),
        ("0", "0"),
        (Decimal("0E-30"), "0E-30"),
        ("1e18", "1E+18"),
        ("9.99e18", "9.99E+18"),
        ("1e-18", "1E-18"),
    ],
)
def test_a_number_is_taken_as_it_is_written(given_: Any, number: str) -> None:
    assert str(money.parse(given_)) == number


@pytest.mark.parametrize(
    "given_",
    [
        *(1.5, 0.0, True, False, None),
        *("", "x", "1_000", "1,5", "１２", "٣", "NaN", "Infinity", "-inf", "sNaN"),
        *("1e19", "-1e19", "9.99e-19", "1e-19"),
        *(Decimal("NaN"), Decimal("Infinity"), Decimal("1e19"), Decimal("1e-19")),
    ],
)
def test_what_has_lost_digits_or_means_nothing_is_refused(given_: Any) -> None:
    with pytest.raises(ValueError, match=r"is no|is not finite"):
        money.parse(given_)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *(("1.500", "1.5"), ("100", "100"), ("1E+3", "1000"), ("-0", "0"), ("0.000", "0")),
        *(("1E-9", "0.000000001"), ("-2.10", "-2.1"), ("10.0", "10"), ("1000", "1000")),
    ],
)
def test_a_number_is_written_in_plain_digits(number: str, text: str) -> None:
    assert money.to_text(Decimal(number)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**18), max_value=10**18, places=9))
def test_what_is_written_is_read_as_the_same_number(number: Decimal) -> None:
    assert money.parse(money.to_text(number)) == number


@pytest.mark.parametrize(
    ("number", "places"),
    [("1", 0), ("1.0", 0), ("1.10", 1), ("0.000000001", 9), ("1E-37", 37), ("1000", 0)],
)
def test_decimal_places_in_use(number: str, places: int) -> None:
    assert money.places(Decimal(number)) == places


@pytest.mark.parametrize(
    ("price", "is_one"),
    [
        *(("1", True), ("1.01", True), ("1.001", False), ("1.0001", False), ("0.9999", True)),
        *(("0.99999", False), ("0.0001", True), ("250.25", True), ("250.255", False), ("1.0000", True)),
    ],
)
def test_a_price_is_in_the_market_s_steps(price: str, is_one: bool) -> None:
    """A cent from one dollar up, a hundredth of one below."""
    assert money.is_price(Decimal(price)) is is_one


@pytest.mark.parametrize(
    ("dollars", "price", "shares"),
    [("1000", "156", "6.410256410"), ("1", "3", "0.333333333"), ("2", "3", "0.666666666"), ("10", "5", "2")],
)
def test_shares_for_dollars_are_rounded_down(dollars: str, price: str, shares: str) -> None:
    """An order never costs more than was decided."""
    assert money.quantity_for(Decimal(dollars), Decimal(price)) == Decimal(shares)


@pytest.mark.parametrize(
    ("total", "count", "average"),
    [("1", "3", "0.333333333333"), ("2", "3", "0.666666666667"), ("10", "4", "2.5")],
)
def test_an_average_is_to_twelve_places(total: str, count: str, average: str) -> None:
    assert money.average(Decimal(total), Decimal(count)) == Decimal(average)
