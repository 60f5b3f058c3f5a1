"""What really executed: every fill with its price, and the reason of the decision behind it."""

from __future__ import annotations

import json
from typing import Any

from tradelog.domain import money
from tradelog.domain.account import AccountKey
from tradelog.report.period import Period
from tradelog.store.reader import Reader, Row

NEWEST = 50

_WHERE = """
f.account = :account AND f.broker = :broker AND f.environment = :environment
AND f.transaction_time >= :since AND f.transaction_time < :before
"""
_JOINED = """
FROM fills f
LEFT JOIN trade_executions e ON e.execution_id = f.execution_id
LEFT JOIN trade_decisions d ON d.decision_id = e.decision_id
"""
_FILLS = f"""
SELECT f.fill_id, f.transaction_time, f.symbol, f.side, f.quantity, f.price, f.price_basis, f.broker_order_id,
       e.execution_id, e.status, d.decision_id, d.strategy_name, d.created_at, d.adopted, d.decision_rationale
{_JOINED} WHERE {_WHERE}
"""
_COUNT = f"SELECT count(*) FROM fills f WHERE {_WHERE}"
_COUNT_OF_STRATEGY = f"SELECT count(*) {_JOINED} WHERE {_WHERE}"
_NEWEST_FIRST = " ORDER BY f.transaction_time DESC, f.fill_id DESC LIMIT :limit"


def trades(
    reader: Reader,
    account: AccountKey,
    period: Period,
    *,
    symbol: str | None = None,
    strategy: str | None = None,
    limit: int = NEWEST,
) -> tuple[list[Row], int]:
    """(fills of a period, newest first, how many there are in all); limit -1 gives all.

    ``value`` is quantity times price; ``status`` is what has become of the order, which may have filled in
    part only. ``why`` is the reason in a line, None where none was given.
    """
    params = account.as_columns()
    params |= {"since": period.since, "before": period.before}
    # Only where given: a condition that may be empty keeps SQLite from its index.
    more = ""
    if symbol is not None:
        params["symbol"], more = symbol, " AND f.symbol = :symbol"
    count = _COUNT + more
    if strategy is not None:
        params["strategy"], more = strategy, more + " AND d.strategy_name = :strategy"
        count = _COUNT_OF_STRATEGY + more
    rows = reader.rows(_FILLS + more + _NEWEST_FIRST, {**params, "limit": limit})
    return [_trade(row) for row in rows], int(reader.value(count, params))


def _trade(row: Row) -> Row:
    rationale: dict[str, Any] = json.loads(row.pop("decision_rationale") or "{}")
    return {
        **row,
        "adopted": bool(row["adopted"]),
        "value": money.to_text(money.parse(row["quantity"]) * money.parse(row["price"])),
        "why": why(rationale),
    }


def why(rationale: dict[str, Any]) -> str | None:
    """The reason in one line: what triggered a strategy, or what a person gave."""
    reason = rationale.get("trigger_event") or rationale.get("why")
    return reason if isinstance(reason, str) else None
