"""The broker's clock beside ours, at the start of each worker."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Cli
from tests.fakes.alpaca import KEYS, FakeAlpaca

ENVIRONMENT = dict(zip(("APCA_API_KEY_ID", "APCA_API_SECRET_KEY"), KEYS, strict=True))


def test_a_worker_measures_at_its_start(cli: Cli, alpaca: Path, fake: FakeAlpaca) -> None:
    assert cli("run-worker", "--once", **ENVIRONMENT).code == 0
    assert cli("reconcile", **ENVIRONMENT).code == 0
    (worker,) = json.loads(cli("status", "--json").out)["workers"]
    assert abs(worker["clock_offset_ms"]) <= 1500


def test_a_clock_offset_beyond_five_seconds_raises_an_alert(cli: Cli, alpaca: Path, fake: FakeAlpaca) -> None:
    fake.ahead_seconds = 90
    assert cli("run-worker", "--once", **ENVIRONMENT).code == 0
    (alert,) = json.loads(cli("alerts", "--json").out)["alerts"]
    assert alert["kind"] == "clock_offset"
    assert "s behind that of alpaca" in alert["message"]
    fake.ahead_seconds = 0
    assert cli("run-worker", "--once", **ENVIRONMENT).code == 0
    assert json.loads(cli("alerts", "--json").out)["alerts"] == []
