"""The ingestion run: a context manager that is never silent.

    with IngestionRun(writer, "data_fetch:congress", "quiver-congress", params) as run:
        run.api_call(...)
        run.add(record)

The row is committed before the body runs, that is before the first byte is read. Whatever ends
it, the row ends as completed, failed, aborted (a signal) or, found dead by the next writer, abandoned.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import sqlite3
import time
import traceback
import zlib
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any

from tradelog.domain import clock, ids
from tradelog.errors import (
    EmptyAnswer,
    RunInProgress,
    SchemaMismatch,
    ShrunkenAnswer,
    StoreError,
    StoreLocked,
)
from tradelog.ingest import people
from tradelog.ingest.identity import BadRow, Record, digest, pack, unpack, whole
from tradelog.ingest.pairing import Counts
from tradelog.ingest.staging import Staging
from tradelog.store import clocks, run_digest
from tradelog.store.process import boot_id
from tradelog.store.reader import effective_status
from tradelog.store.writer import Writer

# A filing older than this at its first fetch is imported history, not news.
BACKFILL_GRACE = timedelta(days=7)
HEARTBEAT_SECONDS = 30.0
# How long a source is queried again for what it listed and did not deliver.
PENDING_FOR = timedelta(days=30)
# The kind whose rows name members of Congress.
MEMBERS = "congress_trade"
# A full listing that lost more than this share of its rows is rather broken than true.
MAX_SHRINK = 0.1


class IngestionRun:
    """One fetch under ``task_name`` from the feed ``data_source``.

    ``params`` is what was requested, without secrets. ``empty_is_normal`` lets a run complete without
    rows. ``complete`` declares that the source lists everything it has of each kind that comes
    (`lists_all` declares it of one kind): what it no longer lists is marked gone, and an answer with far
    fewer rows than it listed before fails as shrunken unless ``allow_shrink``. ``dry`` reads and counts
    the same, and writes nothing. Entering raises RunInProgress while a run of the same task is alive.
    """

    def __init__(
        self,
        writer: Writer,
        task_name: str,
        data_source: str,
        params: Mapping[str, Any] | None = None,
        *,
        empty_is_normal: bool = False,
        complete: bool = False,
        allow_shrink: bool = False,
        dry: bool = False,
    ) -> None:
        self._writer = writer
        self.task_name = task_name
        self.data_source = data_source
        self.params = dict(params or {})
        self.empty_is_normal = empty_is_normal
        # Where each row is a response of its own, even all of them may fail, and are requested again.
        self.bad_is_normal = False
        self.complete = complete
        self.allow_shrink = allow_shrink
        self.dry = dry
        self.run_id = ids.new(ids.RUN)
        self.counts = Counts()
        self.api_calls: list[dict[str, Any]] = []
        self.unresolved: list[str] = []
        self._complete_kinds: set[str] = set()
        self._confirmed: dict[str, array[int]] = {}
        self._dates: tuple[str | None, str | None] | None = None
        self._id = 0
        self._last_beat = 0.0

    def __enter__(self) -> IngestionRun:
        if not self.dry:
            self._begin()
        self._last_beat = time.monotonic()
        try:
            self._staging = Staging(self._writer.connection)
        except BaseException as error:
            self._end(type(error), error)
            raise
        return self

    def _begin(self) -> None:
        bury_dead_runs(self._writer)
        with self._writer.transaction() as tx:
            alive = tx.one(
                "SELECT run_id, host, pid FROM data_ingestion_runs"
                " WHERE status = 'running' AND task_name = ?",
                (self.task_name,),
            )
            if alive is not None:
                raise RunInProgress(
                    f"{self.task_name} is being fetched already:"
                    f" {alive[0]} by process {alive[2]} on {alive[1]}",
                    hint=f"wait for it to end; watch it with: tradelog show {alive[0]}",
                )
            self._id = tx.insert(
                "data_ingestion_runs",
                {
                    "run_id": self.run_id,
                    "task_name": self.task_name,
                    "data_source": self.data_source,
                    "actor": self._writer.actor,
                    "host": socket.gethostname(),
                    "pid": os.getpid(),
                    "boot_id": boot_id(),
                    "heartbeat_at": tx.now,
                    "started_at": tx.now,
                    "status": "running",
                    "params": _json(self.params),
                    **Counts().columns(),
                    "api_calls": "[]",
                },
            )
            tx.journal("run.started", self.run_id)

    def add(self, row: Record | BadRow) -> None:
        """One row of the answer, in its order."""
        self._staging.add(row)
        self.beat()

    def beat(self) -> None:
        """Record now and then that this run is alive."""
        if self.dry or time.monotonic() - self._last_beat < HEARTBEAT_SECONDS:
            return
        self._last_beat = time.monotonic()
        # A lock held for long is no reason to give up a fetch; the next heartbeat comes.
        with contextlib.suppress(StoreLocked), self._writer.transaction() as tx:
            tx.unaudited("UPDATE data_ingestion_runs SET heartbeat_at = ? WHERE id = ?", (tx.now, self._id))

    def api_call(self, endpoint: str, **facts: Any) -> None:
        """Log a request: status, size, records, rate limit left, ETag, Date, duration; no secrets."""
        self.api_calls.append({"endpoint": endpoint, "timestamp": clock.now_text(), **facts})
        self.beat()

    def recognised(self, data_source: str) -> None:
        """Set the feed, where only its content shows it: a file is one of its forms."""
        self.data_source = data_source

    @property
    def marks_gone(self) -> bool:
        """Whether the run lists everything of a kind, so that what it lacks is gone."""
        return bool(self._complete_kinds)

    def lists_all(self, kind: str) -> None:
        """The source lists everything it has of this kind: a declaration of its endpoint."""
        self._complete_kinds.add(kind)

    def last_of_feed(self) -> Previous | None:
        """The last completed run of this feed, None before the first."""
        return self._previous("data_source = ?", self.data_source)

    def last_asking(self, endpoint: str) -> Previous | None:
        """The last completed run of this feed that queried an endpoint."""
        return self._previous("data_source = ? AND instr(api_calls, ?) > 0", self.data_source, endpoint)

    def last_unbounded(self, endpoint: str) -> Previous | None:
        """The last completed run of this feed that queried an endpoint for all that is new."""
        condition = (
            "data_source = ? AND instr(api_calls, ?) > 0"
            " AND coalesce(json_extract(params, '$.since'), json_extract(params, '$.until'),"
            " json_extract(params, '$.symbol')) IS NULL"
        )
        return self._previous(condition, self.data_source, endpoint)

    def last_reading(self, digest: str) -> Previous | None:
        """The last completed run of a feed, where that is what first read just these bytes."""
        previous = self._previous(
            "task_name = ? AND json_extract(api_calls, '$[0].sha256') = ?", self.task_name, digest
        )
        last = None if previous is None else self._previous("data_source = ?", previous.data_source)
        return previous if previous is not None and last is not None and last.id == previous.id else None

    def _previous(self, condition: str, *values: str) -> Previous | None:
        with self._writer.reading() as connection:
            row = connection.execute(
                "SELECT id, run_id, data_source, api_calls, records_quarantined, data_date_start,"
                f" data_date_end, started_at, params FROM data_ingestion_runs"
                f" WHERE status = 'completed' AND {condition} ORDER BY id DESC LIMIT 1",
                values,
            ).fetchone()
        if row is None:
            return None
        calls, dates = json.loads(row[3]), (row[5], row[6])
        return Previous(row[0], row[1], row[2], calls, row[4], dates, row[7], json.loads(row[8]))

    def confirm(self, kind: str, versions: Iterable[int]) -> None:
        """Record that the source confirmed these versions without sending them again."""
        self._confirmed.setdefault(kind, array("q")).extend(versions)

    def confirm_all(self, kind: str) -> None:
        """Record that the source confirmed a completely listed kind as unchanged."""
        self.confirm(kind, self._staging.listed(self.data_source, kind))

    def confirm_run(self, previous: Previous) -> None:
        """The answer is byte for byte that of the feed's last run: what it listed stands."""
        with self._writer.reading() as connection:
            packed = connection.execute(
                "SELECT unchanged_ids FROM data_ingestion_runs WHERE id = ?", (previous.id,)
            ).fetchone()[0]
            written = connection.execute(
                "SELECT version_id FROM record_versions WHERE run = ? AND gone = 0", (previous.id,)
            ).fetchall()
        if packed:
            self.confirm("", unpack(zlib.decompress(packed).decode()))
        self.confirm("", (row[0] for row in written))
        self._dates = previous.dates

    def held(self, kind: str, identity: tuple[str, ...]) -> int | None:
        """The current version of a record of this feed, None where it is not held or is gone."""
        with self._writer.reading() as connection:
            row = connection.execute(
                "SELECT v.version_id, v.gone FROM source_records r"
                " JOIN record_versions v ON v.record_id = r.record_id"
                " JOIN data_ingestion_runs d ON d.id = v.run AND d.status = 'completed'"
                " WHERE r.feed = ? AND r.kind = ? AND r.identity = ? ORDER BY v.version_id DESC LIMIT 1",
                (self.data_source, kind, digest(identity)),
            ).fetchone()
        return None if row is None or row[1] else int(row[0])

    def pending(self) -> list[str]:
        """The payloads of rows that runs of this feed could not read in the last while, newest first."""
        since = clock.to_text(clock.now() - PENDING_FOR)
        with self._writer.reading() as connection:
            rows = connection.execute(
                "SELECT q.payload FROM data_ingestion_runs d JOIN quarantined_rows q ON q.run = d.id"
                " WHERE d.data_source = ? AND d.status = 'completed' AND d.started_at >= ?"
                " ORDER BY d.id DESC, q.position",
                (self.data_source, since),
            ).fetchall()
        return [row[0] for row in rows]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                try:
                    self._complete()
                except BaseException as failure:
                    self._end(type(failure), failure)
                    raise
            else:
                self._end(kind or type(error), error)
        finally:
            self._staging.close()

    def _complete(self) -> None:
        staging = self._staging
        kinds = staging.by_kind()
        if self.complete:
            self._complete_kinds |= kinds.keys()
        self._refuse_unreadable()
        for kind in sorted(self._complete_kinds):
            self._refuse_shrunken(kind, kinds.get(kind, 0) + len(staging.bad))
        confirmed = list(itertools.chain.from_iterable(self._confirmed.values()))
        if self.dry:
            unconfirmed = self._complete_kinds - self._confirmed.keys()
            self.counts = staging.plan(self.data_source, unconfirmed)
            self._confirm_counts(self.counts, confirmed)
            with self._writer.reading() as connection:
                names = staging.names(MEMBERS)
                self.unresolved = people.plan(connection, 0, self.data_source, names).unresolved
            return
        digest = run_digest.RunDigest(self._writer.connection)
        counts = staging.apply(self._writer, self._id, self.data_source, self._history_ends(), digest)
        self._confirm_counts(counts, confirmed)
        if not staging.bad:
            self._mark_gone(counts, digest)
        self.counts = counts
        names = staging.names(MEMBERS)
        self.unresolved = people.resolve(
            self._writer, self._id, self.data_source, names, digest, everybody=people.KIND in kinds
        )
        first_day, last_day = self._dates or staging.dates()
        with self._writer.transaction() as tx:
            tx.update(
                "data_ingestion_runs",
                self.run_id,
                {
                    "status": "completed",
                    "data_source": self.data_source,
                    "completed_at": tx.now,
                    "data_date_start": first_day,
                    "data_date_end": last_day,
                    **counts.columns(),
                    "unchanged_ids": zlib.compress(pack(counts.unchanged).encode(), 9),
                    "api_calls": _json(self.api_calls),
                },
            )
            clocks.keep(tx, self.data_source, self.run_id, clocks.best_of_calls(self.api_calls))
            tx.journal("run.completed", self.run_id, records=digest.keep(tx, self._id))

    def _confirm_counts(self, counts: Counts, confirmed: list[int]) -> None:
        """What was confirmed may have been sent as well: each version counts once."""
        if confirmed:
            counts.unchanged = array("q", sorted({*counts.unchanged, *confirmed}))

    def _mark_gone(self, counts: Counts, digest: run_digest.RunDigest) -> None:
        for kind in sorted(self._complete_kinds):
            missing = self._staging.missing(self.data_source, kind, self._id, counts.unchanged)
            self._staging.mark_gone(self._writer, self._id, missing, digest)
            counts.gone += len(missing)

    def _refuse_unreadable(self) -> None:
        staging = self._staging
        if staging.staged or any(self._confirmed.values()):
            return
        if staging.bad and not self.bad_is_normal:
            first = staging.bad[0]
            raise SchemaMismatch(
                f"none of {len(staging.bad)} rows could be read; row {first.position}: {first.reason}",
                hint="check that this is the right file or source",
            )
        if not self.empty_is_normal and not staging.bad:
            raise EmptyAnswer(
                f"{self.data_source} answered with no rows, where rows are normal",
                hint="try again later; nothing was changed",
            )

    def _refuse_shrunken(self, kind: str, staged: int) -> None:
        if kind in self._confirmed:
            return
        if not staged and not self.empty_is_normal:
            raise EmptyAnswer(
                f"{self.data_source} listed no {kind.replace('_', ' ')} at all, where rows are normal",
                hint="try again later; nothing was changed",
            )
        listed = len(self._staging.listed(self.data_source, kind))
        if staged < listed * (1 - MAX_SHRINK) and not self.allow_shrink:
            raise ShrunkenAnswer(
                f"{self.data_source} listed {listed} {kind.replace('_', ' ')} records, and now only {staged}",
                hint="look at the source; accept it with --allow-shrink, and the rest is marked gone",
            )

    def _end(self, kind: type[BaseException], error: BaseException) -> None:
        if self.dry:
            return
        stopped = not issubclass(kind, Exception)
        details = {
            "class": kind.__name__,
            "backtrace": traceback.format_exception(kind, error, error.__traceback__),
            "rows_read": self._staging.staged if hasattr(self, "_staging") else 0,
        }
        try:
            # Read before the lock: no other process writes rows of this run.
            with self._writer.reading() as connection:
                records = run_digest.of_run(connection, self._id)
            with self._writer.transaction() as tx:
                tx.update(
                    "data_ingestion_runs",
                    self.run_id,
                    {
                        "status": "aborted" if stopped else "failed",
                        "failed_at": tx.now,
                        "error_message": whole(str(error)) or kind.__name__,
                        "error_details": _json(details),
                        "api_calls": _json(self.api_calls),
                    },
                )
                clocks.keep(tx, self.data_source, self.run_id, clocks.best_of_calls(self.api_calls))
                event = "run.aborted" if stopped else "run.failed"
                tx.journal(event, self.run_id, records=records.keep(tx, self._id))
        except (StoreError, sqlite3.Error) as second:
            # The first error is the one to report; the next writer will record the run as abandoned.
            error.add_note(f"and the run's end could not be written: {second}")

    def _history_ends(self) -> str:
        """Filings before this moment count as backfill when they are seen for the first time."""
        last = self.last_of_feed()
        first_fetch = clock.now() if last is None else clock.from_text(last.started_at)
        return clock.to_text(first_fetch - BACKFILL_GRACE)


