"""From the rows of one answer to records and versions.

All rows are read into a temporary table first, so that nothing is written of an answer that turns
out unreadable half-way, memory stays flat, and no write transaction waits for a source. Then the
rows are matched against the records of the feed, identity by identity, and what is new or changed
is written in short transactions, set by set. It stays invisible until the run has completed.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from tradelog.domain import money
from tradelog.ingest.identity import BadRow, Record, digest, whole
from tradelog.ingest.pairing import Counts, Known, Row, Write, pair
from tradelog.store.run_digest import RunDigest
from tradelog.store.writer import Transaction, Writer

# A chunk may hold the write lock for 0.2 s. How many rows that is depends on how far the indexes have
# grown beyond the cache: each chunk is sized by what the last one took.
CHUNK_ROWS = 4000
MIN_ROWS = 250
CHUNK_SECONDS = 0.08
STAGE_ROWS = 1000
_numbers = itertools.count(1)

# What a version takes over from the staged row as it is.
_CARRIED = (
    *("position", "event_date", "filed_at", "filed_as_given", "symbol", "actor", "side"),
    *("amount_low", "amount_high", "flags", "payload", "document", "reference", "amends", "person"),
)
_STAGED = ("kind", "identity", "content_hash", *_CARRIED)

# The newest version of a record, of all that completed runs wrote.
_NEWEST = """
    SELECT w.version_id FROM record_versions w
    JOIN data_ingestion_runs d ON d.id = w.run AND d.status = 'completed'
    WHERE w.record_id = r.record_id ORDER BY w.version_id DESC LIMIT 1"""
_LISTED = f"""
    SELECT v.version_id, v.record_id FROM source_records r
    JOIN record_versions v ON v.version_id = ({_NEWEST})
    WHERE r.feed = :feed AND r.kind = :kind AND v.gone = 0"""
# A gone version repeats the last one without the payload: the source sent nothing now.
_REPEATED = ", ".join(name for name in _CARRIED if name not in ("position", "payload"))


class Staging:
    """The rows of one run, in tables that only this connection can see."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._waiting: list[tuple[Any, ...]] = []
        self.staged = 0
        self.bad: list[BadRow] = []
        self._bad_positions: set[int] = set()
        # A connection may have several runs open, of different tasks.
        self._name = f"staged_{next(_numbers)}"
        self._chunk_rows = CHUNK_ROWS // 4
        connection.execute(f"CREATE TEMP TABLE {self._name} (n INTEGER PRIMARY KEY, {', '.join(_STAGED)})")
        connection.execute(f"CREATE TEMP TABLE {self._name}_asked (n INTEGER PRIMARY KEY, kind, identity)")
        connection.execute(
            f"CREATE TEMP TABLE {self._name}_new"
            " (version_id INTEGER PRIMARY KEY, n, record_id, occurrence, is_record, outcome, backfill)"
        )

    def add(self, row: Record | BadRow) -> None:
        """Keep a row until the run is planned."""
        if isinstance(row, BadRow):
            self._add_bad(row)
            return
        self._waiting.append(
            (
                row.kind,
                digest(row.identity),
                digest(row.content),
                row.position,
                row.event_date,
                row.filed_at,
                row.filed_as_given,
                row.symbol,
                row.actor,
                row.side,
                None if row.amount_low is None else _number(row.amount_low),
                None if row.amount_high is None else _number(row.amount_high),
                json.dumps(row.flags) if row.flags else None,
                row.payload,
                row.document,
                row.reference,
                row.amends,
                row.person,
            )
        )
        self.staged += 1
        if len(self._waiting) >= STAGE_ROWS:
            self._flush()

    def _add_bad(self, row: BadRow) -> None:
        """Each has a position of its own: it is what the row is found by."""
        position = row.position
        while position in self._bad_positions:
            position += 1
        self._bad_positions.add(position)
        self.bad.append(BadRow(position, whole(row.reason), whole(row.payload)))

    def dates(self) -> tuple[str | None, str | None]:
        """The first and the last event date that really came."""
        self._flush()
        row = self._connection.execute(
            f"SELECT min(event_date), max(event_date) FROM {self._name}"
        ).fetchone()
        return row[0], row[1]

    def by_kind(self) -> dict[str, int]:
        """How many rows were staged of each kind."""
        self._flush()
        return dict(self._connection.execute(f"SELECT kind, count(*) FROM {self._name} GROUP BY kind"))

    def names(self, kind: str) -> list[str]:
        """The names in rows of a kind for which the source gave no id of its own."""
        self._flush()
        rows = self._connection.execute(
            f"SELECT DISTINCT actor FROM {self._name}"
            " WHERE kind = ? AND actor IS NOT NULL AND person IS NULL",
            (kind,),
        )
        return sorted(row[0] for row in rows)

    def plan(self, feed: str, complete: Iterable[str] = ()) -> Counts:
        """What `apply` and `mark_gone` would do, written nowhere."""
        counts = Counts(quarantined=len(self.bad))
        touched: set[int] = set()
        for chunk in self._chunks():
            self._connection.execute("BEGIN")
            try:
                for rows, records in self._with_known(chunk, feed):
                    for write in pair(rows, records, "", counts):
                        counts.take(write)
                        if write.known is not None and write.known.version_id is not None:
                            touched.add(write.known.version_id)
            finally:
                self._connection.execute("COMMIT")
        touched.update(counts.unchanged)
        if not self.bad:
            counts.gone = sum(
                version not in touched for kind in complete for version in self.listed(feed, kind)
            )
        return counts

    def apply(self, writer: Writer, run: int, feed: str, backfill_before: str, digest: RunDigest) -> Counts:
        """Write what is new or changed; ``backfill_before`` is when a filing counts as history."""
        counts = Counts(quarantined=len(self.bad))
        for chunk in self._chunks():
            began = time.monotonic()
            with writer.transaction() as tx:
                _beat(tx, run)
                writes = [
                    write
                    for rows, records in self._with_known(chunk, feed)
                    for write in pair(rows, records, backfill_before, counts)
                ]
                first, last = self._write(tx, run, feed, writes)
            self._size(time.monotonic() - began)
            for write in writes:
                counts.take(write)
            self._digest(digest, first, last)
        if self.bad:
            with writer.transaction() as tx:
                tx.bulk(
                    "INSERT INTO quarantined_rows (run, position, reason, payload) VALUES (?, ?, ?, ?)",
                    [(run, row.position, row.reason, row.payload) for row in self.bad],
                )
            digest.add("quarantined_rows", "t.run = ?", (run,))
        return counts

    def listed(self, feed: str, kind: str) -> array[int]:
        """The current versions of all records that the feed lists of a kind."""
        rows = self._connection.execute(_LISTED, {"feed": feed, "kind": kind})
        return array("q", (row[0] for row in rows))

    def missing(self, feed: str, kind: str, run: int, version_ids: Iterable[int]) -> list[int]:
        """Listed versions of a kind that are neither ``version_ids`` nor superseded by this run."""
        self._connection.execute("CREATE TEMP TABLE seen (version_id INTEGER PRIMARY KEY)")
        try:
            sql = "INSERT OR IGNORE INTO temp.seen VALUES (?)"
            self._together(lambda: self._connection.executemany(sql, ((item,) for item in version_ids)))
            rows = self._connection.execute(
                f"SELECT version_id FROM ({_LISTED}) WHERE version_id NOT IN temp.seen AND record_id NOT IN"
                " (SELECT record_id FROM record_versions WHERE run = :run)",
                {"feed": feed, "kind": kind, "run": run},
            ).fetchall()
        finally:
            self._connection.execute("DROP TABLE temp.seen")
        return [row[0] for row in rows]

    def mark_gone(self, writer: Writer, run: int, versions: Sequence[int], digest: RunDigest) -> None:
        """Add a version marked gone for each of these, which the source no longer lists."""
        for start in range(0, len(versions), CHUNK_ROWS):
            with writer.transaction() as tx:
                _beat(tx, run)
                first = _next(tx, "record_versions", "version_id")
                chunk = versions[start : start + CHUNK_ROWS]
                self._replace("_new", ((first + n, old, *[None] * 5) for n, old in enumerate(chunk)))
                table = f"temp.{self._name}_new g CROSS JOIN record_versions v ON v.version_id = g.n"
                tx.bulk_from(
                    f"INSERT INTO record_versions (version_id, record_id, run, first_seen_at, position,"
                    f" backfill, gone, content_hash, payload, {_REPEATED})"
                    f" SELECT g.version_id, v.record_id, :run, :now, 0, v.backfill, 1, v.content_hash, '',"
                    f" {_REPEATED} FROM {table} ORDER BY g.version_id",
                    {"run": run, "now": tx.now},
                )
                tx.bulk_from(
                    "INSERT INTO ingestion_records (record_id, run, outcome)"
                    f" SELECT v.record_id, :run, 'gone' FROM {table} ORDER BY g.version_id",
                    {"run": run},
                )
            self._digest(digest, first, first + len(chunk))

    def close(self) -> None:
        """Drop the temporary tables."""
        for suffix in ("", "_asked", "_new", "_sorted"):
            self._connection.execute(f"DROP TABLE IF EXISTS temp.{self._name}{suffix}")

    def _flush(self) -> None:
        if self._waiting:
            marks = ", ".join("?" * len(_STAGED))
            sql = f"INSERT INTO temp.{self._name} ({', '.join(_STAGED)}) VALUES ({marks})"
            try:
                self._together(lambda: self._connection.executemany(sql, self._waiting))
            except UnicodeEncodeError:
                waiting = [
                    tuple(whole(value) if isinstance(value, str) else value for value in row)
                    for row in self._waiting
                ]
                self._together(lambda: self._connection.executemany(sql, waiting))
            self._waiting.clear()

    def _replace(self, suffix: str, rows: Iterable[tuple[Any, ...]]) -> None:
        table = f"temp.{self._name}{suffix}"
        width = 3 if suffix == "_asked" else 7
        self._connection.execute(f"DELETE FROM {table}")
        self._connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * width)})", rows)

    def _together(self, change: Any) -> None:
        """One transaction a batch: it touches the temporary file only, and holds no lock."""
        self._connection.execute("BEGIN")
        try:
            change()
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _size(self, seconds: float) -> None:
        """Size the next chunk so that it takes about as long as it should."""
        fitting = self._chunk_rows * CHUNK_SECONDS / max(seconds, 0.001)
        self._chunk_rows = max(MIN_ROWS, min(CHUNK_ROWS, int(fitting), 2 * self._chunk_rows))

    def _chunks(self) -> Iterator[list[tuple[str, bytes, list[Row]]]]:
        """Whole groups of one identity, about as many rows at a time as one transaction may write.

        No cursor stays open from chunk to chunk: an open one would keep the WAL from being reset.
        """
        self._flush()
        table = f"temp.{self._name}_sorted"
        self._connection.execute(f"DROP TABLE IF EXISTS {table}")
        self._connection.execute(
            f"CREATE TEMP TABLE {self._name}_sorted AS SELECT n, kind, identity FROM temp.{self._name}"
            " ORDER BY kind, identity, n"
        )
        last = 0
        while True:
            rows = self._sorted(last, self._chunk_rows)
            if not rows:
                return
            last += len(rows)
            while len(rows) >= self._chunk_rows and (more := self._sorted(last, 1)):
                if more[0][:2] != rows[-1][:2]:
                    break
                rows += more
                last += 1
            yield [
                (kind, identity, [Row(*row[2:]) for row in group])
                for (kind, identity), group in itertools.groupby(rows, key=lambda row: (row[0], row[1]))
            ]

    def _sorted(self, after: int, limit: int) -> list[Any]:
        return self._connection.execute(
            "SELECT o.kind, o.identity, s.n, s.content_hash, s.filed_at, s.person, s.amount_high"
            f" FROM temp.{self._name}_sorted o CROSS JOIN temp.{self._name} s ON s.n = o.n"
            " WHERE o.rowid > ? ORDER BY o.rowid LIMIT ?",
            (after, limit),
        ).fetchall()

    def _with_known(
        self, chunk: list[tuple[str, bytes, list[Row]]], feed: str
    ) -> Iterator[tuple[list[Row], list[Known]]]:
        """Each group with the records that the feed already has of its identity."""
        records: dict[int, list[Known]] = {}
        if self._connection.execute(
            "SELECT 1 FROM source_records WHERE feed = ? LIMIT 1", (feed,)
        ).fetchone():
            self._replace("_asked", ((n, kind, identity) for n, (kind, identity, _) in enumerate(chunk)))
            for row in self._connection.execute(
                f"SELECT a.n, r.record_id, r.occurrence, v.version_id, v.content_hash, v.gone, v.backfill,"
                " v.filed_at, v.person, v.amount_high"
                f" FROM temp.{self._name}_asked a"
                " CROSS JOIN source_records r ON r.feed = ? AND r.kind = a.kind AND r.identity = a.identity"
                f" LEFT JOIN record_versions v ON v.version_id = ({_NEWEST}) ORDER BY a.n, r.occurrence",
                (feed,),
            ):
                records.setdefault(row[0], []).append(Known(*row[1:]))
        for n, (_, _, rows) in enumerate(chunk):
            yield rows, records.get(n, [])

    def _write(self, tx: Transaction, run: int, feed: str, writes: list[Write]) -> tuple[int, int]:
        """(first, one past the last) version id of what was written."""
        record = _next(tx, "source_records", "record_id")
        first = version = _next(tx, "record_versions", "version_id")
        new = []
        for write in writes:
            if write.known is None:
                record_id, record = record, record + 1
            else:
                record_id = write.known.record_id
            outcome = "created" if write.is_created else "updated"
            is_record = write.known is None
            new.append(
                (version, write.row.number, record_id, write.occurrence, is_record, outcome, write.backfill)
            )
            version += 1
        # In the order in which ids were given, so that the tables grow at their ends.
        self._replace("_new", new)
        table = f"temp.{self._name}_new g CROSS JOIN temp.{self._name} s USING (n)"
        tx.bulk_from(
            "INSERT INTO source_records (record_id, feed, kind, identity, occurrence)"
            f" SELECT record_id, :feed, kind, identity, occurrence FROM {table}"
            " WHERE g.is_record ORDER BY g.version_id",
            {"feed": feed},
        )
        tx.bulk_from(
            f"INSERT INTO record_versions (version_id, record_id, run, first_seen_at, backfill, gone,"
            f" content_hash, {', '.join(_CARRIED)})"
            f" SELECT version_id, record_id, :run, :now, g.backfill, 0, content_hash, {', '.join(_CARRIED)}"
            f" FROM {table} ORDER BY g.version_id",
            {"run": run, "now": tx.now},
        )
        tx.bulk_from(
            "INSERT INTO ingestion_records (record_id, run, outcome)"
            f" SELECT record_id, :run, outcome FROM temp.{self._name}_new g ORDER BY g.version_id",
            {"run": run},
        )
        return first, version

    @staticmethod
    def _digest(digest: RunDigest, first: int, last: int) -> None:
        """Take the versions from ``first`` to before ``last`` into the run's digest."""
        for part in ("record_versions", "payloads"):
            digest.add(part, "t.version_id >= ? AND t.version_id < ?", (first, last))


_number = lru_cache(maxsize=8192)(money.to_text)


def _beat(tx: Transaction, run: int) -> None:
    """Keep the run's heartbeat, or another process would take it for abandoned."""
    tx.unaudited("UPDATE data_ingestion_runs SET heartbeat_at = ? WHERE id = ?", (tx.now, run))


def _next(tx: Transaction, table: str, key: str) -> int:
    """The id that comes next: given under the write lock, so that ids are in commit order."""
    return int(tx.one(f"SELECT coalesce(max({key}), 0) + 1 FROM {table}")[0])
