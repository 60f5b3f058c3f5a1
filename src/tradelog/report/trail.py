"""The full trail of a decision: inputs with their runs, rationale, every attempt, every fill."""

from __future__ import annotations

import json
from typing import Any

from tradelog.domain import money
from tradelog.domain.account import AccountKey
from tradelog.store import archive_files
from tradelog.store.reader import Reader, Row

_INPUTS = """
SELECT v.version_id, d.run_id, d.data_source, v.first_seen_at, v.actor AS member, v.symbol, v.side,
       v.event_date, v.filed_as_given, v.filed_at, v.amount_low, v.amount_high, v.backfill
FROM decision_inputs i
JOIN record_versions v ON v.version_id = i.version_id
JOIN data_ingestion_runs d ON d.id = v.run
WHERE i.decision = ? ORDER BY v.version_id
"""
_HIDDEN = ("id", "lease_owner", "lease_token", "lease_until")


def decision(reader: Reader, decision_id: str) -> dict[str, Any]:
    """The decision with its inputs and its executions, each with calls, order events and fills."""
    row = reader.one("SELECT * FROM trade_decisions WHERE decision_id = ?", (decision_id,))
    assert row is not None
    result = {key: value for key, value in row.items() if key not in _HIDDEN}
    result["extended_hours"] = bool(result["extended_hours"])
    for name in ("adopted", "recorded"):
        result[name] = bool(result[name])
    result["decision_rationale"] = json.loads(row["decision_rationale"])
    result["inputs"] = reader.rows(_INPUTS, (row["id"],))
    if row["signal_id"]:
        result["signal"] = reader.one(
            "SELECT signal_id, strategy_run_id, episode, created_at FROM signals WHERE signal_id = ?",
            (row["signal_id"],),
        )
    executions = reader.rows(
        "SELECT * FROM trade_executions WHERE decision_id = ? ORDER BY attempt_number", (decision_id,)
    )
    result["executions"] = [_execution(reader, item) for item in executions]
    result["order"] = _as_one(row, executions)
    result["requests"] = reader.rows(
        "SELECT request_id, kind, terms, reason, actor, created_at, execution_id, status, message, tries,"
        " ended_at FROM order_requests WHERE decision_id = ? ORDER BY id",
        (decision_id,),
    )
    for request in result["requests"]:
        request["terms"] = json.loads(request["terms"])
    result["control_events"] = reader.rows(
        "SELECT c.kind, c.subject, c.actor, c.reason, c.old_value, c.new_value, c.created_at"
        " FROM control_events c WHERE c.subject = ?1 OR c.subject IN"
        " (SELECT execution_id FROM trade_executions WHERE decision_id = ?1) ORDER BY c.event_id",
        (decision_id,),
    )
    result["risk_checks"] = reader.rows(
        "SELECT client_order_id, verdict, code, checks, checked_at FROM risk_checks WHERE decision_id = ?"
        " ORDER BY check_id",
        (decision_id,),
    )
    for row_ in result["risk_checks"]:
        row_ |= json.loads(row_["checks"])
    result["children"] = _children(reader, decision_id)
    result["commands"] = _commands_at(reader, [item["alpaca_order_id"] for item in executions])
    result["alerts"] = reader.rows(
        "SELECT kind, message, created_at, acknowledged_at FROM alerts WHERE subject = ? ORDER BY alert_id",
        (decision_id,),
    )
    return result


def _as_one(decision: Row, executions: list[Row]) -> dict[str, Any]:
    """All orders of a decision as one: the chain of replacements, and what it filled."""
    filled, paid = money.ZERO, money.ZERO
    for row in executions:
        quantity = money.parse(row["filled_quantity"])
        filled += quantity
        paid += quantity * money.parse(row["filled_avg_price"] or "0")
    placed = [row for row in executions if row["alpaca_order_id"] is not None]
    return {
        "quantity": decision["quantity"],
        "notional": decision["notional"],
        "filled_quantity": money.to_text(filled),
        "filled_avg_price": money.to_text(money.average(paid, filled)) if filled else None,
        "chain": [row["alpaca_order_id"] for row in placed],
    }


