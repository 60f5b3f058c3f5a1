"""Order tracking: polls and pages, fills that come late, older answers, and orders that replaced ours."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.execute.driving import go
from tests.execute.stage import OTHERS, Stage, moment
from tests.fakes.direct import Fault
from tradelog.domain import clock
from tradelog.execute.brokers.base import ORDERS_PAGE, Exchange
from tradelog.execute.track import orders, tracker
from tradelog.execute.track.orders import Owner
from tradelog.execute.track.tracker import FEW, FIRST, MAX_SUCCESSOR_LOOKUPS, next_page_after
from tradelog.execute.worker import Worker


def placed(stage: Stage, **changes: Any) -> tuple[str, str, str]:
    """(decision, attempt, order) of an order that rests at the broker."""
    stage.books.fills = False
    worker = stage.worker(max_order_notional=None)
    decision_id = stage.decide(**({"order_type": "limit", "limit_price": "100"} | changes))
    worker.drain()
    worker.tracker.poll(decision_id)
    row = stage.rows("SELECT * FROM trade_executions WHERE decision_id = ?", decision_id)[-1]
    stage.broker.seen.clear()
    return decision_id, row["execution_id"], row["alpaca_order_id"]


def follower(stage: Stage) -> Worker:
    worker = Worker(stage.writer, stage.broker, stage.config)
    assert worker.session.ensure_bound()
    stage.broker.seen.clear()
    return worker


def gets(stage: Stage, path: str = "") -> list[str]:
    return [seen for method, seen, _ in stage.broker.seen if method == "GET" and path in seen]


def polls(stage: Stage) -> int:
    """How many answers to polls are kept."""
    return int(stage.value("SELECT count(*) FROM broker_calls WHERE purpose = 'poll'"))


def told(stage: Stage, order_id: str, **changes: Any) -> dict[str, Any]:
    """The broker's order, as it would tell it, with changes."""
    return {**stage.books.orders[order_id], **changes}


# Older answers and news.


@pytest.mark.parametrize(
    ("seconds", "is_update"), [(-0.001, False), (0, True), (1, True), (None, True), ("soon", True)]
)
def test_an_older_response_is_no_update(stage: Stage, seconds: Any, is_update: bool) -> None:
    """Of two workers one may hear an answer later than the other heard a newer one."""
    _, _, order_id = placed(stage)
    raw = json.loads(stage.rows("SELECT raw FROM alpaca_orders")[0]["raw"])
    known = clock.read_moment(raw["updated_at"])
    assert known is not None
    at = clock.later(known, seconds) if isinstance(seconds, int | float) else seconds
    order = told(stage, order_id, status="partially_filled", filled_qty="1", updated_at=at)
    assert orders.is_update(stage.writer.connection, order) is is_update


@pytest.mark.parametrize(
    ("changes", "is_update"),
    [
        ({}, False),
        ({"status": "canceled"}, True),
        ({"filled_qty": "1"}, True),
        ({"filled_avg_price": "99.5"}, True),
        ({"replaced_by": "two"}, True),
        ({"replaces": "zero"}, True),
        ({"client_order_id": "other"}, True),
        # A number that is written differently, and what is kept in no column, is none.
        ({"filled_qty": "0.0"}, False),
        ({"hwm": "1"}, False),
    ],
)
def test_what_is_an_update_of_an_order(stage: Stage, changes: dict[str, Any], is_update: bool) -> None:
    _, _, order_id = placed(stage)
    (row,) = stage.rows("SELECT raw FROM alpaca_orders")
    order = {**json.loads(row["raw"]), **changes}
    assert orders.is_update(stage.writer.connection, order) is is_update
    assert orders.is_update(stage.writer.connection, {**order, "id": "unheard of"})
    assert order_id in stage.books.orders


def apply(stage: Stage, owner: Owner, order: dict[str, Any], source: str = "poll") -> None:
    with stage.tx() as tx:
        orders.apply_order(tx, stage.account, owner, order, source)


@pytest.mark.parametrize(
    ("first", "then", "goes_back"),
    [
        ({"status": "new"}, {"status": "partially_filled", "filled_qty": "4"}, False),
        ({"status": "partially_filled", "filled_qty": "4"}, {"status": "new", "filled_qty": "3"}, True),
        ({"status": "partially_filled", "filled_qty": "4"}, {"status": "canceled", "filled_qty": "4"}, False),
        ({"status": "canceled"}, {"status": "new"}, True),
        ({"status": "canceled"}, {"status": "filled", "filled_qty": "10"}, False),
        ({"status": "expired"}, {"status": "canceled"}, False),
        ({"status": "filled", "filled_qty": "10"}, {"status": "filled", "filled_qty": "9"}, True),
        ({"status": "rejected"}, {"status": "new"}, True),
        # Its replacement can be refused by the venue.
        ({"status": "replaced", "replaced_by": "two"}, {"status": "new"}, False),
        # Two orders under one attempt.
        ({"status": "new"}, {"status": "new", "id": "another"}, True),
    ],
)
def test_a_bust_is_recorded_and_alerted(
    stage: Stage, first: dict[str, Any], then: dict[str, Any], goes_back: bool
) -> None:
    """A bust, or an end that was none: for a person to see; the attempt stays as it was."""
    decision_id, execution_id, order_id = placed(stage)
    owner = Owner(execution_id, decision_id)
    apply(stage, owner, told(stage, order_id, **first))
    before = stage.row("trade_executions", execution_id)["status"]
    apply(stage, owner, told(stage, order_id, **then))
    assert ("order_went_back" in stage.alerts()) is goes_back
    assert stage.row("alpaca_orders", then.get("id", order_id))["status"] == then["status"]
    after = stage.row("trade_executions", execution_id)["status"]
    if goes_back:
        assert after == before
    apply(stage, owner, told(stage, order_id, **then))
    assert stage.alerts().count("order_went_back") == int(goes_back)


