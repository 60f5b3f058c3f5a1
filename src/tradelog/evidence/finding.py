"""What a check of the evidence finds broken."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """``check`` is one of few words; ``subject`` names the row, the entry or the order."""

    check: str
    subject: str
    message: str
