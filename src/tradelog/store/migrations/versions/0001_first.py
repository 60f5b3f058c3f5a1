"""The first schema: every table of the chain from fetch to fill, and the triggers that close it."""

import sqlalchemy as sa
from alembic import op

from tradelog.store.types import Bytes, Exact, Flag, Integer, Moment, Text, Written

revision = "0001"
down_revision = None

# Rows that are written once. Per table, the keys by which INSERT OR REPLACE could overwrite one.
APPEND_ONLY = {
    "source_records": ["record_id", "feed kind identity occurrence"],
    "record_versions": ["version_id"],
    "ingestion_records": ["record_id run"],
    "quarantined_rows": ["run position"],
    "strategy_runs": ["id", "strategy_run_id"],
    "signals": ["id", "signal_id"],
    "decision_inputs": ["decision version_id"],
    "broker_calls": ["call_id"],
    "broker_accounts": ["broker environment account"],
    "broker_snapshots": ["snapshot_id"],
    "order_events": ["event_id"],
    "fills": ["fill_id"],
    "journal": ["seq"],
    "schema_upgrades": ["revision"],
}

# Rows whose state moves on while what was meant by them stands: the columns that never change.
INTENT = {
    "data_ingestion_runs": (
        ["id", "run_id"],
        "id run_id task_name actor host pid boot_id started_at params",
    ),
    "trade_decisions": (
        ["id", "decision_id", "signal_id"],
        "id decision_id signal_id strategy_name strategy_version actor broker environment account"
        " symbol side quantity notional order_type limit_price stop_price time_in_force extended_hours"
        " decision_rationale basis decision_hash client_order_id expires_at created_at",
    ),
    "trade_executions": (
        ["id", "execution_id", "decision_id attempt_number"],
        "id execution_id decision_id attempt_number client_order_id broker environment account symbol"
        " replaces started_at",
    ),
    "alpaca_orders": (
        ["broker_order_id"],
        "broker_order_id broker environment account symbol first_seen_at",
    ),
    "alerts": (["alert_id"], "alert_id kind subject created_at"),
}

_SIGNAL = ("strategy_name", "broker", "environment", "account", "symbol", "side", "episode")
# The keys of partial unique indexes, which REPLACE resolves by deleting as well.
PARTIAL_KEYS = (
    (
        "signals",
        "key",
        " AND ".join(f"{column} = NEW.{column}" for column in _SIGNAL)
        + " AND taken = NEW.taken AND reason IS NEW.reason",
    ),
    (
        "alerts",
        "key",
        "kind = NEW.kind AND subject = NEW.subject AND acknowledged_at IS NULL AND NEW.acknowledged_at IS NULL",
    ),
)


def upgrade() -> None:
    create_tables()
    for table, keys in APPEND_ONLY.items():
        forbid(table, "update", "UPDATE")
        close_table(table, keys)
    for table, (keys, columns) in INTENT.items():
        forbid(table, "intent", f"UPDATE OF {', '.join(columns.split())}")
        close_table(table, keys)
    for table, name, same in PARTIAL_KEYS:
        forbid_replace(table, name, same)
    op.execute(
        "CREATE TRIGGER data_ingestion_runs_ended BEFORE UPDATE ON data_ingestion_runs"
        " WHEN OLD.status <> 'running'"
        " BEGIN SELECT RAISE(ABORT, 'a run that has ended does not change'); END"
    )
    op.execute(
        "CREATE TRIGGER journal_order BEFORE INSERT ON journal"
        " WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM journal)"
        " BEGIN SELECT RAISE(ABORT, 'the journal is written in order'); END"
    )


def forbid(table: str, name: str, action: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_{name} BEFORE {action} ON {table}"
        f" BEGIN SELECT RAISE(ABORT, '{table}: what was written stands; a correction is a new row'); END"
    )


def close_table(table: str, keys: list[str]) -> None:
    """No DELETE, and no INSERT OR REPLACE either, which would delete without firing a trigger."""
    forbid(table, "delete", "DELETE")
    for number, key in enumerate(keys):
        forbid_replace(table, str(number), " AND ".join(f"{column} = NEW.{column}" for column in key.split()))


def forbid_replace(table: str, name: str, same: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_replace_{name} BEFORE INSERT ON {table}"
        f" WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})"
        f" BEGIN SELECT RAISE(ABORT, '{table}: that row is already written'); END"
    )


