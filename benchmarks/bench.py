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

from tests.crash import killing

from benchmarks import evidence, outbox, reports
from tradelog.decide import record
from tradelog.domain.account import AccountKey
from tradelog.ingest.identity import Record
from tradelog.ingest.run import IngestionRun
from tradelog.ingest.sources.congress import read_file
from tradelog.store.opening import open_writer
from tradelog.store.writer import Writer

ROWS = 29_000
ACCOUNT = AccountKey("simulated", "paper", "default")


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
        figures = [*executing(home), *loading(home, source), *growing(home)]
        figures += [*deciding(home), *running(home), *reporting(home), *proving(home, source)]
    width = max(len(figure.name) for figure in figures)
    print(f"{'what'.ljust(width)}  {'ratio':>8}  {'floor':>8}  met  detail")
    for figure in figures:
        met = "yes" if figure.is_met else "NO"
        print(f"{figure.name.ljust(width)}  {figure.value:8.2f}  {figure.floor:>8}  {met:3}  {figure.detail}")


def executing(home: Path) -> list[Figure]:
    """Recording and executing beside huey, the wait for a POST, and what is lost under SIGKILL."""
    pair = outbox.beside_huey(home)
    ratio, seconds = pair.ratio(), statistics.median(pair.ours)
    median, worst = outbox.latency(home)
    a_minute = outbox.JOBS / seconds * 60
    folder = home / "killed"
    folder.mkdir()
    ours = killing.run(folder, decisions=200, kills=20, seed=1, faults=0)
    lost, doubled = outbox.huey_under_kill(home, 200, 20)
    told = f"huey: {lost} lost, {doubled} doubled"
    return [
        Figure(
            "record + execute, all audit rows ÷ huey",
            ratio,
            "≥ 0.4",
            ratio >= 0.4,
            f"{seconds / outbox.JOBS * 1000:.2f} ms a decision, aim 1.0",
        ),
        Figure("decisions a minute, end to end", a_minute, "≥ 100", a_minute >= 100, "instant broker"),
        Figure("commit to POST, idle worker, s", median, "< 0.3", median < 0.3, f"worst {worst:.3f}"),
        Figure("lost of 200 under 20 SIGKILLs", ours.lost, "0", ours.lost == 0, told),
        Figure("doubled of 200 under 20 SIGKILLs", ours.extra, "0", ours.extra == 0, ""),
    ]


def made_up(path: Path, rows: int = ROWS) -> Path:
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
        for _ in range(rows):
            traded = date(2016, 1, 1) + timedelta(chance.randrange(2500))
            side = chance.choice(("Purchase", "Sale"))
            filed = traded + timedelta(chance.randrange(1, 60))
            line = (filed, traded, chance.choice(tickers), chance.choice(names), side, "1001", "D", "Senate")
            out.writerow((*line, "$1,001 - $15,000"))
    return path


def loading(home: Path, source: Path) -> list[Figure]:
    """A file into the store, beside a raw keyed upsert and dlt, each parsing it, each on its own store."""
    changed = home / "changed.csv"
    lines = source.read_bytes().split(b"\n")
    changed.write_bytes(b"\n".join([lines[0], b"2001" + lines[1][4:], *lines[2:]]))
    ours: dict[str, list[float]] = {"first": [], "other": [], "same": []}
    theirs: dict[str, list[float]] = {"first": [], "again": []}
    for number in range(5):
        writer = open_writer(home / f"load{number}.db")
        raw = sqlite3.connect(home / f"raw{number}.db", isolation_level=None)
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute(f"CREATE TABLE rows ({', '.join(COLUMNS)}, PRIMARY KEY ({', '.join(KEY)})) WITHOUT ROWID")
        ours["first"].append(timed(lambda w=writer: load(w, source)))
        theirs["first"].append(timed(lambda c=raw: upsert(c, source)))
        ours["other"].append(timed(lambda w=writer: load(w, changed)))
        theirs["again"].append(timed(lambda c=raw: upsert(c, source)))
        load(writer, source)
        ours["same"].append(timed(lambda w=writer: load(w, source)))
        writer.close()
        raw.close()
    dlt = by_dlt(home, source)
    first, again = statistics.median(ours["first"]), statistics.median(ours["same"])
    return [
        beside("load a file, first time ÷ raw keyed upsert", ours["first"], theirs["first"], 0.35),
        beside("load it again, byte for byte ÷ raw keyed upsert", ours["same"], theirs["again"], 0.8),
        beside("load it again, one row changed ÷ raw keyed upsert", ours["other"], theirs["again"], 0.8),
        Figure(
            "load a file, first time ÷ dlt",
            dlt[0] / first,
            "≥ 10",
            dlt[0] >= 10 * first,
            f"dlt {dlt[0]:.1f} s",
        ),
        Figure("load it again ÷ dlt", dlt[1] / again, "≥ 10", dlt[1] >= 10 * again, f"dlt {dlt[1]:.1f} s"),
    ]


