"""What most commands open first."""

from __future__ import annotations

import os
from pathlib import Path

from tradelog.config import load
from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.errors import UsageError
from tradelog.report import period
from tradelog.store.reader import Reader


def load_config() -> Config:
    """The configuration of this command line. Raises ConfigError."""
    path = os.environ.get("TRADELOG_CONFIG")
    return load.load_config(Path(path) if path else None)


def open_reader(loaded: Config) -> Reader:
    """The configured store, for reading. Raises StoreError."""
    return Reader(loaded.store_path)


def covered(
    loaded: Config,
    year: int | None,
    first: str | None,
    last: str | None,
    zone: str | None = None,
    *,
    this_year: bool = False,
) -> period.Period:
    """The days of ``--year`` or of ``--from`` and ``--to``, in a zone or in the configured one.

    Where none of them is given, all days, or ``this_year``. Raises UsageError where they cannot be.
    """
    zone_name = zone or loaded.report.timezone
    today = clock.market_today(zone_name)
    if this_year and year is None and first is None and last is None:
        year = today.year
    if year is not None and year > today.year:
        raise UsageError(f"{year} has not come yet", hint=f"today is {today} ({zone_name})")
    return period.of(
        year,
        None if first is None else clock.parse_past_day(first, zone_name),
        None if last is None else clock.parse_day(last),
        zone_name,
    )
