"""Cancel, replace and reconcile: requests, positions, breaks, and what a person decided about them."""

from decimal import Decimal

import sqlalchemy as sa
from alembic import op

from tradelog.domain.money import to_text
from tradelog.store.types import Exact, Integer, Moment, Text, Written

revision = "0003"
down_revision = "0002"

# As in 0001: rows that are written once, by the keys that INSERT OR REPLACE could overwrite one with.
APPEND_ONLY = {"control_events": ["event_id"], "position_entries": ["entry_id"]}
# Rows whose state moves on: their keys, and the columns that never change.
INTENT = {
    "order_requests": (
        ["id", "request_id"],
        "id request_id kind decision_id terms reason actor created_at",
    ),
    "breaks": (["id", "break_id"], "id break_id broker environment account kind subject symbol found_at"),
}
# Columns that are new in a table whose other columns 0001 has closed.
CLOSED = {
    "trade_decisions": "adopted",
    "trade_executions": "quantity limit_price stop_price time_in_force",
}
ACCOUNT = ("broker", "environment", "account")


def upgrade() -> None:
    add_columns()
    create_tables()
    for table, keys in APPEND_ONLY.items():
        op.execute(
            f"CREATE TRIGGER {table}_update BEFORE UPDATE ON {table} BEGIN SELECT"
            f" RAISE(ABORT, '{table}: what was written stands; a correction is a new row'); END"
        )
        close_table(table, keys)
    for table, (keys, columns) in INTENT.items():
        close_columns(table, "intent", columns)
        close_table(table, keys)
    for table, columns in CLOSED.items():
        close_columns(table, "terms", columns)
    for table, key in (
        ("order_requests", "decision_id kind ended_at"),
        ("breaks", "broker environment account kind subject closed_at"),
    ):
        *same, ended = key.split()
        forbid_replace(
            table,
            "open",
            " AND ".join(f"{name} = NEW.{name}" for name in same)
            + f" AND {ended} IS NULL AND NEW.{ended} IS NULL",
        )
    sum_fills()


def add_columns() -> None:
    op.execute(
        "ALTER TABLE trade_decisions ADD COLUMN adopted INTEGER NOT NULL DEFAULT 0"
        " CONSTRAINT ck_decisions_adopted CHECK (adopted IN (0, 1))"
    )
    for name in ("quantity", "limit_price", "stop_price"):
        op.add_column("trade_executions", sa.Column(name, Exact(), nullable=True))
    op.add_column("trade_executions", sa.Column("time_in_force", Text(), nullable=True))
    op.add_column(
        "trade_executions", sa.Column("fills_quantity", Exact(), server_default="0", nullable=False)
    )
    op.execute("ALTER TABLE order_events ADD COLUMN call_id INTEGER REFERENCES broker_calls (call_id)")
    op.add_column("alerts", sa.Column("told_at", Moment(), nullable=True))
    op.add_column("alerts", sa.Column("tell_tries", Integer(), server_default="0", nullable=False))
    op.add_column("alerts", sa.Column("tell_error", Text(), nullable=True))
    op.add_column("workers", sa.Column("role", Text(), server_default="worker", nullable=False))
    op.add_column("workers", sa.Column("quiet_calls", Integer(), server_default="0", nullable=False))
    for name, table, columns, where in (
        ("ix_decisions_waiting", "trade_decisions", [*ACCOUNT, "symbol", "id"], "status = 'pending'"),
        (
            "ix_decisions_expiring",
            "trade_decisions",
            ["expires_at"],
            "status = 'pending' AND expires_at IS NOT NULL",
        ),
        ("ix_decisions_client", "trade_decisions", ["client_order_id"], None),
        ("ix_executions_owed", "trade_executions", [*ACCOUNT], "filled_quantity <> fills_quantity"),
        ("ix_executions_client", "trade_executions", ["client_order_id"], None),
        ("ix_fills_order", "fills", ["broker_order_id"], None),
        ("ix_alerts_untold", "alerts", ["alert_id"], "told_at IS NULL AND acknowledged_at IS NULL"),
    ):
        op.create_index(name, table, columns, sqlite_where=None if where is None else sa.text(where))


