"""The daily maintenance: each step on its own, once a day, one page, exit 6 where a step failed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.conftest import ROOT, Cli, Ended, cli_in, findings, furnished, process_environment, scalar
from tests.fakes.alpaca import FakeAlpaca
from tradelog.config.load import load_config
from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.store.writer import Writer
from tradelog.upkeep import maintenance
from tradelog.upkeep.maintenance import Outcome

Decide = Callable[..., str]
pytestmark = pytest.mark.process


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


@pytest.fixture
def home(tmp_path: Path, elsewhere: Path) -> Path:
    """The simulated broker; fetches nothing, and is due all day."""
    folder = furnished(tmp_path)
    with (folder / "tradelog.toml").open("a") as stream:
        stream.write(
            f'[maintenance]\nat = "00:00"\nfetch = []\nheads = "{elsewhere}/heads"\nbackup = "{elsewhere}/"\n'
        )
    return folder


@pytest.fixture
def config(home: Path) -> Config:
    return load_config(home / "tradelog.toml")


def names(told: dict[str, object]) -> list[tuple[object, object]]:
    return [(step["name"], step["outcome"]) for step in told["steps"]]  # type: ignore[attr-defined]


def change(home: Path, old: str, new: str) -> None:
    path = home / "tradelog.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_day(cli: Cli, writer: Writer, elsewhere: Path, config: Config) -> None:
    assert cli("decide", "buy", "1", "AAPL", "--why", "x").code == 0
    ended = cli("maintenance", "--json")
    assert ended.code == 0, ended
    told = json.loads(ended.out)
    assert names(told) == [
        ("reconcile", "done"),
        ("expire", "done"),
        ("verify", "done"),
        ("head", "done"),
        ("backup", "done"),
        ("archive", "done"),
        ("digest", "done"),
    ]
    assert (told["day"], told["status"]) == (clock.market_today().isoformat(), "completed")
    (copy,) = elsewhere.glob("*.db")
    assert findings(copy) == ()
    assert len((elsewhere / "heads").read_text().splitlines()) == 1
    assert findings(config.store_path) == ()
    row = writer.rows("SELECT status, ended_at IS NULL AS open, steps FROM maintenance_runs")[0]
    assert (row["status"], row["open"], len(json.loads(row["steps"]))) == ("completed", 0, 7)
    shown = json.loads(cli("show", told["maintenance_id"], "--json").out)["maintenance"]
    assert [step["name"] for step in shown["steps"]] == [name for name, _ in names(told)]


def test_its_page(cli: Cli) -> None:
    assert cli("decide", "buy", "1", "AAPL", "--why", "x").code == 0
    ended = cli("maintenance")
    lines = ended.out.splitlines()
    assert lines[0] == f"# Maintenance of {clock.market_today()}  completed"
    assert lines[1] == "name\toutcome\tseconds\tsaid"
    assert any(line.startswith("expire\tdone\t") and line.endswith("0 decisions expired") for line in lines)
    assert any(line.startswith(f"# {clock.market_today():%A}") for line in lines), ended.out
    assert "decisions\t1: 1 pending" in ended.out


def test_once_a_day_whatever_calls_it(
    cli: Cli, writer: Writer, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = json.loads(cli("maintenance", "--json").out)
    again = cli("maintenance", "--json")
    told = json.loads(again.out)
    assert (again.code, told["is_new"], told["maintenance_id"]) == (0, False, first["maintenance_id"])
    assert "as it ran before" in cli("maintenance").out
    assert cli("maintenance", "--quiet") == Ended(0, "", "")
    assert len(list(elsewhere.glob("*.db"))) == 1
    tomorrow = clock.now() + timedelta(days=1)
    monkeypatch.setattr(clock, "now", lambda: tomorrow)
    assert json.loads(cli("maintenance", "--json").out)["is_new"] is True
    assert scalar(writer, "SELECT count(DISTINCT day) FROM maintenance_runs") == 2


@pytest.mark.slow
def test_two_that_call_it_at_once_run_it_once(home: Path, writer: Writer, elsewhere: Path) -> None:
    command = [sys.executable, "-m", "tradelog", "maintenance", "--quiet"]
    started = [
        subprocess.Popen(command, env=process_environment(home), stdout=subprocess.PIPE) for _ in range(3)
    ]
    for process in started:
        process.communicate(timeout=120)
    assert [process.returncode for process in started] == [0, 0, 0]
    assert scalar(writer, "SELECT count(*) FROM maintenance_runs") == 1
    assert len(list(elsewhere.glob("*.db"))) == 1


def test_a_step_that_fails_stops_no_other(
    cli: Cli, home: Path, writer: Writer, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(home, "fetch = []", 'fetch = ["congress", "committees"]')
    change(home, f"{elsewhere}/heads", "/no/such/place/heads")
    with (home / "tradelog.toml").open("a") as stream:
        stream.write('[sources.congress-legislators]\nbase_url = "http://127.0.0.1:9"\n')
    ended = cli("maintenance")
    assert ended.code == 6
    assert "3 steps failed: fetch congress, fetch committees, head" in ended.err
    assert "tradelog fetch congress" in ended.err
    assert "fetch congress\tfailed\t" in ended.out
    assert "QUIVER_API_KEY" in ended.out
    assert "backup\tdone\t" in ended.out
    assert len(list(elsewhere.glob("*.db"))) == 1
    open_ = "SELECT subject FROM alerts WHERE kind = 'task_failed' AND acknowledged_at IS NULL ORDER BY 1"
    assert [row["subject"] for row in writer.rows(open_)] == [
        "maintenance: fetch committees",
        "maintenance: fetch congress",
        "maintenance: head",
    ]
    # What is mended ends its alert.
    change(home, "/no/such/place/heads", f"{elsewhere}/heads")
    change(home, 'fetch = ["congress", "committees"]', 'fetch = ["congress"]')
    tomorrow = clock.now() + timedelta(days=1)
    monkeypatch.setattr(clock, "now", lambda: tomorrow)
    assert cli("maintenance", "--quiet").code == 6
    assert [row["subject"] for row in writer.rows(open_)] == [
        "maintenance: fetch committees",
        "maintenance: fetch congress",
    ]


@pytest.mark.tampered
def test_a_store_that_does_not_verify_is_urgent_and_not_backed_up(
    cli: Cli, writer: Writer, elsewhere: Path
) -> None:
    assert cli("decide", "buy", "1", "AAPL", "--why", "x").code == 0
    writer.connection.execute("DROP TRIGGER trade_decisions_intent")
    writer.connection.execute("UPDATE trade_decisions SET quantity = '999'")
    ended = cli("maintenance")
    assert ended.code == 6
    assert "2 steps failed: verify, backup" in ended.err
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE kind = 'evidence_broken'") == 1
    assert list(elsewhere.glob("*.db")) == []


def test_the_kept_heads_are_held_against_the_journal(cli: Cli, elsewhere: Path) -> None:
    (elsewhere / "heads").write_text(f"999999 {'ab' * 32} 1 then\n")
    told = json.loads(cli("maintenance", "--json").out)
    assert ("verify", "failed") in names(told)
    assert ("head", "failed") in names(told)


def test_what_waits_too_long_is_expired(cli: Cli, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("decide", "buy", "1", "AAPL", "--why", "x").code == 0
    later = clock.now() + timedelta(hours=2)
    monkeypatch.setattr(clock, "now", lambda: later)
    told = json.loads(cli("maintenance", "--json").out)
    assert {step["name"]: step["said"] for step in told["steps"]}["expire"] == "1 decision expired"
    assert scalar(writer, "SELECT failure_code FROM trade_decisions") == "expired_unsent"


def test_what_is_not_configured_is_skipped(cli: Cli, home: Path, elsewhere: Path) -> None:
    change(home, f'heads = "{elsewhere}/heads"\nbackup = "{elsewhere}/"\n', "")
    told = json.loads(cli("maintenance", "--json").out)
    skipped = [(step["name"], step["said"]) for step in told["steps"] if step["outcome"] == "skipped"]
    assert skipped == [
        ("head", "[maintenance] heads names no place"),
        ("backup", "[maintenance] backup names no place"),
    ]
    assert told["status"] == "completed"


def test_a_step_that_hangs_is_left(config: Config, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "STEP_SECONDS", 0.05)
    done = maintenance.run(config, writer)
    assert {step.said for step in done.steps if step.outcome is Outcome.FAILED} == {"not done within 0.05 s"}
    assert [step.name for step in done.steps][-1] == "digest"


@pytest.mark.parametrize(
    ("host", "pid", "is_new"), [(None, 999_999_999, True), (None, None, False), ("elsewhere", 1, False)]
)
def test_one_that_died_is_begun_anew(
    cli: Cli, writer: Writer, host: str | None, pid: int | None, is_new: bool
) -> None:
    """One that is alive, and one of another host that nobody can tell of, run on."""
    with pytest.MonkeyPatch.context() as patch, writer.transaction() as tx:
        if host is not None:
            patch.setattr(socket, "gethostname", lambda: host)
        if pid is not None:
            patch.setattr(os, "getpid", lambda: pid)
        maintenance._begin(tx, "mnt_0000000000000000", clock.market_today().isoformat(), "cron")
    assert json.loads(cli("maintenance", "--json").out)["is_new"] is is_new
    statuses = [row["status"] for row in writer.rows("SELECT status FROM maintenance_runs ORDER BY id")]
    assert statuses == (["abandoned", "completed"] if is_new else ["running"])


def test_not_before_its_time(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch, writer: Writer) -> None:
    change(home, 'at = "00:00"', 'at = "18:00"')
    day = clock.market_today()
    zone = ZoneInfo("America/New_York")
    early = datetime(day.year, day.month, day.day, 17, 59, tzinfo=zone).astimezone(ZoneInfo("UTC"))
    monkeypatch.setattr(clock, "now", lambda: early)
    assert cli("maintenance").out == "not before 18:00 of the market's day\n"
    assert cli("maintenance", "--quiet") == Ended(0, "", "")
    assert scalar(writer, "SELECT count(*) FROM maintenance_runs") == 0
    monkeypatch.setattr(clock, "now", lambda: early + timedelta(minutes=1))
    assert cli("maintenance", "--quiet").code == 0
    assert scalar(writer, "SELECT count(*) FROM maintenance_runs") == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('at = "6pm"', "is no time of day"),
        ('fetch = ["senate"]', "is not known"),
        ("keep = 0", "keep must be above 0"),
        ('heads = ""', "must be a text"),
    ],
)
def test_wrong_configuration(tmp_path: Path, line: str, said: str) -> None:
    folder = furnished(tmp_path)
    with (folder / "tradelog.toml").open("a") as stream:
        stream.write(f"[maintenance]\n{line}\n")
    ended = cli_in(folder)("maintenance")
    assert (ended.code, said in ended.err) == (4, True), ended


# The examples.


@pytest.mark.slow
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo", "Pacific/Auckland"])
@pytest.mark.parametrize("day", ["2026-03-06", "2026-07-03", "2026-11-02"])
def test_the_crontab_is_right_in_any_zone(tmp_path: Path, zone: str, day: str) -> None:
    """Lines that ask for a time of the market, run each hour as the cron of a machine runs them."""
    guarded = [
        line.split("* * * *", 1)
        for line in (ROOT / "examples" / "crontab").read_text().splitlines()
        if "case $(" in line
    ]
    assert len(guarded) == 2
    stubs = tmp_path / "bin"
    stubs.mkdir()
    (stubs / "date").write_text('#!/bin/sh\nexec /bin/date -d "@$AT" "$@"\n')
    (stubs / "tradelog").write_text(f'#!/bin/sh\necho "$1 $AT" >> {tmp_path}/ran\n')
    for stub in stubs.iterdir():
        stub.chmod(0o755)
    midnight = datetime.fromisoformat(f"{day}T00:00:00+00:00")
    for hour in range(-24, 48):
        for minute, command in guarded:
            at = midnight + timedelta(hours=hour, minutes=int(minute))
            subprocess.run(
                ["/bin/sh", "-c", command.strip().replace("\\%", "%")],
                env={"PATH": f"{stubs}:/bin:/usr/bin", "TZ": zone, "AT": str(int(at.timestamp()))},
                check=True,
            )
    ran = [line.split() for line in (tmp_path / "ran").read_text().splitlines()]
    market = ZoneInfo("America/New_York")
    times = {(name, f"{datetime.fromtimestamp(int(at), market):%H:%M}") for name, at in ran}
    assert times == {("run-strategy", "09:35"), ("digest", "17:45")}
    days = {datetime.fromtimestamp(int(at), market).isoweekday() for _, at in ran}
    assert days <= {1, 2, 3, 4, 5}


def test_the_timer_and_its_service_fit() -> None:
    timer = (ROOT / "examples" / "tradelog-maintenance.timer").read_text()
    service = (ROOT / "examples" / "tradelog-maintenance.service").read_text()
    assert "OnCalendar=*-*-* 18:05 America/New_York" in timer
    assert "Persistent=true" in timer
    assert "tradelog maintenance" in service


def test_with_a_broker_that_refuses_the_keys(tmp_path: Path, fake: FakeAlpaca, elsewhere: Path) -> None:
    folder = furnished(tmp_path)
    with (folder / "tradelog.toml").open("a") as stream:
        stream.write(
            f'[broker]\nname = "alpaca"\nbase_url = "{fake.url}"\n[maintenance]\nat = "00:00"\nfetch = []\n'
        )
    run = cli_in(folder)
    assert run("decide", "buy", "1", "AAPL", "--why", "x").code == 0
    wrong = {"APCA_API_KEY_ID": "no", "APCA_API_SECRET_KEY": "no"}
    told = json.loads(run("maintenance", "--json", **wrong).out)
    assert [name for name, outcome in names(told) if outcome == "failed"] == ["reconcile"]


def test_what_a_step_prints_and_raises_ends_no_other(
    cli: Cli, home: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(home, f'backup = "{elsewhere}/"', "backup = \"| printf '\\\\377'\"")
    monkeypatch.setattr(maintenance, "_expire", lambda *_: 1 / 0)
    told = json.loads(cli("maintenance", "--json").out)
    outcomes = dict(names(told))
    assert (outcomes["expire"], outcomes["backup"], outcomes["digest"]) == ("failed", "done", "done")
    assert {step["name"]: step["said"] for step in told["steps"]}["expire"].startswith("ZeroDivisionError")


def test_the_copies_of_another_store_stay(cli: Cli, elsewhere: Path) -> None:
    """Of the same name, in the same folder."""
    assert cli("decide", "buy", "1", "AAPL", "--why", "x").code == 0
    for number in range(3):
        path = elsewhere / f"log-2020010{number + 1}T000000000000Z.db"
        path.write_text("another's")
        path.with_name(f"{path.name}.head").write_text(f"5 {'ab' * 32} 5 then\n")
    assert cli("backup", f"{elsewhere}/", "--keep", "1").code == 0
    assert cli("backup", f"{elsewhere}/", "--keep", "1").code == 0
    assert len(list(elsewhere.glob("log-2020*.db"))) == 3
    assert len(list(elsewhere.glob("log-*.db"))) == 4
