"""What the digest of a row is taken over: which columns of which table, and how they are written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Bytes are written as hex.
_encode_row = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=bytes.hex
).encode


def row_text(values: Sequence[Any]) -> str:
    """A row as canonical JSON: an array in the order of its column list, bytes as hex."""
    return _encode_row(values)


def row_digest(values: Sequence[Any]) -> str:
    """SHA-256 of `row_text`, as hex."""
    return hashlib.sha256(row_text(values).encode()).hexdigest()


def seal(text: str | None) -> str | None:
    """What stands for a sealed text: its SHA-256 as hex."""
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Audited:
    """Which columns of a table a digest covers.

    A list only grows at its end: ``earlier`` holds how long it was in each version before this one.
    A ``sealed`` column counts by the SHA-256 of its text, from the version given on: it tells of other
    things too, and the row can be shown without it.
    """

    key: str
    columns: tuple[str, ...]
    earlier: tuple[int, ...] = ()
    sealed: Mapping[str, int] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """The current version of the columns."""
        return len(self.earlier) + 1

    def of(self, version: int) -> tuple[str, ...]:
        """The columns that a digest of ``version`` covers."""
        return self.columns[: (*self.earlier, len(self.columns))[version - 1]]

    def text(self, values: Sequence[Any], version: int) -> str:
        """What the digest of a row is taken over; the values in the order of `of`."""
        if self.sealed:
            values = [
                seal(value) if version >= self.sealed.get(name, version + 1) else value
                for name, value in zip(self.of(version), values, strict=True)
            ]
        return row_text(values)

    def digest(self, values: Sequence[Any], version: int | None = None) -> str:
        """The digest of a row, of the current version by default, as hex."""
        return hashlib.sha256(self.text(values, version or self.version).encode()).hexdigest()


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
        # The context names every symbol that was looked at.
        earlier=(14,),
        sealed={"context": 2},
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
            "decision_key",
            "recorded",
            "parent",
        ),
        earlier=(32, 33, 39),
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
            "refused_by",
        ),
        earlier=(14,),
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
            "resolution",
        ),
        earlier=(14,),
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
            "left_host",
            "proves",
            "command_id",
        ),
        earlier=(13, 15),
    ),
    "client_commands": Audited(
        "command_id",
        (
            "id",
            "command_id",
            "broker",
            "environment",
            "account",
            "strategy_name",
            "kind",
            "target",
            "method",
            "path",
            "request",
            "reason",
            "actor",
            "started_at",
            "status",
            "message",
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
    "account_activities": Audited(
        "activity_id",
        (
            "activity_id",
            "broker",
            "environment",
            "account",
            "kind",
            "sub_kind",
            "status",
            "symbol",
            "quantity",
            "net_amount",
            "activity_date",
            "raw",
            "seen_at",
        ),
    ),
    "alerts": Audited(
        "alert_id",
        ("alert_id", "kind", "subject", "message", "created_at", "acknowledged_at", "acknowledged_by"),
    ),
    "clock_offsets": Audited(
        "offset_id",
        ("offset_id", "source", "subject", "measured_at", "remote_date", "offset_ms", "uncertainty_ms"),
    ),
    "archived_ranges": Audited(
        "range_id",
        (
            "range_id",
            "table_name",
            "first_key",
            "last_key",
            "row_count",
            "path",
            "digest",
            "seq",
            "actor",
            "archived_at",
        ),
    ),
    "archived_calls": Audited("subject", ("subject", "calls", "sent_at", "acknowledged_at", "path")),
    "archive_returns": Audited("return_id", ("return_id", "path", "seq", "actor", "returned_at")),
    "restores": Audited(
        "restore_id",
        (
            "restore_id",
            "source",
            "copy_seq",
            "copy_hash",
            "replaced",
            "replaced_seq",
            "replaced_hash",
            "actor",
            "restored_at",
        ),
    ),
    "maintenance_runs": Audited(
        "maintenance_id",
        (
            "id",
            "maintenance_id",
            "day",
            "actor",
            "host",
            "pid",
            "boot_id",
            "started_at",
            "ended_at",
            "status",
            "steps",
        ),
    ),
    "schema_upgrades": Audited("revision", ("revision", "upgraded_at", "tradelog_version", "copy_path")),
}