def create_tables() -> None:
    op.create_table(
        "order_requests",
        sa.Column("id", Integer(), nullable=False),
        sa.Column("request_id", Text(), nullable=False),
        sa.Column("kind", Text(), nullable=False),
        sa.Column("decision_id", Text(), nullable=False),
        sa.Column("terms", Written(), nullable=False),
        sa.Column("reason", Text(), nullable=True),
        sa.Column("actor", Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("execution_id", Text(), nullable=True),
        sa.Column("status", Text(), nullable=False),
        sa.Column("message", Text(), nullable=True),
        sa.Column("tries", Integer(), nullable=False),
        sa.Column("next_attempt_at", Moment(), nullable=True),
        sa.Column("ended_at", Moment(), nullable=True),
        sa.CheckConstraint("kind IN ('cancel', 'replace')", name="ck_requests_kind"),
        sa.CheckConstraint(
            "status IN ('pending', 'sending', 'sent', 'done', 'refused', 'overtaken')",
            name="ck_requests_status",
        ),
        sa.ForeignKeyConstraint(["decision_id"], ["trade_decisions.decision_id"]),
        sa.ForeignKeyConstraint(["execution_id"], ["trade_executions.execution_id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("request_id", name="uq_requests_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_requests_decision", "order_requests", ["decision_id"])
    op.create_index(
        "uq_requests_open",
        "order_requests",
        ["decision_id", "kind"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "control_events",
        sa.Column("event_id", Integer(), nullable=False),
        sa.Column("kind", Text(), nullable=False),
        sa.Column("subject", Text(), nullable=False),
        sa.Column("actor", Text(), nullable=False),
        sa.Column("reason", Text(), nullable=False),
        sa.Column("old_value", Text(), nullable=True),
        sa.Column("new_value", Text(), nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_controls_subject", "control_events", ["subject"])
    op.create_table(
        "position_entries",
        sa.Column("entry_id", Integer(), nullable=False),
        *(sa.Column(name, Text(), nullable=False) for name in (*ACCOUNT, "symbol", "kind")),
        sa.Column("quantity", Exact(), nullable=False),
        sa.Column("reason", Text(), nullable=False),
        sa.Column("actor", Text(), nullable=False),
        sa.Column("recorded_at", Moment(), nullable=False),
        sa.CheckConstraint("kind IN ('opening', 'adjustment')", name="ck_positions_kind"),
        sa.PrimaryKeyConstraint("entry_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_positions_symbol", "position_entries", [*ACCOUNT, "symbol"])
    op.create_table(
        "breaks",
        sa.Column("id", Integer(), nullable=False),
        *(
            sa.Column(name, Text(), nullable=False)
            for name in ("break_id", *ACCOUNT, "kind", "subject", "symbol")
        ),
        sa.Column("found_at", Moment(), nullable=False),
        sa.Column("expected", Exact(), nullable=False),
        sa.Column("actual", Exact(), nullable=False),
        sa.Column("changed_at", Moment(), nullable=False),
        sa.Column("closed_at", Moment(), nullable=True),
        sa.Column("closed_why", Text(), nullable=True),
        sa.CheckConstraint("kind IN ('position', 'fills')", name="ck_breaks_kind"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("break_id", name="uq_breaks_id"),
        sqlite_strict=True,
    )
    op.create_index(
        "uq_breaks_open",
        "breaks",
        [*ACCOUNT, "kind", "subject"],
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "reconcile_marks",
        *(sa.Column(name, Text(), nullable=False) for name in ACCOUNT),
        *(
            sa.Column(name, Moment(), nullable=True)
            for name in ("orders_until", "fills_until", "opened_at", "completed_at")
        ),
        sa.PrimaryKeyConstraint(*ACCOUNT),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def close_columns(table: str, name: str, columns: str) -> None:
    listed = ", ".join(columns.split())
    op.execute(
        f"CREATE TRIGGER {table}_{name} BEFORE UPDATE OF {listed} ON {table} BEGIN SELECT"
        f" RAISE(ABORT, '{table}: what was meant stands; a correction is a new row'); END"
    )


def close_table(table: str, keys: list[str]) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_delete BEFORE DELETE ON {table} BEGIN SELECT"
        f" RAISE(ABORT, '{table}: what was written stands; a correction is a new row'); END"
    )
    for number, key in enumerate(keys):
        forbid_replace(table, str(number), f"{key} = NEW.{key}")


def forbid_replace(table: str, name: str, same: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_replace_{name} BEFORE INSERT ON {table}"
        f" WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})"
        f" BEGIN SELECT RAISE(ABORT, '{table}: that row is already written'); END"
    )


def sum_fills() -> None:
    """The new sum of each execution's fills, exact: SQL would add them as floats."""
    connection = op.get_bind()
    totals: dict[str, Decimal] = {}
    for execution_id, quantity in connection.exec_driver_sql(
        "SELECT execution_id, quantity FROM fills WHERE execution_id IS NOT NULL"
    ):
        totals[execution_id] = totals.get(execution_id, Decimal(0)) + Decimal(quantity)
    for execution_id, total in totals.items():
        connection.exec_driver_sql(
            "UPDATE trade_executions SET fills_quantity = ? WHERE execution_id = ?",
            (to_text(total), execution_id),
        )
