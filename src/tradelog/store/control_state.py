"""What people have said about sending, as it counts now: halts in force, and limits that are lifted.

``rows`` runs SQL and gives rows by name: of a transaction, a writer or a reader.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tradelog.domain import symbols
from tradelog.domain.account import AccountKey

# The subject of a halt that a reconciliation ends, and no person.
RESTORED = "restored"
Rows = Callable[[str, Sequence[Any] | Mapping[str, Any]], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Halts:
    """What is halted for an account: everything, or these strategies and (bare) symbols."""

    everything: bool
    strategies: frozenset[str]
    symbols: frozenset[str]

    def covers(self, strategy: str, symbol: str) -> bool:
        """Whether a halt covers an order of this strategy and symbol."""
        return self.everything or strategy in self.strategies or symbols.normalise(symbol) in self.symbols


@dataclass(frozen=True, slots=True)
class Lift:
    """The newest word on a limit that still counts; ``value`` is as in tradelog.toml."""

    value: Any
    until: str
    actor: str
    reason: str


def open_halts(rows: Rows, account: AccountKey) -> list[dict[str, Any]]:
    """The halts in force that concern an account, oldest first; those of every account have none."""
    return rows(
        "SELECT halt_id, broker, environment, account, scope, subject, actor, reason, created_at FROM halts"
        " WHERE ended_at IS NULL AND (account = '' OR (broker = ? AND environment = ? AND account = ?))"
        " ORDER BY halt_id",
        account,
    )


def halts(rows: Rows, account: AccountKey) -> Halts:
    """What is halted now."""
    found = open_halts(rows, account)
    return Halts(
        any(row["scope"] == "all" for row in found),
        frozenset(row["subject"] for row in found if row["scope"] == "strategy"),
        frozenset(symbols.normalise(row["subject"]) for row in found if row["scope"] == "symbol"),
    )


def lifts(rows: Rows, account: AccountKey, now: str) -> dict[str, Lift]:
    """The limits that have another value than the configured one just now, by name."""
    found = rows(
        # Of each limit the row of its newest event: SQLite takes bare columns from the row of the max().
        "SELECT subject, new_value, until, actor, reason, max(event_id) AS newest FROM control_events"
        " WHERE until IS NOT NULL AND kind = 'limit.lifted'"
        " AND broker = ? AND environment = ? AND account = ? GROUP BY subject ORDER BY subject",
        account,
    )
    return {
        row["subject"]: Lift(json.loads(row["new_value"]), row["until"], row["actor"], row["reason"])
        for row in found
        # An older word does not come back when the newest has run out.
        if row["new_value"] is not None and row["until"] > now
    }
