"""tradelog fetch and tradelog sources: for a person, for cron, and for plugins."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from tests import disclosures as d
from tests import filings as f
from tests.conftest import ROOT, Cli, process_environment
from tradelog.config.schema import Config
from tradelog.store.reader import Reader


@pytest.fixture
def house(tmp_path: Path) -> Path:
    rows = [d.house_row(f"Member {n}", "AAPL", d.today()) for n in range(3)]
    return d.write(tmp_path / "h.csv", d.house_csv(rows))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["everything"], 2, "known: congress, insider, committees"),
        (["congress", "--complete"], 2, "--complete goes with --file"),
        (["congress", "--since", "yesterday"], 2, "no date"),
        (["congress", "--since", "2026-02-01", "--until", "2026-01-01"], 2, "is after"),
        (["congress", "--file", "x", "--since", "2026-02-01"], 2, "--since does not go with --file"),
        (["committees", "--symbol", "AAPL"], 2, "congress-legislators has no --symbol"),
        (["insider", "--history"], 2, "sec-edgar has no --history"),
        (["insider", "--symbol", "../../etc"], 2, "is no ticker"),
        (["congress", "--file", "nosuch.csv"], 3, "no file at"),
        (["congress"], 4, "QUIVER_API_KEY is not set"),
        (["insider"], 4, "contact is not set"),
    ],
)
def test_what_makes_no_sense_is_one_clear_line(cli: Cli, arguments: list[str], code: int, said: str) -> None:
    ended = cli("fetch", *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err
    assert len(ended.err.splitlines()) <= 2


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ('[sources.congress]\nuse = "quivr"', "did you mean 'quiver'"),
        ('[sources.congress]\nuse = "sec-edgar"', "does not offer congress"),
        ('[sources.quivr]\nbase_url = "https://x"', "did you mean 'quiver'"),
        ('[sources.sec-edgar]\nkontakt = "x"', "did you mean 'contact'"),
        ('[sources.sec-edgar]\nbase_url = "http://sec.gov"', "must be https"),
        ('[sources.committees]\nfrom = "x"', "did you mean 'use'"),
        ("[sources.committees]\nuse = 3", "must be a text"),
    ],
)
def test_a_source_that_is_configured_wrong(cli: Cli, home: Path, section: str, said: str) -> None:
    with (home / "tradelog.toml").open("a") as stream:
        stream.write(section + "\n")
    ended = cli("fetch", "congress", QUIVER_API_KEY="x")
    assert ended.code == 4
    assert said in ended.err


def test_no_source_replaces_another(cli: Cli, home: Path, config: Config) -> None:
    """Point 2: a configured source without its key is not traded for one that needs none."""
    with (home / "tradelog.toml").open("a") as stream:
        stream.write('[sources.insider]\nuse = "quiver"\n[sources.sec-edgar]\ncontact = "a@b.example"\n')
    ended = cli("fetch", "insider")
    assert ended.code == 4
    assert not config.store_path.exists()


def test_a_dry_run_counts_and_writes_nothing(cli: Cli, house: Path, config: Config, home: Path) -> None:
    """Point 7: also where there is no store yet, and with what is gone."""
    ended = cli("fetch", "congress", "--file", str(house), "--dry-run")
    assert "dry run, nothing written: 3 fetched" in ended.out
    assert not config.store_path.parent.exists()
    assert cli("fetch", "congress", "--file", str(house)).code == 0
    before = {path: path.read_bytes() for path in config.store_path.parent.iterdir()}
    rows = [d.house_row(f"Member {n}", "AAPL", d.today()) for n in (1, 2, 9)]
    rows[0]["district"] = "XX09"
    other = d.write(home / "o.csv", d.house_csv(rows))
    arguments = ("fetch", "congress", "--file", str(other), "--complete", "--json")
    dry = json.loads(cli(*arguments, "--dry-run").out)
    assert {
        path: path.read_bytes() for path in config.store_path.parent.iterdir() if path in before
    } == before
    real = json.loads(cli(*arguments).out)
    names = ("created", "updated", "skipped", "gone", "fetched", "quarantined")
    assert [dry[f"records_{name}"] for name in names] == [1, 1, 1, 1, 3, 0]
    assert [real[f"records_{name}"] for name in names] == [1, 1, 1, 1, 3, 0]
    assert dry["run_id"] is None
    refused = cli("fetch", "congress", "--file", "tradelog.toml", "--dry-run")
    assert refused.code == 1
    with Reader(config.store_path) as reader:
        assert reader.value("SELECT count(*) FROM data_ingestion_runs") == 2


def test_quiet_prints_nothing_on_success_and_one_line_on_failure(cli: Cli, house: Path) -> None:
    """Point 7."""
    rows = cli("fetch", "congress", "--file", str(house), "--quiet")
    assert (rows.code, rows.out, rows.err) == (0, "", "")
    ended = cli("fetch", "congress", "--file", "tradelog.toml", "--quiet")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("error: ")
    assert len(ended.err.splitlines()) == 2


def test_the_same_file_again_is_known_by_its_bytes(cli: Cli, house: Path, config: Config) -> None:
    """Seen unchanged costs bytes, not rows; a file in between, or one changed byte, and it is read."""

    def fetch(path: Path) -> tuple[int, int, int]:
        result = json.loads(cli("fetch", "congress", "--file", str(path), "--json").out)
        return result["records_created"], result["records_updated"], result["records_skipped"]

    def same_as() -> Any:
        return json.loads(cli("runs", "--json").out)["runs"][0]["api_calls"][0].get("same_as")

    assert fetch(house) == (3, 0, 0)
    first = json.loads(cli("runs", "--json").out)["runs"][0]
    assert fetch(house) == (0, 0, 3)
    assert same_as() == first["run_id"]
    assert json.loads(cli("runs", "--json").out)["runs"][0]["data_date_end"] == first["data_date_end"]
    other = house.with_name("o.csv")
    d.write(other, house.read_text().replace("XX01", "XX02"))
    assert fetch(other) == (0, 3, 0)
    assert fetch(house) == (0, 3, 0)
    assert same_as() is None
    d.write(house, house.read_text() + "short,row\n")
    assert fetch(house) == (0, 0, 3)
    assert fetch(house) == (0, 0, 3)
    assert same_as() is None, "what could not be read is looked at again"
    with Reader(config.store_path) as reader:
        assert reader.value("SELECT count(*) FROM quarantined_rows") == 2


def test_sources_are_listed_with_what_one_must_know(cli: Cli, house: Path) -> None:
    """Point 1: origin, terms, key needed, last run."""
    assert "never" in cli("sources").out
    result = {
        row["name"]: row for row in json.loads(cli("sources", "--json", QUIVER_API_KEY="k").out)["sources"]
    }
    assert set(result) == {"quiver", "sec-edgar", "congress-legislators"}
    assert (result["quiver"]["key_needed"], result["quiver"]["key_is_set"]) == ("QUIVER_API_KEY", True)
    assert result["sec-edgar"]["used_for"] == ["insider"]
    assert "public domain" in result["congress-legislators"]["terms"]
    d.write(house, f.as_json(f.COMMITTEES))
    assert cli("fetch", "committees", "--file", str(house)).code == 0
    result = {row["name"]: row for row in json.loads(cli("sources", "--json").out)["sources"]}
    assert result["congress-legislators"]["last_run"]["status"] == "completed"


def test_on_a_narrow_terminal_nothing_of_it_is_missing(home: Path) -> None:
    ours, theirs = pty.openpty()
    environment = process_environment(home, TERM="xterm", COLUMNS="80")
    process = subprocess.Popen(
        [sys.executable, "-m", "tradelog", "sources"], stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    said = read_all(ours).decode()
    assert process.wait(timeout=30) == 0
    for text in ("U.S. Securities", "public record", "QUIVER_API_KEY (not set)", "never"):
        assert text in said


PLUGIN = """
from dataclasses import dataclass
from tradelog.ingest.identity import Record
from tradelog.ingest.sources.base import Source

