"""Each row against the last digest that the journal has of it: none changed, missing, or added by hand.

What the journal says is gathered in temporary tables, so that memory stays flat however long it is; then
each table is read once, in its own order. SQLite writes a row's JSON, four times as fast as Python; what
does not agree is computed again here, by the rule itself, before anything is said of it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

from tradelog.evidence import difference
from tradelog.evidence.finding import Finding
from tradelog.store.audited import AUDITED, Audited, row_digest
from tradelog.store.reader import Reader

# A temporary table's pages; above it they go to a file.
CACHE_KIB = 65_536
# Rows of a table that are named; more than that are counted.
MOST_NAMED = 50
# The journal knows a bound account by its name, which two brokers may share: here the digest is the key.
BY_DIGEST = ("broker_accounts",)
_decode = json.JSONDecoder().decode


class Told:
    """The last that the journal says of each row, and when it first did."""

    def __init__(self, reader: Reader) -> None:
        self._connection = reader.connection
        self._waiting: dict[str, dict[Any, tuple[Any, ...]]] = {table: {} for table in AUDITED}
        self.runs: dict[str, tuple[int, Any]] = {}
        self.schema: dict[tuple[str, str], str] = {}
        self._connection.execute(f"PRAGMA temp.cache_size = -{CACHE_KIB}")
        for table in AUDITED:
            # Numbers grow, so that such a table is written at its end.
            kind, form = ("INTEGER", "") if _is_numbered(reader, table) else ("TEXT", " WITHOUT ROWID")
            self._connection.execute(
                f"CREATE TEMP TABLE told_{table} (key {kind} PRIMARY KEY, first, last, version, digest){form}"
            )

    def take(self, seq: int, body: bytes, findings: list[Finding]) -> None:
        """What an entry says; nothing where its body was archived."""
        if not body:
            return
        try:
            said = _decode(body.decode())
            for table, key, version, digest in said["rows"]:
                waiting = self._waiting[table]
                if table in BY_DIGEST:
                    key = digest
                # A row changes a few times in a short while: only its last state is written down.
                first = waiting[key][1] if key in waiting else seq
                waiting[key] = (key, first, seq, version, digest)
            if "records" in said:
                self.runs[said["subject"]] = (seq, said["records"])
            if "schema" in said:
                self.schema = {(kind, name): digest for kind, name, digest in said["schema"]}
        except (ValueError, KeyError, TypeError) as error:
            text = f"what it says cannot be read: {type(error).__name__} {error}"
            findings.append(Finding("chain", f"entry {seq}", text))

    def flush(self, findings: list[Finding]) -> None:
        """Write down what has gathered; to be called now and then, and at the end."""
        for table, waiting in self._waiting.items():
            try:
                self._connection.executemany(
                    f"INSERT INTO temp.told_{table} VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE"
                    " SET last = excluded.last, version = excluded.version, digest = excluded.digest",
                    waiting.values(),
                )
            except sqlite3.Error as error:
                findings.append(Finding("chain", table, f"entries name rows that cannot be: {error}"))
            waiting.clear()

    def close(self) -> None:
        """Drop the temporary tables."""
        for table in AUDITED:
            self._connection.execute(f"DROP TABLE IF EXISTS temp.told_{table}")


def check(reader: Reader, findings: list[Finding]) -> int:
    """Every audited row against what was told of it; returns how many rows there are."""
    rows = 0
    for table in AUDITED:
        found = Found(reader, table, findings)
        rows += found.compare()
        found.name_missing()
    return rows


class Found:
    """One table: what it holds, beside what the journal says that it holds."""

    def __init__(self, reader: Reader, table: str, findings: list[Finding]) -> None:
        self._reader = reader
        self._table = table
        self._audited = AUDITED[table]
        self._findings = findings
        self._named = 0
        self._unnamed = 0
        self._matched = 0
        # Of a table that is looked up by digest: those that its rows have.
        self._digests: list[str] = []

    def compare(self) -> int:
        """Compare every row with its digest; returns how many there were."""
        count = 0
        for key, text, last, version, digest in self._rows():
            count += 1
            if text is not None and sha256(text).hexdigest() == digest:
                self._matched += 1
            elif last is None:
                self._say(key, "is in no entry of the journal: it was added by hand")
            elif text is None:
                self._say(key, f"entry {last} names a version {version} of its columns that is none of ours")
            elif digest is None:
                self._say(key, f"was archived by entry {last}, and is here again")
            else:
                self._matched += 1
                self._differs(key, last, version or 1, digest)
        return count

    def name_missing(self) -> None:
        """Rows that the journal has and the table has not; what was archived is told as such there."""
        table = self._table
        told = self._reader.value(f"SELECT count(*) FROM temp.told_{table} WHERE digest IS NOT NULL")
        if told > self._matched:
            self._reader.connection.execute("CREATE TEMP TABLE here (key PRIMARY KEY) WITHOUT ROWID")
            try:
                self._gather_keys()
                for row in self._reader.rows(
                    f"SELECT key, last FROM temp.told_{table} WHERE digest IS NOT NULL"
                    " AND key NOT IN (SELECT key FROM temp.here) ORDER BY last"
                ):
                    self._say(row["key"], f"is not there, and entry {row['last']} says that it is")
            finally:
                self._reader.connection.execute("DROP TABLE temp.here")
        if self._unnamed:
            text = f"and {self._unnamed} more rows of it"
            self._findings.append(Finding("row", table, text))

    def _rows(self) -> Iterator[tuple[Any, bytes | None, int | None, int | None, str | None]]:
        """(key, row as JSON, last entry, version of the column list, digest told) of each row."""
        if self._table in BY_DIGEST or self._audited.sealed:
            yield from self._by_hand()
            return
        cursor = self._reader.connection.cursor()
        cursor.row_factory = None
        yield from cursor.execute(_sql(self._table, self._audited))

    def _by_hand(self) -> Iterator[tuple[Any, bytes | None, int | None, int | None, str | None]]:
        audited, table = self._audited, self._table
        for row in self._reader.rows(f"SELECT {', '.join(audited.columns)} FROM {table}"):
            by_digest = table in BY_DIGEST
            key = row[audited.key]
            if by_digest:
                key = audited.digest(list(row.values()))
                self._digests.append(key)
            told = self._reader.one(f"SELECT * FROM temp.told_{table} WHERE key = ?", (key,))
            version = told["version"] if told else audited.version
            text = audited.text([row[name] for name in audited.of(version)], version).encode()
            name = row[audited.key]
            if told is None:
                yield name, text, None, None, None
            else:
                yield name, text, told["last"], version, told["digest"]

    def _gather_keys(self) -> None:
        """The keys of all rows that are here, by which the journal names them."""
        keep = "INSERT OR IGNORE INTO temp.here"
        if self._table in BY_DIGEST:
            marks = ((digest,) for digest in self._digests)
            self._reader.connection.executemany(f"{keep} VALUES (?)", marks)
        elif self._table == "decision_inputs":
            self._reader.connection.execute(
                f"{keep} SELECT d.decision_id FROM trade_decisions d"
                " WHERE EXISTS (SELECT 1 FROM decision_inputs i WHERE i.decision = d.id)"
            )
        else:
            self._reader.connection.execute(f"{keep} SELECT {self._audited.key} FROM {self._table}")

    def _differs(self, key: Any, last: int, version: int, digest: str) -> None:
        """Say so of a row, unless the rule itself gives the digest that was told."""
        if self._table == "decision_inputs":
            ids = [
                row["version_id"]
                for row in self._reader.rows(
                    "SELECT i.version_id FROM trade_decisions d JOIN decision_inputs i ON i.decision = d.id"
                    " WHERE d.decision_id = ? ORDER BY i.version_id",
                    (key,),
                )
            ]
            if row_digest(ids) != digest:
                self._say(key, f"its inputs are now {ids}; entry {last} has other ones")
            return
        columns = self._audited.of(version)
        row = self._reader.one(
            f"SELECT {', '.join(columns)} FROM {self._table} WHERE {self._audited.key} = ?", (key,)
        )
        assert row is not None
        if self._audited.digest(list(row.values()), version) == digest:
            return
        if self._named < MOST_NAMED:
            what = difference.of_row(self._reader, self._table, row, version, last, digest)
            self._say(key, f"differs from what entry {last} says: {what}")
        else:
            self._unnamed += 1

    def _say(self, key: Any, message: str) -> None:
        if self._named < MOST_NAMED:
            self._findings.append(Finding("row", f"{self._table} {key}", message))
            self._named += 1
        else:
            self._unnamed += 1


def _sql(table: str, audited: Audited) -> str:
    if table == "decision_inputs":
        return (
            "SELECT coalesce(d.decision_id, 'of no decision, ' || i.decision), CAST(i.ids AS BLOB), k.last,"
            " k.version, k.digest"
            " FROM (SELECT decision, json_group_array(version_id) AS ids FROM decision_inputs"
            " GROUP BY decision) i LEFT JOIN trade_decisions d ON d.id = i.decision"
            " LEFT JOIN temp.told_decision_inputs k ON k.key = d.decision_id"
        )
    by_version = " ".join(
        f"WHEN {number} THEN json_array({_listed(audited.of(number))})"
        for number in range(1, audited.version + 1)
    )
    return (
        f"SELECT t.{audited.key}, CAST(CASE k.version {by_version} END AS BLOB), k.last, k.version, k.digest"
        f" FROM {table} t LEFT JOIN temp.told_{table} k ON k.key = t.{audited.key}"
    )


def _listed(columns: Iterable[str]) -> str:
    # Bytes are written as hex, and only these may be missing.
    return ", ".join(
        f"CASE WHEN t.{name} IS NULL THEN NULL ELSE lower(hex(t.{name})) END"
        if name == "unchanged_ids"
        else f"t.{name}"
        for name in columns
    )


def _is_numbered(reader: Reader, table: str) -> bool:
    """Whether the key that the journal names a row by is its number."""
    types = {row["name"]: row["type"] for row in reader.rows(f"PRAGMA table_info({table})")}
    return types.get(AUDITED[table].key) == "INTEGER" and table != "decision_inputs"
