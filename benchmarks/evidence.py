"""What verifying a store takes, and what journaling costs its writers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from benchmarks import outbox
from tradelog.config.load import load_config
from tradelog.decide import record
from tradelog.domain.account import AccountKey
from tradelog.evidence import verify
from tradelog.execute.worker import Worker
from tradelog.ingest.identity import Record
from tradelog.ingest.run import IngestionRun
from tradelog.ingest.sources.congress import read_file
from tradelog.store import run_digest
from tradelog.store.opening import open_writer
from tradelog.store.reader import Reader
from tradelog.store.writer import Transaction, Writer

DECISIONS = 10_000
ROUNDS = 7


def speed(home: Path) -> tuple[int, float, float]:
    """(entries, entries a second by the chain alone, with every row's digest) of executed decisions."""
    folder = home / "verified"
    folder.mkdir()
    (folder / "tradelog.toml").write_text('[store]\nurl = "sqlite:///log.db"\n[broker]\nname = "alpaca"\n')
    settings = load_config(folder / "tradelog.toml")
    writer = open_writer(settings.store_path)
    # How long the disk takes is no matter here.
    writer.connection.execute("PRAGMA synchronous=OFF")
    worker = Worker(writer, outbox.InstantBroker(), settings)
    worker.register()
    worker.session.ensure_bound()
    worker.snapshot()
    values = {"side": "buy", "quantity": "1", "rationale": {"why": "x" * 300}}
    for number in range(DECISIONS):
        record.record(writer, outbox.ACCOUNT, record.parse({**values, "symbol": f"T{number % 50}"}))
        if number % 100 == 99:
            worker.drain()
    worker.drain()
    writer.close()
    with Reader(settings.store_path) as reader:
        chain, full = (
            _rate(lambda check=check: check(reader)) for check in (verify.chain_only, verify.verify)
        )
        entries = verify.chain_only(reader).entries
    return entries, chain, full


def _rate(check: Callable[[], verify.Verified]) -> float:
    rates = []
    for _ in range(5):
        began = time.perf_counter()
        result = check()
        rates.append(result.entries / (time.perf_counter() - began))
        assert not result.findings
    return statistics.median(rates)


def cost(home: Path, source: Path) -> tuple[list[float], list[float]]:
    """What journaling adds to durable decisions, and to loads of a file, as shares, taken in turn."""
    journaled, bare = open_writer(home / "journaled.db"), open_writer(home / "bare.db")
    for writer in (journaled, bare):
        with IngestionRun(writer, "data_fetch:bench", "bench") as run:
            for number in range(3):
                run.add(Record("thing", number, (str(number),), (str(number),), "{}"))
    values = {
        "symbol": "AAPL",
        "side": "buy",
        "quantity": "10",
        "inputs": [1, 2, 3],
        "rationale": {"why": "x" * 600},
    }

    def decide(writer: Writer) -> float:
        began = time.perf_counter()
        for _ in range(200):
            record.record(writer, AccountKey("simulated", "paper", "default"), record.parse(values))
        return time.perf_counter() - began

    commits = []
    for _ in range(ROUNDS):
        with_it = decide(journaled)
        with unjournaled():
            commits.append(with_it / decide(bare) - 1)
    journaled.close()
    bare.close()
    loads = []
    for number in range(ROUNDS):
        with_it = _load(home / f"with{number}.db", source)
        with unjournaled():
            loads.append(with_it / _load(home / f"without{number}.db", source) - 1)
    return commits, loads


def _load(path: Path, source: Path) -> float:
    writer = open_writer(path)
    began = time.perf_counter()
    with IngestionRun(writer, "data_fetch:bench", "file") as run:
        read_file(run, source)
    took = time.perf_counter() - began
    writer.close()
    return took


@contextmanager
def unjournaled() -> Iterator[None]:
    """The same writes without digests and entries; only to be measured against."""

    def nothing(*_given: object, **_named: object) -> int:
        return 0

    with (
        patch.object(Transaction, "journal", nothing),
        patch.object(Transaction, "_touch", nothing),
        patch.object(run_digest.RunDigest, "add", nothing),
    ):
        yield
