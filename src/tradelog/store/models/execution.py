"""What was submitted: attempts, requests, controls, checks, exchanges with the broker."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Column, ForeignKey, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from tradelog.domain.status import (
    AttemptStatus,
    CommandKind,
    CommandStatus,
    ControlScope,
    RequestKind,
    RequestStatus,
)
from tradelog.store.models.base import STRICT, column, one_of
from tradelog.store.types import Exact, Flag, Integer, Moment, Text, Written


class TradeExecution(SQLModel, table=True):
    """One attempt to have the order at the broker.

    ``replaces`` is the execution whose order this one replaces; the terms at the end are those that a
    replacement asks for, NULL where the decision's stand. ``fills_quantity`` is the sum of its fills,
    ``order_value`` the dollars that it counted for against the limits when it was claimed. ``resent_at`` is
    when the same id was last to be sent once more.
    """

    __tablename__ = "trade_executions"
    __table_args__ = (
        UniqueConstraint("execution_id", name="uq_executions_id"),
        UniqueConstraint("decision_id", "attempt_number", name="uq_executions_attempt"),
        one_of("ck_executions_status", "status", AttemptStatus),
        Index(
            "ix_executions_unsettled",
            *("broker", "environment", "account", "symbol"),
            sqlite_where=text("status IN ('sending', 'unknown')"),
        ),
        Index(
            "ix_executions_open",
            *("broker", "environment", "account"),
            sqlite_where=text("status IN ('accepted', 'partially_filled')"),
        ),
        Index(
            "ix_executions_owed",
            *("broker", "environment", "account"),
            sqlite_where=text("filled_quantity <> fills_quantity"),
        ),
        Index("ix_executions_client", "client_order_id"),
        Index("ix_executions_started", "started_at"),
        Index("ix_executions_resent", "resent_at", sqlite_where=text("resent_at IS NOT NULL")),
        STRICT,
    )
    id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    execution_id: str = column(Text)
    decision_id: str = column(Text, ForeignKey("trade_decisions.decision_id"))
    attempt_number: int = column(Integer)
    client_order_id: str = column(Text)
    broker: str = column(Text)
    environment: str = column(Text)
    account: str = column(Text)
    symbol: str = column(Text)
    status: str = column(Text)
    broker_status: str | None = column(Text, null=True)
    alpaca_order_id: str | None = column(Text, null=True)
    failure_code: str | None = column(Text, null=True)
    error_message: str | None = column(Text, null=True)
    error_details: str | None = column(Written, null=True)
    filled_quantity: Decimal = column(Exact)
    filled_avg_price: Decimal | None = column(Exact, null=True)
    commission: Decimal | None = column(Exact, null=True)
    replaces: str | None = column(Text, null=True)
    started_at: datetime = column(Moment)
    submitted_at: datetime | None = column(Moment, null=True)
    filled_at: datetime | None = column(Moment, null=True)
    rejected_at: datetime | None = column(Moment, null=True)
    quantity: Decimal | None = column(Exact, null=True)
    limit_price: Decimal | None = column(Exact, null=True)
    stop_price: Decimal | None = column(Exact, null=True)
    time_in_force: str | None = column(Text, null=True)
    fills_quantity: Decimal = column(Exact, server_default=text("'0'"))
    order_value: Decimal | None = column(Exact, null=True)
    resent_at: datetime | None = column(Moment, null=True)


class OrderRequest(SQLModel, table=True):
    """A cancel or a replace that somebody asked for: committed before it is sent.

    ``terms`` is JSON of what a replace changes; ``execution_id`` the attempt that it made.
    """

    __tablename__ = "order_requests"
    __table_args__ = (
        UniqueConstraint("request_id", name="uq_requests_id"),
        one_of("ck_requests_kind", "kind", RequestKind),
        one_of("ck_requests_status", "status", RequestStatus),
        Index("ix_requests_decision", "decision_id"),
        Index(
            "ix_requests_refused",
            "ended_at",
            sqlite_where=text("kind = 'replace' AND status = 'refused'"),
        ),
        Index(
            "uq_requests_open", *("decision_id", "kind"), unique=True, sqlite_where=text("ended_at IS NULL")
        ),
        STRICT,
    )
    id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    request_id: str = column(Text)
    kind: str = column(Text)
    decision_id: str = column(Text, ForeignKey("trade_decisions.decision_id"))
    terms: str = column(Written)
    reason: str | None = column(Text, null=True)
    actor: str = column(Text)
    created_at: datetime = column(Moment)
    execution_id: str | None = column(Text, ForeignKey("trade_executions.execution_id"), null=True)
    status: str = column(Text)
    message: str | None = column(Text, null=True)
    tries: int = column(Integer)
    next_attempt_at: datetime | None = column(Moment, null=True)
    ended_at: datetime | None = column(Moment, null=True)
    refused_by: str | None = column(Text, null=True)


class ControlEvent(SQLModel, table=True):
    """What a person decided, and why: an outcome, a halt, a limit, an approval. Append-only.

    A limit's ``new_value`` counts instead of the configured one until ``until``.
    """

    __tablename__ = "control_events"
    __table_args__ = (
        Index("ix_controls_subject", "subject"),
        Index("ix_controls_until", "until", sqlite_where=text("until IS NOT NULL")),
        STRICT,
    )
    event_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    kind: str = column(Text)
    subject: str = column(Text)
    actor: str = column(Text)
    reason: str = column(Text)
    old_value: str | None = column(Text, null=True)
    new_value: str | None = column(Text, null=True)
    created_at: datetime = column(Moment)
    broker: str | None = column(Text, null=True)
    environment: str | None = column(Text, null=True)
    account: str | None = column(Text, null=True)
    until: datetime | None = column(Moment, null=True)


class Halt(SQLModel, table=True):
    """While it has no end, nothing of its scope is sent.

    ``subject`` is a strategy, a symbol, or empty for everything; an empty account is every account.
    """

    __tablename__ = "halts"
    __table_args__ = (
        one_of("ck_halts_scope", "scope", ControlScope),
        Index(
            "uq_halts_open",
            *("broker", "environment", "account", "scope", "subject"),
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
        ),
        STRICT,
    )
    halt_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    broker: str = column(Text)
    environment: str = column(Text)
    account: str = column(Text)
    scope: str = column(Text)
    subject: str = column(Text)
    actor: str = column(Text)
    reason: str = column(Text)
    created_at: datetime = column(Moment)
    ended_at: datetime | None = column(Moment, null=True)
    ended_by: str | None = column(Text, null=True)
    ended_why: str | None = column(Text, null=True)


class RiskCheck(SQLModel, table=True):
    """What the limits said of a decision right before it was sent, or was not. Append-only.

    ``checks`` is JSON: each check with the value observed, the limit and whether it passed.
    """

    __tablename__ = "risk_checks"
    __table_args__ = (
        one_of("ck_checks_verdict", "verdict", ("passed", "failed", "held")),
        Index("ix_checks_decision", "decision_id"),
        Index("ix_checks_failed", "checked_at", sqlite_where=text("verdict = 'failed'")),
        STRICT,
    )
    check_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    decision_id: str = column(Text, ForeignKey("trade_decisions.decision_id"))
    client_order_id: str = column(Text)
    verdict: str = column(Text)
    code: str | None = column(Text, null=True)
    checks: str = column(Written)
    checked_at: datetime = column(Moment)


class BrokerCall(SQLModel, table=True):
    """An HTTP exchange with the broker, as on the wire. Append-only.

    ``left_host`` is whether the request may have left this machine, ``proves`` what the response proves.
    """

    __tablename__ = "broker_calls"
    __table_args__ = (
        Index("ix_calls_execution", "execution_id"),
        Index("ix_calls_started", "started_at"),
        Index("ix_calls_command", "command_id", sqlite_where=text("command_id IS NOT NULL")),
        STRICT,
    )
    call_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    execution_id: str | None = column(Text, ForeignKey("trade_executions.execution_id"), null=True)
    purpose: str = column(Text)
    method: str = column(Text)
    url: str = column(Text)
    request_body: str | None = column(Written, null=True)
    status: int | None = column(Integer, null=True)
    response_headers: str | None = column(Written, null=True)
    response_body: str | None = column(Written, null=True)
    body_encoding: str = column(Text)
    error: str | None = column(Text, null=True)
    started_at: datetime = column(Moment)
    ended_at: datetime = column(Moment)
    left_host: bool | None = column(Flag, null=True)
    proves: str | None = column(Text, null=True)
    command_id: str | None = column(Text, null=True)


class ClientCommand(SQLModel, table=True):
    """What a bot asked of the broker through the recording client that is no simple order.

    ``target`` is the order or the symbol that it is about; orders that came of it name it as ``parent``.
    """

    __tablename__ = "client_commands"
    __table_args__ = (
        UniqueConstraint("command_id", name="uq_commands_id"),
        one_of("ck_commands_kind", "kind", CommandKind),
        one_of("ck_commands_status", "status", CommandStatus),
        Index("ix_commands_started", *("broker", "environment", "account", "started_at")),
        Index("ix_commands_target", "target"),
        STRICT,
    )
    id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    command_id: str = column(Text)
    broker: str = column(Text)
    environment: str = column(Text)
    account: str = column(Text)
    strategy_name: str = column(Text)
    kind: str = column(Text)
    target: str | None = column(Text, null=True)
    method: str = column(Text)
    path: str = column(Text)
    request: str | None = column(Written, null=True)
    reason: str = column(Written)
    actor: str = column(Text)
    started_at: datetime = column(Moment)
    status: str = column(Text)
    message: str | None = column(Text, null=True)
    ended_at: datetime | None = column(Moment, null=True)
