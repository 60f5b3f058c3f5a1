"""The strategies, by the name that a command takes."""

from __future__ import annotations

from importlib import import_module

from tradelog.decide.strategies.base import Strategy
from tradelog.errors import NotFound

NAMES = {"congress": ("tradelog.decide.strategies.congress", "CongressionalTradingStrategy")}


def load(name: str) -> type[Strategy]:
    """Raises NotFound for a name that is none."""
    if name not in NAMES:
        raise NotFound(f"no strategy is named {name!r}", hint=f"known: {', '.join(sorted(NAMES))}")
    module, attribute = NAMES[name]
    strategy: type[Strategy] = getattr(import_module(module), attribute)
    return strategy