@dataclass(frozen=True, slots=True)
class Previous:
    """A completed run, as far as the next one of its feed needs it. ``dates`` are ISO or None."""

    id: int
    run_id: str
    data_source: str
    api_calls: list[dict[str, Any]]
    quarantined: int
    dates: tuple[str | None, str | None]
    started_at: str
    params: dict[str, Any]


def bury_dead_runs(writer: Writer) -> None:
    """Store ``abandoned`` for runs whose process has died; readers derive the same."""
    names = ("run_id", "host", "pid", "boot_id", "heartbeat_at", "started_at", "status", "id")
    with writer.reading() as connection:
        rows = connection.execute(
            f"SELECT {', '.join(names)} FROM data_ingestion_runs WHERE status = 'running'"
        ).fetchall()
    for row in rows:
        run = dict(zip(names, row, strict=True))
        if effective_status(run) == "abandoned":
            _bury(writer, run)


def _bury(writer: Writer, run: dict[str, Any]) -> None:
    # Taken before the lock: a dead process writes no more.
    with writer.reading() as connection:
        records = run_digest.of_run(connection, run["id"])
    with writer.transaction() as tx:
        is_buried = tx.update(
            "data_ingestion_runs",
            run["run_id"],
            {
                "status": "abandoned",
                "failed_at": tx.now,
                "error_message": f"process {run['pid']} on {run['host']} died before it could end the run",
                "error_details": json.dumps({"class": "Abandoned", "last_heartbeat": run["heartbeat_at"]}),
            },
            where="status = 'running'",
        )
        if is_buried:
            tx.journal("run.abandoned", run["run_id"], records=records.keep(tx, run["id"]))


def _json(value: Any) -> str:
    return whole(json.dumps(value, ensure_ascii=False))
