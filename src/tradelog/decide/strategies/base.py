"""A strategy: a pure function from a recorded context to signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar, Protocol


@dataclass(frozen=True, slots=True)
class Disclosure:
    """A record version as a strategy may see it. ``filed`` is the market's day of the filing.

    ``member`` is the person or, of a filing by several, their names. ``person`` is the member's BioGuide
    id or the insider's CIK, None where the name is unresolved; ``resolved_by`` the version of the
    politician's profile that it was found in, None where the source itself gave it. ``payload`` is what
    the source said, JSON; empty where that is archived, which it is only long before the day. What an
    amendment says (``amendment``) stands where its original stood: ``filed`` is the original's day.
    """

    version_id: int
    symbol: str
    member: str
    side: str
    filed: date
    event_date: str | None
    amount_low: str | None
    amount_high: str | None
    backfill: bool
    person: str | None = None
    resolved_by: int | None = None
    feed: str = ""
    payload: str = ""
    flags: tuple[str, ...] = ()
    document: str | None = None
    amendment: bool = False


@dataclass(frozen=True, slots=True)
class Portfolio:
    """Shares by symbol, dollars, and why they are unknown where they are None."""

    positions: Mapping[str, Decimal] | None
    buying_power: Decimal | None
    value: Decimal | None
    as_of: str | None
    unavailable: str | None

    def position(self, symbol: str) -> Decimal | None:
        """Shares of a symbol; None where positions are unknown."""
        if self.positions is None:
            return None
        return self.positions.get(symbol, Decimal(0))


@dataclass(frozen=True, slots=True)
class Episode:
    """An earlier signal: (symbol, side) and the day from which it counted."""

    symbol: str
    side: str
    started: date


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that a strategy may look at. Nothing else: no clock, no store, no network."""

    as_of: date
    disclosures: Sequence[Disclosure]
    portfolio: Portfolio
    earlier: Sequence[Episode]


@dataclass(frozen=True, slots=True)
class Signal:
    """``episode`` distinguishes two signals of a symbol and side: the day from which this one counts.

    ``reason`` says why one is not taken.
    """

    symbol: str
    side: str
    episode: date
    inputs: tuple[int, ...]
    rationale: Mapping[str, Any]
    quantity: Decimal | None = None
    notional: Decimal | None = None
    reason: str | None = None

    @property
    def taken(self) -> bool:
        """Whether the signal becomes a decision."""
        return self.reason is None


class Strategy(Protocol):
    """``kind`` and ``sides`` select its records; ``Parameters`` is a frozen dataclass."""

    name: ClassVar[str]
    version: ClassVar[str]
    kind: ClassVar[str]
    Parameters: ClassVar[type[Any]]

    def __init__(self, parameters: Any) -> None: ...

    @property
    def window_days(self) -> int:
        """Only symbols with a record filed in so many days up to the as-of day are candidates."""
        ...

    def evaluate(self, context: Context) -> list[Signal]:
        """The signals of a context. Reads nothing else, and changes nothing."""
        ...
