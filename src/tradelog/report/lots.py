"""What was sold, lot by lot: acquired, sold, proceeds, basis. First in, first out; no tax advice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

from tradelog.domain import clock, money
from tradelog.domain.account import AccountKey
from tradelog.domain.symbols import position_symbol
from tradelog.report import fifo
from tradelog.report.period import Period
from tradelog.store.reader import Reader, Row

NOTICE = "No tax advice: first in, first out, of this account alone, without wash sales."
FEES = ("FEE", "CFEE")

_OURS = "broker = :broker AND environment = :environment AND account = :account"
_FILLS = """
SELECT f.symbol, f.side, f.quantity, f.price, f.transaction_time, f.fill_id, e.decision_id
FROM fills f LEFT JOIN trade_executions e ON e.execution_id = f.execution_id
WHERE f.broker = :broker AND f.environment = :environment AND f.account = :account
  AND f.transaction_time < :before
"""
_ENTRIES = f"SELECT entry_id, symbol, kind, quantity, recorded_at FROM position_entries WHERE {_OURS}"
_ACTIVITIES = f"""
SELECT activity_id, kind, sub_kind, symbol, quantity, net_amount, activity_date FROM account_activities
WHERE {_OURS} AND kind = :kind AND activity_date >= :first_day AND activity_date <= :last_day
  AND coalesce(status, '') <> 'canceled'
"""


@dataclass(frozen=True, slots=True)
class Sold:
    """Sums are of what is known: ``unknown`` lots have no basis or no proceeds, and are in none of them."""

    lots: int
    unknown: int
    proceeds: Decimal
    basis: Decimal
    gain: Decimal
    fees: Decimal


def lots(
    reader: Reader, account: AccountKey, period: Period, *, symbol: str | None = None
) -> tuple[list[Row], list[Row], Sold]:
    """(lots closed in the period, fees of its days, their sums), oldest first, exact.

    A fee is what the broker took by its own account: it takes them by the day, not by the sale.
    """
    params = _params(account, period)
    rows: list[Row] = []
    total = dict.fromkeys(("proceeds", "basis", "gain"), money.ZERO)
    unknown = 0
    with localcontext() as exact:
        exact.prec = fifo.DIGITS
        for name, closed in closed_by_symbol(reader, account, period, symbol):
            for item in closed:
                if item.at < period.since:
                    continue
                rows.append(_row(name, item))
                if item.gain is None:
                    unknown += 1
                    continue
                for key in total:
                    total[key] += getattr(item, key)
        fees = [
            row
            for kind in FEES
            for row in reader.rows(f"{_ACTIVITIES} ORDER BY activity_date", {**params, "kind": kind})
        ]
        charged = sum((-money.parse(row["net_amount"] or "0") for row in fees), money.ZERO)
    rows.sort(key=lambda row: (row["at"], row["symbol"]))
    return rows, fees, Sold(lots=len(rows), unknown=unknown, fees=charged, **total)


def closed_by_symbol(
    reader: Reader, account: AccountKey, period: Period, symbol: str | None = None
) -> Iterator[tuple[str, list[fifo.Closed]]]:
    """All that was closed until the end of a period, by symbol, keyed by the decisions of each side."""
    for name, (closed, _) in _matched(reader, account, period, symbol):
        yield name, closed


def open_decisions(reader: Reader, account: AccountKey) -> set[str]:
    """The decisions whose shares, or a part of them, are still held, or owed."""
    everything = Period(None, None, clock.MARKET_ZONE)
    return {
        lot.key
        for _, (_, held) in _matched(reader, account, everything, None)
        for lot in held
        if lot.key is not None
    }


def _matched(
    reader: Reader, account: AccountKey, period: Period, symbol: str | None
) -> Iterator[tuple[str, tuple[list[fifo.Closed], list[fifo.Lot]]]]:
    """(what was closed, what is open) by symbol at the end of a period."""
    # Positions and activities write BTC/USD without the stroke.
    condition = "" if symbol is None else " AND symbol IN (:symbol, :folded)"
    events: dict[str, list[tuple[str, int, str, fifo.Trade | fifo.Split]]] = {}

    def add(symbol: str, at: str, rank: int, key: str, event: fifo.Trade | fifo.Split) -> None:
        events.setdefault(position_symbol(symbol), []).append((at, rank, key, event))

    params = _params(account, period)
    params |= {"symbol": symbol, "folded": None if symbol is None else position_symbol(symbol)}
    for row in reader.rows(_ENTRIES + condition, params):
        # Opening positions come before every fill on record.
        at = None if row["kind"] == "opening" else row["recorded_at"]
        trade = fifo.Trade(at, money.parse(row["quantity"]), None, None)
        add(row["symbol"], at or "", 2, str(row["entry_id"]), trade)
    for row in reader.rows(_ACTIVITIES + condition, {**params, "kind": "SPLIT", "first_day": ""}):
        if row["symbol"] and row["quantity"]:
            # It holds from the open of its day on, so before any fill of that day.
            at = clock.start_of_day(clock.parse_day(row["activity_date"]))
            add(row["symbol"], at, 0, row["activity_id"], fifo.Split(at, money.parse(row["quantity"])))
    for row in reader.rows(_FILLS + condition.replace("symbol IN", "f.symbol IN"), params):
        quantity = Decimal(row["quantity"]) if row["side"] == "buy" else -Decimal(row["quantity"])
        at = row["transaction_time"]
        trade = fifo.Trade(at, quantity, Decimal(row["price"]), row["decision_id"])
        add(row["symbol"], at, 1, row["fill_id"], trade)
    for name in sorted(events):
        ordered = sorted(events[name], key=lambda item: item[:3])
        yield name, fifo.match(_splits_as_one(item[3] for item in ordered))


def _splits_as_one(events: Iterator[fifo.Trade | fifo.Split]) -> Iterator[fifo.Trade | fifo.Split]:
    """Old shares taken and new ones given are two activities of one split."""
    open_split: fifo.Split | None = None
    for event in events:
        if isinstance(event, fifo.Split):
            if open_split is not None and open_split.at == event.at:
                open_split = fifo.Split(event.at, open_split.change + event.change)
                continue
            if open_split is not None:
                yield open_split
            open_split = event
            continue
        if open_split is not None:
            yield open_split
            open_split = None
        yield event
    if open_split is not None:
        yield open_split


def _params(account: AccountKey, period: Period) -> dict[str, Any]:
    return {
        **account.as_columns(),
        "before": period.before,
        "first_day": period.first_day,
        "last_day": period.last_day,
    }


def _row(symbol: str, item: fifo.Closed) -> Row:
    numbers = {name: getattr(item, name) for name in ("quantity", "proceeds", "basis", "gain")}
    return {
        "symbol": symbol,
        **{name: None if value is None else money.to_text(value) for name, value in numbers.items()},
        "acquired": item.acquired,
        "sold": item.sold,
        "short": item.is_short,
        "opened_by": item.opened_by,
        "closed_by": item.closed_by,
        "at": item.at,
    }
