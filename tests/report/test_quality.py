"""Signals by the symbol's move, and what each trigger, member and source brought."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from freezegun import freeze_time

from tests import disclosures as d
from tests.conftest import Cli, cli_in, furnished
from tests.ingest.test_run import record as row_of
from tradelog.config.schema import Config
from tradelog.decide import record
from tradelog.domain.account import AccountKey
from tradelog.ingest.run import IngestionRun
from tradelog.prices import Bar, Prices
from tradelog.report import period, quality
from tradelog.store.opening import open_writer
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer

YEAR = period.of(2031, None, None, "America/New_York")
ACCOUNT = AccountKey("simulated", "paper", "default")


def sessions(first: date, closes: list[str]) -> tuple[Bar, ...]:
    """A close for each weekday."""
    days = (first + timedelta(days=number) for number in range(1000))
    weekdays = (day for day in days if day.weekday() < 5)
    return tuple(Bar(day, Decimal(close), None) for day, close in zip(weekdays, closes, strict=False))


@pytest.fixture
def monday() -> Iterator[date]:
    with freeze_time("2031-03-03T15:00:00Z"):
        yield date(2031, 3, 3)


def decided(writer: Writer, symbol: str, side: str = "buy", strategy: str = "bot") -> None:
    values = {"symbol": symbol, "side": side, "quantity": 1, "strategy": strategy, "rationale": "x"}
    record.record(writer, ACCOUNT, record.parse(values))


def test_moves_are_from_the_close_of_the_day_in_the_direction_of_the_signal(
    writer: Writer, config: Config, monday: date
) -> None:
    rising = [str(100 + number) for number in range(30)]
    prices = Prices({"UP": sessions(monday, rising), "GONE": sessions(monday, ["10", "11"])})
    decided(writer, "UP")
    decided(writer, "UP", "sell")
    decided(writer, "GONE")
    decided(writer, "UNKNOWN")
    with Reader(config.store_path) as reader:
        result = quality.quality(reader, ACCOUNT, YEAR, prices)[("bot", True)]
    # One session on: +1 %, -1 %, +10 %; after that the price of GONE is not known.
    assert result[1] == {"count": 3, "move": Decimal("0.033333333333"), "right": Decimal("0.666666666667")}
    assert result[5] == {"count": 2, "move": Decimal(0), "right": Decimal("0.5")}
    assert result[20]["count"] == 2


def test_a_weekend_is_no_session_and_a_hole_is_none_either(
    writer: Writer, config: Config, monday: date
) -> None:
    bars = sessions(monday - timedelta(days=7), ["50", "50", "50", "50", "50", "100", "110"])
    later = Bar(monday + timedelta(days=90), Decimal(999), None)
    decided(writer, "ABC")
    with Reader(config.store_path) as reader:
        result = quality.quality(reader, ACCOUNT, YEAR, Prices({"ABC": (*bars, later)}))[("bot", True)]
        assert result[1]["move"] == Decimal("0.1")
        assert result[5] == {"count": 0, "move": None, "right": None}
        # A price of weeks ago is no price of that day.
        old = Prices({"ABC": sessions(monday - timedelta(days=60), ["1", "2", "3"])})
        assert quality.quality(reader, ACCOUNT, YEAR, old)[("bot", True)][1]["count"] == 0


def test_signals_that_were_not_taken_are_judged_too(cli: Cli, home: Path, config: Config) -> None:
    """A sale of what is not held is a signal that nobody acts on; it may have been right."""
    rows = [d.house_row(f"Member {n}", "AAPL", "10/04/2021", kind="sale_full") for n in range(3)]
    assert cli("fetch", "congress", "--file", str(d.write(home / "h.csv", d.house_csv(rows)))).code == 0
    assert cli("run-strategy", "congress", "--as-of", "2021-10-20").code == 0
    (row,) = json.loads(cli("strategies", "--json").out)["strategies"]
    assert (row["strategy"], row["signals"], row["not_taken"], row["decisions"]) == ("congress", 1, 1, 0)
    assert row["quality"]["not_taken"]["signals"] == 1
    assert row["quality"]["not_taken"]["after_sessions"]["1"]["move"] is None
    shown = cli("strategies").out.splitlines()
    assert any(line.startswith("congress\tnot taken\t1\t—") for line in shown)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bought on what two members and one disclosed, and sold by hand at a gain and at a loss."""
    home = furnished(tmp_path_factory.mktemp("traded"))
    cli = cli_in(home)
    rows = [d.house_row(f"Member {n}", "AAPL", "10/04/2021") for n in range(2)]
    rows.append(d.house_row("Member 0", "MSFT", "10/04/2021"))
    assert cli("fetch", "congress", "--file", str(d.write(home / "h.csv", d.house_csv(rows)))).code == 0
    versions = {
        (row["symbol"], row["member"]): row["version_id"]
        for row in json.loads(cli("show", run_of(cli), "--json").out)["run"]["records"]
    }
    for symbol, quantity, trigger, inputs in (
        ("AAPL", "10", "consensus", [versions["AAPL", "Member 0"], versions["AAPL", "Member 1"]]),
        ("MSFT", "5", "one member", [versions["MSFT", "Member 0"]]),
    ):
        line = {
            **{
                "strategy": "bot",
                "symbol": symbol,
                "side": "buy",
                "quantity": quantity,
                "rationale": "x",
                "inputs": inputs,
            },
            "rationale": {"trigger": trigger},
        }
        decide(cli, home, line)
    assert cli("run-worker", "--once").code == 0
    (home / "prices.csv").write_text(
        "# later\nsymbol,date,close,volume\nAAPL,2026-01-05,110,\nMSFT,2026-01-05,180,\n"
    )
    for symbol, quantity in (("AAPL", "4"), ("MSFT", "5")):
        decide(
            cli,
            home,
            {
                "strategy": "manual",
                "symbol": symbol,
                "side": "sell",
                "quantity": quantity,
                "rationale": "out",
            },
        )
    assert cli("run-worker", "--once").code == 0
    return home


