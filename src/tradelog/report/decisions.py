"""The decisions of an account, or the signals that a strategy did not act on, newest first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tradelog.report.period import Period
from tradelog.store.reader import Reader, Row

NEWEST = 50

_WHERE = """
broker = :broker AND environment = :environment AND account = :account
AND created_at >= :since AND created_at < :before
AND (:symbol IS NULL OR symbol = :symbol) AND (:strategy IS NULL OR strategy_name = :strategy)
"""
_DECISIONS = f"""
SELECT decision_id, created_at, strategy_name, actor, symbol, side, quantity, notional, order_type,
       limit_price, stop_price, trail_price, trail_percent, time_in_force, status, failure_code,
       failure_message, needs_attention, approval, approval_by, held_until, extended_hours, expires_at,
       adopted
FROM trade_decisions WHERE {_WHERE}
AND (:status IS NULL OR status = :status)
AND (:waiting IS NULL OR (status = 'pending' AND approval IS NULL
     AND strategy_name IN (SELECT value FROM json_each(:waiting))))
"""
_NOT_TAKEN = f"""
SELECT signal_id, created_at, strategy_name, symbol, side, episode, reason, strategy_run_id
FROM signals WHERE {_WHERE} AND taken = 0
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
    reader: Reader, account: tuple[str, str, str], wanted: Wanted, *, limit: int = NEWEST
) -> tuple[list[Row], int]:
    """(decisions, newest first, how many there are in all); limit -1 gives all."""
    found, total = _list(reader, _DECISIONS, account, wanted, limit)
    for row in found:
        row["adopted"] = bool(row["adopted"])
        row["extended_hours"] = bool(row["extended_hours"])
    return found, total


def not_taken(
    reader: Reader, account: tuple[str, str, str], wanted: Wanted, *, limit: int = NEWEST
) -> tuple[list[Row], int]:
    """(signals that were not acted on, with the reason, newest first, how many there are in all)."""
    return _list(reader, _NOT_TAKEN, account, wanted, limit)


def _list(
    reader: Reader, sql: str, account: tuple[str, str, str], wanted: Wanted, limit: int
) -> tuple[list[Row], int]:
    broker, environment, name = account
    asked: dict[str, Any] = {
        "broker": broker,
        "environment": environment,
        "account": name,
        "since": wanted.period.since,
        "before": wanted.period.before,
        "symbol": wanted.symbol,
        "strategy": wanted.strategy,
        "status": wanted.status,
        "waiting": None if wanted.waiting is None else json.dumps(wanted.waiting),
    }
    found = reader.rows(f"{sql} ORDER BY id DESC LIMIT :limit", {**asked, "limit": limit})
    return found, int(reader.value(f"SELECT count(*) FROM ({sql})", asked))
