"""The schema is one thing in three places: models, migrations, and the audited column lists."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from tests.conftest import scalar
from tradelog.config.schema import Config
from tradelog.domain.account import AccountKey
from tradelog.store import engine, run_digest
from tradelog.store.audited import AUDITED
from tradelog.store.models import SQLModel
from tradelog.store.opening import open_writer
from tradelog.store.upgrade import MIGRATIONS
from tradelog.store.writer import Writer

# What a digest leaves out: it changes without anything having happened.
NOT_AUDITED = {
    "data_ingestion_runs": {"heartbeat_at"},
    "trade_decisions": {"lease_owner", "lease_token", "lease_until"},
    "decision_inputs": {"decision"},
    # A sum of rows that are covered, and whether somebody was told.
    "trade_executions": {"fills_quantity"},
    "alerts": {"told_at", "tell_tries", "tell_error", "message_id"},
}
UNAUDITED_TABLES = {
    *("workers", "journal", "reconcile_marks", "run_row_digests", "report_figures"),
    *("alert_groups", "alert_messages", "alert_deliveries"),
    # Digests of rows that a run's own digest proves.
    "archived_payloads",
}


def test_models_and_migrations_agree(writer: Writer, config: Config) -> None:
    database = create_engine(f"sqlite:///{config.store_path}")
    with database.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []
    database.dispose()


def test_every_table_is_strict(writer: Writer) -> None:
    rows = writer.connection.execute("PRAGMA table_list").fetchall()
    loose = {row[1] for row in rows if row[0] == "main" and row[2] == "table" and not row[5]}
    assert loose <= {"alembic_version", "sqlite_schema"}


def test_the_engine_names_the_newest_migration() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == engine.SCHEMA


def test_every_column_is_audited_or_named_here_as_not() -> None:
    """Invariant 6: a column that no digest covers could be changed unseen."""
    covered = {name: set(audited.columns) for name, audited in AUDITED.items()}
    parts = run_digest.PARTS
    covered |= {name: set(part.columns) for name, part in parts.items() if name != "payloads"}
    covered["record_versions"] |= set(parts["payloads"].columns)
    covered["source_records"] = covered["ingestion_records"] = covered["record_versions"]
    for name, table in SQLModel.metadata.tables.items():
        if name in UNAUDITED_TABLES:
            assert name not in covered
            continue
        assert {column.name for column in table.columns} - covered[name] == NOT_AUDITED.get(name, set()), name


def test_file_and_directory_are_private(config: Config) -> None:
    path = config.store_path
    open_writer(path, actor="test").close()
    assert path.parent.stat().st_mode & 0o777 == 0o700
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file


def test_writers_commit_durably(writer: Writer) -> None:
    """Invariant 1 rests on this: WAL with synchronous=FULL."""
    assert scalar(writer, "PRAGMA synchronous") == 2
    assert scalar(writer, "PRAGMA journal_mode") == "wal"
    assert scalar(writer, "PRAGMA foreign_keys") == 1


def tables_with(writer: Writer, name: str) -> list[str]:
    rows = writer.connection.execute(
        "SELECT tbl_name FROM sqlite_master WHERE type = 'trigger' AND name LIKE ?", (name,)
    )
    return [row[0] for row in rows]


def test_no_row_can_be_deleted_replaced_or_rewritten(writer: Writer) -> None:
    """Invariant 5: DELETE, UPDATE of what was meant, and INSERT OR REPLACE are closed."""
    from tradelog.decide import record

    values = {"strategy": "manual", "symbol": "AAPL", "side": "buy", "quantity": 1, "rationale": {"why": "x"}}
    record.record(writer, AccountKey("simulated", "paper", "default"), record.parse(values))
    connection = writer.connection
    for statement in (
        "DELETE FROM trade_decisions",
        "UPDATE trade_decisions SET quantity = '2'",
        "UPDATE trade_decisions SET decision_rationale = '{}'",
        "UPDATE trade_decisions SET client_order_id = 'x'",
        "INSERT OR REPLACE INTO trade_decisions SELECT * FROM trade_decisions",
        "DELETE FROM journal",
        "UPDATE journal SET body = '{}'",
        "INSERT OR REPLACE INTO journal SELECT * FROM journal WHERE seq = 1",
        "INSERT INTO journal SELECT 99, body, body_hash, hash FROM journal WHERE seq = 1",
        "INSERT INTO journal SELECT -1, body, body_hash, hash FROM journal WHERE seq = 1",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(statement)
    audited = set(AUDITED) | set(run_digest.PARTS) - {"payloads"}
    audited |= {"journal", "archived_payloads", "source_records", "ingestion_records", "run_row_digests"}
    assert set(tables_with(writer, "%_delete")) == audited
    assert set(tables_with(writer, "%_replace_0")) == audited
    assert set(tables_with(writer, "%_update")) | set(tables_with(writer, "%_intent")) == audited


def test_every_unique_key_is_closed_to_replace(writer: Writer) -> None:
    """INSERT OR REPLACE resolves any unique key by deleting: each key needs its trigger."""
    triggers = {
        row[0]: row[1]
        for row in writer.connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    }
    for name, table in SQLModel.metadata.tables.items():
        closing = [sql for trigger, sql in triggers.items() if trigger.startswith(f"{name}_replace_")]
        if not closing:
            continue
        keys = [set(table.primary_key.columns.keys())]
        keys += [
            set(constraint.columns.keys())
            for constraint in table.constraints
            if type(constraint).__name__ == "UniqueConstraint"
        ]
        for key in keys:
            expected = [all(f"{column} = NEW.{column}" in sql for column in key) for sql in closing]
            assert any(expected), (name, key)


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    from tradelog.errors import StoreError
    from tradelog.store.opening import open_writer

    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(StoreError, match="something else"):
        open_writer(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 1
    connection.close()


def test_a_store_is_not_any_sqlite_file(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    sqlite3.connect(path).close()
    path.write_bytes(b"not a database at all, but long enough to look like one" * 30)
    from tradelog.errors import StoreError
    from tradelog.store.reader import Reader

    with pytest.raises(StoreError, match="damaged or not a SQLite file"):
        Reader(path)