def test_a_refusal_that_turns_out_to_be_there_counts(stage: Stage) -> None:
    """Refused by word of the broker, without an order; and then it is there."""
    decision_id = stage.decide()
    execution_id = stage.attempt(decision_id, "rejected")
    order = {
        **{"id": "one", "client_order_id": "c", "symbol": "AAPL", "side": "buy", "status": "new"},
        **{"filled_qty": "0", "filled_avg_price": None},
    }
    apply(stage, Owner(execution_id, decision_id), order)
    assert stage.row("trade_executions", execution_id)["status"] == "accepted"
    assert "order_went_back" not in stage.alerts()


@pytest.mark.parametrize(("status", "is_told"), [("new", False), ("held", False), ("an_invented_one", True)])
def test_an_unknown_broker_status_is_alerted(stage: Stage, status: str, is_told: bool) -> None:
    decision_id, execution_id, order_id = placed(stage)
    apply(stage, Owner(execution_id, decision_id), told(stage, order_id, status=status, filled_avg_price="1"))
    assert ("unknown_order_status" in stage.alerts()) is is_told


@pytest.mark.parametrize(("status", "code"), [("rejected", "rejected_by_venue"), ("canceled", None)])
def test_a_rejection_after_acceptance_is_the_venue_s(stage: Stage, status: str, code: str | None) -> None:
    decision_id, execution_id, order_id = placed(stage)
    apply(stage, Owner(execution_id, decision_id), told(stage, order_id, status=status))
    row = stage.row("trade_executions", execution_id)
    assert (row["failure_code"], row["rejected_at"] is not None) == (code, code is not None)


# Fills.


def fill(order_id: str, number: str = "f1", **changes: Any) -> dict[str, Any]:
    item = {"id": number, "order_id": order_id, "symbol": "AAPL", "side": "buy", "qty": "4", "price": "100"}
    return {**item, "transaction_time": moment(), **changes}


def test_fills_are_added_once_and_summed_by_their_order(stage: Stage) -> None:
    decision_id, execution_id, order_id = placed(stage)
    apply(stage, Owner(execution_id, decision_id), told(stage, order_id, status="filled", filled_qty="10"))
    for items, added, total in (
        ([fill(order_id)], 1, "4"),
        ([fill(order_id)], 0, "4"),
        ([fill("of nobody", "f9")], 0, "4"),
        ([fill(order_id), fill(order_id, "f2", qty="6")], 1, "10"),
    ):
        with stage.tx() as tx:
            assert orders.apply_fills(tx, stage.account, items) == added
        assert stage.row("trade_executions", execution_id)["fills_quantity"] == total
    assert stage.alerts() == []


@pytest.mark.parametrize("changes", [{"qty": "5"}, {"price": "101"}, {"order_id": "two"}])
def test_a_conflicting_fill_raises_an_alert(stage: Stage, changes: dict[str, str]) -> None:
    decision_id, execution_id, order_id = placed(stage)
    partly = told(stage, order_id, status="partially_filled", filled_qty="4")
    apply(stage, Owner(execution_id, decision_id), partly)
    broker, environment, name = stage.account
    with stage.tx() as tx:
        tx.insert(
            "alpaca_orders",
            {
                **{"broker_order_id": "two", "client_order_id": "x", "status": "new", "symbol": "AAPL"},
                **{"broker": broker, "environment": environment, "account": name, "raw": "{}"},
                **{"filled_quantity": "0", "first_seen_at": moment(), "updated_at": moment()},
            },
        )
        assert orders.apply_fills(tx, stage.account, [fill(order_id)]) == 1
        assert orders.apply_fills(tx, stage.account, [fill(order_id) | changes]) == 0
    assert stage.alerts() == ["fill_conflict"]
    assert stage.rows("SELECT quantity FROM fills") == [{"quantity": "4"}]


@pytest.mark.parametrize("account", OTHERS)
def test_a_fill_of_another_account_is_not_ours(stage: Stage, account: Any) -> None:
    _, _, order_id = placed(stage)
    with stage.tx() as tx:
        assert orders.apply_fills(tx, account, [fill(order_id)]) == 0


def test_missing_fills_are_fetched_with_backoff(stage: Stage) -> None:
    decision_id, execution_id, order_id = placed(stage)
    worker = follower(stage)
    stage.books.fill(order_id, None, "100")
    stage.books.late_activities = 10**6
    worker.tracker.poll()
    assert stage.row("trade_executions", execution_id)["status"] == "filled"
    assert worker.tracker.awaits_fills()
    asked = len(gets(stage, "activities/FILL"))
    worker.tracker.fetch_missing_fills()
    assert len(gets(stage, "activities/FILL")) == asked
    for failures in range(2, FEW + 3):
        go(4000)
        worker.tracker.fetch_missing_fills()
        assert worker.tracker.awaits_fills() is (failures < FEW)
    # One that has owed for long has a window of its own, with an end.
    assert "until=" in gets(stage, "activities/FILL")[-1]
    assert "until=" not in gets(stage, "activities/FILL")[0]
    stage.books.late_activities = 0
    go(4000)
    worker.tracker.fetch_missing_fills()
    assert stage.row("trade_executions", execution_id)["fills_quantity"] == "10"
    assert worker.tracker.fills_recorded == 1
    assert stage.row("trade_decisions", decision_id)["status"] == "executed"