def _children(reader: Reader, parent: str) -> list[Row]:
    """The decisions that came of a command, or the legs of an order."""
    return reader.rows(
        "SELECT decision_id, side, symbol, quantity, notional, status FROM trade_decisions"
        " WHERE parent = ? ORDER BY id",
        (parent,),
    )


def _commands_at(reader: Reader, order_ids: list[str | None]) -> list[Row]:
    """What a bot asked to be changed about these orders, through the recording client."""
    return reader.rows(
        "SELECT command_id, kind, strategy_name, actor, started_at, status, message FROM client_commands"
        " WHERE target IN (SELECT value FROM json_each(?)) ORDER BY id",
        (json.dumps([order_id for order_id in order_ids if order_id]),),
    )


def command(reader: Reader, command_id: str) -> dict[str, Any]:
    """A command of a bot, with its exchanges and the orders that came of it."""
    row = reader.one("SELECT * FROM client_commands WHERE command_id = ?", (command_id,))
    assert row is not None
    result = {key: value for key, value in row.items() if key != "id"}
    result["reason"] = json.loads(row["reason"])
    result["calls"] = reader.rows(
        "SELECT * FROM broker_calls WHERE command_id = ? ORDER BY call_id", (command_id,)
    )
    result["archived"], moved = archived_calls(reader, command_id)
    result["calls"] += moved
    for call in result["calls"]:
        call["shared"] = False
        call["response_headers"] = json.loads(call["response_headers"]) if call["response_headers"] else {}
    result["children"] = _children(reader, command_id)
    return result


def maintenance(reader: Reader, maintenance_id: str) -> dict[str, Any]:
    """A day's maintenance with its steps."""
    row = reader.one("SELECT * FROM maintenance_runs WHERE maintenance_id = ?", (maintenance_id,))
    assert row is not None
    return {key: value for key, value in row.items() if key != "id"} | {"steps": json.loads(row["steps"])}


def break_(reader: Reader, break_id: str) -> dict[str, Any]:
    """A break with the control events about it."""
    row = reader.one("SELECT * FROM breaks WHERE break_id = ?", (break_id,))
    assert row is not None
    events = reader.rows("SELECT * FROM control_events WHERE subject = ? ORDER BY event_id", (break_id,))
    return {key: value for key, value in row.items() if key != "id"} | {"control_events": events}


def decision_of(reader: Reader, kind: str, full_id: str) -> str | None:
    """The decision that an execution, a request or a signal belongs to; None for a signal not taken."""
    table, column = {
        "exe": ("trade_executions", "execution_id"),
        "req": ("order_requests", "request_id"),
        "sig": ("trade_decisions", "signal_id"),
    }[kind]
    value = reader.value(f"SELECT decision_id FROM {table} WHERE {column} = ?", (full_id,))
    return None if value is None else str(value)


def account_of(reader: Reader, decision_id: str) -> AccountKey:
    """The account of a decision that exists."""
    row = reader.one(
        "SELECT broker, environment, account FROM trade_decisions WHERE decision_id = ?", (decision_id,)
    )
    assert row is not None
    return AccountKey(**row)


def signal_of(reader: Reader, decision_id: str) -> str | None:
    """The signal of a decision; None for one that was made by hand or by a program."""
    value = reader.value("SELECT signal_id FROM trade_decisions WHERE decision_id = ?", (decision_id,))
    return None if value is None else str(value)


def first_of_symbol(reader: Reader, symbol: str) -> str:
    """The first decision on a symbol that has one."""
    sql = "SELECT decision_id FROM trade_decisions WHERE symbol = ? ORDER BY id LIMIT 1"
    return str(reader.value(sql, (symbol,)))


