"""What somebody new meets in the first hour: a clear answer, and the next step."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import disclosures as d
from tests.cli.terminal import show
from tests.conftest import ROOT, process_environment
from tradelog.domain import clock
from tradelog.store.reader import Reader


def as_a_user(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``tradelog ARGUMENTS`` held to the permissions of files, also where the tests run as root."""
    held = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    return subprocess.run(
        [*held, sys.executable, "-m", "tradelog", *arguments],
        capture_output=True,
        text=True,
        env=process_environment(home),
        check=False,
    )


@pytest.fixture
def store(home: Path) -> Iterator[Path]:
    """The folder of a store with one decision."""
    assert show(home, "decide", "buy", "1", "AAPL", "--why", "x").code == 0
    yield home / "store"
    (home / "store").chmod(0o700)
    (home / "store" / "log.db").chmod(0o600)


def test_a_store_in_a_folder_that_cannot_be_written_is_read(home: Path, store: Path) -> None:
    """As of a backup, or of another user's: SQLite has no room for its -shm there."""
    store.chmod(0o500)
    assert not (store / "log.db-wal").exists()
    ended = as_a_user(home, "report", "AAPL", "--json")
    assert ended.returncode == 0, ended.stderr
    assert len(json.loads(ended.stdout)["decisions"]) == 1
    refused = as_a_user(home, "decide", "buy", "1", "AAPL", "--why", "x")
    assert refused.returncode == 5
    assert refused.stderr.startswith(f"error: cannot write {store / 'log.db'}")


def test_newest_commits_that_are_out_of_reach_are_not_left_out(home: Path, store: Path) -> None:
    (store / "log.db-wal").write_bytes(b"x" * 100)
    store.chmod(0o500)
    ended = as_a_user(home, "report", "AAPL")
    assert (ended.returncode, ended.stdout) == (5, "")
    assert "its newest commits are in log.db-wal" in ended.stderr
    assert "hint: copy log.db and log.db-wal together" in ended.stderr
    store.chmod(0o700)
    (store / "log.db-wal").unlink()


def test_a_store_that_may_not_be_read_is_named(home: Path, store: Path) -> None:
    (store / "log.db").chmod(0)
    ended = as_a_user(home, "runs")
    assert (ended.returncode, ended.stderr) == (
        5,
        f"error: cannot read {store / 'log.db'}: permission denied\nhint: run as the user that owns it\n",
    )


