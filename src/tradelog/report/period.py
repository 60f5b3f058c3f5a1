"""The days that a report covers: inclusive, in the market's zone, named in its header."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from tradelog.domain import clock
from tradelog.errors import UsageError


@dataclass(frozen=True, slots=True)
class Period:
    """``first`` and ``last`` are inclusive days in ``zone``; None is open-ended."""

    first: date | None
    last: date | None
    zone: str

    @property
    def since(self) -> str:
        """Inclusive bound, store text."""
        return "" if self.first is None else clock.start_of_day(self.first, self.zone)

    @property
    def before(self) -> str:
        """Exclusive bound, store text."""
        return "~" if self.last is None else clock.end_of_day(self.last, self.zone)

    @property
    def first_day(self) -> str:
        """The first day, inclusive; None without a bound."""
        return "" if self.first is None else self.first.isoformat()

    @property
    def last_day(self) -> str:
        """The last day, inclusive; None without a bound."""
        return "~" if self.last is None else self.last.isoformat()

    def months(self, earliest: str, latest: str) -> list[tuple[str, str, str]]:
        """(month as 2025-12, since, before) of each month from one moment to another, cut to the period."""
        spans = []
        day = date.fromisoformat(clock.local(earliest, self.zone)[:7] + "-01")
        while (since := clock.start_of_day(day, self.zone)) <= latest:
            after = (day + timedelta(days=31)).replace(day=1)
            before = clock.start_of_day(after, self.zone)
            spans.append((day.isoformat()[:7], max(since, self.since), min(before, self.before)))
            day = after
        return spans

    @property
    def title(self) -> str:
        """As a header has it: a whole year or a day by its name."""
        if self.first is not None and self.first == self.last:
            return f"{self.first} ({self.zone})"
        if self.first and self.last and (self.first, self.last) == _year(self.first.year):
            return f"{self.first.year} ({self.zone})"
        return str(self)

    def __str__(self) -> str:
        if self.first is None and self.last is None:
            return f"all time ({self.zone})"
        return f"{self.first or 'the beginning'} to {self.last or 'now'} ({self.zone})"


def _year(number: int) -> tuple[date, date]:
    return date(number, 1, 1), date(number, 12, 31)


def of(year: int | None, first: date | None, last: date | None, zone: str) -> Period:
    """A period from a year or from its first and last day. Raises UsageError."""
    if year is not None:
        if first is not None or last is not None:
            raise UsageError("give --year or --from/--to, not both")
        clock.check_year(year)
        first, last = _year(year)
    if first is not None and last is not None and first > last:
        raise UsageError(f"--from {first} is after --to {last}")
    clock.zone(zone)
    return Period(first, last, zone)
