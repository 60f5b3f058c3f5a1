"""The worker against a broker that really drops, stalls and lies. Invariants 1 to 5, 11 and 14."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time

from tests.conftest import Cli, process_environment, scalar
from tests.execute.driving import ENVIRONMENT, go, settle, state
from tests.fakes.alpaca import KEYS, FakeAlpaca, Fault
from tests.journaled import check_complete
from tradelog.config.schema import Config
from tradelog.decide import record
from tradelog.domain import clock
from tradelog.domain.account import AccountKey
from tradelog.errors import BrokerRefusesUs
from tradelog.execute.brokers.alpaca import AlpacaBroker
from tradelog.execute.outbox import claims
from tradelog.execute.track.orders import Owner
from tradelog.execute.worker import Worker
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer


def test_sends_once_and_follows_to_the_fill(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str], config: Config
) -> None:
    decision_id = decide()
    assert settle(worker, writer, decision_id) == ("executed", "filled", None)
    assert len(fake.posts()) == 1
    assert scalar(writer, "SELECT quantity FROM fills") == "1.5"
    assert scalar(writer, "SELECT price FROM fills") == "100.5"
    with Reader(config.store_path) as reader:
        check_complete(reader)


def test_the_stored_exchange_is_the_wire(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str]
) -> None:
    """Invariants 4 and 8: byte for byte, plain decimals, and no secret anywhere in the store."""
    decide(quantity="0.000000001")
    worker.drain()
    sent = next(item.body.decode() for item in fake.seen if item.method == "POST")
    assert '"qty": "0.000000001"' in sent
    row = writer.connection.execute(
        "SELECT request_body, response_headers, response_body FROM broker_calls WHERE purpose = 'submit'"
    ).fetchone()
    assert row[0] == sent
    assert "x-request-id" in json.loads(row[1])
    assert json.loads(row[2])["status"] == "pending_new"
    dump = "\n".join(writer.connection.iterdump())
    assert KEYS[1] not in dump.replace("broker_calls", "")
    posts = scalar(writer, "SELECT count(*) FROM broker_calls WHERE method = 'POST'")
    assert posts == len(fake.posts())


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        Fault(accept=True, status=504),
        Fault(accept=True, drop=True),
        Fault(accept=True, stall=5),
        Fault(accept=True, drip=True),
        Fault(accept=True, status=200, body=b"<html>ok</html>"),
        Fault(accept=True, status=200, body=b""),
        Fault(accept=True, status=200, body=b'{"id": "x", "status"'),
        Fault(status=500),
        Fault(status=502, body=b"<html>bad gateway</html>"),
        Fault(drop=True),
        Fault(status=400, body=b'{"message": "bad request"}'),
        Fault(status=404, body=b'{"message": "not found"}'),
    ],
    ids=repr,
)
def test_whatever_breaks_there_is_one_order(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str], fault: Fault
) -> None:
    """Invariants 2 and 3: unknown, then asked, then adopted or sent again under the same id."""
    fake.faults.append(fault)
    decision_id = decide()
    worker.drain()
    assert state(writer, decision_id)[0] in ("executing", "executed")
    assert settle(worker, writer, decision_id) == ("executed", "filled", None)
    assert len(fake.orders) == 1
    assert len({body["client_order_id"] for body in fake.posts()}) == 1
    assert len(fake.posts()) == scalar(writer, "SELECT count(*) FROM broker_calls WHERE method = 'POST'")


def test_one_not_found_is_no_proof(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str]
) -> None:
    """Invariant 3: an order that shows up late is adopted, not sent twice."""
    fake.faults.append(Fault(accept=True, status=504))
    fake.hidden = 2
    decision_id = decide()
    worker.drain()
    assert state(writer, decision_id)[:2] == ("executing", "unknown")
    assert settle(worker, writer, decision_id, seconds=0.11) == ("executed", "filled", None)
    assert len(fake.posts()) == 1


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (403, "insufficient buying power", "insufficient_buying_power"),
        (422, "qty must be > 0", "invalid_order"),
    ],
)
def test_a_refusal_fails_the_decision_with_its_reason(
    worker: Worker,
    writer: Writer,
    fake: FakeAlpaca,
    decide: Callable[..., str],
    status: int,
    message: str,
    code: str,
) -> None:
    body = {"code": 40310000, "message": message, "buying_power": "1"}
    fake.faults.append(Fault(status=status, body=json.dumps(body).encode()))
    decision_id = decide()
    worker.drain()
    assert state(writer, decision_id) == ("failed", "rejected", code)
    assert scalar(writer, "SELECT failure_message FROM trade_decisions") == message
    assert "buying_power" in scalar(writer, "SELECT response_body FROM broker_calls WHERE purpose = 'submit'")
    worker.drain()
    assert len(fake.posts()) == 1


@pytest.mark.parametrize(
    ("status", "body"), [(401, b'{"message": "unauthorized."}'), (403, b'{"message": "forbidden."}')]
)
def test_wrong_keys_stop_the_drain_and_consume_nothing(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str], status: int, body: bytes
) -> None:
    """Invariant 11."""
    fake.faults.append(Fault(status=status, body=body))
    first, second = decide(), decide(symbol="MSFT")
    with pytest.raises(BrokerRefusesUs):
        worker.drain()
    assert state(writer, first) == ("pending", "not_accepted", None)
    assert state(writer, second) == ("pending", None, None)
    assert scalar(writer, "SELECT sum(retry_count) FROM trade_decisions") == 0
    assert settle(worker, writer, first)[0] == "executed"


def test_a_rate_limit_pauses_and_keeps_the_order(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str]
) -> None:
    """Invariant 11: the second decision of the symbol does not overtake the first."""
    fake.faults.append(Fault(status=429, headers={"Retry-After": "3"}))
    first, second = decide(quantity="1"), decide(quantity="2")
    worker.drain()
    assert state(writer, first)[:2] == ("pending", "not_accepted")
    worker.drain()
    assert len(fake.posts()) == 1
    settle(worker, writer, second)
    assert [body["qty"] for body in fake.posts()] == ["1", "1", "2"]


def test_an_unsettled_send_holds_back_its_symbol_only(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str]
) -> None:
    fake.faults += [Fault(status=504), Fault("GET", status=500, path="by_client_order_id")]
    first, second, other = decide(), decide(side="sell"), decide(symbol="MSFT")
    worker.drain()
    assert state(writer, first)[:2] == ("executing", "unknown")
    assert state(writer, second)[0] == "pending"
    assert state(writer, other)[0] != "pending"


def test_another_order_under_our_id_is_never_adopted(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str]
) -> None:
    decision_id = decide()
    client_id = scalar(writer, "SELECT client_order_id FROM trade_decisions")
    fake.place(
        {"symbol": "TSLA", "side": "buy", "type": "market", "time_in_force": "day", "qty": "1.5"}
        | {"client_order_id": client_id}
    )
    worker.drain()
    assert state(writer, decision_id)[:2] == ("executing", "unknown")
    assert "symbol is TSLA" in scalar(writer, "SELECT needs_attention FROM trade_decisions")
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE kind = 'needs_attention'") == 1


def test_no_commit_no_request(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str], config: Config
) -> None:
    """Invariant 1: while the store cannot be written, nothing leaves the process."""
    decide()
    writer.connection.execute("PRAGMA busy_timeout = 50")
    blocker = sqlite3.connect(config.store_path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    from tradelog.errors import StoreLocked

    with pytest.raises(StoreLocked):
        worker.drain()
    assert fake.posts() == []
    blocker.execute("ROLLBACK")
    blocker.close()
    worker.drain()
    assert len(fake.posts()) == 1


def test_the_attempt_is_on_disk_before_the_request(
    worker: Worker, writer: Writer, decide: Callable[..., str], config: Config
) -> None:
    """Invariant 1: another process can read the intent at the moment the broker is called."""
    decision_id = decide()
    seen: list[Any] = []
    submit = worker.session.broker.submit

    def spy(order: Any) -> Any:
        with Reader(config.store_path) as reader:
            seen.append(reader.one("SELECT status, decision_id FROM trade_executions"))
        assert not writer.connection.in_transaction
        return submit(order)

    worker.session.broker.submit = spy  # type: ignore[method-assign]
    worker.drain()
    assert seen == [{"status": "sending", "decision_id": decision_id}]


def test_a_worker_that_lost_its_lease_writes_no_outcome(
    worker: Worker, writer: Writer, decide: Callable[..., str]
) -> None:
    decision_id = decide()
    submit = worker.session.broker.submit

    def steal(order: Any) -> Any:
        with writer.transaction() as tx:
            tx.unaudited(
                "UPDATE trade_decisions SET lease_token = lease_token + 1, lease_owner = 'wrk_other'"
            )
        return submit(order)

    worker.session.broker.submit = steal  # type: ignore[method-assign]
    worker.drain()
    assert state(writer, decision_id)[:2] == ("executing", "sending")


def test_only_decisions_of_the_own_account_are_claimed(
    worker: Worker, writer: Writer, fake: FakeAlpaca
) -> None:
    for account in (
        AccountKey("alpaca", "live", "default"),
        AccountKey("simulated", "paper", "default"),
        AccountKey("alpaca", "paper", "b"),
    ):
        values = {"strategy": "manual", "symbol": "AAPL", "side": "buy", "quantity": 1, "rationale": "x"}
        record.record(writer, account, record.parse(values))
    worker.drain()
    assert fake.posts() == []


def test_a_decision_that_expired_is_never_sent(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str]
) -> None:
    decision_id = decide(expires_at="2020-01-01T00:00:00Z")
    worker.drain()
    assert state(writer, decision_id) == ("cancelled", None, "expired_unsent")
    assert fake.posts() == []


def test_a_failed_poll_changes_nothing(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str]
) -> None:
    fake.fills = False
    decision_id = decide()
    worker.drain()
    for fault in (
        Fault("GET", status=500),
        Fault("GET", status=404),
        Fault("GET", status=200, body=b"<html>"),
    ):
        fake.faults.append(fault)
        worker.poll()
        assert state(writer, decision_id)[:2] == ("executing", "accepted")
    entries = scalar(writer, "SELECT count(*) FROM journal")
    for _ in range(5):
        worker.poll()
    assert scalar(writer, "SELECT count(*) FROM journal") == entries


@pytest.mark.parametrize(
    ("status", "filled", "decision", "code"),
    [
        ("canceled", "0", "failed", "canceled_at_broker"),
        ("canceled", "0.5", "executed", None),
        ("expired", "0", "failed", "expired_unfilled"),
        ("expired", "0.5", "executed", None),
        ("rejected", "0", "failed", "rejected_by_venue"),
    ],
)
def test_the_end_of_an_order_is_the_end_of_its_decision(
    worker: Worker,
    writer: Writer,
    fake: FakeAlpaca,
    decide: Callable[..., str],
    status: str,
    filled: str,
    decision: str,
    code: str | None,
) -> None:
    fake.fills = False
    decision_id = decide()
    worker.drain()
    order_id = next(iter(fake.orders))
    if filled == "0":
        fake.orders[order_id]["status"] = status
    else:
        fake.fill(order_id, filled, "99", status=status)
    worker.poll()
    assert state(writer, decision_id) == (decision, status, code)
    assert scalar(writer, "SELECT filled_quantity FROM trade_executions") == filled


def test_an_unknown_broker_status_is_kept_and_alerted(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str]
) -> None:
    fake.fills = False
    fake.reply_changes = {"status": "an_invented_one", "submitted_at": None, "updated_at": None}
    decision_id = decide()
    worker.drain()
    assert state(writer, decision_id)[:2] == ("executing", "accepted")
    assert scalar(writer, "SELECT broker_status FROM trade_executions") == "an_invented_one"
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE kind = 'unknown_order_status'") == 1


def test_the_account_number_is_bound_at_first_sight(
    worker: Worker, writer: Writer, fake: FakeAlpaca, broker: AlpacaBroker, config: Config
) -> None:
    fake.account_number = "PA999999999"
    with pytest.raises(BrokerRefusesUs, match="PA999999999") as caught:
        Worker(writer, broker, config).start()
    assert caught.value.exit_code == 4


def test_killed_between_send_and_answer_it_finds_its_order_again(
    home: Path,
    config: Config,
    fake: FakeAlpaca,
    cli: Cli,
    writer: Writer,
    decide: Callable[..., str],
) -> None:
    """Invariant 14: kill -9 while the broker has the order and we have no answer."""
    decision_id = decide()
    fake.faults.append(Fault(accept=True, stall=30))
    process = subprocess.Popen(
        [sys.executable, "-m", "tradelog", "run-worker"],
        env=process_environment(home, **ENVIRONMENT),
        stderr=subprocess.DEVNULL,
    )
    while not fake.orders and process.poll() is None:
        fake.wait(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state(writer, decision_id)[:2] in (("executing", "sending"), ("executing", "unknown"))
    ended = cli("run-worker", "--once", **ENVIRONMENT)
    assert ended.code == 0, ended.err
    assert state(writer, decision_id)[:2] == ("executed", "filled")
    assert len(fake.orders) == 1
    assert len(fake.posts()) == 1
    with Reader(config.store_path) as reader:
        check_complete(reader)


@pytest.mark.slow
def test_sigterm_ends_a_worker_in_good_order(
    home: Path, config: Config, fake: FakeAlpaca, writer: Writer, decide: Callable[..., str]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tradelog", "run-worker"],
        env=process_environment(home, **ENVIRONMENT),
        stderr=subprocess.PIPE,
        text=True,
    )
    decision_id = decide()
    while not fake.orders and process.poll() is None:
        fake.wait(0.01)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=30)
    assert process.returncode == 0, text
    assert state(writer, decision_id)[1] != "sending"
    assert scalar(writer, "SELECT stopped_at FROM workers ORDER BY started_at DESC LIMIT 1") is not None
    assert "broker alpaca, environment paper, account default" in text


def test_live_is_refused_until_there_are_limits(cli: Cli, home: Path) -> None:
    (home / "tradelog.toml").write_text('[broker]\nname = "alpaca"\nenvironment = "live"\n')
    ended = cli("run-worker", "--once", **ENVIRONMENT)
    assert ended.code == 4
    assert "live trading" in ended.err


def test_alpaca_needs_its_keys(cli: Cli, config: Config) -> None:
    ended = cli("run-worker", "--once")
    assert ended.code == 4
    assert "APCA_API_KEY_ID" in ended.err


def test_lease_tokens_only_grow(writer: Writer, config: Config, decide: Callable[..., str]) -> None:
    decide()
    with writer.transaction() as tx:
        decision = claims.next_ready(tx.dicts, config.account, tx.now)
        assert decision is not None
        claim = claims.claim_decision(tx, decision, "wrk_gone", timedelta(seconds=-1), None)
    with writer.transaction() as tx:
        again = claims.claim_unsettled(tx, config.account, "wrk_other", timedelta(seconds=60))
    assert again is not None
    assert again.token == claim.token + 1
    with pytest.raises(claims.LeaseLost), writer.transaction() as tx:
        claims.check_lease(tx, claim)


def test_an_unreachable_broker_leaves_decisions_pending(
    home: Path, cli: Cli, config: Config, writer: Writer, decide: Callable[..., str]
) -> None:
    """Invariant 11: provably not sent, pending as before, tried less and less often."""
    text = (home / "tradelog.toml").read_text().replace(config.broker.base_url or "", "http://127.0.0.1:9")
    (home / "tradelog.toml").write_text(text + "once_seconds = 2\n")
    decision_id = decide()
    ended = cli("run-worker", "--once", **ENVIRONMENT)
    assert ended.code == 1
    assert "stay pending" in ended.err
    assert state(writer, decision_id) == ("pending", None, None)
    assert scalar(writer, "SELECT count(*) FROM broker_calls") <= 6


def test_what_provably_never_left_is_pending_as_before(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str]
) -> None:
    """Invariant 11: no connection, no attempt at the broker, and the next one comes later."""
    decision_id = decide()
    worker.session.broker = AlpacaBroker("http://127.0.0.1:9", *KEYS, connect=0.5, read=0.5)
    worker.drain()
    worker.drain()
    assert state(writer, decision_id) == ("pending", "not_sent", None)
    assert scalar(writer, "SELECT count(*) FROM trade_executions") == 1
    assert scalar(writer, "SELECT next_attempt_at FROM trade_decisions") is not None


def test_once_does_not_wait_for_orders_of_an_earlier_day(
    home: Path, cli: Cli, fake: FakeAlpaca, writer: Writer, decide: Callable[..., str], worker: Worker
) -> None:
    fake.fills = False
    decide(time_in_force="gtc", quantity="1", order_type="limit", limit_price="1")
    worker.drain()
    fake.fills = True
    later = decide(symbol="MSFT")
    with (home / "tradelog.toml").open("a") as stream:
        stream.write("once_seconds = 3600\n")
    ended = cli("run-worker", "--once", **ENVIRONMENT)
    assert ended.code == 0, ended.err
    assert state(writer, later)[0] == "executed"
    assert "1 submitted, 1 ended, 1 still open" in ended.err


def refusal(message: str = "insufficient buying power") -> Fault:
    return Fault(status=403, body=json.dumps({"code": 40310000, "message": message}).encode())


@pytest.mark.parametrize("landed", [True, False])
def test_a_refused_resubmission_proves_nothing_about_the_first(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str], landed: bool
) -> None:
    """Invariant 3: refused because the first one landed and took the buying power, or really refused."""
    fake.faults.append(Fault(status=504))
    decision_id = decide()
    worker.drain()
    fake.faults.append(refusal())
    posts = len(fake.posts())
    while len(fake.posts()) == posts:
        go(5)
        worker.session.paused_until = 0.0
        worker.drain()
    assert state(writer, decision_id)[:2] == ("executing", "unknown")
    if landed:
        fake.place(fake.posts()[0])
    ended = settle(worker, writer, decision_id)
    expected = ("executed", "filled", None) if landed else ("failed", "rejected", "insufficient_buying_power")
    assert ended == expected
    assert len(fake.posts()) == 2


def test_fills_that_show_up_late_are_still_fetched(
    worker: Worker,
    writer: Writer,
    fake: FakeAlpaca,
    decide: Callable[..., str],
    broker: AlpacaBroker,
    config: Config,
) -> None:
    decide()
    fake.late_activities = 1
    worker.drain()
    worker.poll()
    assert scalar(writer, "SELECT status FROM trade_executions") == "filled"
    assert scalar(writer, "SELECT count(*) FROM fills") == 0
    restarted = Worker(writer, broker, config)
    restarted.start()
    restarted.poll()
    restarted.poll()
    assert scalar(writer, "SELECT quantity FROM fills") == "1.5"
    assert not restarted.tracker.awaits_fills()


def test_activities_that_are_none_do_not_stop_the_worker(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str]
) -> None:
    fake.activities.append({"id": None, "transaction_time": "9999"})
    decide()
    worker.drain()
    worker.poll()
    assert scalar(writer, "SELECT status FROM trade_decisions") == "executed"


def test_an_order_replaced_at_the_broker_is_tracked_to_its_replacement(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str]
) -> None:
    fake.fills = False
    decision_id = decide()
    worker.drain()
    first = next(iter(fake.orders))
    fake.replace(first, {"limit_price": "9"})
    worker.poll()
    assert state(writer, decision_id)[:2] == ("executing", "accepted")
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE kind = 'replaced_at_broker'") == 1
    chain = writer.connection.execute(
        "SELECT status, replaces IS NULL, limit_price FROM trade_executions ORDER BY id"
    ).fetchall()
    assert chain == [("replaced", 1, None), ("accepted", 0, "9")]
    fake.fill(next(reversed(fake.orders)), None, "9")
    worker.poll()
    worker.poll()
    assert state(writer, decision_id)[:2] == ("executed", "filled")


@pytest.mark.slow
def test_the_answer_is_recorded_however_long_the_store_is_locked(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str], config: Config
) -> None:
    """Invariant 4: an answer that came while the store could not take it is not lost."""
    decision_id = decide()
    writer.connection.execute("PRAGMA busy_timeout = 20")
    blocker = sqlite3.connect(config.store_path, isolation_level=None, check_same_thread=False)
    submit = worker.session.broker.submit

    def lock(order: Any) -> Any:
        blocker.execute("BEGIN IMMEDIATE")
        threading.Timer(0.3, lambda: blocker.execute("ROLLBACK")).start()
        return submit(order)

    worker.session.broker.submit = lock  # type: ignore[method-assign]
    worker.drain()
    assert state(writer, decision_id)[1] in ("accepted", "filled")
    assert scalar(writer, "SELECT count(*) FROM broker_calls WHERE purpose = 'submit'") == 1
    assert len(fake.posts()) == 1
    blocker.close()


def test_nothing_is_sent_before_the_account_has_been_checked(
    writer: Writer,
    fake: FakeAlpaca,
    broker: AlpacaBroker,
    config: Config,
    worker: Worker,
    decide: Callable[..., str],
) -> None:
    decide()
    fake.account_number = "PA999999999"
    fake.faults.append(Fault("GET", status=500))
    second = Worker(writer, broker, config)
    second.start()
    with pytest.raises(BrokerRefusesUs):
        second.drain()
    assert fake.posts() == []


def test_backoff_of_one_order_delays_no_other(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str]
) -> None:
    fake.fills = False
    first, second = decide(), decide(symbol="MSFT")
    worker.drain()
    ids = {order["symbol"]: key for key, order in fake.orders.items()}
    del fake.orders[ids["AAPL"]]
    fake.fill(ids["MSFT"], "1.5", "9")
    worker.poll()
    worker.poll()
    assert state(writer, first)[:2] == ("executing", "accepted")
    assert state(writer, second)[:2] == ("executed", "filled")
    assert scalar(writer, "SELECT count(*) FROM broker_calls WHERE purpose = 'poll' AND status = 404") == 1


def test_an_answer_about_another_order_is_no_answer(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str]
) -> None:
    fake.fills = False
    first, _ = decide(), decide(symbol="MSFT")
    worker.drain()
    other = next(order for order in fake.orders.values() if order["symbol"] == "MSFT")
    lie = json.dumps(other | {"status": "filled", "filled_qty": "1.5"}).encode()
    fake.faults.append(Fault("GET", status=200, body=lie))
    worker.poll()
    assert state(writer, first)[:2] == ("executing", "accepted")


def test_an_old_answer_does_not_bring_an_ended_order_back(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str]
) -> None:
    fake.fills = False
    decision_id = decide()
    worker.drain()
    order_id = next(iter(fake.orders))
    old = worker.session.broker.order(order_id)
    fake.fill(order_id, "1.5", "99")
    worker.poll()
    owner = Owner(scalar(writer, "SELECT execution_id FROM trade_executions"), decision_id)
    worker.tracker.apply(owner, old.json(), old, "poll")
    assert state(writer, decision_id) == ("executed", "filled", None)
    assert scalar(writer, "SELECT filled_quantity FROM trade_executions") == "1.5"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=403, body=b'{"message": "bad \\ud800 text"}'),
        Fault(status=429, headers={"Retry-After": "99999999999999"}),
        Fault(status=429, headers={"Retry-After": "315360000"}),
        Fault(
            accept=True,
            status=200,
            body=b'{"id":"1","client_order_id":"x","symbol":"\\ud800","status":"new"}',
        ),
        Fault(
            accept=True, status=200, body=b'{"id":"1","client_order_id":"x","symbol":"A","status":"filled"}'
        ),
    ],
    ids=repr,
)
def test_hostile_answers_neither_stop_nor_park_anything(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str], fault: Fault
) -> None:
    fake.faults.append(fault)
    decision_id = decide()
    ended = settle(worker, writer, decision_id, seconds=15)
    assert ended[0] in ("executed", "failed")
    assert len(fake.orders) <= 1


def test_a_clock_set_back_does_not_make_it_ask_without_end(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Callable[..., str]
) -> None:
    with freeze_time(clock.now() + timedelta(hours=1)):
        decide()
    fake.faults += [Fault(drop=True)] + [Fault("GET", status=500)] * 50
    for _ in range(5):
        worker.drain()
    assert len(fake.seen) < 15


@pytest.mark.slow
def test_several_processes_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tradelog.store.opening import open_writer;"
        " open_writer(Path(sys.argv[1])).close()"
    )
    path = tmp_path / "a?b" / "log.db"
    started = [subprocess.Popen([sys.executable, "-c", script, str(path)]) for _ in range(5)]
    assert [process.wait(timeout=60) for process in started] == [0] * 5
    assert path.is_file()
    assert not (tmp_path / "a").exists()
