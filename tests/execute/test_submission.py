"""Submission: what leaves, when an unknown is asked about, and when the same id is sent once more."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tests.execute.driving import go
from tests.execute.stage import LEASE, Stage, moment
from tests.fakes.direct import Fault
from tradelog.domain import clock
from tradelog.execute.amend import order_requests
from tradelog.execute.backoff import MAX_BACKOFF_SECONDS
from tradelog.execute.outbox import claims
from tradelog.execute.outbox.claims import Claim
from tradelog.execute.outbox.responses import ResponseKind
from tradelog.execute.risk import controls
from tradelog.execute.submission import LOOKUPS, MAX_SUBMISSIONS, SLICE_SECONDS
from tradelog.execute.worker import Worker

LIMIT = {"order_type": "limit", "limit_price": "100"}
# A quarter of the configured grace period.
STEP = 10.0
NOT_FOUND = json.dumps({"code": 40410000, "message": "order not found"}).encode()


def requests(stage: Stage, method: str) -> list[str]:
    return [path for seen, path, _ in stage.broker.seen if seen == method]


def halt(stage: Stage, scope: str = "all", subject: str = "") -> None:
    with stage.tx() as tx:
        controls.halt(tx, scope, subject, "ann", "odd prices", stage.account)


def lost(stage: Stage, worker: Worker, **changes_: Any) -> Claim:
    """A claim whose request left, and of which the broker has no trace."""
    claim = stage.claim(stage.decide(**changes_), worker.session.worker_id)
    stage.call(claim.execution_id, "submit", status=None, error="timed out")
    stage.set("trade_executions", claim.execution_id, status="unknown", error_message="timed out")
    return claim


# What leaves.


@pytest.mark.parametrize(("scope", "subject"), [("all", ""), ("symbol", "AAPL"), ("strategy", "manual")])
def test_a_halt_between_claim_and_request_sends_nothing(stage: Stage, scope: str, subject: str) -> None:
    """On the main path: the claim is committed, the request is not on the wire yet."""
    worker = stage.worker()
    decision_id = stage.decide()
    claim = worker.pretrade.claim_next()
    assert claim is not None
    halt(stage, scope, subject)
    stage.broker.seen.clear()
    assert worker.submitter._submit_and_claim(claim, goes_on=True) is None
    assert not requests(stage, "POST")
    row, attempt = (
        stage.row("trade_decisions", decision_id),
        stage.row("trade_executions", claim.execution_id),
    )
    assert (row["status"], row["lease_owner"], attempt["status"]) == ("pending", None, "not_sent")
    assert attempt["error_message"] == "halted before it left"
    assert "broker_not_sent" not in stage.alerts()


@pytest.mark.parametrize(("scope", "subject"), [("symbol", "MSFT"), ("strategy", "bot")])
def test_a_halt_of_something_else_holds_nothing_back(stage: Stage, scope: str, subject: str) -> None:
    worker = stage.worker()
    stage.decide()
    claim = worker.pretrade.claim_next()
    assert claim is not None
    halt(stage, scope, subject)
    worker.submitter._submit_and_claim(claim, goes_on=False)
    assert len(requests(stage, "POST")) == 1


def test_a_halt_after_a_first_send_leaves_it_unknown(stage: Stage) -> None:
    """It may be at the broker already: only its answer can say that it is not."""
    worker = stage.worker()
    claim = lost(stage, worker)
    halt(stage)
    worker.submitter.submit(claim)
    assert not requests(stage, "POST")
    row, attempt = (
        stage.row("trade_decisions", claim.decision_id),
        stage.row("trade_executions", claim.execution_id),
    )
    assert (row["status"], row["next_attempt_at"], attempt["status"]) == (
        "executing",
        moment(STEP),
        "unknown",
    )


@pytest.mark.parametrize("how", ["send", "_send"])
def test_whoever_lost_the_lease_during_a_halt_writes_nothing(stage: Stage, how: str) -> None:
    worker = stage.worker()
    decision_id = stage.decide()
    claim = worker.pretrade.claim_next()
    assert claim is not None
    halt(stage)
    with stage.tx() as tx:
        claims.acquire_lease(tx, stage.row("trade_decisions", decision_id), "wrk_other", LEASE)
    if how == "send":
        worker.submitter.submit(claim)
    else:
        worker.submitter._submit_and_claim(claim, goes_on=False)
    assert not requests(stage, "POST")
    assert stage.row("trade_executions", claim.execution_id)["status"] == "sending"


@pytest.mark.parametrize(
    ("seconds", "leaves"), [(0, True), (2.999999, True), (3.0, True), (3.000001, False), (60, False)]
)
def test_a_request_leaves_only_while_the_lease_covers_it(stage: Stage, seconds: float, leaves: bool) -> None:
    """A lease of 5 s and a call of 2 s at most: what was claimed more than 3 s ago may be somebody else's."""
    worker = stage.worker()
    claim = stage.claim(stage.decide(), worker.session.worker_id)
    go(seconds)
    worker.submitter.submit(claim)
    assert len(requests(stage, "POST")) == int(leaves)
    if not leaves:
        (call,) = stage.rows("SELECT * FROM broker_calls WHERE execution_id = ?", claim.execution_id)
        assert (call["method"], call["error"]) == ("POST", "not sent: its lease was about to end")
        assert stage.row("trade_executions", claim.execution_id)["status"] == "not_sent"


