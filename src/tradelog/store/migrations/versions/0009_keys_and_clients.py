"""Keys of decisions, and what a recording client sends: its orders, its commands, and which came of which."""

import sqlalchemy as sa
from alembic import op

from tradelog.store.types import Flag, Integer, Moment, Text, Written

revision = "0009"
down_revision = "0008"

KEY = ("strategy_name", "broker", "environment", "account", "decision_key")
INTENT = (
    "command_id, broker, environment, account, strategy_name, kind, target, method, path, request, reason,"
    " actor, started_at"
)
STANDS = "what was meant stands; a correction is a new row"


def upgrade() -> None:
    op.add_column("trade_decisions", sa.Column("decision_key", Text))
    op.add_column("trade_decisions", sa.Column("recorded", Flag, nullable=False, server_default="0"))
    op.add_column("trade_decisions", sa.Column("parent", Text))
    op.add_column("broker_calls", sa.Column("command_id", Text))
    op.create_index(
        "uq_decisions_key",
        "trade_decisions",
        list(KEY),
        unique=True,
        sqlite_where=sa.text("decision_key IS NOT NULL"),
    )
    op.create_index(
        "ix_decisions_parent", "trade_decisions", ["parent"], sqlite_where=sa.text("parent IS NOT NULL")
    )
    op.create_index(
        "ix_decisions_recorded", "trade_decisions", ["created_at"], sqlite_where=sa.text("recorded = 1")
    )
    op.create_index(
        "ix_calls_command", "broker_calls", ["command_id"], sqlite_where=sa.text("command_id IS NOT NULL")
    )
    forbid("trade_decisions", "client", "UPDATE OF decision_key, recorded, parent", STANDS)
    same = " AND ".join(f"{name} = NEW.{name}" for name in KEY)
    forbid_replace("trade_decisions", "key", same)
    op.create_table(
        "client_commands",
        sa.Column("id", Integer(), nullable=False),
        sa.Column("command_id", Text(), nullable=False),
        sa.Column("broker", Text(), nullable=False),
        sa.Column("environment", Text(), nullable=False),
        sa.Column("account", Text(), nullable=False),
        sa.Column("strategy_name", Text(), nullable=False),
        sa.Column("kind", Text(), nullable=False),
        sa.Column("target", Text(), nullable=True),
        sa.Column("method", Text(), nullable=False),
        sa.Column("path", Text(), nullable=False),
        sa.Column("request", Written(), nullable=True),
        sa.Column("reason", Written(), nullable=False),
        sa.Column("actor", Text(), nullable=False),
        sa.Column("started_at", Moment(), nullable=False),
        sa.Column("status", Text(), nullable=False),
        sa.Column("message", Text(), nullable=True),
        sa.Column("ended_at", Moment(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('order', 'replace', 'cancel', 'cancel_all', 'close', 'close_all', 'exercise')",
            name="ck_commands_kind",
        ),
        sa.CheckConstraint(
            "status IN ('sending', 'done', 'refused', 'not_sent', 'unknown')", name="ck_commands_status"
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("command_id", name="uq_commands_id"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_commands_started", "client_commands", ["broker", "environment", "account", "started_at"]
    )
    op.create_index("ix_commands_target", "client_commands", ["target"])
    forbid("client_commands", "delete", "DELETE", "what was written stands; a correction is a new row")
    forbid("client_commands", "intent", f"UPDATE OF {INTENT}", STANDS)
    for number, key in enumerate(("id", "command_id")):
        forbid_replace("client_commands", str(number), f"{key} = NEW.{key}")


def forbid(table: str, name: str, action: str, why: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_{name} BEFORE {action} ON {table}"
        f" BEGIN SELECT RAISE(ABORT, '{table}: {why}'); END"
    )


def forbid_replace(table: str, name: str, same: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_replace_{name} BEFORE INSERT ON {table}"
        f" WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})"
        f" BEGIN SELECT RAISE(ABORT, '{table}: that row is already written'); END"
    )
