"""First in, first out: no share and no cent is lost, whatever is bought, sold and split."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tradelog.report.fifo import Closed, Split, Trade, match

SHARES = st.decimals(min_value="0.000000001", max_value="100000", places=9)
PRICES = st.decimals(min_value="0.0001", max_value="90000", places=4)


@st.composite
def trades(draw: st.DrawFn) -> list[Trade]:
    pairs = draw(st.lists(st.tuples(SHARES, PRICES, st.booleans()), max_size=30))
    return [
        Trade(f"{number:02d}", quantity if is_buy else -quantity, price, str(number))
        for number, (quantity, price, is_buy) in enumerate(pairs)
    ]


@given(trades())
def test_every_share_and_every_cent_is_somewhere(given_trades: list[Trade]) -> None:
    closed, open_lots = match(given_trades)
    bought = sum(trade.quantity for trade in given_trades if trade.quantity > 0)
    sold = -sum(trade.quantity for trade in given_trades if trade.quantity < 0)
    paired = sum(item.quantity for item in closed)
    assert bought == paired + sum(lot.quantity for lot in open_lots if lot.quantity > 0)
    assert sold == paired - sum(lot.quantity for lot in open_lots if lot.quantity < 0)
    paid = sum(trade.quantity * (trade.price or 0) for trade in given_trades if trade.quantity > 0)
    got = -sum(trade.quantity * (trade.price or 0) for trade in given_trades if trade.quantity < 0)
    assert paid == sum(item.basis or 0 for item in closed) + sum(
        lot.value or 0 for lot in open_lots if lot.quantity > 0
    )
    assert got == sum(item.proceeds or 0 for item in closed) + sum(
        lot.value or 0 for lot in open_lots if lot.quantity < 0
    )
    # Never shares that are owned and shares that are owed at once.
    assert len({lot.quantity > 0 for lot in open_lots}) <= 1


@given(trades(), st.integers(2, 20))
def test_a_split_changes_shares_and_no_dollar(given_trades: list[Trade], factor: int) -> None:
    closed, before = match(given_trades)
    held = sum((lot.quantity for lot in before), Decimal(0))
    again, after = match([*given_trades, Split("99", held * (factor - 1))])
    assert again == closed
    assert sum(lot.quantity for lot in after) == held * factor
    assert [lot.value for lot in after] == [lot.value for lot in before]


def sale(*events: Trade | Split) -> list[Closed]:
    return match(events)[0]


def test_a_split_between_a_buy_and_a_sale() -> None:
    (one,) = sale(
        Trade("1", Decimal(10), Decimal("400"), "b"),
        Split("2", Decimal(30)),
        Trade("3", Decimal(-40), Decimal("110"), "s"),
    )
    assert (one.quantity, one.basis, one.proceeds, one.gain) == (40, 4000, 4400, 400)


def test_a_split_that_does_not_come_out_even_loses_nothing() -> None:
    events = [Trade(str(number), Decimal(1), Decimal("10"), "b") for number in range(3)]
    closed = sale(*events, Split("5", Decimal(7)), Trade("6", Decimal(-10), Decimal("4"), "s"))
    assert sum(item.quantity for item in closed) == 10
    assert sum(item.basis or 0 for item in closed) == 30
    assert sum(item.proceeds or 0 for item in closed) == 40


def test_a_short_sale_is_sold_before_it_is_acquired() -> None:
    (one,) = sale(Trade("1", Decimal(-5), Decimal(20), "s"), Trade("2", Decimal(5), Decimal(18), "b"))
    assert (one.is_short, one.sold, one.acquired, one.at) == (True, "1", "2", "2")
    assert (one.proceeds, one.basis, one.gain) == (100, 90, 10)


def test_what_came_without_a_fill_has_no_basis() -> None:
    first, second = sale(
        Trade(None, Decimal(5), None, None),
        Trade("1", Decimal(5), Decimal(10), "b"),
        Trade("2", Decimal(-8), Decimal(12), "s"),
    )
    assert (first.quantity, first.acquired, first.basis, first.gain) == (5, None, None, None)
    assert first.proceeds == 60
    assert (second.quantity, second.basis, second.proceeds) == (3, 30, 36)


def test_a_split_of_nothing_is_none() -> None:
    assert match([Split("1", Decimal(5))]) == ([], [])
    bought = Trade("1", Decimal(5), Decimal(1), "b")
    for change in ("-5", "-9"):
        assert match([bought, Split("2", Decimal(change))]) == match([bought])
