"""Figures of closed days: forgotten when something of their day changes, never different from the rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time
from freezegun.api import FrozenDateTimeFactory
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.books import Books
from tests.fakes.direct import DirectBroker
from tradelog.config.load import load_config
from tradelog.config.schema import Config
from tradelog.decide import record
from tradelog.domain.account import AccountKey
from tradelog.evidence import verify
from tradelog.execute.worker import Worker
from tradelog.store import figures
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer

ZONE = "America/New_York"
ALL = ("", "~")


@pytest.fixture
def config(home: Path) -> Config:
    (home / "tradelog.toml").write_text(
        '[store]\nurl = "sqlite:///store/log.db"\n[broker]\nname = "alpaca"\n'
        '[risk]\nmax_age_seconds = "off"\n'
    )
    return load_config(home / "tradelog.toml")


@pytest.fixture
def moving() -> Iterator[FrozenDateTimeFactory]:
    """A clock that only a test moves, in the future: a store's time never goes back."""
    with freeze_time("2031-03-05T15:00:00Z") as frozen:
        yield frozen


def decided(writer: Writer, config: Config, **more: object) -> str:
    values = {
        "strategy": "manual",
        "symbol": "AAPL",
        "side": "buy",
        "quantity": "2",
        "rationale": {"why": "x"},
        **more,
    }
    return record.record(writer, config.account, record.parse(values)).decision_id


def agreed(writer: Writer, config: Config) -> figures.ByStrategy:
    """What the memory and the rows both say."""
    result = figures.of(writer.rows, config.account, *ALL)
    assert result == figures.count(writer.rows, config.account, *ALL)
    return result


def kept(writer: Writer) -> int:
    return int(writer.rows("SELECT count(*) AS number FROM report_figures")[0]["number"])


def test_the_report_cache_counts_a_late_end_again(
    writer: Writer, config: Config, moving: FrozenDateTimeFactory
) -> None:
    """Recorded on one day, sent on the next but one, filled on a third: each time after its day was kept."""
    books = Books()
    worker = Worker(writer, DirectBroker(books), config)
    worker.start()
    decided(writer, config, order_type="limit", limit_price="90", time_in_force="gtc")
    moving.tick(timedelta(days=2))
    assert figures.remember(writer, config.account, ZONE, seconds=10)
    before = kept(writer)
    assert before > 0
    assert agreed(writer, config)["manual"].states == {"pending": 1}
    books.fills = False
    worker.drain()
    assert kept(writer) < before
    assert agreed(writer, config)["manual"].states == {"executing": 1}
    moving.tick(timedelta(days=1))
    assert figures.remember(writer, config.account, ZONE, seconds=10)
    (order_id,) = books.orders
    books.fill(order_id, None, "90")
    worker.poll()
    result = agreed(writer, config)["manual"]
    assert result.states == {"executed": 1}
    assert (result.ended, result.filled) == (1, Decimal(1))
    assert figures.remember(writer, config.account, ZONE, seconds=10)
    assert agreed(writer, config)["manual"] == result


def test_days_and_what_they_make_up_are_kept_and_hours_of_earlier_days_are_not(
    writer: Writer, config: Config, moving: FrozenDateTimeFactory
) -> None:
    for _ in range(70):
        decided(writer, config)
        moving.tick(timedelta(hours=11))
    assert figures.remember(writer, config.account, ZONE, seconds=10)
    spans = writer.rows("SELECT since, before FROM report_figures ORDER BY since, before")
    lengths = {(clock_of(row["before"]) - clock_of(row["since"])).days for row in spans}
    assert {0, 1, 10} < lengths
    assert any(length >= 28 for length in lengths)
    hours = [row for row in spans if (clock_of(row["before"]) - clock_of(row["since"])).days == 0]
    # The day that the clocks were put forward on is short of a day as well.
    assert {row["since"][:10] for row in hours} == {"2031-03-09", spans[-1]["since"][:10]}
    assert sum(agreed(writer, config)["manual"].states.values()) == 70
    moving.tick(timedelta(days=1))
    assert figures.remember(writer, config.account, ZONE, seconds=10)
    again = writer.rows("SELECT since, before FROM report_figures ORDER BY since, before")
    assert not {row["since"] for row in hours[1:]} & {
        row["since"] for row in again if (clock_of(row["before"]) - clock_of(row["since"])).seconds == 3600
    }


def clock_of(text: str) -> Any:
    from tradelog.domain import clock

    return clock.from_text(text)


def test_a_clock_that_was_ahead_and_is_put_right(
    writer: Writer, config: Config, moving: FrozenDateTimeFactory
) -> None:
    """Days that were kept are not over after all: what is decided on them then is counted."""
    decided(writer, config)
    moving.tick(timedelta(days=3))
    assert figures.remember(writer, config.account, ZONE, seconds=10)
    moving.tick(timedelta(days=-2))
    decided(writer, config)
    assert agreed(writer, config)["manual"].states == {"pending": 2}