def test_fills_come_page_by_page(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "FILLS_PAGE", 2)
    asked: list[str | None] = []

    def page(token: str | None) -> Exchange:
        asked.append(token)
        number = {None: 0, "i1": 2, "i3": 4}[token]
        rows = [{"id": f"i{index}"} for index in range(number, min(number + 2, 5))]
        body = json.dumps(rows).encode()
        return Exchange("GET", "u", None, moment(), moment(), status=200, body=body)

    worker = follower(stage)
    result, is_complete = worker.tracker._all_pages("fills", page)
    assert ([item["id"] for item in result], is_complete) == ([f"i{index}" for index in range(5)], True)
    assert asked == [None, "i1", "i3"]


@pytest.mark.parametrize(
    ("rows", "is_complete", "pages"),
    [
        ([], True, 1),
        ([{"id": "a"}], True, 1),
        # A full page whose end is the same again leads nowhere; one without ids neither.
        ([{"id": "a"}, {"id": "a"}], True, 2),
        ([{"id": 5}, {"x": 1}], True, 1),
        ([{"id": "a"}, "text"], True, 2),
        ({"message": "no"}, False, 1),
    ],
)
def test_the_end_of_a_list_of_pages(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, rows: Any, is_complete: bool, pages: int
) -> None:
    monkeypatch.setattr(tracker, "FILLS_PAGE", 2)
    asked: list[str | None] = []

    def page(token: str | None) -> Exchange:
        asked.append(token)
        body = json.dumps(rows).encode()
        return Exchange("GET", "u", None, moment(), moment(), status=200, body=body)

    worker = follower(stage)
    assert worker.tracker._all_pages("fills", page)[1] is is_complete
    assert len(asked) == pages
    failed = stage.value("SELECT count(*) FROM broker_calls WHERE purpose = 'fills'")
    assert failed == int(not is_complete)


def test_pages_without_end_are_cut_off(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "FILLS_PAGE", 1)
    monkeypatch.setattr(tracker, "MAX_PAGES", 3)
    numbers = iter(range(100))

    def page(_: str | None) -> Exchange:
        body = json.dumps([{"id": f"i{next(numbers)}"}]).encode()
        return Exchange("GET", "u", None, moment(), moment(), status=200, body=body)

    worker = follower(stage)
    result, is_complete = worker.tracker._all_pages("fills", page)
    assert (len(result), is_complete) == (3, False)


def test_a_list_that_is_interrupted_by_the_limit_is_not_whole(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "FILLS_PAGE", 1)

    def page(_: str | None) -> Exchange:
        reset = str(int(clock.now().timestamp() + 30))
        headers = {"x-ratelimit-remaining": "20", "x-ratelimit-reset": reset}
        body = b'[{"id": "i1"}]'
        return Exchange("GET", "u", None, moment(), moment(), status=200, body=body, headers=headers)

    worker = follower(stage)
    result, is_complete = worker.tracker._all_pages("fills", page)
    assert (len(result), is_complete) == (1, False)


# Polls.


@pytest.mark.parametrize("count", [1, FEW, FEW + 1])
def test_few_orders_are_polled_one_by_one_and_many_by_list(stage: Stage, count: int) -> None:
    for number in range(count):
        placed(stage, symbol=f"S{number}", quantity="1")
    worker = follower(stage)
    worker.tracker.poll()
    lists = len(gets(stage, "status=open"))
    assert lists == int(count > FEW)
    assert len(gets(stage)) == (1 if lists else count)


def test_an_order_missing_from_the_list_is_polled_by_id(stage: Stage) -> None:
    ids = [placed(stage, symbol=f"S{number}", quantity="1")[2] for number in range(FEW + 2)]
    stage.books.fill(ids[0], None, "100")
    stage.books.unlisted = {ids[1]}
    worker = follower(stage)
    worker.tracker.poll()
    assert sorted(path.rsplit("/", 1)[1] for path in gets(stage, "/v2/orders/")) == sorted(ids[:2])
    assert stage.value("SELECT count(*) FROM trade_executions WHERE status = 'filled'") == 1


def test_many_changes_of_a_list_are_taken_from_it(stage: Stage) -> None:
    ids = [placed(stage, symbol=f"S{number}", quantity="2")[2] for number in range(FEW + 2)]
    for order_id in ids[: FEW + 1]:
        stage.books.fill(order_id, "1", "100")
    worker = follower(stage)
    before = polls(stage)
    worker.tracker.poll()
    assert not gets(stage, "/v2/orders/")
    assert stage.value("SELECT count(*) FROM trade_executions WHERE status = 'partially_filled'") == FEW + 1
    # One page, kept once.
    assert polls(stage) == before + 1
    assert (worker.tracker.updates, worker.tracker.has_changes) == (FEW + 1, True)


def test_a_failed_list_backs_off_and_changes_nothing(stage: Stage) -> None:
    for number in range(FEW + 1):
        placed(stage, symbol=f"S{number}", quantity="1")
    worker = follower(stage)
    stage.broker.faults.append(Fault("GET", status=400, body=b"{}"))
    worker.tracker.poll()
    worker.tracker.poll()
    assert len(gets(stage)) == 1
    go(1)
    worker.tracker.poll()
    assert len(gets(stage)) == 2


