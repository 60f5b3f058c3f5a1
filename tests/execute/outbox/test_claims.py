"""The outbox: which decision is next, the lease and its fencing token, and how often an attempt was sent."""

from __future__ import annotations

import os
import socket
from decimal import Decimal
from typing import Any

import pytest

from tests.execute.driving import go
from tests.execute.stage import LEASE, OTHERS, Stage, moment
from tradelog.domain import clock, money
from tradelog.domain.account import AccountKey
from tradelog.execute.outbox import claims, exchanges, transitions
from tradelog.execute.outbox.claims import LeaseLost
from tradelog.execute.outbox.responses import Classification, ResponseKind
from tradelog.store.process import boot_id


def due(stage: Stage, **more: Any) -> str | None:
    """The decision that the outbox would hand out now."""
    result = claims.next_ready(stage.writer.rows, stage.account, moment(), **more)
    return None if result is None else str(result["decision_id"])


@pytest.mark.parametrize(
    ("column", "value", "is_due"),
    [
        ("next_attempt_at", -0.000001, True),
        ("next_attempt_at", 0, True),
        ("next_attempt_at", 0.000001, False),
        ("expires_at", -0.000001, False),
        ("expires_at", 0, False),
        ("expires_at", 0.000001, True),
        ("needs_attention", "a person", False),
        ("status", "executing", False),
        ("status", "cancelled", False),
    ],
)
def test_a_decision_is_due_up_to_its_expiry_and_from_its_next_attempt(
    stage: Stage, column: str, value: Any, is_due: bool
) -> None:
    changes = {column: value if isinstance(value, str) else moment(value)}
    if column == "expires_at":
        decision_id = stage.decide(**changes)
    else:
        decision_id = stage.decide()
        stage.set("trade_decisions", decision_id, **changes)
    assert due(stage) == (decision_id if is_due else None)


@pytest.mark.parametrize("account", OTHERS)
@pytest.mark.parametrize("order", ["other first", "ours first"])
def test_accounts_do_not_hold_back_each_other(stage: Stage, account: AccountKey, order: str) -> None:
    """Broker, environment and name make an account: one that differs in any of them is another one."""
    if order == "other first":
        theirs, ours = stage.decide(account), stage.decide()
    else:
        ours, theirs = stage.decide(), stage.decide(account)
    assert due(stage) == ours
    stage.attempt(theirs)
    assert due(stage) == ours
    stage.set("trade_decisions", ours, status="cancelled")
    assert due(stage) is None


@pytest.mark.parametrize("account", OTHERS)
def test_an_earlier_wait_of_another_account_holds_nothing_back(stage: Stage, account: AccountKey) -> None:
    theirs, ours = stage.decide(account), stage.decide()
    stage.set("trade_decisions", theirs, next_attempt_at=moment(60))
    assert due(stage) == ours


@pytest.mark.parametrize("status", ["sending", "unknown"])
def test_an_unsettled_attempt_holds_back_its_symbol_alone(stage: Stage, status: str) -> None:
    first, second, other = stage.decide(), stage.decide(side="sell"), stage.decide(symbol="MSFT")
    attempt = stage.attempt(first, status)
    assert due(stage) == other
    stage.set("trade_decisions", other, status="cancelled")
    assert due(stage) is None
    stage.set("trade_executions", attempt, status="filled")
    assert due(stage) == second


@pytest.mark.parametrize(
    ("held_until", "waits", "first_is_due", "second_is_due"),
    [
        # A decision that waits for its next try holds back what comes after it; one that waits for the open
        # does not.
        (None, True, False, False),
        (0.000001, True, False, True),
        (0, True, True, False),
        (-60, True, True, False),
        (0.000001, False, True, False),
    ],
)
def test_what_waits_for_the_open_holds_back_nothing(
    stage: Stage, held_until: float | None, waits: bool, first_is_due: bool, second_is_due: bool
) -> None:
    first, second = stage.decide(), stage.decide(side="sell")
    until = moment(60) if held_until is None else moment(held_until)
    stage.set(
        "trade_decisions", first, next_attempt_at=until, held_until=None if held_until is None else until
    )
    expected = first if first_is_due else second if second_is_due else None
    assert due(stage, waits=waits) == expected