OURS = "broker, environment, account, symbol"
EXECUTION = (
    f"INSERT INTO trade_executions (execution_id, decision_id, {OURS}, attempt_number, client_order_id,"
    f" status, filled_quantity, started_at) SELECT 'exe_' || ?2, decision_id, {OURS}, ?2, ?2, 'accepted',"
    " '0', created_at FROM trade_decisions WHERE decision_id = ?1"
)
CALL = (
    "INSERT INTO broker_calls (execution_id, purpose, method, url, status, body_encoding, started_at,"
    " ended_at) SELECT execution_id, 'submit', 'POST', 'u', 200, 'utf-8', started_at, started_at"
    " FROM trade_executions"
)
FILL = (
    f"INSERT INTO fills (fill_id, broker_order_id, execution_id, {OURS}, side, quantity, price, price_basis,"
    f" transaction_time, seen_at) SELECT 'f', 'o', execution_id, {OURS}, 'buy', '1', '1', 'x', started_at,"
    " started_at FROM trade_executions"
)


@pytest.mark.tampered
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trade_decisions SET status = 'failed' WHERE decision_id = ?1 AND ?2",
        EXECUTION,
        "UPDATE trade_executions SET filled_quantity = '2' WHERE decision_id = ?1 AND ?2",
        f"{CALL} WHERE decision_id = ?1 AND ?2",
        f"{FILL} WHERE decision_id = ?1 AND ?2",
    ],
)
def test_whatever_is_written_of_a_decision_forgets_its_days(
    writer: Writer, config: Config, moving: FrozenDateTimeFactory, statement: str
) -> None:
    """By whatever way: the trigger does not ask who writes."""
    decision_id = decided(writer, config)
    writer.connection.execute(EXECUTION, (decision_id, 1))
    moving.tick(timedelta(days=40))
    assert figures.remember(writer, config.account, ZONE, seconds=10)
    before = kept(writer)
    writer.connection.execute(statement, (decision_id, 2))
    # Its day, its third of the month and its month.
    assert kept(writer) == before - 3
    agreed(writer, config)


def test_another_account_is_not_counted(
    writer: Writer, config: Config, moving: FrozenDateTimeFactory
) -> None:
    decided(writer, config)
    values = {"strategy": "manual", "symbol": "AAPL", "side": "buy", "quantity": "1", "rationale": "x"}
    record.record(writer, AccountKey("alpaca", "live", "default"), record.parse(values))
    moving.tick(timedelta(days=3))
    assert figures.remember(writer, config.account, ZONE, seconds=10)
    assert sum(agreed(writer, config)["manual"].states.values()) == 1


def test_what_is_written_meanwhile_is_not_missed(
    writer: Writer, config: Config, moving: FrozenDateTimeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count that a commit overtakes is not kept: it is of before it."""
    decision_id = decided(writer, config)
    moving.tick(timedelta(days=1))
    counted = figures.count

    def overtaken(*given: Any) -> figures.ByStrategy:
        result = counted(*given)
        monkeypatch.setattr(figures, "count", counted)
        with writer.transaction() as tx:
            tx.update("trade_decisions", decision_id, {"status": "cancelled"})
            tx.journal("decision.cancelled", decision_id)
        return result

    monkeypatch.setattr(figures, "count", overtaken)
    assert not figures.remember(writer, config.account, ZONE, seconds=10)
    assert kept(writer) == 0
    assert figures.remember(writer, config.account, ZONE, seconds=10)
    assert agreed(writer, config)["manual"].states == {"cancelled": 1}


@pytest.mark.tampered
@pytest.mark.parametrize("body", ["{}", "not JSON", '{"manual": {}}'])
def test_figures_that_were_changed_by_hand_are_found(
    writer: Writer, config: Config, moving: FrozenDateTimeFactory, body: str
) -> None:
    """No digest covers them: verifying counts them anew."""
    decided(writer, config)
    moving.tick(timedelta(days=40))
    assert figures.remember(writer, config.account, ZONE, seconds=10)
    with Reader(config.store_path) as reader:
        assert verify.verify(reader).findings == ()
        writer.connection.execute("UPDATE report_figures SET body = ? WHERE body LIKE '%manual%'", (body,))
        result = verify.verify(reader).findings
    # The day, the third of the month and the month.
    assert [item.check for item in result] == ["figures"] * 3


def test_a_worker_keeps_them(writer: Writer, config: Config, moving: FrozenDateTimeFactory) -> None:
    worker = Worker(writer, DirectBroker(Books()), config)
    worker.start()
    decided(writer, config)
    moving.tick(timedelta(days=1))
    worker.update_report_cache()
    assert kept(writer) > 0


def test_an_empty_store_has_none(writer: Writer, config: Config) -> None:
    assert figures.remember(writer, config.account, ZONE, seconds=10)
    assert figures.of(writer.rows, config.account, *ALL) == {}


@given(st.integers(0, 10**9))
def test_times_have_two_digits(milliseconds: int) -> None:
    result = figures.rounded(milliseconds)
    assert milliseconds <= result <= max(milliseconds * 1.1, milliseconds + 1)
    assert len(str(result).rstrip("0")) <= 2
    assert figures.rounded(result) == result


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(1, 100))
def test_percentiles_are_by_nearest_rank(values: list[int], share: int) -> None:
    counts = {value: values.count(value) for value in values}
    ordered = sorted(values)
    assert figures.percentile(counts, share) == ordered[-(-len(values) * share // 100) - 1]
