"""Limit usage: what was sent in a day and a minute, shares held and promised, exposure, buying power."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.execute.driving import go
from tests.execute.stage import OTHERS, Stage, moment
from tradelog.domain import clock
from tradelog.execute.account.snapshots import Snapshot
from tradelog.execute.risk.usage import LimitUsage
from tradelog.execute.track import orders
from tradelog.execute.track.orders import Owner

D = Decimal
# Seconds since New York's day began.
SINCE_MIDNIGHT = 12 * 3600.0


def sent(stage: Stage, status: str = "accepted", account: Any = None, **changes: Any) -> str:
    """An order of $1000 that was sent now."""
    columns = {name: changes.pop(name) for name in ("order_value", "filled_quantity") if name in changes}
    decision_id = stage.decide(account, **changes)
    return stage.attempt(decision_id, status, **({"order_value": "1000"} | columns))


def spending(stage: Stage, tx: Any, **more: Any) -> LimitUsage:
    given = {"own": "tl-own", "price": D(100), "replaced": None} | more
    return LimitUsage(tx, stage.account, given["own"], given["price"], given["replaced"])


def today(stage: Stage, symbol: str | None = None, **more: Any) -> Decimal:
    with stage.tx() as tx:
        return spending(stage, tx, **more).today(symbol)


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        *(("sending", True), ("unknown", True), ("accepted", True), ("partially_filled", True)),
        *(("filled", True), ("canceled", True), ("rejected", True), ("not_accepted", True)),
        ("not_sent", False),
    ],
)
def test_whatever_was_sent_counts_whatever_became_of_it(stage: Stage, status: str, counts: bool) -> None:
    sent(stage, status)
    assert today(stage) == (1000 if counts else 0)
    with stage.tx() as tx:
        assert spending(stage, tx).orders_today() == spending(stage, tx).orders(60) == int(counts)


@pytest.mark.parametrize("account", OTHERS)
def test_what_another_account_sent_counts_for_that_one(stage: Stage, account: Any) -> None:
    sent(stage, account=account)
    sent(stage, account=account, status="sending")
    assert today(stage) == 0
    with stage.tx() as tx:
        used = spending(stage, tx)
        assert (used.orders_today(), used.orders(60)) == (0, 0)
        assert used.duplicate(stage.rows("SELECT * FROM trade_decisions")[0], D(60)) is None


def test_what_somebody_else_placed_uses_no_limit_up(stage: Stage) -> None:
    stage.attempt(stage.decide(), "accepted", order_value="1000")
    assert today(stage) == 1000
    with stage.tx() as tx:
        order = {
            **{"id": "theirs", "client_order_id": "theirs", "symbol": "AAPL", "side": "buy", "qty": "5"},
            **{"type": "limit", "limit_price": "100", "status": "new", "time_in_force": "day"},
        }
        owner = orders.adopt(tx, stage.account, order, "test")
        assert owner is not None
        assert spending(stage, tx).today(None) == 1000
        assert spending(stage, tx).orders(60) == 1


@pytest.mark.parametrize(
    ("seconds", "today_counts", "minute_counts"),
    [
        (0, True, True),
        (-60, True, True),
        (-60.000001, True, False),
        (-SINCE_MIDNIGHT, True, False),
        (-SINCE_MIDNIGHT - 0.000001, False, False),
    ],
)
@pytest.mark.parametrize("is_resent", [False, True])
def test_the_day_is_the_market_s_and_a_minute_has_sixty_seconds(
    stage: Stage, is_resent: bool, seconds: float, today_counts: bool, minute_counts: bool
) -> None:
    """An order that is sent once more is one of that moment, too."""
    execution = sent(stage) if is_resent else None
    # Until noon of the next day less so many seconds, and then until noon.
    go(86_400 + seconds)
    if execution is None:
        sent(stage)
    else:
        stage.set("trade_executions", execution, resent_at=moment())
    go(-seconds)
    assert today(stage) == (1000 if today_counts else 0)
    with stage.tx() as tx:
        assert spending(stage, tx).orders_today() == int(today_counts)
        assert spending(stage, tx).orders(60) == int(minute_counts)


def test_an_order_counts_once_however_often_it_was_tried(stage: Stage) -> None:
    decision_id = stage.decide()
    for status in ("not_accepted", "rejected", "accepted"):
        stage.attempt(decision_id, status, order_value="1000")
    assert today(stage) == 1000
    own = stage.row("trade_decisions", decision_id)["client_order_id"]
    assert today(stage, own=own) == 0


def test_a_symbol_has_a_sum_of_its_own(stage: Stage) -> None:
    for symbol, value in (("AAPL", "1"), ("MSFT", "20"), ("BTC/USD", "300")):
        sent(stage, symbol=symbol, order_value=value)
    assert [today(stage, symbol) for symbol in ("AAPL", "MSFT", "BTCUSD", "BTC/USD", "X", None)] == [
        *(1, 20, 300, 300, 0, 321)
    ]


def test_an_order_without_a_value_uses_no_limit(stage: Stage) -> None:
    sent(stage, order_value=None)
    assert today(stage) == 0


def test_what_a_replacement_takes_back_is_not_sent_twice(stage: Stage) -> None:
    """Of ten shares four were filled: 60 % of its dollars are free again."""
    execution = sent(stage, "partially_filled", filled_quantity="4")
    replaced = stage.row("trade_executions", execution)["client_order_id"]
    sent(stage, symbol="MSFT", order_value="10")
    assert today(stage, replaced=replaced) == 400 + 10


@pytest.mark.parametrize(
    ("seconds", "is_one"), [(0, True), (59.999999, True), (60, False), (60.000001, False)]
)
def test_a_duplicate_is_one_within_the_window(stage: Stage, seconds: float, is_one: bool) -> None:
    first = stage.row("trade_executions", sent(stage))["decision_id"]
    go(seconds)
    again = stage.row("trade_decisions", stage.decide())
    with stage.tx() as tx:
        assert spending(stage, tx).duplicate(again, D(60)) == (first if is_one else None)
        assert spending(stage, tx).duplicate(again, None) is None
    own = stage.row("trade_decisions", first)
    with stage.tx() as tx:
        # Never of itself.
        assert spending(stage, tx).duplicate(own, D(60)) is None


@pytest.mark.parametrize(
    "changes",
    [
        *({"strategy": "bot"}, {"symbol": "MSFT"}, {"side": "sell"}, {"quantity": "11"}),
        {"quantity": None, "notional": "10"},
    ],
)
def test_a_decision_that_differs_is_no_duplicate(stage: Stage, changes: dict[str, Any]) -> None:
    sent(stage)
    other = stage.row("trade_decisions", stage.decide(**changes))
    with stage.tx() as tx:
        assert spending(stage, tx).duplicate(other, D(60)) is None


@pytest.mark.parametrize(("status", "is_one"), [("not_sent", False), ("rejected", True), ("unknown", True)])
def test_what_never_left_is_repeated_freely(stage: Stage, status: str, is_one: bool) -> None:
    sent(stage, status)
    again = stage.row("trade_decisions", stage.decide())
    with stage.tx() as tx:
        assert (spending(stage, tx).duplicate(again, D(60)) is not None) is is_one


# What the broker says is held, and what it cannot know of yet.


def held(stage: Stage, *positions: dict[str, Any], seen: tuple[int, int] | None = None) -> Snapshot:
    """Positions as the broker tells them, asked for now."""
    last = (
        stage.value("SELECT coalesce(max(id), 0) FROM trade_executions"),
        stage.value("SELECT coalesce(max(event_id), 0) FROM order_events"),
    )
    return Snapshot(1, list(positions), moment(), clock.running_seconds(), seen or last)


def position(quantity: str, symbol: str = "AAPL", **more: Any) -> dict[str, Any]:
    return {"symbol": symbol, "qty": quantity, "side": "long", "current_price": "100"} | more


def available(stage: Stage, snapshot: Snapshot, symbol: str = "AAPL", **more: Any) -> Decimal | None:
    with stage.tx() as tx:
        return spending(stage, tx, **more).available(snapshot, symbol)


@pytest.mark.parametrize(
    ("positions", "free"),
    [
        ([], 0),
        ([position("10")], 10),
        ([position("10", qty_available="7")], 7),
        # Never more than is held, whatever the broker calls available.
        ([position("10", qty_available="12")], 10),
        ([position("10", side="short")], -10),
        ([position("-10", side="short")], -10),
        ([position("10", "MSFT")], 0),
        ([position("10", "MSFT"), position("3")], 3),
        ([position("x")], None),
        ([{"symbol": "AAPL"}], None),
        ([position("10", qty_available="x")], None),
        (["AAPL"], None),
    ],
)
def test_shares_that_are_held(stage: Stage, positions: list[Any], free: int | None) -> None:
    assert available(stage, held(stage, *positions)) == free


def test_a_pair_of_crypto_is_held_without_its_stroke(stage: Stage) -> None:
    assert available(stage, held(stage, position("2", "BTCUSD")), "BTC/USD") == 2


@pytest.mark.parametrize(
    ("status", "reserved_by_broker", "free"),
    [
        # The broker reserves what it knows of by itself.
        ("accepted", True, 10),
        ("partially_filled", True, 10),
        # Where it does not, what is left of an open sell is reserved: 3 of 4, one of them filled.
        ("partially_filled", False, 7),
        # What it may not have: all four shares.
        ("sending", True, 6),
        ("unknown", True, 6),
        ("unknown", False, 6),
        ("filled", True, 10),
        ("canceled", False, 10),
    ],
)
def test_shares_promised_to_another_sell_are_not_free(
    stage: Stage, status: str, reserved_by_broker: bool, free: int
) -> None:
    filled = "1" if status == "partially_filled" else "0"
    sent(stage, status, side="sell", quantity="4", filled_quantity=filled)
    told = {"qty_available": "10"} if reserved_by_broker else {}
    assert available(stage, held(stage, position("10", **told))) == free


@pytest.mark.parametrize("changes", [{"side": "buy"}, {"symbol": "MSFT"}])
def test_what_is_no_sell_of_the_symbol_reserves_nothing(stage: Stage, changes: dict[str, Any]) -> None:
    sent(stage, "unknown", **({"side": "sell", "quantity": "4"} | changes))
    assert available(stage, held(stage, position("10"))) == 10


@pytest.mark.parametrize(("is_seen", "free"), [(True, 10), (False, 6)])
def test_a_sell_that_began_after_the_question_is_reserved(stage: Stage, is_seen: bool, free: int) -> None:
    before = held(stage, position("10", qty_available="10"))
    sent(stage, "accepted", side="sell", quantity="4")
    after = held(stage, position("10", qty_available="10"))
    assert available(stage, after if is_seen else before) == free


@pytest.mark.parametrize(("is_seen", "free"), [(True, 10), (False, 6)])
def test_a_sell_that_ended_after_the_question_is_not_yet_in_the_answer(
    stage: Stage, is_seen: bool, free: int
) -> None:
    """Filled between question and claim: its shares are gone, and the answer does not say so."""
    execution = sent(stage, "accepted", side="sell", quantity="4")
    before = held(stage, position("10", qty_available="10"))
    decision_id = stage.row("trade_executions", execution)["decision_id"]
    order = {
        **{"id": "one", "client_order_id": "c", "symbol": "AAPL", "side": "sell", "status": "filled"},
        **{"filled_qty": "4", "filled_avg_price": "100"},
    }
    with stage.tx() as tx:
        orders.apply_order(tx, stage.account, Owner(execution, decision_id), order, "poll")
    after = held(stage, position("10", qty_available="10"))
    assert available(stage, after if is_seen else before) == free


@pytest.mark.parametrize(
    ("reserved_by_broker", "free"),
    [(True, 13), (False, 10)],
)
def test_what_a_replaced_sell_holds_is_free(stage: Stage, reserved_by_broker: bool, free: int) -> None:
    execution = sent(stage, "partially_filled", side="sell", quantity="4", filled_quantity="1")
    replaced = stage.row("trade_executions", execution)["client_order_id"]
    told = {"qty_available": "10"} if reserved_by_broker else {}
    assert available(stage, held(stage, position("13", **told)), replaced=replaced) == free + (
        0 if reserved_by_broker else 3
    )


@pytest.mark.parametrize(
    ("status", "price", "free"),
    [("unknown", D(50), 8), ("unknown", D(100), 9), ("unknown", None, 10), ("accepted", D(50), 8)],
)
def test_a_sell_of_dollars_is_shares_at_the_price(
    stage: Stage, status: str, price: Decimal | None, free: int
) -> None:
    sent(stage, status, side="sell", quantity=None, notional="100")
    assert available(stage, held(stage, position("10")), price=price) == free


@pytest.mark.parametrize("account", OTHERS)
def test_another_account_s_orders_are_not_ours_to_count(stage: Stage, account: Any) -> None:
    for status in ("unknown", "accepted"):
        sent(stage, status, account=account, side="sell", quantity="4")
        sent(stage, status, account=account, side="buy", quantity="4")
    nothing = held(stage, position("10"), seen=(0, 0))
    assert available(stage, nothing) == 10
    assert exposure(stage, nothing) == (1000, 1100)
    assert power(stage, seen=(0, 0)) == 5000


# Exposure.


def exposure(
    stage: Stage, snapshot: Snapshot, symbol: str = "AAPL", side: str = "buy", value: int = 100, **more: Any
) -> tuple[Decimal, Decimal] | None:
    with stage.tx() as tx:
        return spending(stage, tx, **more).exposure(snapshot, symbol, side, D(value))


@pytest.mark.parametrize(
    ("positions", "symbol", "side", "before", "after"),
    [
        ([], "AAPL", "buy", 0, 100),
        ([], "AAPL", "sell", 0, 100),
        ([position("10", market_value="1000")], "AAPL", "buy", 1000, 1100),
        ([position("10", market_value="1000")], "AAPL", "sell", 1000, 1000),
        ([position("10", market_value="1000")], "MSFT", "buy", 1000, 1100),
        # Without a value of its own: shares at the price.
        ([position("10")], "AAPL", "buy", 1000, 1100),
        ([position("10", market_value="900")], "AAPL", "buy", 900, 1000),
        # A short position is as much at risk, and a buy covers it.
        ([position("10", side="short", market_value="-1000")], "AAPL", "sell", 1000, 1100),
        ([position("10", side="short", market_value="1000")], "AAPL", "sell", 1000, 1100),
        ([position("10", side="short")], "AAPL", "sell", 1000, 1100),
        ([position("10", side="short")], "AAPL", "buy", 1000, 1000),
        ([position("10", side="short"), position("3", "MSFT")], "MSFT", "buy", 1300, 1400),
        ([position("0.5", side="short", current_price="100")], "AAPL", "buy", 50, 50),
        ([position("0.4", side="short", current_price="100")], "AAPL", "buy", 40, 60),
    ],
)
def test_exposure_without_and_with_an_order(
    stage: Stage, positions: list[Any], symbol: str, side: str, before: int, after: int
) -> None:
    assert exposure(stage, held(stage, *positions), symbol, side) == (before, after)


@pytest.mark.parametrize("positions", [[{"symbol": "AAPL"}], [position("1", current_price=None)], ["x"]])
def test_a_position_without_a_price_leaves_exposure_unknown(stage: Stage, positions: list[Any]) -> None:
    assert exposure(stage, held(stage, *positions)) is None


@pytest.mark.parametrize(
    ("status", "filled", "before"),
    [
        # Open: what is left of it. What the broker may not know: all of it.
        ("accepted", "0", 1000),
        ("partially_filled", "4", 600),
        ("unknown", "4", 1000),
        ("sending", "0", 1000),
        ("filled", "10", 0),
        ("canceled", "0", 0),
    ],
)
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_open_orders_are_at_risk(stage: Stage, status: str, filled: str, before: int, side: str) -> None:
    sent(stage, status, side=side, filled_quantity=filled, symbol="MSFT")
    assert exposure(stage, held(stage)) == (before, before + 100)


def test_open_buys_and_sells_of_a_symbol_do_not_add_up(stage: Stage) -> None:
    """The worst that can come: all buys filled, or all sells."""
    sent(stage, side="buy", order_value="300")
    sent(stage, side="sell", order_value="500")
    snapshot = held(stage, position("1", market_value="100"))
    assert exposure(stage, snapshot, side="buy") == (400, 500)
    assert exposure(stage, snapshot, side="sell") == (400, 500)
    assert exposure(stage, snapshot, side="sell", value=50) == (400, 450)


def test_the_order_that_is_replaced_is_not_at_risk_as_well(stage: Stage) -> None:
    replaced = stage.row("trade_executions", sent(stage))["client_order_id"]
    assert exposure(stage, held(stage)) == (1000, 1100)
    assert exposure(stage, held(stage), replaced=replaced) == (0, 100)


def test_an_open_order_without_a_value_leaves_exposure_unknown(stage: Stage) -> None:
    sent(stage, order_value=None)
    assert exposure(stage, held(stage)) is None


# Buying power.


def power(stage: Stage, told: Any = "5000", seen: tuple[int, int] | None = None, **more: Any) -> Any:
    last = held(stage).seen
    snapshot = Snapshot(1, {"buying_power": told}, moment(), clock.running_seconds(), seen or last)
    unknown: dict[str, str] = {}
    with stage.tx() as tx:
        result = spending(stage, tx, **more).buying_power(snapshot, unknown)
    return unknown["account"] if result is None else result


@pytest.mark.parametrize("told", [None, "", "x", 1.5])
def test_an_account_without_buying_power_is_stale_data(stage: Stage, told: Any) -> None:
    assert power(stage, told) == "it has no buying power"


@pytest.mark.parametrize(
    ("status", "side", "left"),
    [
        ("unknown", "buy", 4000),
        ("sending", "buy", 4000),
        # Known to the broker: in its answer already.
        ("accepted", "buy", 5000),
        ("unknown", "sell", 5000),
    ],
)
def test_buying_power_is_less_by_what_the_broker_may_not_know(
    stage: Stage, status: str, side: str, left: int
) -> None:
    sent(stage, status, side=side)
    assert power(stage) == left


def test_buying_power_is_less_by_what_began_after_the_question(stage: Stage) -> None:
    seen = held(stage).seen
    sent(stage, "accepted")
    assert power(stage, seen=seen) == 4000
    assert power(stage) == 5000


def test_a_buy_without_a_value_takes_nothing_away(stage: Stage) -> None:
    sent(stage, "unknown", order_value=None)
    assert power(stage) == 5000


def test_what_a_replaced_buy_holds_is_there_again(stage: Stage) -> None:
    execution = sent(stage, "partially_filled", filled_quantity="4")
    replaced = stage.row("trade_executions", execution)["client_order_id"]
    assert power(stage, replaced=replaced) == 5600
    go(1)
    assert power(stage, replaced="tl-other") == 5000


def test_a_canceled_sell_that_the_answer_knows_of_reserves_nothing(stage: Stage) -> None:
    """Its last event is the last one that was seen before the question."""
    execution = sent(stage, "accepted", side="sell", quantity="4")
    decision_id = stage.row("trade_executions", execution)["decision_id"]
    order = {"id": "one", "client_order_id": "c", "symbol": "AAPL", "side": "sell", "status": "canceled"}
    with stage.tx() as tx:
        orders.apply_order(tx, stage.account, Owner(execution, decision_id), order, "poll")
    assert available(stage, held(stage, position("10"))) == 10
