"""A source: a plugin that adds records to an ingestion run.

A package adds one with an entry point of the group ``tradelog.sources`` whose value is a `Source`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Protocol

from tradelog.domain import clock
from tradelog.ingest.run import IngestionRun
from tradelog.store.writer import Writer


class Progress(Protocol):
    """How far a long fetch has come, for whoever watches."""

    def expect(self, steps: int) -> None:
        """Add to the number of steps."""
        ...

    def advance(self) -> None:
        """One step is done."""
        ...


class Unwatched:
    """Progress that is not shown."""

    def expect(self, steps: int) -> None:
        """Nothing is shown."""

    def advance(self) -> None:
        """Nothing is shown."""


@dataclass(frozen=True, slots=True)
class Request:
    """The parameters of a fetch. ``since`` and ``until`` are days of the source, inclusive.

    ``goes_on`` is True where the source continues where an earlier fetch ended.

    ``settings`` is the source's own dataclass, from ``[sources.NAME]``; ``key`` the secret that it
    needs, None where it needs none.
    """

    command: str
    settings: Any
    key: str | None = None
    since: date | None = None
    until: date | None = None
    symbol: str | None = None
    history: bool = False
    goes_on: bool = False
    progress: Progress = field(default_factory=Unwatched)

    def covers(self, day: str | None) -> bool:
        """Whether a day of the source (ISO) is within the bounds; an unknown one is."""
        if day is None:
            return True
        after = self.since is None or day >= self.since.isoformat()
        return after and (self.until is None or day <= self.until.isoformat())


def _one_part(_: Writer, request: Request) -> list[Request]:
    return [request]


@dataclass(frozen=True, slots=True)
class Source:
    """``fetch`` adds the requested records to the run, and raises SourceError where it cannot.

    ``commands`` are the fetch commands that it serves, with the feed of each; ``options`` the
    parameters of each: since, until, symbol, history. ``key`` is the environment variable of its secret.
    ``settings`` is a dataclass with a default for every key. ``parts`` divides a long fetch into runs of
    their own, so that the records of one are kept whatever becomes of the next.
    """

    name: str
    commands: Mapping[str, str]
    origin: str
    terms: str
    fetch: Callable[[IngestionRun, Request], None]
    settings: type[Any]
    key: str | None = None
    options: Mapping[str, frozenset[str]] = field(default_factory=dict)
    parts: Callable[[Writer, Request], list[Request]] = _one_part


def resume(run: IngestionRun, endpoint: str, last: date, back_days: int) -> date:
    """The first day to fetch: where the last run for all that is new ended.

    Always ``back_days`` before ``last`` at the least, and as many before the day of that run: what
    comes again is seen unchanged.
    """
    back = last - timedelta(days=back_days)
    previous = run.last_unbounded(endpoint)
    if previous is None:
        return back
    last_day = clock.from_text(previous.started_at).astimezone(clock.zone(clock.MARKET_ZONE)).date()
    return min(back, last_day - timedelta(days=back_days))