def test_a_failing_poll_backs_off(stage: Stage) -> None:
    placed(stage)
    worker = follower(stage)
    before = polls(stage)
    for expected in (1, 1, 2):
        stage.broker.faults[:] = [Fault("GET", status=400, body=b"{}")]
        worker.tracker.poll()
        assert len(gets(stage, "/v2/orders/")) == expected
        go(0.6)
    assert polls(stage) == before + 2


def test_an_answer_about_another_order_changes_nothing(stage: Stage) -> None:
    decision_id, execution_id, order_id = placed(stage)
    worker = follower(stage)
    other = told(stage, order_id, id="another", status="filled", filled_qty="10")
    stage.broker.faults.append(Fault("GET", status=200, body=json.dumps(other).encode()))
    assert worker.tracker.poll_order(Owner(execution_id, decision_id), order_id) is None
    assert stage.row("trade_executions", execution_id)["status"] == "accepted"


@pytest.mark.parametrize("spare", ["20", "21"])
def test_questions_leave_the_last_of_the_rate_limit_to_orders(stage: Stage, spare: str) -> None:
    placed(stage)
    worker = follower(stage)
    reset = str(int(clock.now().timestamp() + 30))
    headers = {"x-ratelimit-remaining": spare, "x-ratelimit-reset": reset}
    worker.session.observe(
        Exchange("GET", "u", None, moment(), moment(), status=200, body=b"{}", headers=headers)
    )
    worker.tracker.poll()
    assert len(gets(stage, "/v2/orders/")) == int(spare == "21")


def test_polls_are_of_one_decision_where_one_is_named(stage: Stage) -> None:
    first, _, order_id = placed(stage, symbol="A", quantity="1")
    placed(stage, symbol="B", quantity="1")
    worker = follower(stage)
    worker.tracker.poll(first)
    assert [path.rsplit("/", 1)[1] for path in gets(stage, "/v2/orders/")] == [order_id]


@pytest.mark.parametrize("account", OTHERS)
def test_orders_of_another_account_are_not_polled(stage: Stage, account: Any) -> None:
    stage.attempt(stage.decide(account), "accepted", alpaca_order_id="theirs")
    worker = follower(stage)
    worker.tracker.poll()
    assert not gets(stage)


# Pages of orders.


def at(text: str | None, **more: Any) -> dict[str, Any]:
    return {"id": "x", "submitted_at": text, **more}


@pytest.mark.parametrize(
    ("rows", "edge"),
    [
        ([], None),
        ([at(None)], None),
        ([at("soon")], None),
        ([at("2041-03-06T16:00:00Z")], "2041-03-06T15:59:59.999000Z"),
        ([at("2041-03-06T16:00:00Z"), at("2041-03-06T15:00:00Z")], "2041-03-06T15:59:59.999000Z"),
        ([at(None, created_at="2041-03-06T16:00:00Z")], "2041-03-06T15:59:59.999000Z"),
        # A time that nobody can mean leads past nothing.
        ([at("2041-03-06T17:01:00Z")], "2041-03-06T17:00:59.999000Z"),
        ([at("2041-03-06T17:01:00.000001Z")], None),
        ([at("2241-01-01T00:00:00Z"), at("2041-03-06T16:00:00Z")], "2041-03-06T15:59:59.999000Z"),
        ([at(FIRST)], clock.later(FIRST, -0.001)),
        ([at("2009-12-31T23:59:59Z")], None),
    ],
)
def test_where_the_next_page_starts(stage: Stage, rows: list[dict[str, Any]], edge: str | None) -> None:
    assert next_page_after(rows) == edge


def test_every_page_of_open_orders_is_read(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "ORDERS_PAGE", 3)
    assert ORDERS_PAGE == 500
    answers = []
    for number in range(3):
        rows = [
            {
                **{"id": f"o{number}{index}", "client_order_id": "c", "symbol": "A", "status": "new"},
                "submitted_at": clock.later(moment(), -100 + number),
            }
            for index in range(3 if number < 2 else 1)
        ]
        answers.append(rows)
    pages = iter(answers)
    edges: list[str | None] = []

    def listed(status: str, after: str | None) -> Exchange:
        edges.append(after)
        return Exchange(
            "GET", "u", None, moment(), moment(), status=200, body=json.dumps(next(pages)).encode()
        )

    worker = follower(stage)
    monkeypatch.setattr(stage.broker, "orders", listed)
    assert len(worker.tracker._listed()) == 7
    assert edges == [None, moment(-100.001), moment(-99.001)]


def test_a_page_without_new_orders_is_the_last(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "ORDERS_PAGE", 1)
    row = {"id": "o", "client_order_id": "c", "symbol": "A", "status": "new", "submitted_at": moment()}
    body = json.dumps([row]).encode()
    asked = []

    def listed(status: str, after: str | None) -> Exchange:
        asked.append(after)
        return Exchange("GET", "u", None, moment(), moment(), status=200, body=body)

    worker = follower(stage)
    monkeypatch.setattr(stage.broker, "orders", listed)
    assert list(worker.tracker._listed()) == ["o"]
    assert len(asked) == 2


# Orders that replaced ours.


def replaced(stage: Stage, by: str | None = "two", *, at_broker: bool = True) -> tuple[str, str]:
    """A decision whose order somebody else replaced."""
    decision_id, execution_id, order_id = placed(stage)
    stage.books.orders[order_id] |= {"status": "replaced", "replaced_by": by, "updated_at": moment(1)}
    if at_broker and by is not None:
        new = {"id": by, "client_order_id": "theirs", "status": "new", "replaces": order_id}
        new |= {"limit_price": "101"}
        stage.books.orders[by] = {**stage.books.orders[order_id], "replaced_by": None, **new}
    return decision_id, execution_id


