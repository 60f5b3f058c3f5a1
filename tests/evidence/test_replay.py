"""Replaying a decision: the same strategy on just what it had, and nothing written."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.evidence.conftest import Change, run
from tradelog import prices
from tradelog.config.load import load_config
from tradelog.decide import context
from tradelog.decide import run as running
from tradelog.decide.strategies import consensus
from tradelog.decide.strategies.base import Signal
from tradelog.decide.strategies.congress import CongressionalTradingStrategy, CongressParameters
from tradelog.evidence import replay
from tradelog.store.reader import Reader


def one(store: Path, sql: str) -> Any:
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchone()[0]
    finally:
        connection.close()


def decision(store: Path, symbol: str) -> str:
    which = f"symbol = '{symbol}' AND strategy_name = 'congress'"
    return str(one(store, f"SELECT decision_id FROM trade_decisions WHERE {which}"))


def signal_of(store: Path, symbol: str) -> str:
    return str(one(store, f"SELECT signal_id FROM signals WHERE symbol = '{symbol}'"))


def again(home: Path, store: Path, symbol: str, **asked: bool) -> replay.Replayed:
    with Reader(store) as reader:
        return replay.replay(reader, load_config(home / "tradelog.toml"), signal_of(store, symbol), **asked)


@pytest.mark.parametrize("symbol", ["AAPL", "LMT", "V"])
def test_a_decision_says_the_same_and_nothing_is_written(home: Path, store: Path, symbol: str) -> None:
    before = store.read_bytes()
    ended = run(home, "replay", decision(store, symbol))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"{decision(store, symbol)} of congress 2: same\n"
    assert store.read_bytes() == before


def test_a_signal_that_was_not_taken_is_replayed_as_well(home: Path, store: Path) -> None:
    ended = run(home, "replay", signal_of(store, "PYPL"), "--json")
    assert ended.code == 0
    assert json.loads(ended.out)["replay"]["verdict"] == "same"


def test_what_is_learnt_later_changes_no_replay(home: Path, store: Path) -> None:
    """Months later, with restated and withdrawn filings in the store, the old answer still comes out."""
    lines = (home / "again.csv").read_text().splitlines()
    (home / "less.csv").write_text("\n".join(lines[:2]) + "\n")
    ended = run(home, "fetch", "congress", "--file", "less.csv", "--complete", "--allow-shrink")
    assert ended.code == 0, ended
    expected = decision(store, "AAPL")
    assert run(home, "replay", expected).code == 0
    # Knowing that the source has withdrawn them, nothing would be decided on the same day.
    ended = run(home, "replay", expected, "--as-of-now")
    assert ended.code == 1
    assert "different, on what is known today of the same filings" in ended.out
    assert "signal\tbuy AAPL\t—" in ended.out


def test_other_code_is_not_the_code_of_then(home: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "code_hash", lambda strategy: "f" * 64)
    result = again(home, store, "AAPL")
    assert result.verdict == replay.NOT_REPLAYABLE
    assert "its code was" in str(result.why)
    assert again(home, store, "AAPL", current_code=True).verdict == replay.SAME


def test_another_version_is_not_the_version_of_then(
    home: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CongressionalTradingStrategy, "version", "3")
    result = again(home, store, "AAPL")
    assert result.verdict == replay.NOT_REPLAYABLE
    assert "it was version 2, and this is version 3" in str(result.why)
    assert again(home, store, "AAPL", current_code=True).verdict == replay.SAME


def test_what_todays_code_would_say_otherwise_is_named(
    home: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from decimal import Decimal

    monkeypatch.setattr(consensus, "size", lambda *seen: (None, Decimal(250), None))
    result = again(home, store, "AAPL", current_code=True)
    assert result.verdict == replay.DIFFERENT
    assert result.differences == (replay.Difference("notional", "1000", "250"),)
    result = again(home, store, "PYPL", current_code=True)
    assert {(item.what, item.then, item.now) for item in result.differences} == {
        ("taken", False, True),
        ("reason", "no position to sell", None),
    }


def test_a_strategy_that_would_not_decide_at_all(
    home: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing: list[Signal] = []
    monkeypatch.setattr(CongressionalTradingStrategy, "evaluate", lambda self, seen: nothing)
    result = again(home, store, "AAPL", current_code=True)
    assert result.differences == (replay.Difference("signal", "buy AAPL", None),)


def test_parameters_are_those_of_then_whatever_is_configured_now(home: Path, store: Path) -> None:
    text = (home / "tradelog.toml").read_text()
    assert "min_members = 3" in text
    (home / "tradelog.toml").write_text(text.replace("min_members = 3", "min_members = 9"))
    assert run(home, "replay", decision(store, "AAPL")).code == 0


@pytest.mark.tampered
def test_an_input_that_is_not_there_any_more_is_named(home: Path, store: Path, change: Change) -> None:
    version = one(
        store,
        "SELECT min(i.version_id) FROM decision_inputs i JOIN trade_decisions d ON d.id = i.decision"
        " WHERE d.symbol = 'AAPL'",
    )
    change(f"DELETE FROM record_versions WHERE version_id = {version}")
    ended = run(home, "replay", decision(store, "AAPL"))
    assert ended.code == 3
    assert f"1 of its record versions are not in the store: {version}" in ended.out


@pytest.mark.tampered
def test_an_input_that_was_changed_gives_another_answer(home: Path, store: Path, change: Change) -> None:
    change(
        "UPDATE record_versions SET actor = 'Somebody Else' WHERE version_id = (SELECT min(i.version_id)"
        " FROM decision_inputs i JOIN trade_decisions d ON d.id = i.decision WHERE d.symbol = 'AAPL')"
    )
    ended = run(home, "replay", decision(store, "AAPL"))
    assert ended.code == 1
    assert "Somebody Else" in ended.out


def test_what_no_strategy_of_ours_decided_cannot_be_replayed(home: Path, store: Path) -> None:
    by_hand = one(store, "SELECT decision_id FROM trade_decisions WHERE symbol = 'NOPRICE'")
    ended = run(home, "replay", str(by_hand))
    assert ended.code == 3
    assert "tradelog has its rationale, not its code" in ended.out
    line = {"strategy": "bot", "symbol": "AAPL", "side": "buy", "quantity": "1", "rationale": {"why": "x"}}
    (home / "line.json").write_text(json.dumps(line) + "\n")
    assert run(home, "decide", "--input", "line.json").code == 0
    mine = one(store, "SELECT decision_id FROM trade_decisions WHERE strategy_name = 'bot'")
    ended = run(home, "replay", str(mine))
    assert ended.code == 3
    assert "bot recorded it by itself" in ended.out


@pytest.mark.parametrize(("asked", "code"), [("dec_zzzzzzzzzzzz", 3), ("", 2), ("d", 2)])
def test_an_id_that_names_nothing(home: Path, asked: str, code: int) -> None:
    assert run(home, "replay", asked).code == code


def test_a_context_is_read_back_as_it_was_written_down(home: Path, store: Path) -> None:
    """With names that two feeds share, resolved in one of them only."""
    from tests import filings as f

    config = load_config(home / "tradelog.toml")
    people = [f.legislator("P000197", "Nancy", "Pelosi"), f.legislator("G000583", "Josh", "Gottheimer")]
    (home / "people.json").write_text(f.as_json(people))
    assert run(home, "fetch", "committees", "--file", "people.json").code == 0
    strategy = CongressionalTradingStrategy(CongressParameters(min_members=1))
    with Reader(store) as reader:
        seen = context.current(
            reader.connection, strategy, config.account, running.date(2021, 11, 26), backfill=True
        )
        assert {item.person for item in seen.disclosures} > {None}
        markets = {"AAPL": prices.load(config.market.prices).context("AAPL", seen.as_of)}
        written = json.loads(json.dumps(context.recorded(seen, markets)))
        recalled = context.recall(reader.connection, written)
    assert recalled.context == seen
    assert recalled.markets == markets
    assert recalled.missing == ()
