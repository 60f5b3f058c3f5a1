"""What a source's row is: its identity and its content.

No source has a row id that its forms share, identical rows are often real, and vendors rewrite
the past in place. So a record is known by identity fields plus an occurrence number among equals,
and each change of its stable content is a version.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from json.encoder import encode_basestring
from typing import NamedTuple


class Record(NamedTuple):
    """One row of a source, read. A tuple: there are many of them, and a dataclass takes twice as long.

    ``identity`` and ``content`` are the texts that decide which record it is and whether it
    changed; fields that move daily or know the future belong in neither. ``payload`` is the row as
    given. ``event_date`` is ISO or None; ``filed_at`` store text (UTC); ``flags`` name what is odd.
    ``document`` is the source's id of the filing; ``reference`` and ``amends`` tie an amendment to what
    it amends; ``person`` is the id of a person that the source itself gives.
    """

    kind: str
    position: int
    identity: tuple[str, ...]
    content: tuple[str, ...]
    payload: str
    event_date: str | None = None
    filed_at: str | None = None
    filed_as_given: str | None = None
    symbol: str | None = None
    actor: str | None = None
    side: str | None = None
    amount_low: Decimal | None = None
    amount_high: Decimal | None = None
    flags: tuple[str, ...] = ()
    document: str | None = None
    reference: str | None = None
    amends: str | None = None
    person: str | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read: it costs itself, not the run."""

    position: int
    reason: str
    payload: str


def digest(parts: Sequence[str]) -> bytes:
    """SHA-256 of the texts as a JSON array, so that no two lists meet by their seams."""
    text = "[" + ",".join(map(encode_basestring, parts)) + "]"
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def whole(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON can hold and no store can."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def pack(ids: Iterable[int]) -> str:
    """A set of ids as text, in ranges: ``1-100,105``."""
    spans: list[list[int]] = []
    for number in sorted(ids):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        elif not spans or number != spans[-1][1]:
            spans.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)


def unpack(text: str) -> list[int]:
    """The inverse of `pack`."""
    ids: list[int] = []
    for span in filter(None, text.split(",")):
        low, _, high = span.partition("-")
        ids.extend(range(int(low), int(high or low) + 1))
    return ids
