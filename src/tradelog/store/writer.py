"""The one write door. Every change of an audited row passes here and is journaled with it.

    with writer.transaction() as tx:
        tx.insert("trade_decisions", row)
        tx.journal("decision.recorded", decision_id)

A transaction takes the write lock at once (BEGIN IMMEDIATE), so that journal sequence, version
ids and times are assigned in commit order. ``tx.now`` is one moment for all rows of it and never
earlier than the last entry's, even if the machine's clock was set back.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from tradelog.domain import clock
from tradelog.errors import StoreError
from tradelog.store import engine, journal
from tradelog.store.audited import AUDITED

Row = Mapping[str, Any]


class Writer:
    """Owns one connection. Threads may share it where it was opened for that; one of them acts at a time."""

    def __init__(self, connection: sqlite3.Connection, path: Path, actor: str) -> None:
        self.connection = connection
        self.path = path
        self.actor = actor
        self._turn = threading.RLock()
        self._is_closed = False

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """All or nothing. Raises StoreLocked, StoreUnwritable; an unjournaled change is an error."""
        connection = self.connection
        with self._open(), engine.faults(self.path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                tx = Transaction(connection, self.actor)
                yield tx
                tx.finish()
                connection.execute("COMMIT")
            except BaseException:
                # A full disk has rolled back already, and a second ROLLBACK would hide it.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """This connection, for reads between transactions."""
        with self._open(), engine.faults(self.path):
            yield self.connection

    def rows(self, sql: str, parameters: Sequence[Any] | Row = ()) -> list[dict[str, Any]]:
        """Rows by column name, read between transactions."""
        with self._open(), engine.faults(self.path):
            cursor = self.connection.execute(sql, parameters)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    @contextmanager
    def _open(self) -> Iterator[None]:
        """One thread at a time. Raises StoreError after `close`."""
        with self._turn:
            if self._is_closed:
                raise StoreError(f"{self.path} was closed by this program", hint="open it anew")
            yield

    def close(self) -> None:
        """Close the store; later use raises StoreError."""
        with self._turn:
            self._is_closed = True
            self.connection.close()


class Transaction:
    def __init__(self, connection: sqlite3.Connection, actor: str) -> None:
        self._connection = connection
        self._actor = actor
        self._changed: dict[tuple[str, str], str | None] = {}
        last = connection.execute("SELECT seq, hash, body FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
        self._seq: int
        self._head: bytes
        self._seq, self._head = (0, journal.GENESIS) if last is None else (last[0], last[1])
        moment = clock.now_text()
        self.now = moment if last is None else max(moment, str(json.loads(last[2])["at"]))

    @property
    def seq(self) -> int:
        """The last journal sequence visible to this transaction: the basis of what it decides."""
        return self._seq

    def query(self, sql: str, parameters: Sequence[Any] | Row = ()) -> list[Any]:
        """All rows of a query, as tuples."""
        return self._connection.execute(sql, parameters).fetchall()

    def one(self, sql: str, parameters: Sequence[Any] | Row = ()) -> Any:
        """The first row, or None."""
        return self._connection.execute(sql, parameters).fetchone()

    def dicts(self, sql: str, parameters: Sequence[Any] | Row = ()) -> list[dict[str, Any]]:
        """Rows by column name."""
        cursor = self._connection.execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def insert(self, table: str, row: Row) -> int:
        """Insert a row in stored form (text, int, bytes, None); returns its rowid."""
        columns = tuple(row)
        cursor = self._connection.execute(_insert_sql(table, columns), tuple(row.values()))
        audited = AUDITED.get(table)
        if audited is not None:
            key = row.get(audited.key, cursor.lastrowid)
            if audited.columns[0] not in row:  # an integer key that SQLite chose
                row = {**row, audited.columns[0]: cursor.lastrowid}
            self._touch(table, key, [row.get(column) for column in audited.columns])
        return int(cursor.lastrowid or 0)

    def update(self, table: str, key: str, changes: Row, *, where: str = "", **conditions: Any) -> bool:
        """Change one row; False, and nothing done, where ``where`` (on named conditions) fails."""
        sql = _update_sql(table, tuple(changes), where)
        values = {f"set_{name}": value for name, value in changes.items()}
        found = self._connection.execute(sql, {**values, "key": key, **conditions}).fetchall()
        if not found:
            return False
        self._touch(table, key, found[0])
        return True

    def insert_inputs(self, number: int, decision_id: str, version_ids: Sequence[int]) -> None:
        """Link a decision, by its row number, to the record versions it used; digested as one list."""
        ordered = sorted(version_ids)
        self._connection.executemany(
            "INSERT INTO decision_inputs (decision, version_id) VALUES (?, ?)",
            [(number, version) for version in ordered],
        )
        self._touch("decision_inputs", decision_id, ordered)

    def unaudited(self, sql: str, parameters: Sequence[Any] | Row = ()) -> int:
        """Leases, heartbeats and workers: what changes without anything having happened."""
        return self._connection.execute(sql, parameters).rowcount

    def archive(self, table: str, first: int, last: int, *, path: str, digest: str) -> int:
        """Take the rows of an audited table out of it whose numbers are in a range; returns how many.

        They are in the file at ``path`` by then, whose SHA-256 is ``digest``. The entry that journals
        this says of each that it is gone, and is all that the triggers let it go for.
        """
        audited = AUDITED[table]
        number = audited.columns[0]
        condition = f"{number} BETWEEN ? AND ?"
        keys = self.query(f"SELECT {audited.key} FROM {table} WHERE {condition}", (first, last))
        self.note_archived(table, first, last, len(keys), path=path, digest=digest)
        self.unaudited(f"DELETE FROM {table} WHERE {condition}", (first, last))
        self._changed |= {(table, str(key)): None for (key,) in keys}
        return len(keys)

    def note_archived(self, table: str, first: int, last: int, count: int, *, path: str, digest: str) -> None:
        """Record that rows are in a file; the triggers let them go under the entry that comes next."""
        self.insert(
            "archived_ranges",
            {
                "table_name": table,
                "first_key": first,
                "last_key": last,
                "row_count": count,
                "path": path,
                "digest": digest,
                "seq": self._seq + 1,
                "actor": self._actor,
                "archived_at": self.now,
            },
        )

    def bulk(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Rows of an ingestion run, which the entry that ends the run covers by a `run_digest`."""
        self._connection.executemany(sql, rows)

    def bulk_from(self, sql: str, parameters: Sequence[Any] | Row = ()) -> None:
        """INSERT ... SELECT of such rows: one statement for many rows opens one statement journal."""
        self._connection.execute(sql, parameters)

    def journal(self, event: str, subject: str, **extra: Any) -> int:
        """Write the entry for all rows changed since the last one; returns its sequence."""
        rows = [
            [table, key, AUDITED[table].version, digest] for (table, key), digest in self._changed.items()
        ]
        body = journal.canonical(
            {
                "at": self.now,
                "actor": self._actor,
                "event": event,
                "subject": subject,
                "rows": rows,
                **extra,
            }
        )
        body_hash = sha256(body.encode()).digest()
        self._seq += 1
        self._head = journal.link(self._head, self._seq, body_hash)
        self._connection.execute(
            "INSERT INTO journal (seq, body, body_hash, hash) VALUES (?, ?, ?, ?)",
            (self._seq, body, body_hash, self._head),
        )
        self._changed.clear()
        return self._seq

    def journal_rest(self, event: str, subject: str) -> None:
        """Write an entry for what no entry covers yet, if anything."""
        if self._changed:
            self.journal(event, subject)

    def finish(self) -> None:
        """Append the entry of this transaction, before it commits."""
        if self._changed:
            left = ", ".join(sorted({table for table, _ in self._changed}))
            raise AssertionError(f"a change of {left} was not journaled")

    def _touch(self, table: str, key: Any, values: Sequence[Any]) -> None:
        self._changed[table, str(key)] = AUDITED[table].digest(values)


@lru_cache(maxsize=256)
def _insert_sql(table: str, columns: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


@lru_cache(maxsize=256)
def _update_sql(table: str, columns: tuple[str, ...], where: str) -> str:
    audited = AUDITED[table]
    sets = ", ".join(f"{column} = :set_{column}" for column in columns)
    condition = f" AND ({where})" if where else ""
    return (
        f"UPDATE {table} SET {sets} WHERE {audited.key} = :key{condition}"
        f" RETURNING {', '.join(audited.columns)}"
    )


def default_actor() -> str:
    """``user@host`` of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, as in a container
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
