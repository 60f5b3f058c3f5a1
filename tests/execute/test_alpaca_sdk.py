"""What we rely on inside alpaca-py. A new minor version that changes it must fail here first."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib.metadata import version

import pytest
from alpaca.common.exceptions import APIError
from alpaca.common.rest import RESTClient

from tests.fakes.alpaca import KEYS, FakeAlpaca, Fault
from tradelog.execute.brokers.alpaca import AlpacaBroker


@pytest.fixture
def fake() -> Iterator[FakeAlpaca]:
    running = FakeAlpaca()
    yield running
    running.close()


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
