"""From the rows of one answer to records and versions.

All rows are read into a temporary table first, so that nothing is written of an answer that turns
out unreadable half-way, memory stays flat, and no write transaction waits for a source. Then the
rows are matched against the records of the feed, identity by identity, in short transactions.
What they write stays invisible until the run has completed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from array import array
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from tradelog import money
from tradelog.ingest.identity import BadRow, Record, digest
from tradelog.store.writer import Transaction, Writer

# Small enough that a chunk holds the write lock for a fraction of the 0.2 s it may.
CHUNK_ROWS = 1000
STAGE_ROWS = 500
_numbers = itertools.count(1)

_STAGED = (
    *("position", "kind", "identity", "content", "event_date", "filed_at", "filed_as_given"),
    *("symbol", "actor", "side", "amount_low", "amount_high", "flags", "payload"),
)

# The current version of each record of an identity: the newest one of a completed run.
_CURRENT = """
SELECT r.record_id, r.occurrence, v.version_id, v.content_hash, v.gone, v.backfill
FROM source_records r
LEFT JOIN record_versions v ON v.version_id = (
    SELECT w.version_id FROM record_versions w
    JOIN data_ingestion_runs d ON d.id = w.run AND d.status = 'completed'
    WHERE w.record_id = r.record_id ORDER BY w.version_id DESC LIMIT 1)
WHERE r.feed = ? AND r.kind = ? AND r.identity = ?
ORDER BY r.occurrence
"""
_VERSION = (
    "INSERT INTO record_versions (record_id, run, first_seen_at, position, event_date, filed_at,"
    " filed_as_given, symbol, actor, side, amount_low, amount_high, flags, backfill, gone,"
    " content_hash, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)"
)
# A gone version repeats what was last said, without the payload: the source said nothing now.
_GONE = (
    "INSERT INTO record_versions (record_id, run, first_seen_at, position, event_date, filed_at,"
    " filed_as_given, symbol, actor, side, amount_low, amount_high, flags, backfill, gone,"
    " content_hash, payload)"
    " SELECT record_id, ?, ?, 0, event_date, filed_at, filed_as_given, symbol, actor, side,"
    " amount_low, amount_high, flags, backfill, 1, content_hash, '' FROM record_versions"
    " WHERE version_id = ?"
)
_GONE_LINK = (
    "INSERT INTO ingestion_records (record_id, run, outcome)"
    " SELECT record_id, ?, 'gone' FROM record_versions WHERE version_id = ?"
)
_LINK = "INSERT INTO ingestion_records (record_id, run, outcome) VALUES (?, ?, ?)"


@dataclass(slots=True)
class Counts:
    created: int = 0
    updated: int = 0
    quarantined: int = 0
    gone: int = 0
    unchanged: array[int] = field(default_factory=lambda: array("q"))

    @property
    def fetched(self) -> int:
        return self.created + self.updated + len(self.unchanged) + self.quarantined


class Staging:
    """The rows of one run, in a table that only this connection can see."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._waiting: list[tuple[Any, ...]] = []
        self.staged = 0
        self.bad: list[BadRow] = []
        # A connection may have several runs open, of different tasks.
        self._table = f"temp.staged_{next(_numbers)}"
        writer.connection.execute(f"CREATE TEMP TABLE {self._table[5:]} ({', '.join(_STAGED)})")

    def add(self, row: Record | BadRow) -> None:
        if isinstance(row, BadRow):
            self.bad.append(row)
            return
        self._waiting.append(
            (
                row.position,
                row.kind,
                digest(row.identity),
                digest(row.content),
                row.event_date,
                row.filed_at,
                row.filed_as_given,
                row.symbol,
                row.actor,
                row.side,
                None if row.amount_low is None else money.to_text(row.amount_low),
                None if row.amount_high is None else money.to_text(row.amount_high),
                json.dumps(row.flags) if row.flags else None,
                row.payload,
            )
        )
        self.staged += 1
        if len(self._waiting) >= STAGE_ROWS:
            self._flush()

    def dates(self) -> tuple[str | None, str | None]:
        """The first and the last event date that really came."""
        self._flush()
        row = self._writer.connection.execute(
            f"SELECT min(event_date), max(event_date) FROM {self._table}"
        ).fetchone()
        return row[0], row[1]

    def current(self, feed: str) -> int:
        """How many records the feed lists now, of the kinds that were staged."""
        self._flush()
        found = self._writer.connection.execute(
            f"SELECT count(*) FROM ({self._listed()})", (feed,)
        ).fetchone()
        return int(found[0])

    def apply(self, run: int, feed: str, backfill_before: str, *, complete: bool = False) -> Counts:
        """Write what is new or changed; ``backfill_before`` is when a filing counts as history.

        Where the answer is ``complete``, records of the feed that it does not list are marked gone.
        """
        self._flush()
        counts = Counts(quarantined=len(self.bad))
        # Closed whatever happens: an open cursor would keep the table from being dropped.
        with contextlib.closing(self._groups()) as groups:
            while chunk := _take(groups, CHUNK_ROWS):
                with self._writer.transaction() as tx:
                    # A live run says so, or another process would take it for abandoned.
                    tx.unaudited(
                        "UPDATE data_ingestion_runs SET heartbeat_at = ? WHERE id = ?", (tx.now, run)
                    )
                    for kind, identity, rows in chunk:
                        _match(tx, run, feed, kind, identity, rows, backfill_before, counts)
        if complete:
            self._mark_gone(run, feed, counts)
        if self.bad:
            with self._writer.transaction() as tx:
                tx.bulk(
                    "INSERT INTO quarantined_rows (run, position, reason, payload) VALUES (?, ?, ?, ?)",
                    [(run, row.position, row.reason, row.payload) for row in self.bad],
                )
        return counts

    def _mark_gone(self, run: int, feed: str, counts: Counts) -> None:
        """A version that says gone for every listed record that this run has not seen."""
        connection = self._writer.connection
        seen = f"{self._table}_seen"
        connection.execute(f"CREATE TEMP TABLE {seen[5:]} (version_id INTEGER PRIMARY KEY)")
        try:
            connection.execute("BEGIN")
            connection.executemany(f"INSERT INTO {seen} VALUES (?)", ((item,) for item in counts.unchanged))
            connection.execute(
                f"INSERT OR IGNORE INTO {seen} SELECT version_id FROM record_versions WHERE run = ?", (run,)
            )
            connection.execute("COMMIT")
            missing = connection.execute(
                f"SELECT version_id FROM ({self._listed()}) WHERE version_id NOT IN {seen}"
                f" AND record_id NOT IN (SELECT record_id FROM record_versions WHERE run = ?)",
                (feed, run),
            ).fetchall()
            for start in range(0, len(missing), CHUNK_ROWS):
                chunk = missing[start : start + CHUNK_ROWS]
                with self._writer.transaction() as tx:
                    tx.bulk(_GONE, [(run, tx.now, version) for (version,) in chunk])
                    tx.bulk(_GONE_LINK, [(run, version) for (version,) in chunk])
            counts.gone = len(missing)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute(f"DROP TABLE {seen}")

    def _listed(self) -> str:
        """The current version of every record that the feed lists, of the kinds that were staged."""
        return f"""
            SELECT v.version_id, v.record_id FROM source_records r
            JOIN record_versions v ON v.version_id = (
                SELECT w.version_id FROM record_versions w
                JOIN data_ingestion_runs d ON d.id = w.run AND d.status = 'completed'
                WHERE w.record_id = r.record_id ORDER BY w.version_id DESC LIMIT 1)
            WHERE r.feed = ? AND r.kind IN (SELECT DISTINCT kind FROM {self._table}) AND v.gone = 0"""

    def close(self) -> None:
        self._writer.connection.execute(f"DROP TABLE IF EXISTS {self._table}")

    def _flush(self) -> None:
        if self._waiting:
            connection = self._writer.connection
            marks = ", ".join("?" * len(_STAGED))
            # One transaction a batch: it touches the temporary file only, and holds no lock.
            connection.execute("BEGIN")
            try:
                connection.executemany(f"INSERT INTO {self._table} VALUES ({marks})", self._waiting)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
            self._waiting.clear()

    def _groups(self) -> Generator[tuple[str, bytes, list[Any]], None, None]:
        cursor = self._writer.connection.execute(
            f"SELECT {', '.join(_STAGED)} FROM {self._table} ORDER BY kind, identity, position"
        )
        for (kind, identity), rows in itertools.groupby(cursor, key=lambda row: (row[1], row[2])):
            yield kind, identity, list(rows)


