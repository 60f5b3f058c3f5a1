"""Buys the stock that most different members of Congress disclosed buying within a window.

A strategy is a pure function of the context that tradelog recorded for it: no clock, no network, no file.
Only so can `tradelog replay` run it again months later and compare.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal

from tradelog.decide.strategies.base import Context, Disclosure, Signal


@dataclass(frozen=True)
class Parameters:
    """What `[strategies.most-bought]` in tradelog.toml may set. Raise ValueError for what makes no sense."""

    window_days: int = 30
    min_members: int = 2
    notional: Decimal = Decimal(500)

    def __post_init__(self) -> None:
        if self.window_days < 1 or self.min_members < 1 or self.notional <= 0:
            raise ValueError("window_days, min_members and notional must be above 0")


class MostBought:
    name = "most-bought"
    # Recorded with each run: raise it when the rule changes.
    version = "1"
    # The kind of records that the context holds.
    kind = "congress_trade"
    Parameters = Parameters

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters

    @property
    def window_days(self) -> int:
        """The context holds symbols with a record filed within so many days."""
        return self.parameters.window_days

    def evaluate(self, context: Context) -> list[Signal]:
        """At most one signal: to buy the symbol with the most members."""
        purchases: dict[str, list[Disclosure]] = defaultdict(list)
        for item in context.disclosures:
            if item.side == "purchase" and (context.as_of - item.filed).days < self.parameters.window_days:
                purchases[item.symbol].append(item)
        if not purchases:
            return []
        # By symbol where two have the same number: the same context always gives the same signal.
        symbol, items = max(sorted(purchases.items()), key=lambda pair: len(_members(pair[1])))
        members = _members(items)
        if len(members) < self.parameters.min_members:
            return []
        return [
            Signal(
                symbol=symbol,
                side="buy",
                # Two signals of a symbol and side with the same day are one: it is decided once.
                episode=min(item.filed for item in items),
                # Exactly the records that the signal rests on.
                inputs=tuple(sorted(item.version_id for item in items)),
                # Whatever explains it, as JSON.
                rationale={"trigger_event": "most bought", "members": sorted(members)},
                notional=self.parameters.notional,
            )
        ]


def _members(items: list[Disclosure]) -> set[str]:
    return {item.person or item.member for item in items}
