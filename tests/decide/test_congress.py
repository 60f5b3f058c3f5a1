"""The congress strategy: a pure function, and what running it records."""

from __future__ import annotations

import json
import random
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import disclosures as d
from tests.conftest import Cli, scalar
from tradelog.config.schema import Config
from tradelog.decide.strategies.base import Context, Disclosure, Episode, Portfolio
from tradelog.decide.strategies.congress import CongressionalTradingStrategy, CongressParameters
from tradelog.errors import ConfigError
from tradelog.ingest.run import IngestionRun
from tradelog.store.reader import Reader
from tradelog.store.run_digest import RunDigest
from tradelog.store.writer import Writer

DAY = date(2026, 3, 31)
NOBODY = Portfolio(None, None, None, None, "no snapshot")


def bought(
    version: int, member: str, days_ago: int, *, side: str = "purchase", symbol: str = "ABC"
) -> Disclosure:
    return Disclosure(version, symbol, member, side, DAY - timedelta(days_ago), None, "1001", "15000", False)


def signals(
    *found: Disclosure,
    as_of: date = DAY,
    portfolio: Portfolio = NOBODY,
    earlier: tuple[Episode, ...] = (),
    **parameters: object,
) -> list[object]:
    strategy = CongressionalTradingStrategy(CongressParameters(**parameters))  # type: ignore[arg-type]
    return strategy.evaluate(Context(as_of, found, portfolio, earlier))  # type: ignore[return-value]


def test_a_consensus_of_members_buys() -> None:
    result = signals(bought(1, "Ann", 20), bought(2, "Bo", 10), bought(3, "Cy", 5), bought(4, "Cy", 4))
    assert len(result) == 1
    signal = result[0]
    assert (signal.symbol, signal.side, signal.notional) == ("ABC", "buy", Decimal(1000))
    assert signal.episode == DAY - timedelta(5)
    assert signal.inputs == (1, 2, 3, 4)
    assert signal.rationale["consensus_detected"]["members"] == ["Ann", "Bo", "Cy"]
    assert signal.rationale["signal_strength"] == "0.5"
    assert signal.rationale["confidence_score"] == "1"
    assert "Cy" in signal.rationale["trigger_event"]


@pytest.mark.parametrize(
    "found",
    [
        (bought(1, "Ann", 20), bought(2, "Bo", 10)),
        (bought(1, "Ann", 20), bought(2, "Hon. Ann", 10), bought(3, "ANN", 5)),
        (bought(1, "Ann", 30), bought(2, "Bo", 10), bought(3, "Cy", 5)),
        (bought(1, "Ann", -1), bought(2, "Bo", 10), bought(3, "Cy", 5)),
        (bought(1, "Ann", 3), bought(2, "Bo", 2, side="sale"), bought(3, "Cy", 1)),
        (bought(1, "Ann", 3), bought(2, "Bo", 2), bought(3, "Cy", 1, symbol="XYZ")),
    ],
)
def test_no_consensus_no_signal(found: tuple[Disclosure, ...]) -> None:
    assert signals(*found) == []


def test_the_window_ends_with_the_as_of_day() -> None:
    rows = (bought(1, "Ann", 29), bought(2, "Bo", 10), bought(3, "Cy", 0))
    assert len(signals(*rows)) == 1
    assert signals(*rows, as_of=DAY - timedelta(1)) == []


def test_sales_exit_a_position_and_are_not_taken_without_one() -> None:
    rows = tuple(bought(n, f"M{n}", n, side="sale") for n in range(1, 4))
    held = Portfolio({"ABC": Decimal("7.5")}, Decimal(1), Decimal(1), "t", None)
    empty = Portfolio({}, Decimal(1), Decimal(1), "t", None)
    assert [(s.side, s.quantity, s.taken) for s in signals(*rows, portfolio=held)] == [
        ("sell", Decimal("7.5"), True)
    ]
    assert [s.reason for s in signals(*rows, portfolio=empty)] == ["no position to sell"]
    assert "unknown" in signals(*rows)[0].reason
    assert signals(*rows, portfolio=held, exit="none") == []


