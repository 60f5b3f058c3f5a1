"""The worker as it is run: several of them, signals, the service manager, a store in trouble, alerts."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli, process_environment, scalar
from tests.execute.driving import ENVIRONMENT, go, settle, state
from tests.fakes.alpaca import KEYS, FakeAlpaca, Fault
from tradelog.config.load import load_config
from tradelog.config.schema import Config
from tradelog.errors import StoreError, StoreLocked, StoreUnwritable
from tradelog.execute.brokers.alpaca import AlpacaBroker
from tradelog.execute.outbox import claims
from tradelog.execute.worker import DEEP_QUEUE, Worker
from tradelog.store.opening import open_writer
from tradelog.store.writer import Writer

pytestmark = pytest.mark.slow

Decide = Callable[..., str]
LIMIT = {"order_type": "limit", "limit_price": "100", "time_in_force": "gtc", "quantity": "10"}


def start(home: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tradelog", "run-worker", *arguments],
        env=process_environment(home, **ENVIRONMENT, **more),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(fake: FakeAlpaca, process: subprocess.Popen[str], what: Callable[[], Any]) -> None:
    for _ in range(6000):
        if what() or process.poll() is not None:
            break
        fake.wait(0.01)
    assert what(), process.communicate(timeout=10)[1] if process.poll() is not None else "waited in vain"


def test_several_workers_on_one_store_send_each_decision_once(
    home: Path, config: Config, fake: FakeAlpaca, writer: Writer, decide: Decide
) -> None:
    ids = [decide(symbol=f"S{number % 9}", quantity="1") for number in range(60)]
    workers = [start(home) for _ in range(3)]
    # Fills can come later than their orders' end.
    done = "SELECT (SELECT count(*) FROM trade_decisions WHERE status <> 'executed') = 0"
    fills = "(SELECT count(DISTINCT fill_id) FROM fills) = 60"
    try:
        wait_for(fake, workers[0], lambda: scalar(writer, f"{done} AND {fills}"))
    finally:
        for process in workers:
            process.send_signal(signal.SIGTERM)
    text = [process.communicate(timeout=30)[1] for process in workers]
    assert [process.returncode for process in workers] == [0, 0, 0], text
    assert len(fake.posts()) == len(ids) == len(fake.orders)
    assert scalar(writer, "SELECT count(DISTINCT fill_id) FROM fills") == 60


def test_a_worker_that_slept_past_its_lease_sends_nothing(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide, config: Config
) -> None:
    """Fenced before the call as well as after it: what was claimed long ago may be somebody else's."""
    decide()
    claim = worker.pretrade.claim_next()
    assert claim is not None
    go(60)
    other = Worker(writer, AlpacaBroker(fake.url, *KEYS, connect=0.5, read=0.5), config)
    other.register()
    with writer.transaction() as tx:
        taken = claims.claim_unsettled(tx, config.account, other.worker_id, timedelta(seconds=60))
    assert taken is not None
    journal = scalar(writer, "SELECT body FROM trade_decisions, journal ORDER BY seq DESC LIMIT 1")
    worker.submitter.submit(claim)
    assert fake.posts() == []
    assert scalar(writer, "SELECT status FROM trade_executions") == "unknown"
    assert scalar(writer, "SELECT lease_owner FROM trade_decisions") == other.worker_id
    # The words that were not spoken are on record, and nothing else.
    new = json.loads(scalar(writer, "SELECT body FROM journal ORDER BY seq DESC LIMIT 1"))
    assert new["event"] == "execution.lease_lost"
    assert [row[0] for row in new["rows"]] == ["broker_calls"]
    assert journal


def test_a_lost_lease_writes_no_outcome_though_the_broker_answered(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    decision_id = decide()
    submit = worker.session.broker.submit

    def slow(order: Any) -> Any:
        answer = submit(order)
        with writer.transaction() as tx:
            row = tx.dicts("SELECT * FROM trade_decisions")[0]
            claims.acquire_lease(tx, row, "wrk_other", timedelta(seconds=60))
        return answer

    worker.session.broker.submit = slow  # type: ignore[method-assign]
    worker.drain()
    assert state(writer, decision_id)[:2] == ("executing", "sending")
    assert scalar(writer, "SELECT alpaca_order_id FROM trade_executions") is None
    assert scalar(writer, "SELECT count(*) FROM broker_calls WHERE purpose = 'submit'") == 1


def test_a_second_signal_ends_it_at_once(
    home: Path, config: Config, fake: FakeAlpaca, writer: Writer, decide: Decide
) -> None:
    text = (home / "tradelog.toml").read_text()
    text = text.replace("read_timeout_seconds = 0.5", "read_timeout_seconds = 20")
    (home / "tradelog.toml").write_text(text.replace("lease_seconds = 5", "lease_seconds = 60"))
    decision_id = decide()
    fake.faults.append(Fault(accept=True, stall=20))
    process = start(home)
    wait_for(fake, process, fake.posts)
    process.send_signal(signal.SIGTERM)
    fake.wait(0.3)
    assert process.poll() is None, "it finishes the call in flight"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGTERM
    assert state(writer, decision_id)[:2] == ("executing", "sending")


def test_sigint_finishes_the_call_in_flight(
    home: Path, config: Config, fake: FakeAlpaca, writer: Writer, decide: Decide
) -> None:
    decision_id = decide()
    fake.faults.append(Fault(accept=True, stall=0.4, status=504))
    process = start(home)
    wait_for(fake, process, fake.posts)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=30)
    assert process.returncode == 0, text
    assert state(writer, decision_id)[1] in ("unknown", "filled")