@pytest.mark.parametrize(
    ("more", "first_is_due"),
    [
        ({}, True),
        ({"strategies": ["manual"]}, False),
        ({"strategies": ["other"]}, True),
        ({"symbols": ["BRKB"]}, False),
        ({"symbols": ["AAPL"]}, True),
        ({"approved_only": ["manual"]}, False),
        ({"approved_only": ["other"]}, True),
    ],
)
def test_what_is_halted_or_waits_for_approval_is_left_out_and_holds_back_nothing(
    stage: Stage, more: dict[str, list[str]], first_is_due: bool
) -> None:
    first = stage.decide(symbol="BRK.B")
    second = stage.decide(symbol="BRK.B", side="sell", strategy="bot")
    expected = first if first_is_due else None if more.get("symbols") == ["BRKB"] else second
    assert due(stage, **more) == expected
    if "approved_only" in more:
        stage.set("trade_decisions", first, approval="approved")
        assert due(stage, **more) == first
        stage.set("trade_decisions", first, approval="declined")
        assert due(stage, **more) == expected


@pytest.mark.parametrize(
    ("exponent", "is_kept"), [(money.LARGEST, True), (money.LARGEST + 1, False), (-3, True)]
)
def test_a_value_beyond_all_measure_is_left_out(stage: Stage, exponent: int, is_kept: bool) -> None:
    decision_id = stage.decide()
    with stage.tx() as tx:
        decision = tx.dicts("SELECT * FROM trade_decisions WHERE decision_id = ?", (decision_id,))[0]
        claim = claims.claim_decision(tx, decision, "wrk_me", LEASE, Decimal(10) ** exponent)
    kept = stage.row("trade_executions", claim.execution_id)["order_value"]
    assert (kept is not None) is is_kept


# Lease and fencing token.


def worker_row(stage: Stage, **changes: Any) -> str:
    values = {
        **{"worker_id": "wrk_other", "host": socket.gethostname(), "pid": os.getpid(), "boot_id": boot_id()},
        **{"broker": "alpaca", "environment": "paper", "account": "default", "role": "worker"},
        **{"started_at": moment(), "heartbeat_at": moment()},
        **changes,
    }
    with stage.writer.transaction() as tx:
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        tx.unaudited(f"INSERT INTO workers ({names}) VALUES ({marks})", tuple(values.values()))
    return str(values["worker_id"])


LONG_AGO = "2001-01-01T00:00:00.000000Z"
DEAD = 2**22 + 1


@pytest.mark.parametrize(
    ("lease", "worker", "is_taken_over"),
    [
        ({}, {}, False),  # alive, on this host
        ({"lease_owner": None}, {}, True),
        ({"lease_owner": "wrk_me"}, {}, True),
        ({"lease_until": None}, {}, True),
        ({"lease_until": 0}, {}, True),
        ({"lease_until": -1}, {}, True),
        ({"lease_until": 0.000001}, {}, False),
        ({"lease_owner": "wrk_unheard_of"}, {}, False),
        ({}, {"host": "elsewhere", "pid": DEAD, "boot_id": "x"}, False),  # nobody here can tell
        ({}, {"pid": DEAD}, True),
        ({}, {"boot_id": "another start of this machine"}, True),
        ({}, {"started_at": LONG_AGO}, True),  # its number belongs to a younger process
    ],
)
def test_an_attempt_is_taken_over_from_the_dead_alone(
    stage: Stage, lease: dict[str, Any], worker: dict[str, Any], is_taken_over: bool
) -> None:
    """Never from a worker that lives, or of which nobody here can tell, while its lease runs."""
    decision_id = stage.decide()
    execution_id = stage.attempt(decision_id)
    owner = worker_row(stage, **worker)
    values = {"lease_owner": owner, "lease_until": 60, "lease_token": 5} | lease
    if isinstance(values["lease_until"], int | float):
        values["lease_until"] = moment(values["lease_until"])
    stage.set("trade_decisions", decision_id, **values)
    with stage.tx() as tx:
        claim = claims.claim_unsettled(tx, stage.account, "wrk_me", LEASE)
    assert (claim is not None) is is_taken_over
    row = stage.row("trade_decisions", decision_id)
    if claim is None:
        assert (row["lease_token"], row["lease_owner"]) == (5, values["lease_owner"])
        assert stage.row("trade_executions", execution_id)["status"] == "sending"
        return
    assert (claim.execution_id, claim.token) == (execution_id, 6)
    assert (row["lease_owner"], row["lease_token"], row["lease_until"]) == ("wrk_me", 6, moment(5))
    # What was being sent may have left.
    assert stage.row("trade_executions", execution_id)["status"] == "unknown"


