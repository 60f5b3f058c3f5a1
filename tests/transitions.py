"""Holds every change of a state that a test makes in this process against the tables of `domain.status`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tradelog.domain import status
from tradelog.store.writer import Transaction

# Table → (column of the key, column of the state, its enum, what may follow what).
_STATES: Mapping[str, tuple[str, str, Any, Mapping[Any, frozenset[Any]]]] = {
    "trade_decisions": ("decision_id", "status", status.DecisionStatus, status.DECISION_TRANSITIONS),
    "trade_executions": ("execution_id", "status", status.AttemptStatus, status.ATTEMPT_TRANSITIONS),
    "order_requests": ("request_id", "status", status.RequestStatus, status.REQUEST_TRANSITIONS),
    "client_commands": ("command_id", "status", status.CommandStatus, status.COMMAND_TRANSITIONS),
    "maintenance_runs": (
        *("maintenance_id", "status"),
        *(status.MaintenanceStatus, status.MAINTENANCE_TRANSITIONS),
    ),
    "data_ingestion_runs": ("run_id", "status", status.RunStatus, status.RUN_TRANSITIONS),
}
_update = Transaction.update
_finish = Transaction.finish


def _checked_update(tx: Transaction, table: str, key: str, changes: Any, **more: Any) -> bool:
    if table in _STATES and "status" in changes:
        column, name, kind, table_of = _STATES[table]
        row = tx.one(f"SELECT {name} FROM {table} WHERE {column} = ?", (key,))
        if row is not None:
            old, new = kind(row[0]), kind(changes["status"])
            if old != new and new not in table_of[old]:
                tx.__dict__.setdefault("unlisted", []).append(f"{table}: {old} → {new}")
    return _update(tx, table, key, changes, **more)


def _checked_finish(tx: Transaction) -> None:
    """Right before the commit: what is rolled back was no transition."""
    assert "unlisted" not in tx.__dict__, tx.__dict__["unlisted"]
    _finish(tx)


def arrange(tx: Transaction, table: str, key: str, changes: Any) -> None:
    """Put a row into any state, as the beginning of a test."""
    _update(tx, table, key, changes)


def watch() -> None:
    """From here on a transition that no table has fails the test that makes it."""
    Transaction.update = _checked_update  # type: ignore[method-assign]
    Transaction.finish = _checked_finish  # type: ignore[method-assign]