def test_systemd_is_notified_ready_watchdog_stopping(
    home: Path, config: Config, fake: FakeAlpaca, writer: Writer, tmp_path: Path
) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(30)
        process = start(home, NOTIFY_SOCKET=str(path))
        text = [listener.recv(4096).decode()]
        while text[-1] != "READY=1" or "WATCHDOG=1" not in text:
            text.append(listener.recv(4096).decode())
            assert set(text) <= {"WATCHDOG=1", "READY=1"}
        process.send_signal(signal.SIGTERM)
        while text[-1] != "STOPPING=1":
            text.append(listener.recv(4096).decode())
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_the_example_unit_names_real_options() -> None:
    unit = (Path(__file__).parents[2] / "examples" / "tradelog-worker.service").read_text()
    assert re.search(r"^Type=notify$", unit, re.M)
    assert re.search(r"^ExecStart=.*tradelog run-worker$", unit, re.M)
    # Longer than the longest that one call and its waits may take.
    watchdog = re.search(r"^WatchdogSec=(\d+)$", unit, re.M)
    assert watchdog is not None
    assert int(watchdog[1]) >= 60


@pytest.mark.parametrize("trouble", ["full", "read-only", "locked"])
def test_while_the_store_cannot_be_written_nothing_is_sent(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide, config: Config, trouble: str
) -> None:
    """Invariants 1 and 11: no request, a clear error, nothing half written; and on it goes when it clears."""
    ids = [decide(symbol=f"S{number}") for number in range(3)]
    connection = writer.connection
    connection.execute("PRAGMA busy_timeout = 20")
    blocker = sqlite3.connect(config.store_path, isolation_level=None)
    if trouble == "full":
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
    elif trouble == "read-only":
        connection.execute("PRAGMA query_only = ON")
    else:
        blocker.execute("BEGIN IMMEDIATE")
    # A quote that still found room may be kept: what counts is that nothing is claimed and not sent.
    tables = ("trade_executions", "broker_calls")
    before = {name: scalar(writer, f"SELECT count(*) FROM {name}") for name in tables}
    sent = sum(item.method != "GET" for item in fake.seen)
    if trouble == "full":
        # A nearly full disk takes a few more commits before it takes none.
        for size in (3000, 500, 50, 1):
            with pytest.raises(StoreUnwritable):
                for _ in range(200):
                    decide(symbol="LATER", rationale={"why": "x" * size})
            with pytest.raises(StoreUnwritable):
                for _ in range(200):
                    with writer.transaction() as tx:
                        tx.journal("filling", "x" * size)
    with pytest.raises((StoreUnwritable, StoreLocked)) as caught:
        worker.drain()
    assert caught.value.hint
    assert isinstance(caught.value, StoreError)
    assert sum(item.method != "GET" for item in fake.seen) == sent
    assert {name: scalar(writer, f"SELECT count(*) FROM {name}") for name in before} == before
    connection.execute("PRAGMA query_only = OFF")
    connection.execute("PRAGMA max_page_count = 1073741823")
    if trouble == "locked":
        blocker.execute("ROLLBACK")
    blocker.close()
    for decision_id in ids:
        assert settle(worker, writer, decision_id)[0] == "executed"
    assert len(fake.orders) == len(fake.posts())