@given(st.lists(st.tuples(st.sampled_from("ABCDEF"), st.integers(0, 90)), max_size=25), st.integers(0, 2**32))
def test_it_is_pure_and_blind_to_the_order_of_rows(rows: list[tuple[str, int]], seed: int) -> None:
    result = [bought(n, member, ago) for n, (member, ago) in enumerate(rows)]
    shuffled = random.Random(seed).sample(result, len(result))
    assert signals(*result) == signals(*shuffled)


@given(st.lists(st.tuples(st.sampled_from("ABCDEF"), st.integers(0, 60)), min_size=3, max_size=20))
def test_while_a_consensus_lasts_every_day_names_the_same_episode(rows: list[tuple[str, int]]) -> None:
    """Run daily, it decides once: two days of one unbroken consensus give one key."""
    result = [bought(n, member, ago) for n, (member, ago) in enumerate(rows)]
    last: date | None = None
    for ago in range(60, -40, -1):
        now = signals(*result, as_of=DAY - timedelta(ago))
        if now and last is not None:
            assert now[0].episode == last
        last = now[0].episode if now else None


def test_a_late_filing_does_not_make_an_old_consensus_new() -> None:
    rows = (bought(1, "Ann", 10), bought(2, "Bo", 9), bought(3, "Cy", 5))
    late = bought(4, "Di", 8)
    decided = Episode("ABC", "buy", DAY - timedelta(5))
    assert signals(*rows)[0].episode == decided.started
    assert signals(*rows, late)[0].episode == DAY - timedelta(8)
    assert signals(*rows, late, earlier=(decided,))[0].episode == decided.started


@pytest.mark.parametrize(
    "wrong", [{"min_members": 0}, {"window_days": 0}, {"notional": Decimal(0)}, {"exit": "x"}]
)
def test_parameters_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        CongressParameters(**wrong)  # type: ignore[arg-type]


def load(cli: Cli, home: Path, *rows: dict[str, str]) -> None:
    assert cli("fetch", "congress", "--file", str(d.write(home / "h.csv", d.house_csv(rows)))).code == 0


def fresh(symbol: str = "AAPL", kind: str = "purchase") -> list[dict[str, str]]:
    return [d.house_row(f"Member {name}", symbol, d.today(), kind=kind) for name in ("One", "Two", "Three")]


def test_decides_once_per_signal(cli: Cli, home: Path) -> None:
    """Point 6, invariant 12: the second run answers with the first one's decision."""
    load(cli, home, *fresh())
    first = json.loads(cli("run-strategy", "congress", "--json").out)["signals"]
    assert [item["verdict"] for item in first] == ["decided"]
    second = json.loads(cli("run-strategy", "congress", "--json").out)["signals"]
    assert [item["verdict"] for item in second] == ["already decided"]
    assert second[0]["decision_id"] == first[0]["decision_id"]
    assert len(json.loads(cli("report", "AAPL", "--json").out)["decisions"]) == 1


def test_the_decision_carries_its_rationale_and_its_lineage(cli: Cli, home: Path, config: Config) -> None:
    """Point 6, invariant 7: inputs are the versions used, data_lineage their runs and no others."""
    load(cli, home, d.house_row("Other", "MSFT", d.today()))
    load(cli, home, *fresh())
    decided = json.loads(cli("run-strategy", "congress", "--json").out)["signals"][0]["decision_id"]
    shown = json.loads(cli("show", decided, "--json").out)["decision"]
    rationale = shown["decision_rationale"]
    assert {
        *("signal_strength", "confidence_score", "trigger_event", "source_data", "consensus_detected"),
        *("market_context", "portfolio_context", "data_lineage"),
    } <= set(rationale)
    versions = [row["version_id"] for row in shown["inputs"]]
    assert len(versions) == 3
    assert [item["record_version"] for item in rationale["source_data"]] == versions
    runs = rationale["data_lineage"]["ingestion_runs"]
    assert [run["versions"] for run in runs] == [versions]
    assert {run["run_id"] for run in runs} == {row["run_id"] for row in shown["inputs"]}
    assert rationale["portfolio_context"]["buying_power"] == "100000"
    assert rationale["portfolio_context"]["position"] == "0"
    market = rationale["market_context"]
    assert market["price"] is None
    assert "2026-01-05" in market["unavailable"]
    for row in shown["inputs"]:
        assert row["first_seen_at"] <= shown["created_at"]


