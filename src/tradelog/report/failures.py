"""Failures: what was not executed, by stage and by reason."""

from __future__ import annotations

from typing import Any

from tradelog.domain import clock
from tradelog.domain.account import AccountKey
from tradelog.domain.status import RefusedBy
from tradelog.report.period import Period
from tradelog.store.reader import Reader, Row

EXAMPLES = 3
# Where it ended: at our limits and controls before submission, at the broker, at the venue after the
# broker had accepted it, by expiry, by a person.
STAGES = ("risk", "broker", "venue", "expired", "person", "unknown")
_BY_CODE = {
    "rejected_by_venue": "venue",
    "canceled_at_broker": "venue",
    "expired_unfilled": "venue",
    "expired_unsent": "expired",
    "declined": "person",
}
# As the index of failures has it, or SQLite does not use it. An adopted order
# that was refused is no failure of ours.
_FAILED = """
failed_at IS NOT NULL AND adopted = 0
AND (status = 'failed' OR failure_code IN ('expired_unsent', 'declined'))
AND broker = :broker AND environment = :environment AND account = :account
"""
_NEXT_CODE = f"SELECT min(failure_code) FROM trade_decisions WHERE {_FAILED} AND failure_code > :code"
_OF_CODE = f"{_FAILED} AND failure_code IS :code AND failed_at >= :since AND failed_at < :before"
_COUNT = f"SELECT count(*) FROM trade_decisions WHERE {_OF_CODE}"
_EARLIEST = f"SELECT min(failed_at) FROM trade_decisions WHERE {_OF_CODE}"
_EXAMPLES = f"""
SELECT decision_id, symbol, side, strategy_name, failed_at, failure_message FROM trade_decisions
WHERE {_OF_CODE}
"""
_OF_STRATEGY = " AND strategy_name = :strategy"
_NEWEST_FIRST = " ORDER BY failed_at DESC LIMIT :limit"
# A replacement that was refused is no failed decision: the old order stands.
_REPLACES = """
SELECT r.decision_id, d.symbol, d.side, d.strategy_name, r.ended_at AS failed_at, r.refused_by,
       r.message AS failure_message
FROM order_requests r JOIN trade_decisions d ON d.decision_id = r.decision_id
WHERE r.kind = 'replace' AND r.status = 'refused' AND d.broker = :broker AND d.environment = :environment
  AND d.account = :account AND r.ended_at >= :since AND r.ended_at < :before
"""
_UNKNOWN = """
SELECT e.decision_id, e.symbol, d.side, d.strategy_name, e.started_at AS failed_at,
       e.error_message AS failure_message
FROM trade_executions e JOIN trade_decisions d ON d.decision_id = e.decision_id
WHERE e.broker = :broker AND e.environment = :environment AND e.account = :account
  AND e.status IN ('sending', 'unknown') AND e.status = 'unknown'
  AND e.started_at >= :since AND e.started_at < :before
"""


def failures(
    reader: Reader, account: AccountKey, period: Period, *, strategy: str | None = None
) -> list[dict[str, Any]]:
    """One entry a reason, most frequent first within its stage: count, by month, newest examples."""
    params: dict[str, Any] = account.as_columns()
    params |= {"since": period.since, "before": period.before, "limit": EXAMPLES}
    more = ""
    if strategy is not None:
        params["strategy"], more = strategy, _OF_STRATEGY
    entries: dict[str, dict[str, Any]] = {}
    for code in _codes(reader, params):
        examples = reader.rows(_EXAMPLES + more + _NEWEST_FIRST, {**params, "code": code})
        if examples:
            entry = _entry(reader, {**params, "code": code}, more, period, examples)
            entries[entry["reason"]] = entry
    of_strategy = more and " AND d.strategy_name = :strategy"
    for row in reader.rows(f"{_REPLACES}{of_strategy} ORDER BY r.ended_at DESC, r.id DESC", params):
        _add_replace(entries, row, period.zone)
    unknown = reader.rows(f"{_UNKNOWN}{of_strategy} ORDER BY e.id DESC", params)
    if unknown:
        entries["unknown"] = _open(unknown, period.zone)
    return sorted(entries.values(), key=lambda item: (STAGES.index(item["stage"]), -item["count"]))


def _codes(reader: Reader, params: dict[str, Any]) -> list[str | None]:
    """The failure codes that there are, each found by a step in the index; None is that of no code."""
    codes: list[str | None] = [None]
    code = reader.value(_NEXT_CODE, {**params, "code": ""})
    while code is not None:
        codes.append(code)
        code = reader.value(_NEXT_CODE, {**params, "code": code})
    return codes


def _entry(
    reader: Reader, params: dict[str, Any], more: str, period: Period, examples: list[Row]
) -> dict[str, Any]:
    code, latest = params["code"] or "other", examples[0]["failed_at"]
    months = {}
    for month, since, before in period.months(reader.value(_EARLIEST + more, params), latest):
        count = reader.value(_COUNT + more, {**params, "since": since, "before": before})
        if count:
            months[month] = count
    return {
        "stage": stage(code),
        "reason": code,
        "count": sum(months.values()),
        "latest": latest,
        "months": months,
        "examples": examples,
    }


def stage(code: str) -> str:
    """Which of `STAGES` a failure code belongs to."""
    return "risk" if code.startswith("risk.") else _BY_CODE.get(code, "broker")


def _add_replace(entries: dict[str, dict[str, Any]], row: Row, zone: str) -> None:
    """Count a refused replacement under the limit or halt that refused it, or under the broker's refusals."""
    refused_by = row.pop("refused_by") or RefusedBy.BROKER
    is_ours = refused_by not in (RefusedBy.BROKER, RefusedBy.VENUE)
    reason = f"replace: {refused_by}" if is_ours else "replace refused"
    entry = entries.setdefault(
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
