"""The log itself: journal, workers, clocks, report cache, archive, upgrades."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from tradelog.domain.status import MaintenanceStatus
from tradelog.store.models.base import STRICT, STRICT_KEYED, column, one_of
from tradelog.store.types import Bytes, Integer, Moment, Text, Written


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
    body: str = column(Written)


class Worker(SQLModel, table=True):
    """A worker and its heartbeat; or a command that spoke with the broker, by its ``role``.

    ``quiet_calls`` counts the questions whose answers told nothing new, which are not kept. Clocks are
    in `ClockOffset`; the column here was never written.
    """

    __tablename__ = "workers"
    __table_args__ = (STRICT_KEYED,)
    worker_id: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    host: str = column(Text)
    pid: int = column(Integer)
    boot_id: str = column(Text)
    broker: str = column(Text)
    environment: str = column(Text)
    account: str = column(Text)
    started_at: datetime = column(Moment)
    heartbeat_at: datetime = column(Moment)
    stopped_at: datetime | None = column(Moment, null=True)
    role: str = column(Text, server_default=text("'worker'"))
    quiet_calls: int = column(Integer, server_default=text("0"))


class ClockOffset(SQLModel, table=True):
    """How far our clock was from that of a source or a broker, by the Date of an answer. Append-only.

    ``subject`` is the run or the worker that measured it; ``offset_ms`` is ours less theirs, right to
    ``uncertainty_ms``: a Date has whole seconds, and an answer takes its time.
    """

    __tablename__ = "clock_offsets"
    __table_args__ = (Index("ix_offsets_subject", "subject"), STRICT)
    offset_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    source: str = column(Text)
    subject: str = column(Text)
    measured_at: datetime = column(Moment)
    remote_date: str = column(Text)
    offset_ms: int = column(Integer)
    uncertainty_ms: int = column(Integer)


class ArchivedRange(SQLModel, table=True):
    """Rows that were moved out of the store into a file, by their numbers. Append-only.

    ``seq`` is the journal entry of the transaction that moves them: until it is written, and only then,
    the triggers let these rows go.
    """

    __tablename__ = "archived_ranges"
    __table_args__ = (Index("ix_archived_seq", "seq"), Index("ix_archived_path", "path"), STRICT)
    range_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    table_name: str = column(Text)
    first_key: int = column(Integer)
    last_key: int = column(Integer)
    row_count: int = column(Integer)
    path: str = column(Text)
    digest: str = column(Text)
    seq: int = column(Integer)
    actor: str = column(Text)
    archived_at: datetime = column(Moment)


class ArchivedPayload(SQLModel, table=True):
    """The file that has what a source said of a version, with its SHA-256. Append-only.

    The run's digest in the journal proves it, with or without the file.
    """

    __tablename__ = "archived_payloads"
    __table_args__ = (Index("ix_payloads_path", "path"), STRICT)
    version_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    digest: bytes = column(Bytes)
    path: str = column(Text)


class ArchivedCalls(SQLModel, table=True):
    """The file that has the exchanges of an attempt or of a bot's command. Append-only.

    The times are what reports need of them: when it was sent first, and when it was first acknowledged.
    """

    __tablename__ = "archived_calls"
    __table_args__ = (STRICT_KEYED,)
    subject: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    calls: int = column(Integer)
    sent_at: datetime | None = column(Moment, null=True)
    acknowledged_at: datetime | None = column(Moment, null=True)
    path: str = column(Text)


class ArchiveReturn(SQLModel, table=True):
    """A file whose rows are in the store again, under the entry that comes next. Append-only."""

    __tablename__ = "archive_returns"
    __table_args__ = (Index("ix_returns_path", "path"), STRICT)
    return_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    path: str = column(Text)
    seq: int = column(Integer)
    actor: str = column(Text)
    returned_at: datetime = column(Moment)


class Restore(SQLModel, table=True):
    """The store is a copy from here on: which one, and what it replaced, by their heads. Append-only."""

    __tablename__ = "restores"
    __table_args__ = (STRICT,)
    restore_id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    source: str = column(Text)
    copy_seq: int = column(Integer)
    copy_hash: str = column(Text)
    replaced: str | None = column(Text, null=True)
    replaced_seq: int | None = column(Integer, null=True)
    replaced_hash: str | None = column(Text, null=True)
    actor: str = column(Text)
    restored_at: datetime = column(Moment)


class MaintenanceRun(SQLModel, table=True):
    """A day's maintenance: ``steps`` is a JSON list of what each step did."""

    __tablename__ = "maintenance_runs"
    __table_args__ = (
        UniqueConstraint("maintenance_id", name="uq_maintenance_id"),
        one_of("ck_maintenance_status", "status", MaintenanceStatus),
        Index("ix_maintenance_day", "day"),
        STRICT,
    )
    id: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    maintenance_id: str = column(Text)
    day: str = column(Text)
    actor: str = column(Text)
    host: str = column(Text)
    pid: int = column(Integer)
    boot_id: str = column(Text)
    started_at: datetime = column(Moment)
    ended_at: datetime | None = column(Moment, null=True)
    status: str = column(Text)
    steps: str = column(Written)


class JournalEntry(SQLModel, table=True):
    """The hash chain over every change above. Append-only."""

    __tablename__ = "journal"
    __table_args__ = (STRICT,)
    seq: int = Field(default=None, sa_column=Column(Integer, primary_key=True))
    body: str = column(Written)
    body_hash: bytes = column(Bytes)
    hash: bytes = column(Bytes)


class SchemaUpgrade(SQLModel, table=True):
    """When this store was brought to which schema version, and by which tradelog."""

    __tablename__ = "schema_upgrades"
    __table_args__ = (STRICT_KEYED,)
    revision: str = Field(default=None, sa_column=Column(Text, primary_key=True))
    upgraded_at: datetime = column(Moment)
    tradelog_version: str = column(Text)
    copy_path: str | None = column(Text, null=True)
