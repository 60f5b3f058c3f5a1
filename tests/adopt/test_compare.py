"""tradelog compare: what differs between the broker's orders and the log, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from alpaca.trading.client import TradingClient as SdkTradingClient
from alpaca.trading.requests import ReplaceOrderRequest

from tests.adopt.conftest import Make
from tests.adopt.test_record import decisions, limit, market
from tests.conftest import Cli, Ended, scalar
from tests.execute import driving
from tests.fakes.alpaca import Fault
from tests.fakes.desk import Desk
from tradelog.alpaca import TradingClient
from tradelog.execute.brokers import base
from tradelog.execute.worker import Worker
from tradelog.store.writer import Writer


@pytest.fixture
def compare(cli: Cli) -> Any:
    def compare(*arguments: str) -> tuple[Ended, dict[str, Any]]:
        ended = cli("compare", "--json", *arguments, **driving.ENVIRONMENT)
        return ended, json.loads(ended.out) if ended.out else {}

    return compare


def differences(told: dict[str, Any]) -> list[tuple[str, str]]:
    return [(item["difference"], item["symbol"]) for item in told["differing"]]


def test_a_day_without_a_difference(
    client: TradingClient, make: Make, desk: Desk, worker: Worker, compare: Any, writer: Writer
) -> None:
    client.submit_order(market())
    desk.fills = False
    order = client.submit_order(limit())
    client.replace_order_by_id(order.id, ReplaceOrderRequest(qty=3))  # type: ignore[union-attr]
    desk.fills = True
    make(mode="outbox").submit_order(market(2, "MSFT"))
    worker.drain()
    worker.reconcile()
    before = scalar(writer, "SELECT count(*) FROM journal")
    ended, told = compare()
    assert (ended.code, told["differing"]) == (0, [])
    assert (told["orders"], told["recorded"], told["outbox"]) == (4, 3, 1)
    assert scalar(writer, "SELECT count(*) FROM journal") == before


def test_orders_that_went_around_the_log(
    client: TradingClient, plain: SdkTradingClient, worker: Worker, compare: Any
) -> None:
    plain.submit_order(market(1, "AAA"))
    worker.reconcile()
    plain.submit_order(market(1, "BBB"))
    client.submit_order(market(1, "CCC"))
    worker.reconcile()
    plain.submit_order(market(1, "DDD"))
    ended, told = compare()
    assert ended.code == 6
    assert differences(told) == [
        ("went around the log", "AAA"),
        ("went around the log", "BBB"),
        ("not in the log", "DDD"),
    ]


def test_a_state_that_differs(client: TradingClient, desk: Desk, worker: Worker, compare: Any) -> None:
    desk.fills = False
    client.submit_order(limit())
    worker.reconcile()
    desk.fill(next(iter(desk.orders)), "1", "90")
    _, told = compare()
    (item,) = told["differing"]
    assert item["difference"] == "another state"
    assert item["detail"] == "partially_filled, filled 1, at the broker; new, filled 0, in the log"
    worker.reconcile()
    assert compare()[0].code == 0


def test_terms_that_differ(client: TradingClient, desk: Desk, compare: Any, worker: Worker) -> None:
    client.submit_order(market())
    worker.reconcile()
    next(iter(desk.orders.values()))["qty"] = "7"
    _, told = compare()
    assert [item["detail"] for item in told["differing"]] == ["at the broker qty is 7, not 1"]


def test_an_unknown_outcome(client: TradingClient, desk: Desk, compare: Any, writer: Writer) -> None:
    for accept, symbol in ((True, "AAA"), (False, "BBB")):
        desk.faults.append(Fault(accept=accept, drop=True))
        with pytest.raises(requests.ConnectionError):
            client.submit_order(market(1, symbol))
    driving.go(120)
    _, told = compare()
    assert sorted(differences(told)) == [("unknown outcome", "AAA"), ("unknown outcome", "BBB")]
    assert {item["strategy"] for item in told["differing"]} == {"my-bot"}
    assert len(decisions(writer)) == 2


def test_an_order_that_the_broker_no_longer_has(
    client: TradingClient, desk: Desk, compare: Any, worker: Worker
) -> None:
    client.submit_order(market())
    worker.reconcile()
    desk.orders.clear()
    driving.go(120)
    assert differences(compare()[1]) == [("not at the broker", "AAPL")]


def test_what_never_left_is_no_difference(client: TradingClient, desk: Desk, compare: Any) -> None:
    with pytest.raises(Exception, match="insufficient"):
        client.submit_order(market(10**6))
    driving.go(120)
    ended, told = compare()
    assert (ended.code, told["differing"]) == (0, [])


def test_it_reads_all_pages(
    client: TradingClient, desk: Desk, compare: Any, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        client.submit_order(market(1, f"S{number}"))
    worker.reconcile()
    from tradelog.execute.track import comparison

    for module in (base, comparison):
        monkeypatch.setattr(module, "ORDERS_PAGE", 3)
    ended, told = compare()
    assert (ended.code, told["orders"]) == (0, 7)


def test_since(client: TradingClient, compare: Any, cli: Cli) -> None:
    client.submit_order(market())
    driving.go(9 * 86_400)
    assert compare()[1]["orders"] == 0
    for text in ("x", "2999-01-01", "2026-13-01"):
        assert cli("compare", "--since", text, **driving.ENVIRONMENT).code == 2


def test_a_broker_that_does_not_answer(client: TradingClient, desk: Desk, compare: Any) -> None:
    client.submit_order(market())
    desk.faults.append(Fault(method="GET", path="/orders", status=500, times=5))
    ended, told = compare()
    assert (ended.code, told) == (1, {})
    assert "alpaca did not list its orders: HTTP 500" in ended.err


def test_on_a_terminal(client: TradingClient, plain: SdkTradingClient, cli: Cli) -> None:
    client.submit_order(market())
    plain.submit_order(market(1, "DDD"))
    ended = cli("compare", **driving.ENVIRONMENT)
    assert "2 orders at the broker" in ended.out
    assert "1 sent by a bot and recorded, 0 sent by tradelog" in ended.out
    assert "not in the log\tbuy\tDDD" in ended.out
    assert "difference" in ended.err
