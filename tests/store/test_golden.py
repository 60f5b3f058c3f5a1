"""Every stored format against files that were written once: a slip fails here, not in a user's store.

``GOLDEN=write`` writes them anew, which says that a stored format has changed: a commit of its own.
"""

from __future__ import annotations

import getpass
import itertools
import json
import os
import secrets
import socket
import uuid
import zipfile
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tradelog.config.load import load_config
from tradelog.decide import record
from tradelog.domain import clock, ids
from tradelog.evidence import bundle
from tradelog.execute.brokers import connect
from tradelog.execute.worker import Worker
from tradelog.ingest.identity import Record
from tradelog.ingest.run import IngestionRun
from tradelog.store import journal, run_digest, upgrade
from tradelog.store.audited import AUDITED
from tradelog.store.opening import open_writer
from tradelog.store.reader import Reader

GOLDEN = Path(__file__).parents[1] / "golden"
# What each kind of value may be; a column takes the next of them.
VALUES = (
    7,
    None,
    "plain",
    "Zürich ☂ \U0001f4b0",
    'quote " and \\ and /',
    "line\nbreak\ttab\x01",
    -3,
    "",
    "0.10",
    2**53,
)


def golden(name: str, found: Any) -> None:
    """Hold what was made against the file of that name."""
    path = GOLDEN / name
    text = json.dumps(found, ensure_ascii=True, indent=1) + "\n"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text(), f"{name} has changed"


def test_row_digests_of_every_table_and_version() -> None:
    """A row of each table, in each version of its column list: the text that is digested, and its SHA-256."""
    result = {}
    for table, audited in sorted(AUDITED.items()):
        for version in range(1, audited.version + 1):
            columns = audited.of(version)
            # A sealed column holds text; the others whatever comes.
            values = [
                f"sealed {name}" if name in audited.sealed else VALUES[number % len(VALUES)]
                for number, name in enumerate(columns)
            ]
            result[f"{table} {version}"] = {
                "columns": list(columns),
                "values": values,
                "text": audited.text(values, version),
                "sha256": audited.digest(values, version),
            }
        # Without a version it is the newest.
        assert audited.digest(values) == result[f"{table} {audited.version}"]["sha256"]
    golden("row_digests.json", result)
    for entry in result.values():
        assert sha256(entry["text"].encode()).hexdigest() == entry["sha256"]


def test_canonical_json() -> None:
    samples: list[Any] = [
        None,
        True,
        False,
        0,
        -1,
        2**53 - 1,
        "",
        "é\u2028\U0001f4b0",
        '"\\/\b\f\n\r\t\x00\x1f\x7f',
        [],
        {},
        [1, [2, [3, {}]], "x"],
        {"b": 1, "a": {"z": None, "y": [True]}, "A": "upper first", "aa": 2, "_": 3},
    ]
    golden("canonical.json", [[sample, journal.canonical(sample)] for sample in samples])


def test_the_chain_of_entries() -> None:
    previous, result = journal.GENESIS, []
    for seq, body in enumerate(('{"event":"first"}', '{"event":"é"}', "{}"), 1):
        digest = sha256(body.encode()).digest()
        previous = journal.link(previous, seq, digest)
        result.append({"seq": seq, "body": body, "hash": previous.hex()})
    previous = journal.link(bytes(range(32)), 2**40 + 1, bytes(reversed(range(32))))
    golden("chain.json", {"entries": result, "of_a_large_number": previous.hex()})


