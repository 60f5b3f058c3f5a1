"""Decimal numbers: exact, finite, and written without an exponent."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal, InvalidOperation

ZERO = Decimal(0)
# Powers of ten. A number beyond has more digits than money or shares can have.
LARGEST = 18
# Alpaca takes quantities to nine decimal places (recorded on paper, 2026-10).
QUANTITY_PLACES = Decimal("0.000000001")
# Averages are quotients and may not end; this is finer than any price we meet.
AVERAGE_PLACES = Decimal("0.000000000001")


def parse(text: object) -> Decimal:
    """A finite Decimal from text, int or Decimal.

    Raises ValueError for a float (it has already lost digits), NaN, infinity or other text.
    """
    if isinstance(text, bool | float) or text is None:
        raise ValueError(f"{text!r} is no exact number")
    try:
        written = str(text).strip()
        if not isinstance(text, Decimal) and ("_" in written or not written.isascii()):
            raise ValueError(f"{text!r} is no number")
        number = text if isinstance(text, Decimal) else Decimal(written)
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is no number") from error
    if not number.is_finite():
        raise ValueError(f"{text!r} is not finite")
    if number and not -LARGEST <= number.adjusted() <= LARGEST:
        raise ValueError(f"{text!r} is no number of money or shares")
    return number


def to_text(number: Decimal) -> str:
    """Plain digits: no exponent, no trailing zeros, no negative zero."""
    if not number:
        return "0"
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def places(number: Decimal) -> int:
    """Decimal places that are in use, counted in the text: arithmetic rounds to 28 digits."""
    _, _, decimals = to_text(number).partition(".")
    return len(decimals)


def is_price(number: Decimal) -> bool:
    """Whether the market has such a price: steps of a cent from $1 up, of a hundredth of one below."""
    return places(number) <= (2 if number >= 1 else 4)


def quantity_for(notional: Decimal, price: Decimal) -> Decimal:
    """How many shares ``notional`` buys at ``price``, rounded down to nine places."""
    return (notional / price).quantize(QUANTITY_PLACES, rounding=ROUND_DOWN)


def average(total: Decimal, count: Decimal) -> Decimal:
    """total / count, to twelve places."""
    return (total / count).quantize(AVERAGE_PLACES, rounding=ROUND_HALF_EVEN)
