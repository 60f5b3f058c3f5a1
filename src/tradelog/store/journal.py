"""The hash chain over every change. What a row's digest is taken over is in `audited`.

An entry describes one event and all the rows that it changed: ``body`` is canonical JSON
(sorted keys, no floats, decimals as text, so that it equals RFC 8785) with at, actor, event,
subject and, per row, the table, the key, the version of its column list and the row's digest.
``body_hash`` is SHA-256 of the stored bytes; ``hash`` is SHA-256(previous hash ‖ seq ‖ body_hash),
seq as eight bytes, big-endian. The hash before the first entry is 32 zero bytes.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

GENESIS = bytes(32)

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def canonical(value: Any) -> str:
    """Canonical JSON of str, int, bool, None, lists and objects with ASCII keys.

    Raises TypeError for a float: its text depends on who writes it.
    """
    text = _encode(value)
    if _holds_float(value):
        raise TypeError("a float has no canonical form; write decimals as text")
    return text


def _holds_float(value: Any) -> bool:
    waiting = [value]
    for item in waiting:
        kind = type(item)
        if kind is str or kind is int or item is None:
            continue
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
        elif isinstance(item, float):
            return True
    return False


def link(previous: bytes, seq: int, body_hash: bytes) -> bytes:
    """The hash of entry ``seq``."""
    return hashlib.sha256(previous + seq.to_bytes(8, "big") + body_hash).digest()