def create_tables() -> None:
    op.create_table(
        "alerts",
        sa.Column("alert_id", Integer(), nullable=False),
        sa.Column("kind", Text(), nullable=False),
        sa.Column("subject", Text(), nullable=False),
        sa.Column("message", Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("acknowledged_at", Moment(), nullable=True),
        sa.Column("acknowledged_by", Text(), nullable=True),
        sa.PrimaryKeyConstraint("alert_id"),
        sqlite_strict=True,
    )
    op.create_index(
        "uq_alerts_open",
        "alerts",
        ["kind", "subject"],
        unique=True,
        sqlite_where=sa.text("acknowledged_at IS NULL"),
    )
    op.create_table(
        "broker_accounts",
        sa.Column("broker", Text(), nullable=False),
        sa.Column("environment", Text(), nullable=False),
        sa.Column("account", Text(), nullable=False),
        sa.Column("account_number", Text(), nullable=False),
        sa.Column("bound_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("broker", "environment", "account"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "broker_snapshots",
        sa.Column("snapshot_id", Integer(), nullable=False),
        sa.Column("broker", Text(), nullable=False),
        sa.Column("environment", Text(), nullable=False),
        sa.Column("account", Text(), nullable=False),
        sa.Column("kind", Text(), nullable=False),
        sa.Column("subject", Text(), nullable=False),
        sa.Column("value", Written(), nullable=False),
        sa.Column("as_of", Moment(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('account', 'position', 'quote', 'asset', 'clock')", name="ck_snapshots_kind"
        ),
        sa.PrimaryKeyConstraint("snapshot_id"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_snapshots_latest",
        "broker_snapshots",
        ["broker", "environment", "account", "kind", "subject", "snapshot_id"],
        unique=False,
    )
    op.create_table(
        "data_ingestion_runs",
        sa.Column("id", Integer(), nullable=False),
        sa.Column("run_id", Text(), nullable=False),
        sa.Column("task_name", Text(), nullable=False),
        sa.Column("data_source", Text(), nullable=False),
        sa.Column("actor", Text(), nullable=False),
        sa.Column("host", Text(), nullable=False),
        sa.Column("pid", Integer(), nullable=False),
        sa.Column("boot_id", Text(), nullable=False),
        sa.Column("heartbeat_at", Moment(), nullable=False),
        sa.Column("started_at", Moment(), nullable=False),
        sa.Column("completed_at", Moment(), nullable=True),
        sa.Column("failed_at", Moment(), nullable=True),
        sa.Column("status", Text(), nullable=False),
        sa.Column("params", Written(), nullable=False),
        sa.Column("data_date_start", Text(), nullable=True),
        sa.Column("data_date_end", Text(), nullable=True),
        sa.Column("records_fetched", Integer(), nullable=False),
        sa.Column("records_created", Integer(), nullable=False),
        sa.Column("records_updated", Integer(), nullable=False),
        sa.Column("records_skipped", Integer(), nullable=False),
        sa.Column("records_quarantined", Integer(), nullable=False),
        sa.Column("records_gone", Integer(), nullable=False),
        sa.Column("api_calls", Written(), nullable=False),
        sa.Column("unchanged_ids", Bytes(), nullable=True),
        sa.Column("error_message", Text(), nullable=True),
        sa.Column("error_details", Written(), nullable=True),
        sa.CheckConstraint(
            "status IN ('running', 'completed', 'failed', 'aborted', 'abandoned')", name="ck_runs_status"
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("run_id", name="uq_runs_run_id"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_runs_running",
        "data_ingestion_runs",
        ["id"],
        unique=False,
        sqlite_where=sa.text("status = 'running'"),
    )
    op.create_index("ix_runs_started", "data_ingestion_runs", ["started_at"], unique=False)
    op.create_index("ix_runs_task", "data_ingestion_runs", ["task_name", "started_at"], unique=False)
    op.create_table(
        "journal",
        sa.Column("seq", Integer(), nullable=False),
        sa.Column("body", Written(), nullable=False),
        sa.Column("body_hash", Bytes(), nullable=False),
        sa.Column("hash", Bytes(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_strict=True,
    )
    op.create_table(
        "schema_upgrades",
        sa.Column("revision", Text(), nullable=False),
        sa.Column("upgraded_at", Moment(), nullable=False),
        sa.Column("tradelog_version", Text(), nullable=False),
        sa.Column("copy_path", Text(), nullable=True),
        sa.PrimaryKeyConstraint("revision"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "source_records",
        sa.Column("record_id", Integer(), nullable=False),
        sa.Column("feed", Text(), nullable=False),
        sa.Column("kind", Text(), nullable=False),
        sa.Column("identity", Bytes(), nullable=False),
        sa.Column("occurrence", Integer(), nullable=False),
        sa.CheckConstraint("occurrence >= 1", name="ck_records_occurrence"),
        sa.PrimaryKeyConstraint("record_id"),
        sa.UniqueConstraint("feed", "kind", "identity", "occurrence", name="uq_records_identity"),
        sqlite_strict=True,
    )
    op.create_table(
        "strategy_runs",
        sa.Column("id", Integer(), nullable=False),
        sa.Column("strategy_run_id", Text(), nullable=False),
        sa.Column("strategy_name", Text(), nullable=False),
        sa.Column("strategy_version", Text(), nullable=False),
        sa.Column("code_hash", Text(), nullable=False),
        sa.Column("parameters", Written(), nullable=False),
        sa.Column("as_of", Text(), nullable=True),
        sa.Column("includes_backfill", Flag(), nullable=False),
        sa.Column("basis", Integer(), nullable=False),
        sa.Column("context", Written(), nullable=False),
        sa.Column("broker", Text(), nullable=False),
        sa.Column("environment", Text(), nullable=False),
        sa.Column("account", Text(), nullable=False),
        sa.Column("started_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("strategy_run_id", name="uq_strategy_runs_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_strategy_runs_started", "strategy_runs", ["started_at"], unique=False)
    op.create_table(
        "workers",
        sa.Column("worker_id", Text(), nullable=False),
        sa.Column("host", Text(), nullable=False),
        sa.Column("pid", Integer(), nullable=False),
        sa.Column("boot_id", Text(), nullable=False),
        sa.Column("broker", Text(), nullable=False),
        sa.Column("environment", Text(), nullable=False),
        sa.Column("account", Text(), nullable=False),
        sa.Column("started_at", Moment(), nullable=False),
        sa.Column("heartbeat_at", Moment(), nullable=False),
        sa.Column("stopped_at", Moment(), nullable=True),
        sa.Column("clock_offset_ms", Integer(), nullable=True),
        sa.PrimaryKeyConstraint("worker_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ingestion_records",
        sa.Column("record_id", Integer(), nullable=False),
        sa.Column("run", Integer(), nullable=False),
        sa.Column("outcome", Text(), nullable=False),
        sa.CheckConstraint("outcome IN ('created', 'updated', 'gone')", name="ck_links_outcome"),
        sa.ForeignKeyConstraint(
            ["record_id"],
            ["source_records.record_id"],
        ),
        sa.ForeignKeyConstraint(
            ["run"],
            ["data_ingestion_runs.id"],
        ),
        sa.PrimaryKeyConstraint("record_id", "run"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_links_run", "ingestion_records", ["run"], unique=False)
    op.create_table(
        "quarantined_rows",
        sa.Column("run", Integer(), nullable=False),
        sa.Column("position", Integer(), nullable=False),
        sa.Column("reason", Text(), nullable=False),
        sa.Column("payload", Written(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run"],
            ["data_ingestion_runs.id"],
        ),
        sa.PrimaryKeyConstraint("run", "position"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "record_versions",
        sa.Column("version_id", Integer(), nullable=False),
        sa.Column("record_id", Integer(), nullable=False),
        sa.Column("run", Integer(), nullable=False),
        sa.Column("first_seen_at", Moment(), nullable=False),
        sa.Column("position", Integer(), nullable=False),
        sa.Column("event_date", Text(), nullable=True),
        sa.Column("filed_at", Moment(), nullable=True),
        sa.Column("filed_as_given", Text(), nullable=True),
        sa.Column("symbol", Text(), nullable=True),
        sa.Column("actor", Text(), nullable=True),
        sa.Column("side", Text(), nullable=True),
        sa.Column("amount_low", Exact(), nullable=True),
        sa.Column("amount_high", Exact(), nullable=True),
        sa.Column("flags", Written(), nullable=True),
        sa.Column("backfill", Flag(), nullable=False),
        sa.Column("gone", Flag(), nullable=False),
        sa.Column("content_hash", Bytes(), nullable=False),
        sa.Column("payload", Written(), nullable=False),
        sa.CheckConstraint("backfill IN (0, 1)", name="ck_versions_backfill"),
        sa.CheckConstraint("gone IN (0, 1)", name="ck_versions_gone"),
        sa.ForeignKeyConstraint(
            ["record_id"],
            ["source_records.record_id"],
        ),
        sa.ForeignKeyConstraint(
            ["run"],
            ["data_ingestion_runs.id"],
        ),
        sa.PrimaryKeyConstraint("version_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_versions_filed", "record_versions", ["filed_at"], unique=False)
    op.create_index("ix_versions_record", "record_versions", ["record_id", "version_id"], unique=False)
    op.create_index("ix_versions_run", "record_versions", ["run", "version_id"], unique=False)
    op.create_index("ix_versions_symbol_event", "record_versions", ["symbol", "event_date"], unique=False)
    op.create_index("ix_versions_symbol_seen", "record_versions", ["symbol", "first_seen_at"], unique=False)
    op.create_table(
        "signals",
        sa.Column("id", Integer(), nullable=False),
        sa.Column("signal_id", Text(), nullable=False),
        sa.Column("strategy_run_id", Text(), nullable=False),
        sa.Column("strategy_name", Text(), nullable=False),
        sa.Column("broker", Text(), nullable=False),
        sa.Column("environment", Text(), nullable=False),
        sa.Column("account", Text(), nullable=False),
        sa.Column("symbol", Text(), nullable=False),
        sa.Column("side", Text(), nullable=False),
        sa.Column("episode", Text(), nullable=False),
        sa.Column("taken", Flag(), nullable=False),
        sa.Column("reason", Text(), nullable=True),
        sa.Column("detail", Written(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.CheckConstraint("taken = 1 OR reason IS NOT NULL", name="ck_signals_reason"),
        sa.CheckConstraint("taken IN (0, 1)", name="ck_signals_taken"),
        sa.ForeignKeyConstraint(
            ["strategy_run_id"],
            ["strategy_runs.strategy_run_id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("signal_id", name="uq_signals_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_signals_symbol", "signals", ["symbol", "created_at"], unique=False)
    op.create_index(
        "uq_signals_not_taken",
        "signals",
        ["strategy_name", "broker", "environment", "account", "symbol", "side", "episode", "reason"],
        unique=True,
        sqlite_where=sa.text("taken = 0"),
    )
    op.create_index(
        "uq_signals_taken",
        "signals",
        ["strategy_name", "broker", "environment", "account", "symbol", "side", "episode"],
        unique=True,
        sqlite_where=sa.text("taken = 1"),
    )
    op.create_table(
        "trade_decisions",
        sa.Column("id", Integer(), nullable=False),
        sa.Column("decision_id", Text(), nullable=False),
        sa.Column("signal_id", Text(), nullable=True),
        sa.Column("strategy_name", Text(), nullable=False),
        sa.Column("strategy_version", Text(), nullable=True),
        sa.Column("actor", Text(), nullable=False),
        sa.Column("broker", Text(), nullable=False),
        sa.Column("environment", Text(), nullable=False),
        sa.Column("account", Text(), nullable=False),
        sa.Column("symbol", Text(), nullable=False),
        sa.Column("side", Text(), nullable=False),
        sa.Column("quantity", Exact(), nullable=True),
        sa.Column("notional", Exact(), nullable=True),
        sa.Column("order_type", Text(), nullable=False),
        sa.Column("limit_price", Exact(), nullable=True),
        sa.Column("stop_price", Exact(), nullable=True),
        sa.Column("time_in_force", Text(), nullable=False),
        sa.Column("extended_hours", Flag(), nullable=False),
        sa.Column("decision_rationale", Written(), nullable=False),
        sa.Column("basis", Integer(), nullable=False),
        sa.Column("decision_hash", Text(), nullable=False),
        sa.Column("client_order_id", Text(), nullable=False),
        sa.Column("expires_at", Moment(), nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("status", Text(), nullable=False),
        sa.Column("failure_code", Text(), nullable=True),
        sa.Column("failure_message", Text(), nullable=True),
        sa.Column("needs_attention", Text(), nullable=True),
        sa.Column("retry_count", Integer(), nullable=False),
        sa.Column("next_attempt_at", Moment(), nullable=True),
        sa.Column("executed_at", Moment(), nullable=True),
        sa.Column("failed_at", Moment(), nullable=True),
        sa.Column("lease_owner", Text(), nullable=True),
        sa.Column("lease_token", Integer(), nullable=False),
        sa.Column("lease_until", Moment(), nullable=True),
        sa.CheckConstraint("side IN ('buy', 'sell')", name="ck_decisions_side"),
        sa.CheckConstraint(
            "status IN ('pending', 'executing', 'executed', 'failed', 'cancelled')",
            name="ck_decisions_status",
        ),
        sa.CheckConstraint("(quantity IS NULL) <> (notional IS NULL)", name="ck_decisions_size"),
        sa.ForeignKeyConstraint(
            ["signal_id"],
            ["signals.signal_id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("decision_id", name="uq_decisions_id"),
        sqlite_strict=True,
    )
    op.create_index(
        "uq_decisions_signal",
        "trade_decisions",
        ["signal_id"],
        unique=True,
        sqlite_where=sa.text("signal_id IS NOT NULL"),
    )
    op.create_index(
        "ix_decisions_due",
        "trade_decisions",
        ["broker", "environment", "account", "id"],
        unique=False,
        sqlite_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "ix_decisions_executing",
        "trade_decisions",
        ["id"],
        unique=False,
        sqlite_where=sa.text("status = 'executing'"),
    )
    op.create_index(
        "ix_decisions_symbol", "trade_decisions", ["symbol", "account", "created_at"], unique=False
    )
    op.create_table(
        "decision_inputs",
        sa.Column("decision", Integer(), nullable=False),
        sa.Column("version_id", Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["decision"],
            ["trade_decisions.id"],
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["record_versions.version_id"],
        ),
        sa.PrimaryKeyConstraint("decision", "version_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_inputs_version", "decision_inputs", ["version_id"], unique=False)
    op.create_table(
        "trade_executions",
        sa.Column("id", Integer(), nullable=False),
        sa.Column("execution_id", Text(), nullable=False),
        sa.Column("decision_id", Text(), nullable=False),
        sa.Column("attempt_number", Integer(), nullable=False),
        sa.Column("client_order_id", Text(), nullable=False),
        sa.Column("broker", Text(), nullable=False),
        sa.Column("environment", Text(), nullable=False),
        sa.Column("account", Text(), nullable=False),
        sa.Column("symbol", Text(), nullable=False),
        sa.Column("status", Text(), nullable=False),
        sa.Column("broker_status", Text(), nullable=True),
        sa.Column("alpaca_order_id", Text(), nullable=True),
        sa.Column("failure_code", Text(), nullable=True),
        sa.Column("error_message", Text(), nullable=True),
        sa.Column("error_details", Written(), nullable=True),
        sa.Column("filled_quantity", Exact(), nullable=False),
        sa.Column("filled_avg_price", Exact(), nullable=True),
        sa.Column("commission", Exact(), nullable=True),
        sa.Column("replaces", Text(), nullable=True),
        sa.Column("started_at", Moment(), nullable=False),
        sa.Column("submitted_at", Moment(), nullable=True),
        sa.Column("filled_at", Moment(), nullable=True),
        sa.Column("rejected_at", Moment(), nullable=True),
        sa.CheckConstraint(
            "status IN ('sending', 'accepted', 'partially_filled', 'filled', 'canceled', 'expired', 'rejected', 'replaced', 'unknown', 'not_sent', 'not_accepted')",
            name="ck_executions_status",
        ),
        sa.ForeignKeyConstraint(
            ["decision_id"],
            ["trade_decisions.decision_id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("decision_id", "attempt_number", name="uq_executions_attempt"),
        sa.UniqueConstraint("execution_id", name="uq_executions_id"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_executions_open",
        "trade_executions",
        ["broker", "environment", "account"],
        unique=False,
        sqlite_where=sa.text("status IN ('accepted', 'partially_filled')"),
    )
    op.create_index(
        "ix_executions_unsettled",
        "trade_executions",
        ["broker", "environment", "account", "symbol"],
        unique=False,
        sqlite_where=sa.text("status IN ('sending', 'unknown')"),
    )
    op.create_table(
        "alpaca_orders",
        sa.Column("broker_order_id", Text(), nullable=False),
        sa.Column("client_order_id", Text(), nullable=True),
        sa.Column("broker", Text(), nullable=False),
        sa.Column("environment", Text(), nullable=False),
        sa.Column("account", Text(), nullable=False),
        sa.Column("symbol", Text(), nullable=False),
        sa.Column("status", Text(), nullable=False),
        sa.Column("filled_quantity", Exact(), nullable=False),
        sa.Column("filled_avg_price", Exact(), nullable=True),
        sa.Column("replaces", Text(), nullable=True),
        sa.Column("replaced_by", Text(), nullable=True),
        sa.Column("decision_id", Text(), nullable=True),
        sa.Column("execution_id", Text(), nullable=True),
        sa.Column("raw", Written(), nullable=False),
        sa.Column("first_seen_at", Moment(), nullable=False),
        sa.Column("updated_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["decision_id"],
            ["trade_decisions.decision_id"],
        ),
        sa.ForeignKeyConstraint(
            ["execution_id"],
            ["trade_executions.execution_id"],
        ),
        sa.PrimaryKeyConstraint("broker_order_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_orders_client", "alpaca_orders", ["client_order_id"], unique=False)
    op.create_index("ix_orders_decision", "alpaca_orders", ["decision_id"], unique=False)
    op.create_table(
        "broker_calls",
        sa.Column("call_id", Integer(), nullable=False),
        sa.Column("execution_id", Text(), nullable=True),
        sa.Column("purpose", Text(), nullable=False),
        sa.Column("method", Text(), nullable=False),
        sa.Column("url", Text(), nullable=False),
        sa.Column("request_body", Written(), nullable=True),
        sa.Column("status", Integer(), nullable=True),
        sa.Column("response_headers", Written(), nullable=True),
        sa.Column("response_body", Written(), nullable=True),
        sa.Column("body_encoding", Text(), nullable=False),
        sa.Column("error", Text(), nullable=True),
        sa.Column("started_at", Moment(), nullable=False),
        sa.Column("ended_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["execution_id"],
            ["trade_executions.execution_id"],
        ),
        sa.PrimaryKeyConstraint("call_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_calls_execution", "broker_calls", ["execution_id"], unique=False)
    op.create_index("ix_calls_started", "broker_calls", ["started_at"], unique=False)
    op.create_table(
        "fills",
        sa.Column("fill_id", Text(), nullable=False),
        sa.Column("broker_order_id", Text(), nullable=False),
        sa.Column("execution_id", Text(), nullable=True),
        sa.Column("broker", Text(), nullable=False),
        sa.Column("environment", Text(), nullable=False),
        sa.Column("account", Text(), nullable=False),
        sa.Column("symbol", Text(), nullable=False),
        sa.Column("side", Text(), nullable=False),
        sa.Column("quantity", Exact(), nullable=False),
        sa.Column("price", Exact(), nullable=False),
        sa.Column("price_basis", Text(), nullable=False),
        sa.Column("transaction_time", Moment(), nullable=False),
        sa.Column("seen_at", Moment(), nullable=False),
        sa.CheckConstraint("side IN ('buy', 'sell', 'sell_short')", name="ck_fills_side"),
        sa.ForeignKeyConstraint(
            ["execution_id"],
            ["trade_executions.execution_id"],
        ),
        sa.PrimaryKeyConstraint("fill_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_fills_execution", "fills", ["execution_id"], unique=False)
    op.create_index("ix_fills_symbol", "fills", ["symbol", "account", "transaction_time"], unique=False)
    op.create_table(
        "order_events",
        sa.Column("event_id", Integer(), nullable=False),
        sa.Column("broker_order_id", Text(), nullable=False),
        sa.Column("execution_id", Text(), nullable=True),
        sa.Column("status", Text(), nullable=False),
        sa.Column("filled_quantity", Exact(), nullable=False),
        sa.Column("source", Text(), nullable=False),
        sa.Column("seen_at", Moment(), nullable=False),
        sa.CheckConstraint("source IN ('submit', 'lookup', 'poll', 'reconcile')", name="ck_events_source"),
        sa.ForeignKeyConstraint(
            ["broker_order_id"],
            ["alpaca_orders.broker_order_id"],
        ),
        sa.ForeignKeyConstraint(
            ["execution_id"],
            ["trade_executions.execution_id"],
        ),
        sa.PrimaryKeyConstraint("event_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_events_order", "order_events", ["broker_order_id"], unique=False)
