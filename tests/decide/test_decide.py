"""Decisions by hand and by program: all or nothing, and every refusal names its field."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

import tradelog
from tests.conftest import Cli, process_environment, scalar
from tradelog.config.schema import Config
from tradelog.decide import record
from tradelog.errors import InvalidDecision
from tradelog.store.writer import Writer


def test_a_manual_decision_is_recorded_with_its_reason(cli: Cli) -> None:
    """Point 7."""
    ended = cli("decide", "buy", "10", "AAPL", "--why", "a [red]reason[/red]")
    assert ended.code == 0, ended.err
    decision_id = ended.out.split()[0]
    shown = json.loads(cli("show", decision_id[4:9], "--json").out)["decision"]
    assert (shown["strategy_name"], shown["status"], shown["quantity"]) == ("manual", "pending", "10")
    assert shown["decision_rationale"]["why"] == "a [red]reason[/red]"
    assert shown["client_order_id"].startswith(f"tl-{decision_id[4:]}-{shown['decision_hash'][:12]}-1")
    assert len(shown["client_order_id"]) <= 48


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("buy", "10", "AAPL"), "reason"),
        (("hold", "10", "AAPL", "--why", "x"), "side"),
        (("buy", "-1", "AAPL", "--why", "x"), "no such option"),
        (("buy", "0", "AAPL", "--why", "x"), "quantity"),
        (("buy", "NaN", "AAPL", "--why", "x"), "quantity"),
        (("buy", "1e400", "AAPL", "--why", "x"), "quantity"),
        (("buy", "1.0000000001", "AAPL", "--why", "x"), "nine decimals"),
        (("buy", "1.0000000000000000000000000000000000001", "AAPL", "--why", "x"), "nine decimals"),
        (("buy", "1", "A PL", "--why", "x"), "symbol"),
        (("buy", "1", "AAPL", "--limit", "11.055", "--why", "x"), "limit_price"),
        (("buy", "1", "AAPL", "--type", "limit", "--why", "x"), "limit_price"),
        (("buy", "1", "AAPL", "--type", "moon", "--why", "x"), "order_type"),
        (("buy", "1.5", "AAPL", "--tif", "gtc", "--why", "x"), "time_in_force"),
        (("buy", "1", "AAPL", "--extended-hours", "--why", "x"), "extended_hours"),
        (("buy", "1", "AAPL", "--notional", "5", "--why", "x"), "quantity"),
        (("buy", "AAPL", "--notional", "5.001", "--why", "x"), "notional"),
        (("buy", "1", "AAPL", "--expires", "tomorrow", "--why", "x"), "expires_at"),
    ],
)
def test_what_cannot_stand_is_refused_by_field(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    ended = cli("decide", *arguments)
    assert ended.code == 2
    assert said in ended.err
    assert cli("report", "AAPL").code in (3, 5)


@pytest.mark.parametrize("symbol", ["BRK.B", "BTC/USD", "aapl"])
def test_symbols_as_the_broker_writes_them(writer: Writer, symbol: str) -> None:
    values = {"strategy": "manual", "symbol": symbol, "side": "buy", "quantity": "1", "rationale": "x"}
    assert record.parse(values).terms.symbol == symbol.upper()


def test_ndjson_is_answered_line_by_line(cli: Cli) -> None:
    lines = [
        {"symbol": "AAPL", "side": "buy", "quantity": 1, "strategy": "bot", "rationale": {"score": 0.5}},
        {"strategy": "manual", "rationale": "x", "symbol": "AAPL", "side": "buy"},
        {
            "strategy": "manual",
            "symbol": "AAPL",
            "side": "buy",
            "notional": "12.50",
            "rationale": "x",
            "colour": "red",
        },
        {
            "strategy": "manual",
            "symbol": "MSFT",
            "side": "sell",
            "quantity": "0.000000001",
            "rationale": "just because",
        },
        {
            "strategy": "manual",
            "symbol": "AAPL",
            "side": "buy",
            "quantity": 1,
            "rationale": "x",
            "inputs": [77],
        },
    ]
    text = (
        "\n".join(json.dumps(line) for line in lines) + '\n\nno json\n[1]\n{"symbol": "A", "symbol": "B"}\n'
    )
    ended = cli("decide", "--input", "-", stdin=text)
    answers = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.code == 1
    assert [answer["line"] for answer in answers] == [1, 2, 3, 4, 5, 7, 8, 9]
    assert [answer.get("field") for answer in answers] == [
        *(None, "quantity", "colour", None, "inputs", "line", "line", "line")
    ]
    for answer in (answers[0], answers[3]):
        assert answer["decision_id"].startswith("dec_")
    shown = json.loads(cli("show", answers[3]["decision_id"], "--json").out)["decision"]
    assert shown["quantity"] == "0.000000001"
    assert json.loads(cli("report", "AAPL", "--json").out)["summary"]["decisions"] == 1


def test_json_numbers_keep_their_digits(cli: Cli) -> None:
    """Invariant 8: 123456789.123456789 is no float on its way in."""
    line = json.dumps({"strategy": "bot", "symbol": "AAPL", "side": "buy", "rationale": {"x": 0.1}})
    line = line.replace("{", '{"quantity": 123456789.123456789, ', 1)
    answer = json.loads(cli("decide", "--input", "-", stdin=line).out)
    shown = json.loads(cli("show", answer["decision_id"], "--json").out)["decision"]
    assert shown["quantity"] == "123456789.123456789"
    assert shown["decision_rationale"]["x"] == 0.1


def test_bytes_that_are_no_utf8_cost_their_line(cli: Cli) -> None:
    good = b'{"strategy": "manual", "symbol": "AAPL", "side": "buy", "quantity": 1, "rationale": "x"}\n'
    ended = cli("decide", "--input", "-", stdin=b'{"symbol": "\xff"}\n' + good)
    first, second = (json.loads(line) for line in ended.out.splitlines())
    assert first["field"] == "line"
    assert "decision_id" in second


def test_the_library_refuses_floats_and_keeps_decimals(home: object, config: Config) -> None:
    with tradelog.open_log(config.path, actor="bot") as log:
        with pytest.raises(InvalidDecision, match="quantity"):
            log.decide(strategy="bot", rationale="x", symbol="AAPL", side="buy", quantity=1.5)
        with pytest.raises(InvalidDecision, match="rationale"):
            log.decide(strategy="bot", symbol="AAPL", side="buy", quantity=1, rationale={"x": object()})
        log.decide(
            strategy="bot",
            symbol="AAPL",
            side="buy",
            quantity=Decimal("1.50"),
            rationale={"price": Decimal("1.10")},
        )
        report = log.report("aapl")
    assert report.decisions[0]["quantity"] == "1.5"
    assert report.summary.decisions == 1


def test_inputs_must_have_been_seen_before(writer: Writer, config: Config) -> None:
    """Invariant 7: a version that the future brings cannot be a reason today."""
    from tests.ingest.test_run import record as row
    from tradelog.ingest.run import IngestionRun

    with IngestionRun(writer, "data_fetch:x", "x") as run:
        run.add(row())
    version = scalar(writer, "SELECT version_id FROM record_versions")
    values = {
        "strategy": "manual",
        "symbol": "AAPL",
        "side": "buy",
        "quantity": 1,
        "rationale": "x",
        "inputs": [version, version],
    }
    record.record(writer, config.account, record.parse(values))
    assert scalar(writer, "SELECT count(*) FROM decision_inputs") == 1
    with pytest.raises(InvalidDecision, match="no record version"):
        record.record(writer, config.account, record.parse(values | {"inputs": [version + 1]}))
    assert scalar(writer, "SELECT count(*) FROM trade_decisions") == 1


def test_no_line_stops_the_next_ones(cli: Cli) -> None:
    base = '"symbol": "AAPL", "side": "buy", "quantity": 1'
    reason, bot = '"rationale": "x"', '"strategy": "bot"'
    odd = [
        '"rationale": {"a": 1e400}',
        '"rationale": "\\ud800"',
        '"strategy": "\\ud800"',
        '"inputs": [true]',
        '"inputs": [99999999999999999999999]',
        '"extended_hours": "yes"',
        '"expires_at": 5',
        '"expires_at": "0001-01-01"',
        '"rationale": []',
    ]
    odd = [
        ", ".join((item, *(more for more in (reason, bot) if more.split(":")[0] not in item))) for item in odd
    ]
    text = "\n".join(f"{{{base}, {item}}}" for item in odd) + f"\n{{{base}, {reason}, {bot}}}\n"
    answers = [json.loads(line) for line in cli("decide", "--input", "-", stdin=text).out.splitlines()]
    assert ["error" in answer for answer in answers] == [True] * len(odd) + [False]


def test_a_reason_that_is_no_text_is_refused(cli: Cli) -> None:
    ended = cli("decide", "buy", "1", "AAPL", "--why", "x\udcff")
    assert ended.code == 2
    assert "rationale" in ended.err


@pytest.mark.parametrize("output", [">/dev/full", "--json >/dev/full"])
def test_a_decision_that_cannot_be_printed_is_not_called_a_failure(cli: Cli, home: Path, output: str) -> None:
    shell = f"{sys.executable} -m tradelog decide buy 1 AAPL --why x {output}"
    ended = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, env=process_environment(home), check=False
    )
    assert "IS recorded" in ended.stderr
    assert "do not decide it again" in ended.stderr
    assert len(json.loads(cli("report", "AAPL", "--json").out)["decisions"]) == 1


def test_without_standard_output_nothing_is_recorded(cli: Cli, home: Path) -> None:
    shell = f"{sys.executable} -m tradelog decide buy 1 AAPL --why x --json >&-"
    ended = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, env=process_environment(home), check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: standard output is closed\nhint: ")
    assert cli("decisions", "--json").code == 5


def test_an_empty_type_is_no_market_order(cli: Cli) -> None:
    """As of an unset variable in a script."""
    ended = cli("decide", "buy", "1", "AAPL", "--why", "x", "--type", "")
    assert ended.code == 2
    assert "order_type" in ended.err
