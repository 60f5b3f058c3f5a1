"""Realised profit of decisions by what drove them: trigger, member of Congress, or source."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

from tradelog.domain import money
from tradelog.domain.account import AccountKey
from tradelog.report import fifo, lots
from tradelog.report.period import Period
from tradelog.store import figures
from tradelog.store.reader import Reader

_OURS = "broker = :broker AND environment = :environment AND account = :account"
# One text per trigger: a consensus by its rule, without its day and its members; else the trigger or the
# reason that the decision names.
_TRIGGER = """
coalesce(decision_rationale ->> '$.trigger',
         (decision_rationale ->> '$.consensus_detected.required') || ' members within '
         || (decision_rationale ->> '$.consensus_detected.window_days') || ' days: ' || side,
         decision_rationale ->> '$.trigger_event', decision_rationale ->> '$.why')
"""
_DECISIONS = f"""
SELECT id, decision_id, status, {_TRIGGER} AS trigger
FROM trade_decisions WHERE id >= :first AND id < :end AND {_OURS} AND adopted = 0
"""
# A symbol distinguishes a disclosure from the profile that identifies its member.
_INPUTS = """
SELECT DISTINCT i.decision AS id, {named} AS name FROM decision_inputs i
JOIN record_versions v ON v.version_id = i.version_id JOIN data_ingestion_runs r ON r.id = v.run
WHERE i.decision >= :first AND i.decision < :end AND v.symbol IS NOT NULL AND {named} IS NOT NULL
"""
_NAMED = {"member": "v.actor", "source": "r.data_source"}


def drivers(
    reader: Reader,
    account: AccountKey,
    period: Period,
    kind: str,
    *,
    strategy: str | None = None,
) -> list[dict[str, Any]]:
    """One entry a trigger, member or source of the decisions of a period, most profitable first.

    ``realised`` is the profit of lots that these decisions opened, whenever they were closed, in dollars,
    before fees; ``closed`` is how many of the decisions had such lots, ``profitable`` how many of
    those ended above zero. A decision that rests on several members or sources counts for each; ``name`` is
    None for those that rest on none.
    """
    first, end = figures.between(reader.rows, "trade_decisions", period.since, period.before)
    params: dict[str, Any] = account.as_columns()
    params |= {"first": first, "end": end, "strategy": strategy}
    more = "" if strategy is None else " AND strategy_name = :strategy"
    rows = reader.rows(_DECISIONS + more, params)
    names: dict[int, list[str]] = {}
    if kind != "trigger":
        for row in reader.rows(_INPUTS.format(named=_NAMED[kind]), params):
            names.setdefault(row["id"], []).append(row["name"])
    realised = _realised(reader, account)
    entries: dict[str | None, dict[str, Any]] = {}
    for row in rows:
        for group in [row["trigger"]] if kind == "trigger" else names.get(row["id"], [None]):
            _add(entries, group, row["status"], realised.get(row["decision_id"]))
    for entry in entries.values():
        total = Decimal(entry["decisions"])
        entry["success_rate"] = money.average(Decimal(entry["executed"]), total)
    return sorted(entries.values(), key=lambda entry: (-entry["realised"], str(entry["name"])))


def _add(
    entries: dict[str | None, dict[str, Any]], group: str | None, status: str, gain: Decimal | None
) -> None:
    entry = entries.setdefault(
        group,
        {"name": group, "decisions": 0, "executed": 0, "failed": 0, "closed": 0, "profitable": 0}
        | {"realised": money.ZERO},
    )
    entry["decisions"] += 1
    for state in ("executed", "failed"):
        entry[state] += status == state
    if gain is not None:
        entry["closed"] += 1
        entry["profitable"] += gain > 0
        with localcontext() as exact:
            exact.prec = fifo.DIGITS
            entry["realised"] += gain


def _realised(reader: Reader, account: AccountKey) -> dict[str, Decimal]:
    """The realised profit of the lots that each decision opened, as far as they are closed and priced."""
    profits: dict[str, Decimal] = {}
    with localcontext() as exact:
        exact.prec = fifo.DIGITS
        for _, closed in lots.closed_by_symbol(reader, account, Period(None, None, "UTC")):
            for item in closed:
                if item.opened_by is not None and item.gain is not None:
                    profits[item.opened_by] = profits.get(item.opened_by, money.ZERO) + item.gain
    return profits
