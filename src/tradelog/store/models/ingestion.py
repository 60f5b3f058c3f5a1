"""What was fetched: runs, records with their versions, quarantined rows, resolved names."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from tradelog.domain.status import (
    RunStatus,
)
from tradelog.store.models.base import STRICT, STRICT_KEYED, column, one_of
from tradelog.store.types import Bytes, Exact, Flag, Integer, Moment, Text, Written


class IngestionRun(SQLModel, table=True):
    """One fetch. The row is committed before the first byte is read."""

    __tablename__ = "data_ingestion_runs"
    __table_args__ = (
        UniqueConstraint("run_id", name="uq_runs_run_id"),
        one_of("ck_runs_status", "status", RunStatus),
        Index("ix_runs_started", "started_at"),
        Index("ix_runs_task", "task_name", "started_at"),
        Index("ix_runs_source", "data_source", "started_at"),
        Index("ix_runs_running", "id", sqlite_where=text("status = 'running'")),
        Index("ix_runs_unfinished", "id", sqlite_where=text("status <> 'completed'")),
        STRICT,
    )
    id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    run_id: str = column(Text)
    task_name: str = column(Text)
    data_source: str = column(Text)
    actor: str = column(Text)
    host: str = column(Text)
    pid: int = column(Integer)
    boot_id: str = column(Text)
    heartbeat_at: datetime = column(Moment)
    started_at: datetime = column(Moment)
    completed_at: datetime | None = column(Moment, null=True)
    failed_at: datetime | None = column(Moment, null=True)
    status: str = column(Text)
    params: str = column(Written)
    data_date_start: str | None = column(Text, null=True)
    data_date_end: str | None = column(Text, null=True)
    records_fetched: int = column(Integer)
    records_created: int = column(Integer)
    records_updated: int = column(Integer)
    records_skipped: int = column(Integer)
    records_quarantined: int = column(Integer)
    records_gone: int = column(Integer)
    api_calls: str = column(Written)
    unchanged_ids: bytes | None = column(Bytes, null=True)
    error_message: str | None = column(Text, null=True)
    error_details: str | None = column(Written, null=True)


class SourceRecord(SQLModel, table=True):
    """The identity of a thing that a feed reports; the n-th of equals has occurrence n."""

    __tablename__ = "source_records"
    __table_args__ = (
        UniqueConstraint("feed", "kind", "identity", "occurrence", name="uq_records_identity"),
        CheckConstraint("occurrence >= 1", name="ck_records_occurrence"),
        STRICT,
    )
    record_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    feed: str = column(Text)
    kind: str = column(Text)
    identity: bytes = column(Bytes)
    occurrence: int = column(Integer)


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
    record_id: int = column(Integer, ForeignKey("source_records.record_id"))
    run: int = column(Integer, ForeignKey("data_ingestion_runs.id"))
    first_seen_at: datetime = column(Moment)
    position: int = column(Integer)
    event_date: str | None = column(Text, null=True)
    filed_at: datetime | None = column(Moment, null=True)
    filed_as_given: str | None = column(Text, null=True)
    symbol: str | None = column(Text, null=True)
    actor: str | None = column(Text, null=True)
    side: str | None = column(Text, null=True)
    amount_low: Decimal | None = column(Exact, null=True)
    amount_high: Decimal | None = column(Exact, null=True)
    flags: str | None = column(Written, null=True)
    backfill: bool = column(Flag)
    gone: bool = column(Flag)
    content_hash: bytes = column(Bytes)
    payload: str = column(Written)
    document: str | None = column(Text, null=True)
    reference: str | None = column(Text, null=True)
    amends: str | None = column(Text, null=True)
    person: str | None = column(Text, null=True)


class IngestionRecord(SQLModel, table=True):
    """Which run created, updated or found gone which record."""

    __tablename__ = "ingestion_records"
    __table_args__ = (
        one_of("ck_links_outcome", "outcome", ("created", "updated", "gone")),
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
    outcome: str = column(Text)


class QuarantinedRow(SQLModel, table=True):
    """A row that could not be read: kept with its reason, seen by nobody who decides."""

    __tablename__ = "quarantined_rows"
    __table_args__ = (STRICT_KEYED,)
    run: int = Field(
        default=None,
        sa_column=Column(Integer, ForeignKey("data_ingestion_runs.id"), primary_key=True),
    )
    position: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    reason: str = column(Text)
    payload: str = column(Written)


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
    digests: bytes = column(Bytes)


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
    run: int = column(Integer, ForeignKey("data_ingestion_runs.id"))
    feed: str = column(Text)
    name: str = column(Text)
    person: str | None = column(Text, null=True)
    version_id: int | None = column(Integer, ForeignKey("record_versions.version_id"), null=True)
    reason: str = column(Text)
