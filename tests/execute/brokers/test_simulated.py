"""The simulated broker: known prices only, honest refusals, and a file that survives."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from tradelog import prices
from tradelog.execute.brokers.base import WireOrder
from tradelog.execute.brokers.simulated import SimulatedBroker
from tradelog.execute.outbox import responses
from tradelog.execute.outbox.responses import ResponseKind

BUY = WireOrder(client_order_id="tl-1", symbol="AAPL", side="buy", quantity=Decimal(10))


@pytest.fixture
def broker(home: Path) -> Callable[[], SimulatedBroker]:
    def make(**closes: int) -> SimulatedBroker:
        known = prices.load(home / "prices.csv")
        for symbol, close in closes.items():
            bar = replace(known.last(symbol) or known.bars["AAPL"][0], close=Decimal(close))
            known = replace(known, bars={**known.bars, symbol: (bar,)})
        return SimulatedBroker(home / "broker.db", known, cash=Decimal(5000))

    return make


def kind(broker: SimulatedBroker, order: WireOrder) -> tuple[ResponseKind, str | None]:
    classification = responses.classify_submit(broker.submit(order))
    return classification.kind, classification.failure_code or (classification.order or {}).get("status")


def test_fills_at_the_price_that_the_decision_carries(broker: Callable[..., SimulatedBroker]) -> None:
    made = broker()
    assert kind(made, replace(BUY, reference_price=Decimal("90.25"))) == (ResponseKind.ORDER, "filled")
    fill = made.fills("", None).json()[0]
    assert (fill["price"], fill["qty"]) == ("90.25", "10")
    assert made.account().json()["cash"] == "4097.5"
    assert made.positions().json()[0]["qty"] == "10"


def test_no_price_no_fill(broker: Callable[..., SimulatedBroker]) -> None:
    assert kind(broker(), replace(BUY, symbol="NOPE")) == (ResponseKind.REFUSED, "no_price")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"quantity": Decimal(51)}, (ResponseKind.REFUSED, "insufficient_buying_power")),
        ({"side": "sell"}, (ResponseKind.REFUSED, "insufficient_quantity")),
        ({"time_in_force": "opg"}, (ResponseKind.REFUSED, "invalid_order")),
        ({"quantity": None, "notional": Decimal("0.00000001")}, (ResponseKind.REFUSED, "invalid_order")),
        ({"quantity": None, "notional": Decimal(250)}, (ResponseKind.ORDER, "filled")),
        ({"order_type": "limit", "limit_price": Decimal(99)}, (ResponseKind.ORDER, "new")),
        ({"order_type": "limit", "limit_price": Decimal(100)}, (ResponseKind.ORDER, "filled")),
        (
            {"order_type": "limit", "limit_price": Decimal(99), "time_in_force": "ioc"},
            (ResponseKind.ORDER, "canceled"),
        ),
        ({"order_type": "stop", "stop_price": Decimal(101)}, (ResponseKind.ORDER, "new")),
        (
            {"quantity": None, "notional": Decimal(10**18)},
            (ResponseKind.REFUSED, "insufficient_buying_power"),
        ),
        ({"order_type": "stop", "stop_price": Decimal(100)}, (ResponseKind.ORDER, "filled")),
    ],
)
def test_orders_and_refusals(
    broker: Callable[..., SimulatedBroker], change: dict[str, object], expected: tuple[ResponseKind, str]
) -> None:
    assert kind(broker(), replace(BUY, **change)) == expected  # type: ignore[arg-type]


def test_an_id_is_taken_for_ever_and_found_again(broker: Callable[..., SimulatedBroker]) -> None:
    kind(broker(), BUY)
    reopened = broker()
    assert kind(reopened, BUY)[0] is ResponseKind.DUPLICATE
    assert responses.classify_lookup(reopened.find("tl-1")).kind is ResponseKind.ORDER
    assert responses.classify_lookup(reopened.find("tl-2")).kind is ResponseKind.NOT_FOUND


def test_a_resting_order_fills_when_a_price_allows_it(broker: Callable[..., SimulatedBroker]) -> None:
    limit = replace(BUY, order_type="limit", limit_price=Decimal(99))
    order = responses.classify_submit(broker().submit(limit)).order
    assert order is not None
    assert broker().account().json()["buying_power"] == "4010"
    assert broker().order(order["id"]).json()["status"] == "new"
    assert broker(AAPL=98).order(order["id"]).json()["filled_avg_price"] == "98"
    assert broker().order(order["id"]).json()["status"] == "filled"
    assert len(broker().fills("", None).json()) == 1


@pytest.mark.parametrize("price", ["0", "-5", "x", None, "1e-17"])
def test_a_price_in_a_rationale_is_anybody_s_text(price: object, home: Path) -> None:
    from tradelog.execute.outbox.claims import wire_order

    row = dict.fromkeys(("quantity", "limit_price", "stop_price", "trail_price", "trail_percent"))
    row |= {
        "client_order_id": "x",
        "symbol": "AAPL",
        "side": "buy",
        "order_type": "market",
        "notional": "100",
    }
    row |= {"time_in_force": "day", "extended_hours": 0}
    order = wire_order(row | {"decision_rationale": json.dumps({"market_context": {"price": price}})})
    assert order.reference_price is None or order.reference_price > 0
    made = SimulatedBroker(home / "broker.db", prices.NONE, cash=Decimal(5000))
    assert made.submit(order).status == 422
