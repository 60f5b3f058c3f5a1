"""The hash chain over every change, and what a row's digest is taken over.

An entry describes one event and all the rows that it changed: ``body`` is canonical JSON
(sorted keys, no floats, decimals as text, so that it equals RFC 8785) with at, actor, event,
subject and, per row, the table, the key, the version of its column list and the row's digest.
``body_hash`` is SHA-256 of the stored bytes; ``hash`` is SHA-256(previous hash ‖ seq ‖ body_hash),
seq as eight bytes, big-endian. The hash before the first entry is 32 zero bytes.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GENESIS = bytes(32)

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def canonical(value: Any) -> str:
    """Canonical JSON of str, int, bool, None, lists and objects with ASCII keys.

    Raises TypeError for a float: its text depends on who writes it.
    """
    text = _encode(value)
    if _holds_float(value):
        raise TypeError("a float has no canonical form; write decimals as text")
    return text


def _holds_float(value: Any) -> bool:
    waiting = [value]
    for item in waiting:
        kind = type(item)
        if kind is str or kind is int or item is None:
            continue
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
        elif isinstance(item, float):
            return True
    return False


@dataclass(frozen=True, slots=True)
class Audited:
    """Which columns of a table a digest covers.

    A list only grows at its end: ``earlier`` holds how long it was in each version before this one.
    """

    key: str
    columns: tuple[str, ...]
    earlier: tuple[int, ...] = ()

    @property
    def version(self) -> int:
        return len(self.earlier) + 1

    def of(self, version: int) -> tuple[str, ...]:
        """The columns that a digest of ``version`` covers."""
        return self.columns[: (*self.earlier, len(self.columns))[version - 1]]


# Leases and heartbeats are left out: they change without anything having happened.
AUDITED: Mapping[str, Audited] = {
    "data_ingestion_runs": Audited(
        "run_id",
        (
            "id",
            "run_id",
            "task_name",
            "data_source",
            "actor",
            "host",
            "pid",
            "boot_id",
            "started_at",
            "completed_at",
            "failed_at",
            "status",
            "params",
            "data_date_start",
            "data_date_end",
            "records_fetched",
            "records_created",
            "records_updated",
            "records_skipped",
            "records_quarantined",
            "records_gone",
            "api_calls",
            "unchanged_ids",
            "error_message",
            "error_details",
        ),
    ),
    "strategy_runs": Audited(
        "strategy_run_id",
        (
            "id",
            "strategy_run_id",
            "strategy_name",
            "strategy_version",
            "code_hash",
            "parameters",
            "as_of",
            "includes_backfill",
            "basis",
            "context",
            "broker",
            "environment",
            "account",
            "started_at",
        ),
    ),
    "signals": Audited(
        "signal_id",
        (
            "id",
            "signal_id",
            "strategy_run_id",
            "strategy_name",
            "broker",
            "environment",
            "account",
            "symbol",
            "side",
            "episode",
            "taken",
            "reason",
            "detail",
            "created_at",
        ),
    ),
    "trade_decisions": Audited(
        "decision_id",
        (
            "id",
            "decision_id",
            "signal_id",
            "strategy_name",
            "strategy_version",
            "actor",
            "broker",
            "environment",
            "account",
            "symbol",
            "side",
            "quantity",
            "notional",
            "order_type",
            "limit_price",
            "stop_price",
            "time_in_force",
            "extended_hours",
            "decision_rationale",
            "basis",
            "decision_hash",
            "client_order_id",
            "expires_at",
            "created_at",
            "status",
            "failure_code",
            "failure_message",
            "needs_attention",
            "retry_count",
            "next_attempt_at",
            "executed_at",
            "failed_at",
            "adopted",
            "trail_price",
            "trail_percent",
            "approval",
            "approval_at",
            "approval_by",
            "held_until",
        ),
        earlier=(32, 33),
    ),
    # Digested as one list per decision, keyed by it.
    "decision_inputs": Audited("decision_id", ("version_id",)),
    "trade_executions": Audited(
        "execution_id",
        (
            "id",
            "execution_id",
            "decision_id",
            "attempt_number",
            "client_order_id",
            "broker",
            "environment",
            "account",
            "symbol",
            "status",
            "broker_status",
            "alpaca_order_id",
            "failure_code",
            "error_message",
            "error_details",
            "filled_quantity",
            "filled_avg_price",
            "commission",
            "replaces",
            "started_at",
            "submitted_at",
            "filled_at",
            "rejected_at",
            "quantity",
            "limit_price",
            "stop_price",
            "time_in_force",
            "order_value",
            "resent_at",
        ),
        earlier=(23, 27),
    ),
    "order_requests": Audited(
        "request_id",
        (
            "id",
            "request_id",
            "kind",
            "decision_id",
            "terms",
            "reason",
            "actor",
            "created_at",
            "execution_id",
            "status",
            "message",
            "tries",
            "next_attempt_at",
            "ended_at",
        ),
    ),
    "control_events": Audited(
        "event_id",
        (
            "event_id",
            "kind",
            "subject",
            "actor",
            "reason",
            "old_value",
            "new_value",
            "created_at",
            "broker",
            "environment",
            "account",
            "until",
        ),
        earlier=(8,),
    ),
    "halts": Audited(
        "halt_id",
        (
            "halt_id",
            "broker",
            "environment",
            "account",
            "scope",
            "subject",
            "actor",
            "reason",
            "created_at",
            "ended_at",
            "ended_by",
            "ended_why",
        ),
    ),
    "risk_checks": Audited(
        "check_id",
        ("check_id", "decision_id", "client_order_id", "verdict", "code", "checks", "checked_at"),
    ),
    "position_entries": Audited(
        "entry_id",
        (
            "entry_id",
            "broker",
            "environment",
            "account",
            "symbol",
            "kind",
            "quantity",
            "reason",
            "actor",
            "recorded_at",
        ),
    ),
    "breaks": Audited(
        "break_id",
        (
            "id",
            "break_id",
            "broker",
            "environment",
            "account",
            "kind",
            "subject",
            "symbol",
            "found_at",
            "expected",
            "actual",
            "changed_at",
            "closed_at",
            "closed_why",
        ),
    ),
    "broker_calls": Audited(
        "call_id",
        (
            "call_id",
            "execution_id",
            "purpose",
            "method",
            "url",
            "request_body",
            "status",
            "response_headers",
            "response_body",
            "body_encoding",
            "error",
            "started_at",
            "ended_at",
        ),
    ),
    "broker_accounts": Audited("account", ("broker", "environment", "account", "account_number", "bound_at")),
    "broker_snapshots": Audited(
        "snapshot_id",
        ("snapshot_id", "broker", "environment", "account", "kind", "subject", "value", "as_of"),
    ),
    "alpaca_orders": Audited(
        "broker_order_id",
        (
            "broker_order_id",
            "client_order_id",
            "broker",
            "environment",
            "account",
            "symbol",
            "status",
            "filled_quantity",
            "filled_avg_price",
            "replaces",
            "replaced_by",
            "decision_id",
            "execution_id",
            "raw",
            "first_seen_at",
            "updated_at",
        ),
    ),
    "order_events": Audited(
        "event_id",
        (
            "event_id",
            "broker_order_id",
            "execution_id",
            "status",
            "filled_quantity",
            "source",
            "seen_at",
            "call_id",
        ),
        earlier=(7,),
    ),
    "fills": Audited(
        "fill_id",
        (
            "fill_id",
            "broker_order_id",
            "execution_id",
            "broker",
            "environment",
            "account",
            "symbol",
            "side",
            "quantity",
            "price",
            "price_basis",
            "transaction_time",
            "seen_at",
        ),
    ),
    "alerts": Audited(
        "alert_id",
        ("alert_id", "kind", "subject", "message", "created_at", "acknowledged_at", "acknowledged_by"),
    ),
    "schema_upgrades": Audited("revision", ("revision", "upgraded_at", "tradelog_version", "copy_path")),
}

# What a run of ingestion brought, covered by the digest in the entry that ends the run. A run that
# ended before schema 0002 has the digest of version 1: all tables in one hash, and a text alone.
RUN_TABLES: Mapping[str, tuple[str, ...]] = {
    "record_versions": (
        "version_id",
        "record_id",
        "run",
        "first_seen_at",
        "position",
        "event_date",
        "filed_at",
        "filed_as_given",
        "symbol",
        "actor",
        "side",
        "amount_low",
        "amount_high",
        "flags",
        "backfill",
        "gone",
        "content_hash",
        "payload",
        "document",
        "reference",
        "amends",
        "person",
    ),
    "ingestion_records": ("record_id", "run", "outcome"),
    "quarantined_rows": ("run", "position", "reason", "payload"),
    "name_resolutions": ("resolution_id", "run", "feed", "name", "person", "version_id", "reason"),
}
RUN_DIGEST_VERSION = 2
# Columns of bytes are read as hex, so that whole batches of rows go through the encoder at once.
_AS_READ = {"content_hash": "lower(hex(content_hash))"}
_RUN_ORDER = {
    "record_versions": "version_id",
    # In the order of the versions that they belong to, in which both are written. The plus keeps SQLite
    # from looking for them by run, which would be every version of it for every link.
    "ingestion_records": "(SELECT v.version_id FROM record_versions v WHERE v.record_id = t.record_id"
    " AND +v.run = t.run)",
    "quarantined_rows": "position",
    "name_resolutions": "resolution_id",
}
_BATCH = 1000


def run_select(table: str, where: str) -> str:
    """The rows of a run as `RunDigest` takes them; ``where`` is about the table as ``t``."""
    columns = ", ".join(_AS_READ.get(name, f"t.{name}") for name in RUN_TABLES[table])
    return f"SELECT {columns} FROM {table} t WHERE {where} ORDER BY {_RUN_ORDER[table]}"


class RunDigest:
    """SHA-256 over everything that a run brought, fed in any number of batches a table."""

    def __init__(self) -> None:
        self._hashes = {table: hashlib.sha256() for table in RUN_TABLES}
        self._counts = dict.fromkeys(RUN_TABLES, 0)

    def add(self, table: str, cursor: sqlite3.Cursor) -> None:
        """The rows of a `run_select`, which continue those that were added before."""
        while rows := cursor.fetchmany(_BATCH):
            if self._counts[table]:
                self._hashes[table].update(b",")
            self._hashes[table].update(_encode_row(rows)[1:-1].encode())
            self._counts[table] += len(rows)

    def entry(self) -> list[Any]:
        """What the journal keeps: the version of the column lists, and the digest as hex."""
        parts = [[table, self._counts[table], found.hexdigest()] for table, found in self._hashes.items()]
        return [RUN_DIGEST_VERSION, hashlib.sha256(canonical(parts).encode()).hexdigest()]


def run_digest(connection: sqlite3.Connection, run: int) -> list[Any]:
    """The digest of a run from the store, as `RunDigest.entry` gives it."""
    digest = RunDigest()
    for table in RUN_TABLES:
        cursor = connection.cursor()
        cursor.row_factory = None  # a reader's rows by name are none that JSON knows
        digest.add(table, cursor.execute(run_select(table, "t.run = ?"), (run,)))
    return digest.entry()


_encode_row = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


# Version 1, for runs that ended before schema 0002: the tables and columns that there were then.
_FIRST_RUN_TABLES = {
    "record_versions": (RUN_TABLES["record_versions"][:-4], "version_id"),
    "ingestion_records": (RUN_TABLES["ingestion_records"], "record_id"),
    "quarantined_rows": (RUN_TABLES["quarantined_rows"], "position"),
}


def first_run_digest(connection: sqlite3.Connection, run: int) -> str:
    """The digest of version 1: one SHA-256, as hex, over the rows of all tables, a line each."""
    digest = hashlib.sha256()
    for table, (columns, order) in _FIRST_RUN_TABLES.items():
        cursor = connection.cursor()
        cursor.row_factory = None
        sql = f"SELECT {', '.join(columns)} FROM {table} WHERE run = ? ORDER BY {order}"
        for row in cursor.execute(sql, (run,)):
            digest.update(row_text(row).encode())
            digest.update(b"\n")
    return digest.hexdigest()


def row_text(values: Sequence[Any]) -> str:
    """A row as canonical JSON: an array in the order of its column list, bytes as hex."""
    return _encode_row([value.hex() if isinstance(value, bytes) else value for value in values])


def row_digest(values: Sequence[Any]) -> str:
    """SHA-256 of `row_text`, as hex."""
    return hashlib.sha256(row_text(values).encode()).hexdigest()


def link(previous: bytes, seq: int, body_hash: bytes) -> bytes:
    """The hash of entry ``seq``."""
    return hashlib.sha256(previous + seq.to_bytes(8, "big") + body_hash).digest()