def test_backfill_counts_with_as_of_only_and_is_shown_as_such(cli: Cli, home: Path) -> None:
    load(
        cli,
        home,
        *[row | {"disclosure_date": "10/04/2021", "transaction_date": "2021-09-01"} for row in fresh()],
    )
    assert "no signals" in cli("run-strategy", "congress").out
    then = json.loads(cli("run-strategy", "congress", "--as-of", "2021-10-20", "--json").out)
    assert then["includes_backfill"] is True
    shown = json.loads(cli("show", then["signals"][0]["decision_id"], "--json").out)["decision"]
    assert shown["decision_rationale"]["includes_backfill"] is True
    assert all(item["backfill"] for item in shown["decision_rationale"]["source_data"])
    assert "no signals" in cli("run-strategy", "congress", "--as-of", "2021-12-20").out


def test_dry_run_writes_nothing(cli: Cli, home: Path, config: Config) -> None:
    load(cli, home, *fresh())
    before = {path.name: path.read_bytes() for path in config.store_path.parent.glob("*.db")}
    result = json.loads(cli("run-strategy", "congress", "--dry-run", "--json").out)
    assert [item["verdict"] for item in result["signals"]] == ["would decide"]
    assert {path.name: path.read_bytes() for path in config.store_path.parent.glob("*.db")} == before


def test_a_signal_not_taken_is_kept_once_with_its_reason(cli: Cli, home: Path, config: Config) -> None:
    load(cli, home, *fresh(kind="sale_full"))
    for _ in range(2):
        result = json.loads(cli("run-strategy", "congress", "--json").out)["signals"]
        assert [(item["verdict"], item["reason"]) for item in result] == [
            ("not taken", "no position to sell")
        ]
    with Reader(config.store_path) as reader:
        assert reader.value("SELECT count(*) FROM signals WHERE taken = 0") == 1


def test_only_completed_runs_are_known(writer: Writer, config: Config, cli: Cli, home: Path) -> None:
    """Invariants 7 and 10: what a failed run had read is nobody's reason."""
    from tests.ingest.test_run import record

    with pytest.raises(RuntimeError), IngestionRun(writer, "data_fetch:x", "x") as run:
        run.add(record(symbol="AAPL", kind="congress_trade", actor="A", side="purchase"))
        run._staging.apply(writer, run._id, "x", "", RunDigest(run._writer.connection))
        raise RuntimeError
    version = scalar(writer, "SELECT version_id FROM record_versions")
    line = json.dumps(
        {
            "strategy": "manual",
            "symbol": "AAPL",
            "side": "buy",
            "quantity": 1,
            "rationale": "x",
            "inputs": [version],
        }
    )
    ended = cli("decide", "--input", "-", stdin=line)
    assert ended.code == 1
    assert "failed" in json.loads(ended.out)["error"]
    assert json.loads(cli("report", "AAPL", "--json").out)["data"] == []


def test_an_unknown_strategy_is_not_found(cli: Cli) -> None:
    ended = cli("run-strategy", "congres")
    assert ended.code == 3
    assert "did you mean 'congress'?" in ended.err


def test_a_misspelt_parameter_is_named(cli: Cli, home: Path) -> None:
    load(cli, home, *fresh())
    with (home / "tradelog.toml").open("a") as stream:
        stream.write("[strategies.congress]\nmin_member = 3\n")
    ended = cli("run-strategy", "congress")
    assert ended.code == 4
    assert "min_members" in ended.err


def test_a_ticker_that_is_no_symbol_costs_its_signal_only(cli: Cli, home: Path) -> None:
    load(cli, home, *fresh("LMT$A"), *fresh("AAPL"))
    result = json.loads(cli("run-strategy", "congress", "--json").out)["signals"]
    assert [(item["symbol"], item["verdict"]) for item in result] == [
        ("AAPL", "decided"),
        ("LMT$A", "not taken"),
    ]
    assert "no symbol" in result[1]["reason"]