def test_an_order_that_replaced_ours_continues_the_decision(stage: Stage) -> None:
    decision_id, execution_id = replaced(stage)
    worker = follower(stage)
    worker.tracker.poll()
    rows = stage.rows("SELECT * FROM trade_executions WHERE decision_id = ? ORDER BY id", decision_id)
    assert [(row["status"], row["replaces"]) for row in rows] == [
        ("replaced", None),
        ("accepted", execution_id),
    ]
    assert (rows[1]["alpaca_order_id"], rows[1]["limit_price"]) == ("two", "101")
    assert "replaced_at_broker" in stage.alerts()
    worker.tracker.poll()
    assert stage.value("SELECT count(*) FROM trade_executions") == 2


@pytest.mark.parametrize("by", [None, "two"])
def test_a_successor_that_the_broker_does_not_show_is_for_a_person(stage: Stage, by: str | None) -> None:
    decision_id, _ = replaced(stage, by, at_broker=False)
    worker = follower(stage)
    for _ in range(MAX_SUCCESSOR_LOOKUPS + 1):
        worker.tracker.poll()
        go(61)
    why = stage.row("trade_decisions", decision_id)["needs_attention"]
    assert (
        why == f"replaced at the broker by {by or 'an order that it does not name'}, which it does not show"
    )
    asked = len(gets(stage, "/v2/orders/two"))
    assert asked == (MAX_SUCCESSOR_LOOKUPS if by else 0)
    worker.tracker.poll()
    assert len(gets(stage, "/v2/orders/two")) == asked


# Whose order it is.


@pytest.mark.parametrize("account", OTHERS)
def test_an_order_of_another_account_has_no_owner_here(stage: Stage, account: Any) -> None:
    decision_id = stage.decide()
    own = stage.row("trade_decisions", decision_id)["client_order_id"]
    order = {
        **{"id": "one", "client_order_id": own, "symbol": "AAPL", "side": "buy", "type": "market"},
        **{"qty": "10", "status": "new"},
    }
    with stage.tx() as tx:
        assert orders.owner_of(tx, account, order) is None
    execution_id = stage.attempt(decision_id, "unknown")
    with stage.tx() as tx:
        assert orders.owner_of(tx, account, order) is None
        assert orders.owner_of(tx, stage.account, order) == Owner(execution_id, decision_id)


@pytest.mark.parametrize(
    ("status", "changes", "is_ours"),
    [
        ("pending", {}, True),
        ("cancelled", {}, True),
        ("failed", {}, False),
        ("pending", {"side": "sell"}, False),
        ("pending", {"qty": "11"}, False),
        ("pending", {"symbol": "MSFT"}, False),
        ("pending", {"type": "limit"}, False),
        ("pending", {"client_order_id": "other"}, False),
    ],
)
def test_an_order_that_the_log_never_sent_is_ours_only_if_every_field_is(
    stage: Stage, status: str, changes: dict[str, str], is_ours: bool
) -> None:
    """A store that was put back from an older copy: at adoption, too, each field is compared."""
    stage.attempt(stage.decide(symbol="F"), "accepted", alpaca_order_id="of another decision")
    decision_id = stage.decide()
    own = stage.row("trade_decisions", decision_id)["client_order_id"]
    stage.set("trade_decisions", decision_id, status=status)
    order = {
        **{"id": "one", "client_order_id": own, "symbol": "AAPL", "side": "buy", "type": "market"},
        **{"qty": "10", "status": "new", **changes},
    }
    with stage.tx() as tx:
        owner = orders.owner_of(tx, stage.account, order)
    assert (owner is not None) is is_ours
    assert ("landed_unrecorded" in stage.alerts()) is is_ours


def test_of_several_attempts_the_last_without_an_order_has_it(stage: Stage) -> None:
    decision_id = stage.decide()
    own = stage.row("trade_decisions", decision_id)["client_order_id"]
    stage.attempt(decision_id, "not_accepted")
    last = stage.attempt(decision_id, "unknown")
    order = {"id": "one", "client_order_id": own, "symbol": "AAPL", "status": "new"}
    with stage.tx() as tx:
        assert orders.owner_of(tx, stage.account, order) == Owner(last, decision_id)


THEIRS = {
    **{"id": "theirs", "client_order_id": "theirs", "symbol": "AAPL", "side": "buy", "qty": "5"},
    **{"type": "limit", "limit_price": "100", "status": "new", "time_in_force": "gtc"},
}


@pytest.mark.parametrize(
    ("changes", "is_plain"),
    [
        ({}, True),
        ({"side": "sell"}, True),
        ({"qty": None, "notional": "50"}, True),
        ({"type": None, "order_type": "limit"}, True),
        ({"side": None}, False),
        ({"side": "sell_short"}, False),
        ({"type": None}, False),
        ({"type": ""}, False),
        ({"type": 5}, False),
        ({"qty": None}, False),
    ],
)
def test_only_a_plain_order_is_adopted(stage: Stage, changes: dict[str, Any], is_plain: bool) -> None:
    with stage.tx() as tx:
        assert (orders.adopt(tx, stage.account, THEIRS | changes, "test") is not None) is is_plain