def _take(groups: Iterator[Any], size: int) -> list[Any]:
    """Whole groups, until they hold about ``size`` rows."""
    taken: list[Any] = []
    held = 0
    for group in groups:
        taken.append(group)
        held += len(group[2])
        if held >= size:
            break
    return taken


def _match(
    tx: Transaction,
    run: int,
    feed: str,
    kind: str,
    identity: bytes,
    rows: list[Any],
    backfill_before: str,
    counts: Counts,
) -> None:
    """Pair the rows of one identity with its records: first what is equal, then in order."""
    known = tx.query(_CURRENT, (feed, kind, identity))
    left: list[Any] = []
    for row in rows:
        equal = next((k for k in known if k[3] == row[3] and not k[4]), None)
        if equal is None:
            left.append(row)
        else:
            known.remove(equal)
            counts.unchanged.append(equal[2])
    occurrence = 0
    for row in left:
        if known:
            # A record that was gone and is back as it was comes before one that changed.
            best = min(known, key=lambda k: (not (k[4] and k[3] == row[3]), bool(k[4]), k[1]))
            known.remove(best)
            record, _, version, _, _, was_backfill = best
        else:
            record, version, was_backfill = None, None, None
        if record is None:
            occurrence = occurrence or _occurrences(tx, feed, kind, identity)
            occurrence += 1
            record = tx.insert(
                "source_records",
                {"feed": feed, "kind": kind, "identity": identity, "occurrence": occurrence},
            )
        if version is None:
            counts.created += 1
            # What was filed long before anybody looked is history, not news.
            backfill = int(row[5] is None or row[5] < backfill_before)
        else:
            counts.updated += 1
            backfill = was_backfill
        tx.bulk(
            _VERSION,
            [(record, run, tx.now, row[0], *row[4:13], backfill, row[3], row[13])],
        )
        tx.bulk(_LINK, [(record, run, "created" if version is None else "updated")])


def _occurrences(tx: Transaction, feed: str, kind: str, identity: bytes) -> int:
    found = tx.one(
        "SELECT coalesce(max(occurrence), 0) FROM source_records"
        " WHERE feed = ? AND kind = ? AND identity = ?",
        (feed, kind, identity),
    )
    return int(found[0])
