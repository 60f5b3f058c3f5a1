"""A bot with alpaca-py on the wire, the broker's stand-in, and a worker beside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alpaca.trading.client import TradingClient as SdkTradingClient

from tests import wall_clock
from tests.execute import driving
from tests.fakes.alpaca import KEYS
from tests.fakes.desk import Desk
from tradelog.alpaca import TradingClient
from tradelog.config.load import load_config
from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.execute.brokers.alpaca import AlpacaBroker
from tradelog.execute.worker import Worker
from tradelog.store.writer import Writer

Make = Callable[..., TradingClient]


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    running = clock.running_seconds
    driving.reset()
    monkeypatch.setattr(clock, "now", lambda: wall_clock.now() + timedelta(seconds=driving.ahead()))
    monkeypatch.setattr(clock, "running_seconds", lambda: running() + driving.ahead())


@pytest.fixture
def desk() -> Iterator[Desk]:
    running = Desk()
    yield running
    running.close()


@pytest.fixture
def config(home: Path, desk: Desk) -> Config:
    (home / "tradelog.toml").write_text(
        '[store]\nurl = "sqlite:///store/log.db"\n'
        f'[broker]\nname = "alpaca"\nbase_url = "{desk.url}"\n'
        "[worker]\nconnect_timeout_seconds = 1\nread_timeout_seconds = 0.5\nlease_seconds = 5\n"
        'unknown_grace_seconds = 0.4\n[client]\nstrategy = "my-bot"\n'
    )
    return load_config(home / "tradelog.toml")


@pytest.fixture
def make(config: Config, desk: Desk) -> Make:
    """Makes clients; the SDK's pause of three seconds between its attempts is left out."""

    def make(**arguments: Any) -> TradingClient:
        client = TradingClient(*KEYS, url_override=desk.url, config=config.path, **arguments)
        client._retry_wait = 0
        return client

    return make


@pytest.fixture
def client(make: Make) -> TradingClient:
    return make()


@pytest.fixture
def plain(desk: Desk) -> SdkTradingClient:
    """The SDK's own client."""
    client = SdkTradingClient(*KEYS, url_override=desk.url)
    client._retry_wait = 0
    return client


@pytest.fixture
def worker(writer: Writer, desk: Desk, config: Config) -> Worker:
    made = Worker(writer, AlpacaBroker(desk.url, *KEYS, connect=0.5, read=0.5), config)
    made.start()
    return made
