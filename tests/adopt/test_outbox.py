"""Outbox mode: a bot's order is a decision, which the worker sends under the limits."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from alpaca.common.exceptions import APIError
from alpaca.trading.enums import OrderClass, OrderStatus, TimeInForce
from alpaca.trading.models import Order
from alpaca.trading.requests import (
    ClosePositionRequest,
    OptionLegRequest,
    ReplaceOrderRequest,
    StopLossRequest,
    TakeProfitRequest,
)

import tradelog
from tests.adopt.conftest import Make
from tests.adopt.test_record import attempts, commands, decisions, limit, market
from tests.conftest import scalar
from tests.execute import driving
from tests.fakes.desk import Desk, bodies
from tradelog.alpaca import TradingClient
from tradelog.config.schema import Config
from tradelog.execute.worker import Worker
from tradelog.store.writer import Writer


@pytest.fixture
def client(make: Make) -> TradingClient:
    return make(mode="outbox")


def drain(worker: Worker) -> None:
    """The worker's work until nothing more is due."""
    for _ in range(3):
        driving.go(5)
        worker.drain()
        worker.poll()


def test_an_order_is_a_decision_that_the_worker_sends(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker
) -> None:
    with tradelog.because("breakout"):
        order = client.submit_order(market(2))
    assert isinstance(order, Order)
    assert (order.status, order.symbol, order.qty) == (OrderStatus.PENDING_NEW, "AAPL", "2")
    assert desk.posts() == []
    (decision,) = decisions(writer)
    assert (decision["strategy_name"], decision["recorded"]) == ("my-bot", 0)
    assert json.loads(decision["decision_rationale"])["why"] == "breakout"
    drain(worker)
    assert [body["client_order_id"] for body in bodies(desk)] == [order.client_order_id]
    for found in (client.get_order_by_id(order.id), client.get_order_by_client_id(order.client_order_id)):
        assert isinstance(found, Order)
        assert (found.status, found.filled_qty) == (OrderStatus.FILLED, "2")


def test_an_order_that_waits_is_found(client: TradingClient) -> None:
    order = client.submit_order(market(client_order_id="mine-1"))
    assert isinstance(order, Order)
    assert order.client_order_id == "mine-1"
    for found in (client.get_order_by_id(order.id), client.get_order_by_client_id("mine-1")):
        assert isinstance(found, Order)
        assert (found.id, found.status) == (order.id, OrderStatus.PENDING_NEW)


def test_a_bot_s_own_id_makes_its_repeat_a_no_op(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker
) -> None:
    first = client.submit_order(market(client_order_id="mine-1"))
    assert client.submit_order(market(client_order_id="mine-1")) == first
    with pytest.raises(APIError, match="mine-1"):
        client.submit_order(market(3, client_order_id="mine-1"))
    drain(worker)
    again = client.submit_order(market(client_order_id="mine-1"))
    assert isinstance(again, Order)
    assert (again.status, again.client_order_id) == (OrderStatus.FILLED, "mine-1")
    assert (len(decisions(writer)), len(desk.orders)) == (1, 1)


def test_a_limit_of_tradelog_holds(client: TradingClient, desk: Desk, writer: Writer, worker: Worker) -> None:
    order = client.submit_order(market(10**6))
    drain(worker)
    assert isinstance(order, Order)
    found = client.get_order_by_id(order.id)
    assert isinstance(found, Order)
    assert found.status is OrderStatus.REJECTED
    assert decisions(writer)[0]["failure_code"] == "risk.order_notional"
    assert desk.posts() == []


def test_raw_data(make: Make) -> None:
    order = make(mode="outbox", raw_data=True).submit_order(market())
    assert isinstance(order, dict)
    assert (order["status"], order["qty"]) == ("pending_new", "1")


