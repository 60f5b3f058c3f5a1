"""Text from outside, as it may be shown."""

from __future__ import annotations

import unicodedata


def counted(number: int, noun: str) -> str:
    """``1 decision``, ``2 decisions``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def visible(value: object) -> str:
    """Text that can do nothing to a terminal: control and direction characters become escapes."""
    text = "" if value is None else str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"\\u{ord(sign):04x}" if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else sign
        for sign in text
    )
