"""Text: escaped for a terminal, counted with its plural, and names of people in one spelling."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_HONORIFICS = frozenset({"hon", "honorable", "the", "mr", "mrs", "ms", "dr", "none"})


def counted(number: int, noun: str) -> str:
    """``1 decision``, ``2 decisions``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def escape_controls(value: object) -> str:
    """Text from outside made safe for a terminal: control and direction characters become escapes."""
    text = "" if value is None else str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"\\u{ord(sign):04x}" if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else sign
        for sign in text
    )


@lru_cache(maxsize=8192)
def normalise_name(text: str) -> str:
    """A person's name without letter case, spacing, accents, punctuation, honorifics and bracketed parts.

    Senate eFD repeats the name in brackets: "The Honorable Max Sample (Sample, Max)".
    """
    plain = unicodedata.normalize("NFKD", re.sub(r"\([^)]*\)", " ", text)).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9 ]", " ", plain.casefold().replace("'", "")).split()
    return " ".join(word for word in words if word not in _HONORIFICS)
