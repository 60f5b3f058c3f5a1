"""Which shares were sold: first in, first out, exact to the last digit.

A sale closes the lots that were bought first; more than was held opens a short lot, which later buys close.
A split changes how many shares a lot has, and nothing that was paid for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Decimal, localcontext

from tradelog.domain import money

# Products of any prices and quantities that `money` lets in have fewer digits.
DIGITS = 80


@dataclass(frozen=True, slots=True)
class Trade:
    """A fill: ``quantity`` is negative for a sale; ``key`` identifies the fill to the caller.

    Shares that came or went without a fill have no ``price`` and no ``key``, and where the time is
    unknown, no ``at``.
    """

    at: str | None
    quantity: Decimal
    price: Decimal | None
    key: str | None


@dataclass(frozen=True, slots=True)
class Split:
    """``change`` is how many shares more (less) the account has by it."""

    at: str
    change: Decimal


@dataclass(frozen=True, slots=True)
class Lot:
    """Shares of one fill that are still held; negative for a short position. ``value`` is the fill's dollars,
    always positive; None where it is not known."""

    at: str | None
    quantity: Decimal
    value: Decimal | None
    key: str | None


@dataclass(frozen=True, slots=True)
class Closed:
    """Shares that were bought and sold. ``proceeds`` or ``basis`` is None where it is not known.

    A short sale is sold before it is acquired.
    """

    quantity: Decimal
    acquired: str | None
    sold: str | None
    proceeds: Decimal | None
    basis: Decimal | None
    opened_by: str | None
    closed_by: str | None
    is_short: bool

    @property
    def gain(self) -> Decimal | None:
        """Dollars gained; None where a price is unknown."""
        if self.proceeds is None or self.basis is None:
            return None
        return self.proceeds - self.basis

    @property
    def at(self) -> str:
        """When it was closed."""
        return str(self.acquired if self.is_short else self.sold)


def match(events: Iterable[Trade | Split]) -> tuple[list[Closed], list[Lot]]:
    """(what was closed, what is open) of one symbol, whose events come in the order of time."""
    lots: deque[Lot] = deque()
    closed: list[Closed] = []
    with localcontext() as exact:
        exact.prec = DIGITS
        for event in events:
            if isinstance(event, Trade):
                closed += _trade(lots, event)
            else:
                _split(lots, event.change)
    return closed, list(lots)


def _trade(lots: deque[Lot], trade: Trade) -> Iterator[Closed]:
    left = abs(trade.quantity)
    value = None if trade.price is None else left * trade.price
    while left and lots and (lots[0].quantity > 0) != (trade.quantity > 0):
        lot = lots.popleft()
        taken = min(left, abs(lot.quantity))
        of_lot, rest = _parts(lot.value, taken, abs(lot.quantity))
        of_trade, value = _parts(value, taken, left)
        if taken < abs(lot.quantity):
            remaining = abs(lot.quantity) - taken
            lots.appendleft(replace(lot, quantity=remaining.copy_sign(lot.quantity), value=rest))
        left -= taken
        is_short = lot.quantity < 0
        yield Closed(
            quantity=taken,
            acquired=trade.at if is_short else lot.at,
            sold=lot.at if is_short else trade.at,
            proceeds=of_lot if is_short else of_trade,
            basis=of_trade if is_short else of_lot,
            opened_by=lot.key,
            closed_by=trade.key,
            is_short=is_short,
        )
    if left:
        lots.append(Lot(trade.at, left.copy_sign(trade.quantity), value, trade.key))


def _parts(value: Decimal | None, taken: Decimal, of: Decimal) -> tuple[Decimal | None, Decimal | None]:
    """(value of the shares taken, value of the rest), which add up to the whole."""
    if value is None:
        return None, None
    part = value if taken == of else money.average(value * taken, of)
    return part, value - part


def _split(lots: deque[Lot], change: Decimal) -> None:
    """Each lot gets its part of the change, in steps that Alpaca counts shares in; the last one the rest."""
    held = sum((lot.quantity for lot in lots), money.ZERO)
    # One that leaves nothing, or reverses the position, is none; the shares then show as a break.
    if not lots or not held or (held + change) * held <= 0:
        return
    left = held + change
    resized = []
    for lot in lots:
        quantity = (lot.quantity * (held + change) / held).quantize(money.QUANTITY_PLACES, ROUND_DOWN)
        left -= quantity
        resized.append(replace(lot, quantity=quantity))
    resized[-1] = replace(resized[-1], quantity=resized[-1].quantity + left)
    lots.clear()
    lots.extend(lot for lot in resized if lot.quantity)