@pytest.mark.parametrize(("seconds", "is_asked"), [(None, True), (0, True), (-1, True), (0.000001, False)])
def test_an_unknown_is_looked_up_when_its_backoff_is_over(
    stage: Stage, seconds: float | None, is_asked: bool
) -> None:
    decision_id = stage.decide()
    stage.attempt(decision_id, "unknown")
    at = None if seconds is None else moment(seconds)
    stage.set("trade_decisions", decision_id, next_attempt_at=at)
    with stage.tx() as tx:
        assert (claims.claim_unsettled(tx, stage.account, "wrk_me", LEASE) is not None) is is_asked


def test_each_unknown_is_claimed_once_per_round(stage: Stage) -> None:
    ids = [
        stage.attempt(stage.decide(symbol=symbol), status)
        for symbol, status in (("A", "unknown"), ("B", "filled"), ("C", "sending"), ("D", "accepted"))
    ]
    for account in OTHERS:
        stage.attempt(stage.decide(account), "unknown")
    asked: set[str] = set()
    with stage.tx() as tx:
        while (
            claim := claims.claim_unsettled(tx, stage.account, "wrk_me", LEASE, looked_up=asked)
        ) is not None:
            asked.add(claim.execution_id)
    assert asked == {ids[0], ids[2]}


# Each write of an attempt, a decision or a request that a claim allows.
WRITES = {
    "refused": lambda tx, claim: transitions.apply_refusal(
        tx, claim, Classification(ResponseKind.REFUSED, "no", "other")
    ),
    "returned": lambda tx, claim: transitions.return_to_queue(
        tx, claim, Classification(ResponseKind.NOT_SENT, "x"), "not_sent", None
    ),
    "unknown": lambda tx, claim: transitions.mark_unknown(tx, claim, "x", moment(1)),
    "stuck": lambda tx, claim: transitions.require_attention(tx, claim, "x"),
    "given up": lambda tx, claim: transitions.abandon_attempt(tx, claim, "x"),
    "resend": lambda tx, claim: claims.record_resubmission(tx, claim, 1),
    "check": claims.check_lease,
}


@pytest.mark.parametrize("write", WRITES)
def test_whoever_lost_the_lease_writes_nothing(stage: Stage, write: str) -> None:
    decision_id = stage.decide()
    claim = stage.claim(decision_id)
    with stage.tx() as tx:
        claims.take_over_attempt(tx, claim.execution_id, "wrk_other", LEASE)
    tables = ("trade_decisions", "trade_executions", "order_requests", "alerts", "journal")
    before = {name: stage.rows(f"SELECT * FROM {name}") for name in tables}
    with pytest.raises(LeaseLost), stage.tx() as tx:
        WRITES[write](tx, claim)
    assert {name: stage.rows(f"SELECT * FROM {name}") for name in tables} == before


