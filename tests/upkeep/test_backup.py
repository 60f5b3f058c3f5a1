"""A copy under a running worker: consistent, verified, its head beside it; and what is refused."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cli, findings, scalar
from tests.execute import driving
from tests.fakes.alpaca import FakeAlpaca
from tradelog.config.schema import Config
from tradelog.errors import EvidenceBroken, StoreUnwritable, TradelogError, UsageError
from tradelog.evidence import chain
from tradelog.execute.worker import Worker
from tradelog.store.opening import open_writer
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer
from tradelog.upkeep import backup

Decide = Callable[..., str]


def test_a_copy_in_a_folder(cli: Cli, config: Config, decide: Decide, tmp_path: Path, writer: Writer) -> None:
    decide()
    folder = tmp_path / "copies"
    folder.mkdir()
    ended = cli("backup", str(folder))
    assert ended.code == 0, ended.err
    (copy,) = folder.glob("*.db")
    assert copy.name.startswith("log-20")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert findings(copy) == ()
    with Reader(copy) as reader:
        head = chain.head(reader)
    assert copy.with_name(f"{copy.name}.head").read_text() == head.line() + "\n"
    assert (
        ended.out == f"{copy}: {copy.stat().st_size:,} bytes, verified; its head is {head.seq} {head.hash}\n"
    )
    event = scalar(writer, "SELECT json_extract(body, '$.event') FROM journal ORDER BY seq DESC LIMIT 1")
    assert event == "store.backed_up"
    assert sorted(path.suffix for path in folder.iterdir()) == [".db", ".head"]


def test_the_newest_of_a_folder_stay(config: Config, decide: Decide, tmp_path: Path) -> None:
    decide()
    other = tmp_path / "log-notes.db"
    other.write_text("mine")
    made = []
    for _ in range(4):
        made.append(backup.back_up(config.store_path, f"{tmp_path}/", keep=2))
        driving.go(60)
    left = sorted(path.name for path in tmp_path.glob("log-2*"))
    kept = [item.path.name for item in made[2:] if item.path is not None]
    assert left == sorted(name + end for name in kept for end in ("", ".head"))
    assert made[3].removed == (made[1].path,)
    assert other.read_text() == "mine"


def test_a_copy_as_a_new_file(config: Config, decide: Decide, tmp_path: Path) -> None:
    decide()
    target = tmp_path / "copy.db"
    made = backup.back_up(config.store_path, str(target))
    assert made.path == target
    with pytest.raises(UsageError, match="is there already"):
        backup.back_up(config.store_path, str(target))


@pytest.mark.process
def test_a_copy_for_a_command(cli: Cli, config: Config, decide: Decide, tmp_path: Path) -> None:
    decide()
    taken = tmp_path / "taken.db"
    script = tmp_path / "take.py"
    script.write_text(
        "import os, sys\n"
        f"open({str(taken)!r}, 'wb').write(sys.stdin.buffer.read())\n"
        f"open({str(taken)!r} + '.head', 'w').write(os.environ['TRADELOG_BACKUP_HEAD'])\n"
    )
    before = set(config.store_path.parent.iterdir())
    ended = cli("backup", f"| {sys.executable} {script}")
    assert ended.code == 0, ended.err
    assert findings(taken) == ()
    with Reader(taken) as reader:
        assert chain.head(reader).line() == taken.with_name("taken.db.head").read_text()
    assert set(config.store_path.parent.iterdir()) == before
    failed = cli("backup", "| false")
    assert (failed.code, "did not take the copy: it ended with 1" in failed.err) == (1, True)
    assert cli("backup", "| /no/such/program").code == 2
    assert set(config.store_path.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((" ",), "the target is empty"),
        (("|",), "the command is empty"),
        (("| 'x",), "cannot read"),
        (("{store}",), "is there already"),
        (("x.db", "--keep", "3"), "--keep needs a folder"),
        (("{folder}", "--keep", "0"), "--keep needs a folder, and at least 1"),
        (("| cat", "--keep", "3"), "--keep needs a folder"),
    ],
)
def test_what_is_no_target(
    cli: Cli, config: Config, decide: Decide, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    decide()
    ended = cli("backup", *(item.format(store=config.store_path, folder=tmp_path) for item in arguments))
    assert (ended.code, said in ended.err) == (2, True), ended


def test_a_place_that_is_not_there(cli: Cli, config: Config, decide: Decide, tmp_path: Path) -> None:
    decide()
    ended = cli("backup", str(tmp_path / "no" / "such" / "copy.db"))
    assert (ended.code, "cannot be written" in ended.err) == (5, True)
    assert cli("backup", f"{tmp_path}/no/").code == 5


def test_a_full_disk_leaves_nothing(
    config: Config, decide: Decide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "_sync", full)
    with pytest.raises(StoreUnwritable, match="No space left"):
        backup.back_up(config.store_path, f"{tmp_path}/")
    assert list(tmp_path.glob("log-2*")) == []


@pytest.mark.tampered
def test_a_store_that_does_not_verify_gives_no_copy(
    config: Config, decide: Decide, tmp_path: Path, writer: Writer
) -> None:
    decide()
    writer.connection.execute("DROP TRIGGER trade_decisions_intent")
    writer.connection.execute("UPDATE trade_decisions SET quantity = '999'")
    with pytest.raises(EvidenceBroken, match="does not verify"):
        backup.back_up(config.store_path, f"{tmp_path}/")
    assert list(tmp_path.glob("log-2*")) == []


def test_an_older_copy_is_not_left_half_replaced(
    config: Config, decide: Decide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy has its name only when it and its head are whole."""
    decide()
    renamed: list[str] = []
    replace = Path.replace

    def told(self: Path, target: Path) -> Path:
        if "log-2" in self.name:
            renamed.append(self.name.split(".db")[1])
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", told)
    backup.back_up(config.store_path, f"{tmp_path}/")
    monkeypatch.undo()
    assert renamed == [".partial.head", ".partial"]


