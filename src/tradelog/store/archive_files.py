"""Archive files: rows that were moved out of the store, compressed, each file checking itself.

A file is gzip of JSON lines: a header, a line per row as ``[table, {column: value}]``, and a last line with
the number of rows and the SHA-256 of the lines before it. The SHA-256 of the file stands in `ArchivedRange`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tradelog.errors import ArchiveMissing, EvidenceBroken, StoreUnwritable

FORMAT = 1
# Text barely shrinks further above this.
LEVEL = 6
Row = dict[str, Any]


def write(path: Path, rows: Iterable[tuple[str, Row]]) -> str:
    """Write a file, durably and whole or not at all; returns its SHA-256 as hex."""
    # Of this process alone: another one may be at the same rows.
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    digest, count = hashlib.sha256(), 0
    # No name and no time inside: the same rows give the same file.
    with (
        os.fdopen(descriptor, "wb") as raw,
        gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as out,
    ):

        def add(value: Any) -> None:
            line = (json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
            digest.update(line)
            out.write(line)

        add({"tradelog_archive": FORMAT})
        for table, row in rows:
            add([table, row])
            count += 1
        out.write(json.dumps({"rows": count, "sha256": digest.hexdigest()}).encode() + b"\n")
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    found = file_digest(partial)
    if path.exists() and file_digest(path) != found:
        partial.unlink()
        raise StoreUnwritable(f"{path} holds other rows", hint="[retention] folder: one for each store")
    partial.replace(path)
    return found


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of a file. Raises ArchiveMissing, EvidenceBroken for one that is cut off or was changed."""
    digest, count, last = hashlib.sha256(), 0, None
    try:
        with gzip.open(path, "rb") as stream:
            for line in stream:
                value = json.loads(line)
                if isinstance(value, dict) and "sha256" in value:
                    last = value
                    break
                digest.update(line)
                if isinstance(value, list):
                    count += 1
                    yield str(value[0]), value[1]
    except FileNotFoundError as error:
        raise ArchiveMissing(f"{path} is not there", hint="bring it back to that place") from error
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise EvidenceBroken(f"{path} cannot be read: {error}", hint="take another copy of it") from error
    if last != {"rows": count, "sha256": digest.hexdigest()}:
        raise EvidenceBroken(f"{path} is not as it was written", hint="take another copy of it")


def place(store: Path, name: str) -> Path:
    """Where a file is: its name is relative to the folder of the store, unless it says all."""
    return store.parent / name


def store_of(connection: sqlite3.Connection) -> Path:
    """The file of the store that a connection is open on."""
    return Path(connection.execute("PRAGMA database_list").fetchone()[2])


def payloads(connection: sqlite3.Connection, version_ids: Sequence[int]) -> dict[int, str]:
    """The payloads of these versions that are in files. Raises ArchiveMissing, EvidenceBroken."""
    files = connection.execute(
        "SELECT p.path, json_group_array(p.version_id) FROM archived_payloads p"
        " JOIN record_versions v ON v.version_id = p.version_id AND v.payload = ''"
        " WHERE p.version_id IN (SELECT value FROM json_each(?)) GROUP BY p.path ORDER BY p.path",
        (json.dumps(list(version_ids)),),
    ).fetchall()
    found: dict[int, str] = {}
    for name, listed in files:
        wanted = set(json.loads(listed))
        check(connection, name)
        for table, row in read(place(store_of(connection), name)):
            if table == "payloads" and row["version_id"] in wanted:
                found[row["version_id"]] = row["payload"]
    return found


def calls(store: Path, name: str, subject: str) -> list[Row]:
    """The exchanges of an attempt, or of a command, in a file. Raises ArchiveMissing, EvidenceBroken."""
    return [
        row
        for table, row in read(place(store, name))
        if table == "broker_calls" and subject in (row["execution_id"], row.get("command_id"))
    ]


def check(connection: sqlite3.Connection, name: str) -> None:
    """Raise EvidenceBroken for a file that is not the one whose digest the store holds; ArchiveMissing."""
    path = place(store_of(connection), name)
    told = connection.execute("SELECT digest FROM archived_ranges WHERE path = ? LIMIT 1", (name,)).fetchone()
    if not path.exists():
        raise ArchiveMissing(f"{path} is not there", hint="bring it back to that place")
    if told is None or file_digest(path) != told[0]:
        raise EvidenceBroken(f"{path} is not the file that was written", hint="take another copy of it")
