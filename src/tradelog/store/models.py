"""The schema in one place, as SQLModel tables.

Writing goes through `store.writer` and reading through `store.reader`, both on plain SQL:
an ORM session costs more than the durable commit it wraps, and importing one more than a
report. These classes are what migrations are made from, and serve library users who want to
query the store with SQLModel.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from tradelog.domain.status import (
    Approval,
    AttemptStatus,
    BreakKind,
    ControlScope,
    DecisionStatus,
    RequestKind,
    RequestStatus,
    RunStatus,
)
from tradelog.store.types import Bytes, Exact, Flag, Integer, Moment, Text, Written


def _in(name: str, column: str, values: Iterable[str]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=name)


def _col(type_: Any, *args: Any, null: bool = False, **kw: Any) -> Any:
    return Field(default=None, sa_column=Column(type_, *args, nullable=null, **kw))


STRICT = {"sqlite_strict": True}
STRICT_KEYED = {"sqlite_strict": True, "sqlite_with_rowid": False}


class IngestionRun(SQLModel, table=True):
    """One fetch. The row is committed before the first byte is read."""

    __tablename__ = "data_ingestion_runs"
    __table_args__ = (
        UniqueConstraint("run_id", name="uq_runs_run_id"),
        _in("ck_runs_status", "status", RunStatus),
        Index("ix_runs_started", "started_at"),
        Index("ix_runs_task", "task_name", "started_at"),
        Index("ix_runs_source", "data_source", "started_at"),
        Index("ix_runs_running", "id", sqlite_where=text("status = 'running'")),
        Index("ix_runs_unfinished", "id", sqlite_where=text("status <> 'completed'")),
        STRICT,
    )
    id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    run_id: str = _col(Text)
    task_name: str = _col(Text)
    data_source: str = _col(Text)
    actor: str = _col(Text)
    host: str = _col(Text)
    pid: int = _col(Integer)
    boot_id: str = _col(Text)
    heartbeat_at: datetime = _col(Moment)
    started_at: datetime = _col(Moment)
    completed_at: datetime | None = _col(Moment, null=True)
    failed_at: datetime | None = _col(Moment, null=True)
    status: str = _col(Text)
    params: str = _col(Written)
    data_date_start: str | None = _col(Text, null=True)
    data_date_end: str | None = _col(Text, null=True)
    records_fetched: int = _col(Integer)
    records_created: int = _col(Integer)
    records_updated: int = _col(Integer)
    records_skipped: int = _col(Integer)
    records_quarantined: int = _col(Integer)
    records_gone: int = _col(Integer)
    api_calls: str = _col(Written)
    unchanged_ids: bytes | None = _col(Bytes, null=True)
    error_message: str | None = _col(Text, null=True)
    error_details: str | None = _col(Written, null=True)


class SourceRecord(SQLModel, table=True):
    """The identity of a thing that a feed reports; the n-th of equals has occurrence n."""

    __tablename__ = "source_records"
    __table_args__ = (
        UniqueConstraint("feed", "kind", "identity", "occurrence", name="uq_records_identity"),
        CheckConstraint("occurrence >= 1", name="ck_records_occurrence"),
        STRICT,
    )
    record_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    feed: str = _col(Text)
    kind: str = _col(Text)
    identity: bytes = _col(Bytes)
    occurrence: int = _col(Integer)


class RecordVersion(SQLModel, table=True):
    """What the feed said about a record, each time it changed. Append-only.

    ``document`` is the source's own id of the filing (DocID, report id, accession). A filing is found
    by its amendments under ``reference``; an amendment says the same text in ``amends``. ``person`` is
    the id that the source itself gives (BioGuide, CIK of an owner).
    """

    __tablename__ = "record_versions"
    __table_args__ = (
        CheckConstraint("backfill IN (0, 1)", name="ck_versions_backfill"),
        CheckConstraint("gone IN (0, 1)", name="ck_versions_gone"),
        Index("ix_versions_record", "record_id", "version_id"),
        Index("ix_versions_run", "run", "version_id"),
        Index("ix_versions_filed", "filed_at"),
        Index("ix_versions_symbol_seen", "symbol", "first_seen_at", "run"),
        Index("ix_versions_symbol_event", "symbol", "event_date", "first_seen_at", "run"),
        Index("ix_versions_document", "document", sqlite_where=text("document IS NOT NULL")),
        Index("ix_versions_reference", "reference", sqlite_where=text("reference IS NOT NULL")),
        Index("ix_versions_amends", "amends", sqlite_where=text("amends IS NOT NULL")),
        STRICT,
    )
    version_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    record_id: int = _col(Integer, ForeignKey("source_records.record_id"))
    run: int = _col(Integer, ForeignKey("data_ingestion_runs.id"))
    first_seen_at: datetime = _col(Moment)
    position: int = _col(Integer)
    event_date: str | None = _col(Text, null=True)
    filed_at: datetime | None = _col(Moment, null=True)
    filed_as_given: str | None = _col(Text, null=True)
    symbol: str | None = _col(Text, null=True)
    actor: str | None = _col(Text, null=True)
    side: str | None = _col(Text, null=True)
    amount_low: Decimal | None = _col(Exact, null=True)
    amount_high: Decimal | None = _col(Exact, null=True)
    flags: str | None = _col(Written, null=True)
    backfill: bool = _col(Flag)
    gone: bool = _col(Flag)
    content_hash: bytes = _col(Bytes)
    payload: str = _col(Written)
    document: str | None = _col(Text, null=True)
    reference: str | None = _col(Text, null=True)
    amends: str | None = _col(Text, null=True)
    person: str | None = _col(Text, null=True)


class IngestionRecord(SQLModel, table=True):
    """Which run created, updated or found gone which record."""

    __tablename__ = "ingestion_records"
    __table_args__ = (
        _in("ck_links_outcome", "outcome", ("created", "updated", "gone")),
        Index("ix_links_run", "run"),
        STRICT_KEYED,
    )
    record_id: int = Field(
        default=None,
        sa_column=Column(Integer, ForeignKey("source_records.record_id"), primary_key=True),
    )
    run: int = Field(
        default=None,
        sa_column=Column(Integer, ForeignKey("data_ingestion_runs.id"), primary_key=True),
    )
    outcome: str = _col(Text)


class QuarantinedRow(SQLModel, table=True):
    """A row that could not be read: kept with its reason, seen by nobody who decides."""

    __tablename__ = "quarantined_rows"
    __table_args__ = (STRICT_KEYED,)
    run: int = Field(
        default=None,
        sa_column=Column(Integer, ForeignKey("data_ingestion_runs.id"), primary_key=True),
    )
    position: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    reason: str = _col(Text)
    payload: str = _col(Written)


class RunRowDigests(SQLModel, table=True):
    """Where a change in what a run brought is: eight bytes of each row's digest, in order. Append-only.

    ``part`` is one of `store.run_digest`. That nothing was changed, the run's digest in the journal says.
    """

    __tablename__ = "run_row_digests"
    __table_args__ = (STRICT,)
    run: int = Field(
        default=None,
        sa_column=Column(Integer, ForeignKey("data_ingestion_runs.id"), primary_key=True),
    )
    part: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    digests: bytes = _col(Bytes)


class NameResolution(SQLModel, table=True):
    """Who a member's name, as a feed spells it, is; the newest row of a name counts. Append-only.

    ``person`` is a BioGuide id and ``version_id`` the politician's version that it was found in; both
    are None where ``reason`` says why nobody can be named.
    """

    __tablename__ = "name_resolutions"
    __table_args__ = (
        CheckConstraint("(person IS NULL) = (version_id IS NULL)", name="ck_resolutions_person"),
        Index("ix_resolutions_name", "feed", "name", "resolution_id"),
        Index("ix_resolutions_run", "run", "resolution_id"),
        STRICT,
    )
    resolution_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    run: int = _col(Integer, ForeignKey("data_ingestion_runs.id"))
    feed: str = _col(Text)
    name: str = _col(Text)
    person: str | None = _col(Text, null=True)
    version_id: int | None = _col(Integer, ForeignKey("record_versions.version_id"), null=True)
    reason: str = _col(Text)


class StrategyRun(SQLModel, table=True):
    """One run of a strategy: its code, its parameters and the last journal sequence it could see."""

    __tablename__ = "strategy_runs"
    __table_args__ = (
        UniqueConstraint("strategy_run_id", name="uq_strategy_runs_id"),
        Index("ix_strategy_runs_started", "started_at"),
        STRICT,
    )
    id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    strategy_run_id: str = _col(Text)
    strategy_name: str = _col(Text)
    strategy_version: str = _col(Text)
    code_hash: str = _col(Text)
    parameters: str = _col(Written)
    as_of: str | None = _col(Text, null=True)
    includes_backfill: bool = _col(Flag)
    basis: int = _col(Integer)
    context: str = _col(Written)
    broker: str = _col(Text)
    environment: str = _col(Text)
    account: str = _col(Text)
    started_at: datetime = _col(Moment)


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
    signal_id: str = _col(Text)
    strategy_run_id: str = _col(Text, ForeignKey("strategy_runs.strategy_run_id"))
    strategy_name: str = _col(Text)
    broker: str = _col(Text)
    environment: str = _col(Text)
    account: str = _col(Text)
    symbol: str = _col(Text)
    side: str = _col(Text)
    episode: str = _col(Text)
    taken: bool = _col(Flag)
    reason: str | None = _col(Text, null=True)
    detail: str = _col(Written)
    created_at: datetime = _col(Moment)


class TradeDecision(SQLModel, table=True):
    """The outbox: committed with its rationale and its inputs before anything is sent.

    ``adopted`` marks what was recorded after the fact, from an order that somebody else sent.
    ``held_until`` is the open of the market that it waits for, or has waited for.
    """

    __tablename__ = "trade_decisions"
    __table_args__ = (
        UniqueConstraint("decision_id", name="uq_decisions_id"),
        Index("uq_decisions_signal", "signal_id", unique=True, sqlite_where=text("signal_id IS NOT NULL")),
        _in("ck_decisions_status", "status", DecisionStatus),
        _in("ck_decisions_side", "side", ("buy", "sell")),
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
        CheckConstraint("adopted IN (0, 1)", name="ck_decisions_adopted"),
        _in("ck_decisions_approval", "approval", Approval),
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
    decision_id: str = _col(Text)
    signal_id: str | None = _col(Text, ForeignKey("signals.signal_id"), null=True)
    strategy_name: str = _col(Text)
    strategy_version: str | None = _col(Text, null=True)
    actor: str = _col(Text)
    broker: str = _col(Text)
    environment: str = _col(Text)
    account: str = _col(Text)
    symbol: str = _col(Text)
    side: str = _col(Text)
    quantity: Decimal | None = _col(Exact, null=True)
    notional: Decimal | None = _col(Exact, null=True)
    order_type: str = _col(Text)
    limit_price: Decimal | None = _col(Exact, null=True)
    stop_price: Decimal | None = _col(Exact, null=True)
    time_in_force: str = _col(Text)
    extended_hours: bool = _col(Flag)
    decision_rationale: str = _col(Written)
    basis: int = _col(Integer)
    decision_hash: str = _col(Text)
    client_order_id: str = _col(Text)
    expires_at: datetime | None = _col(Moment, null=True)
    created_at: datetime = _col(Moment)
    status: str = _col(Text)
    failure_code: str | None = _col(Text, null=True)
    failure_message: str | None = _col(Text, null=True)
    needs_attention: str | None = _col(Text, null=True)
    retry_count: int = _col(Integer)
    next_attempt_at: datetime | None = _col(Moment, null=True)
    executed_at: datetime | None = _col(Moment, null=True)
    failed_at: datetime | None = _col(Moment, null=True)
    lease_owner: str | None = _col(Text, null=True)
    lease_token: int = _col(Integer)
    lease_until: datetime | None = _col(Moment, null=True)
    adopted: bool = _col(Flag, server_default=text("0"))
    trail_price: Decimal | None = _col(Exact, null=True)
    trail_percent: Decimal | None = _col(Exact, null=True)
    approval: str | None = _col(Text, null=True)
    approval_at: datetime | None = _col(Moment, null=True)
    approval_by: str | None = _col(Text, null=True)
    held_until: datetime | None = _col(Moment, null=True)


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
        _in("ck_executions_status", "status", AttemptStatus),
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
    execution_id: str = _col(Text)
    decision_id: str = _col(Text, ForeignKey("trade_decisions.decision_id"))
    attempt_number: int = _col(Integer)
    client_order_id: str = _col(Text)
    broker: str = _col(Text)
    environment: str = _col(Text)
    account: str = _col(Text)
    symbol: str = _col(Text)
    status: str = _col(Text)
    broker_status: str | None = _col(Text, null=True)
    alpaca_order_id: str | None = _col(Text, null=True)
    failure_code: str | None = _col(Text, null=True)
    error_message: str | None = _col(Text, null=True)
    error_details: str | None = _col(Written, null=True)
    filled_quantity: Decimal = _col(Exact)
    filled_avg_price: Decimal | None = _col(Exact, null=True)
    commission: Decimal | None = _col(Exact, null=True)
    replaces: str | None = _col(Text, null=True)
    started_at: datetime = _col(Moment)
    submitted_at: datetime | None = _col(Moment, null=True)
    filled_at: datetime | None = _col(Moment, null=True)
    rejected_at: datetime | None = _col(Moment, null=True)
    quantity: Decimal | None = _col(Exact, null=True)
    limit_price: Decimal | None = _col(Exact, null=True)
    stop_price: Decimal | None = _col(Exact, null=True)
    time_in_force: str | None = _col(Text, null=True)
    fills_quantity: Decimal = _col(Exact, server_default=text("'0'"))
    order_value: Decimal | None = _col(Exact, null=True)
    resent_at: datetime | None = _col(Moment, null=True)


class OrderRequest(SQLModel, table=True):
    """A cancel or a replace that somebody asked for: committed before it is sent.

    ``terms`` is JSON of what a replace changes; ``execution_id`` the attempt that it made.
    """

    __tablename__ = "order_requests"
    __table_args__ = (
        UniqueConstraint("request_id", name="uq_requests_id"),
        _in("ck_requests_kind", "kind", RequestKind),
        _in("ck_requests_status", "status", RequestStatus),
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
    request_id: str = _col(Text)
    kind: str = _col(Text)
    decision_id: str = _col(Text, ForeignKey("trade_decisions.decision_id"))
    terms: str = _col(Written)
    reason: str | None = _col(Text, null=True)
    actor: str = _col(Text)
    created_at: datetime = _col(Moment)
    execution_id: str | None = _col(Text, ForeignKey("trade_executions.execution_id"), null=True)
    status: str = _col(Text)
    message: str | None = _col(Text, null=True)
    tries: int = _col(Integer)
    next_attempt_at: datetime | None = _col(Moment, null=True)
    ended_at: datetime | None = _col(Moment, null=True)
    refused_by: str | None = _col(Text, null=True)


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
    kind: str = _col(Text)
    subject: str = _col(Text)
    actor: str = _col(Text)
    reason: str = _col(Text)
    old_value: str | None = _col(Text, null=True)
    new_value: str | None = _col(Text, null=True)
    created_at: datetime = _col(Moment)
    broker: str | None = _col(Text, null=True)
    environment: str | None = _col(Text, null=True)
    account: str | None = _col(Text, null=True)
    until: datetime | None = _col(Moment, null=True)


class Halt(SQLModel, table=True):
    """While it has no end, nothing of its scope is sent.

    ``subject`` is a strategy, a symbol, or empty for everything; an empty account is every account.
    """

    __tablename__ = "halts"
    __table_args__ = (
        _in("ck_halts_scope", "scope", ControlScope),
        Index(
            "uq_halts_open",
            *("broker", "environment", "account", "scope", "subject"),
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
        ),
        STRICT,
    )
    halt_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    broker: str = _col(Text)
    environment: str = _col(Text)
    account: str = _col(Text)
    scope: str = _col(Text)
    subject: str = _col(Text)
    actor: str = _col(Text)
    reason: str = _col(Text)
    created_at: datetime = _col(Moment)
    ended_at: datetime | None = _col(Moment, null=True)
    ended_by: str | None = _col(Text, null=True)
    ended_why: str | None = _col(Text, null=True)


class RiskCheck(SQLModel, table=True):
    """What the limits said of a decision right before it was sent, or was not. Append-only.

    ``checks`` is JSON: each check with the value observed, the limit and whether it passed.
    """

    __tablename__ = "risk_checks"
    __table_args__ = (
        _in("ck_checks_verdict", "verdict", ("passed", "failed", "held")),
        Index("ix_checks_decision", "decision_id"),
        Index("ix_checks_failed", "checked_at", sqlite_where=text("verdict = 'failed'")),
        STRICT,
    )
    check_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    decision_id: str = _col(Text, ForeignKey("trade_decisions.decision_id"))
    client_order_id: str = _col(Text)
    verdict: str = _col(Text)
    code: str | None = _col(Text, null=True)
    checks: str = _col(Written)
    checked_at: datetime = _col(Moment)


class PositionEntry(SQLModel, table=True):
    """Shares that no fill explains: held when the log was opened, or explained by a person. Append-only."""

    __tablename__ = "position_entries"
    __table_args__ = (
        _in("ck_positions_kind", "kind", ("opening", "adjustment")),
        Index("ix_positions_symbol", "broker", "environment", "account", "symbol"),
        STRICT,
    )
    entry_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    broker: str = _col(Text)
    environment: str = _col(Text)
    account: str = _col(Text)
    symbol: str = _col(Text)
    kind: str = _col(Text)
    quantity: Decimal = _col(Exact)
    reason: str = _col(Text)
    actor: str = _col(Text)
    recorded_at: datetime = _col(Moment)


class Break(SQLModel, table=True):
    """Where the broker's word and our sum differ, from when it was found until it is closed.

    ``subject`` is a symbol for positions, an execution for fills.
    """

    __tablename__ = "breaks"
    __table_args__ = (
        UniqueConstraint("break_id", name="uq_breaks_id"),
        _in("ck_breaks_kind", "kind", BreakKind),
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
    break_id: str = _col(Text)
    broker: str = _col(Text)
    environment: str = _col(Text)
    account: str = _col(Text)
    kind: str = _col(Text)
    subject: str = _col(Text)
    symbol: str = _col(Text)
    found_at: datetime = _col(Moment)
    expected: Decimal = _col(Exact)
    actual: Decimal = _col(Exact)
    changed_at: datetime = _col(Moment)
    closed_at: datetime | None = _col(Moment, null=True)
    closed_why: str | None = _col(Text, null=True)
    resolution: str | None = _col(Text, null=True)


class ReconcileMark(SQLModel, table=True):
    """How far the reconciliation of an account has come. ``opened_at`` is that of its positions."""

    __tablename__ = "reconcile_marks"
    __table_args__ = (STRICT_KEYED,)
    broker: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    environment: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    account: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    orders_until: datetime | None = _col(Moment, null=True)
    fills_until: datetime | None = _col(Moment, null=True)
    opened_at: datetime | None = _col(Moment, null=True)
    completed_at: datetime | None = _col(Moment, null=True)
    activities_until: datetime | None = _col(Moment, null=True)


class BrokerCall(SQLModel, table=True):
    """An HTTP exchange with the broker, as on the wire. Append-only.

    ``left_host`` is whether the request may have left this machine, ``proves`` what the response proves.
    """

    __tablename__ = "broker_calls"
    __table_args__ = (
        Index("ix_calls_execution", "execution_id"),
        Index("ix_calls_started", "started_at"),
        STRICT,
    )
    call_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    execution_id: str | None = _col(Text, ForeignKey("trade_executions.execution_id"), null=True)
    purpose: str = _col(Text)
    method: str = _col(Text)
    url: str = _col(Text)
    request_body: str | None = _col(Written, null=True)
    status: int | None = _col(Integer, null=True)
    response_headers: str | None = _col(Written, null=True)
    response_body: str | None = _col(Written, null=True)
    body_encoding: str = _col(Text)
    error: str | None = _col(Text, null=True)
    started_at: datetime = _col(Moment)
    ended_at: datetime = _col(Moment)
    left_host: bool | None = _col(Flag, null=True)
    proves: str | None = _col(Text, null=True)


class BrokerAccount(SQLModel, table=True):
    """The account number that the broker first answered for a configured account name."""

    __tablename__ = "broker_accounts"
    __table_args__ = (STRICT_KEYED,)
    broker: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    environment: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    account: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    account_number: str = _col(Text)
    bound_at: datetime = _col(Moment)


class BrokerSnapshot(SQLModel, table=True):
    """What a decision or a check may look at, fetched outside any claim. Append-only."""

    __tablename__ = "broker_snapshots"
    __table_args__ = (
        _in("ck_snapshots_kind", "kind", ("account", "position", "quote", "asset", "clock")),
        Index("ix_snapshots_latest", "broker", "environment", "account", "kind", "subject", "snapshot_id"),
        STRICT,
    )
    snapshot_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    broker: str = _col(Text)
    environment: str = _col(Text)
    account: str = _col(Text)
    kind: str = _col(Text)
    subject: str = _col(Text)
    value: str = _col(Written)
    as_of: datetime = _col(Moment)


class AlpacaOrder(SQLModel, table=True):
    """The broker's view of an order, ours or not, as it last told it."""

    __tablename__ = "alpaca_orders"
    __table_args__ = (
        Index("ix_orders_client", "client_order_id"),
        Index("ix_orders_decision", "decision_id"),
        STRICT_KEYED,
    )
    broker_order_id: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    client_order_id: str | None = _col(Text, null=True)
    broker: str = _col(Text)
    environment: str = _col(Text)
    account: str = _col(Text)
    symbol: str = _col(Text)
    status: str = _col(Text)
    filled_quantity: Decimal = _col(Exact)
    filled_avg_price: Decimal | None = _col(Exact, null=True)
    replaces: str | None = _col(Text, null=True)
    replaced_by: str | None = _col(Text, null=True)
    decision_id: str | None = _col(Text, ForeignKey("trade_decisions.decision_id"), null=True)
    execution_id: str | None = _col(Text, ForeignKey("trade_executions.execution_id"), null=True)
    raw: str = _col(Written)
    first_seen_at: datetime = _col(Moment)
    updated_at: datetime = _col(Moment)