def test_an_adopted_order_keeps_its_terms(stage: Stage) -> None:
    with stage.tx() as tx:
        owner = orders.adopt(tx, stage.account, {**THEIRS, "extended_hours": True, "notional": "7"}, "ann")
    assert owner is not None
    row = stage.row("trade_decisions", owner.decision_id)
    assert (row["quantity"], row["notional"], row["limit_price"], row["time_in_force"]) == (
        "5",
        None,
        "100",
        "gtc",
    )
    assert (row["extended_hours"], row["strategy_name"], row["actor"], row["adopted"]) == (
        1,
        "manual",
        "ann",
        1,
    )
    with stage.tx() as tx:
        other = orders.adopt(
            tx, stage.account, THEIRS | {"id": "t2", "client_order_id": "t2", "time_in_force": None}, "ann"
        )
    assert other is not None
    assert stage.row("trade_decisions", other.decision_id)["time_in_force"] == "day"
    assert "order_of_another_log" not in stage.alerts()


def test_an_order_with_another_stores_tradelog_id_is_alerted(stage: Stage) -> None:
    with stage.tx() as tx:
        orders.adopt(tx, stage.account, THEIRS | {"client_order_id": "tl-abc"}, "test")
    assert stage.alerts() == ["order_of_another_log"]


@pytest.mark.parametrize(("known", "now_"), [(None, "2041-03-06T15:00:00Z"), ("2041-03-06T17:00:00Z", None)])
def test_without_a_time_on_both_sides_no_answer_is_older(stage: Stage, known: Any, now_: Any) -> None:
    decision_id, execution_id = stage.decide(), None
    execution_id = stage.attempt(decision_id, "unknown")
    order = {"id": "one", "client_order_id": "c", "symbol": "AAPL", "status": "new", "filled_qty": "0"}
    apply(stage, Owner(execution_id, decision_id), {**order, "updated_at": known})
    later = {**order, "status": "canceled", "updated_at": now_}
    assert orders.is_update(stage.writer.connection, later)


@pytest.mark.parametrize(
    ("times", "submitted_at"),
    [
        ({"submitted_at": "2041-03-06T16:00:00Z", "created_at": "2041-03-06T15:00:00Z"}, "2041-03-06T16"),
        ({"submitted_at": None, "created_at": "2041-03-06T15:00:00Z"}, "2041-03-06T15"),
        ({"created_at": "2041-03-06T15:00:00Z"}, "2041-03-06T15"),
        ({}, None),
    ],
)
def test_when_an_order_was_submitted(stage: Stage, times: dict[str, Any], submitted_at: str | None) -> None:
    decision_id = stage.decide()
    execution_id = stage.attempt(decision_id, "unknown")
    order = {"id": "one", "client_order_id": "c", "symbol": "AAPL", "status": "new", "filled_qty": "0"}
    apply(stage, Owner(execution_id, decision_id), order | times)
    result = stage.row("trade_executions", execution_id)["submitted_at"]
    assert (result and result[:13]) == submitted_at


@pytest.mark.parametrize(("quantity", "is_told"), [("10", True), ("6", False)])
def test_a_replacement_is_read_back_when_it_is_first_seen(stage: Stage, quantity: str, is_told: bool) -> None:
    """The broker may keep the old quantity."""
    decision_id = stage.decide(order_type="limit", limit_price="100")
    old = stage.attempt(decision_id, "replaced", alpaca_order_id="one")
    new = stage.attempt(decision_id, "sending", client_order_id="tl-2", replaces=old, quantity="6")
    order = {
        **{"id": "two", "client_order_id": "tl-2", "symbol": "AAPL", "status": "new", "filled_qty": "0"},
        **{"qty": quantity, "limit_price": "100", "stop_price": None, "time_in_force": "day"},
    }
    apply(stage, Owner(new, decision_id), order, "submit")
    assert (stage.row("trade_decisions", decision_id)["needs_attention"] is not None) is is_told
    stage.set("trade_decisions", decision_id, needs_attention=None)
    apply(stage, Owner(new, decision_id), order | {"status": "partially_filled", "filled_qty": "1"})
    assert stage.row("trade_decisions", decision_id)["needs_attention"] is None


def test_a_first_order_is_not_read_back(stage: Stage) -> None:
    decision_id = stage.decide(order_type="limit", limit_price="100")
    execution_id = stage.attempt(decision_id, "sending")
    order = {"id": "one", "client_order_id": "c", "symbol": "AAPL", "status": "new", "qty": "11"}
    apply(stage, Owner(execution_id, decision_id), order, "submit")
    assert stage.row("trade_decisions", decision_id)["needs_attention"] is None


def test_an_order_that_was_kept_without_an_owner_is_claimed_with_its_fills(stage: Stage) -> None:
    decision_id = stage.decide()
    execution_id = stage.attempt(decision_id, "unknown")
    order = {
        **{"id": "one", "client_order_id": "c", "symbol": "AAPL", "side": "buy"},
        **{"status": "partially_filled", "filled_qty": "4", "filled_avg_price": "100"},
    }
    with stage.tx() as tx:
        orders.note_foreign(tx, stage.account, order, "reconcile", None)
        orders.note_foreign(tx, stage.account, order, "reconcile", None)
    with stage.tx() as tx:
        orders.apply_fills(tx, stage.account, [fill("one")])
    assert stage.alerts() == ["order_not_adopted"]
    apply(stage, Owner(execution_id, decision_id), order)
    assert stage.row("alpaca_orders", "one")["execution_id"] == execution_id
    assert stage.row("trade_executions", execution_id)["fills_quantity"] == "4"
    assert stage.value("SELECT count(*) FROM order_events") == 2
    apply(stage, Owner(execution_id, decision_id), order)
    assert stage.value("SELECT count(*) FROM order_events") == 2


