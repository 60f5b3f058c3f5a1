"""Cancel and replace: recorded before sent, one request each, followed to the real end."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.conftest import scalar
from tests.execute.driving import go, settle, state
from tests.fakes.alpaca import FakeAlpaca, Fault
from tests.journaled import check_complete
from tradelog.config.schema import Config
from tradelog.errors import UsageError
from tradelog.execute.amend import order_requests
from tradelog.execute.worker import Worker
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer

LIMIT = {"order_type": "limit", "limit_price": "100", "time_in_force": "gtc", "quantity": "10"}
Decide = Callable[..., str]


@pytest.fixture
def resting(worker: Worker, fake: FakeAlpaca, decide: Decide) -> str:
    """A decision whose limit order of 10 rests at the broker."""
    fake.fills = False
    decision_id = decide(**LIMIT)
    worker.drain()
    worker.poll()
    return decision_id


def request_cancel(writer: Writer, decision_id: str) -> str:
    with writer.transaction() as tx:
        return order_requests.request_cancel(tx, decision_id, "because", "test")


def request_replace(writer: Writer, decision_id: str, **terms: Any) -> str:
    numbers = {name: value if name == "time_in_force" else Decimal(value) for name, value in terms.items()}
    with writer.transaction() as tx:
        return order_requests.request_replace(tx, decision_id, numbers, "because", "test")


def request(writer: Writer, kind: str | None = None) -> tuple[str, str | None]:
    """(status, message) of the newest request."""
    return writer.connection.execute(
        "SELECT status, message FROM order_requests WHERE coalesce(?, kind) = kind ORDER BY id DESC", (kind,)
    ).fetchone()


def work(worker: Worker, times: int = 3, seconds: float = 0) -> None:
    for _ in range(times):
        worker.drain()
        worker.poll()
        go(seconds)
        worker.session.paused_until = 0.0


def only(fake: FakeAlpaca) -> dict[str, Any]:
    return next(iter(fake.orders.values()))


def newest(fake: FakeAlpaca) -> dict[str, Any]:
    return next(reversed(fake.orders.values()))


def test_what_was_never_sent_is_cancelled_at_once(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    decision_id = decide()
    request_cancel(writer, decision_id)
    worker.drain()
    assert state(writer, decision_id) == ("cancelled", None, "cancelled_on_request")
    assert request(writer)[0] == "done"
    assert fake.posts() == []


def test_a_cancel_is_on_disk_before_it_is_sent(
    worker: Worker, writer: Writer, resting: str, config: Config
) -> None:
    """Invariant 1."""
    request_cancel(writer, resting)
    seen: list[Any] = []
    send = worker.session.broker.cancel

    def spy(order_id: str) -> Any:
        with Reader(config.store_path) as reader:
            seen.append(reader.one("SELECT status, tries FROM order_requests"))
        assert not writer.connection.in_transaction
        return send(order_id)

    worker.session.broker.cancel = spy  # type: ignore[method-assign]
    work(worker)
    assert seen == [{"status": "sending", "tries": 1}]
    assert state(writer, resting) == ("cancelled", "canceled", "cancelled_on_request")


def test_a_cancel_after_a_part_keeps_what_was_filled(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str, config: Config
) -> None:
    fake.fill(only(fake)["id"], "4", "100")
    request_cancel(writer, resting)
    work(worker)
    assert state(writer, resting) == ("executed", "canceled", None)
    assert scalar(writer, "SELECT filled_quantity FROM trade_executions") == "4"
    assert scalar(writer, "SELECT quantity FROM fills") == "4"
    assert request(writer) == ("done", "after 4 was filled")
    with Reader(config.store_path) as reader:
        check_complete(reader)


def test_a_fill_during_the_cancel_counts(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str
) -> None:
    fake.fills_on_cancel = True
    request_cancel(writer, resting)
    work(worker)
    assert state(writer, resting) == ("executed", "filled", None)
    assert request(writer) == ("overtaken", "the order was filled before")


def test_too_late_is_no_time_out(worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str) -> None:
    """`order is already in "filled" state`: no second order, no second cancel."""
    request_cancel(writer, resting)
    fake.fill(only(fake)["id"], None, "100")
    work(worker)
    assert state(writer, resting) == ("executed", "filled", None)
    assert request(writer)[0] == "overtaken"
    assert fake.count("DELETE") == 1
    assert len(fake.posts()) == 1


def test_pending_cancel_is_not_requested_again(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str
) -> None:
    fake.stuck_cancels = True
    request_cancel(writer, resting)
    work(worker, 10, seconds=600)
    assert fake.count("DELETE") == 1
    assert state(writer, resting)[:2] == ("executing", "accepted")
    assert scalar(writer, "SELECT broker_status FROM trade_executions") == "pending_cancel"
    assert request(writer)[0] == "sent"
    entries = scalar(writer, "SELECT count(*) FROM journal")
    work(worker, 5, seconds=600)
    assert scalar(writer, "SELECT count(*) FROM journal") == entries


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        Fault("DELETE", accept=True, status=504),
        Fault("DELETE", accept=True, drop=True),
        Fault("DELETE", accept=True, stall=5),
        Fault("DELETE", status=500),
        Fault("DELETE", drop=True),
        Fault("DELETE", status=429, headers={"Retry-After": "1"}),
        Fault("DELETE", status=404, body=b"<html>"),
    ],
    ids=repr,
)
def test_whatever_breaks_a_cancel_comes_to_its_end(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str, fault: Fault
) -> None:
    fake.faults.append(fault)
    request_cancel(writer, resting)
    work(worker, 6, seconds=20)
    assert state(writer, resting) == ("cancelled", "canceled", "cancelled_on_request")
    assert request(writer)[0] == "done"
    # Whether it had arrived the order said itself.
    assert fake.count("DELETE") == (1 if fault.accept else 2)


def test_a_refused_cancel_names_the_brokers_reason(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str
) -> None:
    body = b'{"code": 42210000, "message": "order is not cancelable"}'
    fake.faults.append(Fault("DELETE", status=422, body=body))
    request_cancel(writer, resting)
    work(worker)
    assert request(writer) == ("refused", "order is not cancelable")
    assert state(writer, resting)[:2] == ("executing", "accepted")
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE kind = 'cancel_refused'") == 1
    assert fake.count("DELETE") == 1


def test_a_cancel_while_the_send_is_unknown_does_not_send_again(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.faults.append(Fault(status=504))
    decision_id = decide()
    worker.drain()
    request_cancel(writer, decision_id)
    assert settle(worker, writer, decision_id) == ("cancelled", "not_accepted", "cancelled_on_request")
    assert len(fake.posts()) == 1
    assert request(writer)[0] == "done"


def test_a_send_given_up_that_was_there_after_all_is_taken_up_again(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    """One order an intent, and its fills are ours, whenever it shows."""
    fake.faults.append(Fault(accept=True, status=504))
    fake.hidden = 100
    decision_id = decide(quantity="2")
    worker.drain()
    request_cancel(writer, decision_id)
    assert settle(worker, writer, decision_id)[0] == "cancelled"
    fake.hidden = 0
    worker.reconcile()
    assert state(writer, decision_id) == ("executed", "filled", None)
    assert scalar(writer, "SELECT sum(quantity) FROM fills") == 2
    assert scalar(writer, "SELECT count(*) FROM trade_decisions") == 1


def test_cancel_of_what_has_ended_is_refused(
    worker: Worker, writer: Writer, decide: Decide, fake: FakeAlpaca
) -> None:
    decision_id = decide()
    settle(worker, writer, decision_id)
    with pytest.raises(UsageError, match="executed already"):
        request_cancel(writer, decision_id)


def test_asking_twice_is_one_request(writer: Writer, resting: str, fake: FakeAlpaca, worker: Worker) -> None:
    assert request_cancel(writer, resting) == request_cancel(writer, resting)
    work(worker)
    assert fake.count("DELETE") == 1


def test_a_replace_is_a_new_attempt_with_an_id_of_its_own(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str, config: Config
) -> None:
    request_replace(writer, resting, limit_price="101.5")
    work(worker)
    rows = writer.connection.execute(
        "SELECT attempt_number, status, substr(client_order_id, -2), quantity, limit_price"
        " FROM trade_executions ORDER BY id"
    ).fetchall()
    assert rows == [(1, "replaced", "-1", None, None), (2, "accepted", "-2", "10", "101.5")]
    sent = next(json.loads(item.body) for item in fake.seen if item.method == "PATCH")
    assert sent == {"limit_price": "101.5", "client_order_id": newest(fake)["client_order_id"]}
    assert request(writer) == ("done", None)
    fake.fill(newest(fake)["id"], None, "101")
    work(worker)
    assert state(writer, resting) == ("executed", "filled", None)
    with Reader(config.store_path) as reader:
        check_complete(reader)


def test_after_a_part_the_rest_is_replaced_and_the_sum_is_right(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str
) -> None:
    """The remaining quantity is computed, sent, read back and compared."""
    fake.fill(only(fake)["id"], "4", "100")
    request_replace(writer, resting, limit_price="101")
    work(worker)
    assert newest(fake)["qty"] == "6"
    fake.fill(newest(fake)["id"], None, "101")
    work(worker)
    assert state(writer, resting) == ("executed", "filled", None)
    assert writer.connection.execute("SELECT sum(quantity), count(*) FROM fills").fetchone() == (10, 2)
    assert scalar(writer, "SELECT needs_attention FROM trade_decisions") is None


def test_the_order_is_polled_before_a_replace(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str
) -> None:
    request_id = request_replace(writer, resting, limit_price="101")
    fake.fill(only(fake)["id"], "9", "100")
    work(worker)
    assert newest(fake)["qty"] == "1"
    assert scalar(writer, "SELECT status FROM order_requests WHERE request_id = ?", request_id) == "done"


def test_a_replacement_with_another_quantity_needs_attention(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str
) -> None:
    """github.com/alpacahq/Alpaca-API/issues/165: it would buy 4 too many."""
    fake.fill(only(fake)["id"], "4", "100")
    fake.keeps_quantity = True
    request_replace(writer, resting, limit_price="101")
    work(worker)
    assert "quantity is 10, not 6" in scalar(writer, "SELECT needs_attention FROM trade_decisions")
    assert state(writer, resting)[1] == "accepted"
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE kind = 'needs_attention'") == 1


def test_an_overfill_during_a_replace_needs_attention(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str
) -> None:
    send = worker.session.broker.replace

    def fill_then_replace(order_id: str, change: Any) -> Any:
        fake.fill(order_id, "3", "100")
        return send(order_id, change)

    worker.session.broker.replace = fill_then_replace  # type: ignore[method-assign]
    request_replace(writer, resting, limit_price="101")
    work(worker)
    assert "can reach 13 of 10" in scalar(writer, "SELECT needs_attention FROM trade_decisions")


def test_the_quantity_of_a_replace_is_that_of_all_orders_together(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str
) -> None:
    fake.fill(only(fake)["id"], "4", "100")
    request_replace(writer, resting, quantity="12")
    work(worker)
    assert newest(fake)["qty"] == "8"
    fake.fill(newest(fake)["id"], "5", "100")
    request_replace(writer, resting, limit_price="102")
    work(worker)
    assert [order["qty"] for order in fake.orders.values()] == ["10", "8", "3"]
    assert newest(fake)["client_order_id"].endswith("-3")


@pytest.mark.parametrize(
    "fault",
    [
        Fault("PATCH", accept=True, status=504),
        Fault("PATCH", accept=True, drop=True),
        Fault("PATCH", accept=True, status=200, body=b"<html>"),
        Fault("PATCH", accept=True, drip=True),
        Fault("PATCH", status=500),
        Fault("PATCH", drop=True),
        Fault("PATCH", status=429, headers={"Retry-After": "1"}),
    ],
    ids=repr,
)
def test_whatever_breaks_there_is_one_replacement(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str, fault: Fault
) -> None:
    fake.faults.append(fault)
    request_replace(writer, resting, limit_price="101")
    work(worker, 8, seconds=20)
    assert request(writer) == ("done", None)
    assert len(fake.orders) == 2
    assert [order["status"] for order in fake.orders.values()] == ["replaced", "new"]
    sent = {json.loads(item.body)["client_order_id"] for item in fake.seen if item.method == "PATCH"}
    assert sent == {newest(fake)["client_order_id"]}


def test_a_refused_replace_leaves_the_old_order(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str
) -> None:
    only(fake)["status"] = "accepted"
    request_replace(writer, resting, limit_price="101")
    work(worker, 5, seconds=20)
    assert request(writer)[0] == "refused"
    assert "isn't sent to exchange yet" in (request(writer)[1] or "")
    assert fake.count("PATCH") == 1
    assert state(writer, resting)[0] == "executing"
    only(fake)["status"] = "new"
    fake.fill(only(fake)["id"], None, "100")
    work(worker)
    assert state(writer, resting)[0] == "executed"


def test_a_replacement_that_the_venue_rejects_leaves_the_old_order(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str
) -> None:
    """PATCH says 200, and the new order is rejected all the same: both are shown, nothing is repeated."""
    fake.rejects_replacement = True
    request_replace(writer, resting, limit_price="101")
    work(worker, 5, seconds=20)
    rows = writer.connection.execute("SELECT status FROM trade_executions ORDER BY id").fetchall()
    assert rows == [("accepted",), ("rejected",)]
    assert request(writer)[0] == "refused"
    assert fake.count("PATCH") == 1
    fake.fill(only(fake)["id"], None, "100")
    work(worker)
    assert state(writer, resting)[0] == "executed"


def test_an_old_order_that_fills_first_ends_the_replace(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str
) -> None:
    request_replace(writer, resting, limit_price="101")
    fake.fill(only(fake)["id"], None, "100")
    work(worker)
    assert request(writer)[0] == "overtaken"
    assert state(writer, resting) == ("executed", "filled", None)
    assert fake.count("PATCH") == 0


def test_cancel_takes_the_replacement_back_too(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str
) -> None:
    fake.fill(only(fake)["id"], "4", "100")
    request_replace(writer, resting, limit_price="101")
    request_cancel(writer, resting)
    work(worker)
    assert request(writer, "cancel")[0] == "done"
    assert request(writer, "replace")[0] == "overtaken"
    assert state(writer, resting)[0] == "executed"
    assert all(order["status"] in ("canceled", "replaced") for order in fake.orders.values())


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"limit_price": "100"}, "these terms already"),
        ({"stop_price": "90"}, "has no stop price"),
        ({"limit_price": "100.125"}, "finer than the market"),
        ({"quantity": "10.5"}, "only whole shares"),
    ],
)
def test_terms_that_an_order_cannot_have_are_refused_before_anything_is_recorded(
    writer: Writer, resting: str, terms: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        request_replace(writer, resting, **terms)
    assert scalar(writer, "SELECT count(*) FROM order_requests") == 0


def test_a_notional_order_cannot_be_replaced(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.fills = False
    decision_id = decide(quantity=None, notional="100")
    worker.drain()
    with pytest.raises(UsageError, match="amount of money"):
        request_replace(writer, decision_id, quantity="5")


def test_the_filled_quantity_leaves_nothing_to_replace(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str
) -> None:
    fake.fill(only(fake)["id"], "4", "100")
    worker.poll()
    with pytest.raises(UsageError, match="4 are filled already"):
        request_replace(writer, resting, quantity="4")


def test_172_shares_in_two_orders_are_172_shares(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    """A part of 24, a cancel, the rest decided anew: the fills add up to the position."""
    fake.fills = False
    first = decide(quantity="172", order_type="limit", limit_price="100", time_in_force="gtc")
    worker.drain()
    fake.fill(only(fake)["id"], "24", "100")
    request_cancel(writer, first)
    work(worker)
    fake.fills = True
    second = decide(quantity="148")
    settle(worker, writer, second)
    assert scalar(writer, "SELECT sum(quantity) FROM fills") == 172
    assert fake.positions()[0]["qty"] == "172"


def test_a_throttled_replace_that_landed_is_not_resubmitted(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str
) -> None:
    fake.faults.append(Fault("PATCH", accept=True, status=429, headers={"Retry-After": "1"}))
    request_replace(writer, resting, limit_price="90")
    worker.drain()
    fake.fill(newest(fake)["id"], "1", "90")
    work(worker, 8, seconds=20)
    assert fake.count("PATCH") == 1
    assert request(writer)[0] == "done"
    assert len(fake.orders) == 2
    assert state(writer, resting)[:2] == ("executing", "partially_filled")


def test_a_cancel_goes_on_to_the_order_that_is_still_there(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str
) -> None:
    """The old order is over by now, which is no answer about the one that replaced it."""
    old = only(fake)["id"]
    request_replace(writer, resting, limit_price="101")
    send = worker.session.broker.replace

    def then_silent(order_id: str, change: Any) -> Any:
        answer = send(order_id, change)
        fake.faults.append(Fault("GET", path=old, status=500))
        return answer

    worker.session.broker.replace = then_silent  # type: ignore[method-assign]
    worker.drain()
    # Nobody has told of the old order's end yet: to the log both are live.
    live = "SELECT count(*) FROM trade_executions WHERE status = 'accepted'"
    assert scalar(writer, live) == 2
    request_cancel(writer, resting)
    work(worker, 4, seconds=70)
    assert newest(fake)["status"] == "canceled"
    assert request(writer, "cancel")[0] == "done"


def test_an_order_that_was_given_up_and_lives_is_cancelled_still(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.fills = False
    fake.faults.append(Fault(accept=True, status=504))
    fake.hidden = 100
    decision_id = decide(quantity="2")
    worker.drain()
    request_cancel(writer, decision_id)
    assert settle(worker, writer, decision_id)[0] == "cancelled"
    fake.hidden = 0
    worker.reconcile()
    assert state(writer, decision_id)[0] == "executing"
    work(worker, 3)
    assert only(fake)["status"] == "canceled"
    assert state(writer, decision_id)[0] == "cancelled"


def test_an_id_that_was_refused_as_taken_is_never_given_up(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.faults.append(Fault(accept=True, status=504))
    fake.hidden = 10_000
    decision_id = decide(quantity="2")
    for _ in range(15):
        worker.drain()
        go(5)
    assert scalar(writer, "SELECT count(*) FROM broker_calls WHERE status = 422") == 1
    request_cancel(writer, decision_id)
    for _ in range(15):
        worker.drain()
        go(5)
    assert state(writer, decision_id)[:2] == ("executing", "unknown")
    assert request(writer)[0] == "pending"


def test_an_attempt_that_needs_attention_is_still_looked_up(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.faults.append(Fault(status=503, times=100))
    decision_id = decide(quantity="2")
    for _ in range(60):
        worker.drain()
        go(20)
        worker.session.paused_until = 0.0
    assert "has no such order" in scalar(writer, "SELECT needs_attention FROM trade_decisions")
    posts = len(fake.posts())
    fake.faults.clear()
    fake.place(fake.posts()[0])
    go(3700)
    worker.session.paused_until = 0.0
    assert settle(worker, writer, decision_id)[0] == "executed"
    assert len(fake.posts()) == posts


def test_an_outage_is_not_sent_into(worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide) -> None:
    """Invariant 11: several answers in a row that prove nothing, and the rest stays pending."""
    fake.faults += [Fault(status=503, times=1000), Fault("GET", status=503, times=1000)]
    ids = [decide(symbol=f"S{number}") for number in range(20)]
    worker.drain()
    worker.drain()
    assert len(fake.posts()) <= 3
    assert sum(state(writer, item)[0] == "pending" for item in ids) >= 17
    fake.faults.clear()
    for item in ids:
        assert settle(worker, writer, item)[0] == "executed"
    assert len(fake.orders) == 20


def test_an_order_whose_replacement_was_rejected_is_tracked_again(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str
) -> None:
    """Seen as replaced first, and only then does the venue reject what replaced it."""
    old = only(fake)["id"]
    request_replace(writer, resting, limit_price="101")
    work(worker)
    fake.end(newest(fake)["id"], "rejected")
    fake.orders[old].update(status="new", replaced_by=None)
    fake.faults.append(Fault("GET", path=old, status=500))
    work(worker, 6, seconds=70)
    assert state(writer, resting)[0] == "executing"
    fake.fill(old, None, "100")
    work(worker, 3, seconds=70)
    assert state(writer, resting)[0] == "executed"
    assert scalar(writer, "SELECT sum(quantity) FROM fills") == 10


def test_a_replacement_that_reconcile_finds_is_read_back_too(
    worker: Worker, writer: Writer, fake: FakeAlpaca, resting: str
) -> None:
    fake.fill(only(fake)["id"], "4", "100")
    fake.keeps_quantity = True
    fake.faults.append(Fault("PATCH", accept=True, status=504))
    fake.hidden = 1
    request_replace(writer, resting, limit_price="101")
    worker.drain()
    worker.reconcile()
    assert "quantity is 10, not 6" in scalar(writer, "SELECT needs_attention FROM trade_decisions")


def test_a_cancel_that_the_limit_turns_away_is_no_try(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    """However often: nobody is told that the broker does not answer, and in the end it is cancelled."""
    fake.fills = False
    decision_id = decide(quantity="10", order_type="limit", limit_price="90", time_in_force="gtc")
    worker.drain()
    with writer.transaction() as tx:
        order_requests.request_cancel(tx, decision_id, None, "test")
    fake.faults.append(Fault("DELETE", status=429, headers={"Retry-After": "1"}, times=7))
    for _ in range(7):
        worker.drain()
        go(3)
        worker.session.paused_until = 0.0
    assert fake.count("DELETE") == 7
    assert scalar(writer, "SELECT tries FROM order_requests") == 0
    assert scalar(writer, "SELECT count(*) FROM alerts") == 0
    assert settle(worker, writer, decision_id)[0] == "cancelled"