class OrderEvent(SQLModel, table=True):
    """One change in the broker's view of an order. Append-only."""

    __tablename__ = "order_events"
    __table_args__ = (
        _in("ck_events_source", "source", ("submit", "lookup", "poll", "reconcile")),
        Index("ix_events_order", "broker_order_id"),
        STRICT,
    )
    event_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    broker_order_id: str = _col(Text, ForeignKey("alpaca_orders.broker_order_id"))
    execution_id: str | None = _col(Text, ForeignKey("trade_executions.execution_id"), null=True)
    status: str = _col(Text)
    filled_quantity: Decimal = _col(Exact)
    source: str = _col(Text)
    seen_at: datetime = _col(Moment)
    call_id: int | None = _col(Integer, ForeignKey("broker_calls.call_id"), null=True)


class Fill(SQLModel, table=True):
    """One fill, keyed by the broker's activity id. Append-only."""

    __tablename__ = "fills"
    __table_args__ = (
        _in("ck_fills_side", "side", ("buy", "sell", "sell_short")),
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
    broker_order_id: str = _col(Text)
    execution_id: str | None = _col(Text, ForeignKey("trade_executions.execution_id"), null=True)
    broker: str = _col(Text)
    environment: str = _col(Text)
    account: str = _col(Text)
    symbol: str = _col(Text)
    side: str = _col(Text)
    quantity: Decimal = _col(Exact)
    price: Decimal = _col(Exact)
    price_basis: str = _col(Text)
    transaction_time: datetime = _col(Moment)
    seen_at: datetime = _col(Moment)


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
    broker: str = _col(Text)
    environment: str = _col(Text)
    account: str = _col(Text)
    kind: str = _col(Text)
    sub_kind: str | None = _col(Text, null=True)
    status: str | None = _col(Text, null=True)
    symbol: str | None = _col(Text, null=True)
    quantity: Decimal | None = _col(Exact, null=True)
    net_amount: Decimal | None = _col(Exact, null=True)
    activity_date: str = _col(Text)
    raw: str = _col(Written)
    seen_at: datetime = _col(Moment)


class ReportFigures(SQLModel, table=True):
    """What reports count of a closed span of time, so that it need not be counted again.

    Nothing but a memory of other rows: a trigger forgets it when one of them changes, and reports are the
    same without it.
    """

    __tablename__ = "report_figures"
    __table_args__ = (STRICT_KEYED,)
    broker: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    environment: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    account: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    before: datetime = Field(default=None, sa_column=Column(Moment, primary_key=True))
    since: datetime = Field(default=None, sa_column=Column(Moment, primary_key=True))
    body: str = _col(Written)


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
            "ix_alerts_untold",
            "alert_id",
            sqlite_where=text("told_at IS NULL AND acknowledged_at IS NULL"),
        ),
        STRICT,
    )
    alert_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    kind: str = _col(Text)
    subject: str = _col(Text)
    message: str = _col(Text)
    created_at: datetime = _col(Moment)
    acknowledged_at: datetime | None = _col(Moment, null=True)
    acknowledged_by: str | None = _col(Text, null=True)
    # Of the [alerts] command: the store's own bookkeeping, which no digest covers.
    told_at: datetime | None = _col(Moment, null=True)
    tell_tries: int = _col(Integer, server_default=text("0"))
    tell_error: str | None = _col(Text, null=True)