@pytest.mark.parametrize(("value", "kept"), [("two", "two"), ("", None), (None, None), (5, None)])
def test_the_id_of_another_order_is_text(stage: Stage, value: Any, kept: str | None) -> None:
    order = {"id": "one", "client_order_id": "c", "status": "new", "replaces": value, "replaced_by": value}
    state = orders.state_of(order)
    assert (state["replaces"], state["replaced_by"]) == (kept, kept)


def test_legs_are_not_part_of_a_rationale(stage: Stage) -> None:
    order = {**THEIRS, "legs": [{"id": "leg"}], "hwm": "1"}
    with stage.tx() as tx:
        owner = orders.adopt(tx, stage.account, order, "ann")
    assert owner is not None
    rationale = json.loads(stage.row("trade_decisions", owner.decision_id)["decision_rationale"])
    assert set(rationale["broker_order"]) == set(THEIRS) | {"hwm"}
    assert stage.row("trade_decisions", owner.decision_id)["extended_hours"] == 0


def test_a_decision_whose_order_is_known_has_no_second_one(stage: Stage) -> None:
    """Whatever its status says: an order under its id is on record already."""
    decision_id, _, _ = placed(stage)
    own = stage.row("trade_decisions", decision_id)["client_order_id"]
    stage.set("trade_decisions", decision_id, status="cancelled")
    order = {**THEIRS, "id": "another", "client_order_id": own, "qty": "10", "time_in_force": "day"}
    with stage.tx() as tx:
        assert orders.owner_of(tx, stage.account, order) is None


# A replacement that the venue refused: the old order stands again.


def refused_replacement(stage: Stage) -> tuple[str, str, str, str]:
    """(decision, old attempt, old order, new attempt): replaced, and the replacement is rejected."""
    decision_id, old, old_order = placed(stage)
    stage.books.orders[old_order] |= {"status": "replaced", "replaced_by": "two", "updated_at": moment(1)}
    apply(stage, Owner(old, decision_id), dict(stage.books.orders[old_order]))
    new = stage.attempt(decision_id, "accepted", client_order_id="tl-2", replaces=old, quantity="10")
    order = {**stage.books.orders[old_order], "id": "two", "client_order_id": "tl-2", "replaced_by": None}
    stage.books.orders["two"] = {**order, "status": "new", "replaces": old_order, "updated_at": moment(2)}
    apply(stage, Owner(new, decision_id), dict(stage.books.orders["two"]))
    return decision_id, old, old_order, new


def reject(stage: Stage) -> None:
    stage.books.orders["two"] |= {"status": "rejected", "updated_at": moment(3)}


def test_the_old_order_is_polled_before_a_rejected_replacement_counts(stage: Stage) -> None:
    decision_id, old, old_order, new = refused_replacement(stage)
    reject(stage)
    stage.books.orders[old_order] |= {"status": "new", "replaced_by": None, "updated_at": moment(3)}
    worker = follower(stage)
    worker.tracker.poll()
    assert [path.rsplit("/", 1)[1] for path in gets(stage, "/v2/orders/")] == ["two", old_order]
    assert stage.row("trade_executions", old)["status"] == "accepted"
    assert stage.row("trade_executions", new)["status"] == "rejected"
    events = stage.rows("SELECT broker_order_id, status FROM order_events ORDER BY event_id DESC LIMIT 2")
    assert [row["status"] for row in events] == ["rejected", "new"]
    assert stage.row("trade_decisions", decision_id)["status"] == "executing"


def test_a_rejected_first_order_has_no_old_one_to_ask_for(stage: Stage) -> None:
    decision_id, _, order_id = placed(stage)
    stage.books.orders[order_id] |= {"status": "rejected", "replaces": "unheard of", "updated_at": moment(1)}
    worker = follower(stage)
    worker.tracker.poll()
    assert len(gets(stage, "/v2/orders/")) == 1
    assert stage.row("trade_decisions", decision_id)["status"] == "failed"


def test_the_old_order_is_polled_until_it_is_live_again(stage: Stage) -> None:
    """The broker calls it replaced for a while: less and less often, and then a person is asked."""
    decision_id, old, old_order, _ = refused_replacement(stage)
    reject(stage)
    worker = follower(stage)
    worker.tracker.poll()
    stage.broker.seen.clear()
    asked = []
    for _ in range(3):
        worker.tracker.poll()
        worker.tracker.poll()
        asked.append(len(gets(stage, old_order)))
        go(61)
    assert asked == [0, 1, 2]
    stage.books.orders[old_order] |= {"status": "new", "replaced_by": None, "updated_at": moment(4)}
    worker.tracker.poll()
    assert stage.row("trade_executions", old)["status"] == "accepted"
    assert stage.row("trade_decisions", decision_id)["needs_attention"] is None
    assert not worker.tracker._backoff.failures(f"old {old_order}")


def test_an_old_order_that_stays_replaced_is_for_a_person(stage: Stage) -> None:
    decision_id, _, old_order, _ = refused_replacement(stage)
    reject(stage)
    worker = follower(stage)
    for _ in range(MAX_SUCCESSOR_LOOKUPS + 2):
        worker.tracker.poll()
        go(61)
    why = stage.row("trade_decisions", decision_id)["needs_attention"]
    assert why == "replaced at the broker by two, which it does not show"
    # Once as the rejection came, and then so many times.
    assert len(gets(stage, old_order)) == 1 + MAX_SUCCESSOR_LOOKUPS
    worker.tracker.poll()
    assert len(gets(stage, old_order)) == 1 + MAX_SUCCESSOR_LOOKUPS


