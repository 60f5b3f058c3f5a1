"""Alerts reach people as messages: grouped, and delivered by each channel on its own."""

import sqlalchemy as sa
from alembic import op

from tradelog.store.types import Flag, Integer, Moment, Text

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("alerts", sa.Column("message_id", Integer))
    op.drop_index("ix_alerts_untold", "alerts")
    # What the command got, or failed to get three times, is no news.
    op.execute("UPDATE alerts SET message_id = 0 WHERE told_at IS NOT NULL OR tell_tries >= 3")
    op.create_index(
        "ix_alerts_unsent",
        "alerts",
        ["alert_id"],
        sqlite_where=sa.text("message_id IS NULL AND acknowledged_at IS NULL"),
    )
    op.create_index(
        "ix_alerts_message", "alerts", ["message_id"], sqlite_where=sa.text("message_id IS NOT NULL")
    )
    op.create_table(
        "alert_groups",
        sa.Column("group_kind", Text(), nullable=False),
        sa.Column("account", Text(), nullable=False),
        sa.Column("is_open", Flag(), nullable=False),
        sa.Column("told_at", Moment(), nullable=False),
        sa.Column("wait_seconds", Integer(), nullable=False),
        sa.PrimaryKeyConstraint("group_kind", "account"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "alert_messages",
        sa.Column("message_id", Integer(), nullable=False),
        sa.Column("reason", Text(), nullable=False),
        sa.Column("group_kind", Text(), nullable=True),
        sa.Column("account", Text(), nullable=True),
        sa.Column("first_alert", Integer(), nullable=True),
        sa.Column("alert_count", Integer(), nullable=False),
        sa.Column("title", Text(), nullable=False),
        sa.Column("body", Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.CheckConstraint("reason IN ('urgent', 'digest', 'repeat', 'resolved')", name="ck_messages_reason"),
        sa.PrimaryKeyConstraint("message_id"),
        sqlite_strict=True,
    )
    op.create_table(
        "alert_deliveries",
        sa.Column("message_id", Integer(), nullable=False),
        sa.Column("channel", Text(), nullable=False),
        sa.Column("tries", Integer(), nullable=False),
        sa.Column("next_at", Moment(), nullable=True),
        sa.Column("delivered_at", Moment(), nullable=True),
        sa.Column("error", Text(), nullable=True),
        sa.PrimaryKeyConstraint("message_id", "channel"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_deliveries_due", "alert_deliveries", ["next_at"], sqlite_where=sa.text("next_at IS NOT NULL")
    )
