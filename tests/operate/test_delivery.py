"""Delivery: tried again with growing pauses, by each channel on its own, never twice at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import Cli, process_environment, scalar
from tests.operate.conftest import Hands, Kept
from tradelog.config.schema import AlertsConfig, Config
from tradelog.operate import channels, courier, delivery
from tradelog.operate.channels import Message
from tradelog.operate.courier import Courier
from tradelog.store.opening import open_writer
from tradelog.store.writer import Writer

RULES = AlertsConfig()
NOON = datetime.fromisoformat("2026-03-06T17:00:00+00:00")
At = Callable[[str], None]


def configure(home: Path, line: str) -> None:
    """A key of [alerts]."""
    path = home / "tradelog.toml"
    text = path.read_text()
    path.write_text(f"{text}\n[alerts]\n{line}\n")


def test_a_failing_channel_is_tried_again_with_growing_pauses(hands: Hands, writer: Writer, at: At) -> None:
    kept = Kept(error="HTTP 500")
    at(NOON.isoformat())
    hands.raise_("halted", "everything")
    tried = []
    for second in range(0, 8 * 3600, 10):
        at((NOON + timedelta(seconds=second)).isoformat())
        delivery.run(writer, AlertsConfig(repeat_hours=24), [kept])
        if scalar(writer, "SELECT tries FROM alert_deliveries WHERE message_id = 1") > len(tried):
            tried.append(second)
    assert tried[:8] == [0, 30, 90, 210, 450, 930, 1890, 3810]
    assert len(tried) == delivery.MAX_TRIES
    deliveries = writer.rows("SELECT * FROM alert_deliveries WHERE message_id = 1")
    assert [(row["tries"], row["next_at"], row["error"]) for row in deliveries] == [(12, None, "HTTP 500")]


def test_a_channel_that_fails_is_visible_until_it_delivers(hands: Hands, writer: Writer, at: At) -> None:
    """An alert of its own, which the other channel tells of."""
    broken, good = Kept("broken", error="HTTP 500"), Kept("good")
    at(NOON.isoformat())
    hands.raise_("halted", "everything")

    def run(seconds: float) -> None:
        at((NOON + timedelta(seconds=seconds)).isoformat())
        delivery.run(writer, RULES, [broken, good])

    for seconds in (0, 30, 90):
        run(seconds)
    open_ = "SELECT message FROM alerts WHERE kind = 'channel_failed' AND acknowledged_at IS NULL"
    assert scalar(writer, open_) == "messages do not reach people by broken: HTTP 500"
    assert scalar(writer, "SELECT tell_error FROM alerts WHERE kind = 'halted'") == "broken: HTTP 500"
    run(91)
    assert good.titles == ["1 × halted", "1 × channel failed"]
    broken.error = None
    run(300)
    assert broken.titles == ["1 × halted", "1 × channel failed"]
    assert all(item.is_again for item in broken.messages)
    assert scalar(writer, open_) is None
    run(301)
    assert good.titles[2:] == ["resolved: 1 × channel failed"]


def test_a_channel_that_fails_is_asked_once_a_run(hands: Hands, writer: Writer, at: At) -> None:
    kept = Kept(error="HTTP 429")
    at(NOON.isoformat())
    hands.raise_("halted", "everything")
    hands.raise_("position_break", "b")
    delivery.run(writer, RULES, [kept])
    assert kept.tries == 1


def test_a_channel_that_was_taken_away_is_given_up(hands: Hands, writer: Writer, at: At) -> None:
    at(NOON.isoformat())
    hands.raise_("halted", "everything")
    delivery.run(writer, RULES, [Kept("old", error="x"), Kept("new")])
    at((NOON + timedelta(hours=1)).isoformat())
    delivery.run(writer, RULES, [Kept("new")])
    left = writer.rows("SELECT channel, error, next_at FROM alert_deliveries WHERE delivered_at IS NULL")
    assert [tuple(row.values()) for row in left] == [("old", "it is no longer configured", None)]


def test_what_a_channel_is_given(hands: Hands, writer: Writer, at: At) -> None:
    """The kind and the first subject of each message, whatever its reason is."""
    kept = Kept()
    at(NOON.isoformat())
    hands.raise_("halted", "a", "b")
    hands.raise_("trade_failed", "c")
    delivery.run(writer, RULES, [kept])
    hands.clear("halted", "a", "b")
    at((NOON + timedelta(hours=6)).isoformat())
    delivery.run(writer, RULES, [kept])
    given = [(item.reason, item.kind, item.subject, item.account, item.count) for item in kept.messages]
    assert given == [
        ("urgent", "halted", "a", "", 2),
        ("resolved", "halted", "", "", 2),
        ("digest", "trade_failed", "c", "", 1),
    ]


def test_what_is_delivered_and_what_is_not_is_told_apart(hands: Hands, writer: Writer, at: At) -> None:
    """By message, by channel and by alert."""
    broken, good = Kept("broken", error="HTTP 500"), Kept("good")
    at(NOON.isoformat())
    hands.raise_("halted", "a")
    hands.raise_("position_break", "b")
    hands.raise_("trade_failed", "waits for the digest")
    delivery.run(writer, RULES, [broken, good])
    rows = writer.rows(
        "SELECT message_id, channel, error, delivered_at IS NULL AS open FROM alert_deliveries"
    )
    assert [tuple(row.values()) for row in rows] == [
        (1, "broken", "HTTP 500", 1),
        (1, "good", None, 0),
        (2, "broken", None, 1),
        (2, "good", None, 0),
    ]
    alerts = writer.rows("SELECT told_at IS NOT NULL AS told, tell_error FROM alerts ORDER BY alert_id")
    assert [row["told"] for row in alerts] == [1, 1, 0]
    events = writer.rows(
        "SELECT json_extract(body, '$.event') AS event FROM journal WHERE body LIKE '%alerts.%'"
    )
    assert events == []  # nothing of the log itself has changed


def test_the_alert_about_a_channel_ends_with_its_delivery_and_no_other(
    hands: Hands, writer: Writer, at: At
) -> None:
    at(NOON.isoformat())
    hands.raise_("channel_failed", "good", "broken")
    hands.raise_("trade_failed", "old")
    broken, good = Kept("broken", error="HTTP 500"), Kept("good")
    delivery.run(writer, RULES, [broken, good])
    left = writer.rows("SELECT subject FROM alerts WHERE acknowledged_at IS NULL ORDER BY 1")
    assert [row["subject"] for row in left] == ["broken", "old"]
    event = scalar(writer, "SELECT json_extract(body, '$.event') FROM journal ORDER BY seq DESC LIMIT 1")
    assert event == "alerts.delivered"


def test_what_was_put_off_by_a_wrong_clock_is_due(hands: Hands, writer: Writer, at: At) -> None:
    kept = Kept(error="HTTP 500")
    at((NOON + timedelta(days=365)).isoformat())
    hands.raise_("halted", "everything")
    delivery.run(writer, RULES, [kept])
    kept.error = None
    at(NOON.isoformat())
    delivery.run(writer, RULES, [kept])
    assert "1 × halted" in kept.titles


def test_the_alert_about_a_channel_that_is_gone_ends(hands: Hands, writer: Writer, at: At) -> None:
    at(NOON.isoformat())
    hands.raise_("channel_failed", "old")
    delivery.run(writer, RULES, [Kept("new")])
    assert scalar(writer, "SELECT acknowledged_by FROM alerts") == "tradelog"


def test_two_senders_deliver_each_message_once(hands: Hands, writer: Writer, at: At, config: Config) -> None:
    at(NOON.isoformat())
    for kind in ("halted", "position_break", "cash_break", "outcome_unknown"):
        hands.raise_(kind, "x")
    both = threading.Barrier(2)
    kept = Kept()

    class Slow(Kept):
        def send(self, message: Message) -> str | None:
            both.wait(timeout=20)  # both senders are in the middle of one
            return kept.send(message)

    def run() -> None:
        other = open_writer(config.store_path)
        delivery.run(other, RULES, [Slow()])
        other.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(kept.titles) == [
        "1 × cash break",
        "1 × halted",
        "1 × outcome unknown",
        "1 × position break",
    ]


@pytest.mark.process
def test_killed_in_the_middle_it_is_sent_again_later_and_says_so(
    hands: Hands, writer: Writer, home: Path, at: At
) -> None:
    """The try is on record before it is made."""
    told = home / "told"
    script = home / "tell.sh"
    script.write_text(f'#!/bin/sh\necho "$TRADELOG_ALERT_AGAIN" >> {told}\nkill -9 $PPID\n')
    script.chmod(0o755)
    configure(home, f'command = "{script}"')
    hands.raise_("halted", "everything")
    for _ in range(2):  # the second one comes too soon
        ended = subprocess.run(
            [sys.executable, "-m", "tradelog", "alerts", "send"], env=process_environment(home), check=False
        )
        assert ended.returncode in (0, -signal.SIGKILL)
    assert told.read_text() == "False\n"
    kept = Kept(label="command")
    moment = scalar(writer, "SELECT next_at FROM alert_deliveries")
    at(moment.replace("Z", "+00:00"))
    delivery.run(writer, RULES, [kept])
    assert [item.is_again for item in kept.messages] == [True]


# The worker's side.


@pytest.fixture
def commanded(home: Path) -> Path:
    """The owner's command, which writes what it was told to a file, and the configuration that names it."""
    script = home / "tell.py"
    script.write_text(
        "import os, sys\n"
        f"with open({str(home / 'told')!r}, 'a') as told:\n"
        "    print(os.environ['TRADELOG_ALERT_KIND'], sys.stdin.read(), file=told)\n"
    )
    configure(home, f'command = "{sys.executable} {script}"')
    return home / "told"


