"""What a run of ingestion brought, as one digest in the entry that ends it.

Each row is digested by itself, in the order in which the run wrote it; a part's digest is taken over
those of its rows, and the run's over its parts. So a few rows can be shown with the digests of the
others only. The first eight bytes of each row's digest stay in ``run_row_digests``: the run's digest
proves that nothing was changed, and these tell where something was.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from tradelog.errors import StoreError
from tradelog.store.audited import row_text
from tradelog.store.journal import canonical
from tradelog.store.writer import Transaction

VERSION = 3
KEPT_BYTES = 8


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of a run: their columns by name, with the expression that reads each, and their order.

    A row is digested as canonical JSON, or by its ``raw`` column alone, as it is.
    """

    columns: Mapping[str, str]
    rows: str
    order: str
    raw: str | None = None

    def texts(self, where: str) -> str:
        """SQL for what each row's digest is taken over, in bytes; ``where`` is about the table as ``t``."""
        text = f"t.{self.raw}" if self.raw else f"json_array({', '.join(self.columns.values())})"
        return f"SELECT CAST({text} AS BLOB) FROM {self.rows} WHERE {where} ORDER BY {self.order}"

    def values(self, where: str) -> str:
        """SQL for the same rows, column by column."""
        listed = ", ".join(f"{expression} AS {name}" for name, expression in self.columns.items())
        return f"SELECT {listed} FROM {self.rows} WHERE {where} ORDER BY {self.order}"


def _of(table: str, columns: str, order: str, raw: str | None = None) -> Part:
    return Part({name: f"t.{name}" for name in columns.split()}, f"{table} t", order, raw)


# All that our own words say of a version, which record of which feed it is one of, and how it came.
_VERSION = (
    "version_id record_id run first_seen_at position event_date filed_at filed_as_given symbol actor side"
    " amount_low amount_high flags backfill gone content_hash document reference amends person"
)
PARTS: Mapping[str, Part] = {
    # What is missing beside a version is empty in its row, and not the row missing: so it is found here.
    "record_versions": Part(
        {name: f"t.{name}" for name in _VERSION.split()}
        | {"content_hash": "lower(hex(t.content_hash))"}
        | {"feed": "r.feed", "kind": "r.kind", "identity": "lower(hex(r.identity))"}
        | {"occurrence": "r.occurrence", "outcome": "l.outcome"},
        "record_versions t LEFT JOIN source_records r ON r.record_id = t.record_id"
        " LEFT JOIN ingestion_records l ON l.record_id = t.record_id AND l.run = t.run",
        "t.version_id",
    ),
    # What the source itself said, apart and as it is: the two can be told apart, and shown apart.
    "payloads": _of("record_versions", "version_id payload", "t.version_id", "payload"),
    "quarantined_rows": _of("quarantined_rows", "run position reason payload", "t.position"),
    "name_resolutions": _of(
        "name_resolutions", "resolution_id run feed name person version_id reason", "t.resolution_id"
    ),
}

# Signs that JSON may write in more than one way.
_SIGNS = "".join(map(chr, range(32))) + '"\\/\x7f\u2028é\U0001f4c8'


class RunDigest:
    """Fed with the rows of each part in their order, in any number of batches.

    SQLite writes the JSON: four times as fast as doing it here. Raises StoreError where it writes
    another text than `journal.canonical` does.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        written = connection.execute("SELECT json_array(?)", (_SIGNS,)).fetchone()[0]
        if written != row_text([_SIGNS]):
            raise StoreError(
                f"SQLite {sqlite3.sqlite_version} writes JSON in another way than the journal does",
                hint="use another build of SQLite; nothing was written",
            )
        self._has_archive = bool(
            connection.execute("SELECT EXISTS (SELECT 1 FROM archived_payloads)").fetchone()[0]
        )
        self._hashes = {part: sha256() for part in PARTS}
        self.rows = {part: bytearray() for part in PARTS}

    def add(self, part: str, where: str, parameters: Sequence[Any]) -> None:
        """The rows of a part that fit ``where``, which follow those that were added before."""
        update, kept = self._hashes[part].update, self.rows[part]
        for digest in row_digests(self._connection, part, where, parameters, archive=self._has_archive):
            update(digest)
            kept += digest[:KEPT_BYTES]

    def entry(self) -> list[Any]:
        """What the journal keeps: the version of this rule, and the digest as hex."""
        parts = [
            [part, len(self.rows[part]) // KEPT_BYTES, found.hexdigest()]
            for part, found in self._hashes.items()
        ]
        return [VERSION, sha256(canonical(parts).encode()).hexdigest()]

    def keep(self, tx: Transaction, run: int) -> list[Any]:
        """Write down the beginnings of the rows' digests; returns the `entry`, for the journal."""
        tx.bulk(
            "INSERT INTO run_row_digests (run, part, digests) VALUES (?, ?, ?)",
            [(run, part, bytes(kept)) for part, kept in self.rows.items() if kept],
        )
        return self.entry()


