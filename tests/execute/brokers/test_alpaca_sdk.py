"""What we rely on inside alpaca-py. A new minor version that changes it must fail here first."""

from __future__ import annotations

import inspect
from decimal import Decimal
from importlib.metadata import version

import pytest
from alpaca.common.exceptions import APIError
from alpaca.common.rest import RESTClient

from tests.fakes.alpaca import KEYS, FakeAlpaca, Fault
from tradelog.execute.brokers.alpaca import AlpacaBroker
from tradelog.execute.brokers.base import WireOrder


def test_the_version_whose_inside_was_read() -> None:
    assert version("alpaca-py").startswith("0.44.")


def test_the_client_has_what_we_set() -> None:
    client = RESTClient("https://example.org", "k", "s")
    assert client._retry == 3
    assert 504 in client._retry_codes
    assert client._session.trust_env is True
    source = inspect.getsource(RESTClient._request)
    assert "retry = self._retry" in source
    assert '"allow_redirects": False' in source


def test_our_settings_are_in_force(fake: FakeAlpaca) -> None:
    broker = AlpacaBroker(fake.url, *KEYS, connect=1, read=1)
    assert broker._sdk._retry == 0
    assert broker._sdk._session.trust_env is False
    assert type(broker._sdk._session.get_adapter("https://x")).__name__ == "_Wire"


def test_the_stand_in_can_talk_to_the_sdk_as_shipped(fake: FakeAlpaca) -> None:
    client = RESTClient(fake.url, *KEYS)
    order = client.post(
        "/orders", {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}
    )
    assert order["status"] == "pending_new"
    assert client.get(f"/orders/{order['id']}")["status"] == "filled"
    with pytest.raises(APIError):
        RESTClient(fake.url, "wrong", "keys").get("/account")


def test_the_sdk_as_shipped_would_send_again(fake: FakeAlpaca, monkeypatch: pytest.MonkeyPatch) -> None:
    """Why its retries are off: one call, two orders."""
    monkeypatch.setattr("alpaca.common.rest.time.sleep", lambda _: None)
    fake.faults.append(Fault(accept=True, status=504))
    RESTClient(fake.url, *KEYS).post(
        "/orders", {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}
    )
    assert len(fake.orders) == 2


# The SDK imports a module of websockets that is deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_sdks_own_trading_client_can_talk_to_the_stand_in(fake: FakeAlpaca) -> None:
    """Its models read every answer: orders, lists, cancel, replace, positions, account, clock, assets."""
    from alpaca.trading.client import TradingClient
    from alpaca.trading.enums import OrderSide, QueryOrderStatus, TimeInForce
    from alpaca.trading.requests import (
        GetOrdersRequest,
        LimitOrderRequest,
        MarketOrderRequest,
        ReplaceOrderRequest,
    )

    client = TradingClient(*KEYS, url_override=fake.url)
    bought = client.submit_order(
        MarketOrderRequest(symbol="AAPL", qty=2, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
    )
    assert client.get_order_by_client_id(bought.client_order_id).status.value == "filled"
    assert client.get_clock().is_open is True
    assert client.get_asset("AAPL").fractionable is True
    assert client.get_account().account_number == fake.account_number
    fake.fills = False
    limit = LimitOrderRequest(
        symbol="MSFT", qty=3, side=OrderSide.BUY, time_in_force=TimeInForce.GTC, limit_price=90
    )
    resting = client.submit_order(limit)
    replaced = client.replace_order_by_id(resting.id, ReplaceOrderRequest(qty=2, limit_price=91))
    assert replaced.replaces == resting.id
    client.cancel_order_by_id(replaced.id)
    every = client.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL))
    assert [order.status.value for order in every] == ["canceled", "replaced", "filled"]
    assert client.get("/account/activities/FILL")[0]["qty"] == "2"
    with pytest.raises(APIError, match="order not found"):
        client.get_order_by_id("00000000-0000-0000-0000-000000000000")


def test_the_stand_in_records_its_requests(fake: FakeAlpaca) -> None:
    import requests

    AlpacaBroker(fake.url, *KEYS, connect=1, read=1).account()
    listed = requests.get(f"{fake.url}/test/requests", timeout=5).json()
    assert listed == [["GET", "/v2/account", ""]]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"qty": "9000"}, 403, "insufficient buying power"),
        ({"qty": "1.5", "time_in_force": "gtc"}, 422, "fractional orders must be DAY"),
        ({"symbol": "NOPE"}, 422, "not found"),
        ({"qty": "0"}, 422, "qty must be > 0"),
        ({"notional": "5"}, 422, "qty or notional"),
        ({"client_order_id": "x" * 129}, 422, "no more than 128"),
        ({"symbol": "HELD", "side": "sell", "qty": "6"}, 403, "insufficient qty available"),
        ({"symbol": "OPEN", "side": "sell"}, 403, "wash trade"),
    ],
)
def test_the_stand_in_refuses_what_alpaca_refuses(
    fake: FakeAlpaca, body: dict[str, str], status: int, words: str
) -> None:
    market = {"side": "buy", "type": "market", "time_in_force": "day", "qty": "1"}
    fake.place({**market, "symbol": "HELD", "qty": "5"})
    fake.fills = False
    fake.place({**market, "symbol": "OPEN"})
    answer = fake.place({**market, "symbol": "AAPL", **body})
    assert answer[0] == status
    assert words in answer[1]["message"]


def test_at_night_a_plain_order_is_accepted_and_queued(fake: FakeAlpaca) -> None:
    fake.is_open = False
    broker = AlpacaBroker(fake.url, *KEYS, connect=1, read=1)
    order = WireOrder(client_order_id="tl-1", symbol="AAPL", side="buy", quantity=Decimal(1))
    assert broker.submit(order).json()["status"] == "accepted"


def test_what_the_checks_ask_for(fake: FakeAlpaca) -> None:
    """Quotes come from the data host with the same keys, crypto's from another version of it."""
    broker = AlpacaBroker(fake.url, *KEYS, connect=1, read=1)
    quote = broker.quote("BRK.B").json()["quotes"]["BRK.B"]
    assert quote["ap"] == Decimal("100.5")
    assert broker.quote("BTC/USD").json()["quotes"]["BTC/USD"]["bp"] == Decimal("100.5")
    assert broker.asset("AAPL").json()["tradable"] is True
    assert broker.asset("NOPE").status == 404
    assert broker.clock().json()["is_open"] is True
    fake.sessions = [{"date": "2027-03-12", "open": "09:30", "close": "16:00"}]
    assert broker.calendar("2027-03-01", "2027-03-31").json() == fake.sessions
    assert [item.path.partition("?")[0] for item in fake.seen] == [
        "/v2/stocks/quotes/latest",
        "/v1beta3/crypto/us/latest/quotes",
        "/v2/assets/AAPL",
        "/v2/assets/NOPE",
        "/v2/clock",
        "/v2/calendar",
    ]


def test_quotes_come_from_the_data_host(fake: FakeAlpaca) -> None:
    broker = AlpacaBroker("http://127.0.0.1:9", *KEYS, connect=1, read=1, data_url=fake.url)
    assert broker.quote("AAPL").status == 200
    assert broker.clock().left_host is False
