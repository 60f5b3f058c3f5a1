"""A bot's process that is killed, that forks, or that finds another alpaca-py; and what people are shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tradelog
from tests.adopt.conftest import Make
from tests.adopt.test_record import alerts, attempts, commands, decisions, limit, market
from tests.conftest import Cli, process_environment, scalar
from tests.execute import driving
from tests.fakes.alpaca import KEYS, Fault
from tests.fakes.desk import Desk
from tradelog.alpaca import TradingClient
from tradelog.config.schema import Config
from tradelog.execute.worker import Worker
from tradelog.store.writer import Writer

BOT = f"""
import os, signal, sys
from alpaca.trading.requests import MarketOrderRequest
from tradelog.alpaca import TradingClient

client = TradingClient(*{KEYS!r}, url_override=os.environ["DESK"])


def submit(symbol):
    return client.submit_order(MarketOrderRequest(symbol=symbol, qty=1, side="buy", time_in_force="day"))
"""


def start(home: Path, desk: Desk, more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BOT + more],
        env=process_environment(home, DESK=desk.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.process
def test_killed_between_the_record_and_the_request(
    home: Path, desk: Desk, writer: Writer, worker: Worker
) -> None:
    """kill -9 when the order is on record and not on the wire: looked up, found absent, never submitted."""
    ended = start(
        home,
        desk,
        "client._session.request = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\nsubmit('AAPL')\n",
    )
    ended.communicate(timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert [row["status"] for row in attempts(writer)] == ["sending"]
    assert desk.posts() == []
    (decision,) = decisions(writer)
    driving.go(10)  # past the lease
    assert driving.settle(worker, writer, decision["decision_id"]) == (
        "failed",
        "not_accepted",
        "not_placed",
    )
    assert desk.posts() == []


@pytest.mark.process
def test_killed_while_the_broker_has_it(home: Path, desk: Desk, writer: Writer, worker: Worker) -> None:
    """kill -9 between request and answer: adopted as it is, once."""
    desk.faults.append(Fault(accept=True, stall=30))
    process = start(home, desk, "submit('AAPL')\n")
    while not desk.orders and process.poll() is None:
        desk.wait(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    (decision,) = decisions(writer)
    driving.go(10)
    assert driving.settle(worker, writer, decision["decision_id"])[:2] == ("executed", "filled")
    assert (len(desk.orders), len(desk.posts())) == (1, 1)
    assert alerts(writer) == []


@pytest.mark.process
def test_a_fork_records_under_itself(home: Path, desk: Desk, writer: Writer) -> None:
    """Parent and children submit with the client that they share: each order once, under its process."""
    process = start(
        home,
        desk,
        "submit('AAA')\n"
        "children = []\n"
        "for symbol in ('BBB', 'CCC'):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        client._session.close()\n"
        "        submit(symbol); submit(symbol + 'X')\n"
        "        os._exit(0)\n"
        "    children.append(child)\n"
        "submit('DDD')\n"
        "assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]\n"
        "submit('EEE')\n",
    )
    _, text = process.communicate(timeout=60)
    assert process.returncode == 0, text
    symbols = sorted(row["symbol"] for row in decisions(writer))
    assert symbols == ["AAA", "BBB", "BBBX", "CCC", "CCCX", "DDD", "EEE"]
    assert {row["status"] for row in attempts(writer)} == {"accepted"}
    assert len(desk.orders) == 7
    assert scalar(writer, "SELECT count(DISTINCT pid) FROM workers WHERE role = 'recording client'") == 3


@pytest.mark.process
@pytest.mark.parametrize(("version", "is_known"), [("0.44.9", True), ("0.45.0", False), ("0.43.2", False)])
def test_another_minor_version_of_the_sdk_is_refused(home: Path, version: str, is_known: bool) -> None:
    code = (
        "import importlib.metadata as m\n"
        "real = m.version\n"
        f"m.version = lambda name: {version!r} if name == 'alpaca-py' else real(name)\n"
        "from tradelog.alpaca import TradingClient\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=process_environment(home),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if is_known:
        assert ended.returncode == 0, ended.stderr
    else:
        assert "ConfigError" in ended.stderr
        assert f"alpaca-py is {version}, and tradelog.alpaca knows >=0.44,<0.45" in ended.stderr


# What people are shown.


def test_status_and_halt_say_that_a_bot_is_not_stopped(client: TradingClient, cli: Cli) -> None:
    client.submit_order(market())
    shown = cli("status", **driving.ENVIRONMENT)
    assert f"my-bot, process {os.getpid()}" in shown.out
    assert "sends its own orders, to which no limit and no halt applies" in shown.out.replace("\n", " ")
    halted = cli("halt", "--why", "test", **driving.ENVIRONMENT)
    assert f"not halted: my-bot, process {os.getpid()}" in halted.err
    assert 'set [client] mode = "outbox"' in halted.err
    client.submit_order(market(symbol="MSFT"))  # as it says


def test_a_bot_that_does_not_run_just_now_is_named_too(
    client: TradingClient, cli: Cli, writer: Writer
) -> None:
    """It comes again from cron."""
    client.submit_order(market())
    writer.connection.execute("UPDATE workers SET pid = 999999999")
    assert "not halted: my-bot: sends its own orders" in cli("halt", "--why", "x", **driving.ENVIRONMENT).err
    assert "my-bot: sends its own orders" in cli("status", **driving.ENVIRONMENT).out


def test_a_bot_of_the_outbox_is_stopped(make: Make, cli: Cli) -> None:
    make(mode="outbox").submit_order(market())
    assert "not halted" not in cli("halt", "--why", "test", **driving.ENVIRONMENT).err
    assert "no limit" not in cli("status", **driving.ENVIRONMENT).out


def test_the_trail_of_a_recorded_order(
    client: TradingClient, desk: Desk, writer: Writer, cli: Cli, config: Config
) -> None:
    desk.fills = False
    with tradelog.because("breakout"):
        client.submit_order(limit())
    order_id = next(iter(desk.orders))
    client.cancel_order_by_id(order_id)
    (decision,) = decisions(writer)
    (command,) = commands(writer)
    shown = cli("show", decision["decision_id"]).out
    assert "the bot sent it" in shown
    assert '"why": "breakout"' in shown
    assert f"{command['command_id']} cancel by the bot my-bot: done" in shown
    asked = cli("show", command["command_id"]).out
    assert f"cancel {order_id}" in asked
    assert "answered  HTTP 204" in asked
    told = json.loads(cli("show", "--json", command["command_id"]).out)["command"]
    assert (told["method"], told["status"], len(told["calls"])) == ("DELETE", "done", 1)


def test_a_closed_position_and_its_order_name_each_other(
    client: TradingClient, writer: Writer, cli: Cli, worker: Worker
) -> None:
    client.submit_order(market(5))
    worker.reconcile()
    client.close_position("AAPL")
    child, command = decisions(writer)[1], commands(writer)[0]
    assert f"came of\t{command['command_id']}" in cli("show", child["decision_id"]).out
    assert child["decision_id"] in cli("show", command["command_id"]).out
