"""What attacks on the client found: ids that meet, stores that lock in between, ways around the log."""

from __future__ import annotations

import copy
import pickle
import sqlite3
import sys
import warnings
from decimal import Decimal
from typing import Any

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient as SdkTradingClient
from alpaca.trading.enums import OrderClass
from alpaca.trading.models import Order
from alpaca.trading.requests import (
    OptionLegRequest,
    ReplaceOrderRequest,
    StopLossRequest,
    TrailingStopOrderRequest,
)

import tradelog
from tests.adopt.conftest import Make
from tests.adopt.test_record import _hurry, alerts, attempts, commands, decisions, limit, market
from tests.conftest import Cli
from tests.execute import driving
from tests.fakes.alpaca import Fault
from tests.fakes.desk import Desk, bodies
from tradelog.alpaca import TradingClient
from tradelog.config.schema import Config
from tradelog.errors import ConfigError, StoreMissing
from tradelog.execute.worker import Worker
from tradelog.store.writer import Writer

# Terms.


@pytest.mark.parametrize("trail", [{"trail_price": 1.5}, {"trail_percent": 2}])
def test_a_trailing_stop_keeps_its_trail(
    client: TradingClient, writer: Writer, trail: dict[str, Any]
) -> None:
    """Its bytes and its decision agree: the store verifies."""
    values = {"symbol": "AAPL", "qty": 1, "side": "buy", "time_in_force": "day", **trail}
    client.submit_order(TrailingStopOrderRequest(**values))
    (decision,) = decisions(writer)
    assert {name: decision[name] for name in trail} == {name: str(value) for name, value in trail.items()}


@pytest.mark.parametrize(
    "more",
    [
        {"notional": "5"},
        {"extended_hours": "true"},
        {"limit_price": "abc"},
        {"client_order_id": 7},
        {"qty": "many"},
    ],
)
def test_a_body_that_no_terms_tell_is_kept_whole(
    client: TradingClient, desk: Desk, writer: Writer, more: dict[str, Any]
) -> None:
    body = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"} | more
    desk.faults.append(Fault(status=422, body=b'{"message": "odd"}'))
    with pytest.raises(APIError):
        client.post("/orders", body)
    assert [(row["kind"], row["status"]) for row in commands(writer)] == [("order", "refused")]
    assert decisions(writer) == []


def test_an_empty_id_is_none(client: TradingClient, desk: Desk, writer: Writer) -> None:
    client.submit_order(market(client_order_id=""))
    assert bodies(desk)[0]["client_order_id"].startswith("tl-")
    assert alerts(writer) == []


# Ids that meet.


def test_a_bot_that_repeats_after_a_drop_has_one_order_of_one_decision(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker
) -> None:
    desk.faults.append(Fault(drop=True))
    with pytest.raises(requests.ConnectionError):
        client.submit_order(market(client_order_id="mine"))
    client.submit_order(market(client_order_id="mine"))
    first, second = decisions(writer)
    driving.settle(worker, writer, second["decision_id"])
    driving.settle(worker, writer, first["decision_id"])
    assert driving.state(writer, first["decision_id"]) == ("failed", "rejected", "duplicate_client_order_id")
    assert driving.state(writer, second["decision_id"])[:2] == ("executed", "filled")
    assert alerts(writer) == []


def test_the_first_that_landed_has_it_and_not_the_repeat_that_was_refused(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker
) -> None:
    desk.faults.append(Fault(accept=True, drop=True))
    with pytest.raises(requests.ConnectionError):
        client.submit_order(market(client_order_id="mine"))
    with pytest.raises(APIError):
        client.submit_order(market(client_order_id="mine"))
    worker.reconcile()
    first, second = decisions(writer)
    assert driving.settle(worker, writer, first["decision_id"])[:2] == ("executed", "filled")
    assert driving.state(writer, second["decision_id"])[0] == "failed"
    assert "outcome_unknown" not in alerts(writer)