def beside(name: str, ours: list[float], theirs: list[float], least: float) -> Figure:
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return floor(name, ratios, least, f"{statistics.median(ours):.3f} s to {statistics.median(theirs):.3f} s")


def load(writer: Writer, source: Path) -> None:
    with IngestionRun(writer, "data_fetch:bench", "file") as run:
        read_file(run, source)


COLUMNS = (
    *("ReportDate", "TransactionDate", "Ticker", "Representative"),
    *("Transaction_", "Amount", "Party", "House", "Range"),
)
KEY = ("Representative", "Ticker", "TransactionDate", "Transaction_", "Range")


def upsert(connection: sqlite3.Connection, source: Path) -> None:
    """All columns of each row, under a key of five of them."""
    rest = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name not in KEY)
    with source.open(encoding="cp1252", newline="") as stream:
        rows = csv.DictReader(stream)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            f"INSERT INTO rows VALUES ({', '.join('?' * len(COLUMNS))}) ON CONFLICT DO UPDATE SET {rest}",
            (tuple(row[name.rstrip("_")] for name in COLUMNS) for row in rows),
        )
        connection.execute("COMMIT")


DLT = """
import csv, os, sys, time, warnings
warnings.simplefilter("ignore")
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
import dlt
source, folder = sys.argv[1:]
key = ["Representative", "Ticker", "TransactionDate", "Transaction", "Range"]
@dlt.resource(name="rows", write_disposition="merge", primary_key=key)
def rows():
    with open(source, encoding="cp1252", newline="") as stream:
        yield from csv.DictReader(stream)
place = dlt.destinations.sqlalchemy(f"sqlite:///{folder}/dlt.db")
pipeline = dlt.pipeline("bench", pipelines_dir=folder, destination=place, dataset_name="main")
for _ in range(2):
    began = time.perf_counter()
    pipeline.run(rows())
    print("seconds", time.perf_counter() - began)
"""


def by_dlt(home: Path, source: Path) -> list[float]:
    """Seconds of a first and a second load by dlt, merging on the same key into SQLite."""
    ended = subprocess.run(
        [sys.executable, "-c", DLT, str(source), str(home)], capture_output=True, text=True, check=True
    )
    return [float(line.split()[1]) for line in ended.stdout.splitlines() if line.startswith("seconds")]


MILLION = """
import contextlib, resource, sys, time
from pathlib import Path
from tradelog.ingest.run import IngestionRun
from tradelog.ingest.sources.congress import read_file
from tradelog.store.opening import open_writer
from tradelog.store.writer import Writer
source, store = map(Path, sys.argv[1:])
longest = 0.0
transaction = Writer.transaction
@contextlib.contextmanager
def timed(self):
    # Without the checkpoint that SQLite runs after a commit: it does not hold the write lock.
    global longest
    self.connection.execute("PRAGMA wal_autocheckpoint=0")
    began = time.perf_counter()
    with transaction(self) as tx:
        yield tx
    longest = max(longest, time.perf_counter() - began)
    self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
Writer.transaction = timed
writer = open_writer(store)
with IngestionRun(writer, "data_fetch:bench", "file") as run:
    read_file(run, source)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(run.counts.unchanged) + run.counts.created, peak, longest)
"""