@dataclass(frozen=True)
class Settings:
    greeting: str = "hello"

def fetch(run, request):
    run.recognised("acme")
    run.api_call("acme://", status=200)
    text = request.settings.greeting + str(request.key)
    run.add(Record("congress_trade", 1, ("1",), (text,), "{}", symbol="ACME", actor="A B"))

SOURCE = Source(
    name="acme", commands={"congress": "acme"}, origin="acme", terms="free", fetch=fetch,
    settings=Settings, key="ACME_KEY",
)
"""


@pytest.fixture
def plugin(tmp_path: Path, home: Path) -> Path:
    folder = tmp_path / "site"
    (folder / "acme-1.0.dist-info").mkdir(parents=True)
    (folder / "acme_source.py").write_text(PLUGIN)
    (folder / "acme-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n"
    )
    points = "[tradelog.sources]\nacme = acme_source:SOURCE\n"
    (folder / "acme-1.0.dist-info" / "entry_points.txt").write_text(points)
    with (home / "tradelog.toml").open("a") as stream:
        stream.write('[sources.congress]\nuse = "acme"\n[sources.acme]\ngreeting = "hi"\n')
    return folder


def test_a_package_adds_a_source(program: Cli, plugin: Path) -> None:
    """Point 1: an entry point is all it takes; its key, its settings and its last run are as ours."""
    ended = program("fetch", "congress", PYTHONPATH=str(plugin))
    assert ended.code == 4
    assert "ACME_KEY is not set" in ended.err
    ended = program("fetch", "congress", "--json", PYTHONPATH=str(plugin), ACME_KEY="k")
    assert json.loads(ended.out)["data_source"] == "acme"
    listed = json.loads(program("sources", "--json", PYTHONPATH=str(plugin)).out)["sources"]
    assert next(row for row in listed if row["name"] == "acme")["last_run"]["status"] == "completed"


@pytest.mark.parametrize("code", ["raise RuntimeError('broken')", "SOURCE = 5", "import nosuchmodule"])
def test_a_broken_plugin_is_named(program: Cli, plugin: Path, code: str) -> None:
    (plugin / "acme_source.py").write_text(code)
    ended = program("fetch", "congress", PYTHONPATH=str(plugin), ACME_KEY="k")
    assert ended.code == 4
    assert "acme" in ended.err
    assert "Traceback" not in ended.err


def read_all(descriptor: int) -> bytes:
    text = b""
    while True:
        try:
            block = os.read(descriptor, 4096)
        except OSError:  # the other end of a terminal was closed
            break
        if not block:
            break
        text += block
    os.close(descriptor)
    return text


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_on_a_terminal_and_none_elsewhere(
    home: Path, httpserver: HTTPServer, is_terminal: bool
) -> None:
    """Point 6."""
    httpserver.expect_request("/beta/live/congresstrading").respond_with_json(
        [
            {
                "Representative": "A",
                "ReportDate": "2025-02-10",
                "TransactionDate": "2025-01-21",
                "Ticker": "X",
                "Transaction": "Sale",
                "Range": "$1",
            }
        ]
    )
    for name in ("insider", "congress"):
        with (home / "tradelog.toml").open("a") as stream:
            stream.write(f'[sources.{name}]\nuse = "quiver"\n')
    httpserver.expect_request("/beta/live/insiders").respond_with_json([])
    with (home / "tradelog.toml").open("a") as stream:
        stream.write(f'[sources.quiver]\nbase_url = "{httpserver.url_for("")}"\n')
    ours, theirs = pty.openpty() if is_terminal else os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "tradelog", "fetch", "insider", "--since", str(d.today() - timedelta(days=2))],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=process_environment(home, QUIVER_API_KEY="k", TERM="xterm"),
    )
    os.close(theirs)
    text = read_all(ours)
    assert process.wait(timeout=30) == 0, text
    assert process.stdout is not None
    process.stdout.close()
    assert (b"fetching" in text) == is_terminal


def test_the_crontab_names_real_commands(cli: Cli) -> None:
    """Point 7: every line of examples/crontab is one that tradelog takes."""
    lines = (ROOT / "examples" / "crontab").read_text().splitlines()
    jobs = [
        line.split("tradelog ", 1)[1] for line in lines if "tradelog " in line and not line.startswith("#")
    ]
    assert len(jobs) >= 4
    for job in jobs:
        words = job.split("||")[0].split("#")[0].split()
        ended = cli(words[0], "--help")
        assert ended.code == 0
        for word in words[1:]:
            if word.startswith("--"):
                assert word in ended.out, job
