"""Cancel/replace, rule by rule: what may be asked for, when it is carried out, and how it ends."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.execute.driving import go
from tests.execute.outbox.test_claims import worker_row
from tests.execute.stage import OTHERS, Stage, moment
from tests.fakes.direct import Fault
from tradelog.errors import UsageError
from tradelog.execute.amend import cancel_replace, order_requests
from tradelog.execute.risk import controls
from tradelog.execute.submission import MAX_SUBMISSIONS, SLICE_SECONDS
from tradelog.execute.worker import Worker

D = Decimal
LIMIT = {"order_type": "limit", "limit_price": "100"}


def resting(stage: Stage, **more: Any) -> tuple[Worker, str]:
    """A worker, and a decision whose order rests at the broker."""
    stage.books.fills = False
    worker = stage.worker(max_order_notional=None)
    decision_id = stage.decide(**(LIMIT | more))
    worker.drain()
    worker.tracker.poll()
    stage.broker.seen.clear()
    return worker, decision_id


def order_of(stage: Stage, decision_id: str) -> str:
    sql = "SELECT alpaca_order_id FROM trade_executions WHERE decision_id = ? ORDER BY id DESC LIMIT 1"
    return str(stage.value(sql, decision_id))


def cancel(stage: Stage, decision_id: str) -> str:
    with stage.tx() as tx:
        return order_requests.request_cancel(tx, decision_id, "no more", "ann")


def replace(stage: Stage, decision_id: str, **terms: Any) -> str:
    with stage.tx() as tx:
        return order_requests.request_replace(tx, decision_id, terms, "other terms", "ann")


def sent(stage: Stage, method: str) -> list[tuple[str, str]]:
    return [(path, body) for seen, path, body in stage.broker.seen if seen == method]


def request(stage: Stage, request_id: str) -> dict[str, Any]:
    return stage.row("order_requests", request_id)


# What may be asked for.


@pytest.mark.parametrize("status", ["executed", "failed", "cancelled"])
def test_what_is_over_cannot_be_cancelled(stage: Stage, status: str) -> None:
    decision_id = stage.decide()
    stage.set("trade_decisions", decision_id, status=status)
    with pytest.raises(UsageError, match=f"is {status} already"):
        cancel(stage, decision_id)


def test_requesting_a_cancel_is_idempotent(stage: Stage) -> None:
    _, decision_id = resting(stage)
    other = stage.decide(symbol="MSFT")
    stage.attempt(other, "accepted", alpaca_order_id="x")
    assert cancel(stage, other) != cancel(stage, decision_id)
    first = cancel(stage, decision_id)
    assert cancel(stage, decision_id) == first
    stage.set("order_requests", first, ended_at=moment())
    assert cancel(stage, decision_id) != first


def test_an_open_replace_is_no_cancel(stage: Stage) -> None:
    _, decision_id = resting(stage)
    asked = replace(stage, decision_id, limit_price=D(101))
    # One open request a decision and kind: the cancel is one of its own.
    assert cancel(stage, decision_id) != asked


def test_what_was_never_sent_is_cancelled_at_once(stage: Stage) -> None:
    decision_id = stage.decide()
    request_id = cancel(stage, decision_id)
    assert request(stage, request_id)["status"] == "done"
    assert stage.row("trade_decisions", decision_id)["status"] == "cancelled"


@pytest.mark.parametrize("first", ["cancel", "replace"])
def test_a_replace_waits_for_what_is_under_way(stage: Stage, first: str) -> None:
    _, decision_id = resting(stage)
    if first == "cancel":
        asked = cancel(stage, decision_id)
    else:
        asked = replace(stage, decision_id, limit_price=D(101))
    with pytest.raises(UsageError, match=f"a {first} of {decision_id} is under way"):
        replace(stage, decision_id, limit_price=D(102))
    stage.set("order_requests", asked, ended_at=moment(), status="overtaken")
    assert replace(stage, decision_id, limit_price=D(102)) != asked


@pytest.mark.parametrize("status", ["sending", "unknown", "canceled", "filled", "replaced", "rejected"])
def test_only_an_order_that_stands_can_be_replaced(stage: Stage, status: str) -> None:
    _, decision_id = resting(stage)
    execution = stage.rows("SELECT execution_id FROM trade_executions")[0]["execution_id"]
    stage.set("trade_executions", execution, status=status)
    with pytest.raises(UsageError, match="no order at the broker that could be replaced"):
        replace(stage, decision_id, limit_price=D(101))


@pytest.mark.parametrize(
    ("decided", "terms", "message"),
    [
        (LIMIT, {"limit_price": D("100.001")}, "finer than the market's steps"),
        (LIMIT, {"limit_price": D("0.99999")}, "finer than the market's steps"),
        (LIMIT, {"stop_price": D(99)}, "a limit order has no stop price"),
        (
            {"order_type": "market", "limit_price": None},
            {"limit_price": D(99)},
            "a market order has no limit",
        ),
        (
            {"order_type": "stop", "stop_price": "110", "limit_price": None},
            {"limit_price": D(99)},
            "a stop order has no limit price",
        ),
        (LIMIT, {"quantity": D("10.5")}, "only whole shares can be replaced, and 10.5 remain"),
        (LIMIT, {}, "has these terms already"),
        (
            LIMIT,
            {"limit_price": D("100.00"), "quantity": D(10), "time_in_force": "day"},
            "these terms already",
        ),
    ],
)
def test_terms_that_the_order_cannot_have(
    stage: Stage, decided: dict[str, Any], terms: dict[str, Any], message: str
) -> None:
    _, decision_id = resting(stage, **decided)
    with pytest.raises(UsageError, match=message):
        replace(stage, decision_id, **terms)
    assert stage.value("SELECT count(*) FROM order_requests") == 0


def test_an_order_for_dollars_cannot_be_replaced(stage: Stage) -> None:
    _, decision_id = resting(stage, quantity=None, notional="500", order_type="market", limit_price=None)
    with pytest.raises(UsageError, match="for an amount of money"):
        replace(stage, decision_id, limit_price=D(101))


@pytest.mark.parametrize(
    ("decided", "terms", "own"),
    [
        (LIMIT, {"limit_price": D(101)}, ("10", "101", None, "day")),
        (LIMIT, {"limit_price": D("0.9999")}, ("10", "0.9999", None, "day")),
        (LIMIT, {"quantity": D(7)}, ("7", "100", None, "day")),
        (LIMIT, {"time_in_force": "gtc"}, ("10", "100", None, "gtc")),
        (
            {"order_type": "stop", "stop_price": "110", "limit_price": None},
            {"stop_price": D(111)},
            ("10", None, "111", "day"),
        ),
        (
            {"order_type": "stop_limit", "stop_price": "110", "limit_price": "112"},
            {"stop_price": D(111), "limit_price": D(113)},
            ("10", "113", "111", "day"),
        ),
        # A part of a share that stays as it is may have another price.
        ({**LIMIT, "quantity": "1.5"}, {"limit_price": D(101)}, ("1.5", "101", None, "day")),
    ],
)
def test_terms_of_a_replacement(
    stage: Stage, decided: dict[str, Any], terms: dict[str, Any], own: tuple[Any, ...]
) -> None:
    _, decision_id = resting(stage, **decided)
    decision = stage.row("trade_decisions", decision_id)
    target = stage.rows("SELECT * FROM trade_executions")[0]
    with stage.tx() as tx:
        result = order_requests.new_terms(tx, decision, target, terms)
    assert tuple(result[name] for name in order_requests.REPLACEABLE_TERMS) == own


@pytest.mark.parametrize(
    ("total", "filled", "rest"),
    [(None, "4", "6"), (12, "4", "8"), (5, "4", "1"), (4, "4", None), (3, "4", None), (None, "10", None)],
)
def test_a_replacement_is_of_what_remains(
    stage: Stage, total: int | None, filled: str, rest: str | None
) -> None:
    _, decision_id = resting(stage)
    execution = stage.rows("SELECT execution_id FROM trade_executions")[0]["execution_id"]
    stage.set("trade_executions", execution, filled_quantity=filled, status="partially_filled")
    decision, target = stage.row("trade_decisions", decision_id), stage.row("trade_executions", execution)
    terms = {"limit_price": D(101)} | ({} if total is None else {"quantity": D(total)})
    with stage.tx() as tx:
        if rest is None:
            with pytest.raises(UsageError, match="are filled already"):
                order_requests.new_terms(tx, decision, target, terms)
        else:
            assert order_requests.new_terms(tx, decision, target, terms)["quantity"] == rest


# When it is carried out.


@pytest.mark.parametrize(
    ("columns", "is_carried_out"),
    [
        ({}, True),
        ({"next_attempt_at": 0}, True),
        ({"next_attempt_at": -1}, True),
        ({"next_attempt_at": 0.000001}, False),
        ({"ended_at": 0, "status": "overtaken"}, False),
        ({"status": "sent"}, True),
    ],
)
def test_a_cancel_is_carried_out_when_its_time_has_come(
    stage: Stage, columns: dict[str, Any], is_carried_out: bool
) -> None:
    worker, decision_id = resting(stage)
    request_id = cancel(stage, decision_id)
    given = {
        name: moment(value) if isinstance(value, int | float) else value for name, value in columns.items()
    }
    if given:
        stage.set("order_requests", request_id, **given)
    worker.cancel_replace.process()
    assert len(sent(stage, "DELETE")) == int(is_carried_out)


@pytest.mark.parametrize(("status", "is_carried_out"), [("pending", True), ("sent", False)])
def test_a_replace_that_the_broker_has_is_not_sent_again(
    stage: Stage, status: str, is_carried_out: bool
) -> None:
    worker, decision_id = resting(stage)
    request_id = replace(stage, decision_id, limit_price=D(101))
    stage.set("order_requests", request_id, status=status)
    worker.cancel_replace.process()
    assert len(sent(stage, "PATCH")) == int(is_carried_out)


@pytest.mark.parametrize("account", OTHERS)
def test_requests_of_another_account_are_not_carried_out(stage: Stage, account: Any) -> None:
    worker = stage.worker()
    decision_id = stage.decide(account)
    stage.attempt(decision_id, "accepted", alpaca_order_id="theirs")
    cancel(stage, decision_id)
    worker.cancel_replace.process()
    assert not stage.broker.seen


def test_one_decision_is_carried_out_where_one_is_named(stage: Stage) -> None:
    worker, first = resting(stage)
    _, second = resting(stage, symbol="MSFT")
    for decision_id in (first, second):
        cancel(stage, decision_id)
    worker.cancel_replace.process(second)
    assert sent(stage, "DELETE") == [(f"/v2/orders/{order_of(stage, second)}", "")]


def test_requests_give_way_after_a_slice_and_while_the_session_is_closed(stage: Stage) -> None:
    worker, first = resting(stage)
    ids = [first, *(resting(stage, symbol=f"S{number}")[1] for number in range(3))]
    for decision_id in ids:
        cancel(stage, decision_id)
    worker.session.pause(5)
    worker.cancel_replace.process()
    assert not sent(stage, "DELETE")
    go(5)
    stage.broker._tick = lambda what: go(SLICE_SECONDS / 2) if what == "after DELETE" else None
    worker.cancel_replace.process()
    # Three: the slice is over only once more than its time has gone by.
    assert len(sent(stage, "DELETE")) == 3
    worker.cancel_replace.process()
    assert len({path for path, _ in sent(stage, "DELETE")}) == 4


# Cancel.


def test_a_cancel_is_tracked_to_the_end_of_the_order(stage: Stage) -> None:
    worker, decision_id = resting(stage)
    request_id = cancel(stage, decision_id)
    worker.cancel_replace.process()
    row = stage.row("trade_decisions", decision_id)
    assert (row["status"], row["failure_code"]) == ("cancelled", "cancelled_on_request")
    assert (request(stage, request_id)["status"], request(stage, request_id)["tries"]) == ("done", 1)
    assert row["lease_owner"] is None


def test_a_cancel_that_was_taken_is_not_sent_again(stage: Stage) -> None:
    stage.books.stuck_cancels = True
    worker, decision_id = resting(stage)
    request_id = cancel(stage, decision_id)
    for _ in range(3):
        worker.cancel_replace.process()
        go(120)
    assert len(sent(stage, "DELETE")) == 1
    assert (request(stage, request_id)["status"], request(stage, request_id)["tries"]) == ("sent", 1)


@pytest.mark.parametrize(
    ("status", "body", "tries", "seconds"),
    [
        (500, b"", 1, 2.0),
        (None, b"", 1, 2.0),
        # What the broker has not had is no try.
        (429, b"{}", 0, 60.0),
    ],
)
def test_a_cancel_without_a_clear_answer_is_tried_again(
    stage: Stage, status: int | None, body: bytes, tries: int, seconds: float
) -> None:
    worker, decision_id = resting(stage)
    request_id = cancel(stage, decision_id)
    stage.broker.faults.append(Fault("DELETE", status=status, body=body))
    worker.cancel_replace.process()
    row = request(stage, request_id)
    assert (row["status"], row["tries"], row["next_attempt_at"]) == ("pending", tries, moment(seconds))
    assert stage.row("trade_decisions", decision_id)["lease_owner"] is None


def test_an_unanswered_cancel_backs_off_and_raises_an_alert(stage: Stage) -> None:
    worker, decision_id = resting(stage)
    request_id = cancel(stage, decision_id)
    pauses = []
    for number in range(1, 8):
        stage.broker.faults.append(Fault("DELETE", status=500))
        worker.cancel_replace.process()
        worker.session.paused_until = 0.0
        worker.session._unproven_responses = 0
        row = request(stage, request_id)
        assert row["tries"] == number
        pauses.append(round(float(_seconds(row["next_attempt_at"]))))
        assert ("cancel_unanswered" in stage.alerts()) is (number >= MAX_SUBMISSIONS)
        go(60)
    assert pauses == [2, 4, 8, 16, 32, 60, 60]


def _seconds(text: str) -> float:
    from tradelog.domain import clock

    return (clock.from_text(text) - clock.from_text(moment())).total_seconds()


@pytest.mark.parametrize(
    ("state", "status", "is_sent"),
    [
        ("new", "pending", True),
        ("canceled", "done", False),
        ("pending_cancel", "sent", False),
    ],
)
def test_the_order_is_polled_before_a_second_cancel(
    stage: Stage, state: str, status: str, is_sent: bool
) -> None:
    """The first one may have arrived."""
    worker, decision_id = resting(stage)
    request_id = cancel(stage, decision_id)
    stage.broker.faults.append(Fault("DELETE", status=500))
    worker.cancel_replace.process()
    stage.broker.seen.clear()
    go(3)
    order_id = order_of(stage, decision_id)
    stage.books.stuck_cancels = True
    stage.books.orders[order_id] |= {"status": state, "updated_at": moment(1)}
    stage.broker.faults.append(Fault("DELETE", status=500))
    worker.cancel_replace.process()
    assert len(sent(stage, "DELETE")) == int(is_sent)
    row = request(stage, request_id)
    assert row["status"] == status
    if state == "pending_cancel":
        assert row["next_attempt_at"] == moment(60)


def test_no_cancel_without_a_poll_of_its_order(stage: Stage) -> None:
    worker, decision_id = resting(stage)
    request_id = cancel(stage, decision_id)
    stage.set("order_requests", request_id, tries=1)
    stage.broker.faults.append(Fault("GET", status=400, body=b"{}"))
    worker.cancel_replace.process()
    assert not sent(stage, "DELETE")
    assert request(stage, request_id)["next_attempt_at"] == moment(15)


REFUSED = json.dumps({"code": 42210000, "message": 'order is already in "filled" state'}).encode()


@pytest.mark.parametrize(
    ("state", "status", "alert"),
    [
        ("new", "refused", True),
        ("filled", "overtaken", False),
        ("canceled", "done", False),
        ("pending_cancel", "sent", False),
    ],
)
def test_a_refused_cancel_is_read_with_its_order(stage: Stage, state: str, status: str, alert: bool) -> None:
    worker, decision_id = resting(stage)
    request_id = cancel(stage, decision_id)
    order_id = order_of(stage, decision_id)
    stage.books.stuck_cancels = True
    if state == "filled":
        stage.books.fill(order_id, None, "100")
    else:
        stage.books.orders[order_id] |= {"status": state, "updated_at": moment(1)}
    stage.broker.faults.append(Fault("DELETE", status=422, body=REFUSED))
    worker.cancel_replace.process()
    row = request(stage, request_id)
    assert row["status"] == status
    assert ("cancel_refused" in stage.alerts()) is alert
    if status == "sent":
        assert row["next_attempt_at"] == moment(60)


def test_of_two_orders_the_one_that_is_over_is_not_the_request_s_end(stage: Stage) -> None:
    worker, decision_id = resting(stage)
    order_id = order_of(stage, decision_id)
    second = stage.attempt(decision_id, "accepted", alpaca_order_id="gone", client_order_id="tl-2")
    request_id = cancel(stage, decision_id)
    stage.books.orders["gone"] = {**stage.books.orders[order_id], "id": "gone", "status": "expired"}
    stage.books.orders["gone"]["client_order_id"] = "tl-2"
    worker.cancel_replace._send_cancel(request_id, cancel_replace.Owner(second, decision_id), "gone")
    row = request(stage, request_id)
    assert (row["status"], row["ended_at"]) == ("pending", None)
    assert "cancel_refused" not in stage.alerts()


def test_a_cancel_that_another_worker_is_at_is_left_to_it(stage: Stage) -> None:
    worker, decision_id = resting(stage)
    cancel(stage, decision_id)
    stage.set(
        "trade_decisions", decision_id, lease_owner=worker_row(stage), lease_until=moment(60), lease_token=9
    )
    worker.cancel_replace.process()
    assert not sent(stage, "DELETE")
    go(60)
    worker.cancel_replace.process()
    assert len(sent(stage, "DELETE")) == 1


def test_whoever_lost_the_lease_ends_no_request(stage: Stage) -> None:
    worker, decision_id = resting(stage)
    request_id = cancel(stage, decision_id)
    stolen = {"lease_owner": "wrk_other", "lease_until": moment(60), "lease_token": 99}

    def steal(what: str) -> None:
        if what == "after DELETE":
            stage.set("trade_decisions", decision_id, **stolen)

    stage.broker._tick = steal
    stage.broker.faults.append(Fault("DELETE", status=500))
    worker.cancel_replace.process()
    row = request(stage, request_id)
    assert (row["status"], row["message"]) == ("sending", None)
    assert stage.row("trade_decisions", decision_id)["lease_owner"] == "wrk_other"
    assert stage.value("SELECT count(*) FROM broker_calls WHERE purpose = 'cancel'") == 1


def test_a_request_that_ended_meanwhile_is_not_carried_out(stage: Stage) -> None:
    worker, decision_id = resting(stage)
    request_id = cancel(stage, decision_id)
    owner = cancel_replace.Owner(
        stage.rows("SELECT execution_id FROM trade_executions")[0]["execution_id"], decision_id
    )
    stage.set("order_requests", request_id, ended_at=moment(), status="overtaken")
    before = request(stage, request_id)
    worker.cancel_replace._send_cancel(request_id, owner, "x")
    worker.cancel_replace._end_refused(request_id, owner, "x")
    worker.cancel_replace._note_sent(request_id)
    worker.cancel_replace._later(request_id)
    assert request(stage, request_id) == before
    assert not stage.broker.seen


# Replace.


def test_a_replace_is_done_when_the_old_order_is_replaced(stage: Stage) -> None:
    worker, decision_id = resting(stage)
    request_id = replace(stage, decision_id, limit_price=D(101))
    worker.cancel_replace.process()
    row = request(stage, request_id)
    assert (row["status"], row["tries"]) == ("done", 1)
    ((_, body),) = sent(stage, "PATCH")
    rows = stage.rows("SELECT * FROM trade_executions ORDER BY id")
    assert json.loads(body) == {"limit_price": "101", "client_order_id": rows[1]["client_order_id"]}
    assert rows[1]["client_order_id"].endswith("-2")
    assert [item["status"] for item in rows] == ["replaced", "accepted"]
    assert stage.row("trade_decisions", decision_id)["lease_owner"] is None


def test_a_replace_is_computed_on_fresh_fills(stage: Stage) -> None:
    """Filled after it was asked for: what is sent is the rest, and not what was the rest then."""
    worker, decision_id = resting(stage)
    replace(stage, decision_id, quantity=D(12))
    stage.books.fill(order_of(stage, decision_id), "4", "100")
    worker.cancel_replace.process()
    ((_, body),) = sent(stage, "PATCH")
    assert json.loads(body)["qty"] == "8"


def test_a_replace_without_fresh_fills_waits(stage: Stage) -> None:
    worker, decision_id = resting(stage)
    request_id = replace(stage, decision_id, quantity=D(12))
    stage.broker.faults.append(Fault("GET", status=400, body=b"{}"))
    worker.cancel_replace.process()
    assert not sent(stage, "PATCH")
    assert request(stage, request_id)["next_attempt_at"] == moment(15)


@pytest.mark.parametrize(
    ("state", "status", "message"),
    [
        ("canceled", "overtaken", "canceled before"),
        ("filled", "overtaken", "filled before"),
    ],
)
def test_a_replace_of_what_has_ended_is_overtaken(
    stage: Stage, state: str, status: str, message: str
) -> None:
    worker, decision_id = resting(stage)
    request_id = replace(stage, decision_id, limit_price=D(101))
    order_id = order_of(stage, decision_id)
    if state == "filled":
        stage.books.fill(order_id, None, "100")
    else:
        stage.books.orders[order_id] |= {"status": state, "updated_at": moment(1)}
    worker.cancel_replace.process()
    assert not sent(stage, "PATCH")
    row = request(stage, request_id)
    assert row["status"] == status
    assert message in row["message"]


def test_a_replace_whose_rest_is_nothing_by_now_is_overtaken(stage: Stage) -> None:
    worker, decision_id = resting(stage)
    request_id = replace(stage, decision_id, quantity=D(5))
    stage.books.fill(order_of(stage, decision_id), "5", "100")
    worker.cancel_replace.process()
    assert not sent(stage, "PATCH")
    assert request(stage, request_id)["message"] == "5 are filled already; 5 leave nothing"


def test_a_replace_of_what_is_to_be_cancelled_is_overtaken(stage: Stage) -> None:
    worker, decision_id = resting(stage)
    request_id = replace(stage, decision_id, limit_price=D(101))
    cancel(stage, decision_id)
    assert worker.cancel_replace._claim_replace(request_id, decision_id) is None
    assert request(stage, request_id)["message"] == "it is to be cancelled"


@pytest.mark.parametrize("state", ["held", "unsettled", "not pending"])
def test_a_replace_that_must_wait_stays_pending(stage: Stage, state: str) -> None:
    worker, decision_id = resting(stage)
    request_id = replace(stage, decision_id, limit_price=D(101))
    if state == "held":
        lease = {"lease_owner": worker_row(stage), "lease_until": moment(60), "lease_token": 9}
        stage.set("trade_decisions", decision_id, **lease)
    elif state == "unsettled":
        stage.attempt(decision_id, "unknown", client_order_id="tl-2")
    else:
        stage.set("order_requests", request_id, status="sending")
    before = stage.value("SELECT count(*) FROM trade_executions")
    assert worker.cancel_replace._claim_replace(request_id, decision_id) is None
    assert stage.value("SELECT count(*) FROM trade_executions") == before
    assert request(stage, request_id)["ended_at"] is None


@pytest.mark.parametrize(
    ("halted", "limits", "message"),
    [
        (("all", ""), {}, "halted: nothing new is sent; the old order stands"),
        (("symbol", "AAPL"), {}, "halted: nothing new is sent; the old order stands"),
        (("strategy", "manual"), {}, "halted: nothing new is sent; the old order stands"),
        (("symbol", "MSFT"), {}, None),
        (None, {"max_order_quantity": D(11)}, "risk.order_quantity: 12 shares; the limit is 11"),
        (None, {"max_order_quantity": D(12)}, None),
    ],
)
def test_a_replacement_is_held_against_halts_and_limits(
    stage: Stage, halted: tuple[str, str] | None, limits: dict[str, Any], message: str | None
) -> None:
    _, decision_id = resting(stage)
    worker = stage.worker(max_order_notional=None, **limits)
    request_id = replace(stage, decision_id, quantity=D(12))
    if halted is not None:
        with stage.tx() as tx:
            controls.halt(tx, *halted, "ann", "x", stage.account)
    worker.cancel_replace.process()
    row = request(stage, request_id)
    assert len(sent(stage, "PATCH")) == int(message is None)
    assert row["status"] == ("done" if message is None else "refused")
    if message is not None:
        assert row["message"].startswith(message)
    assert stage.row("trade_decisions", decision_id)["status"] == "executing"


def test_a_replacement_is_no_duplicate_of_its_original(stage: Stage) -> None:
    _, decision_id = resting(stage)
    worker = stage.worker(max_order_notional=None, duplicate_window_seconds=D(600))
    request_id = replace(stage, decision_id, limit_price=D(101))
    worker.cancel_replace.process()
    assert request(stage, request_id)["status"] == "done"


def test_a_repeated_attempt_to_replace_carries_the_same_id(stage: Stage) -> None:
    worker, decision_id = resting(stage)
    request_id = replace(stage, decision_id, limit_price=D(101))
    stage.broker.faults.append(Fault("PATCH", status=429, body=b"{}"))
    worker.cancel_replace.process()
    assert request(stage, request_id)["status"] == "pending"
    go(61)
    worker.cancel_replace.process()
    bodies = [json.loads(body)["client_order_id"] for _, body in sent(stage, "PATCH")]
    assert len(bodies) == 2
    assert len(set(bodies)) == 1
    assert request(stage, request_id)["status"] == "done"
    # The next request has an id of its own.
    replace(stage, decision_id, limit_price=D(102))
    worker.cancel_replace.process()
    assert json.loads(sent(stage, "PATCH")[-1][1])["client_order_id"].endswith("-3")


def test_a_replacement_that_was_taken_for_lost_is_found(stage: Stage) -> None:
    """Said to be throttled, and there all the same: it is not sent a second time."""
    worker, decision_id = resting(stage)
    request_id = replace(stage, decision_id, limit_price=D(101))
    stage.broker.faults.append(Fault("PATCH", accept=True, status=429, body=b"{}"))
    worker.cancel_replace.process()
    go(61)
    worker.cancel_replace.process()
    assert len(sent(stage, "PATCH")) == 1
    worker.tracker.poll()
    worker.cancel_replace.process()
    assert request(stage, request_id)["status"] == "done"
    assert stage.value("SELECT count(*) FROM trade_executions WHERE status = 'accepted'") == 1


def test_no_second_replace_before_the_first_is_looked_up(stage: Stage) -> None:
    worker, decision_id = resting(stage)
    replace(stage, decision_id, limit_price=D(101))
    stage.broker.faults.append(Fault("PATCH", status=429, body=b"{}"))
    worker.cancel_replace.process()
    go(61)
    stage.broker.faults.append(Fault("GET", status=400, body=b"<html>"))
    worker.cancel_replace.process()
    assert len(sent(stage, "PATCH")) == 1


def test_a_value_is_kept_with_the_replacement(stage: Stage) -> None:
    worker, decision_id = resting(stage)
    replace(stage, decision_id, limit_price=D(101))
    worker.cancel_replace.process()
    assert stage.rows("SELECT order_value FROM trade_executions ORDER BY id")[1]["order_value"] == "1010"


def test_requested_terms_are_stored_as_text(stage: Stage) -> None:
    _, decision_id = resting(stage)
    request_id = replace(stage, decision_id, limit_price=D("101.50"), time_in_force="gtc", stop_price=None)
    assert json.loads(request(stage, request_id)["terms"]) == {"limit_price": "101.5", "time_in_force": "gtc"}


def test_a_rate_limit_stops_polling_after_a_replace(stage: Stage) -> None:
    worker, decision_id = resting(stage)
    replace(stage, decision_id, limit_price=D(101))
    stage.broker.faults.append(Fault("PATCH", status=429, body=b"{}"))
    worker.cancel_replace.process()
    assert stage.broker.seen[-1][0] == "PATCH"


@pytest.mark.parametrize(("time_in_force", "is_asked"), [("gtc", True), ("opg", False)])
def test_a_replacement_is_prepared_by_its_own_terms(stage: Stage, time_in_force: str, is_asked: bool) -> None:
    """An order for the open keeps no hours, whatever the one that it replaces did."""
    _, decision_id = resting(stage)
    worker = stage.worker(max_order_notional=None, market_hours="refuse")
    replace(stage, decision_id, time_in_force=time_in_force)
    worker.cancel_replace.process()
    asked = [path for method, path, _ in stage.broker.seen if method == "GET" and path == "/v2/clock"]
    assert bool(asked) is is_asked
    assert len(sent(stage, "PATCH")) == 1


def test_a_cancel_comes_before_what_is_wrong_with_a_replace(stage: Stage) -> None:
    worker, decision_id = resting(stage)
    request_id = replace(stage, decision_id, quantity=D(5))
    execution = stage.rows("SELECT execution_id FROM trade_executions")[0]["execution_id"]
    cancel(stage, decision_id)
    stage.set("trade_executions", execution, filled_quantity="5", status="partially_filled")
    assert worker.cancel_replace._claim_replace(request_id, decision_id) is None
    assert request(stage, request_id)["message"] == "it is to be cancelled"
