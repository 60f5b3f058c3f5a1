"""Daily closes from a CSV file: for market context, and for simulated fills.

Columns ``symbol,date,close,volume`` (volume may be empty); lines that start with ``#`` say where
the numbers come from. tradelog fetches no market data: without a file, prices are unknown.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from tradelog.domain import clock, money
from tradelog.errors import ConfigError

SESSIONS = 20
# A close this much older than a day is no price of that day.
STALE_AFTER = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Bar:
    day: date
    close: Decimal
    volume: Decimal | None


@dataclass(frozen=True, slots=True)
class Prices:
    """Closes by symbol, in order of days. ``label`` is the file's first comment line."""

    bars: Mapping[str, tuple[Bar, ...]]
    label: str | None = None
    source: str | None = None

    def last(self, symbol: str, day: date | None = None) -> Bar | None:
        """The newest close up to ``day``, by default today: a later one is no price yet."""
        latest = day or clock.market_today()
        bars = [bar for bar in self.bars.get(symbol, ()) if bar.day <= latest]
        return bars[-1] if bars else None

    def context(self, symbol: str, day: date) -> dict[str, Any]:
        """Price, 20-day volume and volatility as a decision records them; None with the reason."""
        bars = [bar for bar in self.bars.get(symbol, ()) if bar.day <= day]
        values: dict[str, Any] = {
            "price": None,
            "price_date": None,
            "volume_20d": None,
            "volatility_20d": None,
        }
        if not bars:
            why = (
                "no price file is configured" if self.source is None else f"no price of {symbol} up to {day}"
            )
            return {**values, "unavailable": why}
        if day - bars[-1].day > STALE_AFTER:
            return {**values, "unavailable": f"the last price of {symbol} is of {bars[-1].day}"}
        values.update(price=money.to_text(bars[-1].close), price_date=bars[-1].day.isoformat())
        values["price_source"] = self.label or self.source
        volumes = [bar.volume for bar in bars[-SESSIONS:] if bar.volume is not None]
        missing = []
        if len(volumes) == SESSIONS:
            values["volume_20d"] = money.to_text(money.average(sum(volumes, money.ZERO), Decimal(SESSIONS)))
        else:
            missing.append(f"volume_20d: {len(volumes)} of {SESSIONS} sessions known")
        closes = [bar.close for bar in bars[-SESSIONS - 1 :]]
        if len(closes) == SESSIONS + 1:
            values["volatility_20d"] = money.to_text(_volatility(closes))
        else:
            missing.append(f"volatility_20d: {max(len(closes) - 1, 0)} of {SESSIONS} daily returns known")
        if missing:
            values["unavailable"] = "; ".join(missing)
        return values


NONE = Prices({})


def load(path: Path | None) -> Prices:
    """Read a price file; raises ConfigError that names the line."""
    if path is None:
        return NONE
    label: str | None = None
    bars: dict[str, list[Bar]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = []
            for line in stream:
                if line.startswith("#"):
                    label = label or line.lstrip("# ").strip()
                    lines.append("\n")
                else:
                    lines.append(line)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"[market] prices: cannot read {path}: {error}") from error
    reader = csv.DictReader(line for line in lines if line.strip())
    if not {"symbol", "date", "close"} <= set(reader.fieldnames or ()):
        raise ConfigError(f"[market] prices: {path} needs the columns symbol,date,close,volume")
    for number, row in enumerate(reader, 2):
        try:
            close = _positive(row["close"])
            volume = money.parse(row["volume"]) if row.get("volume") else None
            bar = Bar(date.fromisoformat(row["date"]), close, volume)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"[market] prices: {path}, row {number}: {error}") from error
        bars.setdefault(row["symbol"].strip().upper(), []).append(bar)
    ordered = {symbol: tuple(sorted(items, key=lambda bar: bar.day)) for symbol, items in bars.items()}
    return Prices(ordered, label, path.name)


def _positive(text: str) -> Decimal:
    number = money.parse(text)
    if number <= 0:
        raise ValueError(f"close {text} is not above zero")
    return number


def _volatility(closes: list[Decimal]) -> Decimal:
    """The sample standard deviation of daily returns, not annualised, to six places."""
    returns = [after / before - 1 for before, after in itertools.pairwise(closes)]
    mean = sum(returns, money.ZERO) / len(returns)
    variance = sum(((item - mean) ** 2 for item in returns), money.ZERO) / (len(returns) - 1)
    return variance.sqrt().quantize(Decimal("0.000001"))
