"""The symbol report and the trail of a decision, as a person and as a program read them."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path

import pytest
from freezegun import freeze_time

from tests import disclosures as d
from tests.conftest import Cli, cli_in, furnished
from tradelog.config.schema import Config
from tradelog.decide import record
from tradelog.domain import clock
from tradelog.errors import UsageError
from tradelog.report import period, symbol
from tradelog.store.opening import open_writer
from tradelog.store.reader import Reader


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with everything in it: data, a filled buy, a refused one, a pending one."""
    home = furnished(tmp_path_factory.mktemp("worked"))
    cli = cli_in(home)
    rows = [d.house_row(f"Member {n}", "AAPL", "10/04/2021") for n in range(3)]
    assert cli("fetch", "congress", "--file", str(d.write(home / "h.csv", d.house_csv(rows)))).code == 0
    assert cli("run-strategy", "congress", "--as-of", "2021-10-20").code == 0
    assert cli("decide", "buy", "10", "AAPL", "--why", "x").code == 0
    assert cli("decide", "buy", "5000", "AAPL", "--why", "too much").code == 0
    assert cli("run-worker", "--once").code == 0
    assert cli("decide", "sell", "4", "AAPL", "--why", "later").code == 0
    return home


@pytest.fixture
def worked(made: Path, cli: Cli, home: Path) -> Cli:
    """That store, to do with as a test likes."""
    shutil.copytree(made, home, dirs_exist_ok=True)
    return cli


def test_the_report_is_complete(worked: Cli) -> None:
    """Point 9: data, decisions with failure reasons, trades, summary."""
    result = json.loads(worked("report", "aapl", "--json").out)
    assert result["schema"] == 1
    assert (result["data_first_seen"], result["data_traded"]) == (3, 3)
    assert {row["member"] for row in result["data"]} == {"Member 0", "Member 1", "Member 2"}
    assert all(row["run_id"].startswith("run_") and row["backfill"] for row in result["data"])
    by_status = {row["status"]: row for row in result["decisions"]}
    assert by_status["failed"]["failure_code"] == "insufficient_buying_power"
    assert result["summary"] == {
        **{"signals": 1, "decisions": 4, "executed": 2, "failed": 1, "cancelled": 0, "pending": 1},
        **{"success_rate": "0.5", "trades": 2, "bought": "20", "sold": "0"},
    }
    assert result["trades"][0]["price"] == "100"
    assert "test prices" in result["trades"][0]["price_basis"]


def test_years_and_days_are_the_markets(worked: Cli) -> None:
    this_year = clock.market_today().year
    now = json.loads(worked("report", "AAPL", "--year", str(this_year), "--json").out)
    assert (now["data_first_seen"], now["data_traded"], now["summary"]["decisions"]) == (3, 0, 4)
    then = json.loads(worked("report", "AAPL", "--year", "2021", "--json").out)
    assert (then["data_first_seen"], then["data_traded"], then["summary"]["decisions"]) == (0, 3, 0)
    assert then["summary"]["success_rate"] is None
    plain = worked("report", "AAPL", "--year", "2021")
    assert plain.code == 0
    assert "no decisions on AAPL in this period" in plain.out
    assert "America/New_York" in plain.out
    assert "account default" in plain.out


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2025-01-01T04:59:59Z", date(2024, 12, 31)),
        ("2025-01-01T05:00:00Z", date(2025, 1, 1)),
        ("2025-07-01T01:30:00Z", date(2025, 6, 30)),
        ("2025-03-09T06:59:00Z", date(2025, 3, 9)),
        ("2025-11-03T04:59:00Z", date(2025, 11, 2)),
    ],
)
def test_an_evening_in_new_york_belongs_to_its_day(config: Config, moment: str, day: date) -> None:
    """Invariant 9: bounds are inclusive days of the market, whatever UTC says."""
    with freeze_time(moment):
        writer = open_writer(config.store_path)
        values = {"strategy": "manual", "symbol": "AAPL", "side": "buy", "quantity": 1, "rationale": "x"}
        record.record(writer, config.account, record.parse(values))
        writer.close()
    with Reader(config.store_path) as reader:
        for first, count in ((day, 1), (date.fromordinal(day.toordinal() - 1), 0)):
            covered = period.of(None, first, first, "America/New_York")
            assert symbol.report(reader, "AAPL", config.account, covered).summary.decisions == count
        assert (
            symbol.report(
                reader, "AAPL", config.account, period.of(day.year, None, None, "America/New_York")
            ).summary.decisions
            == 1
        )


