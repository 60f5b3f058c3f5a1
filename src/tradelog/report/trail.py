"""The full trail of a decision: inputs with their runs, rationale, every attempt, every fill."""

from __future__ import annotations

import json
from typing import Any

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
    found = {key: value for key, value in row.items() if key not in _HIDDEN}
    found["extended_hours"] = bool(found["extended_hours"])
    found["decision_rationale"] = json.loads(row["decision_rationale"])
    found["inputs"] = reader.rows(_INPUTS, (row["id"],))
    if row["signal_id"]:
        found["signal"] = reader.one(
            "SELECT signal_id, strategy_run_id, episode, created_at FROM signals WHERE signal_id = ?",
            (row["signal_id"],),
        )
    executions = reader.rows(
        "SELECT * FROM trade_executions WHERE decision_id = ? ORDER BY attempt_number", (decision_id,)
    )
    found["executions"] = [_execution(reader, item) for item in executions]
    found["alerts"] = reader.rows(
        "SELECT kind, message, created_at, acknowledged_at FROM alerts WHERE subject = ? ORDER BY alert_id",
        (decision_id,),
    )
    return found


def decision_of(reader: Reader, kind: str, found_id: str) -> str | None:
    """The decision that an execution or a signal belongs to; None for a signal that was not taken."""
    table, column = {"exe": ("trade_executions", "execution_id"), "sig": ("trade_decisions", "signal_id")}[
        kind
    ]
    value = reader.value(f"SELECT decision_id FROM {table} WHERE {column} = ?", (found_id,))
    return None if value is None else str(value)


def signal(reader: Reader, signal_id: str) -> dict[str, Any]:
    """A signal as recorded, taken or not."""
    row = reader.one("SELECT * FROM signals WHERE signal_id = ?", (signal_id,))
    assert row is not None
    found = {key: value for key, value in row.items() if key != "id"}
    return {**found, "taken": bool(row["taken"]), "detail": json.loads(row["detail"])}


def strategy_run(reader: Reader, run_id: str) -> dict[str, Any]:
    """A run of a strategy with its context and its signals."""
    row = reader.one("SELECT * FROM strategy_runs WHERE strategy_run_id = ?", (run_id,))
    assert row is not None
    found = {key: value for key, value in row.items() if key != "id"}
    for key in ("parameters", "context"):
        found[key] = json.loads(row[key])
    found["includes_backfill"] = bool(row["includes_backfill"])
    found["signals"] = reader.rows(
        "SELECT signal_id, symbol, side, episode, taken, reason FROM signals"
        " WHERE strategy_run_id = ? ORDER BY id",
        (run_id,),
    )
    return found


def _execution(reader: Reader, row: Row) -> dict[str, Any]:
    found = {key: value for key, value in row.items() if key != "id"}
    execution_id = row["execution_id"]
    calls = reader.rows("SELECT * FROM broker_calls WHERE execution_id = ? ORDER BY call_id", (execution_id,))
    for call in calls:
        call["response_headers"] = json.loads(call["response_headers"]) if call["response_headers"] else {}
        del call["execution_id"]
    found["calls"] = calls
    submits = [call for call in calls if call["purpose"] == "submit"]
    # One copy of the wire: these two are read from the calls, not stored again.
    found["api_request"] = submits[-1]["request_body"] if submits else None
    found["api_response"] = submits[-1]["response_body"] if submits else None
    found["order_events"] = reader.rows(
        "SELECT status, filled_quantity, source, seen_at FROM order_events"
        " WHERE execution_id = ? ORDER BY event_id",
        (execution_id,),
    )
    found["fills"] = reader.rows(
        "SELECT fill_id, transaction_time, side, quantity, price, price_basis FROM fills"
        " WHERE execution_id = ? ORDER BY transaction_time, fill_id",
        (execution_id,),
    )
    return found