def test_an_id_of_an_earlier_order_that_is_used_again_ends_as_refused(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker
) -> None:
    client.submit_order(market(client_order_id="daily"))
    worker.reconcile()
    desk.faults.append(Fault(accept=True, drop=True))
    with pytest.raises(requests.ConnectionError):
        client.submit_order(market(client_order_id="daily"))
    second = decisions(writer)[1]
    assert driving.settle(worker, writer, second["decision_id"])[:2] == ("failed", "rejected")
    assert driving.state(writer, decisions(writer)[0]["decision_id"])[:2] == ("executed", "filled")


@pytest.mark.parametrize("symbol", ["MSFT", "AAPL"])
def test_another_order_under_the_id_is_never_the_answer(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker, symbol: str
) -> None:
    """504, then a refusal as duplicate: the order of that id is the earlier one, and the bot hears 422."""
    client.submit_order(market(1, client_order_id="mine"))
    desk.faults.append(Fault(status=504, body=b"{}"))
    with pytest.raises(APIError) as raised:
        client.submit_order(market(7 if symbol == "MSFT" else 1, symbol, client_order_id="mine"))
    assert raised.value.status_code == 422
    worker.reconcile()
    first, second = decisions(writer)
    assert driving.state(writer, first["decision_id"])[:2] == ("executed", "filled")
    assert driving.state(writer, second["decision_id"])[2] == "duplicate_client_order_id"


# Stores that lock in between.


def test_a_retry_that_cannot_be_noted_is_remembered_all_the_same(
    client: TradingClient, desk: Desk, writer: Writer, config: Config
) -> None:
    _hurry(client)
    other = sqlite3.connect(config.store_path, isolation_level=None, check_same_thread=False)
    begun = iter([lambda: other.execute("BEGIN IMMEDIATE"), lambda: other.execute("ROLLBACK")])
    desk.faults.append(Fault(accept=True, status=504, body=b"{}"))
    desk.asked = lambda: next(begun, lambda: None)()
    with pytest.warns():
        order = client.submit_order(market(client_order_id="mine"))
    other.close()
    assert list(desk.orders) == [str(order.id)]  # type: ignore[union-attr]
    assert attempts(writer)[0]["alpaca_order_id"] == next(iter(desk.orders))


@pytest.mark.parametrize("how", ["warnings are errors", "standard error is closed"])
def test_the_bot_has_its_answer_whoever_can_be_told(
    client: TradingClient, desk: Desk, config: Config, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    _hurry(client)
    other = sqlite3.connect(config.store_path, isolation_level=None, check_same_thread=False)
    desk.asked = lambda: other.execute("BEGIN IMMEDIATE")
    with warnings.catch_warnings(), monkeypatch.context() as patch:
        warnings.simplefilter("error" if how == "warnings are errors" else "ignore")
        if how == "standard error is closed":
            patch.setattr(sys, "stderr", None)
        order = client.submit_order(market())
    other.execute("ROLLBACK")
    other.close()
    assert list(desk.orders) == [str(order.id)]  # type: ignore[union-attr]


def test_a_store_that_was_taken_away_stops_the_order(
    client: TradingClient, desk: Desk, config: Config
) -> None:
    client.submit_order(market())
    config.store_path.rename(config.store_path.with_name("away.db"))
    with pytest.raises(StoreMissing):
        client.submit_order(market())
    assert len(desk.orders) == 1
    config.store_path.with_name("away.db").rename(config.store_path)


def test_a_store_that_was_put_in_its_place_is_the_one_that_counts(
    client: TradingClient, desk: Desk, config: Config, cli: Cli
) -> None:
    """As after a restore under a bot that nobody could see."""
    import shutil

    client.submit_order(market())
    copied = config.store_path.with_name("copy.db")
    assert cli("backup", str(copied)).code == 0
    config.store_path.with_name("log.db-wal").unlink(missing_ok=True)
    config.store_path.with_name("log.db-shm").unlink(missing_ok=True)
    shutil.copy(copied, config.store_path.with_name("new.db"))
    config.store_path.with_name("new.db").replace(config.store_path)
    client.submit_order(market(symbol="MSFT"))
    found = sqlite3.connect(config.store_path)
    assert found.execute("SELECT count(*) FROM trade_decisions").fetchone()[0] == 2
    found.close()


# Ways around the log.


def test_a_query_in_the_path_is_no_way_around(
    make: Make, client: TradingClient, desk: Desk, writer: Writer
) -> None:
    body = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}
    make(mode="outbox").post("/orders?x=1", body)
    assert (desk.posts(), len(decisions(writer))) == ([], 1)
    client._request("POST", "/orders", dict(body), base_url=desk.url)
    assert [row["recorded"] for row in decisions(writer)] == [0, 1]
    client.delete("/positions?cancel_orders=true")
    assert [row["kind"] for row in commands(writer)] == ["close_all"]


