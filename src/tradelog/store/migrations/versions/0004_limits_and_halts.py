"""Control before the order: halts, what the limits said, approvals, trailing stops."""

import sqlalchemy as sa
from alembic import op

from tradelog.store.types import Exact, Integer, Moment, Text, Written

revision = "0004"
down_revision = "0003"

ACCOUNT = ("broker", "environment", "account")


def upgrade() -> None:
    add_columns()
    create_tables()
    add_indexes()
    op.execute(
        "CREATE TRIGGER risk_checks_update BEFORE UPDATE ON risk_checks BEGIN SELECT"
        " RAISE(ABORT, 'risk_checks: what was written stands; a correction is a new row'); END"
    )
    close_table("risk_checks", "check_id")
    close_columns(
        "halts", "intent", "halt_id broker environment account scope subject actor reason created_at"
    )
    close_table("halts", "halt_id")
    same = " AND ".join(f"{name} = NEW.{name}" for name in (*ACCOUNT, "scope", "subject"))
    forbid_replace("halts", "open", f"{same} AND ended_at IS NULL AND NEW.ended_at IS NULL")
    close_columns("trade_decisions", "trail", "trail_price trail_percent")
    close_columns("trade_executions", "value", "order_value")


def add_columns() -> None:
    for name in ("trail_price", "trail_percent"):
        op.add_column("trade_decisions", sa.Column(name, Exact(), nullable=True))
    op.execute(
        "ALTER TABLE trade_decisions ADD COLUMN approval TEXT"
        " CONSTRAINT ck_decisions_approval CHECK (approval IN ('approved', 'declined'))"
    )
    op.add_column("trade_decisions", sa.Column("approval_at", Moment(), nullable=True))
    op.add_column("trade_decisions", sa.Column("approval_by", Text(), nullable=True))
    op.add_column("trade_decisions", sa.Column("held_until", Moment(), nullable=True))
    op.add_column("trade_executions", sa.Column("order_value", Exact(), nullable=True))
    op.add_column("trade_executions", sa.Column("resent_at", Moment(), nullable=True))
    for name in ACCOUNT:
        op.add_column("control_events", sa.Column(name, Text(), nullable=True))
    op.add_column("control_events", sa.Column("until", Moment(), nullable=True))


def create_tables() -> None:
    op.create_table(
        "halts",
        sa.Column("halt_id", Integer(), nullable=False),
        *(sa.Column(name, Text(), nullable=False) for name in (*ACCOUNT, "scope", "subject", "actor")),
        sa.Column("reason", Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("ended_at", Moment(), nullable=True),
        sa.Column("ended_by", Text(), nullable=True),
        sa.Column("ended_why", Text(), nullable=True),
        sa.CheckConstraint("scope IN ('all', 'strategy', 'symbol')", name="ck_halts_scope"),
        sa.PrimaryKeyConstraint("halt_id"),
        sqlite_strict=True,
    )
    op.create_table(
        "risk_checks",
        sa.Column("check_id", Integer(), nullable=False),
        sa.Column("decision_id", Text(), nullable=False),
        sa.Column("client_order_id", Text(), nullable=False),
        sa.Column("verdict", Text(), nullable=False),
        sa.Column("code", Text(), nullable=True),
        sa.Column("checks", Written(), nullable=False),
        sa.Column("checked_at", Moment(), nullable=False),
        sa.CheckConstraint("verdict IN ('passed', 'failed', 'held')", name="ck_checks_verdict"),
        sa.ForeignKeyConstraint(["decision_id"], ["trade_decisions.decision_id"]),
        sa.PrimaryKeyConstraint("check_id"),
        sqlite_strict=True,
    )


def add_indexes() -> None:
    # Times alone: led by the account, an index would be taken for every question about the account.
    for name, table, columns, where, unique in (
        ("uq_halts_open", "halts", [*ACCOUNT, "scope", "subject"], "ended_at IS NULL", True),
        ("ix_checks_decision", "risk_checks", ["decision_id"], None, False),
        ("ix_controls_until", "control_events", ["until"], "until IS NOT NULL", False),
        ("ix_executions_started", "trade_executions", ["started_at"], None, False),
        ("ix_checks_failed", "risk_checks", ["checked_at"], "verdict = 'failed'", False),
        ("ix_executions_resent", "trade_executions", ["resent_at"], "resent_at IS NOT NULL", False),
        ("ix_decisions_failed", "trade_decisions", [*ACCOUNT, "failed_at"], "failed_at IS NOT NULL", False),
    ):
        found = None if where is None else sa.text(where)
        op.create_index(name, table, columns, unique=unique, sqlite_where=found)


def close_columns(table: str, name: str, columns: str) -> None:
    listed = ", ".join(columns.split())
    op.execute(
        f"CREATE TRIGGER {table}_{name} BEFORE UPDATE OF {listed} ON {table} BEGIN SELECT"
        f" RAISE(ABORT, '{table}: what was meant stands; a correction is a new row'); END"
    )


def close_table(table: str, key: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_delete BEFORE DELETE ON {table} BEGIN SELECT"
        f" RAISE(ABORT, '{table}: what was written stands; a correction is a new row'); END"
    )
    forbid_replace(table, "0", f"{key} = NEW.{key}")


def forbid_replace(table: str, name: str, same: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_replace_{name} BEFORE INSERT ON {table}"
        f" WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})"
        f" BEGIN SELECT RAISE(ABORT, '{table}: that row is already written'); END"
    )
