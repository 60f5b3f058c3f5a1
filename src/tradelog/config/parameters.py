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
        if self.notional <= 0:
            raise ConfigError(f"{where} notional must be above 0")
        if self.exit not in ("consensus_sale", "none"):
            raise ConfigError(f"{where} exit = {self.exit!r} is not known", hint="consensus_sale or none")


# By the name of the strategy; the programs of others keep theirs elsewhere.
PARAMETERS: Mapping[str, type[Any]] = {"congress": CongressParameters}
