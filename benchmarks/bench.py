"""The budgets of the design, measured on this machine and printed as ratios within this run.

    make bench                          rows made up in the shape of the Quiver export
    make bench FILE=path/to/export.csv  a real export instead

Each pair of figures is taken in turn, A B A B, and the median of the ratios is printed: the machine's
speed drifts, a ratio taken side by side does not.
"""

from __future__ import annotations

import csv
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from tradelog import config
from tradelog.decide import record
from tradelog.ingest.identity import Record
from tradelog.ingest.run import IngestionRun
from tradelog.ingest.sources.congress import read_file
from tradelog.store.opening import open_writer
from tradelog.store.writer import Writer

ROWS = 29_000
ACCOUNT = ("simulated", "paper", "default")


@dataclass(frozen=True)
class Figure:
    name: str
    value: float
    floor: str
    is_met: bool
    detail: str


def main() -> None:
    given = Path(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1] else None
    with tempfile.TemporaryDirectory(prefix="tradelog-bench-") as folder:
        home = Path(folder)
        (home / "tradelog.toml").write_text('[store]\nurl = "sqlite:///log.db"\n')
        source = given or made_up(home / "rows.csv")
        figures = [*loading(home, source), *deciding(home), *running(home), *starting(home)]
    width = max(len(figure.name) for figure in figures)
    print(f"{'what'.ljust(width)}  {'ratio':>8}  {'floor':>8}  met  detail")
    for figure in figures:
        met = "yes" if figure.is_met else "NO"
        print(f"{figure.name.ljust(width)}  {figure.value:8.2f}  {figure.floor:>8}  {met:3}  {figure.detail}")


def made_up(path: Path) -> Path:
    """Rows in the shape of the Quiver export, the same ones in every run."""
    chance = random.Random(1)
    names = [f"Member {number} Example" for number in range(300)]
    tickers = [f"T{number}" for number in range(2500)]
    with path.open("w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(
            [
                "ReportDate",
                "TransactionDate",
                "Ticker",
                "Representative",
                "Transaction",
                "Amount",
                "Party",
                "House",
                "Range",
            ]
        )
        for _ in range(ROWS):
            traded = date(2016, 1, 1) + timedelta(chance.randrange(2500))
            side = chance.choice(("Purchase", "Sale"))
            filed = traded + timedelta(chance.randrange(1, 60))
            line = (filed, traded, chance.choice(tickers), chance.choice(names), side, "1001", "D", "Senate")
            out.writerow((*line, "$1,001 - $15,000"))
    return path


def loading(home: Path, source: Path) -> list[Figure]:
    first, again, seconds = [], [], []
    for number in range(5):
        writer = open_writer(home / f"load{number}.db")
        raw = sqlite3.connect(home / f"raw{number}.db", isolation_level=None)
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("CREATE TABLE rows (key TEXT PRIMARY KEY, filed, range)")
        ours = [timed(lambda w=writer: load(w, source)) for _ in range(2)]
        theirs = [timed(lambda c=raw: upsert(c, source)) for _ in range(2)]
        first.append(theirs[0] / ours[0])
        again.append(theirs[1] / ours[1])
        seconds.append(ours)
        writer.close()
        raw.close()
    middle = [statistics.median(pair[index] for pair in seconds) for index in (0, 1)]
    return [
        floor("load a file, first time ÷ raw keyed upsert", first, 0.35, f"{middle[0]:.2f} s"),
        floor("load it again, unchanged ÷ raw keyed upsert", again, 0.8, f"{middle[1]:.2f} s"),
    ]


def load(writer: Writer, source: Path) -> None:
    with IngestionRun(writer, "data_fetch:bench", "file") as run:
        read_file(run, source)


def upsert(connection: sqlite3.Connection, source: Path) -> None:
    with source.open(encoding="cp1252", newline="") as stream:
        rows = csv.DictReader(stream)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO rows VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET filed = excluded.filed,"
            " range = excluded.range",
            (
                (
                    "|".join(
                        (row["Representative"], row["Ticker"], row["TransactionDate"], row["Transaction"])
                    ),
                    row["ReportDate"],
                    row["Range"],
                )
                for row in rows
            ),
        )
        connection.execute("COMMIT")


def deciding(home: Path) -> list[Figure]:
    writer = open_writer(home / "decide.db")
    with IngestionRun(writer, "data_fetch:bench", "bench") as run:
        for number in range(3):
            run.add(Record("thing", number, (str(number),), (str(number),), "{}"))
    raw = sqlite3.connect(home / "commits.db", isolation_level=None)
    raw.execute("PRAGMA journal_mode=WAL")
    raw.execute("PRAGMA synchronous=FULL")
    raw.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, body TEXT)")
    values = {
        "symbol": "AAPL",
        "side": "buy",
        "quantity": "10",
        "inputs": [1, 2, 3],
        "rationale": {"why": "x" * 600, "score": "0.5"},
    }
    body = "x" * 2000

    def decide() -> None:
        for _ in range(200):
            record.record(writer, ACCOUNT, record.parse(values))

    def commit() -> None:
        for _ in range(200):
            raw.execute("INSERT INTO rows (body) VALUES (?)", (body,))

    ours, theirs = in_turn(decide, commit)
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    each = statistics.median(ours) / 200 * 1000
    writer.close()
    raw.close()
    return [floor("record a decision, 3 inputs ÷ raw durable commit", ratios, 0.4, f"{each:.2f} ms each")]


def running(home: Path) -> list[Figure]:
    writer = open_writer(home / "runs.db")

    def runs() -> None:
        for _ in range(50):
            with IngestionRun(writer, "data_fetch:bench", "bench", empty_is_normal=True):
                pass

    each = statistics.median(timed(runs) for _ in range(5)) / 50 * 1000
    writer.close()
    return [Figure("the run context manager, ms a run", each, "< 5", each < 5, "")]


def starting(home: Path) -> list[Figure]:
    settings = config.load(home / "tradelog.toml")
    writer = open_writer(settings.store_path)
    values = {"symbol": "AAPL", "side": "buy", "quantity": "10", "rationale": {"why": "x"}}
    for _ in range(100):
        decided = record.record(writer, ACCOUNT, record.parse(values)).decision_id
    writer.close()
    found = []
    for arguments, most in (
        (("report", "AAPL", "--year", "2025"), 12),
        (("show", decided), 12),
        (("--help",), 20),
    ):
        program = [sys.executable, "-m", "tradelog", "--config", str(settings.path), *arguments]
        ours, theirs = in_turn(lambda p=program: spawn(p), lambda: spawn([sys.executable, "-c", "pass"]), 9)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        name = "tradelog " + " ".join(arguments[:1]) + " ÷ python -c pass"
        ratio = statistics.median(ratios)
        found.append(
            Figure(name, ratio, f"≤ {most}", ratio <= most, f"{statistics.median(ours) * 1000:.0f} ms")
        )
    return found


def floor(name: str, ratios: list[float], least: float, detail: str) -> Figure:
    ratio = statistics.median(ratios)
    return Figure(name, ratio, f"≥ {least}", ratio >= least, detail)


def in_turn(
    ours: Callable[[], None], theirs: Callable[[], None], rounds: int = 5
) -> tuple[list[float], list[float]]:
    ours()
    theirs()
    pairs = [(timed(ours), timed(theirs)) for _ in range(rounds)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def timed(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def spawn(program: list[str]) -> None:
    subprocess.run(program, stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main()
