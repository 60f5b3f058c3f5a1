"""State transitions: what an answer makes of an attempt, and attempts of their decision and requests."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.execute.driving import go
from tests.execute.stage import LEASE, Stage, moment
from tradelog.domain.status import AttemptStatus
from tradelog.execute.amend import order_requests
from tradelog.execute.outbox import claims, exchanges, transitions
from tradelog.execute.outbox.responses import Classification, ResponseKind

D = Decimal


def request(stage: Stage, decision_id: str, kind: str = "cancel", **columns: Any) -> str:
    """A request as if it had come so far."""
    with stage.tx() as tx:
        terms = columns.pop("terms", {})
        request_id = transitions.insert_request(tx, kind, decision_id, terms, None, "ann")
        if columns:
            tx.update("order_requests", request_id, columns)
    return request_id


def update_decision(stage: Stage, decision_id: str) -> dict[str, Any]:
    with stage.tx() as tx:
        transitions.update_decision(tx, decision_id)
    return stage.row("trade_decisions", decision_id)


def ended(stage: Stage, *attempts: tuple[str, str] | str, **changes_: Any) -> str:
    """A decision whose attempts have come to (status, filled)."""
    decision_id = stage.decide(**changes_)
    for item in attempts:
        status, filled = (item, "0") if isinstance(item, str) else item
        stage.attempt(decision_id, status, filled_quantity=filled)
    return decision_id


# How a decision ends.


@pytest.mark.parametrize(
    ("attempts", "status", "code", "message"),
    [
        (["canceled"], "failed", "canceled_at_broker", "canceled at the broker before anything was filled"),
        (["expired"], "failed", "expired_unfilled", "its time in force ran out before anything was filled"),
        (["rejected"], "failed", "rejected_by_venue", "rejected by the venue after it was accepted"),
        (["filled"], "failed", "other", "the broker reports it filled, with a quantity of zero"),
        ([("filled", "10")], "executed", None, None),
        # In part is executed, however it ended.
        ([("canceled", "0.5")], "executed", None, None),
        ([("expired", "0.5")], "executed", None, None),
        ([("rejected", "0"), ("filled", "10")], "executed", None, None),
        # Of several orders the one that says most.
        (["rejected", "canceled"], "failed", "canceled_at_broker", "canceled at the broker"),
        (["canceled", "rejected"], "failed", "canceled_at_broker", "canceled at the broker"),
        (["rejected", "expired"], "failed", "expired_unfilled", "its time in force"),
    ],
)
def test_how_a_decision_ends(
    stage: Stage, attempts: list[Any], status: str, code: str | None, message: str | None
) -> None:
    row = update_decision(stage, ended(stage, *attempts))
    assert (row["status"], row["failure_code"]) == (status, code)
    if message is None:
        assert row["failure_message"] is None
        assert (row["executed_at"], row["failed_at"]) == (moment(), None)
        assert stage.alerts() == []
    else:
        assert row["failure_message"].startswith(f"AAPL: {message}")
        assert (row["executed_at"], row["failed_at"]) == (None, moment())
        assert stage.alerts() == ["trade_failed"]
        assert stage.rows("SELECT message FROM alerts")[0]["message"] == row["failure_message"]


def test_a_refusal_ends_the_decision_with_the_brokers_message(stage: Stage) -> None:
    decision_id = stage.decide()
    stage.attempt(decision_id, "rejected", failure_code="wash_trade", error_message="potential wash trade")
    row = update_decision(stage, decision_id)
    assert (row["failure_code"], row["failure_message"]) == ("wash_trade", "potential wash trade")
    assert stage.rows("SELECT message FROM alerts")[0]["message"] == "AAPL: potential wash trade"


@pytest.mark.parametrize("status", [status for status in AttemptStatus if status.is_open])
def test_an_attempt_that_may_be_at_the_broker_keeps_it_open(stage: Stage, status: str) -> None:
    row = update_decision(stage, ended(stage, ("canceled", "3"), status))
    assert (row["status"], row["executed_at"], row["failed_at"]) == ("executing", None, None)
    assert stage.alerts() == []


@pytest.mark.parametrize("status", ["not_sent", "not_accepted"])
def test_an_attempt_without_an_order_does_not_move_the_decision(stage: Stage, status: str) -> None:
    assert update_decision(stage, ended(stage, status))["status"] == "executing"
    assert update_decision(stage, ended(stage, status, symbol="MSFT"))["failure_code"] is None


def test_the_moment_of_an_end_is_kept(stage: Stage) -> None:
    decision_id = ended(stage, ("filled", "10"))
    first = update_decision(stage, decision_id)["executed_at"]
    go(60)
    assert update_decision(stage, decision_id)["executed_at"] == first


def test_what_turns_out_to_have_filled_is_executed(stage: Stage) -> None:
    decision_id = stage.decide()
    execution = stage.attempt(decision_id, "canceled")
    assert update_decision(stage, decision_id)["status"] == "failed"
    go(60)
    stage.set("trade_executions", execution, filled_quantity="1")
    row = update_decision(stage, decision_id)
    assert (row["status"], row["failure_code"], row["failed_at"], row["executed_at"]) == (
        *("executed", None, None),
        moment(),
    )


@pytest.mark.parametrize(
    ("code", "is_cancelled_again"), [("cancelled_on_request", True), ("expired_unsent", False)]
)
def test_what_was_given_up_and_is_there_lives_again(
    stage: Stage, code: str, is_cancelled_again: bool
) -> None:
    decision_id = stage.decide()
    execution = stage.attempt(decision_id, "rejected")
    update_decision(stage, decision_id)
    stage.set(
        "trade_decisions",
        decision_id,
        status="cancelled",
        failure_code=code,
        failed_at=moment(),
        failure_message="x",
    )
    stage.set("trade_executions", execution, status="accepted")
    row = update_decision(stage, decision_id)
    assert (row["status"], row["failure_code"], row["failure_message"], row["failed_at"]) == (
        *("executing", None, None, None),
    )
    assert stage.alerts() == []
    requests = stage.rows("SELECT kind, status, reason FROM order_requests")
    assert [item["kind"] for item in requests] == (["cancel"] if is_cancelled_again else [])


def test_what_needed_a_person_needs_none_once_it_is_over(stage: Stage) -> None:
    decision_id = ended(stage, ("filled", "10"))
    stage.set("trade_decisions", decision_id, needs_attention="x", next_attempt_at=moment(60))
    row = update_decision(stage, decision_id)
    assert (row["needs_attention"], row["next_attempt_at"]) == (None, None)


@pytest.mark.parametrize(
    ("status", "code"), [("canceled", "canceled_at_broker"), ("expired", "expired_unfilled")]
)
def test_an_adopted_order_that_ends_unfilled_is_no_failure(stage: Stage, status: str, code: str) -> None:
    """Whoever placed it took it back, or let it run out."""
    from tradelog.execute.track import orders

    order = {
        **{"id": "theirs", "client_order_id": "theirs", "symbol": "AAPL", "side": "buy", "qty": "5"},
        **{"type": "limit", "limit_price": "100", "status": "new", "time_in_force": "day"},
    }
    with stage.tx() as tx:
        owner = orders.adopt(tx, stage.account, order, "test")
    assert owner is not None
    stage.set("trade_executions", owner.execution_id, status=status)
    row = update_decision(stage, owner.decision_id)
    assert (row["status"], row["failure_code"]) == ("cancelled", code)
    assert stage.alerts() == []


def test_an_adopted_order_that_is_rejected_has_failed_and_is_no_alert(stage: Stage) -> None:
    from tradelog.execute.track import orders

    order = {
        **{"id": "theirs", "client_order_id": "theirs", "symbol": "AAPL", "side": "buy", "qty": "5"},
        **{"type": "limit", "limit_price": "100", "status": "new", "time_in_force": "day"},
    }
    with stage.tx() as tx:
        owner = orders.adopt(tx, stage.account, order, "test")
    assert owner is not None
    stage.set("trade_executions", owner.execution_id, status="rejected")
    assert update_decision(stage, owner.decision_id)["status"] == "failed"
    assert stage.alerts() == []


# Chains of replacements.


def chain(stage: Stage, *statuses: str, **more: Any) -> tuple[str, list[str]]:
    """A decision whose orders replace one another, in these states."""
    decision_id = stage.decide(order_type="limit", limit_price="100", **more)
    ids: list[str] = []
    for number, status in enumerate(statuses, 1):
        own = (
            {} if number == 1 else {"client_order_id": f"tl-{number}", "replaces": ids[-1], "quantity": "10"}
        )
        ids.append(stage.attempt(decision_id, status, alpaca_order_id=f"o{number}", **own))
    return decision_id, ids


@pytest.mark.parametrize(
    ("statuses", "status", "code"),
    [
        (("replaced", "filled"), "failed", "other"),
        (("replaced", "canceled"), "failed", "canceled_at_broker"),
        (("replaced", "expired"), "failed", "expired_unfilled"),
        (("canceled", "rejected"), "failed", "canceled_at_broker"),
        (("replaced", "accepted"), "executing", None),
        # Replaced by an order that nobody has seen yet; one that was rejected replaced nothing.
        (("replaced",), "executing", None),
        (("replaced", "rejected"), "executing", None),
        (("replaced", "replaced", "canceled"), "failed", "canceled_at_broker"),
        (("replaced", "replaced"), "executing", None),
    ],
)
def test_a_chain_ends_with_its_last_order(
    stage: Stage, statuses: tuple[str, ...], status: str, code: str | None
) -> None:
    decision_id, _ = chain(stage, *statuses)
    row = update_decision(stage, decision_id)
    assert (row["status"], row["failure_code"]) == (status, code)


def broker_order(stage: Stage, order_id: str, decision_id: str | None, **columns: Any) -> None:
    broker, environment, name = stage.account
    with stage.tx() as tx:
        tx.insert(
            "alpaca_orders",
            {
                **{"broker_order_id": order_id, "client_order_id": f"c-{order_id}", "status": "replaced"},
                **{"symbol": "AAPL", "broker": broker, "environment": environment, "account": name},
                **{"filled_quantity": "0", "raw": "{}", "first_seen_at": moment(), "updated_at": moment()},
                **{"decision_id": decision_id, **columns},
            },
        )


@pytest.mark.parametrize(
    ("owner", "status"), [("another", "cancelled"), ("ours", "executing"), (None, "executing")]
)
def test_a_chain_that_goes_on_as_another_decision_is_over(
    stage: Stage, owner: str | None, status: str
) -> None:
    decision_id, ids = chain(stage, "replaced")
    other = stage.decide(symbol="MSFT")
    broker_order(stage, "o1", decision_id, execution_id=ids[0], replaced_by="o2")
    owned = {"another": other, "ours": decision_id, None: None}[owner]
    broker_order(stage, "o2", owned, replaces="o1", status="new")
    row = update_decision(stage, decision_id)
    assert row["status"] == status
    if status == "cancelled":
        assert "on record as a decision of its own" in row["failure_message"]


# Cancels.


@pytest.mark.parametrize(
    ("tries", "status", "code"),
    [(0, "failed", "canceled_at_broker"), (1, "cancelled", "cancelled_on_request")],
)
def test_a_requested_cancel_is_no_failure(stage: Stage, tries: int, status: str, code: str) -> None:
    decision_id = ended(stage, "canceled")
    request_id = request(stage, decision_id, tries=tries)
    row = update_decision(stage, decision_id)
    assert (row["status"], row["failure_code"]) == (status, code)
    assert stage.row("order_requests", request_id)["status"] == "done"


@pytest.mark.parametrize(
    ("attempts", "status", "message"),
    [
        (["canceled"], "done", None),
        ([("canceled", "4")], "done", "after 4 was filled"),
        ([("filled", "10")], "overtaken", "the order was filled before"),
        (["expired"], "overtaken", "the order was expired before"),
        (["rejected"], "overtaken", "the order was rejected before"),
    ],
)
def test_a_cancel_ends_with_its_decision(
    stage: Stage, attempts: list[Any], status: str, message: str | None
) -> None:
    decision_id = ended(stage, *attempts)
    cancel, replace = request(stage, decision_id), request(stage, decision_id, "replace")
    other = request(stage, stage.decide(symbol="MSFT"))
    update_decision(stage, decision_id)
    row = stage.row("order_requests", cancel)
    assert (row["status"], row["message"], row["ended_at"]) == (status, message, moment())
    assert stage.row("order_requests", replace)["status"] == "overtaken"
    assert stage.row("order_requests", other)["ended_at"] is None


@pytest.mark.parametrize(
    ("attempts", "is_ended"),
    [
        ([], True),
        (["not_sent"], True),
        (["not_accepted"], True),
        (["not_sent", "unknown"], False),
        (["accepted"], False),
    ],
)
def test_what_has_no_order_is_cancelled_at_once(stage: Stage, attempts: list[str], is_ended: bool) -> None:
    decision_id = ended(stage, *attempts)
    request_id = request(stage, decision_id)
    with stage.tx() as tx:
        assert transitions.cancel_unsubmitted(tx, decision_id) is is_ended
    row = stage.row("trade_decisions", decision_id)
    assert (row["failure_code"] == "cancelled_on_request") is is_ended
    assert (stage.row("order_requests", request_id)["status"] == "done") is is_ended


@pytest.mark.parametrize(("kind", "ended_at"), [("replace", None), ("cancel", "now")])
def test_without_an_open_cancel_nothing_is_cancelled(stage: Stage, kind: str, ended_at: str | None) -> None:
    decision_id = stage.decide()
    request(stage, decision_id, kind, ended_at=moment() if ended_at else None)
    request(stage, stage.decide(symbol="MSFT"))
    with stage.tx() as tx:
        assert not transitions.cancel_unsubmitted(tx, decision_id)
    assert stage.row("trade_decisions", decision_id)["status"] == "pending"


# Replaces.

REJECTED = "the venue rejected the replacement; the old order stands"


@pytest.mark.parametrize(
    ("old", "new", "state", "status", "message"),
    [
        (
            "accepted",
            "rejected",
            "sending",
            "refused",
            "the venue rejected the replacement; the old order stands",
        ),
        ("accepted", "sending", "sending", "sending", None),
        ("accepted", "unknown", "sending", "sending", None),
        ("replaced", "accepted", "sending", "done", None),
        ("replaced", "filled", "sent", "done", None),
        ("replaced", "canceled", "sent", "done", None),
        ("filled", "canceled", "sent", "overtaken", "the old order was filled first"),
        ("canceled", "expired", "sending", "overtaken", "the old order was canceled first"),
        ("filled", "accepted", "sending", "sent", None),
        ("filled", "accepted", "sent", "sent", None),
        ("accepted", "canceled", "sending", "sent", None),
        ("accepted", "accepted", "sending", "sent", None),
        ("accepted", "accepted", "pending", "pending", None),
        ("accepted", "rejected", "pending", "pending", None),
    ],
)
def test_a_replace_goes_as_its_two_orders_go(
    stage: Stage, old: str, new: str, state: str, status: str, message: str | None
) -> None:
    decision_id, ids = chain(stage, old, new)
    request_id = request(stage, decision_id, "replace", execution_id=ids[1], status=state)
    update_decision(stage, decision_id)
    row = stage.row("order_requests", request_id)
    over = {"filled", "canceled", "expired"}
    if old in over and new in over and state == "pending":
        return
    assert (row["status"], row["message"]) == (status, message)
    assert (row["ended_at"] is not None) is (status in ("refused", "done", "overtaken"))
    assert ("replace_refused" in stage.alerts()) is (status == "refused")


def test_a_refused_replace_has_the_brokers_message(stage: Stage) -> None:
    decision_id, ids = chain(stage, "accepted", "rejected")
    stage.set("trade_executions", ids[1], error_message="sub-penny")
    request_id = request(stage, decision_id, "replace", execution_id=ids[1], status="sending")
    update_decision(stage, decision_id)
    assert stage.row("order_requests", request_id)["message"] == "sub-penny"
    assert stage.rows("SELECT message FROM alerts")[0]["message"] == "AAPL: sub-penny"


@pytest.mark.parametrize(
    ("terms", "filled", "needs_a_person"),
    [
        ({"quantity": "12"}, "2", False),
        ({"quantity": "11"}, "2", True),
        ({}, "0", False),
        ({}, "1", True),
    ],
)
def test_orders_that_can_reach_more_than_was_wanted_are_for_a_person(
    stage: Stage, terms: dict[str, str], filled: str, needs_a_person: bool
) -> None:
    """A fill can come while its order is replaced: together the two may get too much."""
    decision_id, ids = chain(stage, "replaced", "accepted")
    stage.set("trade_executions", ids[0], filled_quantity=filled)
    request(stage, decision_id, "replace", execution_id=ids[1], status="sending", terms=terms)
    update_decision(stage, decision_id)
    why = stage.row("trade_decisions", decision_id)["needs_attention"]
    assert (why is not None) is needs_a_person
    if why is not None:
        total = terms.get("quantity", "10")
        assert (
            why
            == f"filled while it was replaced: the orders can reach {10 + int(filled)} of {total} together"
        )
        assert stage.rows("SELECT message FROM alerts")[0]["message"] == f"AAPL: {why}"


def test_the_target_quantity_is_that_of_the_last_replace(stage: Stage) -> None:
    decision_id, _ = chain(stage, "accepted")
    other, _ = chain(stage, "accepted", symbol="MSFT")

    def wanted() -> Decimal | None:
        with stage.tx() as tx:
            return transitions.target_quantity(tx, stage.row("trade_decisions", decision_id))

    assert wanted() == 10
    for kind, status, terms, total in (
        ("replace", "refused", {"quantity": "7"}, 10),
        ("cancel", "done", {"quantity": "8"}, 10),
        ("replace", "done", {"limit_price": "9"}, 10),
        ("replace", "done", {"quantity": "12"}, 12),
        ("replace", "done", {"limit_price": "9"}, 12),
        ("replace", "done", {"quantity": "6"}, 6),
    ):
        request(stage, decision_id, kind, status=status, terms=terms, ended_at=moment())
        request(stage, other, "replace", status="done", terms={"quantity": "99"}, ended_at=moment())
        assert wanted() == total


def test_an_order_for_dollars_wants_no_shares(stage: Stage) -> None:
    decision_id = stage.decide(quantity=None, notional="100")
    with stage.tx() as tx:
        assert transitions.target_quantity(tx, stage.row("trade_decisions", decision_id)) is None


@pytest.mark.parametrize(("quantity", "is_told"), [("10", False), ("11", True)])
def test_a_replacement_is_compared_with_the_requested_terms(
    stage: Stage, quantity: str, is_told: bool
) -> None:
    decision_id = stage.decide(order_type="limit", limit_price="100")
    expected = claims.wire_order(stage.row("trade_decisions", decision_id))
    order = {"qty": quantity, "limit_price": "100", "stop_price": None, "time_in_force": "day"}
    with stage.tx() as tx:
        transitions.check_replacement_terms(tx, decision_id, expected, order)
    why = stage.row("trade_decisions", decision_id)["needs_attention"]
    assert (why is not None) is is_told
    assert ("needs_attention" in stage.alerts()) is is_told


# One attempt.


def test_an_attempt_that_did_not_get_there_leaves_the_decision_where_it_waited(stage: Stage) -> None:
    claim = stage.claim(stage.decide())
    with stage.tx() as tx:
        transitions.return_to_queue(
            tx, claim, Classification(ResponseKind.THROTTLED, "slower"), "not_accepted", moment(7)
        )
    row, attempt = (
        stage.row("trade_decisions", claim.decision_id),
        stage.row("trade_executions", claim.execution_id),
    )
    assert (row["status"], row["next_attempt_at"]) == ("pending", moment(7))
    assert (attempt["status"], attempt["error_message"]) == ("not_accepted", "slower")
    assert stage.alerts() == ["broker_not_accepted"]


def test_a_requested_cancel_ends_a_returned_decision(stage: Stage) -> None:
    claim = stage.claim(stage.decide())
    request_id = request(stage, claim.decision_id)
    with stage.tx() as tx:
        transitions.return_to_queue(tx, claim, Classification(ResponseKind.NOT_SENT, "x"), "not_sent", None)
    assert stage.row("trade_decisions", claim.decision_id)["status"] == "cancelled"
    assert stage.row("order_requests", request_id)["status"] == "done"


def replacing(stage: Stage, **terms: str) -> tuple[str, str, Any]:
    """(decision, request, claim) of a replacement that is being sent."""
    decision_id, ids = chain(stage, "accepted", "sending")
    request_id = request(stage, decision_id, "replace", execution_id=ids[1], status="sending", terms=terms)
    with stage.tx() as tx:
        claim = claims.take_over_attempt(tx, ids[1], "wrk_me", LEASE)
    return decision_id, request_id, claim


def test_a_replacement_that_did_not_get_there_waits_and_its_order_stands(stage: Stage) -> None:
    decision_id, request_id, claim = replacing(stage)
    stage.set("trade_executions", claim.execution_id, status="sending")
    with stage.tx() as tx:
        transitions.return_to_queue(
            tx, claim, Classification(ResponseKind.NOT_SENT, "x"), "not_sent", moment(7)
        )
    row = stage.row("order_requests", request_id)
    assert (row["status"], row["next_attempt_at"]) == ("pending", moment(7))
    assert stage.row("trade_decisions", decision_id)["status"] == "executing"


def test_a_replacement_that_is_given_up_is_overtaken(stage: Stage) -> None:
    decision_id, request_id, claim = replacing(stage)
    with stage.tx() as tx:
        transitions.abandon_attempt(tx, claim, "the old order has ended")
    assert stage.row("order_requests", request_id)["status"] == "overtaken"
    assert stage.row("trade_executions", claim.execution_id)["status"] == "not_accepted"
    assert stage.row("trade_decisions", decision_id)["status"] == "executing"


def test_an_attempt_that_is_given_up_ends_its_decision_with_the_others(stage: Stage) -> None:
    decision_id = stage.decide()
    stage.attempt(decision_id, "canceled")
    stage.set("trade_decisions", decision_id, status="pending")
    claim = stage.claim(decision_id)
    with stage.tx() as tx:
        transitions.abandon_attempt(tx, claim, "x")
    assert stage.row("trade_decisions", decision_id)["failure_code"] == "canceled_at_broker"


TAKEN = json.dumps({"code": 40010001, "message": "client_order_id must be unique"}).encode()
REFUSAL = json.dumps({"code": 40310000, "message": "insufficient buying power"}).encode()


@pytest.mark.parametrize(
    ("purpose", "status", "body", "was_one"),
    [
        ("submit", 422, TAKEN, True),
        ("submit", 422, REFUSAL, False),
        ("submit", 422, b"", False),
        ("submit", 403, TAKEN, True),
        ("lookup", 422, TAKEN, False),
    ],
)
def test_an_id_that_was_refused_as_taken_is_remembered(
    stage: Stage, purpose: str, status: int, body: bytes, was_one: bool
) -> None:
    claim, other = stage.claim(stage.decide()), stage.claim(stage.decide(symbol="MSFT"))
    stage.call(claim.execution_id, purpose, status=status, body=body)
    with stage.tx() as tx:
        assert exchanges.was_duplicate_id(tx, claim) is was_one
        assert not exchanges.was_duplicate_id(tx, other)


@pytest.mark.parametrize(
    ("calls", "code"),
    [
        ([("submit", 403, REFUSAL)], "insufficient_buying_power"),
        ([("submit", 500, b""), ("submit", 403, REFUSAL)], "insufficient_buying_power"),
        ([("submit", 403, REFUSAL), ("submit", 500, b"")], None),
        ([("submit", 403, REFUSAL), ("lookup", 404, b"{}")], "insufficient_buying_power"),
        ([("lookup", 403, REFUSAL)], None),
        ([("submit", None, b"")], None),
        ([("submit", 403, b"\xff\xfe")], None),
        ([], None),
    ],
)
def test_the_last_refusal_is_that_of_the_last_send(
    stage: Stage, calls: list[tuple[str, int | None, bytes]], code: str | None
) -> None:
    claim, other = stage.claim(stage.decide()), stage.claim(stage.decide(symbol="MSFT"))
    for purpose, status, body in calls:
        stage.call(claim.execution_id, purpose, status=status, body=body)
    with stage.tx() as tx:
        result = exchanges.last_refusal(tx, claim)
        assert exchanges.last_refusal(tx, other) is None
    assert (result.failure_code if result else None) == code


def test_an_exchange_without_an_answer_has_no_body(stage: Stage) -> None:
    stage.call(None, "poll", status=None, body=b"", error="timed out")
    stage.call(None, "poll", status=200, body=b"{}", headers={"date": "x"})
    rows = stage.rows("SELECT status, response_body, response_headers FROM broker_calls ORDER BY call_id")
    assert [tuple(row.values()) for row in rows] == [(None, None, None), (200, "{}", '{"date": "x"}')]


def test_a_request_is_recorded_with_its_terms_and_reason(stage: Stage) -> None:
    decision_id = stage.decide()
    with stage.tx() as tx:
        request_id = order_requests.request_cancel(tx, decision_id, "no more", "ann")
    row = stage.row("order_requests", request_id)
    assert (row["kind"], row["reason"], row["actor"], row["tries"]) == ("cancel", "no more", "ann", 0)


def test_an_order_for_dollars_in_a_chain_is_not_added_up(stage: Stage) -> None:
    """Somebody replaced ours at the broker by one that tells no quantity."""
    decision_id, ids = chain(stage, "replaced", "replaced")
    stage.attempt(decision_id, "accepted", alpaca_order_id="o3", client_order_id="theirs", replaces=ids[1])
    request_id = request(stage, decision_id, "replace", execution_id=ids[1], status="sent")
    update_decision(stage, decision_id)
    assert stage.row("order_requests", request_id)["status"] == "done"
    assert stage.row("trade_decisions", decision_id)["needs_attention"] is None
