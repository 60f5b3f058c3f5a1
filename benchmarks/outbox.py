"""Recording and executing against an instant broker, beside huey; and what a SIGKILL costs each."""

from __future__ import annotations

import json
import random
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tradelog.config.load import load_config
from tradelog.config.schema import Config
from tradelog.decide import record
from tradelog.domain import clock
from tradelog.domain.account import AccountKey
from tradelog.execute.brokers.base import Exchange, OrderChange, WireOrder
from tradelog.execute.worker import Worker
from tradelog.store.opening import open_writer

ROUNDS = 5
JOBS = 300
ACCOUNT = AccountKey("alpaca", "paper", "default")


@dataclass(frozen=True)
class Pair:
    """Seconds of the same work, by us and by huey, in turn."""

    ours: list[float]
    theirs: list[float]

    def ratio(self) -> float:
        return statistics.median(b / a for a, b in zip(self.ours, self.theirs, strict=True))


class InstantBroker:
    """Fills everything in its first answer."""

    name: ClassVar[str] = "alpaca"
    rejects_duplicate_ids: ClassVar[bool] = True
    finds_by_client_id: ClassVar[bool] = True
    refuses_without_price: ClassVar[bool] = False

    def __init__(self) -> None:
        self.posted_at: list[float] = []
        self._fills: list[dict[str, Any]] = []
        self._orders: dict[str, dict[str, Any]] = {}

    def submit(self, order: WireOrder) -> Exchange:
        self.posted_at.append(time.perf_counter())
        now = clock.now_text()
        body = order.body()
        answer = {
            **body,
            "id": str(uuid.uuid4()),
            "status": "filled",
            "filled_qty": body["qty"],
            "filled_avg_price": "100.5",
            "submitted_at": now,
            "filled_at": now,
            "created_at": now,
        }
        self._orders[order.client_order_id] = answer
        self._fills.append(
            {
                "id": f"f{len(self._fills)}::{uuid.uuid4()}",
                "order_id": answer["id"],
                "price": "100.5",
                "qty": body["qty"],
                "side": body["side"],
                "symbol": body["symbol"],
                "transaction_time": now,
            }
        )
        return _answered("POST", "/v2/orders", answer, json.dumps(body))

    def quote(self, symbol: str) -> Exchange:
        quote = {"ap": "100.5", "bp": "100.4", "t": clock.now_text()}
        return _answered("GET", "/v2/stocks/quotes/latest", {"quotes": {symbol: quote}})

    def asset(self, symbol: str) -> Exchange:
        raise AssertionError("no check asks for it")

    def clock(self) -> Exchange:
        raise AssertionError("no check asks for it")

    def calendar(self, start: str, end: str) -> Exchange:
        raise AssertionError("no check asks for it")

    def fills(self, after: str, page_token: str | None, until: str | None = None) -> Exchange:
        rows = [item for item in self._fills if item["transaction_time"] >= after]
        if page_token is not None:
            at = next(number for number, item in enumerate(rows) if item["id"] == page_token)
            rows = rows[at + 1 :]
        return _answered("GET", "/v2/account/activities/FILL", rows[:100])

    def activities(self, after: str, page_token: str | None) -> Exchange:
        return _answered("GET", "/v2/account/activities", [])

    def account(self) -> Exchange:
        return _answered("GET", "/v2/account", {"account_number": "PA1"})

    def positions(self) -> Exchange:
        return _answered("GET", "/v2/positions", [])

    def orders(self, status: str, after: str | None) -> Exchange:
        return _answered("GET", "/v2/orders", [])

    def find(self, client_order_id: str) -> Exchange:
        return _answered("GET", "/v2/orders:by_client_order_id", self._orders[client_order_id])

    def order(self, broker_order_id: str) -> Exchange:
        raise AssertionError("nothing stays open here")

    def cancel(self, broker_order_id: str) -> Exchange:
        raise AssertionError("nothing is cancelled here")

    def replace(self, broker_order_id: str, change: OrderChange) -> Exchange:
        raise AssertionError("nothing is replaced here")


def _answered(method: str, path: str, value: Any, request: str | None = None) -> Exchange:
    now = clock.now_text()
    body = json.dumps(value).encode()
    return Exchange(method, "instant:" + path, request, now, now, 200, {}, body)


