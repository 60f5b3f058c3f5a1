"""The decisions of an account, or the signals that a strategy did not act on, newest first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tradelog.domain.account import AccountKey
from tradelog.domain.status import DecisionStatus
from tradelog.report import strategies
from tradelog.report.period import Period
from tradelog.store import figures
from tradelog.store.reader import Reader, Row

NEWEST = 50

_OURS = "broker = :broker AND environment = :environment AND account = :account"
# Of all symbols: both tables are in the order of time, so a period is a range of their numbers.
_BY_NUMBER = f"id >= :first AND id < :end AND {_OURS}"
_BY_SYMBOL = f"symbol = :symbol AND {_OURS} AND created_at >= :since AND created_at < :before"
_DECISIONS = """
SELECT decision_id, created_at, strategy_name, actor, symbol, side, quantity, notional, order_type,
       limit_price, stop_price, trail_price, trail_percent, time_in_force, status, failure_code,
       failure_message, needs_attention, approval, approval_by, held_until, extended_hours, expires_at,
       adopted
FROM trade_decisions WHERE
"""
_NOT_TAKEN = """
SELECT signal_id, created_at, strategy_name, symbol, side, episode, reason, strategy_run_id
FROM signals WHERE
"""
_WAITING = """
AND status = 'pending' AND approval IS NULL AND strategy_name IN (SELECT value FROM json_each(:waiting))
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to list; None is any. ``waiting`` are the strategies whose decisions need approval."""

    period: Period
    symbol: str | None = None
    strategy: str | None = None
    status: str | None = None
    waiting: tuple[str, ...] | None = None


def decisions(
    reader: Reader, account: AccountKey, wanted: Wanted, *, limit: int = NEWEST
) -> tuple[list[Row], int]:
    """(decisions, newest first, how many there are in all); limit -1 gives all."""
    asked = _asked(account, wanted)
    states = tuple(DecisionStatus) if wanted.status is None else (wanted.status,)
    if wanted.waiting is not None:
        where = f"{_OURS} AND created_at >= :since AND created_at < :before {_WAITING}"
        where += _more(wanted, "symbol", "strategy_name", "status")
    elif wanted.symbol is not None:
        named = ", ".join(f"'{state}'" for state in states)
        where = f"{_BY_SYMBOL} AND status IN ({named})" + _more(wanted, "strategy_name")
    else:
        asked |= _numbers(reader, "trade_decisions", wanted)
        where = _BY_NUMBER + _more(wanted, "strategy_name", "status")
    found = reader.rows(f"{_DECISIONS} {where} ORDER BY id DESC LIMIT :limit", {**asked, "limit": limit})
    for row in found:
        row["adopted"] = bool(row["adopted"])
        row["extended_hours"] = bool(row["extended_hours"])
    if wanted.waiting is None and wanted.symbol is None:
        total = strategies.decisions(
            reader, account, wanted.period, strategy=wanted.strategy, status=wanted.status
        )
        return found, total
    return found, int(reader.value(f"SELECT count(*) FROM trade_decisions WHERE {where}", asked))


def not_taken(
    reader: Reader, account: AccountKey, wanted: Wanted, *, limit: int = NEWEST
) -> tuple[list[Row], int]:
    """(signals that were not acted on, with the reason, newest first, how many there are in all)."""
    asked = _asked(account, wanted)
    if wanted.symbol is None:
        asked |= _numbers(reader, "signals", wanted)
        where = _BY_NUMBER
    else:
        where = _BY_SYMBOL
    where += " AND taken = 0" + _more(wanted, "strategy_name")
    found = reader.rows(f"{_NOT_TAKEN} {where} ORDER BY id DESC LIMIT :limit", {**asked, "limit": limit})
    if wanted.symbol is None:
        return found, strategies.not_taken(reader, account, wanted.period, strategy=wanted.strategy)
    return found, int(reader.value(f"SELECT count(*) FROM signals WHERE {where}", asked))


def _asked(account: AccountKey, wanted: Wanted) -> dict[str, Any]:
    return {
        **account.as_columns(),
        "since": wanted.period.since,
        "before": wanted.period.before,
        "symbol": wanted.symbol,
        "strategy_name": wanted.strategy,
        "status": wanted.status,
        "waiting": None if wanted.waiting is None else json.dumps(wanted.waiting),
    }


def _more(wanted: Wanted, *names: str) -> str:
    """Only the conditions that are given: one that may be empty keeps SQLite from its index."""
    given = {"symbol": wanted.symbol, "strategy_name": wanted.strategy, "status": wanted.status}
    return "".join(f" AND {name} = :{name}" for name in names if given[name] is not None)


def _numbers(reader: Reader, table: str, wanted: Wanted) -> dict[str, int]:
    first, end = figures.between(reader.rows, table, wanted.period.since, wanted.period.before)
    return {"first": first, "end": end}
