"""kill -9 while it works: real workers, a real store, the stand-in on loopback, random moments.

A worker is killed when the broker has seen so many more requests, so that kills fall into the work and
not beside it. Afterwards one worker is left to finish, and the log is held against the broker's books.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from tests.conftest import process_environment
from tests.execute.driving import ENVIRONMENT
from tests.fakes.alpaca import FakeAlpaca, Fault
from tests.journaled import check_complete
from tradelog.config.load import load_config
from tradelog.config.schema import Config
from tradelog.decide import record
from tradelog.execute.amend import order_requests
from tradelog.store.opening import open_writer
from tradelog.store.reader import Reader

SYMBOLS = [f"S{number}" for number in range(25)]
# Time that a killing or a finishing may take at most, per worker.
MOST_SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    decisions: int
    kills: int
    faults: int
    requests: int
    orders: int
    lost: int
    extra: int
    unexplained: int


def run(home: Path, *, decisions: int, kills: int, seed: int, faults: int) -> Outcome:
    chance = random.Random(seed)
    fake = FakeAlpaca()
    try:
        config = _configure(home, fake)
        made = _decide(config, decisions, chance)
        _plan_faults(fake, faults, chance)
        killed = 0
        while killed < kills:
            if not _run_and_kill(home, fake, chance):
                break
            killed += 1
            if chance.random() < 0.3:
                _change_something(config, chance)
        _finish(home, fake, config)
        return _count(config, fake, made, killed, faults - len(fake.faults))
    finally:
        fake.close()


def _configure(home: Path, fake: FakeAlpaca) -> Config:
    (home / "tradelog.toml").write_text(
        '[store]\nurl = "sqlite:///store/log.db"\n'
        f'[broker]\nname = "alpaca"\nbase_url = "{fake.url}"\n'
        "[worker]\nconnect_timeout_seconds = 0.5\nread_timeout_seconds = 0.5\nlease_seconds = 2\n"
        "drain_seconds = 0.05\npoll_seconds = 0.1\nunknown_grace_seconds = 0.4\nreconcile_seconds = 1\n"
        "once_seconds = 20\n"
    )
    return load_config(home / "tradelog.toml")


def _decide(config: Config, decisions: int, chance: random.Random) -> list[str]:
    writer = open_writer(config.store_path, actor="test")
    made = []
    for _ in range(decisions):
        values = {
            "strategy": "manual",
            "symbol": chance.choice(SYMBOLS),
            "side": "buy",
            "quantity": chance.randint(1, 9),
            "rationale": "x",
        }
        values |= {"rationale": {"why": "kill -9"}}
        made.append(record.record(writer, config.account, record.parse(values)).decision_id)
    writer.close()
    return made


def _plan_faults(fake: FakeAlpaca, number: int, chance: random.Random) -> None:
    kinds = (
        Fault(accept=True, drop=True),
        Fault(accept=True, status=504),
        Fault(drop=True),
        Fault(status=503),
        Fault(status=502, body=b"<html>bad gateway</html>"),
        Fault(accept=True, status=200, body=b'{"id": "cut'),
        Fault("GET", status=500, path="/orders"),
        Fault("GET", drop=True, path="/activities"),
        Fault(status=429, headers={"Retry-After": "0"}),
    )
    for _ in range(number):
        kind = chance.choice(kinds)
        fake.faults.append(Fault(**vars(kind)))
    # A fault meets the next request of its kind: those between would all come first.
    fake.fault_chance = 0.15


def _worker(home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tradelog", "run-worker", *arguments],
        env=process_environment(home, **ENVIRONMENT),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _run_and_kill(home: Path, fake: FakeAlpaca, chance: random.Random) -> bool:
    """Kill a worker after some requests more; False where it had nothing to do any more."""
    process = _worker(home)
    target = len(fake.seen) + chance.randint(4, 40)
    end = time.monotonic() + MOST_SECONDS
    while len(fake.seen) < target and process.poll() is None and time.monotonic() < end:
        fake.wait(0.002)
    fake.wait(chance.random() * 0.01)
    process.send_signal(signal.SIGKILL)
    _, text = process.communicate()
    assert process.returncode == -signal.SIGKILL, text.decode()
    return True


def _change_something(config: Config, chance: random.Random) -> None:
    """Ask for one decision to be cancelled, as a person would between two workers."""
    from tradelog.errors import UsageError

    writer = open_writer(config.store_path, actor="test")
    rows = writer.connection.execute(
        "SELECT decision_id FROM trade_decisions WHERE status IN ('pending', 'executing')"
    ).fetchall()
    if rows:
        try:
            with writer.transaction() as tx:
                order_requests.request_cancel(tx, chance.choice(rows)[0], "kill -9", "test")
        except UsageError:
            pass
    writer.close()


def _finish(home: Path, fake: FakeAlpaca, config: Config) -> None:
    """One worker more, until every decision has ended; then it is asked to stop, which it must do well."""
    fake.faults.clear()
    process = _worker(home)
    end = time.monotonic() + 3 * MOST_SECONDS
    with sqlite3.connect(f"file:{config.store_path}?mode=ro", uri=True) as connection:
        while time.monotonic() < end and process.poll() is None:
            left = connection.execute(
                "SELECT (SELECT count(*) FROM trade_decisions WHERE status IN ('pending', 'executing'))"
                " + (SELECT count(*) FROM trade_executions WHERE filled_quantity <> fills_quantity)"
            ).fetchone()[0]
            is_up = connection.execute("SELECT 1 FROM workers WHERE pid = ?", (process.pid,)).fetchone()
            if not left and is_up:
                break
            fake.wait(0.1)
    connection.close()
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 0, text.decode()


def _count(config: Config, fake: FakeAlpaca, made: list[str], kills: int, faults: int) -> Outcome:
    with Reader(config.store_path) as reader:
        check_complete(reader)
        decisions = {row["decision_id"]: row for row in reader.rows("SELECT * FROM trade_decisions")}
        executions = reader.rows("SELECT * FROM trade_executions")
        fills = {row["fill_id"]: row for row in reader.rows("SELECT * FROM fills")}
        logged = reader.value(
            "SELECT count(*) FROM broker_calls WHERE method = 'POST' AND status IS NOT NULL"
        )
    by_client = {order["client_order_id"]: order for order in fake.orders.values()}
    assert len(by_client) == len(fake.orders), "two orders under one client order id"
    attempts = {row["alpaca_order_id"]: row for row in executions if row["alpaca_order_id"]}
    lost = [key for key in made if decisions[key]["status"] not in ("executed", "failed", "cancelled")]
    # An order at the broker that no attempt of ours explains, or a second one of a decision.
    extra = [order["id"] for order in fake.orders.values() if order["id"] not in attempts]
    orders_of: dict[str, int] = {}
    for row in attempts.values():
        orders_of[row["decision_id"]] = orders_of.get(row["decision_id"], 0) + 1
    extra += [key for key, number in orders_of.items() if number > 1]
    unexplained = [row["execution_id"] for row in executions if row["status"] in ("sending", "unknown")]
    for key in made:
        order = by_client.get(decisions[key]["client_order_id"])
        if decisions[key]["status"] == "executed":
            assert order is not None
            assert order["status"] == "filled"
        elif order is not None:
            assert Decimal(order["filled_qty"]) == 0, (decisions[key]["status"], order)
    assert set(fills) == {item["id"] for item in fake.activities}
    assert logged <= len(fake.posts())
    return Outcome(
        decisions=len(made),
        kills=kills,
        faults=faults,
        requests=len(fake.seen),
        orders=len(fake.orders),
        lost=len(lost),
        extra=len(extra),
        unexplained=len(unexplained),
    )