@pytest.mark.parametrize("write", ["refused", "returned", "unknown", "stuck", "given up"])
def test_each_outcome_releases_the_lease(stage: Stage, write: str) -> None:
    """The next one need not wait for it to run out; the token stays, and only grows."""
    claim = stage.claim(stage.decide())
    assert stage.row("trade_decisions", claim.decision_id)["lease_owner"] == "wrk_me"
    with stage.tx() as tx:
        WRITES[write](tx, claim)
    row = stage.row("trade_decisions", claim.decision_id)
    assert (row["lease_owner"], row["lease_until"], row["lease_token"]) == (None, None, 1)


def test_a_lease_is_handed_back_by_its_holder_alone(stage: Stage) -> None:
    claim = stage.claim(stage.decide())
    other = stage.claim(stage.decide(symbol="MSFT"))
    with stage.tx() as tx:
        claims.release_lease(tx, claim.decision_id, claim.token + 1)
        claims.release_lease(tx, claim.decision_id, claim.token - 1)
    assert stage.row("trade_decisions", claim.decision_id)["lease_owner"] == "wrk_me"
    with stage.tx() as tx:
        claims.release_lease(tx, claim.decision_id, claim.token)
    assert stage.row("trade_decisions", claim.decision_id)["lease_owner"] is None
    assert stage.row("trade_decisions", other.decision_id)["lease_owner"] == "wrk_me"


def test_a_decision_that_is_gone_is_no_one_s_lease(stage: Stage) -> None:
    claim = stage.claim(stage.decide())
    from dataclasses import replace

    with stage.tx() as tx, pytest.raises(LeaseLost):
        claims.check_lease(tx, replace(claim, decision_id="dec_gone"))
    with stage.tx() as tx:
        claims.check_lease(tx, claim)


# How often an attempt was sent.


@pytest.mark.parametrize(
    ("calls", "state", "resubmissions", "times"),
    [
        ([], "sending", 0, 0),
        ([("submit", 500, True)], "sending", 0, 1),
        ([("submit", None, True)], "unknown", 0, 1),
        ([("submit", None, False)], "sending", 0, 0),
        ([("submit", 200, True), ("submit", None, False)], "sending", 0, 1),
        ([("lookup", 404, True), ("lookup", 404, True)], "sending", 0, 0),
        # Found unsettled: what it did left no exchange.
        ([("lookup", 404, True)], "unknown", 0, 1),
        ([], "unknown", 2, 3),
        ([], "resubmitted", 2, 3),
        ([("submit", 500, True)] * 4, "unknown", 1, 4),
        ([("submit", 500, True)], "unknown", 3, 4),
    ],
)
def test_a_submission_counts_unless_it_provably_never_left(
    stage: Stage, calls: list[tuple[str, int | None, bool]], state: str, resubmissions: int, times: int
) -> None:
    claim = stage.claim(stage.decide())
    other = stage.claim(stage.decide(symbol="MSFT"))
    stage.call(other.execution_id, "submit")
    for purpose, status, left_host in calls:
        stage.call(claim.execution_id, purpose, status=status, error="x", left_host=left_host)
    if state == "resubmitted":
        stage.set("trade_executions", claim.execution_id, status="sending", resent_at=moment())
    else:
        stage.set("trade_executions", claim.execution_id, status=state)
    stage.set("trade_decisions", claim.decision_id, retry_count=resubmissions)
    with stage.tx() as tx:
        assert exchanges.count_submissions(tx, claim) == times


@pytest.mark.parametrize(
    ("calls", "status", "times"), [(0, "sending", 0), (0, "unknown", 1), (1, "sending", 1), (3, "unknown", 3)]
)
def test_a_replacement_counts_its_own_submissions(stage: Stage, calls: int, status: str, times: int) -> None:
    """The decision's count of retries is that of its first order."""
    decision_id = stage.decide(order_type="limit", limit_price="100")
    old = stage.attempt(decision_id, "accepted", alpaca_order_id="one")
    new = stage.attempt(decision_id, "unknown", client_order_id="tl-2", replaces=old, limit_price="101")
    stage.set("trade_decisions", decision_id, retry_count=4)
    for _ in range(calls):
        stage.call(new, "submit", status=500)
    with stage.tx() as tx:
        claim = claims.take_over_attempt(tx, new, "wrk_me", LEASE)
    stage.set("trade_executions", new, status=status)
    with stage.tx() as tx:
        assert claim.change is not None
        assert (claim.change.limit_price, claim.change.quantity, claim.old_order_id) == (101, None, "one")
        assert exchanges.count_submissions(tx, claim) == times


