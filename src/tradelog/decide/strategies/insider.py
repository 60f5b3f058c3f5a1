"""Buy what several insiders of a company bought in the open market; sell when as many sold there.

Only lines of the non-derivative table with code P (purchase) or S (sale) count, and no trade under a
10b5-1 plan: it was decided long before. Codes: sec.gov/files/forms-3-4-5.pdf.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar

from tradelog.config.parameters import InsiderParameters
from tradelog.decide.strategies import consensus
from tradelog.decide.strategies.base import Context, Disclosure, Signal
from tradelog.domain import money
from tradelog.domain.text import normalise_name

# Code and direction must agree: a purchase that disposes of shares contradicts itself.
_DIRECTIONS = {"purchase": ("P", "A"), "sale": ("S", "D")}
_ROLES = ("officer", "director", "ten_percent_owner")


@dataclass(frozen=True, slots=True)
class _Trade:
    """An open-market line. ``owners`` (CIKs) and ``names`` (words sorted) are those who filed it together.

    ``roles`` are of any of them. ``holding`` names one of their holdings (direct, or through whom), and
    ``before`` the shares in it before the trade; ``plan`` is None where the source does not say.
    """

    disclosure: Disclosure
    owners: frozenset[str]
    names: frozenset[str]
    roles: frozenset[str]
    shares: Decimal | None
    price: str | None
    holding: str
    before: Decimal | None
    plan: bool | None


@dataclass(frozen=True, slots=True)
class _Insider:
    """One person or group, however many lines and filings: those that share an owner are one.

    ``holding_share`` is the part of the holdings that was traded, at most 1; None where it is not stated.
    """

    name: str
    roles: frozenset[str]
    holding_share: Decimal | None
    weight: Decimal


class CorporateInsiderStrategy:
    """Pure: the same context gives the same signals, in order of symbol and side."""

    name: ClassVar[str] = "insider"
    version: ClassVar[str] = "1"
    kind: ClassVar[str] = "insider_trade"
    Parameters: ClassVar[type[Any]] = InsiderParameters

    def __init__(self, parameters: InsiderParameters) -> None:
        self._parameters = parameters

    @property
    def window_days(self) -> int:
        """Days of filings that the context must cover."""
        return self._parameters.window_days

    def evaluate(self, context: Context) -> list[Signal]:
        """Signals for each symbol and side with a consensus of insiders within the window."""
        trades: dict[int, _Trade] = {}
        by_key: dict[tuple[str, str], list[Disclosure]] = {}
        for item in context.disclosures:
            trade = _open_market(item) if item.filed <= context.as_of else None
            if trade is not None:
                trades[item.version_id] = trade
                by_key.setdefault((item.symbol, item.side), []).append(item)

        def is_consensus(disclosures: Iterable[Disclosure]) -> bool:
            insiders = self._insiders(trades[item.version_id] for item in disclosures)
            return len(insiders) >= self._parameters.min_insiders and (
                _weight(insiders) >= self._parameters.min_weight
            )

        signals = []
        for (symbol, side), group in sorted(by_key.items()):
            if side == "sale" and self._parameters.exit == "none":
                continue
            started = consensus.since(group, context.as_of, self.window_days, is_consensus)
            if started is None:
                continue
            opposite = by_key.get((symbol, consensus.OPPOSITE[side]), [])
            current, against = (
                [trades[item.version_id] for item in consensus.within(some, context.as_of, self.window_days)]
                for some in (group, opposite)
            )
            signals.append(self._signal(context, started, current, against))
        return signals

    def _signal(
        self, context: Context, started: date, trades: Sequence[_Trade], against: Sequence[_Trade]
    ) -> Signal:
        first = trades[0].disclosure
        symbol, side = first.symbol, consensus.ORDER_SIDES[first.side]
        insiders, opposed = self._insiders(trades), self._insiders(against)
        weight = _weight(insiders)
        quantity, notional, reason = consensus.size(context, symbol, side, self._parameters.notional)
        return Signal(
            symbol=symbol,
            side=side,
            episode=consensus.episode(context, symbol, side, started, self.window_days),
            inputs=tuple(sorted(item.disclosure.version_id for item in trades)),
            quantity=quantity,
            notional=notional,
            reason=reason,
            rationale={
                "signal_strength": consensus.share(weight, 2 * self._parameters.min_weight),
                "confidence_score": consensus.share(weight, weight + _weight(opposed)),
                "trigger_event": self._trigger(trades, started, side),
                "source_data": [_source(item) for item in trades],
                "consensus_detected": {
                    "insiders": [_described(item) for item in insiders],
                    "required": self._parameters.min_insiders,
                    "weight": money.to_text(weight),
                    "required_weight": money.to_text(self._parameters.min_weight),
                    "window_days": self.window_days,
                    "since": started.isoformat(),
                    "insiders_against": [_described(item) for item in opposed],
                },
            },
        )

    def _trigger(self, trades: Sequence[_Trade], started: date, side: str) -> str:
        known = [item.disclosure for item in trades if item.disclosure.filed <= started]
        last = max(known or [trades[0].disclosure], key=lambda item: (item.filed, item.version_id))
        return (
            f"{self._parameters.min_insiders} insiders filed an open-market {last.side} within"
            f" {self.window_days} days when {last.member} did on {started.isoformat()}: {side}"
        )

    def _insiders(self, trades: Iterable[_Trade]) -> list[_Insider]:
        """Different insiders, by name. Filings that share an owner are of one: a fund and its manager."""
        groups: list[list[_Trade]] = []
        for trade in trades:
            merged, others = [trade], []
            for group in groups:
                if any(_is_same(trade, other) for other in group):
                    merged += group
                else:
                    others.append(group)
            groups = [*others, merged]
        return sorted((self._insider(group) for group in groups), key=lambda item: item.name)

    def _insider(self, trades: Sequence[_Trade]) -> _Insider:
        roles = frozenset().union(*(item.roles for item in trades))
        part = _holding_share(trades)
        weights = {
            "officer": self._parameters.officer_weight,
            "director": self._parameters.director_weight,
            "ten_percent_owner": self._parameters.ten_percent_weight,
        }
        role = max((weights[item] for item in roles), default=money.ZERO)
        weight = (role * (1 + (part or money.ZERO))).quantize(Decimal("0.01"))
        name = min(trades, key=lambda item: item.disclosure.version_id).disclosure.member
        return _Insider(name, roles, part, weight)


def _open_market(item: Disclosure) -> _Trade | None:
    """The line as a trade; None for what is no free purchase or sale of the share itself."""
    if not item.payload:  # archived, and older than any window
        return None
    line = json.loads(item.payload)
    fields = _from_quiver(line) if "TransactionCode" in line else _from_form(line)
    if (fields["code"], fields["direction"]) != _DIRECTIONS.get(item.side):
        return None
    if fields["plan"] or "10b5_1_plan" in item.flags or "equity_swap" in item.flags:
        return None
    shares = _number(fields["shares"])
    names = frozenset(" ".join(sorted(normalise_name(name).split())) for name in fields["names"])
    return _Trade(
        disclosure=item,
        owners=frozenset(fields["ciks"]),
        names=names,
        roles=frozenset(role for role in _ROLES if role in fields["roles"]),
        shares=shares,
        price=fields["price"] or None,
        holding=fields["holding"],
        before=_before(shares, _number(fields["after"]), item.side),
        plan=fields["plan"],
    )


def _from_form(line: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a line of a Form 4 or 5, as the SEC's XML has them."""
    owners = line["owners"]
    return {
        "code": line["code"],
        "direction": line["acquired_disposed"],
        "plan": line["plan_10b5_1"],
        "ciks": [owner["cik"] for owner in owners],
        "names": [owner["name"] for owner in owners],
        "roles": {role for owner in owners for role in _ROLES if owner[f"is_{role}"]},
        "shares": line["shares"],
        "price": line["price"],
        "after": line["shares_after"],
        "holding": f"{line['direct_or_indirect']} {line['nature']}",
    }