VALUES = {
    "strategy": "manual",
    "symbol": "AAPL",
    "side": "buy",
    "quantity": "10",
    "rationale": {"why": "x" * 200},
}


def beside_huey(home: Path) -> Pair:
    """Record and execute, with all audit rows and fills; huey with fsync and its results stored."""
    from huey import SqliteHuey

    settings = _settings(home)
    ours, theirs = [], []
    for number in range(ROUNDS):
        writer = open_writer(home / f"outbox{number}.db")
        worker = Worker(writer, InstantBroker(), settings)
        worker.start()
        ours.append(_timed(lambda w=writer, k=worker: _ours(w, k)))
        assert writer.connection.execute("SELECT count(*) FROM fills").fetchone()[0] == JOBS
        writer.close()
        queue = SqliteHuey(filename=str(home / f"huey{number}.db"), fsync=True, results=True)
        theirs.append(_timed(lambda q=queue: _huey(q)))
    return Pair(ours, theirs)


def _settings(home: Path) -> Config:
    folder = home / "outbox"
    folder.mkdir(exist_ok=True)
    (folder / "tradelog.toml").write_text('[broker]\nname = "alpaca"\n[risk]\nmax_order_notional = 100000\n')
    return load_config(folder / "tradelog.toml")


def _ours(writer: Any, worker: Worker) -> None:
    for _ in range(JOBS):
        record.record(writer, ACCOUNT, record.parse(VALUES))
    while writer.connection.execute("SELECT 1 FROM trade_decisions WHERE status = 'pending'").fetchone():
        worker.drain()
    worker.poll()


def _huey(queue: Any) -> None:
    @queue.task()
    def trade(body: str) -> str:
        return body

    for _ in range(JOBS):
        trade("x" * 500)
    while (task := queue.dequeue()) is not None:
        queue.execute(task)


def latency(home: Path) -> tuple[float, float]:
    """Median and worst seconds from commit to POST of an idle worker at its default pace."""
    import threading

    settings = _settings(home)
    writer = open_writer(home / "idle.db", check_same_thread=False)
    broker = InstantBroker()
    worker = Worker(writer, broker, settings)
    worker.start()
    thread = threading.Thread(target=worker.run)
    thread.start()
    recorder = open_writer(home / "idle.db")
    chance, waits = random.Random(1), []
    for number in range(40):
        time.sleep(0.3 + chance.random() * 0.3)
        record.record(recorder, ACCOUNT, record.parse(VALUES))
        committed = time.perf_counter()
        while len(broker.posted_at) <= number:
            time.sleep(0.001)
        waits.append(broker.posted_at[number] - committed)
    worker.stop()
    thread.join()
    recorder.close()
    writer.close()
    return statistics.median(waits), max(waits)


CONSUMER = """
import os, sys, time
from huey import SqliteHuey
queue = SqliteHuey(filename=sys.argv[1], fsync=True, results=True)
@queue.task()
def trade(number):
    time.sleep(0.004)  # what a broker's answer takes at its very best
    with open(sys.argv[2], "a") as out:
        out.write(f"{number}\\n")
if len(sys.argv) > 3:
    for number in range(int(sys.argv[3])):
        trade(number)
else:
    while (task := queue.dequeue()) is not None:
        queue.execute(task)
"""


def huey_under_kill(home: Path, jobs: int, kills: int) -> tuple[int, int]:
    """(lost, doubled) of huey's jobs, its consumer killed so often at random moments."""
    chance = random.Random(1)
    files = [str(home / "killed-huey.db"), str(home / "killed-huey.txt")]
    program = [sys.executable, "-c", CONSUMER, *files]
    subprocess.run([*program, str(jobs)], check=True)
    done = Path(files[1])
    for number in range(kills):
        process = subprocess.Popen(program)
        target = (number + 1) * jobs // (kills + 1)
        while process.poll() is None and (not done.exists() or done.read_text().count("\n") < target):
            time.sleep(0.002)
        time.sleep(chance.random() * 0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(program, check=True)
    numbers = done.read_text().split()
    return jobs - len(set(numbers)), len(numbers) - len(set(numbers))


def _timed(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
