"""A key makes a decision that comes twice one: at every door, for each strategy and account."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import tradelog
from tests.conftest import Cli, scalar
from tradelog.config.schema import Config
from tradelog.decide import record
from tradelog.domain.account import AccountKey
from tradelog.errors import InvalidDecision
from tradelog.store.writer import Writer

ACCOUNT = AccountKey("simulated", "paper", "default")
VALUES: dict[str, Any] = {
    **{"key": "2026-11-27/AAPL", "strategy": "bot", "symbol": "AAPL", "side": "buy", "quantity": "10"},
    **{"rationale": {"why": "x", "score": "0.9"}, "order_type": "limit", "limit_price": "100"},
}


def decide(writer: Writer, account: AccountKey = ACCOUNT, **changes: Any) -> record.Recorded:
    return record.record(writer, account, record.parse(VALUES | changes))


def count(writer: Writer) -> int:
    return int(scalar(writer, "SELECT count(*) FROM trade_decisions"))


@pytest.mark.parametrize(
    "same",
    [
        {},
        {"quantity": "10.0"},
        {"symbol": "aapl"},
        {"rationale": {"score": "0.9", "why": "x"}},
        {"rationale": {"why": "x", "score": "0.9", "data_lineage": "forged"}},
        {"time_in_force": "day"},
    ],
)
def test_the_same_decision_is_answered_with_the_first_id(writer: Writer, same: dict[str, Any]) -> None:
    first = decide(writer)
    entries = scalar(writer, "SELECT count(*) FROM journal")
    again = decide(writer, **same)
    assert (first.is_repeat, again.is_repeat) == (False, True)
    assert (again.decision_id, again.client_order_id) == (first.decision_id, first.client_order_id)
    assert (count(writer), scalar(writer, "SELECT count(*) FROM journal")) == (1, entries)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"quantity": "11"}, "quantity"),
        ({"quantity": None, "notional": "100"}, "quantity"),
        ({"symbol": "MSFT"}, "symbol"),
        ({"side": "sell"}, "side"),
        ({"limit_price": "101"}, "limit_price"),
        ({"order_type": "market", "limit_price": None}, "order_type"),
        ({"time_in_force": "gtc"}, "time_in_force"),
        ({"extended_hours": True}, "extended_hours"),
        ({"order_type": "trailing_stop", "limit_price": None, "trail_price": "5"}, "order_type"),
        ({"rationale": "y"}, "rationale"),
        ({"expires_at": "2030-01-01T00:00:00Z"}, "expires_at"),
    ],
)
def test_another_decision_under_a_used_key_is_refused(
    writer: Writer, other: dict[str, Any], named: str
) -> None:
    first = decide(writer)
    with pytest.raises(InvalidDecision, match=f"{first.decision_id}, whose {named} is another") as refused:
        decide(writer, **other)
    assert refused.value.field == "key"
    assert count(writer) == 1


def test_another_trail_is_another_decision(writer: Writer) -> None:
    trailing = {"order_type": "trailing_stop", "limit_price": None}
    decide(writer, **trailing, trail_price="5")
    with pytest.raises(InvalidDecision, match="trail_p"):
        decide(writer, **trailing, trail_percent="5")
    assert decide(writer, **trailing, trail_price="5.00").is_repeat


def test_other_inputs_are_another_decision(writer: Writer) -> None:
    from tests.ingest.test_run import record as row
    from tradelog.ingest.run import IngestionRun

    with IngestionRun(writer, "data_fetch:x", "x") as run:
        run.add(row())
    version = scalar(writer, "SELECT version_id FROM record_versions")
    decide(writer, inputs=[version])
    assert decide(writer, inputs=[version, version]).is_repeat
    with pytest.raises(InvalidDecision, match="inputs"):
        decide(writer)


def test_a_key_is_of_one_strategy_and_account(writer: Writer) -> None:
    accounts = (ACCOUNT, ACCOUNT._replace(account="second"), ACCOUNT._replace(environment="live"))
    made = [decide(writer, account) for account in accounts] + [decide(writer, strategy="other")]
    assert len({item.decision_id for item in made}) == 4
    assert not any(item.is_repeat for item in made)


def test_without_a_key_every_decision_is_one(writer: Writer) -> None:
    assert decide(writer, key=None).decision_id != decide(writer, key=None).decision_id


def test_a_key_is_part_of_what_was_meant(writer: Writer) -> None:
    import sqlite3

    decide(writer)
    with pytest.raises(sqlite3.IntegrityError):
        writer.connection.execute("UPDATE trade_decisions SET decision_key = 'other'")


def test_lines_that_come_again(cli: Cli) -> None:
    """Case 24: the same line twice made two orders."""
    text = json.dumps(VALUES) + "\n"
    first = json.loads(cli("decide", "--input", "-", stdin=text).out)
    again = cli("decide", "--input", "-", stdin=text * 2 + json.dumps(VALUES | {"quantity": 1}) + "\n")
    answers = [json.loads(line) for line in again.out.splitlines()]
    assert again.code == 1
    assert [answer.get("decision_id") for answer in answers] == [first["decision_id"]] * 2 + [None]
    assert [answer.get("is_repeat") for answer in answers] == [True, True, None]
    assert answers[2]["field"] == "key"


def test_on_the_command_line(cli: Cli) -> None:
    order = ("decide", "buy", "1", "AAPL", "--why", "x", "--strategy", "me", "--key", "k")
    first = cli(*order)
    again = cli(*order)
    assert (first.code, again.code) == (0, 0)
    assert again.out == f"{first.out.split()[0]} has this key already; nothing new was recorded\n"
    assert json.loads(cli(*order, "--json").out)["is_repeat"] is True
    other = cli("decide", "buy", "2", "AAPL", "--why", "x", "--strategy", "me", "--key", "k")
    assert (other.code, "whose quantity is another" in other.err) == (2, True)


def test_in_a_program_whose_threads_repeat_it(home: Path, config: Config) -> None:
    with tradelog.open_log(home / "tradelog.toml") as log:

        def once(_: int) -> str:
            return log.decide(**VALUES).decision_id

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(once, range(32)))) == 1


def test_a_program_s_decision_needs_a_strategy_and_a_reason(home: Path) -> None:
    with tradelog.open_log(home / "tradelog.toml") as log:
        for missing in ("strategy", "rationale", "symbol", "side"):
            with pytest.raises(TypeError, match=missing):
                log.decide(**{name: value for name, value in VALUES.items() if name != missing})
        with pytest.raises(TypeError, match="qty"):
            log.decide(**VALUES, qty=1)
        assert log.decide(**VALUES).is_repeat is False
