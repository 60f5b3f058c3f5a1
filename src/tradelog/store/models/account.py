"""The account at the broker: orders, fills, activities, positions, breaks, snapshots."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Column, ForeignKey, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from tradelog.domain.status import (
    BreakKind,
)
from tradelog.store.models.base import STRICT, STRICT_KEYED, column, one_of
from tradelog.store.types import Exact, Integer, Moment, Text, Written


class PositionEntry(SQLModel, table=True):
    """Shares that no fill explains: held when the log was opened, or explained by a person. Append-only."""

    __tablename__ = "position_entries"
    __table_args__ = (
        one_of("ck_positions_kind", "kind", ("opening", "adjustment")),
        Index("ix_positions_symbol", "broker", "environment", "account", "symbol"),
        STRICT,
    )
    entry_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    broker: str = column(Text)
    environment: str = column(Text)
    account: str = column(Text)
    symbol: str = column(Text)
    kind: str = column(Text)
    quantity: Decimal = column(Exact)
    reason: str = column(Text)
    actor: str = column(Text)
    recorded_at: datetime = column(Moment)


class Break(SQLModel, table=True):
    """Where the broker's word and our sum differ, from when it was found until it is closed.

    ``subject`` is a symbol for positions, an execution for fills.
    """

    __tablename__ = "breaks"
    __table_args__ = (
        UniqueConstraint("break_id", name="uq_breaks_id"),
        one_of("ck_breaks_kind", "kind", BreakKind),
        Index(
            "uq_breaks_open",
            *("broker", "environment", "account", "kind", "subject"),
            unique=True,
            sqlite_where=text("closed_at IS NULL"),
        ),
        Index("ix_breaks_closed", "closed_at", sqlite_where=text("closed_at IS NOT NULL")),
        STRICT,
    )
    id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    break_id: str = column(Text)
    broker: str = column(Text)
    environment: str = column(Text)
    account: str = column(Text)
    kind: str = column(Text)
    subject: str = column(Text)
    symbol: str = column(Text)
    found_at: datetime = column(Moment)
    expected: Decimal = column(Exact)
    actual: Decimal = column(Exact)
    changed_at: datetime = column(Moment)
    closed_at: datetime | None = column(Moment, null=True)
    closed_why: str | None = column(Text, null=True)
    resolution: str | None = column(Text, null=True)


class ReconcileMark(SQLModel, table=True):
    """How far the reconciliation of an account has come. ``opened_at`` is that of its positions."""

    __tablename__ = "reconcile_marks"
    __table_args__ = (STRICT_KEYED,)
    broker: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    environment: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    account: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    orders_until: datetime | None = column(Moment, null=True)
    fills_until: datetime | None = column(Moment, null=True)
    opened_at: datetime | None = column(Moment, null=True)
    completed_at: datetime | None = column(Moment, null=True)
    activities_until: datetime | None = column(Moment, null=True)


class BrokerAccount(SQLModel, table=True):
    """The account number that the broker first answered for a configured account name."""

    __tablename__ = "broker_accounts"
    __table_args__ = (STRICT_KEYED,)
    broker: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    environment: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    account: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    account_number: str = column(Text)
    bound_at: datetime = column(Moment)


class BrokerSnapshot(SQLModel, table=True):
    """What a decision or a check may look at, fetched outside any claim. Append-only."""

    __tablename__ = "broker_snapshots"
    __table_args__ = (
        one_of("ck_snapshots_kind", "kind", ("account", "position", "quote", "asset", "clock")),
        Index("ix_snapshots_latest", "broker", "environment", "account", "kind", "subject", "snapshot_id"),
        STRICT,
    )
    snapshot_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    broker: str = column(Text)
    environment: str = column(Text)
    account: str = column(Text)
    kind: str = column(Text)
    subject: str = column(Text)
    value: str = column(Written)
    as_of: datetime = column(Moment)


class AlpacaOrder(SQLModel, table=True):
    """The broker's view of an order, ours or not, as it last told it."""

    __tablename__ = "alpaca_orders"
    __table_args__ = (
        Index("ix_orders_client", "client_order_id"),
        Index("ix_orders_decision", "decision_id"),
        STRICT_KEYED,
    )
    broker_order_id: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    client_order_id: str | None = column(Text, null=True)
    broker: str = column(Text)
    environment: str = column(Text)
    account: str = column(Text)
    symbol: str = column(Text)
    status: str = column(Text)
    filled_quantity: Decimal = column(Exact)
    filled_avg_price: Decimal | None = column(Exact, null=True)
    replaces: str | None = column(Text, null=True)
    replaced_by: str | None = column(Text, null=True)
    decision_id: str | None = column(Text, ForeignKey("trade_decisions.decision_id"), null=True)
    execution_id: str | None = column(Text, ForeignKey("trade_executions.execution_id"), null=True)
    raw: str = column(Written)
    first_seen_at: datetime = column(Moment)
    updated_at: datetime = column(Moment)


