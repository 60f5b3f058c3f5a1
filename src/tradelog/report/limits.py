"""The limits as they hold now, with today's use of each, what is halted, and what waits for approval."""

from __future__ import annotations

import json
from dataclasses import fields
from decimal import Decimal
from typing import Any

from tradelog.config.risk import RiskConfig, as_text, with_lifts
from tradelog.config.schema import Config
from tradelog.domain import clock, money
from tradelog.domain.account import AccountKey
from tradelog.store import control_state, order_values
from tradelog.store.reader import Reader, Row

_SENT = f"""
SELECT e.client_order_id, e.symbol, e.started_at, d.strategy_name, {order_values.COLUMNS}
FROM trade_executions e JOIN trade_decisions d ON d.decision_id = e.decision_id
WHERE e.broker = ?1 AND e.environment = ?2 AND e.account = ?3
  AND e.id IN (SELECT id FROM trade_executions WHERE started_at >= ?4
               UNION SELECT id FROM trade_executions WHERE resent_at >= ?4)
  AND e.status <> 'not_sent' AND d.adopted = 0 ORDER BY e.id
"""
_OPEN = f"""
SELECT {order_values.COLUMNS} FROM trade_executions e JOIN trade_decisions d ON d.decision_id = e.decision_id
WHERE e.broker = ? AND e.environment = ? AND e.account = ? AND e.status IN ('accepted', 'partially_filled')
"""
_RESUMED = """
SELECT subject, max(ended_at) AS ended_at FROM halts
WHERE scope = 'strategy' AND (account = '' OR (broker = ? AND environment = ? AND account = ?))
GROUP BY subject
"""
_REFUSED = """
SELECT code, count(*) AS refused FROM risk_checks c JOIN trade_decisions d ON d.decision_id = c.decision_id
WHERE d.broker = ? AND d.environment = ? AND d.account = ? AND c.checked_at >= ? AND c.verdict = 'failed'
GROUP BY code
"""
# The check that each limit is named by in a failure.
_CHECKS = {
    "max_order_notional": "order_notional",
    "max_order_quantity": "order_quantity",
    "max_symbol_notional": "symbol_notional",
    "max_day_notional": "day_notional",
    "max_gross_exposure": "gross_exposure",
    "max_orders_per_minute": "orders_per_minute",
    "max_orders_per_day": "orders_per_day",
    "duplicate_window_seconds": "duplicate",
    "restricted_symbols": "restricted_symbol",
    "allowed_symbols": "allowed_symbol",
    "long_only": "long_only",
    "price_collar_percent": "price_collar",
    "buying_power": "buying_power",
    "tradable_assets": "asset",
    "market_hours": "market_hours",
    "max_snapshot_seconds": "stale_data",
}


def limits(reader: Reader, config: Config) -> dict[str, Any]:
    """Each limit by name with its value, its use today and how many decisions it refused today."""
    account, now = config.account, clock.now_text()
    lifted = control_state.lifts(reader.rows, account, now)
    current = with_lifts(config.risk, {name: item.value for name, item in lifted.items()})
    day = clock.market_today()
    since = clock.start_of_day(day)
    sent = {row["client_order_id"]: row for row in reader.rows(_SENT, (*account, since))}
    resumed = {row["subject"]: row["ended_at"] or "" for row in reader.rows(_RESUMED, account)}
    used: dict[str, str | None] = {**_use(list(sent.values()), now, current, resumed)}
    used["max_gross_exposure"] = _exposure(reader, account)
    refused = {row["code"]: row["refused"] for row in reader.rows(_REFUSED, (*account, since))}
    listed = []
    for item in fields(RiskConfig):
        lift = lifted.get(item.name)
        listed.append(
            {
                "name": item.name,
                "limit": as_text(getattr(current, item.name)),
                "configured": as_text(getattr(config.risk, item.name)),
                "used": used.get(item.name),
                "refused": refused.get(f"risk.{_CHECKS.get(item.name)}", 0),
                "lifted_until": lift and lift.until,
                "lifted_by": lift and lift.actor,
                "lifted_why": lift and lift.reason,
            }
        )
    return {
        "day": day.isoformat(),
        "limits": listed,
        "halts": control_state.open_halts(reader.rows, account),
        "approval": waiting(reader, config),
    }


