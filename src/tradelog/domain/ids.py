"""Identifiers: typed and random, ``dec_`` and 16 Crockford base32 characters."""

from __future__ import annotations

import secrets

# Crockford's alphabet leaves out i, l, o and u (crockford.com/base32.html).
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 16
_CHARACTERS = bytes(ord(ALPHABET[number % 32]) for number in range(256))

RUN = "run"
DECISION = "dec"
EXECUTION = "exe"
SIGNAL = "sig"
STRATEGY_RUN = "srn"
WORKER = "wrk"
REQUEST = "req"
BREAK = "brk"
COMMAND = "cmd"
MAINTENANCE = "mnt"


def new(kind: str) -> str:
    """80 random bits, so that ids of several machines never meet."""
    # A byte holds eight times the alphabet, so every character is as likely as any other.
    return kind + "_" + secrets.token_bytes(LENGTH).translate(_CHARACTERS).decode()


def client_order_id(decision_id: str, decision_hash: str, number: int) -> str:
    """``tl-<16 of the decision id>-<12 hex of its hash>-<n>``: 34 characters for one digit of n.

    Alpaca's older documents allow 48 characters. Part of the hash travels to the broker as an
    anchor that we cannot change afterwards.
    """
    return f"tl-{decision_id.removeprefix(DECISION + '_')}-{decision_hash[:12]}-{number}"
