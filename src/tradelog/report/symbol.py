"""All activity in a symbol: what was ingested, what was decided, what was executed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tradelog import money, names
from tradelog.errors import NotFound
from tradelog.report.period import Period
from tradelog.store.reader import Reader, Row

NEWEST = 50

# First seen by us, or traded, in the period: two ranges on two indexes.
_DATA = """
SELECT v.version_id, d.run_id, v.first_seen_at, v.actor AS member, v.side, v.event_date, v.filed_at,
       v.filed_as_given, v.amount_low, v.amount_high, v.flags, v.backfill, v.gone
FROM record_versions v JOIN data_ingestion_runs d ON d.id = v.run
WHERE v.version_id IN (
    SELECT version_id FROM record_versions
    WHERE symbol = :symbol AND first_seen_at >= :since AND first_seen_at < :before
    UNION
    SELECT version_id FROM record_versions
    WHERE symbol = :symbol AND event_date >= :first_day AND event_date <= :last_day)
  AND d.status = 'completed'
ORDER BY v.version_id DESC LIMIT :limit
"""
_COUNT = """
SELECT
  (SELECT count(*) FROM record_versions v JOIN data_ingestion_runs d ON d.id = v.run
   WHERE v.symbol = :symbol AND v.first_seen_at >= :since AND v.first_seen_at < :before
     AND d.status = 'completed') AS first_seen,
  (SELECT count(*) FROM record_versions v JOIN data_ingestion_runs d ON d.id = v.run
   WHERE v.symbol = :symbol AND v.event_date >= :first_day AND v.event_date <= :last_day
     AND d.status = 'completed') AS traded
"""
_DECISIONS = """
SELECT decision_id, created_at, strategy_name, side, quantity, notional, order_type, status, failure_code,
       failure_message, needs_attention, adopted
FROM trade_decisions
WHERE symbol = :symbol AND account = :account AND broker = :broker AND environment = :environment
  AND created_at >= :since AND created_at < :before
ORDER BY created_at DESC, id DESC LIMIT :limit
"""
_STATES = """
SELECT status, count(*) AS number FROM trade_decisions
WHERE symbol = :symbol AND account = :account AND broker = :broker AND environment = :environment
  AND created_at >= :since AND created_at < :before
GROUP BY status
"""
_TRADES = """
SELECT f.fill_id, f.transaction_time, f.side, f.quantity, f.price, f.price_basis, e.execution_id,
       e.decision_id, d.strategy_name
FROM fills f
LEFT JOIN trade_executions e ON e.execution_id = f.execution_id
LEFT JOIN trade_decisions d ON d.decision_id = e.decision_id
WHERE f.symbol = :symbol AND f.account = :account AND f.broker = :broker AND f.environment = :environment
  AND f.transaction_time >= :since AND f.transaction_time < :before
ORDER BY f.transaction_time DESC, f.fill_id DESC
"""
_SIGNALS = """
SELECT count(*) FROM signals
WHERE symbol = :symbol AND account = :account AND broker = :broker AND environment = :environment
  AND created_at >= :since AND created_at < :before
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of the whole period, whatever is listed. ``success_rate`` is executed ÷ all, or None."""

    signals: int
    decisions: int
    executed: int
    failed: int
    cancelled: int
    pending: int
    success_rate: Decimal | None
    trades: int
    bought: Decimal
    sold: Decimal


@dataclass(frozen=True, slots=True)
class SymbolReport:
    symbol: str
    account: tuple[str, str, str]
    period: Period
    data: list[Row]
    data_first_seen: int
    data_traded: int
    decisions: list[Row]
    trades: list[Row]
    summary: Summary


def report(
    reader: Reader, symbol: str, account: tuple[str, str, str], period: Period, *, limit: int = NEWEST
) -> SymbolReport:
    """Newest first, at most ``limit`` rows a list (-1: all). Raises NotFound for an unknown symbol."""
    broker, environment, name = account
    wanted = names.ticker(symbol)
    asked = {
        "symbol": wanted,
        "broker": broker,
        "environment": environment,
        "account": name,
        "since": period.since,
        "before": period.before,
        "first_day": period.first_day,
        "last_day": period.last_day,
        "limit": limit,
    }
    data = reader.rows(_DATA, asked)
    decisions = reader.rows(_DECISIONS, asked)
    for row in decisions:
        row["adopted"] = bool(row["adopted"])
    trades = reader.rows(_TRADES, asked)
    if not (data or decisions or trades):
        _insist_known(reader, wanted)
    for row in data:
        row["flags"] = json.loads(row["flags"]) if row["flags"] else []
    counts = reader.one(_COUNT, asked) or {}
    states = {row["status"]: row["number"] for row in reader.rows(_STATES, asked)}
    return SymbolReport(
        symbol=wanted,
        account=account,
        period=period,
        data=data,
        data_first_seen=counts["first_seen"],
        data_traded=counts["traded"],
        decisions=decisions,
        trades=trades if limit < 0 else trades[:limit],
        summary=_summary(states, trades, reader.value(_SIGNALS, asked)),
    )


def _summary(states: dict[str, int], trades: list[Row], signals: int) -> Summary:
    total = sum(states.values())
    executed = states.get("executed", 0)
    return Summary(
        signals=signals,
        decisions=total,
        executed=executed,
        failed=states.get("failed", 0),
        cancelled=states.get("cancelled", 0),
        pending=states.get("pending", 0) + states.get("executing", 0),
        success_rate=money.average(Decimal(executed), Decimal(total)) if total else None,
        trades=len(trades),
        bought=_shares(trades, "buy"),
        sold=_shares(trades, "sell"),
    )


def _shares(trades: list[Row], side: str) -> Decimal:
    return sum((money.parse(row["quantity"]) for row in trades if row["side"].startswith(side)), money.ZERO)


def _insist_known(reader: Reader, symbol: str) -> None:
    known = reader.value(
        "SELECT EXISTS (SELECT 1 FROM record_versions WHERE symbol = :symbol)"
        " OR EXISTS (SELECT 1 FROM trade_decisions WHERE symbol = :symbol)"
        " OR EXISTS (SELECT 1 FROM fills WHERE symbol = :symbol)",
        {"symbol": symbol},
    )
    if not known:
        near: Any = reader.value(
            "SELECT symbol FROM record_versions WHERE symbol >= ? AND symbol < ? LIMIT 1",
            (symbol[:1], symbol[:1] + "~"),
        )
        hint = "tradelog runs lists what was fetched" + (f"; {near} is known" if near else "")
        raise NotFound(f"nothing is known of {symbol}", hint=hint)
