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
       adopted, recorded
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
class Selection:
    """What to list; None is any. ``waiting`` are the strategies whose decisions need approval."""

    period: Period
    symbol: str | None = None
    strategy: str | None = None
    status: str | None = None
    waiting: tuple[str, ...] | None = None


def decisions(
    reader: Reader, account: AccountKey, selection: Selection, *, limit: int = NEWEST
) -> tuple[list[Row], int]:
    """(decisions, newest first, how many there are in all); limit -1 gives all."""
    params = _params(account, selection)
    states = tuple(DecisionStatus) if selection.status is None else (selection.status,)
    if selection.waiting is not None:
        where = f"{_OURS} AND created_at >= :since AND created_at < :before {_WAITING}"
        where += _more(selection, "symbol", "strategy_name", "status")
    elif selection.symbol is not None:
        status_list = ", ".join(f"'{state}'" for state in states)
        where = f"{_BY_SYMBOL} AND status IN ({status_list})" + _more(selection, "strategy_name")
    else:
        params |= _numbers(reader, "trade_decisions", selection)
        where = _BY_NUMBER + _more(selection, "strategy_name", "status")
    rows = reader.rows(f"{_DECISIONS} {where} ORDER BY id DESC LIMIT :limit", {**params, "limit": limit})
    for row in rows:
        row["adopted"] = bool(row["adopted"])
        row["extended_hours"] = bool(row["extended_hours"])
    if selection.waiting is None and selection.symbol is None:
        total = strategies.decisions(
            reader, account, selection.period, strategy=selection.strategy, status=selection.status
        )
        return rows, total
    return rows, int(reader.value(f"SELECT count(*) FROM trade_decisions WHERE {where}", params))


def not_taken(
    reader: Reader, account: AccountKey, selection: Selection, *, limit: int = NEWEST
) -> tuple[list[Row], int]:
    """(signals that were not acted on, with the reason, newest first, how many there are in all)."""
    params = _params(account, selection)
    if selection.symbol is None:
        params |= _numbers(reader, "signals", selection)
        where = _BY_NUMBER
    else:
        where = _BY_SYMBOL
    where += " AND taken = 0" + _more(selection, "strategy_name")
    rows = reader.rows(f"{_NOT_TAKEN} {where} ORDER BY id DESC LIMIT :limit", {**params, "limit": limit})
    if selection.symbol is None:
        return rows, strategies.not_taken(reader, account, selection.period, strategy=selection.strategy)
    return rows, int(reader.value(f"SELECT count(*) FROM signals WHERE {where}", params))


def _params(account: AccountKey, selection: Selection) -> dict[str, Any]:
    return {
        **account.as_columns(),
        "since": selection.period.since,
        "before": selection.period.before,
        "symbol": selection.symbol,
        "strategy_name": selection.strategy,
        "status": selection.status,
        "waiting": None if selection.waiting is None else json.dumps(selection.waiting),
    }


def _more(selection: Selection, *names: str) -> str:
    """Only the conditions that are given: one that may be empty keeps SQLite from its index."""
    conditions = {"symbol": selection.symbol, "strategy_name": selection.strategy, "status": selection.status}
    return "".join(f" AND {name} = :{name}" for name in names if conditions[name] is not None)


def _numbers(reader: Reader, table: str, selection: Selection) -> dict[str, int]:
    first, end = figures.between(reader.rows, table, selection.period.since, selection.period.before)
    return {"first": first, "end": end}
