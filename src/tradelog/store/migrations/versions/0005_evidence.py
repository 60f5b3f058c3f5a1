"""Evidence: where a change in a run is, measured clocks, and a door for archiving alone."""

import sqlalchemy as sa
from alembic import op

from tradelog.store.types import Bytes, Integer, Moment, Text

revision = "0005"
down_revision = "0004"

STANDS = "what was written stands; a correction is a new row"
# Tables that rows may be moved out of, and the number by which a range names them. What has no number
# (fills, orders, upgrades, the bound account) stays.
ARCHIVABLE = {
    "data_ingestion_runs": "id",
    "source_records": "record_id",
    "record_versions": "version_id",
    "ingestion_records": "run",
    "quarantined_rows": "run",
    "name_resolutions": "resolution_id",
    "run_row_digests": "run",
    "strategy_runs": "id",
    "signals": "id",
    "trade_decisions": "id",
    "decision_inputs": "decision",
    "trade_executions": "id",
    "order_requests": "id",
    "control_events": "event_id",
    "halts": "halt_id",
    "risk_checks": "check_id",
    "position_entries": "entry_id",
    "breaks": "id",
    "broker_calls": "call_id",
    "broker_snapshots": "snapshot_id",
    "order_events": "event_id",
    "clock_offsets": "offset_id",
    "alerts": "alert_id",
}
NEW = {
    "run_row_digests": "run = NEW.run AND part = NEW.part",
    "clock_offsets": "offset_id = NEW.offset_id",
    "archived_ranges": "range_id = NEW.range_id",
}


def upgrade() -> None:
    create_tables()
    for table, same in NEW.items():
        forbid(table, "update", "UPDATE")
        op.execute(
            f"CREATE TRIGGER {table}_replace_0 BEFORE INSERT ON {table}"
            f" WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})"
            f" BEGIN SELECT RAISE(ABORT, '{table}: that row is already written'); END"
        )
    forbid("archived_ranges", "delete", "DELETE")
    op.execute(
        "CREATE TRIGGER archived_ranges_now BEFORE INSERT ON archived_ranges"
        " WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM journal)"
        " BEGIN SELECT RAISE(ABORT, 'archived_ranges: rows are moved under the entry that comes next'); END"
    )
    for table, key in ARCHIVABLE.items():
        op.execute(f"DROP TRIGGER IF EXISTS {table}_delete")
        forbid(table, "delete", "DELETE", unless=covered(table, f"OLD.{key}"))
    # Of an entry only the text may be moved out: its hashes carry the chain on.
    op.execute("DROP TRIGGER journal_update")
    kept = "NEW.seq IS OLD.seq AND NEW.body_hash IS OLD.body_hash AND NEW.hash IS OLD.hash AND NEW.body = ''"
    forbid("journal", "update", "UPDATE", unless=f"{kept} AND {covered('journal', 'OLD.seq')}")


def covered(table: str, key: str) -> str:
    """Whether a range of the transaction that is going on, whose entry is not written yet, has the row."""
    return (
        f"EXISTS (SELECT 1 FROM archived_ranges a WHERE a.seq > (SELECT max(seq) FROM journal)"
        f" AND a.table_name = '{table}' AND {key} BETWEEN a.first_key AND a.last_key)"
    )


def forbid(table: str, name: str, action: str, *, unless: str | None = None) -> None:
    when = "" if unless is None else f" WHEN NOT ({unless})"
    op.execute(
        f"CREATE TRIGGER {table}_{name} BEFORE {action} ON {table}{when}"
        f" BEGIN SELECT RAISE(ABORT, '{table}: {STANDS}'); END"
    )


def create_tables() -> None:
    op.create_table(
        "run_row_digests",
        sa.Column("run", Integer(), nullable=False),
        sa.Column("part", Text(), nullable=False),
        sa.Column("digests", Bytes(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["data_ingestion_runs.id"]),
        sa.PrimaryKeyConstraint("run", "part"),
        sqlite_strict=True,
    )
    op.create_table(
        "clock_offsets",
        sa.Column("offset_id", Integer(), nullable=False),
        sa.Column("source", Text(), nullable=False),
        sa.Column("subject", Text(), nullable=False),
        sa.Column("measured_at", Moment(), nullable=False),
        sa.Column("remote_date", Text(), nullable=False),
        sa.Column("offset_ms", Integer(), nullable=False),
        sa.Column("uncertainty_ms", Integer(), nullable=False),
        sa.PrimaryKeyConstraint("offset_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_offsets_subject", "clock_offsets", ["subject"])
    op.create_table(
        "archived_ranges",
        sa.Column("range_id", Integer(), nullable=False),
        sa.Column("table_name", Text(), nullable=False),
        sa.Column("first_key", Integer(), nullable=False),
        sa.Column("last_key", Integer(), nullable=False),
        sa.Column("row_count", Integer(), nullable=False),
        sa.Column("path", Text(), nullable=False),
        sa.Column("digest", Text(), nullable=False),
        sa.Column("seq", Integer(), nullable=False),
        sa.Column("actor", Text(), nullable=False),
        sa.Column("archived_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("range_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_archived_seq", "archived_ranges", ["seq"])
