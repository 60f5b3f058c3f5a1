"""``[schedule]``: tasks that a running worker starts once a day in the market's time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from freezegun import freeze_time

from tests.conftest import Cli, scalar
from tradelog.config.load import load_config
from tradelog.config.schema import Task
from tradelog.operate.schedule import Timetable
from tradelog.store.writer import Writer

HEADS = "heads"


def until(done: Callable[[], bool], timetable: Timetable) -> None:
    """Let the processes end, looking after them as a worker does. They live in real time."""
    for _ in range(600):
        timetable.tick()
        if done():
            return
        time.sleep(0.05)
    raise AssertionError("not done")


def made(writer: Writer, home: Path, run: str, at: str = "17:30") -> Timetable:
    return Timetable(writer, (Task("heads", at, run),), home / "tradelog.toml")


def test_a_task_runs_once_a_day_at_the_markets_time(writer: Writer, home: Path) -> None:
    heads = home / HEADS
    with freeze_time("2026-03-06T22:29:59Z") as frozen:  # 17:29:59 in New York, in winter
        timetable = made(writer, home, f"verify --head --to {heads}")
        timetable.tick()
        assert not timetable._running
        frozen.tick(1)
        timetable.tick()
        assert timetable._running
        until(lambda: not timetable._running, timetable)
        frozen.tick(3600)
        timetable.tick()
        assert not timetable._running
        # Summer time has begun by Monday: an hour earlier in UTC.
        frozen.move_to("2026-03-09T21:29:00Z")
        until(lambda: not timetable._running, timetable)
        frozen.move_to("2026-03-09T21:30:00Z")
        timetable.tick()
        assert timetable._running
        until(lambda: not timetable._running, timetable)
    assert len(heads.read_text().splitlines()) == 3  # a worker that slept on Saturday made up for one
    assert scalar(writer, "SELECT count(*) FROM alerts") == 0


def test_one_that_fails_is_an_alert_until_it_runs_well(writer: Writer, home: Path) -> None:
    target = home / "later" / HEADS
    open_alerts = "SELECT message FROM alerts WHERE kind = 'task_failed' AND acknowledged_at IS NULL"
    with freeze_time("2026-03-06T22:00:00Z") as frozen:
        timetable = made(writer, home, f"verify --head --to {target}")
        frozen.move_to("2026-03-06T22:30:00Z")
        until(lambda: scalar(writer, open_alerts) is not None, timetable)
        text = scalar(writer, open_alerts)
        assert "[schedule.heads] tradelog verify --head --to" in text
        assert "it ended with 1: error: the head could not be written to" in text
        target.parent.mkdir()
        frozen.move_to("2026-03-07T22:30:00Z")
        until(lambda: scalar(writer, open_alerts) is None, timetable)
    assert target.exists()


def test_a_task_of_its_own_process_knows_the_configuration(cli: Cli, home: Path) -> None:
    """The worker, as a process, reads the section; what is wrong in it is named before anything starts."""
    text = (home / "tradelog.toml").read_text()
    for section, said in (
        ('[schedule.heads]\nat = "25:00"\nrun = "verify"\n', "no time of day"),
        ('[schedule.heads]\nat = "17:30"\n', "run is missing"),
        ('[schedule.heads]\nat = "17:30"\nrun = ""\n', "must be a text"),
        ('[schedule.heads]\nat = "17:30"\nrun = "verify \'"\n', "cannot be read"),
        ('[schedule.heads]\nat = "17:30"\nrun = "verify"\nevery = 1\n', "unknown key 'every'"),
        ("[schedule]\nheads = 1\n", "holds tables only"),
    ):
        (home / "tradelog.toml").write_text(text + section)
        ended = cli("run-worker", "--once")
        assert ended.code == 4, section
        assert said in ended.err, (section, ended.err)
    (home / "tradelog.toml").write_text(text + '[schedule.heads]\nat = "17:30"\nrun = "verify --head"\n')
    result = load_config(home / "tradelog.toml")
    assert result.schedule == (Task("heads", "17:30", "verify --head"),)
    assert cli("run-worker", "--once").code == 0


@pytest.mark.parametrize("at", ["00:00", "23:59"])
def test_the_ends_of_the_day(writer: Writer, home: Path, at: str) -> None:
    with freeze_time("2026-03-06T12:00:00Z") as frozen:
        timetable = made(writer, home, "verify --head", at)
        frozen.move_to("2026-03-07T05:00:00Z")
        timetable.tick()
        assert timetable._running
        until(lambda: not timetable._running, timetable)