def test_periods_that_cannot_be(worked: Cli) -> None:
    for arguments in (
        ("--from", "2025-02-01", "--to", "2025-01-01"),
        ("--year", "2025", "--from", "2025-01-01"),
        ("--from", "yesterday"),
        ("--year", "0"),
    ):
        ended = worked("report", "AAPL", *arguments)
        assert ended.code == 2, arguments
    with pytest.raises(UsageError):
        period.of(None, None, None, "Mars/Olympus")


def test_open_ended_periods(worked: Cli) -> None:
    for arguments in ((), ("--from", "2000-01-01"), ("--to", "2100-01-01")):
        result = json.loads(worked("report", "AAPL", *arguments, "--json").out)
        assert result["summary"]["decisions"] == 4


def test_an_unknown_symbol_is_not_found(worked: Cli) -> None:
    ended = worked("report", "NOPE")
    assert ended.code == 3
    assert "hint:" in ended.err


def test_the_trail_of_a_decision(worked: Cli) -> None:
    """Point 9: inputs with their runs, rationale, each attempt with request and response, fills."""
    result = json.loads(worked("report", "AAPL", "--json").out)["decisions"]
    executed = next(row["decision_id"] for row in result if row["status"] == "executed")
    shown = json.loads(worked("show", executed, "--json").out)["decision"]
    attempt = shown["executions"][0]
    assert attempt["attempt_number"] == 1
    assert json.loads(attempt["api_request"])["client_order_id"] == shown["client_order_id"]
    assert json.loads(attempt["api_response"])["status"] == "filled"
    assert attempt["fills"][0]["quantity"] == "10"
    by_execution = json.loads(worked("show", attempt["execution_id"], "--json").out)["decision"]
    assert by_execution["decision_id"] == executed
    text = worked("show", executed).out
    for expected in ("Rationale", "Attempt 1", "answered  HTTP 200", "fill: buy 10 at 100"):
        assert expected in text
    strategic = next(row["decision_id"] for row in result if row["strategy_name"] == "congress")
    inputs = json.loads(worked("show", strategic, "--json").out)["decision"]["inputs"]
    assert len(inputs) == 3
    assert inputs[0]["run_id"] in worked("show", strategic).out


def test_ids_by_unique_beginning(worked: Cli) -> None:
    run_id = json.loads(worked("runs", "--json").out)["runs"][0]["run_id"]
    assert worked("show", run_id[:8]).code == 0
    assert worked("show", run_id[4:10]).code == 0
    assert worked("show", "dec_").code == 2
    assert worked("show", "nothing").code == 3


def test_piped_lists_are_tab_separated(worked: Cli) -> None:
    lines = worked("runs").out.splitlines()
    assert lines[0].split("\t")[0] == "run_id"
    assert len(lines[1].split("\t")) == len(lines[0].split("\t"))


def test_readers_do_not_write(worked: Cli, config: Config) -> None:
    """Invariant 13: reading commands leave every byte of the store as it was."""
    before = config.store_path.read_bytes()
    for arguments in (
        ("report", "AAPL"),
        ("runs",),
        ("show", "run_"),
        ("run-strategy", "congress", "--dry-run"),
    ):
        worked(*arguments)
    assert config.store_path.read_bytes() == before


def test_a_long_read_does_not_block_a_writer(config: Config) -> None:
    """Invariant 13, both ways: a reader in mid-query, a writer that commits, a reader that goes on."""
    writer = open_writer(config.store_path, busy_seconds=0.2)
    values = {"strategy": "manual", "symbol": "AAPL", "side": "buy", "quantity": 1, "rationale": "x"}
    record.record(writer, config.account, record.parse(values))
    with Reader(config.store_path) as reader:
        cursor = reader.connection.execute("SELECT seq FROM journal, (SELECT 1 UNION SELECT 2)")
        assert cursor.fetchone() is not None
        record.record(writer, config.account, record.parse(values))
        assert cursor.fetchone() is not None
    with writer.transaction(), Reader(config.store_path) as reader:
        assert reader.value("SELECT count(*) FROM trade_decisions") == 2
    writer.close()
