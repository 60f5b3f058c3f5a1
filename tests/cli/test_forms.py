"""The forms of a report: rows a list, zones, CSV for spreadsheets, and what a screen cannot hold."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path

import pytest
from freezegun import freeze_time

from tests import disclosures as d
from tests.cli.screens import screen
from tests.cli.terminal import show
from tests.conftest import Cli
from tradelog.cli import render
from tradelog.cli.render import Column
from tradelog.decide import record
from tradelog.domain.account import AccountKey
from tradelog.ingest.run import IngestionRun
from tradelog.store.writer import Writer

ACCOUNT = AccountKey("simulated", "paper", "default")
# 20:30 in New York is tomorrow in UTC.
EVENING = "2026-01-01T01:30:00Z"


def decided(writer: Writer, count: int, **values: object) -> None:
    given = {
        "strategy": "manual",
        "symbol": "AAPL",
        "side": "buy",
        "quantity": 1,
        "rationale": {"why": "=1+1"},
        **values,
    }
    for _ in range(count):
        record.record(writer, ACCOUNT, record.parse(given))


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_trades_are_what_executed_with_price_and_reason(cli: Cli, writer: Writer) -> None:
    decided(writer, 2)
    decided(writer, 1, symbol="NOPRICE")
    decided(writer, 1, symbol="MSFT", strategy="bot", rationale={"trigger_event": "it rang"})
    assert cli("run-worker", "--once").code == 0
    result = json.loads(cli("trades", "--json").out)
    assert result["total"] == 3
    assert {(row["symbol"], row["price"], row["why"]) for row in result["trades"]} == {
        ("AAPL", "100", "=1+1"),
        ("MSFT", "200", "it rang"),
    }
    assert json.loads(cli("trades", "--symbol", "aapl", "--json").out)["total"] == 2
    only = json.loads(cli("trades", "--strategy", "bot", "--json").out)
    assert (only["total"], only["trades"][0]["value"]) == (1, "200")
    assert json.loads(cli("trades", "--limit", "1", "--json").out)["total"] == 3
    assert cli("trades", "--year", "2020").out.endswith("nothing executed\n")


def test_no_cell_of_a_csv_is_a_formula(cli: Cli, writer: Writer) -> None:
    decided(writer, 1)
    assert cli("run-worker", "--once").code == 0
    (row,) = read(cli("trades", "--csv").out)
    assert (row["why"], row["quantity"], row["symbol"]) == ("'=1+1", "1", "AAPL")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        *(("=A1", "'=A1"), ("+1+1", "'+1+1"), ("-1+1", "'-1+1"), ("@SUM(1)", "'@SUM(1)"), ("＝A1", "'＝A1")),
        *(("-12.5", "-12.5"), ("12", "12"), ("a=b", "a=b"), ("", ""), ("-", "'-")),
        ("\t=A1", "\\u0009=A1"),
        ('a,b"c', 'a,b"c'),
        ("two\nlines", "two\\u000alines"),
    ],
)
def test_a_cell_is_text_or_a_number(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    render.as_csv([Column("a", "A")], [{"a": text}])
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [["a"], [shown] if shown else [""]]


def test_a_year_is_the_markets_wherever_the_machine_is(cli: Cli, writer: Writer) -> None:
    """New Year's Eve in New York is New Year in UTC."""
    with freeze_time(EVENING):
        decided(writer, 1)
    for zone in ("UTC", "Asia/Tokyo", "America/Los_Angeles"):
        assert json.loads(cli("decisions", "--year", "2025", "--json", TZ=zone).out)["total"] == 1
        assert json.loads(cli("decisions", "--year", "2026", "--json", TZ=zone).out)["total"] == 0
    result = json.loads(cli("decisions", "--year", "2026", "--tz", "UTC", "--json").out)
    assert (result["total"], result["period"]) == (1, "2026-01-01 to 2026-12-31 (UTC)")
    (row,) = read(cli("decisions", "--csv").out)
    assert row["created"] == "2025-12-31 20:30:00"
    (row,) = read(cli("decisions", "--csv", "--tz", "UTC").out)
    assert row["created"] == "2026-01-01 01:30:00"


