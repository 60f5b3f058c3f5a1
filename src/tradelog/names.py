"""Comparing the names of people and of shares across spellings."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_HONORIFICS = frozenset({"hon", "honorable", "the", "mr", "mrs", "ms", "dr", "none"})


@lru_cache(maxsize=8192)
def folded(text: str) -> str:
    """A name without letter case, spacing, accents, punctuation, honorifics and what is in brackets.

    Senate eFD repeats the name in brackets: "The Honorable Max Sample (Sample, Max)".
    """
    plain = unicodedata.normalize("NFKD", re.sub(r"\([^)]*\)", " ", text)).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9 ]", " ", plain.casefold().replace("'", "")).split()
    return " ".join(word for word in words if word not in _HONORIFICS)


@lru_cache(maxsize=8192)
def ticker(text: str) -> str:
    """A ticker in one spelling: upper-case, a class of shares behind a dot (BRK-B is BRK.B)."""
    return re.sub(r"^([A-Z]{1,5})-([A-Z])$", r"\1.\2", text.strip().upper())
