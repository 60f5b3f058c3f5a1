"""The program as a whole: its start, its errors, its configuration, its demonstration."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli, process_environment
from tradelog import prices
from tradelog.cli.app import COMMANDS
from tradelog.cli.init import template
from tradelog.config import schema
from tradelog.config.load import load_config
from tradelog.config.schema import Config
from tradelog.config.values import from_table
from tradelog.domain import ids
from tradelog.errors import ConfigError

HEAVY = {
    "sqlmodel",
    "sqlalchemy",
    "pydantic",
    "httpx",
    "requests",
    "pandas",
    "alpaca",
    "apscheduler",
    "alembic",
}


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--help"], ["report", "AAPL"], ["report", "AAPL", "--json"], ["show", "dec_"], ["runs"]),
        *(["status"], ["positions"], ["alerts"], ["resolve"], ["status", "--json"]),
        *(["failures"], ["decisions"], ["strategies"], ["strategies", "--by", "member"]),
        *(["lots", "--csv"], ["digest"]),
        ["decide", "buy", "1", "AAPL", "--why", "x"],
    ],
)
def test_reading_and_deciding_load_nothing_heavy(cli: Cli, home: Path, arguments: list[str]) -> None:
    assert cli("decide", "buy", "1", "AAPL", "--why", "x").code == 0
    script = (
        "import sys\nfrom tradelog.cli.app import run\n"
        f"code = run({arguments!r})\n"
        "print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=process_environment(home),
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    loaded = set(ended.stderr.rpartition("LOADED")[2].split())
    assert "tradelog" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("tradelog re", {"restore", "resume", "replace", "resolve", "reconcile", "report", "replay"}),
        ("tradelog lots --y", {"--year"}),
    ],
)
def test_completion_knows_the_commands_and_loads_one_at_most(
    cli: Cli, home: Path, words: str, completed: set[str]
) -> None:
    script = (
        "import atexit, sys\nfrom tradelog.cli.app import app\n"
        "atexit.register(lambda: print('LOADED', *sys.modules, file=sys.stderr))\n"
        "app(prog_name='tradelog')"
    )
    asked = {"_TRADELOG_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=process_environment(home, **asked, TYPER_USE_RICH="0"),
        check=False,
    )
    assert set(ended.stdout.split()) == completed
    loaded = ended.stderr.rpartition("LOADED")[2].split()
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()
    ours = {name for name in loaded if name.startswith("tradelog.cli.")} - {"tradelog.cli.app"}
    assert "tradelog.cli.run_worker" not in ours
    assert not (ours & {f"tradelog.cli.{module}" for module, _ in COMMANDS.values()}) - {"tradelog.cli.lots"}


def test_help_lists_every_command_and_each_has_its_own(cli: Cli) -> None:
    text = cli("--help").out
    for name, (_, summary) in COMMANDS.items():
        assert name in text
        assert summary[:20] in text
        own = cli(name, "--help")
        assert own.code == 0
        assert "Usage: tradelog" in own.out


def test_a_misspelt_command_is_helped(cli: Cli) -> None:
    ended = cli("repot")
    assert ended.code == 2
    assert "Did you mean 'report'" in ended.err


def test_tracebacks_are_for_debug_only(cli: Cli) -> None:
    assert "Traceback" not in cli("report", "NOPE").err
    assert "Traceback" in cli("--debug", "report", "NOPE").err


def test_a_reader_that_leaves_is_no_error(home: Path, cli: Cli) -> None:
    for _ in range(3):
        cli("decide", "buy", "1", "AAPL", "--why", "x" * 4000)
    shell = f"{sys.executable} -m tradelog report AAPL --json | head -c 1; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, env=process_environment(home), check=False
    )
    assert "Traceback" not in ended.stderr
    assert "error" not in ended.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[stor]", "'store'"),
        ('[store]\nurI = "x"', "'url'"),
        ('[broker]\nname = "alpaka"', "'alpaca'"),
        ('[broker]\nbase_url = "http://example.org"', "https"),
        ('[broker]\ncash = "lots"', "number"),
        ("[worker]\nlease_seconds = 10", "lease_seconds"),
        ('[report]\ntimezone = "Mars/Olympus"', "timezone"),
        ("[worker]\npoll_seconds = 0", "above 0"),
        ("[worker]\npoll_seconds = -1", "negative"),
        ('[store]\nurl = "postgresql://x"', "not supported"),
        ("[sources.congress]\nuse = 3", "must be a text"),
        ("nonsense", "no TOML"),
    ],
)
def test_a_wrong_configuration_is_named(cli: Cli, home: Path, text: str, said: str) -> None:
    (home / "tradelog.toml").write_text(text)
    ended = cli("runs")
    assert ended.code == 4
    assert said in ended.err


def test_without_a_configuration_the_next_step_is_named(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TRADELOG")}
    ended = subprocess.run(
        [sys.executable, "-m", "tradelog", "runs"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment | {"XDG_CONFIG_HOME": str(tmp_path / "none"), "HOME": str(tmp_path / "none")},
        check=False,
    )
    assert ended.returncode == 4
    assert "tradelog init" in ended.stderr


def test_init_writes_what_can_be_read_and_replaces_nothing(cli: Cli, home: Path) -> None:
    """Point 3: commented, complete, and the same as the one at the top of the project."""
    ended = cli("init", "sub/tradelog.toml")
    assert ended.code == 0, ended.err
    assert "QUIVER_API_KEY" in ended.out
    written = home / "sub" / "tradelog.toml"
    loaded = load_config(written)
    assert loaded.store_path == home / "sub" / "data" / "tradelog.db"
    assert loaded.sources.use == schema.DEFAULT_SOURCES
    assert written.read_text() == template() == (ROOT / "tradelog.toml").read_text()
    again = cli("init", "sub/tradelog.toml")
    assert again.code == 2
    assert "--force" in again.err
    assert cli("init", "sub/tradelog.toml", "--force").code == 0
    assert cli("init", "x.toml", "--congress", "propublica").code == 2


# Keys without a default, shown with an example.
UNSET = (
    "account_number",
    "prices",
    "contact",
    'base_url = "https://paper',
    'data_url = "https://data.alpaca',
)


def test_every_commented_key_of_the_template_is_a_default() -> None:
    """What the template shows is what holds without it."""
    lines = []
    for line in template().splitlines():
        body = line.removeprefix("# ")
        shows = line.startswith("# ") and (" = " in body or body.startswith("["))
        lines.append(body if shows and not body.startswith(UNSET) else line)
    shown = tomllib.loads("\n".join(lines))
    plain = Config.__dataclass_fields__
    for section in ("broker", "worker", "report"):
        kind = {"broker": schema.BrokerConfig, "worker": schema.WorkerConfig, "report": schema.ReportConfig}[
            section
        ]
        assert section in plain
        assert from_table(kind, shown[section], section, Path()) == kind()
    for name, kind in schema.SOURCE_SECTIONS.items():
        assert from_table(kind, shown["sources"][name], name, Path()) == kind()
    assert {name: shown["sources"][name]["use"] for name in schema.DEFAULT_SOURCES} == schema.DEFAULT_SOURCES


def test_the_demonstration_runs_the_whole_chain(tmp_path: Path) -> None:
    """Points 1 and 2: a fresh store, no key, each step's result, the report, the next commands."""
    ended = subprocess.run(
        [sys.executable, "-m", "tradelog", "demo", "--dir", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    for expected in (
        *("$ tradelog fetch congress", "273 created", "$ tradelog run-strategy", "decided\tbuy\tAAPL"),
        *(
            "$ tradelog run-worker --once",
            "executed\tfilled",
            "$ tradelog report AAPL",
            "success rate\t100.0 %",
        ),
        *("illustrative prices", "export TRADELOG_CONFIG="),
    ):
        assert expected in ended.stdout
    again = subprocess.run(
        [sys.executable, "-m", "tradelog", "demo", "--dir", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 1
    assert "not empty" in again.stderr


def test_the_bundled_data_say_what_they_are() -> None:
    """Point 2: 200 to 500 real rows, and prices that call themselves illustrative."""
    with (ROOT / "examples" / "house_2021_11.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert 200 <= len(rows) <= 500
    assert all(row["ptr_link"].startswith("https://disclosures-clerk.house.gov/") for row in rows)
    assert "illustrative" in (prices.load(ROOT / "examples" / "prices.csv").label or "")
    assert "house_2021_11.csv" in (ROOT / "examples" / "README.md").read_text()


def test_market_context_is_exact_or_says_why_not(tmp_path: Path) -> None:
    from datetime import date

    known = prices.load(ROOT / "examples" / "prices.csv").context("AAPL", date(2021, 11, 26))
    assert known["price"] == "156"
    assert known["volume_20d"] is not None
    assert known["volatility_20d"] is not None
    assert "unavailable" not in known
    short = prices.load(ROOT / "examples" / "prices.csv").context("AAPL", date(2021, 10, 22))
    assert short["price"] is not None
    assert short["volatility_20d"] is None
    assert "2 of 20 daily returns" in short["unavailable"]
    stale = prices.load(ROOT / "examples" / "prices.csv").context("AAPL", date(2022, 1, 1))
    assert stale["price"] is None
    assert "2021-11-26" in stale["unavailable"]
    assert "no price file" in prices.NONE.context("AAPL", date(2022, 1, 1))["unavailable"]
    for number, text in enumerate(
        ("a,b\n", "symbol,date,close\nX,2020-01-01,-1\n", "symbol,date,close\nX,nope,1\n")
    ):
        path = tmp_path / f"{number}.csv"
        path.write_text(text)
        with pytest.raises(ConfigError, match="prices"):
            prices.load(path)


def test_ids_are_typed_and_never_meet() -> None:
    made = {ids.new(ids.DECISION) for _ in range(2000)}
    assert len(made) == 2000
    for item in made:
        kind, _, rest = item.partition("_")
        assert kind == "dec"
        assert len(rest) == 16
        assert set(rest) <= set(ids.ALPHABET)
    assert len(ids.client_order_id(made.pop(), "f" * 64, 12)) <= 48


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_any_encoding_of_the_terminal_will_do(cli: Cli, home: Path, encoding: str) -> None:
    assert cli("decide", "buy", "1", "AAPL", "--why", "für 日本 😀 x").code == 0
    environment = {"PYTHONIOENCODING": encoding}
    listed = json.loads(cli("report", "AAPL", "--json", **environment).out)["decisions"]
    ended = cli("show", listed[0]["decision_id"], "--json", PYTHONIOENCODING=encoding)
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["decision"]["decision_rationale"]["why"] == "für 日本 😀 x"