def test_a_report_as_one_list(cli: Cli, writer: Writer) -> None:
    decided(writer, 2)
    assert cli("run-worker", "--once").code == 0
    rows = read(cli("report", "AAPL", "--csv").out)
    assert [row["what"] for row in rows] == ["decision", "decision", "trade", "trade"]
    assert rows[0]["status"] == "executed"
    assert rows[2]["price"] == "100"
    assert len(read(cli("report", "AAPL", "--csv", "--limit", "1").out)) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("decisions", "--json", "--csv"), "--json or --csv"),
        (("trades", "--limit", "2", "--all"), "--limit or --all"),
        (("trades", "--limit", "0"), "0 is not in the range"),
        (("report", "AAPL", "--tz", "Mars/Olympus"), "unknown time zone 'Mars/Olympus'"),
        (("failures", "--year", "2025", "--from", "2025-01-01"), "not both"),
    ],
)
def test_what_cannot_be_asked_for(cli: Cli, writer: Writer, arguments: tuple[str, ...], said: str) -> None:
    ended = cli(*arguments)
    assert ended.code == 2
    assert said in ended.err


@pytest.mark.parametrize(
    ("counts", "bars"), [([], ""), ([0, 0], "  "), ([1, 4, 8], "▁▄█"), ([5], "█"), ([0, 1], " █")]
)
def test_bars(counts: list[int], bars: str) -> None:
    assert render.sparkline(counts) == bars


def is_paged(home: Path, lines: int, *arguments: str) -> bool:
    """Whether a pager, which says where it begins, is given what a screen so high cannot hold."""
    pager = home / "pager.py"
    pager.write_text("import sys\nprint('PAGED')\nsys.stdout.write(sys.stdin.read())\n")
    return "PAGED" in screen(home, *arguments, lines=lines, pager=f"{sys.executable} {pager}")


def test_what_is_longer_than_the_screen_is_paged(home: Path, writer: Writer) -> None:
    decided(writer, 30)
    assert is_paged(home, 24, "decisions")
    assert not is_paged(home, 200, "decisions")
    assert not is_paged(home, 24, "decisions", "--limit", "3")


@pytest.mark.parametrize(
    ("command", "key"),
    [(("decisions",), "decisions"), (("trades",), "trades"), (("report", "AAPL"), "trades")],
)
def test_what_a_program_reads_is_complete(
    home: Path, writer: Writer, command: tuple[str, ...], key: str
) -> None:
    """A terminal list shows the newest 50; JSON and CSV hold all rows, unless --limit says otherwise."""
    decided(writer, 61)
    assert show(home, "run-worker", "--once").code == 0
    assert len(json.loads(show(home, *command, "--json").out)[key]) == 61
    result = read(show(home, *command, "--csv").out)
    assert len([row for row in result if row.get("what", "trade") == "trade"]) == 61
    assert len(json.loads(show(home, *command, "--json", "--limit", "7").out)[key]) == 7
    assert len(read(show(home, *command, "--csv", "--limit", "7").out)) == (
        14 if command[0] == "report" else 7
    )
    piped = show(home, *command)
    assert piped.out.count("\taapl\t".upper()) == (0 if command[0] == "report" else 50)
    assert re.search(r"50 (newest )?of 61", piped.err)


def test_every_list_of_json_is_complete(home: Path, writer: Writer) -> None:
    rows = [d.house_row(f"Member {number}", "AAPL", d.today()) for number in range(53)]
    d.write(home / "house.csv", d.house_csv(rows))
    assert show(home, "fetch", "congress", "--file", str(home / "house.csv")).code == 0
    assert len(json.loads(show(home, "known", "AAPL", "--json").out)["versions"]) == 53
    for number in range(53):
        with IngestionRun(writer, "data_fetch:x", "x", empty_is_normal=True):
            pass
        lift = ("max_order_notional", str(1000 + number), "--why", "x", "--until", "2999-01-01")
        assert show(home, "limits", "set", *lift).code == 0
    assert len(json.loads(show(home, "runs", "--json").out)["runs"]) == 54
    run_id = json.loads(show(home, "runs", "--json").out)["runs"][-1]["run_id"]
    assert len(json.loads(show(home, "show", run_id, "--json").out)["run"]["records"]) == 53
    assert len(json.loads(show(home, "limits", "--history", "--json").out)["events"]) >= 53