@pytest.fixture
def traded(made: Path, cli: Cli, home: Path) -> Cli:
    """That store, to do with as a test likes."""
    shutil.copytree(made, home, dirs_exist_ok=True)
    return cli


def run_of(cli: Cli) -> str:
    return str(json.loads(cli("runs", "--json").out)["runs"][0]["run_id"])


def decide(cli: Cli, home: Path, line: dict[str, object]) -> None:
    (home / "line.json").write_text(json.dumps(line))
    ended = cli("decide", "--input", "line.json")
    assert ended.code == 0, ended.err


def test_profit_by_trigger_member_and_source(traded: Cli) -> None:
    def by(kind: str) -> dict[str, tuple[int, int, int, str]]:
        result = json.loads(traded("strategies", "--by", kind, "--json").out)["groups"]
        return {
            row["name"]: (row["decisions"], row["closed"], row["profitable"], row["realised"])
            for row in result
        }

    # Four of AAPL brought 10 each, five of MSFT lost 20 each.
    assert by("trigger") == {
        "consensus": (1, 1, 1, "40"),
        "one member": (1, 1, 0, "-100"),
        "out": (2, 0, 0, "0"),
    }
    assert by("member") == {"Member 0": (2, 2, 1, "-60"), "Member 1": (1, 1, 1, "40"), None: (2, 0, 0, "0")}
    (source,) = [name for name in by("source") if name is not None]
    assert by("source")[source] == (2, 2, 1, "-60")
    shown = traded("strategies", "--by", "trigger").out
    assert shown.splitlines()[2].split("\t")[:2] == ["consensus", "1"]
    only = json.loads(traded("strategies", "--by", "trigger", "--strategy", "bot", "--json").out)
    assert {row["name"] for row in only["groups"]} == {"consensus", "one member"}


