"""Store upgrades: a checked copy first, then one transaction, and never a silent one by a reader."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.conftest import Cli, scalar
from tradelog.config.schema import Config
from tradelog.errors import StoreNewer, StoreOlder, UpgradeFailed
from tradelog.store import engine, upgrade
from tradelog.store.opening import open_writer
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer

NEXT = f"{int(engine.SCHEMA) + 1:04d}"
REVISIONS = [f"{number:04d}" for number in range(1, int(engine.SCHEMA) + 1)]
MIGRATION = f'''
"""A later schema."""

import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{engine.SCHEMA}"


def upgrade() -> None:
    op.add_column("alerts", sa.Column("later", sa.TEXT(), nullable=True))
    {{more}}
'''


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Migrations with one more at the end, as the next release will have."""
    folder = tmp_path / "migrations"
    shutil.copytree(upgrade.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / f"{NEXT}_later.py").write_text(MIGRATION.format(more="pass"))
    return folder


def test_an_older_store_is_upgraded_after_a_checked_copy(writer: Writer, config: Config, later: Path) -> None:
    writer.close()
    copy = upgrade.upgrade(config.store_path, migrations=later)
    assert copy is not None
    assert copy.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(copy) as old, sqlite3.connect(config.store_path) as new:
        assert engine.schema_of(old) == engine.SCHEMA
        assert engine.schema_of(new) == NEXT
        assert new.execute(
            "SELECT revision, copy_path FROM schema_upgrades ORDER BY revision"
        ).fetchall() == [*((revision, None) for revision in REVISIONS), (NEXT, str(copy))]
        assert new.execute("SELECT count(*) FROM journal").fetchone()[0] == len(REVISIONS) + 1
        assert "later" in [row[1] for row in new.execute("PRAGMA table_info(alerts)")]
    old.close()
    new.close()
    assert upgrade.upgrade(config.store_path, migrations=later) is None


def test_a_migration_that_fails_leaves_the_store_as_it_was(
    writer: Writer, config: Config, later: Path
) -> None:
    path = later / "versions" / f"{NEXT}_later.py"
    path.write_text(MIGRATION.format(more='raise RuntimeError("half done")'))
    writer.close()
    with pytest.raises(UpgradeFailed, match="half done"):
        upgrade.upgrade(config.store_path, migrations=later)
    with sqlite3.connect(config.store_path) as connection:
        assert engine.schema_of(connection) == engine.SCHEMA
        assert "later" not in [row[1] for row in connection.execute("PRAGMA table_info(alerts)")]
    connection.close()
    with Reader(config.store_path) as reader:
        assert reader.value("SELECT count(*) FROM journal") == len(REVISIONS)


def test_a_writer_upgrades_and_a_reader_refuses_an_older_store(
    writer: Writer, config: Config, later: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.close()
    monkeypatch.setattr(engine, "SCHEMA", NEXT)
    monkeypatch.setattr(upgrade, "MIGRATIONS", later)
    monkeypatch.setattr(upgrade.upgrade, "__kwdefaults__", {"migrations": later})
    with pytest.raises(StoreOlder, match="schema") as caught:
        Reader(config.store_path)
    assert caught.value.exit_code == 5
    assert caught.value.hint is not None
    opened = open_writer(config.store_path)
    assert scalar(opened, "SELECT version_num FROM alembic_version") == NEXT
    opened.close()
    Reader(config.store_path).close()


def test_a_newer_store_is_refused_untouched(cli: Cli, config: Config, later: Path, writer: Writer) -> None:
    writer.close()
    upgrade.upgrade(config.store_path, migrations=later)
    before = config.store_path.read_bytes()
    with pytest.raises(StoreNewer):
        open_writer(config.store_path)
    with pytest.raises(StoreNewer):
        Reader(config.store_path)
    ended = cli("decide", "buy", "1", "AAPL", "--why", "x")
    assert ended.code == 5
    assert "newer" in ended.err
    assert config.store_path.read_bytes() == before


def test_a_missing_store_is_named(cli: Cli) -> None:
    ended = cli("runs")
    assert ended.code == 5
    assert "no store at" in ended.err
    assert "hint:" in ended.err
    assert cli("upgrade").code == 5


def test_upgrade_names_the_store(cli: Cli, writer: Writer) -> None:
    ended = cli("upgrade")
    assert ended.code == 0
    assert f"at schema {engine.SCHEMA}" in ended.out