def test_an_old_order_that_cannot_be_had_is_for_a_person(stage: Stage) -> None:
    decision_id, _, old_order, _ = refused_replacement(stage)
    reject(stage)
    worker = follower(stage)
    worker.tracker.poll()
    del stage.books.orders[old_order]
    for _ in range(MAX_SUCCESSOR_LOOKUPS + 2):
        worker.tracker.poll()
        go(61)
    why = stage.row("trade_decisions", decision_id)["needs_attention"]
    assert why == "replaced at the broker by an order that it does not name, which it does not show"


@pytest.mark.parametrize("when", ["paused", "not due"])
def test_a_replacement_is_looked_up_when_due_and_allowed(stage: Stage, when: str) -> None:
    replaced(stage, at_broker=False)
    worker = follower(stage)
    worker.tracker.poll()
    assert len(gets(stage, "/v2/orders/two")) == 1
    if when == "paused":
        go(61)
        worker.session.pause(5)
    worker.tracker.poll()
    assert len(gets(stage, "/v2/orders/two")) == 1
    go(61)
    worker.tracker.poll()
    assert len(gets(stage, "/v2/orders/two")) == 2


@pytest.mark.parametrize("status", ["not_sent", "not_accepted", "rejected", "accepted", "filled"])
def test_an_unrecorded_replacement_is_looked_up(stage: Stage, status: str) -> None:
    """An attempt to replace that came to nothing is no successor; one of another order neither."""
    decision_id, old = replaced(stage)
    worker = follower(stage)
    apply(
        stage,
        Owner(old, decision_id),
        dict(stage.books.orders[stage.row("trade_executions", old)["alpaca_order_id"]]),
    )
    stage.attempt(decision_id, status, client_order_id="tl-2", replaces=old, quantity="10")
    other = stage.decide(symbol="MSFT")
    stage.attempt(other, "accepted", alpaca_order_id="m", replaces="exe_of_somebody_else")
    stage.broker.seen.clear()
    worker.tracker._follow_successors(decision_id)
    followed = status in ("not_sent", "not_accepted", "rejected")
    assert len(gets(stage, "/v2/orders/two")) == int(followed)


def test_few_changed_orders_are_polled_one_by_one(stage: Stage) -> None:
    ids = [placed(stage, symbol=f"S{number}", quantity="2")[2] for number in range(FEW + 2)]
    for order_id in ids[:FEW]:
        stage.books.fill(order_id, "1", "100")
    worker = follower(stage)
    worker.tracker.poll()
    assert sorted(path.rsplit("/", 1)[1] for path in gets(stage, "/v2/orders/")) == sorted(ids[:FEW])


@pytest.mark.parametrize(("status", "body"), [(500, b"[]"), (400, b"[]"), (200, b"{}")])
def test_what_is_no_page_of_orders_is_kept_and_changes_nothing(
    stage: Stage, status: int, body: bytes
) -> None:
    for number in range(FEW + 1):
        placed(stage, symbol=f"S{number}", quantity="1")
    worker = follower(stage)
    before = polls(stage)
    stage.broker.faults.append(Fault("GET", status=status, body=body))
    worker.tracker.poll()
    assert len(gets(stage)) == 1
    assert polls(stage) == before + 1


def test_the_window_of_missing_fills(stage: Stage) -> None:
    first, _, one = placed(stage, symbol="A", quantity="1")
    go(1000)
    _, _, two = placed(stage, symbol="B", quantity="1")
    stage.books.late_activities = 10**6
    began = stage.rows("SELECT started_at FROM trade_executions ORDER BY id")
    for order_id in (one, two):
        stage.books.fill(order_id, None, "100")
    worker = follower(stage)
    worker.tracker.poll()
    asked = parse_qs(urlsplit(gets(stage, "activities/FILL")[0]).query)
    # One question for both, from a minute before the first of them began.
    assert asked["after"] == [clock.later(began[0]["started_at"], -60)]
    for number in range(2, FEW + 2):
        go(4000)
        stage.broker.seen.clear()
        worker.tracker.fetch_missing_fills()
        questions = [parse_qs(urlsplit(path).query) for path in gets(stage, "activities/FILL")]
        is_late = number > FEW
        assert len(questions) == (2 if is_late else 1), number
        assert all(("until" in question) is is_late for question in questions)
    updated = stage.row("alpaca_orders", two)["updated_at"]
    assert questions[1]["until"] == [clock.later(updated, 86_400)]
    assert stage.row("trade_decisions", first)["status"] == "executed"


@pytest.mark.parametrize(("average", "kept"), [(None, None), ("99.50", "99.5"), ("", None)])
def test_a_missing_average_price_is_none(stage: Stage, average: Any, kept: str | None) -> None:
    order = {"id": "one", "client_order_id": "c", "status": "new", "filled_avg_price": average}
    assert orders.state_of(order)["filled_avg_price"] == kept


def test_the_same_answer_again_writes_nothing(stage: Stage) -> None:
    """Invariant 12: asking about a resting order for a day adds nothing."""
    decision_id, execution_id, order_id = placed(stage)
    order = told(stage, order_id)
    apply(stage, Owner(execution_id, decision_id), order)
    before = stage.value("SELECT count(*) FROM journal"), stage.value("SELECT count(*) FROM order_events")
    go(60)
    apply(stage, Owner(execution_id, decision_id), order)
    with stage.tx() as tx:
        orders.note_foreign(tx, stage.account, order, "reconcile", None)
    after = stage.value("SELECT count(*) FROM journal"), stage.value("SELECT count(*) FROM order_events")
    assert after == before