def test_it_waits_for_the_answer(
    make: Make, desk: Desk, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``wait_seconds``: what the worker, another process, did meanwhile is the answer."""
    from tests.fakes.alpaca import KEYS
    from tradelog.adopt import outbox
    from tradelog.execute.brokers.alpaca import AlpacaBroker
    from tradelog.store.opening import open_writer

    def work(_: float) -> None:
        other = open_writer(config.store_path)
        worker = Worker(other, AlpacaBroker(desk.url, *KEYS, connect=1, read=1), config)
        worker.start()
        drain(worker)
        other.connection.close()

    monkeypatch.setattr(outbox.time, "sleep", work)
    order = make(mode="outbox", wait=5).submit_order(market())
    assert isinstance(order, Order)
    assert order.status is OrderStatus.FILLED


@pytest.mark.parametrize(
    ("order", "named"),
    [
        (
            market(
                order_class=OrderClass.BRACKET,
                take_profit=TakeProfitRequest(limit_price=120),
                stop_loss=StopLossRequest(stop_price=80),
            ),
            "order_class",
        ),
        (market(order_class=OrderClass.OTO, stop_loss=StopLossRequest(stop_price=80)), "order_class"),
        (
            limit(
                order_class=OrderClass.OCO,
                take_profit=TakeProfitRequest(limit_price=1),
                stop_loss=StopLossRequest(stop_price=80),
            ),
            "order_class",
        ),
        (
            limit(
                symbol=None,
                side=None,
                order_class=OrderClass.MLEG,
                legs=[
                    OptionLegRequest(symbol=f"AAPL261218{kind}00100000", ratio_qty=1, side="buy")
                    for kind in "CP"
                ],
            ),
            "order_class|legs",
        ),
        (market(position_intent="buy_to_open"), "position_intent"),
    ],
)
def test_what_it_cannot_send_whole_is_refused_by_name(
    client: TradingClient, desk: Desk, writer: Writer, order: Any, named: str
) -> None:
    with pytest.raises(APIError, match=named) as raised:
        client.submit_order(order)
    assert (raised.value.status_code, "record" in raised.value.message) == (422, True)
    assert (decisions(writer), desk.posts()) == ([], [])


def test_exercising_is_refused(client: TradingClient, desk: Desk) -> None:
    with pytest.raises(APIError, match="exercise"):
        client.exercise_options_position("AAPL261218C00100000")
    assert desk.seen == []


def test_floats_are_taken_as_they_are_written(client: TradingClient, writer: Writer) -> None:
    client.submit_order(limit(90.1, qty=1.1, time_in_force=TimeInForce.DAY))
    with pytest.raises(APIError, match=r"0\.30000000000000004 is finer"):
        client.submit_order(limit(0.1 + 0.2))
    (decision,) = decisions(writer)
    assert (decision["quantity"], decision["limit_price"]) == ("1.1", "90.1")


def test_a_cancel_before_it_was_sent(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker
) -> None:
    order = client.submit_order(market())
    assert isinstance(order, Order)
    assert client.cancel_order_by_id(order.id) is None  # type: ignore[func-returns-value]
    drain(worker)
    assert (desk.posts(), decisions(writer)[0]["status"]) == ([], "cancelled")
    with pytest.raises(APIError) as raised:
        client.cancel_order_by_id(order.id)
    assert (raised.value.status_code, raised.value.code) == (422, 42210000)


def test_a_cancel_of_an_open_order(client: TradingClient, desk: Desk, writer: Writer, worker: Worker) -> None:
    desk.fills = False
    order = client.submit_order(limit())
    drain(worker)
    assert isinstance(order, Order)
    client.cancel_order_by_id(order.id)
    drain(worker)
    assert desk.count("DELETE") == 1
    assert scalar(writer, "SELECT reason FROM order_requests") == '{"why": "not given"}'


def test_a_cancel_by_the_broker_s_id(client: TradingClient, desk: Desk, worker: Worker) -> None:
    desk.fills = False
    client.submit_order(limit())
    drain(worker)
    (order_id,) = desk.orders
    client.cancel_order_by_id(order_id)
    drain(worker)
    assert desk.count("DELETE", order_id) == 1


def test_an_order_that_is_not_the_log_s_is_cancelled_at_the_broker_on_the_record(
    client: TradingClient, desk: Desk, writer: Writer
) -> None:
    desk.fills = False
    _, order = desk.place(
        {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}
    )
    client.cancel_order_by_id(order["id"])
    assert desk.count("DELETE", order["id"]) == 1
    assert [(row["kind"], row["status"]) for row in commands(writer)] == [("cancel", "done")]


def test_a_replace(client: TradingClient, desk: Desk, writer: Writer, worker: Worker) -> None:
    desk.fills = False
    order = client.submit_order(limit())
    drain(worker)
    assert isinstance(order, Order)
    client.replace_order_by_id(order.id, ReplaceOrderRequest(qty=3, limit_price=91.5))
    drain(worker)
    (sent,) = bodies(desk, "PATCH")
    assert (sent["qty"], sent["limit_price"]) == ("3", "91.5")
    with pytest.raises(APIError, match="trail"):
        client.replace_order_by_id(order.id, ReplaceOrderRequest(trail=1))
    with pytest.raises(APIError) as raised:
        client.replace_order_by_id("00000000-0000-4000-8000-000000000000", ReplaceOrderRequest(qty=3))
    assert raised.value.status_code == 404
    assert [row["status"] for row in attempts(writer)] == ["replaced", "accepted"]


def test_all_orders_are_cancelled_those_that_wait_too(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker
) -> None:
    desk.fills = False
    client.submit_order(limit())
    drain(worker)
    client.submit_order(market(symbol="MSFT"))
    answers = client.cancel_orders()
    assert [getattr(item, "status", None) for item in answers] == [200, 200]
    drain(worker)
    assert (len(desk.posts()), desk.count("DELETE")) == (1, 1)
    assert decisions(writer)[1]["status"] == "cancelled"


@pytest.mark.parametrize(
    ("options", "quantity"),
    [
        (None, "5"),
        (ClosePositionRequest(qty="2"), "2"),
        (ClosePositionRequest(percentage="30"), "1.5"),
    ],
)
def test_a_position_is_closed_by_a_decision(
    client: TradingClient,
    desk: Desk,
    writer: Writer,
    worker: Worker,
    options: ClosePositionRequest | None,
    quantity: str,
) -> None:
    client.submit_order(market(5))
    drain(worker)
    order = client.close_position("AAPL", options)
    assert isinstance(order, Order)
    decision = decisions(writer)[1]
    assert (decision["side"], decision["quantity"]) == ("sell", quantity)
    drain(worker)
    assert bodies(desk)[1]["qty"] == quantity
    assert desk.count("DELETE") == 0


def test_all_positions_are_closed(client: TradingClient, desk: Desk, writer: Writer, worker: Worker) -> None:
    for symbol in ("AAPL", "MSFT"):
        client.submit_order(market(5, symbol))
    drain(worker)
    drain(worker)
    closed = client.close_all_positions(cancel_orders=True)
    assert [getattr(item, "symbol", None) for item in closed] == ["AAPL", "MSFT"]
    drain(worker)
    drain(worker)
    assert [body["side"] for body in bodies(desk)] == ["buy", "buy", "sell", "sell"]
    assert desk.positions() == []


@pytest.mark.parametrize(
    ("asked", "status"), [("true", "cancelled"), ("false", "pending"), (None, "pending")]
)
def test_orders_are_cancelled_with_it_where_that_is_asked(
    client: TradingClient, writer: Writer, asked: str | None, status: str
) -> None:
    client.submit_order(market())
    client.delete("/positions" if asked is None else f"/positions?cancel_orders={asked}")
    assert decisions(writer)[0]["status"] == status


def test_no_position_to_close_is_the_broker_s_answer(client: TradingClient, writer: Writer) -> None:
    with pytest.raises(APIError) as raised:
        client.close_position("AAPL")
    assert raised.value.status_code == 404
    assert decisions(writer) == []


def test_reads_pass_to_the_broker(client: TradingClient, desk: Desk) -> None:
    desk.given = {"AAPL": Decimal(3)}
    assert [getattr(item, "qty", None) for item in client.get_all_positions()] == ["3"]
    assert getattr(client.get_account(), "account_number", None) == desk.account_number


def test_back_and_forth_loses_and_doubles_nothing(
    make: Make, desk: Desk, writer: Writer, worker: Worker
) -> None:
    """off, record, outbox, record, off: each order once at the broker, and once in the log from record on."""
    for mode in ("off", "record", "outbox", "record", "off"):
        make(mode=mode).submit_order(market(1, client_order_id=f"{mode}-{len(desk.orders)}"))
        drain(worker)
        worker.reconcile()
    assert len(desk.orders) == 5
    named = [(row["strategy_name"], row["recorded"], row["status"]) for row in decisions(writer)]
    assert sorted(named) == [
        *(("manual", 0, "executed"),) * 2,
        ("my-bot", 0, "executed"),
        *(("my-bot", 1, "executed"),) * 2,
    ]


def test_a_repeat_in_the_other_mode_is_no_second_order(
    make: Make, desk: Desk, writer: Writer, worker: Worker
) -> None:
    """The id that the bot gave in record mode is taken: in outbox mode it is answered, not sent again."""
    first = make(mode="record").submit_order(market(client_order_id="mine-9"))
    again = make(mode="outbox").submit_order(market(client_order_id="mine-9"))
    drain(worker)
    assert isinstance(first, Order)
    assert isinstance(again, Order)
    assert len(desk.orders) == 1
    assert len(decisions(writer)) == 1
    assert again.client_order_id == "mine-9"
    with pytest.raises(APIError, match="client_order_id must be unique"):
        client = make(mode="outbox")
        client.submit_order(market(client_order_id="mine-10"))
        drain(worker)
        make(mode="record").submit_order(market(client_order_id="mine-10"))
    assert len(desk.orders) == 2


def test_time_in_force_and_extended_hours_are_sent(client: TradingClient, desk: Desk, worker: Worker) -> None:
    client.submit_order(limit(time_in_force=TimeInForce.DAY, extended_hours=True))
    drain(worker)
    (sent,) = bodies(desk)
    assert (sent["time_in_force"], sent["extended_hours"]) == ("day", True)


def test_an_order_that_the_outbox_refused_may_be_sent_by_the_bot_itself(
    make: Make, desk: Desk, writer: Writer, worker: Worker
) -> None:
    """Its id names nothing at the broker: a limit of tradelog was in the way, and has none in record mode."""
    order = market(10**4, client_order_id="mine-11")
    make(mode="outbox").submit_order(order)
    desk.cash = Decimal(10**9)
    drain(worker)
    assert [row["failure_code"] for row in decisions(writer)] == ["risk.order_notional"]
    make(mode="record").submit_order(order)
    assert len(desk.orders) == 1


@pytest.mark.parametrize("ended", [False, True])
def test_an_order_of_the_outbox_that_the_broker_has_is_not_sent_again(
    make: Make, desk: Desk, writer: Writer, worker: Worker, ended: bool
) -> None:
    """Whether it is open, or came to nothing there: the id is taken."""
    desk.fills = False
    make(mode="outbox").submit_order(limit(client_order_id="mine-12"))
    drain(worker)
    if ended:
        desk.end(next(iter(desk.orders)), "canceled")
        drain(worker)
        assert decisions(writer)[0]["status"] == "failed"
    with pytest.raises(APIError, match="client_order_id must be unique"):
        make(mode="record").submit_order(limit(client_order_id="mine-12"))
    assert len(desk.orders) == 1


def test_another_strategy_s_key_is_no_obstacle(make: Make, desk: Desk, worker: Worker) -> None:
    make(mode="outbox", strategy="other").submit_order(market(client_order_id="mine-13"))
    drain(worker)
    make(mode="record").submit_order(market(client_order_id="mine-13"))
    assert len(desk.orders) == 2