def test_a_replacement_that_came_too_late_is_named_by_its_method(stage: Stage) -> None:
    worker = stage.worker()
    decision_id = stage.decide(order_type="limit", limit_price="100")
    old = stage.attempt(decision_id, "accepted", alpaca_order_id="one")
    new = stage.attempt(decision_id, "unknown", client_order_id="tl-2", replaces=old, limit_price="101")
    with stage.tx() as tx:
        claim = claims.take_over_attempt(tx, new, worker.session.worker_id, LEASE)
    stage.set("trade_executions", new, status="sending")
    go(60)
    worker.submitter.submit(claim)
    assert not requests(stage, "PATCH")
    (call,) = stage.rows("SELECT * FROM broker_calls WHERE execution_id = ?", new)
    assert call["method"] == "PATCH"


@pytest.mark.parametrize("changes_", [{"side": "sell"}, {"symbol": "MSFT"}, {"qty": "11"}, {"type": "limit"}])
def test_an_answer_that_is_another_order_proves_nothing(stage: Stage, changes_: dict[str, str]) -> None:
    """At submission: the order of a mixed-up answer is not adopted."""
    stage.books.reply_changes = changes_
    worker = stage.worker()
    decision_id = stage.decide()
    claim = worker.pretrade.claim_next()
    assert claim is not None
    stage.books.hidden = 9
    worker.submitter._submit_and_claim(claim, goes_on=False)
    attempt = stage.row("trade_executions", claim.execution_id)
    assert (attempt["status"], attempt["alpaca_order_id"]) == ("unknown", None)
    submitted = stage.rows("SELECT proves FROM broker_calls WHERE purpose = 'submit'")
    assert [row["proves"] for row in submitted] == ["unknown"]
    assert "another order" in stage.rows("SELECT message FROM alerts")[0]["message"]
    assert stage.row("trade_decisions", decision_id)["status"] == "executing"


@pytest.mark.parametrize("changes_", [{"side": "sell"}, {"symbol": "MSFT"}, {"qty": "11"}, {"type": "limit"}])
def test_a_look_up_that_finds_another_order_is_for_a_person(stage: Stage, changes_: dict[str, str]) -> None:
    worker = stage.worker()
    claim = lost(stage, worker)
    order = {
        **{"id": "theirs", "client_order_id": claim.order.client_order_id, "symbol": "AAPL", "side": "buy"},
        **{"type": "market", "qty": "10", "status": "accepted", "filled_qty": "0", **changes_},
    }
    stage.broker.faults.append(Fault("GET", status=200, body=json.dumps(order).encode()))
    worker.submitter.look_up(claim)
    row = stage.row("trade_decisions", claim.decision_id)
    assert "the broker has another order under this client order id" in row["needs_attention"]
    assert stage.row("trade_executions", claim.execution_id)["alpaca_order_id"] is None
    assert not requests(stage, "POST")