@pytest.mark.parametrize("is_known", [True, False])
def test_an_id_of_an_order_that_went_past_the_log_is_taken_in_the_outbox(
    make: Make, plain: SdkTradingClient, desk: Desk, worker: Worker, is_known: bool
) -> None:
    first = plain.submit_order(market(client_order_id="k"))
    if is_known:
        worker.reconcile()
    client = make(mode="outbox")
    again = client.submit_order(market(client_order_id="k"))
    assert isinstance(again, Order)
    assert isinstance(first, Order)
    assert again.id == first.id
    with pytest.raises(APIError, match="client_order_id must be unique"):
        client.submit_order(market(3, client_order_id="k"))
    worker.drain()
    assert len(desk.orders) == 1


def test_another_order_under_an_id_of_record_mode_is_refused_in_the_outbox(make: Make, desk: Desk) -> None:
    desk.fills = False
    make().submit_order(limit(90, client_order_id="k1"))
    with pytest.raises(APIError, match="client_order_id must be unique"):
        make(mode="outbox").submit_order(limit(50, qty=99, client_order_id="k1"))


def test_what_the_outbox_holds_can_be_cancelled_after_the_mode_was_changed(
    make: Make, desk: Desk, writer: Writer, worker: Worker
) -> None:
    order = make(mode="outbox").submit_order(market())
    assert isinstance(order, Order)
    client = make()
    assert client.get_order_by_id(order.id) == order
    client.cancel_order_by_id(order.id)
    worker.drain()
    assert (desk.posts(), decisions(writer)[0]["status"]) == ([], "cancelled")


def test_all_orders_are_cancelled_those_in_the_outbox_too_after_the_mode_was_changed(
    make: Make, desk: Desk, writer: Writer, worker: Worker
) -> None:
    order = make(mode="outbox").submit_order(market(client_order_id="k"))
    make(mode="outbox", strategy="other").submit_order(market())
    client = make()
    found = client.get_order_by_client_id("k")
    assert found == order
    answers = client.cancel_orders()
    assert [str(item.id) for item in answers] == [str(order.id)]  # type: ignore[union-attr]
    worker.drain()
    assert [row["status"] for row in decisions(writer)] == ["cancelled", "executing"]
    assert len(desk.orders) == 1


def test_the_outbox_cancels_what_the_log_does_not_have_too(
    make: Make, plain: SdkTradingClient, desk: Desk, writer: Writer
) -> None:
    desk.fills = False
    plain.submit_order(limit())
    answers = make(mode="outbox").cancel_orders()
    assert len(answers) == desk.count("DELETE") == 1
    assert [(row["kind"], row["status"]) for row in commands(writer)] == [("cancel", "done")]


def test_a_replacement_with_an_id_of_its_own_is_refused_by_name(
    make: Make, desk: Desk, worker: Worker
) -> None:
    desk.fills = False
    client = make(mode="outbox")
    order = client.submit_order(limit())
    assert isinstance(order, Order)
    worker.drain()
    with pytest.raises(APIError, match="client_order_id"):
        client.replace_order_by_id(order.id, ReplaceOrderRequest(qty=3, client_order_id="new"))


# Orders of a command.


