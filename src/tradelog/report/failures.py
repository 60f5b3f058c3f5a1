"""What was not executed, and why: by the stage that said no, and by its reason."""

from __future__ import annotations

from typing import Any

from tradelog import clock
from tradelog.report.period import Period
from tradelog.store.reader import Reader, Row

EXAMPLES = 3
# Who said no: our own limits and controls before anything was sent, the broker's answer, the venue after
# the broker had accepted it, the time, a person.
STAGES = ("risk", "broker", "venue", "expired", "person", "unknown")
_BY_CODE = {
    "rejected_by_venue": "venue",
    "canceled_at_broker": "venue",
    "expired_unfilled": "venue",
    "expired_unsent": "expired",
    "declined": "person",
}
_COUNTS = """
SELECT failure_code AS code, substr(failed_at, 1, 13) AS hour, count(*) AS count, max(failed_at) AS latest
FROM trade_decisions
WHERE broker = :broker AND environment = :environment AND account = :account
  AND failed_at >= :since AND failed_at < :before AND adopted = 0
  AND (status = 'failed' OR failure_code IN ('expired_unsent', 'declined'))
  AND (:strategy IS NULL OR strategy_name = :strategy)
GROUP BY failure_code, hour ORDER BY failure_code, hour
"""
_EXAMPLES = """
SELECT decision_id, symbol, side, strategy_name, failed_at, failure_message FROM trade_decisions
WHERE broker = :broker AND environment = :environment AND account = :account
  AND failed_at >= :since AND failed_at < :before AND adopted = 0
  AND status IN ('failed', 'cancelled') AND failure_code IS :code
  AND (:strategy IS NULL OR strategy_name = :strategy)
ORDER BY failed_at DESC LIMIT :limit
"""
# A replacement that was refused is no failed decision: the old order stands.
_REPLACES = """
SELECT r.decision_id, d.symbol, d.side, d.strategy_name, r.ended_at AS failed_at, r.message AS failure_message
FROM order_requests r JOIN trade_decisions d ON d.decision_id = r.decision_id
WHERE r.kind = 'replace' AND r.status = 'refused' AND d.broker = :broker AND d.environment = :environment
  AND d.account = :account AND r.ended_at >= :since AND r.ended_at < :before
  AND (:strategy IS NULL OR d.strategy_name = :strategy) ORDER BY r.id DESC
"""
_UNKNOWN = """
SELECT e.decision_id, e.symbol, d.side, d.strategy_name, e.started_at AS failed_at,
       e.error_message AS failure_message
FROM trade_executions e JOIN trade_decisions d ON d.decision_id = e.decision_id
WHERE e.broker = :broker AND e.environment = :environment AND e.account = :account AND e.status = 'unknown'
  AND e.started_at >= :since AND e.started_at < :before
  AND (:strategy IS NULL OR d.strategy_name = :strategy) ORDER BY e.id DESC
"""


def failures(
    reader: Reader, account: tuple[str, str, str], period: Period, *, strategy: str | None = None
) -> list[dict[str, Any]]:
    """One entry a reason, most frequent first within its stage: count, by month, newest examples."""
    broker, environment, name = account
    asked = {"broker": broker, "environment": environment, "account": name, "strategy": strategy}
    asked |= {"since": period.since, "before": period.before}
    found: dict[str, dict[str, Any]] = {}
    for row in reader.rows(_COUNTS, asked):
        code = row["code"] or "other"
        entry = found.setdefault(
            code, {"stage": stage(code), "reason": code, "count": 0, "latest": "", "months": {}}
        )
        entry["count"] += row["count"]
        entry["latest"] = max(entry["latest"], row["latest"])
        # Zones differ from UTC by whole hours: an hour is in one month.
        month = clock.local(f"{row['hour']}:00:00Z", period.zone)[:7]
        entry["months"][month] = entry["months"].get(month, 0) + row["count"]
    for code, entry in found.items():
        entry["examples"] = reader.rows(_EXAMPLES, {**asked, "code": code, "limit": EXAMPLES})
    for row in reader.rows(_REPLACES, asked):
        _add_replace(found, row, period.zone)
    unknown = reader.rows(_UNKNOWN, asked)
    if unknown:
        found["unknown"] = _open(unknown, period.zone)
    return sorted(found.values(), key=lambda item: (STAGES.index(item["stage"]), -item["count"]))


def stage(code: str) -> str:
    """Which of `STAGES` a failure code belongs to."""
    return "risk" if code.startswith("risk.") else _BY_CODE.get(code, "broker")


def _add_replace(found: dict[str, dict[str, Any]], row: Row, zone: str) -> None:
    """Count a refused replacement under the limit that it names, a halt, or the broker's no."""
    message = row["failure_message"] or ""
    head = message.partition(":")[0]
    is_ours = head.startswith("risk.") or head == "halted"
    reason = f"replace: {head}" if is_ours else "replace refused"
    entry = found.setdefault(
        reason,
        {"stage": "risk" if is_ours else "broker", "reason": reason, "count": 0, "latest": row["failed_at"]}
        | {"months": {}, "examples": []},
    )
    month = clock.local(row["failed_at"], zone)[:7]
    entry["count"] += 1
    entry["months"][month] = entry["months"].get(month, 0) + 1
    entry["examples"] = [*entry["examples"], row][:EXAMPLES]


def _open(rows: list[Row], zone: str) -> dict[str, Any]:
    months: dict[str, int] = {}
    for row in rows:
        month = clock.local(row["failed_at"], zone)[:7]
        months[month] = months.get(month, 0) + 1
    return {
        "stage": "unknown",
        "reason": "no known outcome",
        "count": len(rows),
        "latest": rows[0]["failed_at"],
        "months": months,
        "examples": rows[:EXAMPLES],
    }
