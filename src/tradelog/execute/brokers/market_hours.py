"""When the market is open: the sessions that a broker lists, and the moments they begin and end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from tradelog.domain import clock

_OPENS, _CLOSES = time(9, 30), time(16, 0)


@dataclass(frozen=True, slots=True)
class Session:
    """From the open to the close, both aware."""

    opens: datetime
    closes: datetime


def parse_calendar(answer: object) -> list[Session] | None:
    """Sessions of an answer in the form of Alpaca's calendar (date, open, close); None for what is none."""
    if not isinstance(answer, list):
        return None
    sessions = []
    for item in answer:
        try:
            day = date.fromisoformat(item["date"])
            sessions.append(
                _session(day, time.fromisoformat(item["open"]), time.fromisoformat(item["close"]))
            )
        except (KeyError, TypeError, ValueError):
            return None
    return sorted(sessions, key=lambda item: item.opens)


def weekday_sessions(start: date, end: date) -> list[Session]:
    """The regular hours (09:30 to 16:00 in New York) of each weekday from day to day."""
    days = (start + timedelta(days=number) for number in range((end - start).days + 1))
    return [_session(day, _OPENS, _CLOSES) for day in days if day.weekday() < 5]


def is_open(sessions: Sequence[Session], moment: datetime) -> bool:
    """Whether a moment is within a session."""
    return any(item.opens <= moment < item.closes for item in sessions)


def next_open(sessions: Sequence[Session], moment: datetime) -> datetime | None:
    """When it opens next where it is closed at ``moment``, the moment itself where it is open.

    None where the sessions do not reach that far.
    """
    if is_open(sessions, moment):
        return moment
    return min((item.opens for item in sessions if item.opens > moment), default=None)


def _session(day: date, opens: time, closes: time) -> Session:
    zone = clock.zone(clock.MARKET_ZONE)
    return Session(datetime.combine(day, opens, zone), datetime.combine(day, closes, zone))
