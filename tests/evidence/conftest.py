"""A store with the whole chain in it, made once by the commands themselves; a copy for each test."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import process_environment
from tests.in_process import Ended, run_program

Change = Callable[..., None]


def run(home: Path, *arguments: str, **environment: str) -> Ended:
    """``tradelog ARGUMENTS`` in this process, on the store in ``home``."""
    return run_program(home, process_environment(home, **environment), arguments)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real disclosures fetched twice, decided on, executed; a decision by hand; and one that failed."""
    home = tmp_path_factory.mktemp("finished")
    subprocess.run(
        [sys.executable, "-m", "tradelog", "demo", "--dir", str(home)], check=True, capture_output=True
    )
    lines = (Path(__file__).parents[2] / "examples" / "house_2021_11.csv").read_text().splitlines()
    (home / "again.csv").write_text("\n".join([*lines[:40], lines[40].replace("AAPL", "AAPL ")]) + "\n")
    for arguments in (
        ("fetch", "congress", "--file", "again.csv"),
        ("decide", "buy", "2", "AAPL", "--why", "by hand"),
        ("decide", "buy", "9", "NOPRICE", "--why", "a price that nobody knows"),
        ("run-worker", "--once"),
    ):
        ended = run(home, *arguments)
        assert ended.code == 0, (arguments, ended)
    return home


@pytest.fixture
def home(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, for one test."""
    home = tmp_path / "copy"
    shutil.copytree(finished, home)
    return home


@pytest.fixture
def store(home: Path) -> Path:
    return home / "data" / "tradelog.db"


@pytest.fixture
def change(store: Path) -> Change:
    """Change the store behind tradelog's back: its triggers are dropped first, and put back at the end."""

    def run_sql(*statements: str, keep_dropped: bool = False) -> None:
        connection = sqlite3.connect(store, isolation_level=None)
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            before = connection.total_changes
            connection.execute(statement)
            assert connection.total_changes > before, f"changed nothing: {statement}"
        for _, sql in () if keep_dropped else triggers:
            connection.execute(sql)
        connection.close()

    return run_sql