def growing(home: Path) -> list[Figure]:
    """Memory and the write lock on a million rows; the store after 90 fetches of unchanged data."""
    result = []
    peaks = []
    for rows in (100_000, 1_000_000):
        source = made_up(home / f"{rows}.csv", rows)
        ended = subprocess.run(
            [sys.executable, "-c", MILLION, str(source), str(home / f"{rows}.db")],
            capture_output=True,
            text=True,
            check=True,
        )
        loaded, peak, longest = ended.stdout.split()
        assert int(loaded) == rows
        peaks.append(int(peak) / 1024)
    detail = f"{peaks[0]:.0f} MB at 100 k, {peaks[1]:.0f} MB at 1 M"
    result.append(
        Figure(
            "peak memory, 1 M rows ÷ 100 k rows",
            peaks[1] / peaks[0],
            "flat",
            peaks[1] < 1.6 * peaks[0],
            detail,
        )
    )
    result.append(
        Figure("longest write transaction of 1 M rows, s", float(longest), "< 0.2", float(longest) < 0.2, "")
    )
    source, path = made_up(home / "daily.csv"), home / "daily.db"
    turned = home / "turned.csv"
    head, *lines = source.read_text().splitlines()
    turned.write_text("\n".join([head, *reversed(lines)]) + "\n")
    for name, second in (("the same bytes", source), ("the same rows in turned order", turned)):
        writer = open_writer(path)
        load(writer, source)
        before = size(writer)
        for day in range(90):
            load(writer, second if day % 2 else source)
        grown = (size(writer) - before) / 90
        writer.close()
        path = home / "turned.db"
        result.append(
            Figure(
                f"growth a fetch, {name}, KiB",
                grown / 1024,
                "bytes",
                grown < 20_000,
                f"of {before / 2**20:.1f} MiB",
            )
        )
    return result


def size(writer: Writer) -> int:
    writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return writer.path.stat().st_size


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


def reporting(home: Path) -> list[Figure]:
    """Whole processes at a million decisions, beside the same at ten thousand."""
    stores = reports.make(home)
    result = []
    slowest = ("", 0.0)
    for arguments, most in reports.COMMANDS.items():
        timed = reports.command(stores, arguments)
        name, large = f"tradelog {arguments[0]}", timed.large * 1000
        detail = f"{large:.0f} ms; at 10 k {timed.small_ratio:.2f}, {timed.small * 1000:.0f} ms"
        met = most is None or timed.ratio <= most
        result.append(Figure(f"{name}, 1 M ÷ python -c pass", timed.ratio, f"≤ {most or '-'}", met, detail))
        if most is not None:
            flat = timed.growth <= 1.2
            result.append(Figure(f"{name}, 1 M ÷ 10 k", timed.growth, "≤ 1.2", flat, ""))
        slowest = max(slowest, (name, timed.small), key=lambda item: item[1])
        if arguments[0] == "report":
            result.append(Figure("symbol report at 1 M, ms", large, "< 200", large < 200, "the mission's"))
    completed = reports.command(stores, (), **reports.COMPLETION)
    took = f"{completed.large * 1000:.0f} ms"
    result.append(Figure("completion ÷ python -c pass", completed.ratio, "≤ 20", completed.ratio <= 20, took))
    spent = reports.statements(stores.large) * 1000
    result.append(
        Figure("statements of a symbol report at 1 M, ms", spent, "< 20", spent < 20, "with its rows")
    )
    worst = slowest[1] * 1000
    result.append(Figure("slowest report at 10 k, ms", worst, "< 500", worst < 500, slowest[0]))
    size = reports.a_year(home) / 2**20
    text = "50 decisions a day, executed, and a fetch; the mission expects 26"
    result.append(Figure("a year on disk, MiB", size, "measured", True, text))
    return result


def proving(home: Path, source: Path) -> list[Figure]:
    """Verifying, and what the journal costs."""
    entries, chain, full = evidence.speed(home)
    commits, loads = (statistics.median(result) for result in evidence.cost(home, source))
    of = f"of {entries} entries, {evidence.DECISIONS} executed decisions"
    return [
        Figure("verify --chain, k entries a second", chain / 1000, "≥ 200", chain >= 200_000, of),
        Figure("verify, k entries a second", full / 1000, "≥ 50", full >= 50_000, "with the order of things"),
        Figure("the journal's cost on durable decisions, %", commits * 100, "< 10", commits < 0.10, ""),
        Figure("the journal's cost on loading a file, %", loads * 100, "< 5", loads < 0.05, ""),
    ]


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


if __name__ == "__main__":
    main()
