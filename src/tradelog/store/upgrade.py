"""Bringing a store to this tradelog's schema: copy, check the copy, migrate, check the result.

The copy stays beside the store as ``NAME.before-REVISION.db``. Two processes that meet an older
store at once are told apart by the database's own lock: the second finds nothing left to do.
"""

from __future__ import annotations

import os
import sqlite3
from importlib.metadata import version
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.pool import NullPool

from tradelog.errors import UpgradeFailed
from tradelog.store import engine
from tradelog.store.writer import Transaction, default_actor

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(path: Path, *, migrations: Path = MIGRATIONS) -> Path | None:
    """Upgrade the store at ``path``; returns the copy that was made, None for a new store.

    Raises UpgradeFailed with the store as it was; StoreLocked; StoreUnwritable.
    """
    target = ScriptDirectory(str(migrations)).get_current_head()
    connection = engine.connect_writer(path)
    try:
        with engine.faults(path):
            before = engine.schema_of(connection)
            if before == target:
                return None
            copy = None if before is None else _checked_copy(connection, path, before)
    finally:
        connection.close()
    with engine.faults(path):
        _migrate(path, migrations, str(target), copy)
    return copy


def _checked_copy(connection: sqlite3.Connection, path: Path, revision: str) -> Path:
    """A complete, private and intact copy, durable before the migration starts."""
    copy = path.with_name(f"{path.stem}.before-{_next(revision)}{path.suffix}")
    partial = copy.with_name(copy.name + ".partial")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    target = sqlite3.connect(partial)
    try:
        connection.backup(target)
        answer = target.execute("PRAGMA quick_check").fetchone()[0]
    finally:
        target.close()
    if answer != "ok":
        raise UpgradeFailed(
            f"the copy of {path} does not check out ({answer}); the store was not touched",
            hint="restore the store from a backup",
        )
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    partial.replace(copy)
    return copy


def _next(revision: str) -> str:
    return f"{int(revision) + 1:04d}"


def _migrate(path: Path, migrations: Path, target: str, copy: Path | None) -> None:
    url = URL.create("sqlite", database=str(path))
    database = create_engine(url, poolclass=NullPool, connect_args={"timeout": 30})

    # pysqlite's own transaction handling commits DDL half-way; this makes the whole upgrade one
    # transaction (docs.sqlalchemy.org, SQLite, "Enabling Non-Legacy SQLite Transactional Modes").
    @event.listens_for(database, "connect")
    def _connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(database, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    try:
        with database.begin() as connection:
            raw = connection.connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
            # Another process may have been faster since: only under the lock is it certain.
            before = engine.schema_of(raw)
            if before == target:
                return
            config.attributes["connection"] = connection
            command.upgrade(config, target)
            _journal_upgrade(raw, ScriptDirectory.from_config(config), before, target, copy)
    except sqlite3.Error:
        raise
    except Exception as error:
        cause = getattr(error, "orig", None)
        if isinstance(cause, sqlite3.Error):
            raise cause from error
        raise UpgradeFailed(
            f"upgrading {path} to {target} failed: {error}; the store is as it was",
            hint="report this with the line above; reads by the older tradelog go on",
        ) from error
    finally:
        database.dispose()


def _journal_upgrade(
    connection: sqlite3.Connection,
    scripts: ScriptDirectory,
    before: str | None,
    target: str,
    copy: Path | None,
) -> None:
    applied = [script.revision for script in scripts.iterate_revisions(target, before or "base")]
    tx = Transaction(connection, default_actor())
    for revision in reversed(applied):
        tx.insert(
            "schema_upgrades",
            {
                "revision": revision,
                "upgraded_at": tx.now,
                "tradelog_version": version("tradelog"),
                "copy_path": None if copy is None else str(copy),
            },
        )
        # What closes the tables is evidence as well: the last entry holds all that the schema is then.
        extra = {"schema": engine.schema_digests(connection)} if revision == target else {}
        tx.journal("store.upgraded", revision, **extra)
    tx.finish()
