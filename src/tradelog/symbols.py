"""Symbols: how one is written, and when two that are written differently are the same."""

from __future__ import annotations

import re

# BRK.B and BTC/USD are symbols; Alpaca takes them as written and in upper case.
_SYMBOL = re.compile(r"[A-Z0-9]{1,16}(?:[./-][A-Z0-9]{1,8})?")
# A pair of crypto without its stroke: no stock has so long a ticker.
_PAIR = re.compile(r"([A-Z0-9]{3,8})(USD|USDT|USDC|BTC)")


def parse(text: str) -> str:
    """A symbol in upper case. Raises ValueError, in words, for what is none.

    A pair of crypto must have its stroke: one thing has one name, for limits, halts and positions.
    """
    symbol = text.strip().upper()
    if not _SYMBOL.fullmatch(symbol):
        raise ValueError(f"{text!r} is no symbol, such as AAPL, BRK.B or BTC/USD")
    pair = _PAIR.fullmatch(symbol)
    if pair is not None:
        raise ValueError(f"{text!r} is written {pair[1]}/{pair[2]}")
    return symbol


def folded(symbol: str) -> str:
    """The broker writes BTC/USD in orders and fills, and BTCUSD in positions."""
    return symbol.replace("/", "")


def bare(symbol: str) -> str:
    """Letters and digits alone: BRK.B, BRK-B and BRK/B are one share to whoever forbids it."""
    return re.sub(r"[./-]", "", symbol)
