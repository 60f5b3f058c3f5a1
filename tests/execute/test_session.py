"""The broker session: rate limit with a reserve for orders, pauses, outages, backoff and account binding."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest

from tests.execute.driving import go
from tests.execute.stage import Stage, moment, now
from tests.fakes.direct import Fault
from tradelog.errors import BrokerRefusesUs
from tradelog.execute.amend import order_requests
from tradelog.execute.backoff import MAX_BACKOFF_SECONDS, KeyedBackoff
from tradelog.execute.brokers.base import Exchange
from tradelog.execute.outbox.responses import Classification, ResponseKind
from tradelog.execute.rate_limit import (
    MAX_REQUESTED_WAIT_SECONDS,
    RESERVED_REQUESTS,
    THROTTLED_SECONDS,
    requested_wait,
)
from tradelog.execute.session import OUTAGE_FAILURES, BrokerSession
from tradelog.execute.worker import Worker


def answer(status: int | None = 200, *, sent: bool = True, body: bytes = b"{}", **headers: str) -> Exchange:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Exchange(
        "GET",
        "u",
        None,
        moment(),
        moment(),
        status=status,
        body=body,
        headers=named,
        left_host=sent,
        error=None,
    )


def limited(remaining: str | None, reset: float | str | None) -> Exchange:
    headers = {}
    if remaining is not None:
        headers["x_ratelimit_remaining"] = remaining
    if reset is not None:
        headers["x_ratelimit_reset"] = (
            reset if isinstance(reset, str) else str(int(now().timestamp() + reset))
        )
    return answer(**headers)


@pytest.fixture
def session(stage: Stage) -> BrokerSession:
    return BrokerSession(stage.writer, stage.broker, stage.config)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """What was drawn by lot, between which bounds; the lot is always the upper one."""
    result: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        result.append((low, high))
        return high

    monkeypatch.setattr(random, "uniform", uniform)
    return result


def test_a_call_takes_no_longer_than_its_two_time_outs(session: BrokerSession) -> None:
    assert session.call_seconds == 2.0


# Pauses.


@pytest.mark.parametrize(("seconds", "is_open"), [(4.999, False), (5, True), (5.001, True)])
def test_a_pause_ends_by_elapsed_time(session: BrokerSession, seconds: float, is_open: bool) -> None:
    session.pause(5)
    go(seconds)
    assert session.may_request() is is_open
    assert session.may_request(keep_reserve=True) is is_open


def test_a_shorter_pause_does_not_end_a_longer_one(session: BrokerSession) -> None:
    session.pause(60)
    session.pause(1)
    go(30)
    assert not session.may_request()


def test_a_session_that_is_stopping_is_closed(session: BrokerSession) -> None:
    session.stopping.set()
    assert not session.may_request()


# Rate limit.


@pytest.mark.parametrize(
    ("remaining", "orders", "questions"),
    [
        ("0", False, False),
        ("1", True, False),
        (str(RESERVED_REQUESTS), True, False),
        (str(RESERVED_REQUESTS + 1), True, True),
        ("199", True, True),
    ],
)
def test_the_last_requests_of_a_window_are_kept_for_orders(
    session: BrokerSession, remaining: str, orders: bool, questions: bool
) -> None:
    session.observe(limited(remaining, 30))
    assert (session.may_request(), session.may_request(keep_reserve=True)) == (orders, questions)
    go(30)
    # The window is over only after the second that the broker named.
    assert session.may_request(keep_reserve=True) is questions
    go(0.001)
    assert (session.may_request(), session.may_request(keep_reserve=True)) == (True, True)


@pytest.mark.parametrize(
    ("remaining", "reset"),
    [
        *((None, 30), ("0", None), (None, None), ("x", 30), ("0", "x"), ("-1", 30), ("0", "")),
        *(("٣", 30), ("0", "1" * 13), ("0.5", 30)),
    ],
)
def test_headers_that_are_no_limit_close_nothing(
    session: BrokerSession, remaining: str | None, reset: Any
) -> None:
    session.observe(limited(remaining, reset))
    assert session.may_request(keep_reserve=True)


def test_a_limit_that_resets_in_years_is_no_longer_than_a_wait_may_be(session: BrokerSession) -> None:
    session.observe(limited("0", "9" * 12))
    assert not session.may_request()
    go(MAX_REQUESTED_WAIT_SECONDS)
    assert not session.may_request()
    go(0.001)
    assert session.may_request()


def test_a_limit_without_headers_pauses_every_symbol(session: BrokerSession) -> None:
    session.observe(answer(429))
    go(THROTTLED_SECONDS - 0.001)
    assert not session.may_request()
    go(0.001)
    assert session.may_request()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, THROTTLED_SECONDS),
        ({"retry_after": "7"}, 7),
        ({"retry_after": "0"}, 0),
        ({"retry_after": "86400"}, MAX_REQUESTED_WAIT_SECONDS),
        ({"retry_after": "soon"}, THROTTLED_SECONDS),
        ({"retry_after": "7", "x_ratelimit_reset": "+20"}, 7),
        # A second more than the broker says, and up to half a second by lot.
        ({"x_ratelimit_reset": "+20"}, 21.5),
        ({"x_ratelimit_reset": "-20"}, 1.5),
        ({"x_ratelimit_reset": "+86400"}, MAX_REQUESTED_WAIT_SECONDS),
        ({"x_ratelimit_reset": "x"}, THROTTLED_SECONDS),
    ],
)
def test_the_wait_that_a_broker_asks_for(
    stage: Stage, drawn: list[tuple[float, float]], headers: dict[str, str], seconds: float
) -> None:
    given = dict(headers)
    reset = given.get("x_ratelimit_reset", "")
    if reset[:1] in ("+", "-"):
        given["x_ratelimit_reset"] = str(int(now().timestamp()) + int(reset))
    assert requested_wait(answer(429, **given)) == seconds
    assert drawn == ([(1.0, 1.5)] if "retry_after" not in given and reset not in ("", "x") else [])


# Outages.


@pytest.mark.parametrize("status", [None, 500, 503])
def test_several_answers_in_a_row_that_prove_nothing_are_an_outage(
    session: BrokerSession, status: int | None
) -> None:
    for _ in range(OUTAGE_FAILURES - 1):
        session.observe(answer(status))
        assert session.may_request()
    session.observe(answer(status))
    assert not session.may_request()


@pytest.mark.parametrize("status", [400, 404, 418, 499])
def test_an_answer_that_is_about_one_order_is_no_outage(session: BrokerSession, status: int) -> None:
    for _ in range(OUTAGE_FAILURES + 2):
        session.observe(answer(status, body=b"<html>"))
    assert session.may_request()


def test_one_clear_answer_ends_the_count(session: BrokerSession) -> None:
    for _ in range(2):
        for _ in range(OUTAGE_FAILURES - 1):
            session.observe(answer(500))
        session.observe(answer(200))
    assert session.may_request()


def test_a_request_that_could_not_leave_pauses_at_once(session: BrokerSession) -> None:
    session.observe(answer(None, left_host=False), Classification(ResponseKind.NOT_SENT, "no route"))
    assert not session.may_request()


@pytest.mark.parametrize(
    "classification", [None, Classification(ResponseKind.BAD_KEYS, "the verdict's words")]
)
def test_refused_keys_end_the_session_with_the_brokers_message(
    session: BrokerSession, classification: Classification | None
) -> None:
    exchange = answer(401, body=b'{"message": "the answer\'s words"}')
    words = "the answer's words" if classification is None else "the verdict's words"
    with pytest.raises(BrokerRefusesUs, match=words):
        session.observe(exchange, classification)


# Backoff.


def test_backoff_doubles_up_to_a_minute_and_is_drawn_by_lot(
    session: BrokerSession, drawn: list[tuple[float, float]]
) -> None:
    for _ in range(14):
        session.backoff()
    bounds = [high for _, high in drawn]
    assert bounds == [1, 2, 4, 8, 16, 32, *[MAX_BACKOFF_SECONDS] * 8]
    assert {low for low, _ in drawn} == {0.5}
    session.observe(answer(200))
    session.backoff()
    assert drawn[-1] == (0.5, 1)


def test_retry_waits_for_backoff_or_retry_after(
    session: BrokerSession, drawn: list[tuple[float, float]]
) -> None:
    assert session.retry_at(answer(429, retry_after="7"), moment()) == moment(7)
    assert session.retry_at(answer(None, left_host=False), moment()) == moment(1)


def test_backoff_is_per_key(stage: Stage) -> None:
    backoff = KeyedBackoff(10.0)
    for seconds in (1, 2, 4, 8, 10, 10):
        backoff.failed("a")
        assert backoff.waiting() == ["a"]
        go(seconds - 0.001)
        assert not backoff.is_due("a")
        assert backoff.is_due("b")
        go(0.001)
        assert backoff.is_due("a")
        assert backoff.waiting() == []
    assert (backoff.failures("a"), backoff.failures("b")) == (6, 0)
    backoff.succeeded("a")
    assert backoff.failures("a") == 0
    backoff.failed("a", 100)
    go(99)
    assert not backoff.is_due("a")
    backoff.succeeded("a")
    backoff.failed("a")
    go(1)
    assert backoff.is_due("a")


def test_failures_without_end_do_not_overflow(stage: Stage) -> None:
    backoff = KeyedBackoff()
    for _ in range(2000):
        backoff.failed("a")
    go(MAX_BACKOFF_SECONDS)
    assert backoff.is_due("a")


# Account binding.


def test_nothing_is_submitted_before_the_account_is_bound(stage: Stage, session: BrokerSession) -> None:
    stage.broker.faults.append(Fault("GET", status=500))
    assert not session.ensure_bound()
    assert session.ensure_bound()
    assert session.ensure_bound()
    assert len(stage.broker.seen) == 2
    assert stage.value("SELECT account_number FROM broker_accounts") == "PA123456789"


@pytest.mark.parametrize(("role", "measured"), [("worker", 1), ("cancel", 0)])
def test_a_worker_compares_clocks_and_a_command_does_not(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, role: str, measured: int
) -> None:
    session = BrokerSession(stage.writer, stage.broker, stage.config, role)
    with stage.tx() as tx:
        session.register(tx)
    told = answer(200, body=b'{"account_number": "PA1"}', date="Wed, 06 Mar 2041 17:00:00 GMT")
    monkeypatch.setattr(stage.broker, "account", lambda: told)
    assert session.ensure_bound()
    assert stage.value("SELECT count(*) FROM clock_offsets") == measured


@pytest.mark.parametrize("command", ["cancel", "replace"])
def test_cancel_and_replace_bind_the_account_first(stage: Stage, command: str) -> None:
    """An account of another number: its orders are not ours to change."""
    stage.books.account_number = "PA1"
    stage.worker()
    decision_id = stage.decide(order_type="limit", limit_price="100", quantity="5")
    stage.attempt(decision_id, "accepted", alpaca_order_id="one")
    with stage.tx() as tx:
        if command == "cancel":
            order_requests.request_cancel(tx, decision_id, None, "ann")
        else:
            order_requests.request_replace(tx, decision_id, {"limit_price": Decimal(101)}, None, "ann")
    stage.books.account_number = "PA2"
    other = Worker(stage.writer, stage.broker, stage.config, "cancel")
    with pytest.raises(BrokerRefusesUs, match="PA1"):
        other.cancel_replace.process()
    assert not [item for item in stage.broker.seen if item[0] in ("DELETE", "PATCH")]
    stage.broker.seen.clear()
    stage.broker.faults.append(Fault("GET", status=500))
    stage.books.account_number = "PA1"
    unbound = Worker(stage.writer, stage.broker, stage.config, "cancel")
    unbound.cancel_replace.process()
    assert [path for _, path, _ in stage.broker.seen] == ["/v2/account"]
    assert not unbound.session.may_request()


def test_a_session_deregisters_its_own_worker_only(stage: Stage) -> None:
    first, second = (BrokerSession(stage.writer, stage.broker, stage.config) for _ in range(2))
    with stage.tx() as tx:
        first.register(tx)
        second.register(tx)
    go(7)
    first.heartbeat()
    first.observe(answer(200), quiet=True)
    first.observe(answer(200))
    first.deregister()
    rows = {
        row["worker_id"]: (row["heartbeat_at"], row["stopped_at"], row["quiet_calls"])
        for row in stage.rows("SELECT * FROM workers")
    }
    assert rows[first.worker_id] == (moment(), moment(), 1)
    assert rows[second.worker_id] == (moment(-7), None, 0)
