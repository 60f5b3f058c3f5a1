"""What the strategies of tradelog have in common: a consensus over a window of filings, and its order.

An agreement of people is one episode from the day on which it came about until the day on which it ends,
whenever one looks meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal

from tradelog.decide.strategies.base import Context, Disclosure
from tradelog.domain import money

# How a disclosed side is acted on, and which side speaks against it.
ORDER_SIDES = {"purchase": "buy", "sale": "sell"}
OPPOSITE = {"purchase": "sale", "sale": "purchase"}


def within(disclosures: Iterable[Disclosure], day: date, window_days: int) -> list[Disclosure]:
    """The disclosures filed in the window that ends with a day, in order of filing."""
    first = day - timedelta(days=window_days)
    return sorted(
        (item for item in disclosures if first < item.filed <= day),
        key=lambda item: (item.filed, item.version_id),
    )


def since(
    disclosures: Sequence[Disclosure],
    as_of: date,
    window_days: int,
    is_met: Callable[[list[Disclosure]], bool],
) -> date | None:
    """The day from which a consensus has held without a gap; None where there is none on ``as_of``.

    Found by walking through all days on which a disclosure comes into the window or leaves it,
    so that it is the same day whenever one looks while the consensus lasts.
    """
    window = timedelta(days=window_days)
    days = sorted({item.filed for item in disclosures} | {item.filed + window for item in disclosures})
    started: date | None = None
    for day in days:
        if day > as_of:
            break
        if not is_met(within(disclosures, day, window_days)):
            started = None
        elif started is None:
            started = day
    return started


def episode(context: Context, symbol: str, side: str, started: date, window_days: int) -> date:
    """The earlier signal's day where this is the same consensus.

    A filing that reaches us late can move the start of a consensus back: an earlier signal of up
    to one window before, or of any day since, is still this one.
    """
    first = started - timedelta(days=window_days)
    same = [
        item.started
        for item in context.earlier
        if item.symbol == symbol and item.side == side and first < item.started <= context.as_of
    ]
    return min(same, default=started)


def size(
    context: Context, symbol: str, side: str, notional: Decimal
) -> tuple[Decimal | None, Decimal | None, str | None]:
    """(shares, dollars, why not): a buy of so many dollars, a sell of the whole position."""
    if side == "buy":
        return None, notional, None
    position = context.portfolio.position(symbol)
    if position is None:
        return None, None, f"position unknown: {context.portfolio.unavailable}"
    if position <= 0:
        return None, None, "no position to sell"
    return position, None, None


def share(part: int | Decimal, whole: int | Decimal) -> str:
    """part / whole, at most 1, to two places, as text."""
    return money.to_text(min(Decimal(1), Decimal(part) / Decimal(whole)).quantize(Decimal("0.01")))
