"""A worker, real alpaca-py on the wire, and the stand-in that it speaks with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests import wall_clock
from tests.execute import driving
from tests.execute import stage as stage_module
from tests.execute.stage import Stage
from tests.fakes.alpaca import KEYS, FakeAlpaca
from tradelog.config.load import load_config
from tradelog.config.schema import Config
from tradelog.decide import record
from tradelog.domain import clock
from tradelog.execute.brokers.alpaca import AlpacaBroker
from tradelog.execute.worker import Worker
from tradelog.store.writer import Writer


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The product's only door to time, with what `driving.go` has put it forward."""
    running = clock.running_seconds
    driving.reset()
    monkeypatch.setattr(clock, "now", lambda: wall_clock.now() + timedelta(seconds=driving.ahead()))
    monkeypatch.setattr(clock, "running_seconds", lambda: running() + driving.ahead())


@pytest.fixture
def fake() -> Iterator[FakeAlpaca]:
    running = FakeAlpaca()
    yield running
    running.close()


@pytest.fixture
def config(home: Path, fake: FakeAlpaca) -> Config:
    (home / "tradelog.toml").write_text(
        '[store]\nurl = "sqlite:///store/log.db"\n'
        f'[broker]\nname = "alpaca"\nbase_url = "{fake.url}"\n'
        "[worker]\nconnect_timeout_seconds = 1\nread_timeout_seconds = 0.5\nlease_seconds = 5\n"
        "unknown_grace_seconds = 0.4\n"
    )
    return load_config(home / "tradelog.toml")


@pytest.fixture
def broker(fake: FakeAlpaca) -> AlpacaBroker:
    return AlpacaBroker(fake.url, *KEYS, connect=0.5, read=0.5)


@pytest.fixture
def worker(writer: Writer, broker: AlpacaBroker, config: Config) -> Worker:
    made = Worker(writer, broker, config)
    made.start()
    return made


@pytest.fixture
def stage(writer: Writer, home: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A store and a broker without HTTP between, on a clock that moves by `driving.go` alone."""
    monkeypatch.setattr(clock, "now", stage_module.now)
    monkeypatch.setattr(clock, "running_seconds", stage_module.running_seconds)
    monkeypatch.setattr(wall_clock, "now", stage_module.now)
    path = home / "stage.toml"
    path.write_text(
        '[store]\nurl = "sqlite:///store/log.db"\n[broker]\nname = "alpaca"\n'
        "[worker]\nconnect_timeout_seconds = 1\nread_timeout_seconds = 1\nlease_seconds = 5\n"
        "unknown_grace_seconds = 40\n"
    )
    return Stage(writer, load_config(path))


@pytest.fixture
def decide(writer: Writer, config: Config) -> Callable[..., str]:
    def decide(**changes: Any) -> str:
        values = {
            "strategy": "manual",
            "symbol": "AAPL",
            "side": "buy",
            "quantity": "1.5",
            "rationale": {"why": "x"},
        } | changes
        return record.record(writer, config.account, record.parse(values)).decision_id

    return decide
