"""Positions: what should be held, what is, the breaks between the two, and what a person explains."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.execute.driving import go
from tests.execute.stage import OTHERS, Stage, moment
from tradelog.execute.account import positions
from tradelog.execute.track import orders

D = Decimal


def entry(stage: Stage, symbol: str, quantity: str, account: Any = None, kind: str = "opening") -> None:
    with stage.tx() as tx:
        positions._entry(tx, account or stage.account, symbol, kind, D(quantity), "x", "ann")


def fill(stage: Stage, symbol: str, side: str, quantity: str, account: Any = None) -> None:
    broker, environment, name = account or stage.account
    number = stage.value("SELECT count(*) FROM fills")
    row = {
        **{"fill_id": f"f{number}", "broker_order_id": f"o{number}", "execution_id": None},
        **{"broker": broker, "environment": environment, "account": name, "symbol": symbol, "side": side},
        **{"quantity": quantity, "price": "100", "price_basis": "broker", "transaction_time": moment()},
        "seen_at": moment(),
    }
    with stage.tx() as tx:
        tx.insert("fills", row)


def activity(stage: Stage, account: Any = None, **changes: Any) -> None:
    broker, environment, name = account or stage.account
    number = stage.value("SELECT count(*) FROM account_activities")
    row = {
        **{"activity_id": f"a{number}", "broker": broker, "environment": environment, "account": name},
        **{"kind": "SPLIT", "sub_kind": None, "status": "executed", "symbol": "AAPL", "quantity": "5"},
        **{"net_amount": "0", "activity_date": "2041-03-06", "raw": "{}", "seen_at": moment()},
        **changes,
    }
    with stage.tx() as tx:
        tx.insert("account_activities", row)


def expected(stage: Stage) -> dict[str, Decimal]:
    return positions.expected_positions(stage.writer.connection, stage.account)


@pytest.mark.parametrize(
    ("answer", "held"),
    [
        ([], {}),
        ([{"symbol": "AAPL", "qty": "10"}], {"AAPL": 10}),
        ([{"symbol": "AAPL", "qty": "10", "side": "long"}], {"AAPL": 10}),
        ([{"symbol": "AAPL", "qty": "10", "side": "short"}], {"AAPL": -10}),
        ([{"symbol": "AAPL", "qty": "-10", "side": "short"}], {"AAPL": -10}),
        ([{"symbol": "BTC/USD", "qty": "1"}, {"symbol": "BTCUSD", "qty": "2"}], {"BTCUSD": 3}),
        ({}, None),
        (None, None),
        (["AAPL"], None),
        ([{"qty": "10"}], None),
        ([{"symbol": 5, "qty": "10"}], None),
        ([{"symbol": "AAPL", "qty": "x"}], None),
        ([{"symbol": "AAPL"}], None),
    ],
)
def test_a_list_of_positions_is_read_whole_or_not_at_all(answer: Any, held: dict[str, int] | None) -> None:
    assert positions.parse_positions(answer) == held


def test_what_should_be_held_is_openings_adjustments_fills_and_splits(stage: Stage) -> None:
    entry(stage, "AAPL", "100")
    entry(stage, "AAPL", "-3", kind="adjustment")
    fill(stage, "AAPL", "buy", "20")
    fill(stage, "AAPL", "sell", "7")
    fill(stage, "AAPL", "sell_short", "1")
    fill(stage, "BTC/USD", "buy", "2")
    activity(stage, quantity="50")
    assert expected(stage) == {"AAPL": 100 - 3 + 20 - 7 - 1 + 50, "BTCUSD": 2}


@pytest.mark.parametrize("account", OTHERS)
def test_another_account_s_shares_are_its_own(stage: Stage, account: Any) -> None:
    entry(stage, "AAPL", "1", account)
    fill(stage, "AAPL", "buy", "10", account)
    activity(stage, account)
    assert expected(stage) == {}


@pytest.mark.parametrize(
    "changes", [{"kind": "DIV"}, {"symbol": None}, {"quantity": None}, {"status": "canceled"}]
)
def test_an_activity_that_moves_no_shares(stage: Stage, changes: dict[str, Any]) -> None:
    activity(stage, **changes)
    assert expected(stage) == {}


@pytest.mark.parametrize("status", [None, "executed"])
def test_a_split_that_took_place(stage: Stage, status: str | None) -> None:
    activity(stage, status=status)
    assert expected(stage) == {"AAPL": 5}


def mark(stage: Stage, account: Any) -> None:
    with stage.writer.transaction() as tx:
        tx.unaudited(
            "INSERT INTO reconcile_marks (broker, environment, account) VALUES (?, ?, ?)", tuple(account)
        )


def test_the_first_look_writes_down_what_no_fill_explains(stage: Stage) -> None:
    for account in (stage.account, *OTHERS):
        mark(stage, account)
    held, ours = {"AAPL": D(12), "MSFT": D(3), "F": D(1)}, {"AAPL": D(2), "F": D(1), "T": D(4)}
    with stage.tx() as tx:
        assert positions.record_opening_positions(tx, stage.account, held, ours, "ann") == 3
    rows = stage.rows("SELECT symbol, kind, quantity, actor FROM position_entries ORDER BY symbol")
    assert [tuple(row.values()) for row in rows] == [
        ("AAPL", "opening", "10", "ann"),
        ("MSFT", "opening", "3", "ann"),
        ("T", "opening", "-4", "ann"),
    ]
    opened = stage.rows("SELECT broker, environment, account, opened_at FROM reconcile_marks")
    assert {tuple(row.values())[:3] for row in opened if row["opened_at"] == moment()} == {stage.account}


def settle(
    stage: Stage, found: dict[str, tuple[int, int]], unsure: set[str] = frozenset(), **more: Any
) -> None:  # type: ignore[assignment]
    kind = more.get("kind", "position")
    listed = {name: (name, D(wanted), D(actual)) for name, (wanted, actual) in found.items()}
    with stage.tx() as tx:
        positions.update_breaks(tx, more.get("account") or stage.account, kind, listed, set(unsure))


def breaks(stage: Stage) -> list[tuple[Any, ...]]:
    rows = stage.rows("SELECT subject, expected, actual, closed_why FROM breaks ORDER BY id")
    return [tuple(row.values()) for row in rows]


def test_a_break_opens_changes_and_closes_once(stage: Stage) -> None:
    settle(stage, {"AAPL": (10, 12)})
    settle(stage, {"AAPL": (10, 12)})
    assert breaks(stage) == [("AAPL", "10", "12", None)]
    assert stage.rows("SELECT message FROM alerts")[0]["message"] == (
        "AAPL: the broker holds 12, the fills add up to 10"
    )
    found_at = stage.rows("SELECT * FROM breaks")[0]["changed_at"]
    go(60)
    settle(stage, {"AAPL": (10, 12)})
    assert stage.rows("SELECT * FROM breaks")[0]["changed_at"] == found_at
    settle(stage, {"AAPL": (10, 13)})
    row = stage.rows("SELECT * FROM breaks")[0]
    assert (row["actual"], row["found_at"], row["changed_at"]) == ("13", found_at, moment())
    settle(stage, {}, {"AAPL"})
    assert breaks(stage) == [("AAPL", "10", "13", None)]
    settle(stage, {})
    assert breaks(stage) == [("AAPL", "10", "13", "the two agree again")]
    assert stage.alerts() == []
    settle(stage, {"AAPL": (1, 2)})
    assert len(breaks(stage)) == 2


@pytest.mark.parametrize("account", OTHERS)
def test_a_break_is_of_one_account_and_one_kind(stage: Stage, account: Any) -> None:
    settle(stage, {"AAPL": (10, 12)})
    settle(stage, {}, account=account)
    settle(stage, {"AAPL": (10, 12)}, account=account)
    settle(stage, {}, kind="fills")
    assert breaks(stage) == [("AAPL", "10", "12", None)] * 2


def test_a_fills_break_names_filled_and_summed_quantity(stage: Stage) -> None:
    settle(stage, {"AAPL": (10, 8)}, kind="fills")
    assert stage.rows("SELECT kind, message FROM alerts") == [
        {"kind": "fills_break", "message": "AAPL: the order has 10 filled, its fills add up to 8"}
    ]


def accept(stage: Stage) -> tuple[str, str, str]:
    break_id = stage.rows("SELECT break_id FROM breaks ORDER BY id DESC LIMIT 1")[0]["break_id"]
    with stage.tx() as tx:
        positions.accept_break(tx, break_id, "moved elsewhere", "ann")
    row = stage.rows("SELECT symbol, kind, quantity FROM position_entries ORDER BY entry_id DESC LIMIT 1")[0]
    assert stage.row("breaks", break_id)["closed_why"] == "accepted: moved elsewhere"
    assert stage.alerts() == []
    return tuple(row.values())  # type: ignore[return-value]


@pytest.mark.parametrize(("wanted", "actual", "change"), [(10, 12, "2"), (10, 7, "-3"), (-2, 0, "2")])
def test_an_accepted_break_becomes_an_adjustment(stage: Stage, wanted: int, actual: int, change: str) -> None:
    settle(stage, {"AAPL": (wanted, actual)})
    assert accept(stage) == ("AAPL", "adjustment", change)


@pytest.mark.parametrize(
    ("side", "wanted", "actual", "change"),
    [("buy", 10, 8, "2"), ("sell", 10, 8, "-2"), ("buy", 10, 12, "-2"), ("sell", 10, 12, "2")],
)
def test_accepted_missing_fills_move_as_their_side(
    stage: Stage, side: str, wanted: int, actual: int, change: str
) -> None:
    execution = stage.attempt(stage.decide(side=side), "filled")
    with stage.tx() as tx:
        listed = {execution: ("AAPL", D(wanted), D(actual))}
        positions.update_breaks(tx, stage.account, "fills", listed, set())
    assert accept(stage) == ("AAPL", "adjustment", change)
    with stage.tx() as tx:
        assert positions.is_accepted_break(tx, execution, D(wanted), D(actual))
        assert not positions.is_accepted_break(tx, execution, D(wanted), D(actual - 1))
        assert not positions.is_accepted_break(tx, execution, D(wanted + 1), D(actual))
        assert not positions.is_accepted_break(tx, "exe_other", D(wanted), D(actual))


def test_what_closed_by_itself_was_not_accepted(stage: Stage) -> None:
    execution = stage.attempt(stage.decide(), "filled")
    listed = {execution: ("AAPL", D(10), D(8))}
    with stage.tx() as tx:
        positions.update_breaks(tx, stage.account, "fills", listed, set())
    with stage.tx() as tx:
        assert not positions.is_accepted_break(tx, execution, D(10), D(8))
        positions.update_breaks(tx, stage.account, "fills", {}, set())
    with stage.tx() as tx:
        assert not positions.is_accepted_break(tx, execution, D(10), D(8))


@pytest.mark.parametrize(
    ("ours", "held", "different"),
    [
        ({}, {}, {}),
        ({"A": 1}, {"A": 1}, {}),
        ({"A": 1}, {}, {"A": (1, 0)}),
        ({}, {"A": 1}, {"A": (0, 1)}),
        ({"A": 1, "B": 2}, {"A": 2, "B": 2}, {"A": (1, 2)}),
        ({"A": 0}, {}, {}),
    ],
)
def test_differences(ours: dict[str, int], held: dict[str, int], different: dict[str, Any]) -> None:
    decimals = [{name: D(value) for name, value in side.items()} for side in (ours, held)]
    assert positions.differences(*decimals) == different


@pytest.mark.parametrize(
    ("filled", "summed", "is_owed"), [("10", "10", False), ("10", "8", True), ("10", "0.5", True)]
)
def test_fills_that_do_not_add_up_to_their_order(
    stage: Stage, filled: str, summed: str, is_owed: bool
) -> None:
    decision_id = stage.decide(side="sell")
    execution = stage.attempt(decision_id, "accepted")
    order = {
        **{"id": "one", "client_order_id": "c", "symbol": "AAPL", "status": "filled", "filled_qty": filled},
        **{"filled_avg_price": "100", "side": "sell"},
    }
    item = {"id": "f1", "order_id": "one", "symbol": "AAPL", "side": "sell", "qty": summed, "price": "100"}
    with stage.tx() as tx:
        orders.apply_order(tx, stage.account, orders.Owner(execution, decision_id), order, "poll")
    with stage.tx() as tx:
        orders.apply_fills(tx, stage.account, [item | {"transaction_time": moment()}])
    owed = positions.missing_fills(stage.writer.connection, stage.account)
    expected_ = positions.MissingFills("AAPL", "sell", D(filled), D(summed), moment())
    assert owed == ({execution: expected_} if is_owed else {})
    for account in OTHERS:
        assert positions.missing_fills(stage.writer.connection, account) == {}
