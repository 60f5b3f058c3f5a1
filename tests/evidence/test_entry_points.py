"""Which commands write, and that all of them journal what they write; and what archiving may take out."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.conftest import findings
from tests.evidence.conftest import run
from tests.evidence.test_replay import decision, one
from tradelog.cli.app import COMMANDS
from tradelog.evidence import verify
from tradelog.store.opening import open_writer
from tradelog.store.reader import Reader

LIMIT = ("--type", "limit", "--limit", "1", "--tif", "gtc")
# Each command that writes to a store, with a way to have it write; in an order that works.
WRITERS: dict[str, tuple[str, ...]] = {
    "fetch": ("fetch", "congress", "--file", "again.csv"),
    "run-strategy": ("run-strategy", "congress", "--as-of", "2021-11-20"),
    "decide": ("decide", "buy", "1", "AAPL", "--why", "x"),
    "cancel": ("cancel", "{pending}", "--why", "x"),
    "halt": ("halt", "--why", "x"),
    "resume": ("resume", "--by", "me", "--why", "x"),
    "limits": ("limits", "set", "max_orders_per_day", "9", "--until", "2999-01-01 10:00", "--why", "x"),
    "replace": ("replace", "{resting}", "--limit", "2"),
    "approve": ("approve", "{waiting}", "--why", "x"),
    "decline": ("decline", "{waiting}", "--why", "x"),
    "run-worker": ("run-worker", "--once"),
    "reconcile": ("reconcile",),
    "resolve": ("resolve", "{break}", "--accept", "--why", "x"),
    "alerts": ("alerts", "--ack", "1"),
    "backup": ("backup", "copy.db"),
    "maintenance": ("maintenance",),
}
READERS = (
    *("status", "positions", "report", "decisions", "failures", "known", "runs", "show", "sources", "people"),
    *("verify", "replay", "export", "trades", "strategies", "lots", "digest"),
)
# Those that make a store, or another one, or only register that they asked the broker: their own tests verify
# what they leave.
ELSEWHERE = ("init", "demo", "upgrade", "compare", "restore", "archive")
ARGUMENTS = {
    "report": ("AAPL",),
    "known": ("AAPL",),
    "show": ("{executed}",),
    "replay": ("{executed}",),
    "export": ("bundle", "{executed}", "-o", "x.zip"),
}


def test_every_command_is_known_to_write_or_to_read() -> None:
    assert {*WRITERS, *READERS, *ELSEWHERE} == set(COMMANDS)
    assert not set(WRITERS) & set(READERS)


def test_a_command_that_reads_writes_nothing(home: Path, store: Path) -> None:
    executed = decision(store, "AAPL")
    before = store.read_bytes()
    for name in READERS:
        ended = run(home, name, *(text.format(executed=executed) for text in ARGUMENTS.get(name, ())))
        assert ended.code in (0, 6), (name, ended)
    assert store.read_bytes() == before


def test_every_command_that_writes_journals_it(home: Path, store: Path) -> None:
    """One after the other on one store, which verifies after each of them."""
    text = (home / "tradelog.toml").read_text()
    (home / "tradelog.toml").write_text(text.replace("[maintenance]\n", '[maintenance]\nat = "00:00"\n'))
    with (home / "tradelog.toml").open("a") as stream:
        stream.write("[strategies.bot]\napproval = true\n")
    names = {"executed": decision(store, "AAPL")}
    for name, arguments in WRITERS.items():
        if name == "cancel":
            sql = "SELECT decision_id FROM trade_decisions WHERE status = 'pending' LIMIT 1"
            names["pending"] = str(one(store, sql))
        if name in ("approve", "decline"):
            line = {"strategy": "bot", "symbol": "MSFT", "side": "buy", "quantity": "1", "rationale": "x"}
            (home / "line.json").write_text(json.dumps(line))
            assert run(home, "decide", "--input", "line.json").code == 0
            names["waiting"] = newest(store)
        if name == "replace":
            assert run(home, "decide", "buy", "1", "AAPL", *LIMIT, "--why", "x").code == 0
            assert run(home, "run-worker", "--once").code == 0
            names["resting"] = newest(store)
        if name == "reconcile":
            _hold_elsewhere(home)
        if name == "resolve":
            names["break"] = str(one(store, "SELECT break_id FROM breaks LIMIT 1"))
        before = one(store, "SELECT max(seq) FROM journal")
        ended = run(home, *(text.format(**names) for text in arguments))
        assert ended.code in (0, 1, 6), (name, ended)
        assert one(store, "SELECT max(seq) FROM journal") > before, (name, ended)
        assert findings(store) == (), name


def newest(store: Path) -> str:
    return str(one(store, "SELECT decision_id FROM trade_decisions ORDER BY id DESC LIMIT 1"))


def _hold_elsewhere(home: Path) -> None:
    """Shares at the simulated broker that no fill explains, so that there is a break."""
    (path,) = (home / "data").glob("*simulated-broker*.db")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE fills SET quantity = '1' WHERE number = 1")
    connection.commit()
    connection.close()


def test_archiving_alone_may_take_rows_out(home: Path, store: Path) -> None:
    """Covered by a range of the same transaction, and told of; nothing before it, and nothing after."""
    writer = open_writer(store)
    last = writer.connection.execute("SELECT max(snapshot_id) FROM broker_snapshots").fetchone()[0]
    assert last > 2
    with writer.transaction() as tx:
        assert tx.archive("broker_snapshots", 1, 2, path="archive.zip", digest="0" * 64) == 2
        tx.journal("rows.archived", "broker_snapshots")
    for statement in (
        "DELETE FROM broker_snapshots WHERE snapshot_id = 3",
        "DELETE FROM archived_ranges",
        "UPDATE archived_ranges SET last_key = 99",
        "INSERT INTO archived_ranges SELECT 2, table_name, 1, 99, row_count, path, digest, seq, actor,"
        " archived_at FROM archived_ranges",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            writer.connection.execute(statement)
    # Announced and not journaled: the next entry closes the door, and nobody knows of the range.
    with pytest.raises(AssertionError, match="not journaled"), writer.transaction() as tx:
        tx.archive("broker_snapshots", 3, 3, path="archive.zip", digest="0" * 64)
    writer.close()
    with Reader(store) as reader:
        result = verify.verify(reader)
    assert result.findings == ()
    assert result.archived_rows == 2


@pytest.mark.tampered
def test_a_range_that_was_never_journaled_is_found(home: Path, store: Path) -> None:
    """Raw SQL can open the door for a moment: what went through it is missed."""
    connection = sqlite3.connect(store, isolation_level=None)
    connection.execute(
        "INSERT INTO archived_ranges SELECT 1, 'broker_snapshots', 1, 1, 1, 'x', '', max(seq) + 1, 'me', ''"
        " FROM journal"
    )
    connection.execute("DELETE FROM broker_snapshots WHERE snapshot_id = 1")
    connection.close()
    said = {(item.subject, item.message) for item in findings(store)}
    assert ("archived_ranges 1", "is in no entry of the journal: it was added by hand") in said
    assert any(subject == "broker_snapshots 1" and "is not there" in text for subject, text in said)


@pytest.mark.tampered
def test_an_entry_whose_text_is_archived_keeps_the_chain(home: Path, store: Path) -> None:
    writer = open_writer(store)
    with writer.transaction() as tx:
        tx.insert(
            "archived_ranges",
            {
                **{"table_name": "journal", "first_key": 1, "last_key": 1, "row_count": 1, "path": "x"},
                **{"digest": "", "seq": tx.seq + 1, "actor": "me", "archived_at": tx.now},
            },
        )
        tx.unaudited("UPDATE journal SET body = '' WHERE seq = 1")
        with pytest.raises(sqlite3.IntegrityError):
            tx.unaudited("UPDATE journal SET body = '', hash = x'00' WHERE seq = 1")
        with pytest.raises(sqlite3.IntegrityError):
            tx.unaudited("UPDATE journal SET body = '' WHERE seq = 2")
        tx.journal("rows.archived", "journal")
    with pytest.raises(sqlite3.IntegrityError):
        writer.connection.execute("UPDATE journal SET body = 'x' WHERE seq = 1")
    writer.close()
    with Reader(store) as reader:
        assert verify.chain_only(reader).findings == ()
