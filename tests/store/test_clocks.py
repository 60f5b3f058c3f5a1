"""How far our clock is from theirs, by the Date of an answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradelog.domain import clock
from tradelog.store import clocks

NOON = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)


def at(seconds: float) -> str:
    return clock.to_text(NOON + timedelta(seconds=seconds))


def date(seconds: int) -> dict[str, str]:
    return {"date": format_datetime(NOON + timedelta(seconds=seconds), usegmt=True)}


@pytest.mark.parametrize(
    ("theirs", "start", "end", "offset", "doubt"),
    [
        (0, 0.5, 0.5, 0, 500),  # Noon and some of its second: half a second is the best guess.
        (0, 10.5, 10.5, 10_000, 500),
        (60, 0.5, 0.5, -60_000, 500),
        (0, 0, 2, 500, 1500),  # Two seconds under way: the answer may be of any moment between.
        (0, 2, 1, 1000, 1000),  # Our clock was set back meanwhile.
    ],
)
def test_the_offset_of_an_answer(theirs: int, start: float, end: float, offset: int, doubt: int) -> None:
    result = clocks.measure(date(theirs), at(start), at(end))
    assert result is not None
    assert (result.offset_ms, result.uncertainty_ms) == (offset, doubt)
    assert (result.measured_at, result.remote_date) == (at(end), date(theirs)["date"])


@given(st.floats(-90, 90), st.floats(0, 20), st.floats(0, 20))
def test_the_true_offset_is_within_the_doubt(true: float, there: float, back: float) -> None:
    """Whatever the way there and back takes, and wherever in its second the answer is made."""
    made = NOON + timedelta(seconds=there)
    told = {"date": format_datetime(made.replace(microsecond=0), usegmt=True)}
    result = clocks.measure(told, at(true), at(true + there + back))
    assert result is not None
    assert abs(result.offset_ms - true * 1000) <= result.uncertainty_ms + 2
    assert result.least_ms <= abs(true) * 1000 + 2


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"date": ""},
        {"date": "yesterday"},
        {"date": "Mon, 99 Mar 2026 12:00:00 GMT"},
        {**date(0), "age": "30"},
    ],
)
def test_a_response_without_a_usable_date(headers: dict[str, str]) -> None:
    assert clocks.measure(headers, at(0), at(0)) is None


def test_an_answer_out_of_no_cache_counts() -> None:
    assert clocks.measure({**date(0), "age": "0"}, at(0.5), at(0.5)) is not None


def test_the_surest_answer_of_a_run_counts() -> None:
    calls = [
        {"status": 200, "timestamp": at(4.5), "seconds": 4.0, "headers": date(2)},
        {"status": 200, "timestamp": at(7.6), "seconds": 0.2, "headers": date(5)},
        {"status": 500, "timestamp": at(9), "seconds": 0.0, "headers": date(0)},
        {"error": "timed out", "timestamp": at(9), "seconds": 9.0},
        {"endpoint": "a file", "timestamp": at(9)},
    ]
    result = clocks.best_of_calls(calls)
    assert result is not None
    assert (result.offset_ms, result.uncertainty_ms) == (2000, 600)
    assert clocks.best_of_calls(calls[2:]) is None