class Worker(SQLModel, table=True):
    """A worker and its heartbeat; or a command that spoke with the broker, by its ``role``.

    ``quiet_calls`` counts the questions whose answers told nothing new, which are not kept. Clocks are
    in `ClockOffset`; the column here was never written.
    """

    __tablename__ = "workers"
    __table_args__ = (STRICT_KEYED,)
    worker_id: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    host: str = _col(Text)
    pid: int = _col(Integer)
    boot_id: str = _col(Text)
    broker: str = _col(Text)
    environment: str = _col(Text)
    account: str = _col(Text)
    started_at: datetime = _col(Moment)
    heartbeat_at: datetime = _col(Moment)
    stopped_at: datetime | None = _col(Moment, null=True)
    clock_offset_ms: int | None = _col(Integer, null=True)
    role: str = _col(Text, server_default=text("'worker'"))
    quiet_calls: int = _col(Integer, server_default=text("0"))


class ClockOffset(SQLModel, table=True):
    """How far our clock was from that of a source or a broker, by the Date of an answer. Append-only.

    ``subject`` is the run or the worker that measured it; ``offset_ms`` is ours less theirs, right to
    ``uncertainty_ms``: a Date has whole seconds, and an answer takes its time.
    """

    __tablename__ = "clock_offsets"
    __table_args__ = (Index("ix_offsets_subject", "subject"), STRICT)
    offset_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    source: str = _col(Text)
    subject: str = _col(Text)
    measured_at: datetime = _col(Moment)
    remote_date: str = _col(Text)
    offset_ms: int = _col(Integer)
    uncertainty_ms: int = _col(Integer)