@pytest.mark.parametrize("lost", [False, True])
def test_an_order_of_a_command_that_a_worker_finds_first_is_its_child(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker, lost: bool
) -> None:
    """Between the request and the answer, or where the answer was lost."""
    client.submit_order(market(5))
    worker.reconcile()
    if lost:
        desk.faults.append(Fault(method="DELETE", accept=True, drop=True))
        with pytest.raises(requests.ConnectionError):
            client.close_position("AAPL")
        worker.reconcile()
    else:
        send = client._session.request

        def between(*given: Any, **more: Any) -> Any:
            response = send(*given, **more)
            worker.reconcile()
            return response

        client._session.request = between  # type: ignore[method-assign]
        client.close_position("AAPL")
        worker.reconcile()
    (command,) = commands(writer)
    child = decisions(writer)[1]
    assert (child["parent"], child["strategy_name"], child["recorded"]) == (
        command["command_id"],
        "my-bot",
        1,
    )
    assert alerts(writer) == []


def test_the_legs_of_a_bracket_whose_answer_was_lost_are_its_children(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker
) -> None:
    desk.faults.append(Fault(accept=True, drop=True))
    with pytest.raises(requests.ConnectionError):
        client.submit_order(market(2, order_class=OrderClass.OTO, stop_loss=StopLossRequest(stop_price=80)))
    parent = decisions(writer)[0]
    driving.settle(worker, writer, parent["decision_id"])
    worker.reconcile()
    assert [row["parent"] for row in decisions(writer)] == [None, parent["decision_id"]]
    assert "order_of_another_log" not in alerts(writer)


def test_an_order_of_several_legs_that_landed_is_not_placed_again(
    client: TradingClient, desk: Desk, writer: Writer
) -> None:
    legs = [
        OptionLegRequest(symbol=f"AAPL261218{kind}00100000", ratio_qty=1, side=side)
        for kind, side in (("C", "buy"), ("P", "sell"))
    ]
    order = limit(symbol=None, side=None, order_class=OrderClass.MLEG, legs=legs)
    client.submit_order(order)
    assert bodies(desk)[0]["client_order_id"].startswith("cmd_")
    assert [row["status"] for row in commands(writer)] == ["done"]


def test_a_reason_that_is_no_json_does_not_hold_up_a_cancel(
    client: TradingClient, desk: Desk, writer: Writer
) -> None:
    with tradelog.because({"stop": Decimal("1.5")}):
        client.cancel_orders()
    assert [row["status"] for row in commands(writer)] == ["done"]


def test_a_leg_that_is_no_order_costs_no_other(make: Make, desk: Desk, writer: Writer) -> None:
    """Of an answer's legs, one cannot be read."""
    place = desk.place

    def odd(body: dict[str, Any]) -> Any:
        status, order = place(body)
        order["legs"] = [{"id": "no order"}, *(order["legs"] or [])]
        return status, order

    desk.place = odd  # type: ignore[method-assign]
    order = market(2, order_class=OrderClass.OTO, stop_loss=StopLossRequest(stop_price=80))
    make(raw_data=True).submit_order(order)
    assert [row["parent"] is None for row in decisions(writer)] == [True, False]


# As alpaca-py's own client.


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_it_can_be_copied(make: Make, desk: Desk, writer: Writer, copied: Any) -> None:
    for mode in ("record", "off"):
        other = copied(make(mode=mode))
        other._retry_wait = 0
        other.submit_order(market())
    assert (len(desk.orders), len(decisions(writer))) == (2, 1)


def test_hooks_of_the_session_are_called(client: TradingClient) -> None:
    seen: list[int] = []
    client._session.hooks = {"response": lambda response, *_, **__: seen.append(response.status_code)}
    client.submit_order(market())
    assert seen == [200]


@pytest.mark.parametrize("arguments", [{"wait": -1}, {"wait": "abc"}])
def test_a_wait_that_is_none(make: Make, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="wait"):
        make(mode="outbox", **arguments)


def test_a_client_of_another_host_than_the_worker_s(config: Config, desk: Desk) -> None:
    from tests.fakes.alpaca import KEYS

    with pytest.raises(ConfigError, match="is at") as raised:
        TradingClient(*KEYS, url_override="http://127.0.0.1:9", config=config.path)
    assert raised.value.__notes__ == [f"hint: {raised.value.hint}"]
