"""All activity in a symbol: what was ingested, what was decided, what was executed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tradelog.domain import money
from tradelog.domain.account import AccountKey
from tradelog.domain.status import DecisionStatus
from tradelog.domain.symbols import normalise_ticker
from tradelog.errors import NotFound
from tradelog.report.period import Period
from tradelog.store.reader import Reader, Row

NEWEST = 50

_DATA = """
SELECT v.version_id, d.run_id, v.first_seen_at, v.actor AS member, v.side, v.event_date, v.filed_at,
       v.filed_as_given, v.amount_low, v.amount_high, v.flags, v.backfill, v.gone
FROM record_versions v JOIN data_ingestion_runs d ON d.id = v.run
WHERE v.symbol = :symbol AND d.status = 'completed'
"""
# In the order of an index each, so that what is not listed is not read.
_FIRST_SEEN = f"""{_DATA}
AND v.first_seen_at >= :since AND v.first_seen_at < :before
ORDER BY v.first_seen_at DESC, v.run DESC, v.version_id DESC LIMIT :limit
"""
_SEEN_OUTSIDE = f"""{_DATA}
AND v.event_date >= :first_day AND v.event_date <= :last_day
AND (v.first_seen_at < :since OR v.first_seen_at >= :before)
ORDER BY v.event_date DESC, v.first_seen_at DESC, v.run DESC, v.version_id DESC LIMIT :limit
"""
_SEEN = "v.symbol = :symbol AND v.first_seen_at >= :since AND v.first_seen_at < :before"
_TRADED = "v.symbol = :symbol AND v.event_date >= :first_day AND v.event_date <= :last_day"
# All of them but those of runs that did not complete, which are few: a look at the run of each costs more
# than all the rest.
_COUNT = f"""
SELECT
  (SELECT count(*) FROM record_versions v WHERE {_SEEN})
  - (SELECT count(*) FROM data_ingestion_runs d CROSS JOIN record_versions v ON v.run = d.id
     WHERE d.status <> 'completed' AND {_SEEN}) AS first_seen,
  (SELECT count(*) FROM record_versions v WHERE {_TRADED})
  - (SELECT count(*) FROM data_ingestion_runs d CROSS JOIN record_versions v ON v.run = d.id
     WHERE d.status <> 'completed' AND {_TRADED}) AS traded
"""
_OURS = "symbol = :symbol AND broker = :broker AND environment = :environment AND account = :account"
_DECIDED = f"{_OURS} AND created_at >= :since AND created_at < :before"
_NEWEST = " UNION ALL ".join(
    f"SELECT * FROM (SELECT id FROM trade_decisions WHERE {_DECIDED} AND status = '{state}'"
    " ORDER BY created_at DESC, id DESC LIMIT :limit)"
    for state in DecisionStatus
)
_DECISIONS = f"""
SELECT decision_id, created_at, strategy_name, side, quantity, notional, order_type, status, failure_code,
       failure_message, needs_attention, adopted
FROM trade_decisions WHERE id IN ({_NEWEST}) ORDER BY created_at DESC, id DESC LIMIT :limit
"""
_BY_STATE = "SELECT " + ", ".join(
    f"(SELECT count(*) FROM trade_decisions WHERE {_DECIDED} AND status = '{state}') AS {state}"
    for state in DecisionStatus
)
_FILLED = """
f.symbol = :symbol AND f.account = :account AND f.broker = :broker AND f.environment = :environment
AND f.transaction_time >= :since AND f.transaction_time < :before
"""
_TRADES = f"""
SELECT f.fill_id, f.transaction_time, f.side, f.quantity, f.price, f.price_basis, e.execution_id, e.status,
       coalesce(e.quantity, d.quantity) AS ordered, d.notional, e.decision_id, d.strategy_name
FROM fills f
LEFT JOIN trade_executions e ON e.execution_id = f.execution_id
LEFT JOIN trade_decisions d ON d.decision_id = e.decision_id
WHERE {_FILLED} ORDER BY f.transaction_time DESC, f.fill_id DESC LIMIT :limit
"""
# SQLite adds whole numbers exactly, and shows it by the type of the sum; of others it makes floats.
_SHARES = f"""
SELECT count(*) AS trades, sum(quantity) FILTER (WHERE side = 'buy') AS bought,
       sum(quantity) FILTER (WHERE side <> 'buy') AS sold