class OrderEvent(SQLModel, table=True):
    """One change in the broker's view of an order. Append-only."""

    __tablename__ = "order_events"
    __table_args__ = (
        one_of("ck_events_source", "source", ("submit", "lookup", "poll", "reconcile")),
        Index("ix_events_order", "broker_order_id"),
        STRICT,
    )
    event_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    broker_order_id: str = column(Text, ForeignKey("alpaca_orders.broker_order_id"))
    execution_id: str | None = column(Text, ForeignKey("trade_executions.execution_id"), null=True)
    status: str = column(Text)
    filled_quantity: Decimal = column(Exact)
    source: str = column(Text)
    seen_at: datetime = column(Moment)
    call_id: int | None = column(Integer, ForeignKey("broker_calls.call_id"), null=True)


class Fill(SQLModel, table=True):
    """One fill, keyed by the broker's activity id. Append-only."""

    __tablename__ = "fills"
    __table_args__ = (
        one_of("ck_fills_side", "side", ("buy", "sell", "sell_short")),
        Index("ix_fills_execution", "execution_id"),
        Index("ix_fills_order", "broker_order_id"),
        Index(
            "ix_fills_symbol",
            *("symbol", "broker", "environment", "account", "transaction_time", "side", "quantity"),
        ),
        Index("ix_fills_time", "broker", "environment", "account", "transaction_time"),
        STRICT_KEYED,
    )
    fill_id: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    broker_order_id: str = column(Text)
    execution_id: str | None = column(Text, ForeignKey("trade_executions.execution_id"), null=True)
    broker: str = column(Text)
    environment: str = column(Text)
    account: str = column(Text)
    symbol: str = column(Text)
    side: str = column(Text)
    quantity: Decimal = column(Exact)
    price: Decimal = column(Exact)
    price_basis: str = column(Text)
    transaction_time: datetime = column(Moment)
    seen_at: datetime = column(Moment)


class AccountActivity(SQLModel, table=True):
    """What happened to an account beside its orders: a fee, a split, a dividend. Append-only.

    ``kind`` and ``sub_kind`` are the broker's words; ``quantity`` is the change in shares, ``net_amount``
    the change in dollars, each NULL where the broker tells none; ``activity_date`` is the market's day.
    """

    __tablename__ = "account_activities"
    __table_args__ = (
        Index("ix_activities_kind", "broker", "environment", "account", "kind", "activity_date"),
        STRICT_KEYED,
    )
    activity_id: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    broker: str = column(Text)
    environment: str = column(Text)
    account: str = column(Text)
    kind: str = column(Text)
    sub_kind: str | None = column(Text, null=True)
    status: str | None = column(Text, null=True)
    symbol: str | None = column(Text, null=True)
    quantity: Decimal | None = column(Exact, null=True)
    net_amount: Decimal | None = column(Exact, null=True)
    activity_date: str = column(Text)
    raw: str = column(Written)
    seen_at: datetime = column(Moment)