def history(reader: Reader, account: AccountKey, *, limit: int = 50) -> tuple[list[Row], int]:
    """(control events, newest first, how many in all)."""
    where = (
        "kind NOT LIKE 'resolve.%' AND (coalesce(account, '') = '' OR (broker = ? AND environment = ?"
        " AND account = ?))"
    )
    events = reader.rows(
        "SELECT created_at, kind, subject, actor, reason, old_value, new_value, until FROM control_events"
        f" WHERE {where} ORDER BY event_id DESC LIMIT ?",
        (*account, limit),
    )
    for row in events:
        if row["kind"] == "limit.lifted":
            value = row["new_value"]
            row["new_value"] = "as configured" if value is None else _written(json.loads(value))
    return events, int(reader.value(f"SELECT count(*) FROM control_events WHERE {where}", account))


def _written(value: Any) -> str:
    return as_text(tuple(value) if isinstance(value, list) else value)


def waiting(reader: Reader, config: Config) -> list[Row]:
    """The decisions that wait for a person to approve them, oldest first, with the moment it is too late."""
    strategies = [name for name, rule in config.controls.items() if rule.approval]
    rows = reader.rows(
        "SELECT decision_id, strategy_name, symbol, side, quantity, notional, order_type, limit_price,"
        " created_at FROM trade_decisions WHERE status = 'pending' AND approval IS NULL AND broker = ?"
        " AND environment = ? AND account = ? AND strategy_name IN (SELECT value FROM json_each(?))"
        " ORDER BY id",
        (*config.account, json.dumps(strategies)),
    )
    for row in rows:
        hours = config.control(row["strategy_name"]).approval_hours
        row["until"] = clock.later(row["created_at"], float(hours) * 3600)
    return rows


def _use(sent: list[Row], now: str, current: RiskConfig, resumed: dict[str, str]) -> dict[str, str]:
    by_symbol: dict[str, Decimal] = {}
    by_strategy: dict[str, int] = {}
    last_minute = clock.later(now, -60)
    window = clock.later(now, -float(current.throttle_minutes) * 60)
    largest = total = money.ZERO
    for row in sent:
        value = order_values.order_value(row) or money.ZERO
        largest, total = max(largest, value), total + value
        by_symbol[row["symbol"]] = by_symbol.get(row["symbol"], money.ZERO) + value
        name = row["strategy_name"]
        # A strategy's count starts over when it is resumed.
        if name != "manual" and row["started_at"] > max(window, resumed.get(name, "")):
            by_strategy[name] = by_strategy.get(name, 0) + 1
    most = max(by_symbol, key=lambda name: by_symbol[name], default=None)
    busiest = max(by_strategy, key=lambda name: by_strategy[name], default=None)
    return {
        "max_order_notional": f"{money.to_text(largest)} in the largest" if sent else "0",
        "max_symbol_notional": "0" if most is None else f"{money.to_text(by_symbol[most])} in {most}",
        "max_day_notional": money.to_text(total),
        "max_orders_per_minute": str(sum(row["started_at"] >= last_minute for row in sent)),
        "max_orders_per_day": str(len(sent)),
        "throttle_orders": "0" if busiest is None else f"{by_strategy[busiest]} of {busiest}",
    }


def _exposure(reader: Reader, account: AccountKey) -> str | None:
    """The positions' market value by the broker's last snapshot; None where it has none."""
    row = reader.one(
        "SELECT value, as_of FROM broker_snapshots WHERE broker = ? AND environment = ? AND account = ?"
        " AND kind = 'position' AND subject = '' ORDER BY snapshot_id DESC LIMIT 1",
        account,
    )
    if row is None:
        return None
    try:
        values = [money.parse(item["market_value"]) for item in json.loads(row["value"], parse_float=Decimal)]
    except (ValueError, KeyError, TypeError):
        return None
    held = sum((abs(item) for item in values), money.ZERO)
    opened = [
        (order_values.order_value(item) or money.ZERO) * order_values.open_fraction(item)
        for item in reader.rows(_OPEN, account)
    ]
    on_top = f" and {money.to_text(sum(opened, money.ZERO))} in open orders" if opened else ""
    return f"{money.to_text(held)} held{on_top}"