def test_an_order_that_is_found_is_adopted_and_not_sent_again(stage: Stage) -> None:
    stage.broker.faults.append(Fault("POST", accept=True))
    worker = stage.worker()
    decision_id = stage.decide()
    worker.drain()
    assert len(requests(stage, "POST")) == len(stage.books.orders) == 1
    attempt = stage.rows("SELECT * FROM trade_executions")[0]
    assert attempt["alpaca_order_id"] in stage.books.orders
    assert stage.row("trade_decisions", decision_id)["lease_owner"] is None
    assert stage.value("SELECT source FROM order_events ORDER BY event_id LIMIT 1") == "lookup"


def test_an_order_in_an_answer_is_one_of_its_submission(stage: Stage) -> None:
    worker = stage.worker()
    stage.decide()
    worker.drain()
    assert stage.rows("SELECT source FROM order_events")[0]["source"] == "submit"


# When an unknown is asked about.


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        *((count, STEP) for count in range(LOOKUPS + 1)),
        (LOOKUPS + 1, 2 * STEP),
        (LOOKUPS + 2, 4 * STEP),
        (LOOKUPS + 3, MAX_BACKOFF_SECONDS),
        (LOOKUPS + 20, MAX_BACKOFF_SECONDS),
    ],
)
def test_look_ups_of_an_unknown_back_off(stage: Stage, asked: int, seconds: float) -> None:
    """Backoff: a quarter of the grace period within it, then twice as long each time, a minute at most."""
    worker = stage.worker()
    claim = lost(stage, worker)
    other = lost(stage, worker, symbol="MSFT")
    for number in range(asked):
        stage.call(claim.execution_id, "lookup", status=404, body=NOT_FOUND)
        stage.call(other.execution_id, "lookup" if number % 2 else "submit", status=404, body=NOT_FOUND)
    stage.call(claim.execution_id, "poll")
    with stage.tx() as tx:
        assert worker.submitter._next_lookup_at(tx, claim) == moment(seconds)


def test_look_up_backoff_restarts_with_each_submission(stage: Stage) -> None:
    worker = stage.worker()
    claim = lost(stage, worker)
    for _ in range(LOOKUPS + 3):
        stage.call(claim.execution_id, "lookup", status=404, body=NOT_FOUND)
    stage.call(claim.execution_id, "submit", status=None, error="timed out")
    with stage.tx() as tx:
        assert worker.submitter._next_lookup_at(tx, claim) == moment(STEP)


def test_a_grace_period_that_is_long_is_not_cut_short(stage: Stage) -> None:
    worker = stage.worker()
    claim = lost(stage, worker)
    worker.session.config = replace(
        stage.config, worker=replace(stage.config.worker, unknown_grace_seconds=1000)
    )
    with stage.tx() as tx:
        assert worker.submitter._next_lookup_at(tx, claim) == moment(250)


# When the broker has no trace of it.


def look_ups(stage: Stage, claim: Claim, count: int, **more: Any) -> None:
    for _ in range(count):
        stage.call(claim.execution_id, "lookup", **({"status": 404, "body": NOT_FOUND} | more))


@pytest.mark.parametrize(
    ("count", "seconds", "more", "is_gone"),
    [
        (LOOKUPS, 40, {}, True),
        (LOOKUPS - 1, 40, {}, False),
        (LOOKUPS, 39.999999, {}, False),
        (LOOKUPS + 5, 39, {}, False),
        (0, 4000, {}, False),
        # One that is no answer of the broker's own does not count.
        (LOOKUPS, 40, {"body": b"<html>not found</html>"}, False),
        (LOOKUPS, 40, {"body": b""}, False),
        (LOOKUPS, 40, {"status": 500}, False),
        (LOOKUPS, 40, {"status": None, "error": "timed out"}, False),
        (LOOKUPS, 40, {"purpose": "poll"}, False),
    ],
)
def test_only_the_brokers_own_not_found_counts_over_the_grace_period(
    stage: Stage, count: int, seconds: float, more: dict[str, Any], is_gone: bool
) -> None:
    worker = stage.worker()
    claim = lost(stage, worker)
    go(seconds)
    for _ in range(count):
        values = {"purpose": "lookup", "status": 404, "body": NOT_FOUND} | more
        stage.call(claim.execution_id, **values)
    assert worker.submitter._is_absent(claim) is is_gone


