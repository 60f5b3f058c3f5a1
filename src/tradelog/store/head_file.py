"""The head of the journal in a file beside the store, kept by the worker.

A copy of the store that comes back without its newest rows is told by it: the file is ahead of the journal.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tradelog.errors import StoreUnwritable
from tradelog.store.writer import Writer


@dataclass(frozen=True, slots=True)
class KeptHead:
    """An entry of the journal by its number and its hash, as hex."""

    seq: int
    hash: str


def path_of(store: Path) -> Path:
    """Where the file of a store is."""
    return store.with_name(f"{store.name}.head")


def keep(writer: Writer) -> None:
    """Write the head as it is now, unless it stands there already. Raises StoreUnwritable."""
    head = newest(writer)
    if head is None or read(writer.path) == head:
        return
    path = path_of(writer.path)
    partial = path.with_name(f"{path.name}.partial")
    try:
        descriptor = os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(f"{head.seq} {head.hash}\n")
        partial.replace(path)
    except OSError as error:
        raise StoreUnwritable(
            f"{path} cannot be written: {error.strerror}", hint="make room, or see who owns it"
        ) from error


def read(store: Path) -> KeptHead | None:
    """The kept head; None where none was kept, or the file is cut off."""
    try:
        words = path_of(store).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return None
    if len(words) < 2 or not words[0].isdecimal():
        return None
    return KeptHead(int(words[0]), words[1])


def newest(writer: Writer) -> KeptHead | None:
    """The head of the journal."""
    rows = writer.rows("SELECT seq, lower(hex(hash)) AS hash FROM journal ORDER BY seq DESC LIMIT 1")
    return KeptHead(rows[0]["seq"], rows[0]["hash"]) if rows else None


def missing(writer: Writer) -> KeptHead | None:
    """The kept head, where the journal does not hold it: the store is older than it was, or another one."""
    kept = read(writer.path)
    if kept is None:
        return None
    rows = writer.rows("SELECT lower(hex(hash)) AS hash FROM journal WHERE seq = ?", (kept.seq,))
    return None if rows and rows[0]["hash"] == kept.hash else kept


def set_aside(store: Path) -> None:
    """Keep a head that does not fit the store under another name: it is evidence."""
    kept = read(store)
    if kept is not None:
        path_of(store).replace(path_of(store).with_name(f"{store.name}.head.of-{kept.seq}"))
