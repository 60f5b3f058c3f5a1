"""The ingestion run: a context manager that is never silent.

    with IngestionRun(writer, "data_fetch:congress", "quiver-congress", params) as run:
        run.api_call(...)
        run.add(record)

The row is committed before the body runs, that is before the first byte is read. Whatever ends
it, the row says completed, failed, aborted (a signal) or, found dead by the next writer, abandoned.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
import traceback
import zlib
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any

from tradelog import clock, ids
from tradelog.errors import EmptyAnswer, RunInProgress, SchemaMismatch, ShrunkenAnswer, StoreError
from tradelog.ingest.identity import BadRow, Record, pack
from tradelog.ingest.staging import Counts, Staging
from tradelog.store.process import boot_id
from tradelog.store.reader import effective_status
from tradelog.store.writer import Transaction, Writer

# A filing older than this when first looked for is history that we imported, not news.
BACKFILL_GRACE = timedelta(days=7)
HEARTBEAT_SECONDS = 30.0
# A full listing that lost more than this share of its rows is rather broken than true.
MOST_SHRINK = 0.1

_ZERO = {
    "records_fetched": 0,
    "records_created": 0,
    "records_updated": 0,
    "records_skipped": 0,
    "records_quarantined": 0,
    "records_gone": 0,
}


class IngestionRun:
    """One fetch under ``task_name`` from the feed ``data_source``.

    ``params`` is what was asked for, without secrets. ``empty_is_normal`` lets a run complete that
    brought nothing. ``complete`` says that the source lists everything it has: what it no longer lists
    is marked gone, and an answer with far fewer rows than it listed before fails as shrunken unless
    ``allow_shrink``. Entering raises RunInProgress while a run of the same task is alive.
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
    ) -> None:
        self._writer = writer
        self.task_name = task_name
        self.data_source = data_source
        self.params = dict(params or {})
        self.empty_is_normal = empty_is_normal
        self.complete = complete
        self.allow_shrink = allow_shrink
        self.run_id = ids.new(ids.RUN)
        self.counts = Counts()
        self.api_calls: list[dict[str, Any]] = []
        self._id = 0
        self._last_beat = 0.0

    def __enter__(self) -> IngestionRun:
        with self._writer.transaction() as tx:
            bury_dead_runs(tx)
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
                    "params": json.dumps(self.params, ensure_ascii=False),
                    **_ZERO,
                    "api_calls": "[]",
                },
            )
            tx.journal("run.started", self.run_id)
        self._last_beat = time.monotonic()
        try:
            self._staging = Staging(self._writer)
        except BaseException as error:
            self._end(type(error), error)
            raise
        return self

    def add(self, row: Record | BadRow) -> None:
        """One row of the answer, in its order."""
        self._staging.add(row)
        if time.monotonic() - self._last_beat > HEARTBEAT_SECONDS:
            self.beat()

    def beat(self) -> None:
        """Tell other processes that this run is alive."""
        self._last_beat = time.monotonic()
        with self._writer.transaction() as tx:
            tx.unaudited("UPDATE data_ingestion_runs SET heartbeat_at = ? WHERE id = ?", (tx.now, self._id))

    def api_call(self, endpoint: str, **facts: Any) -> None:
        """Log a request: status, size, records, rate limit left, ETag, Date, duration; no secrets."""
        self.api_calls.append({"endpoint": endpoint, "timestamp": clock.now_text(), **facts})

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            try:
                self._complete()
            except BaseException as failure:
                self._end(type(failure), failure)
                self._staging.close()
                raise
        else:
            self._end(type(error), error)
        self._staging.close()

    def _complete(self) -> None:
        staging = self._staging
        if not staging.staged and staging.bad:
            first = staging.bad[0]
            raise SchemaMismatch(
                f"none of {len(staging.bad)} rows could be read; row {first.position}: {first.reason}",
                hint="check that this is the file or the source you meant",
            )
        if not staging.staged and not self.empty_is_normal:
            raise EmptyAnswer(
                f"{self.data_source} answered with no rows, where rows are normal",
                hint="try again later; nothing was changed",
            )
        if self.complete and not self.allow_shrink:
            self._refuse_shrunken()
        first_day, last_day = staging.dates()
        self.counts = staging.apply(
            self._id, self.data_source, self._history_ends(), complete=self.complete and not staging.bad
        )
        counts = self.counts
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
                    "records_fetched": counts.fetched,
                    "records_created": counts.created,
                    "records_updated": counts.updated,
                    "records_skipped": len(counts.unchanged),
                    "records_quarantined": counts.quarantined,
                    "records_gone": counts.gone,
                    "unchanged_ids": zlib.compress(pack(counts.unchanged).encode(), 9),
                    "api_calls": json.dumps(self.api_calls, ensure_ascii=False),
                },
            )
            tx.journal("run.completed", self.run_id, records=tx.run_digest(self._id))

    def _refuse_shrunken(self) -> None:
        listed = self._staging.current(self.data_source)
        if self._staging.staged < listed * (1 - MOST_SHRINK):
            raise ShrunkenAnswer(
                f"{self.data_source} listed {listed} records, and now only {self._staging.staged}",
                hint="look at the source; accept it with --allow-shrink, and the rest is marked gone",
            )

    def _end(self, kind: type[BaseException], error: BaseException) -> None:
        stopped = not issubclass(kind, Exception)
        details = {
            "class": kind.__name__,
            "backtrace": traceback.format_exception(kind, error, error.__traceback__),
            "rows_read": self._staging.staged if hasattr(self, "_staging") else 0,
        }
        try:
            with self._writer.transaction() as tx:
                tx.update(
                    "data_ingestion_runs",
                    self.run_id,
                    {
                        "status": "aborted" if stopped else "failed",
                        "failed_at": tx.now,
                        "error_message": str(error) or kind.__name__,
                        "error_details": json.dumps(details, ensure_ascii=False),
                        "api_calls": json.dumps(self.api_calls, ensure_ascii=False),
                    },
                )
                tx.journal(
                    "run.aborted" if stopped else "run.failed",
                    self.run_id,
                    records=tx.run_digest(self._id),
                )
        except (StoreError, sqlite3.Error) as second:
            # The first error is the one to hear of; the next writer will store the run as abandoned.
            error.add_note(f"and the run's end could not be written: {second}")

    def recognised(self, data_source: str) -> None:
        """Name the feed, where only its content tells: a file is one of its forms."""
        self.data_source = data_source

    def _history_ends(self) -> str:
        """Filings before this moment count as backfill when they are seen for the first time."""
        with self._writer.reading() as connection:
            last = connection.execute(
                "SELECT max(started_at) FROM data_ingestion_runs"
                " WHERE data_source = ? AND status = 'completed'",
                (self.data_source,),
            ).fetchone()
        looked = clock.now() if last[0] is None else clock.from_text(last[0])
        return clock.to_text(looked - BACKFILL_GRACE)


def bury_dead_runs(tx: Transaction) -> None:
    """Store ``abandoned`` for runs whose process has died; readers derive the same."""
    names = ("run_id", "host", "pid", "boot_id", "heartbeat_at", "started_at", "status", "id")
    for row in tx.query(f"SELECT {', '.join(names)} FROM data_ingestion_runs WHERE status = 'running'"):
        run = dict(zip(names, row, strict=True))
        if effective_status(run) != "abandoned":
            continue
        tx.update(
            "data_ingestion_runs",
            run["run_id"],
            {
                "status": "abandoned",
                "failed_at": tx.now,
                "error_message": f"process {run['pid']} on {run['host']} died without a word",
                "error_details": json.dumps({"class": "Abandoned", "last_heartbeat": run["heartbeat_at"]}),
            },
        )
        tx.journal("run.abandoned", run["run_id"], records=tx.run_digest(run["id"]))