def test_strategies_tell_outcomes_slippage_and_times(traded: Cli) -> None:
    result = json.loads(traded("strategies", "--json").out)["strategies"]
    bot = next(row for row in result if row["strategy"] == "bot")
    assert (bot["decisions"], bot["executed"], bot["success_rate"], bot["fill_rate"]) == (2, 2, "1", "1")
    # Nobody said at which price it was decided.
    assert (bot["priced"], bot["slippage"], bot["slippage_bps"]) == (0, None, None)
    assert all(bot["times"][step]["count"] == 2 for step in ("sent", "acknowledged", "filled", "in all"))
    text = traded("strategies").out
    assert "█" not in text
    for expected in ("What became of the decisions", "How long it took", "How the symbol moved"):
        assert expected in text
    _, row = traded("strategies", "--csv", "--strategy", "bot").out.splitlines()
    assert row.startswith("bot,0,0,2,2,0,0,0,0,1,1,0,,,")


def test_lots_of_a_year(traded: Cli) -> None:
    result = json.loads(traded("lots", "--json").out)
    assert "No tax advice" in result["notice"]
    assert [(row["symbol"], row["proceeds"], row["basis"], row["gain"]) for row in result["lots"]] == [
        ("AAPL", "440", "400", "40"),
        ("MSFT", "900", "1000", "-100"),
    ]
    assert (result["total"]["proceeds"], result["total"]["gain"]) == ("1340", "-60")
    assert json.loads(traded("lots", "--year", "2020", "--json").out)["lots"] == []
    ended = traded("lots", "--symbol", "aapl")
    assert "No tax advice" in ended.out
    assert "gain\t40" in ended.out
    assert "nothing was sold" in traded("lots", "--year", "2020").out
    csv = traded("lots", "--csv")
    assert csv.out.splitlines()[0].startswith("symbol,quantity,acquired_on,sold_on,proceeds,basis,gain")
    assert "No tax advice" in csv.err


def test_a_day_in_one_page(traded: Cli) -> None:
    result = json.loads(traded("digest", "--json").out)
    assert (result["run_states"], result["decision_states"]) == ({"completed": 1}, {"executed": 4})
    assert (len(result["trades"]), result["bought"], result["sold"]) == (4, "2000", "1340")
    assert (result["failures"], result["unknown"], result["breaks"]) == ([], [], [])
    text = traded("digest").out
    for expected in ("Runs", "Decisions", "Trades", "bought $2000, sold $1340", "account default"):
        assert expected in text
    empty = json.loads(traded("digest", "--date", "2020-01-01", "--json").out)
    assert (empty["date"], empty["runs"], empty["trades"]) == ("2020-01-01", [], [])
    assert "decisions\t0" in traded("digest", "--date", "2020-01-01").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("strategies", "--by", "moon"), "nothing is grouped by 'moon'"),
        (("strategies", "--limit", "3"), "go with --by"),
        (("digest", "--date", "yesterday"), "is no date"),
        (("digest", "--tz", "Mars/Olympus"), "unknown time zone"),
        (("lots", "--year", "2025", "--from", "2025-01-01"), "not both"),
        (("runs", "--status", "moon"), "no run is 'moon'"),
    ],
)
def test_what_cannot_be_asked_for(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    ended = cli(*arguments)
    assert ended.code == 2
    assert said in ended.err


def test_runs_by_source_status_and_day(traded: Cli) -> None:
    source = json.loads(traded("runs", "--json").out)["runs"][0]["data_source"]
    for arguments, number in (
        (("--source", source), 1),
        (("--status", "completed"), 1),
        (("--status", "failed"), 0),
        (("--status", "abandoned"), 0),
        (("--task", "data_fetch:congress", "--status", "completed"), 1),
        (("--year", "2020"), 0),
    ):
        assert json.loads(traded("runs", *arguments, "--json").out)["total"] == number, arguments
    assert traded("runs", "--source", "moon").code == 3


def test_a_run_that_died_is_found_as_abandoned(
    cli: Cli, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tradelog.ingest.run.boot_id", lambda: "of another start of this machine")
    writer = open_writer(config.store_path)
    run = IngestionRun(writer, "data_fetch:x", "x")
    run.__enter__()
    run.add(row_of(1))
    result = json.loads(cli("runs", "--status", "abandoned", "--json").out)
    assert [item["status"] for item in result["runs"]] == ["abandoned"]
    assert json.loads(cli("runs", "--status", "running", "--json").out)["total"] == 0
    run.__exit__(None, None, None)
    writer.close()
