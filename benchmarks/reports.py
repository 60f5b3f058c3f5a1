"""Reports as people run them, whole processes, on stores of ten thousand and of a million decisions."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import million, outbox
from tradelog.config.load import load_config
from tradelog.decide import record
from tradelog.domain import clock
from tradelog.execute.worker import Worker
from tradelog.ingest.identity import Record
from tradelog.ingest.run import IngestionRun
from tradelog.report import period, symbol
from tradelog.store.opening import open_writer
from tradelog.store.reader import Reader

CONFIG = '[store]\nurl = "sqlite:///log.db"\n[broker]\nname = "alpaca"\n'
SMALL, LARGE = 10_000, 1_000_000
ROUNDS = 9
# A year is done when it is over.
LAST_YEAR = str(clock.market_today().year - 1)
# Command -> the most that it may take, as a multiple of `python -c pass`; None where no floor is set.
COMMANDS: Mapping[tuple[str, ...], int | None] = {
    ("report", "AAPL", "--year", LAST_YEAR): 12,
    ("show", "{decision}"): 12,
    ("failures",): 25,
    ("strategies",): 25,
    ("--help",): 20,
    ("decisions",): None,
    ("trades",): None,
    ("runs",): None,
    ("digest",): None,
}
COMPLETION = {"_TRADELOG_COMPLETE": "complete_bash", "COMP_WORDS": "tradelog re", "COMP_CWORD": "1"}


@dataclass(frozen=True)
class Timed:
    """Medians of rounds in which each is run in turn: seconds on either store, their ratios to
    `python -c pass`, and ``growth``, that of the large store to the small one."""

    small: float
    large: float
    small_ratio: float
    ratio: float
    growth: float


@dataclass(frozen=True)
class Stores:
    small: Path
    large: Path


def make(home: Path) -> Stores:
    """Both stores, each in a folder with its configuration."""
    folders = Stores(home / "small", home / "large")
    for folder, decisions in ((folders.small, SMALL), (folders.large, LARGE)):
        folder.mkdir()
        (folder / "tradelog.toml").write_text(
            '[store]\nurl = "sqlite:///log.db"\n[broker]\nname = "alpaca"\n'
        )
        million.make(folder / "log.db", decisions, 3 * decisions)
    return folders


def command(stores: Stores, arguments: tuple[str, ...], **environment: str) -> Timed:
    """A command on both stores beside an interpreter that does nothing."""
    small = _program(stores.small, arguments, environment)
    large = _program(stores.large, arguments, environment)
    nothing = ([sys.executable, "-c", "pass"], dict(os.environ))
    for program in (small, large):
        _spawn(*program)
    rounds = [(_spawn(*small), _spawn(*large), _spawn(*nothing)) for _ in range(ROUNDS)]
    return Timed(
        small=statistics.median(one for one, _, _ in rounds),
        large=statistics.median(other for _, other, _ in rounds),
        small_ratio=statistics.median(one / bare for one, _, bare in rounds),
        ratio=statistics.median(other / bare for _, other, bare in rounds),
        growth=statistics.median(other / one for one, other, _ in rounds),
    )


def _program(
    folder: Path, arguments: tuple[str, ...], environment: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    with Reader(folder / "log.db") as reader:
        newest = "SELECT decision_id FROM trade_decisions WHERE status = 'executed' ORDER BY id DESC LIMIT 1"
        decision = reader.value(newest)
    named = [text.format(decision=decision) for text in arguments]
    inside = {**os.environ, "TRADELOG_CONFIG": str(folder / "tradelog.toml"), **environment}
    return [sys.executable, "-m", "tradelog", *named], inside


def _spawn(program: list[str], environment: Mapping[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, check=True)
    return time.perf_counter() - began


def statements(folder: Path) -> float:
    """Seconds of the statements of a symbol report of a year, read into rows, in a process that runs."""
    days = period.of(int(LAST_YEAR), None, None, clock.MARKET_ZONE)
    result = []
    with Reader(folder / "log.db") as reader:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            symbol.report(reader, "AAPL", million.ACCOUNT, days)
            result.append(time.perf_counter() - began)
    return statistics.median(result)


def a_year(home: Path, *, days: int = 365, decisions: int = 50, new: int = 40, shown: int = 1000) -> int:
    """Bytes of a store after a year: each day a fetch that brings ``new`` of ``shown`` rows, and decisions
    on the newest three, sent and filled."""
    folder = home / "year"
    folder.mkdir()
    (folder / "tradelog.toml").write_text(CONFIG)
    settings = load_config(folder / "tradelog.toml")
    writer = open_writer(settings.store_path)
    # How long the disk takes is no matter here.
    writer.connection.execute("PRAGMA synchronous=OFF")
    worker = Worker(writer, outbox.InstantBroker(), settings)
    worker.register()
    worker.session.ensure_bound()
    worker.snapshot()
    payload = '{"Representative": "Member of Congress", "Ticker": "SOME", "Range": "$1,001 - $15,000"}'
    for day in range(days):
        last = shown + day * new
        with IngestionRun(writer, "data_fetch:congress", "quiver-congress") as run:
            for number in range(last - shown, last):
                run.add(Record("congress_trade", number % shown, (str(number),), (str(number),), payload))
        newest = writer.rows("SELECT version_id AS id FROM record_versions ORDER BY version_id DESC LIMIT 3")
        values = {"side": "buy", "quantity": "1", "inputs": [row["id"] for row in newest]}
        for number in range(decisions):
            expected = {**values, "symbol": f"T{number}", "rationale": {"why": "x" * 600}}
            record.record(writer, outbox.ACCOUNT, record.parse(expected))
        worker.drain()
    writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    writer.close()
    return settings.store_path.stat().st_size