def test_not_found_of_another_order_does_not_count(stage: Stage) -> None:
    worker = stage.worker()
    claim, other = lost(stage, worker), lost(stage, worker, symbol="MSFT")
    go(50)
    look_ups(stage, other, LOOKUPS)
    assert not worker.submitter._is_absent(claim)
    assert worker.submitter._is_absent(other)


def test_not_found_before_the_last_send_does_not_count(stage: Stage) -> None:
    worker = stage.worker()
    claim, other = lost(stage, worker), lost(stage, worker, symbol="MSFT")
    go(50)
    look_ups(stage, claim, LOOKUPS)
    look_ups(stage, other, LOOKUPS)
    go(1)
    stage.call(claim.execution_id, "submit", status=None, error="timed out")
    go(50)
    assert not worker.submitter._is_absent(claim)
    # Another order's send is not ours.
    assert worker.submitter._is_absent(other)
    look_ups(stage, claim, LOOKUPS)
    assert worker.submitter._is_absent(claim)


def test_a_resubmission_without_an_exchange_counts_from_its_time(stage: Stage) -> None:
    """The worker was killed after it had written down the second send."""
    worker = stage.worker()
    claim = lost(stage, worker)
    go(50)
    look_ups(stage, claim, LOOKUPS)
    stage.set("trade_executions", claim.execution_id, resent_at=moment())
    go(39)
    look_ups(stage, claim, LOOKUPS)
    assert not worker.submitter._is_absent(claim)
    go(1)
    assert worker.submitter._is_absent(claim)


# The same id once more.


def gone(stage: Stage, worker: Worker, sends: int = 1, **changes_: Any) -> Claim:
    """An attempt that was sent so often, and that the broker has no trace of after all its time."""
    claim = lost(stage, worker, **changes_)
    for _ in range(sends - 1):
        stage.call(claim.execution_id, "submit", status=None, error="timed out")
    go(50)
    look_ups(stage, claim, LOOKUPS)
    with stage.tx() as tx:
        return claims.take_over_attempt(tx, claim.execution_id, worker.session.worker_id, LEASE)


def test_it_is_resubmitted_under_the_same_client_order_id(stage: Stage) -> None:
    worker = stage.worker()
    claim = gone(stage, worker)
    worker.submitter.look_up(claim)
    ((_, _, body),) = [item for item in stage.broker.seen if item[0] == "POST"]
    assert json.loads(body)["client_order_id"] == claim.order.client_order_id
    row = stage.row("trade_decisions", claim.decision_id)
    attempt = stage.row("trade_executions", claim.execution_id)
    assert (row["retry_count"], attempt["resent_at"], len(stage.books.orders)) == (1, moment(), 1)


@pytest.mark.parametrize(("sends", "is_sent"), [(MAX_SUBMISSIONS - 1, True), (MAX_SUBMISSIONS, False)])
def test_after_five_submissions_it_needs_attention(stage: Stage, sends: int, is_sent: bool) -> None:
    worker = stage.worker()
    claim = gone(stage, worker, sends)
    worker.submitter.look_up(claim)
    assert len(requests(stage, "POST")) == int(is_sent)
    if not is_sent:
        row = stage.row("trade_decisions", claim.decision_id)
        assert row["needs_attention"] == f"submitted {sends} times, and the broker has no such order"
        assert row["next_attempt_at"] == moment(3600)
        assert "needs_attention" in stage.alerts()