def wait_for(path: Path) -> str:
    """What another process writes."""
    end = time.monotonic() + 60
    while not path.exists() or not path.read_text().endswith("\n"):
        assert time.monotonic() < end
        time.sleep(0.05)
    return path.read_text()


@pytest.mark.process
def test_a_worker_has_it_sent_by_another_process(
    commanded: Path, home: Path, hands: Hands, writer: Writer
) -> None:
    from tradelog.config.load import load_config

    made = Courier(writer, load_config(home / "tradelog.toml"))
    made.tick()
    assert made._process is None  # nothing to send
    hands.raise_("halted", "everything", message="by ann")
    started = time.monotonic()
    made._started = float("-inf")
    made.tick()
    assert time.monotonic() - started < 5
    assert made._process is not None
    assert made._process.pid != os.getpid()
    assert wait_for(commanded).startswith('halted {"alert_id": 1')
    made._process.wait(60)
    made.tick()
    assert (made._process, scalar(writer, "SELECT count(*) FROM alerts WHERE told_at IS NOT NULL")) == (
        None,
        1,
    )


def test_a_worker_without_channels_starts_nothing(config: Config, writer: Writer, hands: Hands) -> None:
    hands.raise_("halted", "everything")
    made = Courier(writer, config)
    made.close()
    assert made._process is None


