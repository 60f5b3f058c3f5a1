"""Alerts, and the messages that bring them to people."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, Index, text
from sqlmodel import Field, SQLModel

from tradelog.domain.status import MessageReason
from tradelog.store.models.base import STRICT, STRICT_KEYED, column, one_of
from tradelog.store.types import Flag, Integer, Moment, Text


class Alert(SQLModel, table=True):
    """Something a person must look at; one row a subject until it is acknowledged."""

    __tablename__ = "alerts"
    __table_args__ = (
        Index(
            "uq_alerts_open",
            *("kind", "subject"),
            unique=True,
            sqlite_where=text("acknowledged_at IS NULL"),
        ),
        Index("ix_alerts_created", "created_at"),
        Index("ix_alerts_subject", "subject"),
        Index(
            "ix_alerts_unsent",
            "alert_id",
            sqlite_where=text("message_id IS NULL AND acknowledged_at IS NULL"),
        ),
        Index("ix_alerts_message", "message_id", sqlite_where=text("message_id IS NOT NULL")),
        STRICT,
    )
    alert_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    kind: str = column(Text)
    subject: str = column(Text)
    message: str = column(Text)
    created_at: datetime = column(Moment)
    acknowledged_at: datetime | None = column(Moment, null=True)
    acknowledged_by: str | None = column(Text, null=True)
    # Of its delivery: the store's own bookkeeping, which no digest covers.
    told_at: datetime | None = column(Moment, null=True)
    tell_tries: int = column(Integer, server_default=text("0"))
    tell_error: str | None = column(Text, null=True)
    message_id: int | None = column(Integer, null=True)


class AlertGroup(SQLModel, table=True):
    """The urgent alerts of a kind and an account, from the first message until the one that says resolved."""

    __tablename__ = "alert_groups"
    __table_args__ = (STRICT_KEYED,)
    group_kind: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    account: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    is_open: bool = column(Flag)
    told_at: datetime = column(Moment)
    wait_seconds: int = column(Integer)


class AlertMessage(SQLModel, table=True):
    """What people are told of: several alerts in one text."""

    __tablename__ = "alert_messages"
    __table_args__ = (one_of("ck_messages_reason", "reason", MessageReason), STRICT)
    message_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    reason: str = column(Text)
    group_kind: str | None = column(Text, null=True)
    account: str | None = column(Text, null=True)
    first_alert: int | None = column(Integer, null=True)
    alert_count: int = column(Integer)
    title: str = column(Text)
    body: str = column(Text)
    created_at: datetime = column(Moment)


class AlertDelivery(SQLModel, table=True):
    """A message on its way through one channel: tried again at ``next_at``, delivered, or given up."""

    __tablename__ = "alert_deliveries"
    __table_args__ = (
        Index("ix_deliveries_due", "next_at", sqlite_where=text("next_at IS NOT NULL")),
        STRICT_KEYED,
    )
    message_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    channel: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    tries: int = column(Integer)
    next_at: datetime | None = column(Moment, null=True)
    delivered_at: datetime | None = column(Moment, null=True)
    error: str | None = column(Text, null=True)