def test_what_waits_for_a_person_is_not_sent_again(stage: Stage) -> None:
    worker = stage.worker()
    claim = gone(stage, worker)
    stage.set("trade_decisions", claim.decision_id, needs_attention="a person is to say")
    worker.submitter.look_up(claim)
    assert not requests(stage, "POST")
    assert stage.row("trade_executions", claim.execution_id)["status"] == "unknown"


@pytest.mark.parametrize("waits", [None, "a person is to say"])
def test_an_absent_order_whose_cancel_is_requested_is_abandoned(stage: Stage, waits: str | None) -> None:
    """Also where a person was to say: that is what they said."""
    worker = stage.worker()
    claim = gone(stage, worker)
    with stage.tx() as tx:
        order_requests.request_cancel(tx, claim.decision_id, "no more", "ann")
    stage.set("trade_decisions", claim.decision_id, needs_attention=waits)
    worker.submitter.look_up(claim)
    assert not requests(stage, "POST")
    row = stage.row("trade_decisions", claim.decision_id)
    attempt = stage.row("trade_executions", claim.execution_id)
    assert (row["status"], row["failure_code"]) == ("cancelled", "cancelled_on_request")
    assert (attempt["status"], row["lease_owner"]) == ("not_accepted", None)


def test_an_id_that_was_refused_as_taken_is_never_sent_again(stage: Stage) -> None:
    worker = stage.worker()
    claim = gone(stage, worker)
    taken = json.dumps({"code": 40010001, "message": "client_order_id must be unique"}).encode()
    stage.call(claim.execution_id, "submit", status=422, body=taken)
    go(50)
    look_ups(stage, claim, LOOKUPS)
    worker.submitter.look_up(claim)
    assert not requests(stage, "POST")
    assert stage.row("trade_executions", claim.execution_id)["status"] == "unknown"


def test_what_is_halted_goes_back_to_where_it_waited(stage: Stage) -> None:
    """Nobody has it: it holds back nothing of its symbol any more."""
    worker = stage.worker()
    claim = gone(stage, worker)
    halt(stage, "strategy", "manual")
    worker.submitter.look_up(claim)
    assert not requests(stage, "POST")
    assert stage.row("trade_decisions", claim.decision_id)["status"] == "pending"
    assert stage.row("trade_executions", claim.execution_id)["status"] == "not_accepted"


def test_no_resubmission_to_a_broker_that_takes_an_id_twice(stage: Stage) -> None:
    worker = stage.worker()
    claim = gone(stage, worker)
    stage.broker.rejects_duplicate_ids = False  # type: ignore[misc]
    worker.submitter.look_up(claim)
    assert not requests(stage, "POST")
    assert (
        "would take the same id twice" in stage.row("trade_decisions", claim.decision_id)["needs_attention"]
    )


def test_the_last_refusal_ends_it_once_the_broker_has_no_trace(stage: Stage) -> None:
    worker = stage.worker()
    claim = lost(stage, worker)
    refusal = json.dumps({"code": 40310000, "message": "insufficient buying power"}).encode()
    stage.call(claim.execution_id, "submit", status=403, body=refusal)
    go(50)
    look_ups(stage, claim, LOOKUPS)
    worker.submitter.look_up(claim)
    assert not requests(stage, "POST")
    row = stage.row("trade_decisions", claim.decision_id)
    assert (row["status"], row["failure_code"]) == ("failed", "insufficient_buying_power")


@pytest.mark.parametrize("kind", ["refused", "bad keys", "throttled"])
def test_a_refusal_of_a_repeated_send_proves_nothing_of_the_first(stage: Stage, kind: str) -> None:
    """It may be refused because the first one landed and took the buying power."""
    answers = {
        "refused": (403, {"code": 40310000, "message": "insufficient buying power"}),
        "bad keys": (401, {"message": "who?"}),
        "throttled": (429, {"message": "slower"}),
    }
    status, body = answers[kind]
    worker = stage.worker()
    claim = gone(stage, worker)
    stage.broker.faults.append(Fault("POST", status=status, body=json.dumps(body).encode()))
    if kind == "bad keys":
        with pytest.raises(Exception, match="refuses our keys"):
            worker.submitter.look_up(claim)
    else:
        worker.submitter.look_up(claim)
    assert len(requests(stage, "POST")) == 1
    row = stage.row("trade_decisions", claim.decision_id)
    assert (row["status"], stage.row("trade_executions", claim.execution_id)["status"]) == (
        "executing",
        "unknown",
    )