def test_client_order_ids() -> None:
    result = [
        ids.client_order_id("dec_0123456789abcdef", "fedcba9876543210" * 4, number)
        for number in (1, 2, 10, 99)
    ]
    golden("client_order_ids.json", result)
    assert max(map(len, result)) <= 48


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of a day whose clock, ids and machine are always the same: data, a fill, two refusals."""
    ticks = itertools.count()
    moment = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
    numbers = itertools.count(1)
    monkeypatch.setattr(clock, "now", lambda: moment + timedelta(milliseconds=next(ticks)))
    monkeypatch.setattr(clock, "running_seconds", lambda: next(ticks) / 1000)
    monkeypatch.setattr(secrets, "token_bytes", lambda count: sha256(b"%d" % next(numbers)).digest()[:count])
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=next(numbers)))
    monkeypatch.setattr(socket, "gethostname", lambda: "golden")
    monkeypatch.setattr(os, "getpid", lambda: 4711)
    monkeypatch.setattr(getpass, "getuser", lambda: "golden")
    monkeypatch.setattr(upgrade, "version", lambda _: "1.2.3")
    for name in ("tradelog.store.process", "tradelog.execute.session", "tradelog.ingest.run"):
        module = __import__(name, fromlist=["boot_id"])
        if hasattr(module, "boot_id"):
            monkeypatch.setattr(module, "boot_id", lambda: "boot")
    (tmp_path / "prices.csv").write_text("symbol,date,close,volume\nAAPL,2026-01-02,100.25,1000\n")
    (tmp_path / "tradelog.toml").write_text(
        '[store]\nurl = "sqlite:///log.db"\n[market]\nprices = "prices.csv"\n'
    )
    config = load_config(tmp_path / "tradelog.toml")
    writer = open_writer(config.store_path, actor="golden@golden")
    with IngestionRun(writer, "data_fetch:notes", "notes") as run:
        for number in range(3):
            payload = json.dumps({"n": number, "text": "é"}, ensure_ascii=False)
            run.add(
                Record(
                    kind="note",
                    position=number,
                    identity=(str(number),),
                    content=(payload,),
                    payload=payload,
                    symbol="AAPL",
                )
            )
    for values in (
        {
            "strategy": "manual",
            "symbol": "AAPL",
            "side": "buy",
            "quantity": "1.5",
            "rationale": {"why": "é"},
            "inputs": [1, 3],
        },
        {
            "strategy": "manual",
            "symbol": "AAPL",
            "side": "buy",
            "notional": "2000000",
            "rationale": {"why": "too large"},
        },
        {"strategy": "manual", "symbol": "NOPRICE", "side": "buy", "quantity": "2", "rationale": "x"},
    ):
        record.record(writer, config.account, record.parse(values))
    worker = Worker(writer, connect(config), config)
    worker.start()
    for _ in range(3):
        worker.drain()
        worker.poll()
    writer.close()
    return config.store_path


def test_the_journal_of_a_day(told: Path) -> None:
    """Each entry's text, and the chain's hashes: what a copy of a head elsewhere is held against."""
    with Reader(told) as reader:
        rows = reader.rows("SELECT seq, body, hash FROM journal ORDER BY seq")
        decisions = reader.rows("SELECT decision_id, decision_hash, client_order_id FROM trade_decisions")
        digests = reader.rows("SELECT run, part, digests FROM run_row_digests ORDER BY run, part")
    result = {
        "journal": [{"seq": row["seq"], "body": row["body"], "hash": row["hash"].hex()} for row in rows],
        "decisions": decisions,
        "run_row_digests": [[row["run"], row["part"], row["digests"].hex()] for row in digests],
    }
    assert len(rows) > 10
    assert set(run_digest.PARTS) >= {row["part"] for row in digests}
    golden("journal.json", result)


def test_the_members_of_a_bundle(told: Path, tmp_path: Path) -> None:
    """All of it but the page and the program, which are to be read and run, and not to be parsed."""
    target = tmp_path / "bundle.zip"
    with Reader(told) as reader:
        ids_ = [row["decision_id"] for row in reader.rows("SELECT decision_id FROM trade_decisions")]
        bundle.write(reader, target, "all", ids_)
    result: dict[str, Any] = {}
    with zipfile.ZipFile(target) as archive:
        for name in archive.namelist():
            text = archive.read(name).decode()
            if name.endswith(("index.html", "verify.py")):
                result[name] = "there"
            elif name.endswith("manifest.json"):
                result[name] = sorted(json.loads(text))
            elif name.endswith("manifest.sha256"):
                result[name] = len(text.split()[0])
            else:
                result[name] = text.splitlines()
    golden("bundle.json", result)
