"""A copy in the place of the store, by restore or by hand: what is submitted then, and what is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cli, findings, process_environment, scalar
from tests.execute.driving import ENVIRONMENT, go, state
from tests.fakes.alpaca import KEYS, FakeAlpaca
from tradelog.config.schema import Config
from tradelog.decide import record
from tradelog.execute.brokers.alpaca import AlpacaBroker
from tradelog.execute.worker import Worker
from tradelog.store import head_file
from tradelog.store.opening import open_writer
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer
from tradelog.upkeep import backup

Decide = Callable[..., str]


class Shop:
    """Opens the store anew for each thing that is done, as processes do."""

    def __init__(self, config: Config, fake: FakeAlpaca) -> None:
        self.config = config
        self.fake = fake

    def decide(self, **more: str) -> str:
        values = {
            "symbol": "AAPL",
            "side": "buy",
            "quantity": "10",
            "strategy": "x",
            "rationale": {"why": "y"},
        }
        writer = open_writer(self.config.store_path)
        made = record.record(writer, self.config.account, record.parse({**values, **more}))
        writer.close()
        return made.decision_id

    def work(self, *, steps: int = 3) -> list[tuple[str, str]]:
        """A worker from start to finish; returns the requests that it made."""
        before = len(self.fake.seen)
        writer = open_writer(self.config.store_path)
        worker = Worker(writer, AlpacaBroker(self.fake.url, *KEYS, connect=1, read=1), self.config)
        worker.start()
        for _ in range(steps):
            worker.heartbeat()
            worker.drain()
            worker.poll()
            go(3)
        worker.finish()
        writer.close()
        return [(item.method, item.path.split("?")[0]) for item in self.fake.seen[before:]]

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        writer = open_writer(self.config.store_path)
        try:
            return writer.connection.execute(sql).fetchall()
        finally:
            writer.close()

    def copy(self, path: Path) -> Path:
        backup.back_up(self.config.store_path, str(path))
        return path

    def open_alerts(self) -> list[object]:
        """But for that of the clock, which these tests put forward."""
        sql = "SELECT kind FROM alerts WHERE acknowledged_at IS NULL AND kind <> 'clock_offset' ORDER BY 1"
        return [kind for (kind,) in self.ask(sql)]


@pytest.fixture
def shop(config: Config, fake: FakeAlpaca) -> Shop:
    return Shop(config, fake)


def names(config: Config) -> list[str]:
    """What stands beside the store, but for what SQLite keeps there for readers."""
    found = [path.name for path in config.store_path.parent.iterdir()]
    return sorted(name.split("-2")[0] for name in found if not name.endswith(("-wal", "-shm")))


def posts(requests: list[tuple[str, str]]) -> list[int]:
    return [place for place, (method, _) in enumerate(requests) if method == "POST"]


def test_a_restored_store_submits_nothing_until_it_is_reconciled(
    shop: Shop, cli: Cli, tmp_path: Path, fake: FakeAlpaca, config: Config
) -> None:
    shop.decide()
    shop.work()
    waiting = shop.decide(symbol="MSFT")
    copy = shop.copy(tmp_path / "copy.db")
    ended = cli("restore", str(copy))
    assert ended.code == 6
    assert "nothing is submitted until a reconciliation has run" in ended.err
    assert shop.open_alerts() == ["restored"]
    assert cli("status", **ENVIRONMENT).code == 6
    # A worker whose reconciliation does not get through submits nothing, whatever a person resumes.
    fake.faults += [fault for _ in range(9) for fault in [_refuse_lists()]]
    assert cli("resume", "--by", "ann", "--why", "hurry").code == 3
    assert posts(shop.work(steps=1)) == []
    assert shop.open_alerts() == ["restored"]
    fake.faults.clear()
    requests = shop.work()
    assert len(posts(requests)) == 1
    assert ("GET", "/v2/orders") in requests[: posts(requests)[0]]
    assert shop.open_alerts() == []
    assert shop.ask(f"SELECT status FROM trade_decisions WHERE decision_id = '{waiting}'") == [("executed",)]
    assert findings(config.store_path) == ()


def _refuse_lists() -> object:
    from tests.fakes.alpaca import Fault

    return Fault(method="GET", path="/orders", status=503)


def test_what_was_submitted_after_the_copy_is_not_submitted_again(
    shop: Shop, cli: Cli, tmp_path: Path, fake: FakeAlpaca
) -> None:
    """Pending in the copy, filled at the broker: adopted. And what the copy does not know halts it."""
    pending = shop.decide()
    copy = shop.copy(tmp_path / "copy.db")
    shop.work()
    lost = shop.decide(symbol="MSFT")
    shop.work()
    assert len(fake.orders) == 2
    assert cli("restore", str(copy)).code == 6
    requests = shop.work()
    assert posts(requests) == []
    assert len(fake.orders) == 2
    known = shop.ask("SELECT decision_id, status, strategy_name FROM trade_decisions ORDER BY id")
    assert known[0] == (pending, "executed", "x")
    assert [row[1:] for row in known[1:]] == [("executed", "manual")]
    assert lost not in str(known)
    assert shop.open_alerts() == ["landed_unrecorded", "order_of_another_log", "store_behind"]
    # A person looks, and goes on.
    later = shop.decide(symbol="NVDA")
    assert posts(shop.work()) == []
    assert cli("resume", "--by", "ann", "--why", "MSFT is known").code == 0
    assert len(posts(shop.work())) == 1
    assert shop.ask(f"SELECT status FROM trade_decisions WHERE decision_id = '{later}'") == [("executed",)]
    assert posts(shop.work()) == []  # once


def test_what_it_replaces_is_kept(shop: Shop, cli: Cli, tmp_path: Path, config: Config) -> None:
    shop.decide()
    copy = shop.copy(tmp_path / "copy.db")
    shop.decide(symbol="MSFT")
    with Reader(config.store_path) as reader:
        last = reader.value("SELECT max(seq) FROM journal")
    ended = cli("restore", str(copy))
    assert names(config) == ["log.before-restore", "log.db"]
    (kept,) = config.store_path.parent.glob("log.before-restore-*.db")
    assert f"the store that it replaced is {kept}, which ended at entry {last}" in ended.out
    assert findings(kept) == ()
    with Reader(kept) as reader:
        assert reader.value("SELECT count(*) FROM trade_decisions") == 2
    with Reader(config.store_path) as reader:
        assert reader.value("SELECT count(*) FROM trade_decisions") == 1
        row = reader.one("SELECT * FROM restores")
    assert row is not None
    assert (row["replaced"], row["replaced_seq"], row["source"]) == (str(kept), last, str(copy))


def test_on_a_new_machine(shop: Shop, cli: Cli, tmp_path: Path, config: Config) -> None:
    shop.decide()
    copy = shop.copy(tmp_path / "copy.db")
    shutil.rmtree(config.store_path.parent)
    assert cli("restore", str(copy)).code == 6
    assert findings(config.store_path) == ()
    assert config.store_path.stat().st_mode & 0o777 == 0o600


def test_a_store_that_cannot_be_read_is_replaced_and_kept(
    shop: Shop, cli: Cli, tmp_path: Path, config: Config
) -> None:
    shop.decide()
    copy = shop.copy(tmp_path / "copy.db")
    config.store_path.write_bytes(b"SQLite format 3\0" + b"broken" * 1000)
    assert cli("restore", str(copy)).code == 6
    (kept,) = config.store_path.parent.glob("log.before-restore-*.db")
    assert b"broken" in kept.read_bytes()
    assert findings(config.store_path) == ()


@pytest.mark.tampered
def test_a_copy_that_does_not_verify_is_refused(shop: Shop, cli: Cli, tmp_path: Path, config: Config) -> None:
    import sqlite3

    shop.decide()
    copy = shop.copy(tmp_path / "copy.db")
    connection = sqlite3.connect(copy)
    connection.execute("DROP TRIGGER trade_decisions_intent")
    connection.execute("UPDATE trade_decisions SET quantity = '999'")
    connection.commit()
    connection.close()
    before = config.store_path.read_bytes()
    ended = cli("restore", str(copy))
    assert (ended.code, "nothing was changed" in ended.err) == (5, True)
    assert config.store_path.read_bytes() == before
    assert names(config) == ["log.db"]


def test_a_copy_that_is_not_the_one_of_its_head_is_refused(shop: Shop, cli: Cli, tmp_path: Path) -> None:
    shop.decide()
    copy = shop.copy(tmp_path / "copy.db")
    shop.decide(symbol="MSFT")
    other = shop.copy(tmp_path / "other.db")
    backup.head_path(other).replace(backup.head_path(copy))
    ended = cli("restore", str(copy))
    assert (ended.code, "is not the copy that copy.db.head was written for" in ended.err) == (5, True)


@pytest.mark.parametrize("name", ["no/such/file", "text.txt", "other.db", "{store}"])
def test_what_is_no_copy(shop: Shop, cli: Cli, tmp_path: Path, config: Config, name: str) -> None:
    import sqlite3

    shop.decide()
    (tmp_path / "text.txt").write_text("hello" * 300)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (x)")
    other.close()
    before = config.store_path.read_bytes()
    ended = cli("restore", str(tmp_path / name.format(store=config.store_path)))
    assert ended.code in (2, 5), ended
    assert len(ended.err.splitlines()) <= 2
    assert config.store_path.read_bytes() == before
    assert names(config) == ["log.db"]


@pytest.mark.process
def test_not_under_a_worker_that_runs(
    shop: Shop, cli: Cli, tmp_path: Path, home: Path, fake: FakeAlpaca
) -> None:
    shop.decide()
    copy = shop.copy(tmp_path / "copy.db")
    process = subprocess.Popen(
        [sys.executable, "-m", "tradelog", "run-worker"],
        env=process_environment(home, **ENVIRONMENT),
        stderr=subprocess.DEVNULL,
    )
    try:
        while not fake.orders and process.poll() is None:
            fake.wait(0.01)
        ended = cli("restore", str(copy))
        assert ended.code == 5
        assert f"process {process.pid} (worker) works on the store" in ended.err
    finally:
        process.terminate()
        process.wait(30)
    assert cli("restore", str(copy)).code == 6


def test_not_while_somebody_has_it_open(shop: Shop, cli: Cli, tmp_path: Path, config: Config) -> None:
    """A process that is not on record: the file tells."""
    shop.decide()
    copy = shop.copy(tmp_path / "copy.db")
    other = open_writer(config.store_path)
    with other.transaction() as tx:
        tx.journal("test", "x")
    reading = other.connection.execute("SELECT * FROM journal")
    reading.fetchone()
    with other.transaction() as tx:
        tx.journal("test", "y")
    ended = cli("restore", str(copy))
    assert ended.code == 5
    assert "has" in ended.err
    reading.close()
    other.close()


# A plain copy, by hand.


def test_an_older_copy_put_back_by_hand_is_noticed(
    shop: Shop, cli: Cli, tmp_path: Path, fake: FakeAlpaca, config: Config
) -> None:
    """By the head that the worker keeps beside the store, before any request that trades."""
    pending = shop.decide()
    old = tmp_path / "plain.db"
    shutil.copy(config.store_path, old)
    shop.work()
    shop.decide(symbol="MSFT")
    shop.work()
    kept = head_file.path_of(config.store_path).read_text()
    shutil.copy(old, config.store_path)
    shop.decide(symbol="NVDA")
    requests = shop.work()
    assert posts(requests) == []
    assert len(fake.orders) == 2
    assert "store_behind" in shop.open_alerts()
    assert shop.ask(f"SELECT status FROM trade_decisions WHERE decision_id = '{pending}'") == [("executed",)]
    seq = kept.split()[0]
    assert config.store_path.with_name(f"log.db.head.of-{seq}").read_text() == kept
    assert cli("status", **ENVIRONMENT).code == 6
    assert cli("resume", "--by", "ann", "--why", "seen").code == 0
    assert len(posts(shop.work())) == 1


def test_the_broker_s_ids_show_it_too(
    shop: Shop, cli: Cli, tmp_path: Path, fake: FakeAlpaca, config: Config
) -> None:
    """On another machine there is no head beside it."""
    shop.decide()
    shop.work()
    old = tmp_path / "plain.db"
    shutil.copy(config.store_path, old)
    shop.decide(symbol="MSFT")
    shop.work()
    shutil.copy(old, config.store_path)
    head_file.path_of(config.store_path).unlink()
    shop.decide(symbol="NVDA")
    assert posts(shop.work()) == []
    assert shop.open_alerts() == ["order_of_another_log", "store_behind"]


def test_a_new_store_on_an_old_account_is_no_older_copy(shop: Shop, fake: FakeAlpaca, config: Config) -> None:
    shop.decide()
    shop.work()
    shutil.rmtree(config.store_path.parent)
    shop.decide(symbol="MSFT")
    assert len(posts(shop.work())) == 1
    assert shop.open_alerts() == ["order_of_another_log"]
    assert posts(shop.work()) == []
    assert shop.ask("SELECT count(*) FROM halts") == [(0,)]


def test_a_head_that_is_cut_off_is_no_alarm(shop: Shop, config: Config) -> None:
    shop.decide()
    shop.work()
    for content in ("", "12", "x y", "\0\0"):
        head_file.path_of(config.store_path).write_text(content)
        shop.decide(symbol="MSFT")
        assert len(posts(shop.work())) == 1
    assert os.stat(head_file.path_of(config.store_path)).st_mode & 0o777 == 0o600


def test_the_head_is_kept_as_it_grows(worker: Worker, writer: Writer, decide: Decide, config: Config) -> None:
    decide()
    worker.heartbeat()
    head = head_file.read(config.store_path)
    assert head is not None
    assert head.seq == scalar(writer, "SELECT max(seq) FROM journal")
    assert head_file.missing(writer) is None
    assert state(writer, decide())[0] == "pending"


@pytest.mark.parametrize("name", ["e.db", "copy#1.db", "copy?1.db", "copy%41.db", "a copy.db"])
def test_an_empty_file_is_no_copy_whatever_its_name(
    shop: Shop, cli: Cli, tmp_path: Path, config: Config, name: str
) -> None:
    """And a good one of an odd name is itself."""
    shop.decide()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / name).touch()
    assert cli("restore", str(tmp_path / "empty" / name)).code == 2
    copy = shop.copy(tmp_path / name)
    backup.head_path(copy).unlink()
    assert cli("restore", str(copy)).code == 6
    with Reader(config.store_path) as reader:
        assert reader.value("SELECT count(*) FROM trade_decisions") == 1


def test_a_halt_of_a_person_since_the_copy_stays(
    shop: Shop, cli: Cli, tmp_path: Path, config: Config
) -> None:
    shop.decide()
    copy = shop.copy(tmp_path / "copy.db")
    assert cli("halt", "--why", "stop", **ENVIRONMENT).code == 0
    assert cli("restore", str(copy)).code == 6
    assert posts(shop.work()) == []
    assert shop.ask("SELECT scope, reason FROM halts WHERE ended_at IS NULL") == [("all", "stop")]
    assert cli("resume", "--by", "ann", "--why", "go").code == 0
    assert len(posts(shop.work())) == 1


def test_not_under_a_program_that_has_it_open_and_does_nothing(
    shop: Shop, cli: Cli, tmp_path: Path, config: Config
) -> None:
    """Nobody is on record; what it would write later would be lost."""
    import tradelog

    shop.decide()
    copy = shop.copy(tmp_path / "copy.db")
    with tradelog.open_log(config.path) as log:
        values = {"symbol": "AAPL", "side": "buy", "quantity": "1", "strategy": "s", "rationale": "r"}
        log.decide(**values)
        ended = cli("restore", str(copy))
        assert (ended.code, "another process has" in ended.err) == (5, True)
        log.decide(**values)
    with Reader(config.store_path) as reader:
        assert reader.value("SELECT count(*) FROM trade_decisions") == 3


def test_a_link_to_the_store_stays_one(shop: Shop, cli: Cli, tmp_path: Path, config: Config) -> None:
    shop.decide()
    copy = shop.copy(tmp_path / "copy.db")
    real = tmp_path / "disk" / "real.db"
    real.parent.mkdir()
    config.store_path.rename(real)
    config.store_path.symlink_to(real)
    assert cli("restore", str(copy)).code == 6
    assert config.store_path.is_symlink()
    assert len(list(real.parent.glob("real.before-restore-*"))) == 1


def test_resume_says_what_ends_a_restore(shop: Shop, cli: Cli, tmp_path: Path) -> None:
    shop.decide()
    assert cli("restore", str(shop.copy(tmp_path / "copy.db"))).code == 6
    ended = cli("resume", "--by", "ann", "--why", "x")
    assert (ended.code, "tradelog reconcile ends it" in ended.err) == (3, True)
    assert cli("halt", "--strategy", "x", "--why", "y", **ENVIRONMENT).code == 0
    assert cli("reconcile", **ENVIRONMENT).code == 0
    ended = cli("resume", "--by", "ann", "--why", "x")
    assert "tradelog resume --strategy x" in ended.err
