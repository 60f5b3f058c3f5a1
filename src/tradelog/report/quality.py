"""How good the signals were, whatever became of them: the symbol's move after each, where it is known."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from tradelog.domain import clock, money
from tradelog.domain.account import AccountKey
from tradelog.prices import STALE_AFTER, Bar, Prices
from tradelog.report.period import Period
from tradelog.store.reader import Reader

# Sessions after the decision for which a move is reported.
AFTER = (1, 5, 20)

_OURS = "symbol = :symbol AND broker = :broker AND environment = :environment AND account = :account"
_SPAN = "created_at >= :since AND created_at < :before"
_DECIDED = f"""
SELECT strategy_name, side, created_at FROM trade_decisions
WHERE {_OURS} AND status IN ('pending', 'executing', 'executed', 'failed', 'cancelled') AND {_SPAN}
  AND adopted = 0
"""
_NOT_TAKEN = f"SELECT strategy_name, side, created_at FROM signals WHERE {_OURS} AND {_SPAN} AND taken = 0"


def quality(
    reader: Reader,
    account: AccountKey,
    period: Period,
    prices: Prices,
    *,
    strategy: str | None = None,
) -> dict[tuple[str, bool], dict[int, dict[str, Any]]]:
    """By strategy and whether it was taken, for each of `AFTER`: ``count`` signals whose move is known, their
    mean ``move`` in the direction of the signal (0.01 is a percent up after a buy, or down after a sell), and
    the share of them that went ``right``.

    A move is from the last close up to the day of the signal to that of so many sessions later, by the price
    file; where either is not in it, the signal is in no count. Only symbols of the file count.
    """
    params: dict[str, Any] = account.as_columns()
    params |= {"since": period.since, "before": period.before, "strategy": strategy}
    more = "" if strategy is None else " AND strategy_name = :strategy"
    by_signal: dict[tuple[str, bool], dict[int, Counter[Decimal]]] = {}
    for symbol, bars in prices.bars.items():
        days = [bar.day for bar in bars]
        for is_taken, sql in ((True, _DECIDED), (False, _NOT_TAKEN)):
            # Signals of one day are judged by the same closes.
            alike = Counter(
                (row["strategy_name"], row["side"], _market_day(row["created_at"][:13]))
                for row in reader.rows(sql + more, {**params, "symbol": symbol})
            )
            for (name, side, day), number in alike.items():
                moves = by_signal.setdefault((name, is_taken), {after: Counter() for after in AFTER})
                for after, move in _moves(bars, days, day):
                    moves[after][move if side == "buy" else -move] += number
    return {
        key: {after: _summary(moves) for after, moves in by_span.items()}
        for key, by_span in by_signal.items()
    }


def _moves(bars: tuple[Bar, ...], days: list[date], day: date) -> Iterator[tuple[int, Decimal]]:
    """(sessions, move) of each of `AFTER` that is known for a day."""
    base = bisect_right(days, day) - 1
    if base < 0 or day - days[base] > STALE_AFTER:
        return
    for after in AFTER:
        # A file with a hole has fewer sessions than there were: what lies behind it is not so many later.
        last = base + after
        if last < len(bars) and days[last] - days[base] <= timedelta(days=after * 7 // 5) + STALE_AFTER:
            yield after, bars[last].close / bars[base].close - 1


@lru_cache(maxsize=65_536)
def _market_day(hour: str) -> date:
    """New York is whole hours from UTC: an hour is of one day."""
    return clock.from_text(f"{hour}:00:00Z").astimezone(clock.zone(clock.MARKET_ZONE)).date()


def _summary(moves: Counter[Decimal]) -> dict[str, Any]:
    number = moves.total()
    if not number:
        return {"count": 0, "move": None, "right": None}
    right = sum(count for move, count in moves.items() if move > 0)
    total = sum((move * count for move, count in moves.items()), money.ZERO)
    return {
        "count": number,
        "move": money.average(total, Decimal(number)),
        "right": money.average(Decimal(right), Decimal(number)),
    }