@pytest.mark.parametrize(
    "answer", [(None, b""), (500, b""), (422, b'{"message":"client_order_id must be unique"}')]
)
def test_an_unproven_response_is_looked_up_right_away(stage: Stage, answer: tuple[int | None, bytes]) -> None:
    worker = stage.worker()
    claim = stage.claim(stage.decide(), worker.session.worker_id)
    stage.broker.faults.append(Fault("POST", status=answer[0], body=answer[1]))
    worker.submitter.submit(claim)
    assert len(requests(stage, "GET")) == 1
    assert "by_client_order_id" in requests(stage, "GET")[0]


@pytest.mark.parametrize(
    ("status", "body"),
    [(429, b"{}"), (403, b'{"message":"insufficient buying power"}')],
)
def test_a_proven_response_is_not_looked_up(stage: Stage, status: int, body: bytes) -> None:
    worker = stage.worker()
    claim = stage.claim(stage.decide(), worker.session.worker_id)
    stage.broker.faults.append(Fault("POST", status=status, body=body))
    assert worker.submitter.submit(claim).kind in (ResponseKind.THROTTLED, ResponseKind.REFUSED)
    assert not requests(stage, "GET")


# One drain.


def slow(stage: Stage, seconds: float) -> None:
    """Each request takes so long."""
    stage.broker._tick = lambda what: go(seconds) if what.startswith("after POST") else None


@pytest.mark.parametrize(
    ("seconds", "sent"), [(SLICE_SECONDS / 4, 5), (SLICE_SECONDS - 0.001, 3), (SLICE_SECONDS, 2), (3, 2)]
)
def test_a_drain_gives_way_after_a_slice_and_goes_on_afterwards(
    stage: Stage, seconds: float, sent: int
) -> None:
    """``sent``: those that began within the slice, and the one that was claimed with the last of them."""
    # With a price of their own: the next one is claimed in the commit that settles the last one.
    ids = [stage.decide(symbol=f"S{number}", quantity="1", **LIMIT) for number in range(6)]
    worker = stage.worker()
    worker.session.lease = LEASE * 100
    slow(stage, seconds)
    worker.drain()
    assert len(requests(stage, "POST")) == sent
    assert not worker.submitter.is_idle
    for _ in range(8):
        worker.drain()
    assert len(requests(stage, "POST")) == 6
    assert worker.submitter.is_idle
    assert worker.submitter.summary.sent == set(ids)


def test_a_drain_is_not_idle_while_paused_or_waiting_for_a_quote(stage: Stage) -> None:
    worker = stage.worker()
    worker.drain()
    assert worker.submitter.is_idle
    worker.session.pause(5)
    worker.drain()
    assert not worker.submitter.is_idle
    go(5)
    worker.pretrade._market_data._backoff.failed("quote:AAPL")
    worker.drain()
    assert not worker.submitter.is_idle
    worker.pretrade._market_data._backoff.succeeded("quote:AAPL")
    worker.drain()
    assert worker.submitter.is_idle


def test_look_ups_take_one_slice_at_most(stage: Stage) -> None:
    worker = stage.worker()
    for number in range(4):
        claim = stage.claim(stage.decide(symbol=f"S{number}"))
        stage.set("trade_executions", claim.execution_id, status="unknown")
        with stage.tx() as tx:
            claims.release_lease(tx, claim.decision_id, claim.token)
    stage.broker._tick = lambda what: go(SLICE_SECONDS / 2) if what == "after GET" else None
    worker.submitter.resolve_unknowns()
    assert len(requests(stage, "GET")) == 2
    go(1000)
    worker.session.pause(5)
    worker.submitter.resolve_unknowns()
    assert len(requests(stage, "GET")) == 2


