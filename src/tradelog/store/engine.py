"""Opening the store's file: the one place that knows its pragmas, permissions and faults."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tradelog.errors import StoreError, StoreLocked, StoreMissing, StoreNewer, StoreOlder, StoreUnwritable

# The newest migration in store/migrations/versions; a test holds the two together.
SCHEMA = "0012"
BUSY_SECONDS = 10.0
CACHE_KIB = 32_768
# 16 MB of WAL: at SQLite's own 4 MB a load writes its hottest pages to the file again and again.
CHECKPOINT_PAGES = 4_000


def connect_writer(
    path: Path, *, busy_seconds: float = BUSY_SECONDS, check_same_thread: bool = True
) -> sqlite3.Connection:
    """A connection that commits durably: WAL, synchronous=FULL, foreign keys on.

    Creates the directory (0700) and the file (0600) where they are missing. Transactions are the
    caller's: nothing begins by itself. Raises StoreUnwritable, StoreLocked, StoreError.
    """
    _create_private(path)
    with faults(path):
        connection = sqlite3.connect(
            path, timeout=busy_seconds, isolation_level=None, check_same_thread=check_same_thread
        )
        try:
            # FULL, always: an order at the broker whose row vanished in a power cut is the one
            # unforgivable bug. WAL makes it affordable.
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            # A load touches the pages of every index; SQLite's own 2 MB hold too few of them.
            connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
            connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        except BaseException:
            connection.close()
            raise
        return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """A read-only connection with rows by name.

    Raises StoreMissing, StoreOlder, StoreNewer, StoreLocked or StoreError.
    """
    try:
        is_there = path.exists()
    except PermissionError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}", hint="run as its owner") from error
    if not is_there:
        raise StoreMissing(f"no store at {path}", hint="fetch or decide something first; that creates it")
    with faults(path, "read"):
        try:
            connection, found = _open_to_read(path, "mode=ro")
        except sqlite3.OperationalError as error:
            # In a folder that cannot be written SQLite makes no -shm. Without a -wal nobody writes there
            # either, and the file alone is the store.
            if _name(error).startswith(_NO_ROOM) and not _wal(path):
                connection, found = _open_to_read(path, "mode=ro&immutable=1")
            else:
                raise
    if found == SCHEMA:
        return connection
    connection.close()
    if found is None:
        raise StoreError(f"{path} is a SQLite file, but not a tradelog store")
    refuse_newer(path, found)
    raise StoreOlder(
        f"{path} has schema {found}; this tradelog reads {SCHEMA}", hint="upgrade it: tradelog upgrade"
    )


def _open_to_read(path: Path, how: str) -> tuple[sqlite3.Connection, str | None]:
    """(connection, its schema)."""
    connection = sqlite3.connect(
        f"file:{_uri_path(path)}?{how}", uri=True, timeout=BUSY_SECONDS, isolation_level=None
    )
    try:
        connection.row_factory = sqlite3.Row
        return connection, schema_of(connection)
    except BaseException:
        connection.close()
        raise


# How SQLite says that it may not make the files that it needs beside the store.
_NO_ROOM = ("SQLITE_CANTOPEN", "SQLITE_READONLY")


def _wal(path: Path) -> bool:
    """Whether the newest commits may be in a -wal: it holds something, or a -shm says that it is in use."""
    try:
        return Path(f"{path}-wal").stat().st_size > 0 or Path(f"{path}-shm").exists()
    except FileNotFoundError:
        return False


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", "") or ""


def refuse_newer(path: Path, found: str) -> None:
    """Raise StoreNewer where a later tradelog wrote the store."""
    if found > SCHEMA:
        raise StoreNewer(
            f"{path} has schema {found}, newer than this tradelog's {SCHEMA}",
            hint="install the newer tradelog; the store was not touched",
        )


def refuse_foreign(path: Path, connection: sqlite3.Connection) -> None:
    """Raise StoreError where the file holds somebody else's tables: only an empty one becomes a store."""
    has_tables = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
    # Asked in this order: another process may be creating the store just now, all at once.
    if has_tables and schema_of(connection) is None:
        raise StoreError(f"{path} is a SQLite file of something else", hint="name another one in [store] url")


def schema_of(connection: sqlite3.Connection) -> str | None:
    """The migration that the store is at, None where it is no store yet."""
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
    if known is None:
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def schema_digests(connection: sqlite3.Connection) -> list[list[str]]:
    """Type, name and SHA-256 (sixteen hex digits) of each table, trigger and unique index."""
    # Here, where a report does not pay for loading it.
    from hashlib import sha256

    return [
        [kind, name, sha256(sql.encode()).hexdigest()[:16]]
        for kind, name, sql in connection.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%'"
            " AND (type IN ('table', 'trigger') OR sql LIKE 'CREATE UNIQUE%') ORDER BY type, name"
        )
    ]


@contextmanager
def faults(path: Path, doing: str = "write") -> Iterator[None]:
    """Turn SQLite's errors into the store's, which say what to do; ``doing`` is what was tried, in a word."""
    try:
        yield
    except sqlite3.OperationalError as error:
        name = _name(error)
        if doing == "read" and name.startswith(_NO_ROOM):
            raise _unreadable(path, error) from error
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise StoreLocked(
                f"{path} is locked by another process", hint="wait for it to end, then try again"
            ) from error
        if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")):
            raise StoreUnwritable(
                f"cannot write {path}: {error}", hint="check free disk space and permissions"
            ) from error
        raise
    except sqlite3.DatabaseError as error:
        name = _name(error)
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            raise StoreError(
                f"{path} is damaged or not a SQLite file: {error}", hint="restore it from a backup"
            ) from error
        raise


def _unreadable(path: Path, error: sqlite3.Error) -> StoreError:
    if not os.access(path, os.R_OK):
        return StoreError(f"cannot read {path}: permission denied", hint="run as the user that owns it")
    if _wal(path):
        return StoreError(
            f"cannot read {path} here: its newest commits are in {path.name}-wal, and the folder cannot be"
            " written",
            hint=f"copy {path.name} and {path.name}-wal together into a folder of your own",
        )
    return StoreError(f"cannot read {path}: {error}", hint="check permissions")


def _create_private(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives -wal and -shm the permissions of the file itself.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        if not path.is_file():
            raise StoreUnwritable(f"{path} is no file", hint="check [store] url in tradelog.toml") from None
    except OSError as error:
        raise StoreUnwritable(
            f"cannot create {path}: {error.strerror}", hint="check [store] url in tradelog.toml"
        ) from error


def _uri_path(path: Path) -> str:
    return str(path.resolve()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