class ArchivedRange(SQLModel, table=True):
    """Rows that were moved out of the store into a file, by their numbers. Append-only.

    ``seq`` is the journal entry of the transaction that moves them: until it is written, and only then,
    the triggers let these rows go.
    """

    __tablename__ = "archived_ranges"
    __table_args__ = (Index("ix_archived_seq", "seq"), STRICT)
    range_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    table_name: str = _col(Text)
    first_key: int = _col(Integer)
    last_key: int = _col(Integer)
    row_count: int = _col(Integer)
    path: str = _col(Text)
    digest: str = _col(Text)
    seq: int = _col(Integer)
    actor: str = _col(Text)
    archived_at: datetime = _col(Moment)


class JournalEntry(SQLModel, table=True):
    """The hash chain over every change above. Append-only."""

    __tablename__ = "journal"
    __table_args__ = (STRICT,)
    seq: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    body: str = _col(Written)
    body_hash: bytes = _col(Bytes)
    hash: bytes = _col(Bytes)


class SchemaUpgrade(SQLModel, table=True):
    """When this store was brought to which schema version, and by which tradelog."""

    __tablename__ = "schema_upgrades"
    __table_args__ = (STRICT_KEYED,)
    revision: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    upgraded_at: datetime = _col(Moment)
    tradelog_version: str = _col(Text)
    copy_path: str | None = _col(Text, null=True)
