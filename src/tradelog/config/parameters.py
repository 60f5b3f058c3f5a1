"""The parameters of the strategies that come with tradelog, checked as tradelog.toml is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tradelog.errors import ConfigError


@dataclass(frozen=True, slots=True)
class CongressParameters:
    """``min_members`` different members within ``window_days`` of disclosure make a consensus.

    A buy is sized by ``notional`` dollars. ``exit`` is ``consensus_sale`` (sell the whole position
    on a consensus of sales) or ``none``.
    """

    min_members: int = 3
    window_days: int = 30
    notional: Decimal = Decimal(1000)
    exit: str = "consensus_sale"

    def __post_init__(self) -> None:
        where = "[strategies.congress]"
        if self.min_members < 1 or self.window_days < 1:
            raise ConfigError(f"{where} min_members and window_days must be at least 1")
        _check_order(where, self.notional, self.exit)


@dataclass(frozen=True, slots=True)
class InsiderParameters:
    """``min_insiders`` different insiders of an issuer, who weigh ``min_weight`` together, make a consensus.

    They filed within ``window_days``. Each weighs as the heaviest of its roles (``officer_weight``,
    ``director_weight``, ``ten_percent_weight``), and up to twice that by the share of the holding that
    was traded: who doubled a holding, or sold it whole, weighs twice. Others, and those who state no
    role, weigh nothing. ``notional`` and ``exit`` are those of the congress strategy.
    """

    min_insiders: int = 3
    min_weight: Decimal = Decimal(2)
    window_days: int = 30
    officer_weight: Decimal = Decimal(1)
    director_weight: Decimal = Decimal("0.75")
    ten_percent_weight: Decimal = Decimal("0.5")
    notional: Decimal = Decimal(1000)
    exit: str = "consensus_sale"

    def __post_init__(self) -> None:
        where = "[strategies.insider]"
        if self.min_insiders < 1 or self.window_days < 1:
            raise ConfigError(f"{where} min_insiders and window_days must be at least 1")
        if self.min_weight <= 0:
            raise ConfigError(f"{where} min_weight must be above 0")
        if min(self.officer_weight, self.director_weight, self.ten_percent_weight) < 0:
            raise ConfigError(f"{where} a weight must not be negative")
        _check_order(where, self.notional, self.exit)


def _check_order(where: str, notional: Decimal, exit_rule: str) -> None:
    if notional <= 0:
        raise ConfigError(f"{where} notional must be above 0")
    if exit_rule not in ("consensus_sale", "none"):
        raise ConfigError(f"{where} exit = {exit_rule!r} is not known", hint="consensus_sale or none")


# By the name of the strategy; the programs of others keep theirs elsewhere.
PARAMETERS: Mapping[str, type[Any]] = {
    "congress": CongressParameters,
    "insider": InsiderParameters,
}
