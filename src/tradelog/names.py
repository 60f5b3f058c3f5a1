"""Comparing the names of people across spellings."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_HONORIFICS = frozenset({"hon", "honorable", "the", "mr", "mrs", "ms", "dr", "none"})


@lru_cache(maxsize=8192)
def folded(text: str) -> str:
    """A name without letter case, spacing, accents, punctuation and honorifics."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9 ]", " ", plain.casefold().replace("'", "")).split()
    return " ".join(word for word in words if word not in _HONORIFICS)