def test_a_rate_limit_stops_the_next_claim(stage: Stage) -> None:
    """A limit is heard before the next decision is claimed: it would wait under a lease."""
    for number in range(3):
        stage.decide(symbol=f"S{number}")
    worker = stage.worker()
    stage.broker.faults.append(Fault("POST", status=429, body=b"{}"))
    worker.drain()
    assert len(requests(stage, "POST")) == 1
    statuses = [row["status"] for row in stage.rows("SELECT status FROM trade_executions")]
    assert statuses == ["not_accepted"]
    worker.drain()
    assert len(requests(stage, "POST")) == 1
    go(61)
    worker.drain()
    assert len(requests(stage, "POST")) == 4


@pytest.mark.parametrize(
    ("state", "sends", "status"),
    [
        ("new", 1, "accepted"),
        ("filled", 0, "not_accepted"),
        ("canceled", 0, "not_accepted"),
        (None, 0, "unknown"),
    ],
)
def test_a_replacement_is_sent_again_only_while_its_order_stands(
    stage: Stage, state: str | None, sends: int, status: str
) -> None:
    """What replaces an ended order is not sent again; where nobody tells of the old one, it waits."""
    stage.books.fills = False
    worker = stage.worker(max_order_notional=None)
    decision_id = stage.decide(order_type="limit", limit_price="100")
    worker.drain()
    worker.tracker.poll()
    old = stage.rows("SELECT * FROM trade_executions")[0]
    with stage.tx() as tx:
        request_id = order_requests.request_replace(
            tx, decision_id, {"limit_price": Decimal(101)}, None, "ann"
        )
    stage.broker.faults.append(Fault("PATCH"))
    worker.cancel_replace.process()
    new = stage.rows("SELECT * FROM trade_executions ORDER BY id")[1]
    assert new["status"] == "unknown"
    stage.broker.seen.clear()
    go(50)
    for _ in range(LOOKUPS):
        stage.call(new["execution_id"], "lookup", status=404, body=NOT_FOUND)
    with stage.tx() as tx:
        claim = claims.take_over_attempt(tx, new["execution_id"], worker.session.worker_id, LEASE)
    if state == "filled":
        stage.books.fill(old["alpaca_order_id"], None, "100")
    elif state is not None:
        stage.books.orders[old["alpaca_order_id"]] |= {"status": state, "updated_at": moment(1)}
    else:
        stage.broker.faults += [Fault("GET", status=404, body=NOT_FOUND), Fault("GET", status=500)]
    worker.submitter.look_up(claim)
    assert len(requests(stage, "PATCH")) == sends
    assert stage.row("trade_executions", new["execution_id"])["status"] == status
    if status == "not_accepted":
        assert stage.row("order_requests", request_id)["status"] == "overtaken"


def test_a_drain_that_has_sent_all_is_idle(stage: Stage) -> None:
    stage.decide()
    worker = stage.worker()
    worker.drain()
    assert len(requests(stage, "POST")) == 1
    assert worker.submitter.is_idle


@pytest.mark.parametrize("goes_on", [True, False])
def test_after_a_withdrawn_one_the_next_is_claimed_within_the_slice(stage: Stage, goes_on: bool) -> None:
    worker = stage.worker()
    stage.decide()
    other = stage.decide(symbol="MSFT")
    claim = worker.pretrade.claim_next()
    assert claim is not None
    halt(stage, "symbol", "AAPL")
    following = worker.submitter._submit_and_claim(claim, goes_on=goes_on)
    assert (following and following.decision_id) == (other if goes_on else None)


def test_a_used_up_rate_limit_stops_claims(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        stage.decide(symbol=f"S{number}", quantity="1", **LIMIT)
    worker = stage.worker()
    submit = stage.broker.submit

    def limited(order: Any) -> Any:
        reset = str(int(clock.now().timestamp() + 30))
        headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
        return replace(submit(order), headers=headers)

    monkeypatch.setattr(stage.broker, "submit", limited)
    worker.drain()
    assert len(requests(stage, "POST")) == 1
    assert stage.value("SELECT count(*) FROM trade_executions") == 1