def test_while_a_worker_sends(
    config: Config, worker: Worker, decide: Decide, fake: FakeAlpaca, tmp_path: Path
) -> None:
    """Copies of every moment are whole, and the worker waits for none of them."""
    for number in range(40):
        decide(symbol=f"S{number}", quantity="1")
    done = threading.Event()
    made: list[backup.Backup] = []
    failed: list[BaseException] = []

    def copy() -> None:
        number = 0
        try:
            while not done.is_set() or not made:
                number += 1
                made.append(backup.back_up(config.store_path, str(tmp_path / f"{number}.db")))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=copy)
    thread.start()
    for _ in range(3):
        worker.drain()
        worker.poll()
    done.set()
    thread.join(60)
    assert failed == []
    assert len(fake.orders) == 40
    for item in made:
        assert item.path is not None
        assert findings(item.path) == ()
    heads = [item.head.seq for item in made]
    assert heads == sorted(heads)


def test_a_copy_opens_as_a_store(config: Config, decide: Decide, tmp_path: Path) -> None:
    decide()
    target = tmp_path / "copy.db"
    backup.back_up(config.store_path, str(target))
    shutil.copy(target, tmp_path / "again.db")
    writer = open_writer(tmp_path / "again.db")
    assert writer.connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert scalar(writer, "SELECT count(*) FROM trade_decisions") == 1
    writer.close()


def test_a_command_that_hangs_is_left(
    config: Config, decide: Decide, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide()
    monkeypatch.setattr(backup, "COMMAND_SECONDS", 0.2)
    with pytest.raises(TradelogError, match=r"within 0\.2 s"):
        backup.back_up(config.store_path, "| sleep 5")
    assert not [name for name in os.listdir(config.store_path.parent) if "log-2" in name]