def last_attempt(reader: Reader, decision_id: str) -> Row:
    """How a decision that has an attempt stands, with its last attempt."""
    row = reader.one(
        "SELECT d.decision_id, d.symbol, d.status, d.failure_code, d.failure_message, d.needs_attention,"
        " e.status AS execution, e.filled_quantity, e.error_message FROM trade_decisions d"
        " JOIN trade_executions e ON e.decision_id = d.decision_id WHERE d.decision_id = ?"
        " ORDER BY e.id DESC LIMIT 1",
        (decision_id,),
    )
    assert row is not None
    return row


def signal(reader: Reader, signal_id: str) -> dict[str, Any]:
    """A signal as recorded, taken or not."""
    row = reader.one("SELECT * FROM signals WHERE signal_id = ?", (signal_id,))
    assert row is not None
    result = {key: value for key, value in row.items() if key != "id"}
    return {**result, "taken": bool(row["taken"]), "detail": json.loads(row["detail"])}


def strategy_run(reader: Reader, run_id: str) -> dict[str, Any]:
    """A run of a strategy with its context and its signals."""
    row = reader.one("SELECT * FROM strategy_runs WHERE strategy_run_id = ?", (run_id,))
    assert row is not None
    result = {key: value for key, value in row.items() if key != "id"}
    for key in ("parameters", "context"):
        result[key] = json.loads(row[key])
    result["includes_backfill"] = bool(row["includes_backfill"])
    result["signals"] = reader.rows(
        "SELECT signal_id, symbol, side, episode, taken, reason FROM signals"
        " WHERE strategy_run_id = ? ORDER BY id",
        (run_id,),
    )
    return result


def archived_calls(reader: Reader, subject: str) -> tuple[dict[str, Any] | None, list[Row]]:
    """(where the exchanges of an attempt or a command are archived, and they, where the file is there)."""
    row = reader.one(
        "SELECT path, calls FROM archived_calls a WHERE subject = ?"
        " AND NOT EXISTS (SELECT 1 FROM archive_returns r WHERE r.path = a.path)",
        (subject,),
    )
    if row is None:
        return None, []
    is_there = archive_files.place(reader.path, row["path"]).exists()
    if is_there:
        archive_files.check(reader.connection, row["path"])
    found = archive_files.calls(reader.path, row["path"], subject) if is_there else []
    return {"path": row["path"], "calls": row["calls"], "is_there": is_there}, found


def _execution(reader: Reader, row: Row) -> dict[str, Any]:
    result = {key: value for key, value in row.items() if key not in ("id", "fills_quantity")}
    execution_id = row["execution_id"]
    calls = reader.rows(
        "SELECT * FROM broker_calls WHERE execution_id = ?1 OR call_id IN (SELECT call_id FROM order_events"
        " WHERE broker_order_id = ?2 AND call_id IS NOT NULL) ORDER BY call_id",
        (execution_id, row["alpaca_order_id"]),
    )
    archived, moved = archived_calls(reader, execution_id)
    calls = sorted([*calls, *moved], key=lambda call: call["call_id"])
    for call in calls:
        # A page of many orders is evidence of each, but is not repeated with each.
        call["shared"] = call["execution_id"] is None
        if call["shared"]:
            call["response_body"] = None
        call["response_headers"] = json.loads(call["response_headers"]) if call["response_headers"] else {}
        del call["execution_id"]
    result["calls"] = calls
    result["archived"] = archived
    submits = [call for call in calls if call["purpose"] == "submit"]
    # One copy of the wire: these two are read from the calls, not stored again.
    result["api_request"] = submits[-1]["request_body"] if submits else None
    result["api_response"] = submits[-1]["response_body"] if submits else None
    result["order_events"] = reader.rows(
        "SELECT status, filled_quantity, source, seen_at, call_id FROM order_events"
        " WHERE broker_order_id = ? ORDER BY event_id",
        (row["alpaca_order_id"],),
    )
    result["fills"] = reader.rows(
        "SELECT fill_id, transaction_time, side, quantity, price, price_basis FROM fills"
        " WHERE execution_id = ?1 OR broker_order_id = ?2 ORDER BY transaction_time, fill_id",
        (execution_id, row["alpaca_order_id"]),
    )
    return result
