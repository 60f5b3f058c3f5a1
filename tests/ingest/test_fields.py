"""Laws of the field readers."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradelog.domain import money
from tradelog.domain.text import normalise_name
from tradelog.ingest import fields
from tradelog.ingest.identity import digest, pack, unpack

TODAY = date(2026, 1, 1)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("$1,001 - $15,000", "1001", "15000"),
        ("$100,001-250,000", "100001", "250000"),
        ("$.01", "0.01", "0.01"),
        ("$439.25", "439.25", "439.25"),
        (">$5,000,000", "5000000", None),
        ("Over $50,000,000", "50000000", None),
        ("$1,001 -", "1001", None),
        ("$1,000,000 +", "1000000", None),
        ("1001.0", "1001.0", None),
        ("$500,001", "500001", None),
        ("Spouse/DC Over $1,000,000", "1000000", None),
        ("$1,001 –", "1001", None),
        ("Less than $1,001", "0", "1001"),
        ("1e+06", None, None),
        ("$1K-$15K", None, None),
        ("-5000", None, None),
        ("15%", None, None),
        ("Unknown", None, None),
        ("$15,000 - $1,001", None, None),
        ("", None, None),
    ],
)
def test_amounts_as_they_come(text: str, low: str | None, high: str | None) -> None:
    result = fields.amount(text)
    assert result == (low and Decimal(low), high and Decimal(high))


@given(st.text(max_size=40))
def test_an_amount_is_in_order_or_open_or_nothing(text: str) -> None:
    low, high = fields.amount(text)
    assert low is not None or high is None
    if low is not None and high is not None:
        assert low <= high


@given(st.text(max_size=20))
def test_a_day_is_possible_or_none(text: str) -> None:
    result = fields.day(text, TODAY)
    assert result is None or fields.EARLIEST <= result <= TODAY


@given(st.dates(fields.EARLIEST, TODAY))
def test_both_ways_to_write_a_day(day: date) -> None:
    assert fields.day(day.isoformat(), TODAY) == day
    assert fields.day(f"{day.month}/{day.day}/{day.year}", TODAY) == day


@pytest.mark.parametrize("text", ["0021-08-02", "20222-07-18", "2026-01-02", "2025-02-30", "31/12/2025"])
def test_impossible_days(text: str) -> None:
    assert fields.day(text, TODAY) is None


def test_a_bare_filing_date_counts_from_the_end_of_that_day_in_washington() -> None:
    assert fields.filed_moment(date(2025, 1, 2)) == "2025-01-03T05:00:00.000000Z"
    assert fields.filed_moment(date(2025, 7, 2), "11:15 AM") == "2025-07-02T15:15:00.000000Z"


@given(st.sets(st.integers(1, 500)))
def test_packing_ids_loses_nothing(ids: set[int]) -> None:
    assert unpack(pack(ids)) == sorted(ids)


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_two_identities_meet_only_where_they_are_equal(left: list[str], right: list[str]) -> None:
    assert (digest(left) == digest(right)) == (left == right)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**12), max_value=10**12))
def test_numbers_round_trip_as_plain_text(number: Decimal) -> None:
    """Invariant 8: no exponent, no digit lost."""
    text = money.to_text(number)
    assert "e" not in text.lower()
    assert money.parse(text) == number


@pytest.mark.parametrize(
    "value", [1.5, float("nan"), None, True, "1e999999999999", "NaN", "inf", "x", "1_0", "１０"]
)
def test_what_is_no_exact_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"no |finite|is no"):
        money.parse(value)


def test_names_fold_without_guessing() -> None:
    assert normalise_name("Hon. Cy  Dr Test") == normalise_name("cy test")
    assert normalise_name("The Honorable Max Sample (Sample, Max)") == normalise_name("Max Sample")
    assert normalise_name("Rick Scott") != normalise_name("Tim Scott")
