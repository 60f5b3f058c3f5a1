"""Buy what several members of Congress disclosed buying; sell when as many disclose selling."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, ClassVar

from tradelog.config.parameters import CongressParameters
from tradelog.decide.strategies.base import Context, Disclosure, Signal
from tradelog.domain import money
from tradelog.domain.text import normalise_name


class CongressionalTradingStrategy:
    """Pure: the same context gives the same signals, in order of symbol and side."""

    name: ClassVar[str] = "congress"
    version: ClassVar[str] = "2"
    kind: ClassVar[str] = "congress_trade"
    Parameters: ClassVar[type[Any]] = CongressParameters

    def __init__(self, parameters: CongressParameters) -> None:
        self._parameters = parameters

    @property
    def window_days(self) -> int:
        """Days of disclosures that the context must cover."""
        return self._parameters.window_days

    def evaluate(self, context: Context) -> list[Signal]:
        """Signals for each symbol and side with a consensus of members within the window."""
        by_key: dict[tuple[str, str], list[Disclosure]] = {}
        for item in context.disclosures:
            if item.filed <= context.as_of:
                by_key.setdefault((item.symbol, item.side), []).append(item)
        signals = []
        for (symbol, side), group in sorted(by_key.items()):
            if side == "purchase":
                expected_side = "buy"
            elif side == "sale" and self._parameters.exit == "consensus_sale":
                expected_side = "sell"
            else:
                continue
            started = self._consensus_since(group, context.as_of)
            if started is None:
                continue
            opposite = by_key.get((symbol, "sale" if side == "purchase" else "purchase"), [])
            signals.append(self._signal(context, symbol, expected_side, started, group, opposite))
        return signals

    def _consensus_since(self, disclosures: list[Disclosure], as_of: date) -> date | None:
        """The day from which a consensus has held without a gap; None where there is none now.

        Found by walking through all days on which a disclosure comes into the window or leaves it,
        so that it is the same day whenever one looks while the consensus lasts.
        """
        window = timedelta(days=self.window_days)
        days = sorted({item.filed for item in disclosures} | {item.filed + window for item in disclosures})
        started: date | None = None
        for day in days:
            if day > as_of:
                break
            if len(_members(self._within(disclosures, day))) < self._parameters.min_members:
                started = None
            elif started is None:
                started = day
        return started

    def _within(self, disclosures: Iterable[Disclosure], day: date) -> list[Disclosure]:
        first = day - timedelta(days=self.window_days)
        return [item for item in disclosures if first < item.filed <= day]

    def _signal(
        self,
        context: Context,
        symbol: str,
        side: str,
        started: date,
        disclosures: list[Disclosure],
        opposite: list[Disclosure],
    ) -> Signal:
        current = sorted(
            self._within(disclosures, context.as_of), key=lambda item: (item.filed, item.version_id)
        )
        members = _members(current)
        against = _members(self._within(opposite, context.as_of))
        quantity, notional, reason = self._size(context, symbol, side)
        return Signal(
            symbol=symbol,
            side=side,
            episode=self._episode(context, symbol, side, started),
            inputs=_inputs(current),
            quantity=quantity,
            notional=notional,
            reason=reason,
            rationale={
                "signal_strength": _share(len(members), 2 * self._parameters.min_members),
                "confidence_score": _share(len(members), len(members) + len(against)),
                "trigger_event": self._trigger(disclosures, started, side),
                "source_data": [_source(item) for item in current],
                "consensus_detected": {
                    "members": sorted(members.values()),
                    "required": self._parameters.min_members,
                    "window_days": self.window_days,
                    "since": started.isoformat(),
                    "members_against": sorted(against.values()),
                },
            },
        )

    def _size(
        self, context: Context, symbol: str, side: str
    ) -> tuple[Decimal | None, Decimal | None, str | None]:
        """(quantity, notional, why not)."""
        if side == "buy":
            return None, self._parameters.notional, None
        position = context.portfolio.position(symbol)
        if position is None:
            return None, None, f"position unknown: {context.portfolio.unavailable}"
        if position <= 0:
            return None, None, "no position to sell"
        return position, None, None

    def _episode(self, context: Context, symbol: str, side: str, started: date) -> date:
        """The earlier signal's day where this is the same consensus.

        A filing that reaches us late can move the start of a consensus back: an earlier signal of up
        to one window before, or of any day since, is still this one.
        """
        first = started - timedelta(days=self.window_days)
        same = [
            item.started
            for item in context.earlier
            if item.symbol == symbol and item.side == side and first < item.started <= context.as_of
        ]
        return min(same, default=started)

    def _trigger(self, disclosures: list[Disclosure], started: date, side: str) -> str:
        last = max((item for item in disclosures if item.filed == started), key=lambda item: item.version_id)
        return (
            f"{self._parameters.min_members} members disclosed a {last.side} within {self.window_days} days"
            f" when {last.member} did on {started.isoformat()}: {side}"
        )


def _inputs(disclosures: Iterable[Disclosure]) -> tuple[int, ...]:
    """The versions of the disclosures, and of the profiles that identify their members."""
    used = {item.version_id for item in disclosures} | {
        item.resolved_by for item in disclosures if item.resolved_by
    }
    return tuple(sorted(used))


def _members(disclosures: Iterable[Disclosure]) -> dict[str, str]:
    """BioGuide id, or normalised name where there is none -> name as given, one entry per person."""
    return {item.person or normalise_name(item.member): item.member for item in disclosures}


def _share(part: int, whole: int) -> str:
    """part / whole, at most 1, to two places, as text."""
    return money.to_text(min(Decimal(1), Decimal(part) / Decimal(whole)).quantize(Decimal("0.01")))


def _source(item: Disclosure) -> dict[str, Any]:
    return {
        "record_version": item.version_id,
        "member": item.member,
        "person": item.person,
        "side": item.side,
        "filed": item.filed.isoformat(),
        "traded": item.event_date,
        "amount_low": item.amount_low,
        "amount_high": item.amount_high,
        "backfill": item.backfill,
    }
