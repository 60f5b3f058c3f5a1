"""Reading the fields of disclosures: dates, amounts, names, tickers, as dirty as they come.

What cannot be read is never guessed: it stays in the payload as given, and a flag says why the
column is empty.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache

from tradelog.domain import clock, money
from tradelog.domain.symbols import normalise_ticker

# Electronic disclosure begins later; a date before this one is a typing error.
EARLIEST = date(1990, 1, 1)

_ISO = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:[T ]00:00:00(?:\.0+)?Z?)?")
_US = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")
_SUM = r"\$?\s*(\d[\d,]*\.?\d*|\.\d+)"
_EXACT = re.compile(_SUM)
_BAND = re.compile(rf"{_SUM}\s*(?:-|–|—|to)\s*{_SUM}")
_BELOW = re.compile(rf"(?:<|less than|under|up to)\s*{_SUM}")
_ABOVE = re.compile(rf"{_SUM}\s*(?:\+|-|–|—)")
_ABOVE_BEFORE = re.compile(rf"(?:spouse/dc )?(?:>|over|more than)\s*{_SUM}")
# The bands of the Ethics in Government Act begin here (5 U.S.C. 13104), the first with 1 or 1,001.
_BAND_STARTS = frozenset(
    Decimal(start)
    for start in (1001, 15001, 50001, 100001, 250001, 500001, 1000001, 5000001, 25000001, 50000001)
)
_NO_TICKER = frozenset({"", "-", "--", "N/A", "NONE"})

SIDES = {
    "purchase": "purchase",
    "p": "purchase",
    "sale": "sale",
    "s": "sale",
    "sale_full": "sale",
    "sale_partial": "sale",
    "sale (full)": "sale",
    "sale (partial)": "sale",
    "exchange": "exchange",
    "e": "exchange",
    "exercise": "exercise",
}


@lru_cache(maxsize=65536)
def day(text: str, latest: date) -> date | None:
    """A date as ISO or M/D/YYYY, None where it is none or cannot have happened by ``latest``."""
    text = text.strip()
    if match := _ISO.fullmatch(text):
        year, month, number = match.groups()
    elif match := _US.fullmatch(text):
        month, number, year = match.groups()
    else:
        return None
    try:
        parsed = date(int(year), int(month), int(number))
    except ValueError:
        return None
    return parsed if EARLIEST <= parsed <= latest else None


@lru_cache(maxsize=65536)
def filed_moment(filed: date, time_of_day: str | None = None) -> str:
    """When a filing was public at the latest, as store text (UTC).

    A bare date counts as the end of that day in Washington: it cannot be shown that it was there earlier.
    """
    if time_of_day:
        try:
            at = datetime.strptime(time_of_day.strip(), "%I:%M %p").time()  # noqa: DTZ007
        except ValueError:
            pass
        else:
            return clock.to_text(datetime.combine(filed, at, tzinfo=clock.zone(clock.MARKET_ZONE)))
    return clock.end_of_day(filed)


@lru_cache(maxsize=8192)
def amount(text: str) -> tuple[Decimal | None, Decimal | None]:
    """(low, high) of a range or an exact sum; high is None where it is open-ended.

    A number that is the lower bound of a band stands for the band, whose end was not given.
    (None, None) for text that is no amount, or whose bounds are in the wrong order.
    """
    written = text.strip().lower()
    try:
        if match := _BAND.fullmatch(written):
            low, high = (money.parse(number.replace(",", "")) for number in match.groups())
            return (low, high) if low <= high else (None, None)
        if match := _BELOW.fullmatch(written):
            return money.ZERO, money.parse(match[1].replace(",", ""))
        if match := _ABOVE.fullmatch(written) or _ABOVE_BEFORE.fullmatch(written):
            return money.parse(match[1].replace(",", "")), None
        if match := _EXACT.fullmatch(written):
            number = money.parse(match[1].replace(",", ""))
            return number, None if number in _BAND_STARTS else number
    except ValueError:  # no sum of money has that many digits
        pass
    return None, None


@lru_cache(maxsize=8192)
def ticker(text: str) -> str | None:
    """A ticker as one writes it; None where the source names none, or more than one."""
    symbol = normalise_ticker(text)
    return None if symbol in _NO_TICKER or len(symbol.split()) > 1 else symbol


@lru_cache(maxsize=8192)
def normalised_ticker(text: str) -> str:
    """For identity only: feeds write BRK.B and BRK-B for one share."""
    return text.strip().upper().replace("-", ".")


@lru_cache(maxsize=1024)
def side(text: str) -> str:
    """purchase, sale, exchange or exercise; ``other`` for anything else."""
    return SIDES.get(text.strip().lower(), "other")
