"""Symbols and tickers: their spelling, and when two spellings name the same thing."""

from __future__ import annotations

import re
from functools import lru_cache

# BRK.B and BTC/USD are symbols; Alpaca takes them as written and in upper case.
_SYMBOL = re.compile(r"[A-Z0-9]{1,16}(?:[./-][A-Z0-9]{1,8})?")
# A crypto pair without its slash: no stock has so long a ticker.
_PAIR = re.compile(r"([A-Z0-9]{3,8})(USD|USDT|USDC|BTC)")


def parse(text: str) -> str:
    """A symbol in upper case. Raises ValueError for text that is none.

    A crypto pair must be written with its slash, so that limits, halts and positions see one name.
    """
    symbol = text.strip().upper()
    if not _SYMBOL.fullmatch(symbol):
        raise ValueError(f"{text!r} is no symbol, such as AAPL, BRK.B or BTC/USD")
    pair = _PAIR.fullmatch(symbol)
    if pair is not None:
        raise ValueError(f"{text!r} is written {pair[1]}/{pair[2]}")
    return symbol


def position_symbol(symbol: str) -> str:
    """A symbol as the broker spells it in positions: BTCUSD, where orders and fills have BTC/USD."""
    return symbol.replace("/", "")


def normalise(symbol: str) -> str:
    """Letters and digits alone: for restrictions and halts BRK.B, BRK-B and BRK/B are one share."""
    return re.sub(r"[./-]", "", symbol)


@lru_cache(maxsize=8192)
def normalise_ticker(text: str) -> str:
    """A disclosed ticker in one spelling: upper case, a class of shares behind a dot (BRK-B is BRK.B)."""
    return re.sub(r"^([A-Z]{1,5})-([A-Z])$", r"\1.\2", text.strip().upper())
