"""Whether anything is on record under a name: checked only where a list would be empty."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from tradelog.config.parameters import PARAMETERS
from tradelog.config.schema import Config
from tradelog.errors import NotFound
from tradelog.store.reader import Reader

_STRATEGIES = """
SELECT DISTINCT strategy_name FROM trade_decisions UNION SELECT DISTINCT strategy_name FROM strategy_runs
"""
_SYMBOLS = """
SELECT 1 FROM record_versions WHERE symbol = :symbol
UNION ALL SELECT 1 FROM trade_decisions WHERE symbol = :symbol
UNION ALL SELECT 1 FROM fills WHERE symbol = :symbol
UNION ALL SELECT 1 FROM position_entries WHERE symbol = :symbol LIMIT 1
"""


def check(reader: Reader, config: Config, *, strategy: str | None = None, symbol: str | None = None) -> None:
    """Raise NotFound for a strategy or a symbol that nothing is on record of."""
    if strategy is not None:
        check_strategy(reader, strategy, {*PARAMETERS, *config.strategies})
    if symbol is not None:
        check_symbol(reader, symbol.strip().upper())


def check_strategy(reader: Reader, name: str, configured: Collection[str]) -> None:
    """Raise NotFound for a strategy that has neither a decision, nor a run, nor a table in tradelog.toml."""
    strategies = {row["strategy_name"] for row in reader.rows(_STRATEGIES)} | set(configured)
    if name in strategies:
        return
    near = difflib.get_close_matches(name, sorted(strategies), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(strategies)) or 'none yet'}"
    raise NotFound(f"no strategy is named {name!r}", hint=hint)


def check_symbol(reader: Reader, symbol: str) -> None:
    """Raise NotFound for a symbol that is in no data, decision, fill or position."""
    if reader.value(_SYMBOLS, {"symbol": symbol}) is None:
        raise NotFound(f"nothing is on record of {symbol}", hint="tradelog decisions lists what was decided")
