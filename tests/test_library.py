"""The library's door, as a bot uses it: enums of the broker's SDK, threads, and after the end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alpaca.trading.enums import OrderSide, OrderType, TimeInForce

import tradelog
from tradelog.errors import InvalidDecision, StoreError
from tradelog.store.reader import Reader


@pytest.fixture
def log(home: Path) -> tradelog.TradeLog:
    return tradelog.open_log(home / "tradelog.toml")


def test_enums_of_alpaca_py_are_accepted(log: tradelog.TradeLog) -> None:
    with log:
        decided = log.decide(
            strategy="bot",
            rationale="x",
            symbol="AAPL",
            side=OrderSide.BUY,
            quantity=1,
            order_type=OrderType.LIMIT,
            limit_price="100",
            time_in_force=TimeInForce.GTC,
        )
    with Reader(log.config.store_path) as reader:
        row = reader.one("SELECT * FROM trade_decisions WHERE decision_id = ?", (decided.decision_id,))
    assert row is not None
    assert (row["side"], row["order_type"], row["time_in_force"]) == ("buy", "limit", "gtc")


@pytest.mark.parametrize("wrong", [OrderType.MARKET, "BUY", "", 1, ["buy"], OrderSide])
def test_what_is_no_side_is_refused_by_field(log: tradelog.TradeLog, wrong: object) -> None:
    with log, pytest.raises(InvalidDecision) as refused:
        log.decide(strategy="bot", rationale="x", symbol="AAPL", side=wrong, quantity=1)
    assert refused.value.field == "side"
    assert refused.value.hint == "one of: buy, sell"


def test_threads_may_share_a_log(log: tradelog.TradeLog) -> None:
    def decide(number: int) -> str:
        return log.decide(
            strategy="bot", rationale="x", symbol="AAPL", side="buy", quantity=number + 1
        ).decision_id

    with log, ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(decide, range(64)))
    assert len(set(ids)) == 64
    with Reader(log.config.store_path) as reader:
        assert reader.value("SELECT count(*) FROM trade_decisions") == 64


def test_a_closed_log_raises_store_error(log: tradelog.TradeLog) -> None:
    log.close()
    with pytest.raises(StoreError, match="was closed by this program"):
        log.decide(strategy="bot", rationale="x", symbol="AAPL", side="buy", quantity=1)
    log.close()
