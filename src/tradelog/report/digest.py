"""One day in one page: runs, decisions, trades, failures, unknown outcomes, breaks."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal, localcontext
from typing import Any

from tradelog.domain import money
from tradelog.domain.account import AccountKey
from tradelog.report import decisions, failures, fifo, runs, trades
from tradelog.report.period import Period
from tradelog.store.reader import Reader

ALL = -1

_UNKNOWN = """
SELECT decision_id, execution_id, symbol, status, started_at AS since, error_message AS message
FROM trade_executions WHERE broker = :broker AND environment = :environment AND account = :account
  AND status IN ('sending', 'unknown') AND started_at < :before ORDER BY id
"""
_BREAKS = """
SELECT break_id, kind, subject, symbol, expected, actual, found_at, closed_at, closed_why FROM breaks
WHERE broker = :broker AND environment = :environment AND account = :account AND found_at < :before
"""
_BREAKS_OF_DAY = (
    f"{_BREAKS} AND closed_at IS NULL UNION ALL {_BREAKS} AND closed_at >= :since ORDER BY found_at"
)
_ALERTS = """
SELECT alert_id, kind, subject, message, created_at, acknowledged_at FROM alerts
WHERE created_at >= :since AND created_at < :before ORDER BY alert_id
"""


def digest(reader: Reader, account: AccountKey, day: Period) -> dict[str, Any]:
    """Everything by name, all rows, newest first; ``states`` counts runs and decisions by status.

    Unknown outcomes and breaks are those that were begun by the end of the day and are open, or were closed
    on it or later; ``bought`` and ``sold`` are dollars.
    """
    params = account.as_columns()
    params |= {"since": day.since, "before": day.before}
    day_runs, _ = runs.runs(reader, runs.Selection(day), limit=ALL)
    decided, _ = decisions.decisions(reader, account, decisions.Selection(day), limit=ALL)
    passed, _ = decisions.not_taken(reader, account, decisions.Selection(day), limit=ALL)
    fills, _ = trades.trades(reader, account, day, limit=ALL)
    return {
        "runs": day_runs,
        "run_states": Counter(row["status"] for row in day_runs),
        "decisions": decided,
        "decision_states": Counter(row["status"] for row in decided),
        "signals_not_taken": len(passed),
        "trades": fills,
        **_sums(fills),
        "failures": failures.failures(reader, account, day),
        "unknown": reader.rows(_UNKNOWN, params),
        "breaks": reader.rows(_BREAKS_OF_DAY, params),
        "alerts": reader.rows(_ALERTS, params),
    }


def _sums(fills: list[dict[str, Any]]) -> dict[str, Decimal]:
    with localcontext() as exact:
        exact.prec = fifo.DIGITS
        return {
            name: sum(
                (Decimal(row["value"]) for row in fills if (row["side"] == "buy") == is_buy), money.ZERO
            )
            for name, is_buy in (("bought", True), ("sold", False))
        }