@pytest.mark.process
def test_a_sender_that_hangs_is_ended(
    commanded: Path, home: Path, hands: Hands, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tradelog.config.load import load_config

    made = Courier(writer, load_config(home / "tradelog.toml"))
    hanging = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    )
    made._process = hanging
    made._started = 0.0
    monkeypatch.setattr(courier.clock, "running_seconds", lambda: courier.MAX_SECONDS - 1)
    made.tick()
    assert hanging.poll() is None
    monkeypatch.setattr(courier.clock, "running_seconds", lambda: courier.MAX_SECONDS + 1)
    made.tick()
    assert hanging.poll() == -signal.SIGKILL
    assert hanging.stdin is not None
    hanging.stdin.close()


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("false", "it ended with 1"),
        ("/no/such/program", "FileNotFoundError: [Errno 2] No such file or directory: '/no/such/program'"),
        ("sleep 60", "not done within 0.2 s"),
        (f"{sys.executable} -c 'import os; os.close(0)'", None),  # does not read its input
    ],
)
@pytest.mark.process
def test_a_command(command: str, error: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if "sleep" in command:
        monkeypatch.setattr(channels, "SEND_SECONDS", 0.2)
    (channel,) = channels.configured(AlertsConfig(command=command))
    message = Message(1, "urgent", "halted", "x", "", 1, "t", "b" * 10**6, "", "1 ab", is_again=False)
    assert channel.send(message) == error


@pytest.mark.process
def test_the_keys_of_the_broker_stay_here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APCA_API_SECRET_KEY", "canary")
    script = home / "env.sh"
    script.write_text(f"#!/bin/sh\nenv > {home / 'seen'}\n")
    script.chmod(0o755)
    (channel,) = channels.configured(AlertsConfig(command=str(script)))
    message = Message(1, "urgent", "halted", "x", "", 1, "t", "b", "", "1 ab", is_again=False)
    assert channel.send(message) is None
    assert "canary" not in (home / "seen").read_text()
    assert "TRADELOG_ALERT_MESSAGE=t\n" in (home / "seen").read_text()


def test_send_says_what_it_did(cli: Cli, home: Path, hands: Hands) -> None:
    assert cli("alerts", "send").out == "0 messages delivered; no channel is configured\n"
    configure(home, 'command = "false"')
    hands.raise_("halted", "everything")
    ended = cli("alerts", "send")
    assert (ended.code, ended.out) == (1, "0 messages delivered; 1 message to be tried again\n")
    assert "command: it ended with 1" in ended.err
    hands.raise_("trade_failed", "x")
    assert "1 alert for the digest or a later window" in cli("alerts", "send").out
    assert cli("alerts", "send", "--ack", "all").code == 2
    assert cli("alerts", "sned").code == 2
