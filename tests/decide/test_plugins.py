"""Strategies of other packages: an entry point is all it takes, and what is wrong with one is named."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli

MODULE = """
from dataclasses import dataclass
from decimal import Decimal

from tradelog.decide.strategies.base import Context, Signal


@dataclass(frozen=True)
class Parameters:
    dollars: Decimal = Decimal(100)
    symbol: str = "AAPL"


class Acme:
    name = "acme"
    version = "7"
    kind = "congress_trade"
    Parameters = Parameters

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters

    @property
    def window_days(self) -> int:
        return 30

    def evaluate(self, context: Context) -> list[Signal]:
        bought = [item for item in context.disclosures if item.symbol == self.parameters.symbol]
        if not bought:
            return []
        first = min(bought, key=lambda item: item.version_id)
        return [
            Signal(
                self.parameters.symbol, "buy", first.filed, (first.version_id,), {"why": "the first one"},
                notional=self.parameters.dollars,
            )
        ]
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    (folder / "acme-1.0.dist-info").mkdir(parents=True)
    (folder / "acme_strategy.py").write_text(MODULE)
    (folder / "acme-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n"
    )
    points = "[tradelog.strategies]\nacme = acme_strategy:Acme\n"
    (folder / "acme-1.0.dist-info" / "entry_points.txt").write_text(points)
    return folder


@pytest.fixture
def fetched(home: Path, cli: Cli) -> Path:
    rows = ROOT / "examples" / "house_2021_11.csv"
    assert cli("fetch", "congress", "--file", str(rows)).code == 0
    return home


def run(program: Cli, site: Path, *arguments: str) -> tuple[int, str, str]:
    ended = program(*arguments, PYTHONPATH=str(site))
    assert "Traceback" not in ended.err
    return ended.code, ended.out, ended.err


def test_a_package_adds_a_strategy(program: Cli, fetched: Path, site: Path) -> None:
    """Its parameters come from tradelog.toml, its code is hashed, and its decision replays."""
    with (fetched / "tradelog.toml").open("a") as stream:
        stream.write('[strategies.acme]\ndollars = "250"\nmax_age_seconds = 60\n')
    code, out, _ = run(program, site, "run-strategy", "acme", "--as-of", "2021-11-26", "--json")
    assert code == 0
    (signal,) = json.loads(out)["signals"]
    assert (signal["verdict"], signal["size"], signal["people"]) == ("decided", "$250", None)
    code, out, _ = run(program, site, "replay", signal["decision_id"])
    assert (code, "same" in out) == (0, True)
    again = json.loads(run(program, site, "run-strategy", "acme", "--as-of", "2021-11-26", "--json")[1])
    assert [item["verdict"] for item in again["signals"]] == ["already decided"]
    (site / "acme_strategy.py").write_text(MODULE + "# changed\n")
    assert run(program, site, "replay", signal["decision_id"])[0] == 3


def test_the_list_names_version_package_and_what_cannot_be_loaded(
    program: Cli, home: Path, site: Path
) -> None:
    listed = json.loads(run(program, site, "run-strategy", "--list", "--json")[1])["strategies"]
    assert [(row["name"], row["version"], row["package"]) for row in listed] == [
        ("acme", "7", "acme"),
        ("congress", "2", "tradelog"),
        ("insider", "1", "tradelog"),
    ]
    (site / "acme_strategy.py").write_text("import nosuchmodule")
    code, out, _ = run(program, site, "run-strategy", "--list")
    assert code == 0
    assert "ModuleNotFoundError" in out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "from dataclasses import dataclass",
            "raise RuntimeError('broken')",
            "cannot be loaded: RuntimeError",
        ),
        ('name = "acme"', 'name = "other"', "calls itself 'other'"),
        ("def evaluate", "def judge", "lacks evaluate"),
        ("@dataclass(frozen=True)", "", "no frozen dataclass"),
        ("@dataclass(frozen=True)", "@dataclass", "no frozen dataclass"),
        ("class Acme:", "Acme = 5\nclass _Acme:", "lacks name, version"),
        ("if not bought:", "if 1 / 0:", "failed: ZeroDivisionError"),
        ("            return []", "            return None", "no list of signals"),
    ],
)
def test_a_broken_strategy_is_named_and_nothing_is_recorded(
    program: Cli, fetched: Path, site: Path, old: str, new: str, message: str
) -> None:
    assert old in MODULE
    (site / "acme_strategy.py").write_text(MODULE.replace(old, new))
    # A day without disclosures where the strategy must find none.
    day = "2021-09-01" if "return None" in new else "2021-11-26"
    code, _, err = run(program, site, "run-strategy", "acme", "--as-of", day)
    assert code in (1, 4)
    assert "acme" in err
    assert message in err
    connection = sqlite3.connect(fetched / "store" / "log.db")
    assert connection.execute("SELECT count(*) FROM strategy_runs").fetchone() == (0,)
    connection.close()


def test_a_wrong_key_of_a_plugin_is_an_error(program: Cli, fetched: Path, site: Path) -> None:
    with (fetched / "tradelog.toml").open("a") as stream:
        stream.write("[strategies.acme]\ndolars = 5\n")
    code, _, err = run(program, site, "run-strategy", "acme")
    assert code == 4
    assert "did you mean 'dollars'?" in err


def test_an_unknown_strategy_names_the_nearest(cli: Cli, home: Path) -> None:
    ended = cli("run-strategy", "congres")
    assert (ended.code, "did you mean 'congress'?" in ended.err) == (3, True)
    assert cli("run-strategy").code == 2


def test_the_code_hash_covers_every_module_of_a_plugin_s_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib import import_module

    from tradelog.decide.run import code_hash

    package = tmp_path / "acme_package" / "inner"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text("")
    (package / "strategy.py").write_text(MODULE)
    helper = package.parent / "helper.py"
    helper.write_text("LIMIT = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = import_module("acme_package.inner.strategy")
    subject = module.Acme(module.Parameters())
    before = code_hash(subject)
    assert code_hash(subject) == before
    helper.write_text("LIMIT = 2")
    assert code_hash(subject) != before
    helper.write_text("LIMIT = 1")
    assert code_hash(subject) == before
    helper.rename(package / "helper.py")
    assert code_hash(subject) != before