FROM fills f WHERE {_FILLED}
"""
_QUANTITIES = f"SELECT side = 'buy' AS is_buy, quantity FROM fills f WHERE {_FILLED}"
_SIGNALS = f"SELECT count(*) FROM signals WHERE {_DECIDED}"


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
    """``data`` was first seen by us in the period; ``seen_outside`` is of trades in it, and was not.

    A trade is a fill, with the status that its order has come to and the quantity that was ordered.
    """

    symbol: str
    account: AccountKey
    period: Period
    data: list[Row]
    seen_outside: list[Row]
    data_first_seen: int
    data_traded: int
    decisions: list[Row]
    trades: list[Row]
    summary: Summary


def report(
    reader: Reader, symbol: str, account: AccountKey, period: Period, *, limit: int = NEWEST
) -> SymbolReport:
    """Newest first, at most ``limit`` rows a list (-1: all). Raises NotFound for an unknown symbol."""
    ticker = normalise_ticker(symbol)
    params = {
        "symbol": ticker,
        **account.as_columns(),
        "since": period.since,
        "before": period.before,
        "first_day": period.first_day,
        "last_day": period.last_day,
        "limit": limit,
    }
    data, outside = reader.rows(_FIRST_SEEN, params), reader.rows(_SEEN_OUTSIDE, params)
    for row in (*data, *outside):
        row["flags"] = json.loads(row["flags"]) if row["flags"] else []
    decisions = reader.rows(_DECISIONS, params)
    for row in decisions:
        row["adopted"] = bool(row["adopted"])
    trades = reader.rows(_TRADES, params)
    if not (data or outside or decisions or trades):
        _require_known(reader, ticker)
    counts = reader.one(_COUNT, params) or {}
    return SymbolReport(
        symbol=ticker,
        account=account,
        period=period,
        data=data,
        seen_outside=outside,
        data_first_seen=counts["first_seen"],
        data_traded=counts["traded"],
        decisions=decisions,
        trades=trades,
        summary=_summary(reader, params),
    )


def _summary(reader: Reader, params: dict[str, Any]) -> Summary:
    states = reader.one(_BY_STATE, params) or {}
    total = sum(states.values())
    shares = reader.one(_SHARES, params) or {}
    if any(isinstance(value, float) for value in shares.values()):
        shares |= _exact_shares(reader, params)
    return Summary(
        signals=reader.value(_SIGNALS, params),
        decisions=total,
        executed=states["executed"],
        failed=states["failed"],
        cancelled=states["cancelled"],
        pending=states["pending"] + states["executing"],
        success_rate=money.average(Decimal(states["executed"]), Decimal(total)) if total else None,
        trades=shares["trades"],
        bought=money.parse(shares["bought"] or 0),
        sold=money.parse(shares["sold"] or 0),
    )


def _exact_shares(reader: Reader, params: dict[str, Any]) -> dict[str, Decimal]:
    rows = reader.rows(_QUANTITIES, params)
    return {
        name: sum((money.parse(row["quantity"]) for row in rows if row["is_buy"] == is_buy), money.ZERO)
        for name, is_buy in (("bought", 1), ("sold", 0))
    }


def _require_known(reader: Reader, symbol: str) -> None:
    is_known = reader.value(
        "SELECT EXISTS (SELECT 1 FROM record_versions WHERE symbol = :symbol)"
        " OR EXISTS (SELECT 1 FROM trade_decisions WHERE symbol = :symbol)"
        " OR EXISTS (SELECT 1 FROM fills WHERE symbol = :symbol)",
        {"symbol": symbol},
    )
    if not is_known:
        near: Any = reader.value(
            "SELECT symbol FROM record_versions WHERE symbol >= ? AND symbol < ? LIMIT 1",
            (symbol[:1], symbol[:1] + "~"),
        )
        hint = "tradelog runs lists what was fetched" + (f"; {near} is known" if near else "")
        raise NotFound(f"nothing is known of {symbol}", hint=hint)
