"""The stand-in for Alpaca, and a home that is configured for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.alpaca import FakeAlpaca


@pytest.fixture
def fake() -> Iterator[FakeAlpaca]:
    running = FakeAlpaca()
    yield running
    running.close()


@pytest.fixture
def alpaca(home: Path, fake: FakeAlpaca) -> Path:
    (home / "tradelog.toml").write_text(
        f'[store]\nurl = "sqlite:///store/log.db"\n[broker]\nname = "alpaca"\nbase_url = "{fake.url}"\n'
        "[worker]\nunknown_grace_seconds = 60\nonce_seconds = 1\nconnect_timeout_seconds = 1\n"
        "read_timeout_seconds = 1\n"
    )
    return home
