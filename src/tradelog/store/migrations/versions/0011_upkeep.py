"""Upkeep: which copy a store was restored from, and the daily maintenance."""

import sqlalchemy as sa
from alembic import op

from tradelog.store.types import Integer, Moment, Text, Written

revision = "0011"
down_revision = "0010"
STANDS = "what was written stands; a correction is a new row"


def upgrade() -> None:
    op.create_table(
        "restores",
        sa.Column("restore_id", Integer(), nullable=False),
        sa.Column("source", Text(), nullable=False),
        sa.Column("copy_seq", Integer(), nullable=False),
        sa.Column("copy_hash", Text(), nullable=False),
        sa.Column("replaced", Text(), nullable=True),
        sa.Column("replaced_seq", Integer(), nullable=True),
        sa.Column("replaced_hash", Text(), nullable=True),
        sa.Column("actor", Text(), nullable=False),
        sa.Column("restored_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("restore_id"),
        sqlite_strict=True,
    )
    op.create_table(
        "maintenance_runs",
        sa.Column("id", Integer(), nullable=False),
        sa.Column("maintenance_id", Text(), nullable=False),
        sa.Column("day", Text(), nullable=False),
        sa.Column("actor", Text(), nullable=False),
        sa.Column("host", Text(), nullable=False),
        sa.Column("pid", Integer(), nullable=False),
        sa.Column("boot_id", Text(), nullable=False),
        sa.Column("started_at", Moment(), nullable=False),
        sa.Column("ended_at", Moment(), nullable=True),
        sa.Column("status", Text(), nullable=False),
        sa.Column("steps", Written(), nullable=False),
        sa.CheckConstraint(
            "status IN ('running', 'completed', 'failed', 'abandoned')", name="ck_maintenance_status"
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("maintenance_id", name="uq_maintenance_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_maintenance_day", "maintenance_runs", ["day"])
    _close("restores", "UPDATE", ("restore_id",))
    _close(
        "maintenance_runs",
        "UPDATE OF id, maintenance_id, day, actor, host, pid, boot_id, started_at",
        ("id", "maintenance_id"),
    )


def _close(table: str, update: str, keys: tuple[str, ...]) -> None:
    for name, action in (("delete", "DELETE"), ("update", update)):
        op.execute(
            f"CREATE TRIGGER {table}_{name} BEFORE {action} ON {table}"
            f" BEGIN SELECT RAISE(ABORT, '{table}: {STANDS}'); END"
        )
    for number, key in enumerate(keys):
        op.execute(
            f"CREATE TRIGGER {table}_replace_{number} BEFORE INSERT ON {table}"
            f" WHEN EXISTS (SELECT 1 FROM {table} WHERE {key} = NEW.{key})"
            f" BEGIN SELECT RAISE(ABORT, '{table}: that row is already written'); END"
        )
