"""Time: the only module that reads a clock.

Inside, every moment is an aware UTC datetime, and in the store ISO-8601 text of fixed
width with microseconds and ``Z``, so that text order is time order. People read the market's
day, America/New_York unless configured.
"""

from __future__ import annotations

import time as time_module
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tradelog.errors import UsageError

MARKET_ZONE = "America/New_York"
YEARS = range(1900, 3000)


def now() -> datetime:
    """This moment, aware, UTC."""
    return machine_now()


def machine_now() -> datetime:
    """The machine's clock: only for what is handed to a library that reads that clock itself."""
    return datetime.now(UTC)


def to_text(moment: datetime) -> str:
    """``2025-12-24T14:30:00.000000Z``. Raises ValueError for a datetime without a zone."""
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone cannot be stored")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def from_text(text: str) -> datetime:
    """The inverse of `to_text`; also takes the broker's nanoseconds, cut to microseconds."""
    stamp = text.strip()
    if "." in stamp:
        head, _, tail = stamp.partition(".")
        digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
        stamp = f"{head}.{digits[:6].ljust(6, '0')}{tail[len(digits) :]}"
    moment = datetime.fromisoformat(stamp)
    if moment.tzinfo is None:
        raise ValueError(f"no time zone in {text!r}")
    return moment.astimezone(UTC)


def later(moment: str, seconds: float) -> str:
    """Store text, so many seconds after other store text."""
    return to_text(from_text(moment) + timedelta(seconds=seconds))


def read_moment(text: object) -> str | None:
    """A time from outside as store text; None where it cannot be read or is absurd."""
    if not isinstance(text, str) or not text:
        return None
    try:
        moment = from_text(text)
        return to_text(moment) if moment.year in YEARS else None
    except (ValueError, OverflowError):
        return None


def now_text() -> str:
    """This moment as store text."""
    return to_text(now())


def running_seconds() -> float:
    """Elapsed seconds on a clock that is never set, and that counts sleep where the system has one."""
    # CLOCK_BOOTTIME is Linux's; elsewhere the monotonic clock stands still during sleep.
    return time_module.clock_gettime(getattr(time_module, "CLOCK_BOOTTIME", time_module.CLOCK_MONOTONIC))


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    """Raises UsageError for a name that the time zone database does not have."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"unknown time zone {name!r}", hint="use a name such as America/New_York or UTC"
        ) from error


def market_today(zone_name: str = MARKET_ZONE) -> date:
    """Today's date in a zone, by default the market's."""
    return now().astimezone(zone(zone_name)).date()


@lru_cache(maxsize=4096)
def start_of_day(day: date, zone_name: str = MARKET_ZONE) -> str:
    """The first moment of that local day, as store text (UTC)."""
    return to_text(datetime.combine(day, time(0), tzinfo=zone(zone_name)))


def end_of_day(day: date, zone_name: str = MARKET_ZONE) -> str:
    """The first moment after that local day, as store text (UTC): an exclusive bound."""
    return start_of_day(day + timedelta(days=1), zone_name)


def local(text: str | None, zone_name: str) -> str:
    """Store text as people read it in that zone: ``2025-12-24 09:30:00``; empty for None."""
    if text is None:
        return ""
    return from_text(text).astimezone(zone(zone_name)).strftime("%Y-%m-%d %H:%M:%S")


def parse_day(text: str) -> date:
    """A date. Raises UsageError unless it is ``YYYY-MM-DD`` in a sensible year."""
    try:
        day = date.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError(f"{text!r} is no date", hint="dates are written YYYY-MM-DD") from error
    check_year(day.year)
    return day


def parse_past_day(text: str, zone_name: str = MARKET_ZONE) -> date:
    """As `parse_day`; raises UsageError also for a day that has not come yet."""
    day, today = parse_day(text), market_today(zone_name)
    if day > today:
        raise UsageError(f"{day} has not come yet", hint=f"today is {today} ({zone_name})")
    return day


def check_year(year: int) -> None:
    """Raise UsageError for an absurd year; at the ends of the calendar zones overflow."""
    if year not in YEARS:
        raise UsageError(f"{year} is out of range", hint=f"{YEARS.start} to {YEARS.stop - 1}")


def parse_moment(text: str, zone_name: str) -> datetime:
    """A date and time as a person writes it; without a zone it is in ``zone_name``.

    Raises UsageError for anything else.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no time", hint='write "2025-12-24 09:30" or 2025-12-24T14:30:00Z'
        ) from error
    check_year(moment.year)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone(zone_name))
    return moment.astimezone(UTC)
