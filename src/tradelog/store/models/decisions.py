"""What was decided: strategy runs, signals, decisions and their inputs."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from tradelog.domain.status import (
    Approval,
    DecisionStatus,
)
from tradelog.store.models.base import STRICT, STRICT_KEYED, column, one_of
from tradelog.store.types import Exact, Flag, Integer, Moment, Text, Written


class StrategyRun(SQLModel, table=True):
    """One run of a strategy: its code, its parameters and the last journal sequence it could see."""

    __tablename__ = "strategy_runs"
    __table_args__ = (
        UniqueConstraint("strategy_run_id", name="uq_strategy_runs_id"),
        Index("ix_strategy_runs_started", "started_at"),
        STRICT,
    )
    id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    strategy_run_id: str = column(Text)
    strategy_name: str = column(Text)
    strategy_version: str = column(Text)
    code_hash: str = column(Text)
    parameters: str = column(Written)
    as_of: str | None = column(Text, null=True)
    includes_backfill: bool = column(Flag)
    basis: int = column(Integer)
    context: str = column(Written)
    broker: str = column(Text)
    environment: str = column(Text)
    account: str = column(Text)
    started_at: datetime = column(Moment)


class Signal(SQLModel, table=True):
    """Every signal of a strategy, taken or not (with the reason). A taken one is unique by its key."""

    __tablename__ = "signals"
    __table_args__ = (
        UniqueConstraint("signal_id", name="uq_signals_id"),
        Index(
            "uq_signals_taken",
            *("strategy_name", "broker", "environment", "account", "symbol", "side", "episode"),
            unique=True,
            sqlite_where=text("taken = 1"),
        ),
        Index(
            "uq_signals_not_taken",
            *("strategy_name", "broker", "environment", "account", "symbol", "side", "episode", "reason"),
            unique=True,
            sqlite_where=text("taken = 0"),
        ),
        Index("ix_signals_symbol", "symbol", "broker", "environment", "account", "created_at"),
        Index("ix_signals_run", "strategy_run_id"),
        CheckConstraint("taken IN (0, 1)", name="ck_signals_taken"),
        CheckConstraint("taken = 1 OR reason IS NOT NULL", name="ck_signals_reason"),
        STRICT,
    )
    id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    signal_id: str = column(Text)
    strategy_run_id: str = column(Text, ForeignKey("strategy_runs.strategy_run_id"))
    strategy_name: str = column(Text)
    broker: str = column(Text)
    environment: str = column(Text)
    account: str = column(Text)
    symbol: str = column(Text)
    side: str = column(Text)
    episode: str = column(Text)
    taken: bool = column(Flag)
    reason: str | None = column(Text, null=True)
    detail: str = column(Written)
    created_at: datetime = column(Moment)


class TradeDecision(SQLModel, table=True):
    """The outbox: committed with its rationale and its inputs before anything is sent.

    ``adopted`` marks what was recorded after the fact, from an order that somebody else sent.
    ``recorded`` marks what a bot sends itself through the recording client; ``parent`` is the command or the
    decision that it came of. ``held_until`` is the open of the market that it waits for, or has waited for.
    A ``decision_key`` is used once by a strategy and account.
    """

    __tablename__ = "trade_decisions"
    __table_args__ = (
        UniqueConstraint("decision_id", name="uq_decisions_id"),
        Index("uq_decisions_signal", "signal_id", unique=True, sqlite_where=text("signal_id IS NOT NULL")),
        one_of("ck_decisions_status", "status", DecisionStatus),
        one_of("ck_decisions_side", "side", ("buy", "sell")),
        CheckConstraint("(quantity IS NULL) <> (notional IS NULL)", name="ck_decisions_size"),
        Index(
            "ix_decisions_due",
            *("broker", "environment", "account", "id"),
            sqlite_where=text("status = 'pending'"),
        ),
        Index("ix_decisions_executing", "id", sqlite_where=text("status = 'executing'")),
        Index(
            "ix_decisions_waiting",
            *("broker", "environment", "account", "symbol", "id"),
            sqlite_where=text("status = 'pending'"),
        ),
        Index(
            "ix_decisions_expiring",
            "expires_at",
            sqlite_where=text("status = 'pending' AND expires_at IS NOT NULL"),
        ),
        Index("ix_decisions_client", "client_order_id"),
        Index(
            "uq_decisions_key",
            *("strategy_name", "broker", "environment", "account", "decision_key"),
            unique=True,
            sqlite_where=text("decision_key IS NOT NULL"),
        ),
        Index("ix_decisions_recorded", "created_at", sqlite_where=text("recorded = 1")),
        Index("ix_decisions_parent", "parent", sqlite_where=text("parent IS NOT NULL")),
        CheckConstraint("adopted IN (0, 1)", name="ck_decisions_adopted"),
        one_of("ck_decisions_approval", "approval", Approval),
        Index(
            "ix_decisions_failed",
            *("broker", "environment", "account", "failure_code", "failed_at", "strategy_name"),
            sqlite_where=text(
                "failed_at IS NOT NULL AND adopted = 0"
                " AND (status = 'failed' OR failure_code IN ('expired_unsent', 'declined'))"
            ),
        ),
        Index("ix_decisions_symbol", *("symbol", "broker", "environment", "account", "status", "created_at")),
        STRICT,
    )
    id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    decision_id: str = column(Text)
    signal_id: str | None = column(Text, ForeignKey("signals.signal_id"), null=True)
    strategy_name: str = column(Text)
    strategy_version: str | None = column(Text, null=True)
    actor: str = column(Text)
    broker: str = column(Text)
    environment: str = column(Text)
    account: str = column(Text)
    symbol: str = column(Text)
    side: str = column(Text)
    quantity: Decimal | None = column(Exact, null=True)
    notional: Decimal | None = column(Exact, null=True)
    order_type: str = column(Text)
    limit_price: Decimal | None = column(Exact, null=True)
    stop_price: Decimal | None = column(Exact, null=True)
    time_in_force: str = column(Text)
    extended_hours: bool = column(Flag)
    decision_rationale: str = column(Written)
    basis: int = column(Integer)
    decision_hash: str = column(Text)
    client_order_id: str = column(Text)
    expires_at: datetime | None = column(Moment, null=True)
    created_at: datetime = column(Moment)
    status: str = column(Text)
    failure_code: str | None = column(Text, null=True)
    failure_message: str | None = column(Text, null=True)
    needs_attention: str | None = column(Text, null=True)
    retry_count: int = column(Integer)
    next_attempt_at: datetime | None = column(Moment, null=True)
    executed_at: datetime | None = column(Moment, null=True)
    failed_at: datetime | None = column(Moment, null=True)
    lease_owner: str | None = column(Text, null=True)
    lease_token: int = column(Integer)
    lease_until: datetime | None = column(Moment, null=True)
    adopted: bool = column(Flag, server_default=text("0"))
    trail_price: Decimal | None = column(Exact, null=True)
    trail_percent: Decimal | None = column(Exact, null=True)
    approval: str | None = column(Text, null=True)
    approval_at: datetime | None = column(Moment, null=True)
    approval_by: str | None = column(Text, null=True)
    held_until: datetime | None = column(Moment, null=True)
    decision_key: str | None = column(Text, null=True)
    recorded: bool = column(Flag, server_default=text("0"))
    parent: str | None = column(Text, null=True)


class DecisionInput(SQLModel, table=True):
    """Exactly which record versions a decision used."""

    __tablename__ = "decision_inputs"
    __table_args__ = (Index("ix_inputs_version", "version_id"), STRICT_KEYED)
    # The number, not the name: rows of one decision then lie side by side at the end of the table.
    decision: int = Field(
        default=None,
        sa_column=Column(Integer, ForeignKey("trade_decisions.id"), primary_key=True),
    )
    version_id: int = Field(
        default=None,
        sa_column=Column(Integer, ForeignKey("record_versions.version_id"), primary_key=True),
    )