def _from_quiver(line: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row of Quiver, which has no CIK and says nothing of plans."""
    columns = {"officer": "isOfficer", "director": "isDirector", "ten_percent_owner": "isTenPercentOwner"}
    roles = {role for role, key in columns.items() if str(line.get(key)).strip().lower() in ("true", "1")}
    return {
        "code": str(line["TransactionCode"]).strip().upper(),
        "direction": str(line.get("AcquiredDisposedCode") or "").strip().upper(),
        "plan": None,
        "ciks": [],
        "names": [str(line["Name"])],
        "roles": roles,
        "shares": line.get("Shares"),
        "price": str(line.get("PricePerShare") or ""),
        "after": line.get("SharesOwnedFollowing"),
        "holding": str(line.get("directOrIndirectOwnership") or ""),
    }


def _number(text: object) -> Decimal | None:
    try:
        return money.parse(str(text))
    except ValueError:
        return None


def _before(shares: Decimal | None, after: Decimal | None, side: str) -> Decimal | None:
    """Shares in the holding before a trade; None where the filing does not say, or contradicts itself."""
    if shares is None or after is None or shares <= 0 or after < 0:
        return None
    before = after - shares if side == "purchase" else after + shares
    return before if before >= 0 else None


def _holding_share(trades: Iterable[_Trade]) -> Decimal | None:
    """The traded part of the holdings; a purchase by one who held nothing is all of it."""
    holdings: dict[tuple[frozenset[str], str], list[_Trade]] = {}
    for trade in trades:
        if trade.before is not None:
            holdings.setdefault((trade.owners or trade.names, trade.holding), []).append(trade)
    if not holdings:
        return None
    traded, before = money.ZERO, money.ZERO
    for group in holdings.values():
        # Several lines of one holding: what was there before the first of them.
        first = min if group[0].disclosure.side == "purchase" else max
        before += first(item.before for item in group if item.before is not None)
        traded += sum((item.shares for item in group if item.shares is not None), money.ZERO)
    return Decimal(1) if traded >= before else (traded / before).quantize(Decimal("0.01"))


def _is_same(left: _Trade, right: _Trade) -> bool:
    """Whether two trades have an owner in common; by name where a source gives no CIK."""
    if left.owners and right.owners:
        return bool(left.owners & right.owners)
    return bool(left.names & right.names)


def _weight(insiders: Iterable[_Insider]) -> Decimal:
    return sum((item.weight for item in insiders), money.ZERO)


def _described(insider: _Insider) -> dict[str, Any]:
    return {
        "name": insider.name,
        "roles": sorted(insider.roles),
        "holding_share": None if insider.holding_share is None else money.to_text(insider.holding_share),
        "weight": money.to_text(insider.weight),
    }


def _source(trade: _Trade) -> dict[str, Any]:
    item = trade.disclosure
    return {
        "record_version": item.version_id,
        "insider": item.member,
        "document": item.document,
        "amendment": item.amendment,
        "roles": sorted(trade.roles),
        "side": item.side,
        "filed": item.filed.isoformat(),
        "traded": item.event_date,
        "shares": None if trade.shares is None else money.to_text(trade.shares),
        "price": trade.price,
        "held_before": None if trade.before is None else money.to_text(trade.before),
        "plan_10b5_1": trade.plan,
        "backfill": item.backfill,
    }
