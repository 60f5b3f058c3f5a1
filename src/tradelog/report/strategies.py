"""Each strategy: what became of its decisions, and apart from that how good its signals were."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tradelog.domain import money
from tradelog.domain.account import AccountKey
from tradelog.report.period import Period
from tradelog.store import figures
from tradelog.store.figures import Figures
from tradelog.store.reader import Reader

PERCENTILES = (50, 90, 99)
BASIS_POINTS = Decimal(10_000)


def strategies(
    reader: Reader, account: AccountKey, period: Period, *, strategy: str | None = None
) -> list[dict[str, Any]]:
    """One entry a strategy, by its name; counts are of what was decided, or signalled, in the period.

    ``success_rate`` is executed ÷ decisions, ``fill_rate`` the mean part filled of the orders that the broker
    had and that are over, None where there is none. ``slippage`` is the difference of the fills
    from the decisions' prices, to our disadvantage, in dollars; ``slippage_bps`` the same in basis points of
    it, over the ``priced`` decisions. ``times`` gives milliseconds by step, to two digits. Adopted orders
    are counted in ``adopted`` alone.
    """
    counts = figures.of(reader.rows, account, period.since, period.before)
    return [_entry(name, counts[name]) for name in sorted(counts) if strategy is None or name == strategy]


def decisions(
    reader: Reader,
    account: AccountKey,
    period: Period,
    *,
    strategy: str | None = None,
    status: str | None = None,
) -> int:
    """How many decisions there are, those recorded after the fact among them."""
    counts = figures.of(reader.rows, account, period.since, period.before)
    return sum(
        number
        for name, item in counts.items()
        if strategy is None or name == strategy
        for states in (item.states, item.adopted)
        for state, number in states.items()
        if status is None or state == status
    )


def not_taken(reader: Reader, account: AccountKey, period: Period, *, strategy: str | None = None) -> int:
    """How many signals were not acted on."""
    counts = figures.of(reader.rows, account, period.since, period.before)
    return sum(item.not_taken for name, item in counts.items() if strategy is None or name == strategy)


def _entry(name: str, item: Figures) -> dict[str, Any]:
    total = sum(item.states.values())
    executed = item.states["executed"]
    return {
        "strategy": name,
        "signals": item.taken + item.not_taken,
        "not_taken": item.not_taken,
        "decisions": total,
        "executed": executed,
        "failed": item.states["failed"],
        "cancelled": item.states["cancelled"],
        "pending": item.states["pending"] + item.states["executing"],
        "adopted": sum(item.adopted.values()),
        "success_rate": _average(Decimal(executed), total),
        "fill_rate": _average(item.filled, item.ended),
        "priced": item.priced,
        "slippage": item.cost if item.priced else None,
        "slippage_bps": money.average(item.cost * BASIS_POINTS, item.base) if item.base else None,
        "times": {step: _times(item.times.get(step, {})) for step in figures.STEPS},
    }


def _average(total: Decimal, number: int) -> Decimal | None:
    return money.average(total, Decimal(number)) if number else None


def _times(counts: dict[int, int]) -> dict[str, int | None]:
    return {"count": sum(counts.values())} | {
        f"p{share}": figures.percentile(counts, share) for share in PERCENTILES
    }