def row_digests(
    connection: sqlite3.Connection, part: str, where: str, parameters: Sequence[Any], *, archive: bool = True
) -> Iterator[bytes]:
    """The digest of each row of a part; of what is archived, the one that stands in its place."""
    cursor = connection.cursor()
    cursor.row_factory = None
    if part != "payloads" or not archive:
        for (text,) in cursor.execute(PARTS[part].texts(where), parameters):
            yield sha256(text).digest()
        return
    sql = (
        "SELECT CAST(t.payload AS BLOB), CASE WHEN t.payload = '' AND EXISTS (SELECT 1 FROM archived_ranges a"
        # Only for a file that the journal knows, and that has not come back.
        " WHERE a.table_name = 'payloads' AND a.path = p.path AND t.version_id BETWEEN a.first_key AND"
        " a.last_key AND NOT EXISTS (SELECT 1 FROM archive_returns r WHERE r.path = a.path))"
        " THEN p.digest END FROM record_versions t"
        " LEFT JOIN archived_payloads p ON p.version_id = t.version_id"
        f" WHERE {where} ORDER BY {PARTS[part].order}"
    )
    for text, digest in cursor.execute(sql, parameters):
        yield sha256(text).digest() if digest is None else digest


def of_run(connection: sqlite3.Connection, run: int) -> RunDigest:
    """The digest of a run, from what the store has of it now."""
    digest = RunDigest(connection)
    for part in PARTS:
        digest.add(part, "t.run = ?", (run,))
    return digest


def by_rule(connection: sqlite3.Connection, run: int, version: int) -> Any:
    """What the entry of a run would hold by the rule of ``version``. Raises ValueError for none we know."""
    rules = {1: _first, 2: _second, VERSION: lambda *given: of_run(*given).entry()}
    if version not in rules:
        raise ValueError(f"no rule {version} for the digest of a run is known here")
    return rules[version](connection, run)


# Runs that ended before schema 0005: whole tables, without what is said of a record itself.
_SECOND: Mapping[str, tuple[str, str]] = {
    "record_versions": (
        "version_id record_id run first_seen_at position event_date filed_at filed_as_given symbol actor"
        " side amount_low amount_high flags backfill gone content_hash payload document reference amends"
        " person",
        "version_id",
    ),
    "ingestion_records": (
        "record_id run outcome",
        "(SELECT v.version_id FROM record_versions v WHERE v.record_id = t.record_id AND +v.run = t.run)",
    ),
    "quarantined_rows": ("run position reason payload", "position"),
    "name_resolutions": ("resolution_id run feed name person version_id reason", "resolution_id"),
}


def _second(connection: sqlite3.Connection, run: int) -> list[Any]:
    """Version 2: a digest over each table's rows as JSON, with commas between them."""
    parts = []
    for table, (columns, order) in _SECOND.items():
        rows = [row_text(row) for row in _rows(connection, table, columns, order, run)]
        parts.append([table, len(rows), sha256(",".join(rows).encode()).hexdigest()])
    return [2, sha256(canonical(parts).encode()).hexdigest()]


def _first(connection: sqlite3.Connection, run: int) -> str:
    """Version 1, before schema 0002: one digest over the rows of all tables then, a line each."""
    versions = _SECOND["record_versions"][0].removesuffix(" document reference amends person")
    digest = sha256()
    for table, columns, order in (
        ("record_versions", versions, "version_id"),
        ("ingestion_records", _SECOND["ingestion_records"][0], "record_id"),
        ("quarantined_rows", *_SECOND["quarantined_rows"]),
    ):
        for row in _rows(connection, table, columns, order, run):
            digest.update(row_text(row).encode() + b"\n")
    return digest.hexdigest()


def _rows(
    connection: sqlite3.Connection, table: str, columns: str, order: str, run: int
) -> Iterator[Sequence[Any]]:
    listed = ", ".join(f"t.{name}" for name in columns.split())
    cursor = connection.cursor()
    cursor.row_factory = None
    return cursor.execute(f"SELECT {listed} FROM {table} t WHERE t.run = ? ORDER BY {order}", (run,))
