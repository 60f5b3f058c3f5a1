"""Buy what several members of Congress disclosed buying; sell when as many disclose selling."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any, ClassVar

from tradelog.config.parameters import CongressParameters
from tradelog.decide.strategies import consensus
from tradelog.decide.strategies.base import Context, Disclosure, Signal
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
            if side not in consensus.ORDER_SIDES or (side == "sale" and self._parameters.exit == "none"):
                continue
            started = consensus.since(group, context.as_of, self.window_days, self._is_consensus)
            if started is None:
                continue
            opposite = by_key.get((symbol, consensus.OPPOSITE[side]), [])
            signals.append(self._signal(context, started, group, opposite))
        return signals

    def _is_consensus(self, disclosures: list[Disclosure]) -> bool:
        return len(_members(disclosures)) >= self._parameters.min_members

    def _signal(
        self, context: Context, started: date, disclosures: list[Disclosure], opposite: list[Disclosure]
    ) -> Signal:
        symbol, side = disclosures[0].symbol, consensus.ORDER_SIDES[disclosures[0].side]
        current = consensus.within(disclosures, context.as_of, self.window_days)
        members = _members(current)
        against = _members(consensus.within(opposite, context.as_of, self.window_days))
        quantity, notional, reason = consensus.size(context, symbol, side, self._parameters.notional)
        return Signal(
            symbol=symbol,
            side=side,
            episode=consensus.episode(context, symbol, side, started, self.window_days),
            inputs=_inputs(current),
            quantity=quantity,
            notional=notional,
            reason=reason,
            rationale={
                "signal_strength": consensus.share(len(members), 2 * self._parameters.min_members),
                "confidence_score": consensus.share(len(members), len(members) + len(against)),
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
