"""Reconciliation: all orders whatever their state, foreign ones adopted, positions, breaks. Invariant 12."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.conftest import scalar
from tests.execute.driving import ENVIRONMENT, go, settle, state
from tests.fakes.alpaca import KEYS, FakeAlpaca, Fault
from tests.journaled import check_complete
from tradelog.config.schema import Config
from tradelog.execute.account import positions
from tradelog.execute.amend import order_requests
from tradelog.execute.brokers.alpaca import AlpacaBroker
from tradelog.execute.worker import Worker
from tradelog.store.audited import AUDITED
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer

Decide = Callable[..., str]
MARKET = {"type": "market", "time_in_force": "day", "side": "buy"}


def new_worker(writer: Writer, fake: FakeAlpaca, config: Config, role: str = "worker") -> Worker:
    return Worker(writer, AlpacaBroker(fake.url, *KEYS, connect=0.5, read=0.5), config, role)


def rows(writer: Writer) -> dict[str, int]:
    """How many rows each table has, but for the bookkeeping that is no record."""
    names = [*AUDITED, "journal"]
    names.remove("broker_accounts")
    return {name: scalar(writer, f"SELECT count(*) FROM {name}") for name in names}


def breaks(writer: Writer) -> list[tuple[Any, ...]]:
    return writer.connection.execute(
        "SELECT kind, symbol, expected, actual FROM breaks WHERE closed_at IS NULL ORDER BY id"
    ).fetchall()


def test_ten_reconciles_of_one_state_add_nothing_after_the_first(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide, config: Config
) -> None:
    fake.place({**MARKET, "symbol": "TSLA", "qty": "3"})
    fake.given = {"MSFT": Decimal(7)}
    settle(worker, writer, decide())
    worker.reconcile()
    before = rows(writer)
    for _ in range(5):
        worker.reconcile()
        go(1000)
    for _ in range(5):
        again = new_worker(writer, fake, config, "reconcile")
        again.reconcile()
    assert rows(writer) == before
    with Reader(config.store_path) as reader:
        check_complete(reader)


def test_an_order_that_is_not_ours_is_adopted_and_marked(
    worker: Worker, writer: Writer, fake: FakeAlpaca
) -> None:
    fake.place({**MARKET, "symbol": "TSLA", "qty": "3"})
    result = worker.reconcile()
    row = writer.connection.execute(
        "SELECT decision_id, strategy_name, adopted, status, quantity, client_order_id, decision_rationale"
        " FROM trade_decisions"
    ).fetchone()
    assert result.adopted == [row[0]]
    assert row[1:5] == ("manual", 1, "executed", "3")
    assert row[5] == next(iter(fake.orders.values()))["client_order_id"]
    assert json.loads(row[6])["recorded_after_the_fact"] is True
    assert scalar(writer, "SELECT quantity FROM fills") == "3"
    assert scalar(writer, "SELECT count(*) FROM alerts") == 0


@pytest.mark.parametrize(
    ("end", "decision", "execution"),
    [
        ("canceled", "cancelled", "canceled"),
        ("expired", "cancelled", "expired"),
        ("rejected", "failed", "rejected"),
        ("held", "executing", "accepted"),
        ("done_for_day", "executing", "accepted"),
    ],
)
def test_whatever_became_of_a_foreign_order_it_is_matched(
    worker: Worker, writer: Writer, fake: FakeAlpaca, end: str, decision: str, execution: str
) -> None:
    fake.fills = False
    fake.place({**MARKET, "symbol": "TSLA", "qty": "3"})
    next(iter(fake.orders.values()))["status"] = end
    worker.reconcile()
    assert state(writer, scalar(writer, "SELECT decision_id FROM trade_decisions"))[:2] == (
        decision,
        execution,
    )
    assert scalar(writer, "SELECT count(*) FROM alerts") == 0


@pytest.mark.slow
def test_hundreds_of_orders_are_seen_page_by_page(worker: Worker, writer: Writer, fake: FakeAlpaca) -> None:
    """Default listings hide closed ones and stop at 50; 500 is the largest page."""
    fake.cash = Decimal(10**9)
    for number in range(1100):
        fake.place({**MARKET, "symbol": f"S{number % 7}", "qty": "1"})
    # A whole page edge of one moment, and one that was never submitted.
    for order in list(fake.orders.values())[480:530]:
        order["submitted_at"] = "2026-01-02T03:04:05.123456789Z"
    list(fake.orders.values())[700]["updated_at"] = None
    result = worker.reconcile()
    assert len(result.adopted) == 1100
    assert scalar(writer, "SELECT count(*) FROM alpaca_orders") == 1100
    assert scalar(writer, "SELECT count(*) FROM fills") == 1100
    assert breaks(writer) == []
    listed = [item.path for item in fake.seen if item.path.startswith("/v2/orders?")]
    assert all("status=all" in path and "limit=500" in path for path in listed)
    before = rows(writer)
    worker.reconcile()
    assert rows(writer) == before


def test_the_first_reconcile_opens_the_books(worker: Worker, writer: Writer, fake: FakeAlpaca) -> None:
    assert scalar(writer, "SELECT count(*) FROM position_entries") == 0
    fake.given = {"MSFT": Decimal(7)}
    # The worker of the fixture has opened them already, on an empty account.
    worker.reconcile()
    assert breaks(writer) == [("position", "MSFT", "0", "7")]


def test_what_was_held_before_is_the_opening_position(
    writer: Writer, fake: FakeAlpaca, config: Config, decide: Decide
) -> None:
    fake.given = {"MSFT": Decimal("7.5"), "GONE": Decimal(-3)}
    decide()
    worker = new_worker(writer, fake, config)
    worker.start()
    entries = writer.connection.execute("SELECT symbol, kind, quantity FROM position_entries").fetchall()
    assert entries == [("GONE", "opening", "-3"), ("MSFT", "opening", "7.5")]
    settle(worker, writer, scalar(writer, "SELECT decision_id FROM trade_decisions"))
    worker.reconcile()
    assert breaks(writer) == []


def test_a_position_closed_elsewhere_is_an_adopted_order_and_no_break(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    settle(worker, writer, decide(quantity="10"))
    fake.place({"symbol": "AAPL", "side": "sell", "qty": "10", "type": "market", "time_in_force": "day"})
    worker.reconcile()
    assert breaks(writer) == []
    adopted = writer.connection.execute("SELECT side, status FROM trade_decisions WHERE adopted").fetchall()
    assert adopted == [("sell", "executed")]


def test_a_difference_is_a_break_that_ages_changes_and_closes(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    settle(worker, writer, decide(quantity="10"))
    fake.given = {"AAPL": Decimal(30)}
    worker.reconcile()
    assert breaks(writer) == [("position", "AAPL", "10", "40")]
    found_at = scalar(writer, "SELECT found_at FROM breaks")
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE kind = 'position_break'") == 1
    go(3600)
    fake.given = {"AAPL": Decimal(31)}
    worker.reconcile()
    assert breaks(writer) == [("position", "AAPL", "10", "41")]
    assert scalar(writer, "SELECT found_at FROM breaks") == found_at
    fake.given = {}
    worker.reconcile()
    assert breaks(writer) == []
    assert scalar(writer, "SELECT closed_why FROM breaks") == "the two agree again"
    assert scalar(writer, "SELECT acknowledged_by FROM alerts WHERE kind = 'position_break'") == "tradelog"


def test_a_break_that_a_person_explains_is_an_adjustment(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    settle(worker, writer, decide(quantity="10"))
    fake.given = {"AAPL": Decimal(30)}
    worker.reconcile()
    with writer.transaction() as tx:
        positions.accept_break(tx, scalar(writer, "SELECT break_id FROM breaks"), "4:1 split", "me")
    worker.reconcile()
    assert breaks(writer) == []
    entry = writer.connection.execute("SELECT kind, quantity, reason, actor FROM position_entries").fetchone()
    assert entry == ("adjustment", "30", "4:1 split", "me")


def test_fills_that_never_come_are_a_break_of_their_own(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    """Activities were lost at the broker: visible, and not a second time as a position."""
    fake.fills = False
    decision_id = decide(quantity="10")
    worker.drain()
    order_id = next(iter(fake.orders))
    fake.fill(order_id, "4", "100")
    fake.fill(order_id, "6", "100")
    fake.lost.add(fake.activities[0]["id"])
    worker.poll()
    assert state(writer, decision_id)[:2] == ("executed", "filled")
    worker.reconcile()
    assert breaks(writer) == []
    go(120)
    worker.reconcile()
    assert breaks(writer) == [("fills", "AAPL", "10", "6")]
    before = rows(writer)
    worker.reconcile()
    assert rows(writer) == before
    fake.lost.clear()
    worker.reconcile()
    assert breaks(writer) == []
    assert scalar(writer, "SELECT sum(quantity) FROM fills") == 10


def test_activities_out_of_order_are_recorded_once(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.fills = False
    fake.shuffled = True
    decision_id = decide(quantity="250")
    worker.drain()
    for _ in range(250):
        fake.fill(next(iter(fake.orders)), "1", "100")
    settle(worker, writer, decision_id, seconds=120)
    worker.reconcile()
    assert scalar(writer, "SELECT count(*) FROM fills") == 250
    assert breaks(writer) == []


def test_a_conflicting_fill_is_kept_once_and_alerted(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    settle(worker, writer, decide())
    fake.activities[0] |= {"qty": "1", "price": "7"}
    worker.reconcile()
    assert scalar(writer, "SELECT quantity FROM fills") == "1.5"
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE kind = 'fill_conflict'") == 1


def test_an_unknown_send_is_matched_by_its_id(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.faults.append(Fault(accept=True, drop=True))
    fake.hidden = 100
    decision_id = decide()
    worker.drain()
    assert state(writer, decision_id)[:2] == ("executing", "unknown")
    worker.reconcile()
    assert state(writer, decision_id)[:2] == ("executed", "filled")
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE acknowledged_at IS NULL") == 0
    assert len(fake.posts()) == 1


def test_another_order_under_our_id_is_alerted_and_never_adopted(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide, config: Config
) -> None:
    decision_id = decide()
    client_id = scalar(writer, "SELECT client_order_id FROM trade_decisions")
    assert worker.pretrade.claim_next() is not None
    fake.place({**MARKET, "symbol": "TSLA", "qty": "1.5", "client_order_id": client_id})
    worker.reconcile()
    assert "symbol is TSLA" in scalar(writer, "SELECT needs_attention FROM trade_decisions")
    assert state(writer, decision_id)[:2] == ("executing", "sending")
    assert scalar(writer, "SELECT count(*) FROM trade_decisions") == 1
    before = rows(writer)
    worker.reconcile()
    assert rows(writer) == before


def test_two_decisions_that_look_alike_keep_their_own_orders(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.faults.append(Fault(accept=True, drop=True))
    fake.hidden = 1
    first, second = decide(quantity="5"), decide(quantity="5")
    worker.drain()
    assert state(writer, second)[0] == "pending"
    settle(worker, writer, second)
    settle(worker, writer, first)
    pairs = writer.connection.execute(
        "SELECT d.client_order_id, o.client_order_id FROM trade_decisions d"
        " JOIN alpaca_orders o ON o.decision_id = d.decision_id"
    ).fetchall()
    assert len(pairs) == 2
    assert all(ours == theirs for ours, theirs in pairs)


def test_a_store_from_an_older_copy_does_not_send_what_was_sent(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    decision_id = decide()
    client_id = scalar(writer, "SELECT client_order_id FROM trade_decisions")
    fake.place({**MARKET, "symbol": "AAPL", "qty": "1.5", "client_order_id": client_id})
    worker.reconcile()
    assert state(writer, decision_id)[:2] == ("executed", "filled")
    worker.drain()
    assert fake.posts() == []
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE kind = 'landed_unrecorded'") == 1


@pytest.mark.slow
def test_a_break_in_the_middle_is_gone_on_with(writer: Writer, fake: FakeAlpaca, config: Config) -> None:
    fake.cash = Decimal(10**9)
    for number in range(700):
        fake.place({**MARKET, "symbol": f"S{number % 7}", "qty": "1"})
    worker = new_worker(writer, fake, config)
    worker.register()
    worker.session.ensure_bound()
    fake.faults.append(Fault("GET", path="after=2", status=503))
    first = worker.reconcile()
    assert first.missing is not None
    assert scalar(writer, "SELECT count(*) FROM position_entries") == 0
    second = worker.reconcile()
    assert second.missing is None
    assert scalar(writer, "SELECT count(*) FROM trade_decisions") == 700
    assert scalar(writer, "SELECT count(*) FROM fills") == 700


@pytest.mark.slow
def test_a_reconcile_cut_short_by_the_rate_limit_is_gone_on_with_soon(
    writer: Writer, fake: FakeAlpaca, config: Config
) -> None:
    fake.cash = Decimal(10**9)
    for number in range(1500):
        fake.place({**MARKET, "symbol": f"S{number % 7}", "qty": "1"})
    fake.rate_limit, fake.window = 32, 3600.0
    worker = new_worker(writer, fake, config)
    worker.start()
    assert scalar(writer, "SELECT completed_at FROM reconcile_marks") is None
    assert scalar(writer, "SELECT count(*) FROM broker_calls WHERE status = 429") == 0
    for _ in range(10):
        fake._window_ends = 0.0
        go(3700)
        worker.heartbeat()
    assert scalar(writer, "SELECT completed_at FROM reconcile_marks") is not None
    assert scalar(writer, "SELECT count(*) FROM fills") == 1500
    assert breaks(writer) == []


def test_legs_and_crypto_and_money(worker: Worker, writer: Writer, fake: FakeAlpaca) -> None:
    """What is no plain order is kept and told of; BTC/USD is held as BTCUSD; an order can be of money."""
    fake.place({**MARKET, "symbol": "BTC/USD", "qty": "2"})
    fake.place({**MARKET, "symbol": "TSLA", "notional": "100"})
    fake.place({**MARKET, "symbol": "SPY", "qty": "1"})
    fake.fills = False
    spread = fake.place({**MARKET, "symbol": "SPY", "qty": "1"})[1]
    fake.orders[spread["id"]] |= {"symbol": "", "side": "", "type": "", "order_class": "mleg"}
    legs = fake.place({**MARKET, "symbol": "SPY", "qty": "1"})[1]
    fake.orders[legs["id"]] |= {"qty": None, "side": ""}
    worker.reconcile()
    assert breaks(writer) == []
    kinds = {row[0] for row in writer.connection.execute("SELECT kind FROM alerts")}
    assert kinds == {"order_unreadable", "order_not_adopted"}
    before = rows(writer)
    worker.reconcile()
    assert rows(writer) == before
    assert scalar(writer, "SELECT notional FROM trade_decisions WHERE symbol = 'TSLA'") == "100"


def test_polling_many_resting_orders_for_a_day_adds_nothing(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.fills = False
    for number in range(6):
        decide(symbol=f"S{number}", quantity="1", order_type="limit", limit_price="5", time_in_force="gtc")
    worker.drain()
    worker.poll()
    before, asked = rows(writer), len(fake.seen)
    for _ in range(20):
        worker.poll()
        go(4000)
    assert rows(writer) == before
    # One page for all of them, not a question each.
    assert len(fake.seen) - asked == 20


def test_an_open_order_missing_from_the_list_is_polled_by_id(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.fills = False
    ids = [
        decide(symbol=f"S{n}", quantity="1", order_type="limit", limit_price="5", time_in_force="gtc")
        for n in range(6)
    ]
    worker.drain()
    worker.poll()
    hidden = next(iter(fake.orders))
    fake.unlisted.add(hidden)
    worker.poll()
    assert state(writer, ids[0])[:2] == ("executing", "accepted")
    fake.fill(hidden, None, "5")
    worker.poll()
    assert state(writer, ids[0])[:2] == ("executed", "filled")


def test_many_changes_at_once_share_one_page_of_evidence(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.fills = False
    for number in range(8):
        decide(symbol=f"S{number}", quantity="1", order_type="limit", limit_price="5", time_in_force="gtc")
    worker.drain()
    worker.poll()
    calls = scalar(writer, "SELECT count(*) FROM broker_calls")
    for order_id in list(fake.orders):
        fake.fill(order_id, "0.5", "5")
    worker.poll()
    assert scalar(writer, "SELECT count(*) FROM broker_calls") == calls + 1
    events = writer.connection.execute(
        "SELECT count(*), count(DISTINCT call_id) FROM order_events WHERE status = 'partially_filled'"
    ).fetchone()
    assert events == (8, 1)
    assert scalar(writer, "SELECT count(*) FROM fills") == 8


# They grow with the history of the store; all else is as large as what is open now.
GROWING = ("trade_decisions", "trade_executions", "broker_calls", "alpaca_orders", "order_events", "fills")


def test_no_statement_of_the_work_scans_what_grows(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    """Every statement of sending, polling, cancelling and watching, as it ran, and its plan."""
    fake.fills = False
    ids = [
        decide(symbol=f"S{number}", quantity="4", order_type="limit", limit_price="5", time_in_force="gtc")
        for number in range(6)
    ]
    seen: set[str] = set()
    writer.connection.set_trace_callback(seen.add)
    fake.faults.append(Fault(accept=True, status=504))
    for _ in range(3):
        worker.drain()
        worker.poll()
        go(20)
    fake.fill(next(iter(fake.orders)), None, "5")
    with writer.transaction() as tx:
        order_requests.request_cancel(tx, ids[1], None, "test")
        order_requests.request_replace(tx, ids[2], {"limit_price": Decimal(6)}, None, "test")
    for _ in range(3):
        worker.drain()
        worker.poll()
        worker.heartbeat()
    writer.connection.set_trace_callback(None)
    statements = [sql for sql in seen if sql.lstrip().startswith(("SELECT", "UPDATE"))]
    assert len(statements) > 50
    partial = {
        row[0]
        for row in writer.connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND sql LIKE '% WHERE %'"
        )
    }
    for sql in statements:
        plan = [row[3] for row in writer.connection.execute("EXPLAIN QUERY PLAN " + sql)]
        for step in plan:
            table = step.split()[1] if step.startswith("SCAN ") else ""
            aliases = {"d": "trade_decisions", "e": "trade_executions", "o": "alpaca_orders"}
            is_partial = any(name in step for name in partial)
            assert aliases.get(table, table) not in GROWING or is_partial, (sql, plan)


@pytest.mark.parametrize("change", ["bust", "lives again"])
def test_a_bust_is_recorded_once_and_alerted(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide, change: str
) -> None:
    decision_id = decide(quantity="10")
    settle(worker, writer, decision_id)
    order = next(iter(fake.orders.values()))
    order |= {"filled_qty": "7"} if change == "bust" else {"status": "new"}
    order["updated_at"] = "2999-01-01T00:00:00Z"
    worker.reconcile()
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE kind = 'order_went_back'") == 1
    assert scalar(writer, "SELECT filled_quantity FROM trade_executions") == "10"
    before = rows(writer)
    for _ in range(3):
        worker.reconcile()
        worker.poll()
    assert rows(writer) == before


def test_an_acknowledged_oddity_raises_no_second_alert(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    settle(worker, writer, decide())
    fake.activities[0] |= {"price": "7"}
    fake.fills = False
    odd = fake.place({**MARKET, "symbol": "SPY", "qty": "1"})[1]
    fake.orders[odd["id"]]["symbol"] = ""
    worker.reconcile()
    assert scalar(writer, "SELECT count(*) FROM alerts") == 2
    with writer.transaction() as tx:
        for number in (1, 2):
            tx.update("alerts", str(number), {"acknowledged_at": tx.now, "acknowledged_by": "me"})
        tx.journal("alerts.acknowledged", "all")
    before = rows(writer)
    worker.reconcile()
    assert rows(writer) == before


def test_accepted_missing_fills_stay_accepted(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    decide(quantity="10")
    fake.lost.add("all of them")
    fake.late_activities = 10_000
    worker.drain()
    worker.poll()
    go(120)
    worker.reconcile()
    assert breaks(writer) == [("fills", "AAPL", "10", "0")]
    with writer.transaction() as tx:
        positions.accept_break(tx, scalar(writer, "SELECT break_id FROM breaks"), "lost", "me")
    before = rows(writer)
    worker.reconcile()
    assert rows(writer) == before
    # And the symbol is compared again.
    fake.given = {"AAPL": Decimal(5)}
    worker.reconcile()
    assert breaks(writer) == [("position", "AAPL", "10", "15")]


def test_an_absurd_time_hides_no_order(worker: Worker, writer: Writer, fake: FakeAlpaca) -> None:
    for moment in ("2999-01-01T00:00:00Z", "0001-01-01T00:00:00Z"):
        odd = fake.place({**MARKET, "symbol": "TSLA", "qty": "1"})[1]
        fake.orders[odd["id"]]["submitted_at"] = moment
        worker.reconcile()
    fake.place({**MARKET, "symbol": "MSFT", "qty": "1"})
    assert len(worker.reconcile().adopted) == 1


def test_two_first_reconciles_open_the_books_once(writer: Writer, fake: FakeAlpaca, config: Config) -> None:
    fake.given = {"MSFT": Decimal(7)}
    first, second = new_worker(writer, fake, config), new_worker(writer, fake, config)
    ask = first.session.broker.positions

    def after_the_other() -> Any:
        if not scalar(writer, "SELECT opened_at FROM reconcile_marks"):
            second.reconcile()
        return ask()

    first.session.broker.positions = after_the_other  # type: ignore[method-assign]
    first.reconcile()
    assert scalar(writer, "SELECT count(*) FROM position_entries") == 1


def test_a_fill_while_the_books_are_opened_is_no_opening_position(
    writer: Writer, fake: FakeAlpaca, config: Config
) -> None:
    fake.fills = False
    resting = fake.place({**MARKET, "symbol": "TSLA", "qty": "3"})[1]
    worker = new_worker(writer, fake, config)
    ask = worker.session.broker.positions

    def fill_first() -> Any:
        if not fake.activities:
            fake.fill(resting["id"], None, "100")
            fake.late_activities = 3
        return ask()

    worker.session.broker.positions = fill_first  # type: ignore[method-assign]
    worker.reconcile()
    worker.reconcile()
    assert scalar(writer, "SELECT count(*) FROM position_entries") == 0
    assert breaks(writer) == []


def test_many_orders_that_only_fills_tell_of_are_all_found(
    worker: Worker, writer: Writer, fake: FakeAlpaca
) -> None:
    for number in range(150):
        order = fake.place({**MARKET, "symbol": f"S{number % 5}", "qty": "1"})[1]
        fake.unlisted.add(order["id"])
    for item in fake.activities:
        item["transaction_time"] = f"2026-01-{1 + fake.activities.index(item) % 20:02d}T15:00:00.5Z"
    fake.activities[0]["order_id"] = "00000000-0000-0000-0000-000000000000"
    worker.reconcile()
    worker.reconcile()
    assert scalar(writer, "SELECT count(*) FROM fills") == 149
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE kind = 'fills_without_order'") == 1


def test_an_order_replaced_by_one_that_came_first_ends(
    worker: Worker, writer: Writer, fake: FakeAlpaca
) -> None:
    fake.fills = False
    old = fake.place({**MARKET, "symbol": "TSLA", "qty": "3"})[1]["id"]
    new = fake.replace(old, {"limit_price": "9"})[1]["id"]
    # Hidden until the other is on record.
    fake.unlisted.add(old)
    worker.reconcile()
    fake.unlisted.clear()
    worker.reconcile()
    states = dict(
        writer.connection.execute(
            "SELECT o.broker_order_id, d.status FROM alpaca_orders o"
            " JOIN trade_decisions d ON d.decision_id = o.decision_id"
        ).fetchall()
    )
    assert states == {old: "cancelled", new: "executing"}
    before = rows(writer)
    for _ in range(5):
        worker.poll()
    assert rows(writer) == before


@pytest.mark.parametrize("named", ["gone", None])
def test_a_successor_that_the_broker_does_not_show_is_given_to_a_person(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide, named: str | None
) -> None:
    fake.fills = False
    decide(order_type="limit", limit_price="5", quantity="1")
    worker.drain()
    next(iter(fake.orders.values())).update(status="replaced", replaced_by=named)
    for _ in range(8):
        worker.poll()
        go(70)
    assert "does not show" in scalar(writer, "SELECT needs_attention FROM trade_decisions")
    before = rows(writer)
    worker.poll()
    assert rows(writer) == before


def test_fills_of_an_order_that_is_no_decision_count(
    worker: Worker, writer: Writer, fake: FakeAlpaca
) -> None:
    short = fake.place({**MARKET, "symbol": "TSLA", "side": "sell", "qty": "3"})[1]
    fake.orders[short["id"]]["side"] = "sell_short"
    fake.activities[0]["side"] = "sell_short"
    worker.reconcile()
    assert scalar(writer, "SELECT count(*) FROM trade_decisions") == 0
    assert scalar(writer, "SELECT execution_id IS NULL FROM fills") == 1
    assert breaks(writer) == []


def test_reconcile_as_a_command(worker: Worker, cli: Any, fake: FakeAlpaca, writer: Writer) -> None:
    fake.place({**MARKET, "symbol": "TSLA", "qty": "3"})
    result = cli("reconcile", "--json", **ENVIRONMENT)
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert (told["orders"], len(told["adopted"]), told["fills"]) == (1, 1, 1)
    fake.given = {"MSFT": Decimal(1)}
    broken = cli("reconcile", **ENVIRONMENT)
    assert broken.code == 6
    assert "MSFT" in broken.out
    held = cli("positions", "--json")
    assert held.code == 6
    told = json.loads(held.out)
    assert {row["symbol"]: (row["expected"], row["broker"]) for row in told["positions"]} == {
        "MSFT": ("0", "1"),
        "TSLA": ("3", "3"),
    }
    accepted = cli("resolve", told["breaks"][0]["break_id"], "--accept", "--why", "transferred in")
    assert accepted.code == 0, accepted.err
    assert cli("positions").code == 0