def test_a_user_without_home_or_name_gets_an_answer(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs under a number nobody has given a name."""

    def unknown(number: int) -> object:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert show(home, "decide", "buy", "1", "AAPL", "--why", "x").code == 0
    with Reader(home / "store" / "log.db") as reader:
        assert reader.value("SELECT actor FROM trade_decisions").startswith(f"{os.getuid()}@")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    ended = show(Path(), "runs", config="")
    assert ended.code == 4
    assert ended.err.startswith("error: no tradelog.toml here")


@pytest.mark.parametrize("output", [">/dev/full", ">&-"])
def test_an_output_that_takes_nothing_is_named(home: Path, output: str) -> None:
    show(home, "decide", "buy", "1", "AAPL", "--why", "x")
    ended = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m tradelog decisions --json {output}"],
        capture_output=True,
        text=True,
        env=process_environment(home),
        check=False,
    )
    what = (
        "cannot write the output: No space left on device"
        if "full" in output
        else "standard output is closed"
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[0] == f"error: {what}"
    assert len(ended.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("failures", "--strategy", "tpyo"), 3, "error: no strategy is named 'tpyo'"),
        (("failures", "--strategy", "congres"), 3, "hint: did you mean 'congress'?"),
        (("trades", "--strategy", "tpyo"), 3, "error: no strategy is named 'tpyo'"),
        (("lots", "--symbol", "xx"), 3, "error: nothing is on record of XX"),
        (("trades", "--symbol", "XX"), 3, "error: nothing is on record of XX"),
        (("show", "dec_nope"), 3, "hint: tradelog decisions lists ids"),
        (("show", "run_nope"), 3, "hint: tradelog runs lists ids"),
        (("show", "exe_nope"), 3, "hint: tradelog trades lists ids"),
        (("show", "nope"), 3, "hint: tradelog decisions and tradelog runs list ids"),
        (("digest", "--date", "2999-01-01"), 2, "error: 2999-01-01 has not come yet"),
        (("run-strategy", "congress", "--as-of", "2999-01-01"), 2, "error: 2999-01-01 has not come yet"),
        (("report", "AAPL", "--year", "2999"), 2, "error: 2999 has not come yet"),
        (("lots", "--from", "2999-01-01"), 2, "error: 2999-01-01 has not come yet"),
        (("report",), 2, "error: missing argument 'SYMBOL'"),
        (("runs", "--tz"), 2, "error: option '--tz' requires an argument"),
        (("repot", "AAPL"), 2, "Did you mean 'report'"),
        (("status", "--config", "nosuch.toml"), 4, "error: no configuration file at nosuch.toml"),
    ],
)
def test_wrong_input_is_one_line_and_a_hint(
    home: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    show(home, "decide", "buy", "1", "AAPL", "--why", "x")
    ended = show(home, *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err
    assert re.fullmatch(r"error: [^\n]+\n(hint: [^\n]+\n)?", ended.err)


def test_what_is_known_and_has_nothing_to_list_is_no_error(home: Path) -> None:
    show(home, "decide", "buy", "1", "AAPL", "--why", "x")
    for arguments in (("lots", "--symbol", "AAPL"), ("failures", "--strategy", "manual")):
        assert show(home, *arguments).code == 0


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (
            '[broker]\napi_key = "x"',
            "error: 'api_key' in [broker]: no secret belongs into tradelog.toml\n"
            "hint: secrets come from the environment:",
        ),
        ('[sources.quiver]\ntoken = "x"', "no secret belongs into tradelog.toml"),
        ('[broker]\nAPCA_API_SECRET_KEY = "x"', "no secret belongs into tradelog.toml"),
    ],
)
def test_a_secret_in_tradelog_toml_is_refused_with_a_hint(home: Path, section: str, said: str) -> None:
    (home / "tradelog.toml").write_text(section)
    ended = show(home, "status")
    assert ended.code == 4
    assert said in ended.err
    assert "did you mean" not in ended.err


def test_a_contact_without_a_mail_address_is_named(home: Path) -> None:
    (home / "tradelog.toml").write_text('[sources.sec-edgar]\ncontact = "bob"\n')
    ended = show(home, "fetch", "insider")
    assert ended.code == 4
    assert "error: [sources.sec-edgar] contact = 'bob' holds no mail address" in ended.err


@pytest.mark.parametrize(
    ("limit", "size", "said"),
    [
        ('restricted_symbols = ["AAPL"]', "1", "AAPL is on restricted_symbols"),
        ('allowed_symbols = ["MSFT"]', "1", "AAPL is not on allowed_symbols"),
        ("max_order_quantity = 500", "600", "600 shares; the limit is 500 (max_order_quantity)"),
        ("max_order_notional = 50", "1", "$100; the limit is $50 (max_order_notional)"),
        ("max_day_notional = 50", "1", "$100 today, with this order; the limit is $50 (max_day_notional)"),
        ("max_orders_per_day = 0", "1", "orders today: 1; the limit is 0 (max_orders_per_day)"),
    ],
)
def test_a_refusal_by_a_limit_is_a_sentence(home: Path, limit: str, size: str, said: str) -> None:
    with (home / "tradelog.toml").open("a") as stream:
        stream.write(f"[risk]\n{limit}\n")
    show(home, "decide", "buy", size, "AAPL", "--why", "x")
    show(home, "run-worker", "--once")
    assert said in show(home, "decisions").out


def test_an_order_without_a_known_price_gets_a_hint(home: Path) -> None:
    show(home, "decide", "buy", "10", "NOPRICE", "--why", "x")
    show(home, "run-worker", "--once")
    for command in (("failures",), ("show", "dec"), ("status",)):
        shown = show(home, *command)
        if command[0] == "show":
            decision = json.loads(show(home, "decisions", "--json").out)["decisions"][0]["decision_id"]
            shown = show(home, "show", decision)
        assert "name a file of closes in [market] prices, or give a limit price" in shown.out, command


def test_an_empty_answer_leads_on_to_what_was_filed(home: Path) -> None:
    """History that was fetched today was not known before, and is no news to a strategy."""
    rows = [d.house_row(f"Member {n}", "AAPL", clock.parse_day("2021-11-15")) for n in range(3)]
    d.write(home / "house.csv", d.house_csv(rows))
    assert show(home, "fetch", "congress", "--file", str(home / "house.csv")).code == 0
    known = show(home, "known", "AAPL", "--at", "2022-01-01")
    assert "nothing" in known.out
    assert 'hint: 3 records filed by then; tradelog known AAPL --at "2022-01-01" --as-filed' in known.err
    assert "hint" not in show(home, "known", "AAPL", "--at", "2020-01-01").err
    ran = show(home, "run-strategy", "congress")
    assert "no signals" in ran.out
    assert "--as-of 2021-11-15 decides as of that day" in ran.err
    assert "hint" not in show(home, "run-strategy", "congress", "--as-of", "2021-11-15").err


def test_version_and_help(home: Path) -> None:
    assert re.fullmatch(r"tradelog \d+\.\d+\.\d+\n", show(home, "--version").out)
    assert show(home, "-h").out == show(home, "--help").out
    assert show(home, "status", "-h").out == show(home, "status", "--help").out
    assert show(home, "status", "-h").code == 0
    named = show(home / "nowhere", "decisions", "--config", str(home / "tradelog.toml"), "--json")
    assert "no configuration file" not in named.err


def test_the_demo_ends_with_commands_that_work_as_printed(tmp_path: Path) -> None:
    folder = tmp_path / "a home"
    demo = subprocess.run(
        [sys.executable, "-m", "tradelog", "demo", "--dir", str(folder)],
        capture_output=True,
        text=True,
        env={**process_environment(tmp_path), "TRADELOG_CONFIG": "", "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        check=False,
    )
    assert demo.returncode == 0, demo.stderr
    lines = [line.strip() for line in demo.stdout.split("Next, on the same store:\n")[1].splitlines()]
    assert lines[0].startswith("export TRADELOG_CONFIG=")
    for line in lines[1:]:
        ended = subprocess.run(
            ["bash", "-c", f"{lines[0]}; {line}"],
            capture_output=True,
            text=True,
            env={**process_environment(tmp_path), "PATH": "/usr/bin:/bin"},
            cwd=tmp_path,
            check=False,
        )
        assert ended.returncode == 0, (line, ended.stderr)
        assert ended.stdout, line


def test_make_demo_installs_the_program_only() -> None:
    text = (ROOT / "Makefile").read_text()
    (demo,) = re.findall(r"^demo: (.*)$", text, re.M)
    (program,) = re.findall(r"^\.venv/program:.*\n((?:\t.*\n)+)", text, re.M)
    assert demo == ".venv/program"
    assert "--group" not in program


@pytest.mark.parametrize(("number", "noun"), [(1, "decision"), (2, "decisions"), (0, "decisions")])
def test_nouns_agree_with_their_numbers(home: Path, number: int, noun: str) -> None:
    (home / "tradelog.toml").write_text("[strategies.manual]\napproval = true\n")
    for _ in range(number):
        show(home, "decide", "buy", "1", "AAPL", "--why", "x")
    if number:
        assert f"{number} {noun}" in show(home, "status").out
        assert f"waiting for tradelog approve: {number} {noun};" in show(home, "run-worker", "--once").err