# What is sent.


@pytest.mark.parametrize(
    ("context", "price"),
    [
        ({"price": "101.5"}, Decimal("101.5")),
        ({"price": 101}, Decimal(101)),
        ({"price": "0"}, None),
        ({"price": "-1"}, None),
        ({"price": "soon"}, None),
        ({"price": None}, None),
        ({}, None),
        ("a text", None),
    ],
)
def test_the_price_at_the_decision_is_taken_from_its_rationale(
    stage: Stage, context: Any, price: Decimal | None
) -> None:
    decision_id = stage.decide(rationale={"market_context": context})
    assert claims.wire_order(stage.row("trade_decisions", decision_id)).reference_price == price


def test_an_attempt_s_own_terms_come_before_the_decision_s(stage: Stage) -> None:
    decision_id = stage.decide(order_type="stop_limit", limit_price="100", stop_price="99")
    decision = stage.row("trade_decisions", decision_id)
    plain = claims.wire_order(decision, stage.row("trade_executions", stage.attempt(decision_id, "rejected")))
    assert plain == claims.wire_order(decision)
    own = stage.attempt(
        decision_id,
        "unknown",
        client_order_id="tl-2",
        quantity="7",
        limit_price="101",
        stop_price="98",
        time_in_force="gtc",
    )
    order = claims.wire_order(decision, stage.row("trade_executions", own))
    assert (
        order.client_order_id,
        order.quantity,
        order.limit_price,
        order.stop_price,
        order.time_in_force,
    ) == (
        "tl-2",
        7,
        101,
        98,
        "gtc",
    )
    change = claims.order_change(plain, order)
    assert (change.client_order_id, change.quantity, change.limit_price) == ("tl-2", 7, 101)
    assert claims.order_change(order, order).body() == {"client_order_id": "tl-2"}


def test_attempts_of_a_decision_are_numbered(stage: Stage) -> None:
    decision_id, other = stage.decide(), stage.decide(symbol="MSFT")
    numbers = [
        stage.row("trade_executions", stage.attempt(key, "rejected"))["attempt_number"]
        for key in (decision_id, other, decision_id, decision_id)
    ]
    assert numbers == [1, 1, 2, 3]


def test_a_claim_is_written_down_before_anything_is_sent(stage: Stage) -> None:
    decision_id = stage.decide(expires_at=clock.later(moment(), 90))
    go(1)
    claim = stage.claim(decision_id)
    row, attempt = (
        stage.row("trade_decisions", decision_id),
        stage.row("trade_executions", claim.execution_id),
    )
    assert (row["status"], row["next_attempt_at"], row["lease_until"]) == ("executing", None, moment(5))
    assert (attempt["status"], attempt["started_at"], attempt["order_value"]) == ("sending", moment(), "1000")
    assert (claim.started_at, claim.expires_at, claim.leased_at) == (moment(), row["expires_at"], 1001.0)
    assert not stage.broker.seen


@pytest.mark.parametrize(("held", "is_held_back"), [(-1, True), (0, True), (0.000001, False)])
def test_what_has_waited_for_the_open_holds_back_its_symbol_again(
    stage: Stage, held: float, is_held_back: bool
) -> None:
    """From the open on it waits for its next try like any other."""
    first, second = stage.decide(), stage.decide(side="sell")
    stage.set("trade_decisions", first, held_until=moment(held), next_attempt_at=moment(60))
    assert due(stage, waits=True) == (None if is_held_back else second)
