"""Our clock beside that of whoever answers, by the Date header of an answer.

A Date is in whole seconds (RFC 9110, section 5.6.7), so that half a second of doubt is the least there is;
the way there and back adds half its time. An answer out of a cache says when it was made, not when it came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from tradelog.domain import clock
from tradelog.store.writer import Transaction

_HALF_SECOND = 500


@dataclass(frozen=True, slots=True)
class Offset:
    """``offset_ms`` is our clock less theirs, right to ``uncertainty_ms``, around ``measured_at`` (ours)."""

    measured_at: str
    remote_date: str
    offset_ms: int
    uncertainty_ms: int

    @property
    def least_ms(self) -> int:
        """How far the clocks are apart at least."""
        return max(0, abs(self.offset_ms) - self.uncertainty_ms)


def measure(headers: Mapping[str, str], started_at: str, ended_at: str) -> Offset | None:
    """The offset that an answer between two moments of ours shows; None where it tells no time."""
    told = headers.get("date")
    if not told or headers.get("age", "0").strip() != "0":
        return None
    try:
        remote = parsedate_to_datetime(told)
        theirs = clock.from_text(clock.to_text(remote)) + timedelta(milliseconds=_HALF_SECOND)
    except (ValueError, TypeError, OverflowError):
        return None
    start, end = clock.from_text(started_at), clock.from_text(ended_at)
    way = end - start
    offset = start + way / 2 - theirs
    doubt = _HALF_SECOND + _milliseconds(abs(way) / 2)
    return Offset(ended_at, told, _milliseconds(offset), doubt)


def best_of_calls(calls: Iterable[Mapping[str, Any]]) -> Offset | None:
    """The surest offset of all answers that a run has logged."""
    found = [offset for call in calls if (offset := _of_call(call)) is not None]
    return min(found, key=lambda offset: offset.uncertainty_ms, default=None)


def _of_call(call: Mapping[str, Any]) -> Offset | None:
    if call.get("status") != 200:
        return None
    ended = str(call["timestamp"])
    return measure(call.get("headers") or {}, clock.later(ended, -float(call.get("seconds") or 0)), ended)


def keep(tx: Transaction, source: str, subject: str, offset: Offset | None) -> None:
    """Write down what was measured by a run or a worker. The caller's entry journals it."""
    if offset is not None:
        tx.insert(
            "clock_offsets",
            {
                "source": source,
                "subject": subject,
                "measured_at": offset.measured_at,
                "remote_date": offset.remote_date,
                "offset_ms": offset.offset_ms,
                "uncertainty_ms": offset.uncertainty_ms,
            },
        )


def _milliseconds(span: timedelta) -> int:
    return round(span / timedelta(milliseconds=1))
