"""The afternoon of adoption: the example bots as they stand, the worker and the reports between them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.adopt.test_record import decisions
from tests.conftest import ROOT, Cli, process_environment
from tests.execute import driving
from tests.fakes.desk import Desk, bodies
from tradelog.config.schema import Config
from tradelog.execute.worker import Worker
from tradelog.store.writer import Writer

pytestmark = [pytest.mark.process, pytest.mark.slow]


def run(name: str, home: Path, desk: Desk) -> list[str]:
    ended = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "bots" / name)],
        env=process_environment(home, APCA_API_BASE_URL=desk.url, **driving.ENVIRONMENT),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_an_afternoon(
    home: Path, desk: Desk, config: Config, cli: Cli, worker: Worker, writer: Writer
) -> None:
    # On the record: it trades as before, and runs twice.
    assert run("recorded.py", home, desk) == ["AAPL: pending_new", "MSFT: pending_new"]
    assert run("recorded.py", home, desk) == []
    assert [(row["strategy_name"], row["recorded"]) for row in decisions(writer)] == [("my-bot", 1)] * 2
    worker.reconcile()
    compared = cli("compare", "--json", **driving.ENVIRONMENT)
    assert (compared.code, json.loads(compared.out)["recorded"]) == (0, 2)
    # The outbox: twice the same day is once.
    assert run("outbox.py", home, desk) == ["AAPL: pending_new", "MSFT: pending_new"]
    run("outbox.py", home, desk)
    assert (len(decisions(writer)), len(bodies(desk))) == (4, 2)
    worker.drain()
    worker.drain()
    worker.reconcile()
    assert run("outbox.py", home, desk) == ["AAPL: filled", "MSFT: filled"]
    # Anew: the key of the other bot's day is the same strategy's, and its content.
    assert [line.split(": ")[0] for line in run("new.py", home, desk)] == ["AAPL", "MSFT"]
    assert len(decisions(writer)) == 4
    compared = cli("compare", "--json", **driving.ENVIRONMENT)
    assert (compared.code, json.loads(compared.out)["outbox"]) == (0, 2)
    shown = cli("trades", "--json").out
    assert len(json.loads(shown)["trades"]) == 4