def test_a_worker_waits_for_a_locked_store_and_says_so(
    config: Config, broker: AlpacaBroker, fake: FakeAlpaca, writer: Writer, decide: Decide, capsys: Any
) -> None:
    """It does not end, it tells what it waits for, and carries on."""
    own = open_writer(config.store_path, busy_seconds=0.05, check_same_thread=False)
    worker = Worker(own, broker, config)
    worker.start()
    decision_id = decide()
    blocker = sqlite3.connect(config.store_path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    thread = threading.Thread(target=worker.run)
    thread.start()
    text = ""
    for _ in range(1000):
        text += capsys.readouterr().err
        if "locked by another process" in text:
            break
        fake.wait(0.01)
    assert "locked by another process" in text
    assert fake.posts() == []
    blocker.execute("ROLLBACK")
    blocker.close()
    for _ in range(2000):
        if state(writer, decision_id)[0] == "executed":
            break
        fake.wait(0.01)
    worker.stop()
    thread.join()
    own.close()
    assert state(writer, decision_id)[0] == "executed"
    assert len(fake.posts()) == 1


def test_the_limit_of_requests_is_kept_by_its_headers(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    """Orders are kept, polling leaves the last requests to them, and nothing comes before the reset."""
    fake.rate_limit, fake.window = 30, 3600.0
    # Orders for dollars need no quote, which would be one more question each.
    ids = [decide(symbol=f"S{number}", quantity=None, notional="100") for number in range(20)]
    for _ in range(5):
        worker.drain()
        worker.poll()
    refused = scalar(writer, "SELECT count(*) FROM broker_calls WHERE status = 429")
    assert refused == 0
    used = len(fake.seen)
    for _ in range(5):
        worker.drain()
        worker.poll()
    assert len(fake.seen) == used
    assert scalar(writer, "SELECT sum(retry_count) FROM trade_decisions") == 0
    fake._window_ends = 0.0
    fake.rate_limit = None
    go(3700)
    for decision_id in ids:
        assert settle(worker, writer, decision_id)[0] == "executed"
    assert len(fake.posts()) == 20


def test_an_alert_is_handed_to_the_command_once(
    writer: Writer, fake: FakeAlpaca, home: Path, config: Config, decide: Decide, cli: Cli
) -> None:
    """By a process that the worker leaves behind."""
    told = home / "told.txt"
    script = home / "tell.sh"
    script.write_text(f'#!/bin/sh\n(cat; echo " $TRADELOG_ALERT_KIND") >> {told}\n')
    script.chmod(0o755)
    with (home / "tradelog.toml").open("a") as stream:
        stream.write(f'once_seconds = 5\n[alerts]\ncommand = "{script}"\n')
    decide(symbol="AAPL", quantity="5000")  # more than there is money for
    ended = cli("run-worker", "--once", **ENVIRONMENT)
    assert ended.code == 0, ended.err
    told_at = "SELECT told_at FROM alerts"
    end = time.monotonic() + 60
    while scalar(writer, told_at) is None and time.monotonic() < end:
        time.sleep(0.05)
    assert scalar(writer, told_at) is not None
    assert cli("run-worker", "--once", **ENVIRONMENT).code == 0
    assert cli("alerts", "send", **ENVIRONMENT).out == "0 messages delivered\n"
    lines = told.read_text().splitlines()
    assert len(lines) == 1
    assert lines[0].endswith(" no_buying_power")
    message = json.loads(lines[0].rsplit(" ", 1)[0])
    assert (message["kind"], message["count"], message["reason"]) == ("no_buying_power", 1, "urgent")


@pytest.mark.parametrize("command", ["sleep 5", "false", "/no/such/program"])
def test_a_command_that_hangs_or_fails_blocks_nothing(
    writer: Writer, fake: FakeAlpaca, home: Path, config: Config, decide: Decide, command: str
) -> None:
    with (home / "tradelog.toml").open("a") as stream:
        stream.write(f'[alerts]\ncommand = "{command}"\n')

    worker = Worker(
        writer, AlpacaBroker(fake.url, *KEYS, connect=0.5, read=0.5), load_config(home / "tradelog.toml")
    )
    worker.start()
    decide(symbol="AAPL", quantity="5000")
    worker.drain()
    decision_id = decide(symbol="MSFT")
    for _ in range(3):
        worker._courier.tick()
        worker.drain()
        worker.poll()
    assert state(writer, decision_id)[0] == "executed"
    assert scalar(writer, "SELECT told_at FROM alerts") is None
    # It is another process, which the worker does not wait for.
    started = time.monotonic()
    worker.finish()
    assert time.monotonic() - started < 2
    end = time.monotonic() + 60
    while scalar(writer, "SELECT told_at IS NULL AND tell_error IS NULL FROM alerts"):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert scalar(writer, "SELECT tries FROM alert_deliveries") == 1


def test_a_deep_queue_is_an_alert_until_it_is_drained(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    for number in range(DEEP_QUEUE + 1):
        decide(symbol=f"S{number}", quantity="1")
    worker.heartbeat()
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE kind = 'queue_depth'") == 1
    worker.drain()
    worker.heartbeat()
    open_ = "SELECT count(*) FROM alerts WHERE kind = 'queue_depth' AND acknowledged_at IS NULL"
    assert scalar(writer, open_) == 0


def test_polls_without_changes_are_counted(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.fills = False
    decide(**LIMIT)
    worker.drain()
    for _ in range(5):
        worker.poll()
    worker.heartbeat()
    kept = scalar(writer, "SELECT count(*) FROM broker_calls")
    counted = scalar(writer, "SELECT quiet_calls FROM workers")
    # All that the broker saw is either kept or counted; the account was asked twice by the start.
    assert kept + counted + 2 >= len(fake.seen)
    assert counted >= 4


def test_no_worker_reads_its_keys_from_the_wrong_place(home: Path, config: Config, cli: Cli) -> None:
    assert not [name for name in os.environ if name.startswith("APCA_")]
    assert cli("reconcile").code == 4
