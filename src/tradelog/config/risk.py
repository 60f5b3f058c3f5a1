"""The limits that hold before an order, as they are configured, lifted and written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, get_type_hints

from tradelog.config.values import coerce, one_of
from tradelog.domain import money
from tradelog.errors import ConfigError

# Dollars of one order, by default: it catches a zero too many.
MAX_ORDER_NOTIONAL = Decimal(1_000_000)
MARKET_HOURS = ("queue", "wait", "refuse")


@dataclass(frozen=True, slots=True)
class RiskConfig:
    """Limits that hold right before submission. None is off; what is on by default cannot surprise.

    Amounts are dollars, ``duplicate_window_seconds`` and the ages seconds. A day is the market's.
    """

    max_order_notional: Decimal | None = MAX_ORDER_NOTIONAL
    max_order_quantity: Decimal | None = None
    max_symbol_notional: Decimal | None = None
    max_day_notional: Decimal | None = None
    max_gross_exposure: Decimal | None = None
    max_orders_per_minute: int | None = None
    max_orders_per_day: int | None = None
    duplicate_window_seconds: Decimal | None = None
    restricted_symbols: tuple[str, ...] | None = None
    allowed_symbols: tuple[str, ...] | None = None
    long_only: bool = True
    price_collar_percent: Decimal | None = None
    buying_power: bool = False
    tradable_assets: bool = False
    market_hours: str = "queue"
    max_snapshot_seconds: Decimal = Decimal(60)
    max_age_seconds: Decimal | None = Decimal(3600)
    throttle_orders: int | None = None
    throttle_minutes: Decimal = Decimal(60)


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """What holds for one strategy, whoever runs it: beside its own parameters in ``[strategies.NAME]``."""

    approval: bool = False
    approval_hours: Decimal = Decimal(24)
    max_age_seconds: Decimal | None = Decimal(3600)


def limit_from(name: str, value: Any, where: str) -> Any:
    """One limit of `RiskConfig` from a TOML value, ``off`` for None. Raises ConfigError."""
    return coerce(value, get_type_hints(RiskConfig)[name], where, Path())


def with_lifts(configured: RiskConfig, lifted: Mapping[str, Any]) -> RiskConfig:
    """The limits, some of them with another value, as in TOML. Raises ConfigError."""
    if not lifted:
        return configured
    return replace(configured, **{name: limit_from(name, value, name) for name, value in lifted.items()})


def as_toml(value: Any) -> Any:
    """A limit as it would be written in tradelog.toml: ``off`` for None."""
    if value is None:
        return "off"
    if isinstance(value, Decimal):
        return money.to_text(value)
    return list(value) if isinstance(value, tuple) else value


def as_text(value: Any) -> str:
    """A limit for people."""
    written = as_toml(value)
    if isinstance(written, bool):
        return "on" if written else "off"
    return ", ".join(written) or "none" if isinstance(written, list) else str(written)


# More than ten years of seconds is a mistake.
_MAX_SECONDS = 315_360_000
_DURATIONS = ("duplicate_window_seconds", "max_snapshot_seconds", "max_age_seconds", "throttle_minutes")


def check_duration(value: Decimal | None, where: str) -> None:
    """Raise ConfigError for a number of seconds that is a mistake."""
    if value is not None and value > _MAX_SECONDS:
        raise ConfigError(
            f"{where} is more than ten years", hint='"off" is no limit, where there may be none'
        )


def check_risk(risk: RiskConfig) -> None:
    """Raise ConfigError for a limit that makes no sense."""
    one_of(risk.market_hours, MARKET_HOURS, "[risk] market_hours")
    for name in ("max_snapshot_seconds", "throttle_minutes"):
        if not getattr(risk, name):
            raise ConfigError(f"[risk] {name} must be above 0")
    for name in _DURATIONS:
        check_duration(getattr(risk, name), f"[risk] {name}")
    if risk.throttle_orders == 0:
        raise ConfigError("[risk] throttle_orders must be above 0", hint='"off" is no throttle')
