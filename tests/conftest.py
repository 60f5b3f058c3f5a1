"""Fixtures: a home with its own configuration and store, and the CLI as a process."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import freezegun
import pytest

from tests import transitions, wall_clock
from tests.in_process import Ended, run_program
from tradelog.config.load import load_config
from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.errors import NotFound, StoreError
from tradelog.evidence import bundle, standalone, verify
from tradelog.evidence.finding import Finding
from tradelog.store import upgrade
from tradelog.store.opening import open_writer
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer

ROOT = Path(__file__).resolve().parents[1]
wall_clock.begin()
transitions.watch()
# Frozen time must not reach what measures and schedules the tests: --durations would add up years.
freezegun.configure(extend_ignore_list=["_pytest.", "xdist", "execnet"])


def pytest_report_header() -> str:
    return f"SQLite {sqlite3.sqlite_version}, clock {wall_clock.now():%Y-%m-%d %H:%M} UTC"


# Fixtures and modules whose tests run the program as processes.
PROCESSES = {"program", "made", "worked", "checkout"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if PROCESSES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.process)


Cli = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("TRADELOG_", "QUIVER_", "APCA_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _what_a_test_leaves_verifies(request: pytest.FixtureRequest) -> Iterator[None]:
    """Invariant 6, whatever the entry point: every store that any test leaves behind is as journaled.

    ``tampered`` marks the tests that change one behind tradelog's back.
    """
    home = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if home is not None and not request.node.get_closest_marker("tampered"):
        for path in home.rglob("*.db"):
            files = sorted(path.parent.glob(f"{path.name}*"))
            content = sha256(b"".join(file.read_bytes() for file in files)).digest()
            # A copy of a store that has verified need not be verified again.
            if content in _VERIFIED:
                continue
            broken = findings(path)
            assert not broken, (path, broken)
            if _bundles(request):
                assert not broken_bundle(path), path
            _VERIFIED.add(content)


_VERIFIED: set[bytes] = set()


def _bundles(request: pytest.FixtureRequest) -> bool:
    """Whether a bundle of each store is checked, too: not in the quick tests, nor in the tables of a room."""
    is_quick = "not process" in request.config.getoption("markexpr")
    is_table = len(Path(request.node.nodeid.partition("::")[0]).parts) > 3
    return not (is_quick or is_table)


@pytest.fixture(autouse=True)
def _a_new_store_is_a_copy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrating an empty store would take most of a short test; the store's own tests do it."""
    if request.node.nodeid.startswith("tests/store/"):
        return
    migrate = upgrade.upgrade

    def copy(path: Path, **more: Any) -> Path | None:
        # A new file in WAL mode is one page.
        if more or path.stat().st_size > 4096:
            return migrate(path, **more)
        for name in (f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)
        with path.open("r+b") as stream:
            stream.write(make_empty_store())
        return None

    monkeypatch.setattr(upgrade, "upgrade", copy)


def findings(path: Path) -> tuple[Finding, ...]:
    """What is broken in a store of this schema; nothing where the file is none."""
    try:
        with Reader(path) as reader:
            return verify.verify(reader).findings
    except (StoreError, NotFound):
        return ()


def broken_bundle(path: Path) -> list[str]:
    """What is wrong with a bundle of the first and the last decisions of a store."""
    target = path.with_suffix(".zip")
    try:
        with Reader(path) as reader:
            ids = [row["decision_id"] for row in reader.rows("SELECT decision_id FROM trade_decisions")]
            if not ids:
                return []
            bundle.write(reader, target, "all", [*ids[:5], *ids[-5:]])
    except (StoreError, NotFound):
        return []
    return list(standalone.check(standalone.read(target)))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with a tradelog.toml: a simulated broker and prices for a few symbols."""
    return furnished(tmp_path)


def furnished(folder: Path) -> Path:
    (folder / "prices.csv").write_text(
        "# test prices\nsymbol,date,close,volume\n"
        "AAPL,2026-01-05,100,1000\nMSFT,2026-01-05,200,1000\nABC,2026-01-05,10,\n"
    )
    (folder / "tradelog.toml").write_text(
        '[store]\nurl = "sqlite:///store/log.db"\n[market]\nprices = "prices.csv"\n'
    )
    return folder


@pytest.fixture
def config(home: Path) -> Config:
    return load_config(home / "tradelog.toml")


_migrate = upgrade.upgrade


@lru_cache(maxsize=1)
def make_empty_store() -> bytes:
    """The file of a store with nothing in it, to be copied: making one takes ten times as long.

    It dates from long ago, because the times of a store never go back.
    """
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: datetime(2000, 1, 1, tzinfo=UTC))
        path = Path(folder) / "log.db"
        _migrate(path)
        open_writer(path, actor="test").close()
        return path.read_bytes()


@pytest.fixture
def writer(config: Config) -> Iterator[Writer]:
    path = config.store_path
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(make_empty_store())
    opened = open_writer(path, actor="test")
    yield opened
    opened.close()


@pytest.fixture
def cli(home: Path) -> Cli:
    """Run ``tradelog ARGS`` in this process, in a home of its own."""
    return cli_in(home)


def cli_in(home: Path) -> Cli:
    def run(*arguments: str, stdin: str | bytes | None = None, **environment: str) -> Ended:
        data = stdin.encode() if isinstance(stdin, str) else stdin or b""
        return run_program(home, process_environment(home, **environment), arguments, data)

    return run


@pytest.fixture
def program(home: Path) -> Cli:
    """Run ``tradelog ARGS`` as a process: for what is about the process itself."""
    return program_in(home)


def program_in(home: Path) -> Cli:
    def run(*arguments: str, stdin: str | bytes | None = None, **environment: str) -> Ended:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        ended = subprocess.run(
            [sys.executable, "-m", "tradelog", *arguments],
            input=data,
            capture_output=True,
            timeout=60,
            cwd=home,
            env=process_environment(home, **environment),
            check=False,
        )
        return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    return run


def process_environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TZ", "LC_ALL") if name in os.environ}
    return {**kept, **wall_clock.environment(), "TRADELOG_CONFIG": str(home / "tradelog.toml"), **more}


def scalar(writer: Writer, sql: str, *parameters: Any) -> Any:
    row = writer.connection.execute(sql, parameters).fetchone()
    return None if row is None else row[0]
