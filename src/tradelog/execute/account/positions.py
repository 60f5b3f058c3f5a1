"""Positions: the sum of fills against the broker's list, and the breaks between them.

The first complete comparison records what no fill explains as the opening position; from then on
opening + adjustments + fills + splits must equal what the broker holds. Every function is one step inside a
transaction of the caller.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from tradelog.domain import ids, money
from tradelog.domain.account import AccountKey
from tradelog.domain.status import BreakResolution
from tradelog.domain.symbols import position_symbol
from tradelog.operate.alerts import clear, raise_alert
from tradelog.store.writer import Transaction

Held = dict[str, Decimal]


def parse_positions(answer: object) -> Held | None:
    """Shares by symbol of the broker's list of positions, short ones negative; None for what is none."""
    if not isinstance(answer, list):
        return None
    held: Held = {}
    for item in answer:
        if not isinstance(item, dict) or not isinstance(item.get("symbol"), str):
            return None
        try:
            quantity = money.parse(item.get("qty"))
        except ValueError:
            return None
        if item.get("side") == "short":
            quantity = -abs(quantity)
        symbol = position_symbol(item["symbol"])
        held[symbol] = held.get(symbol, money.ZERO) + quantity
    return held


def expected_positions(connection: sqlite3.Connection, account: AccountKey) -> Held:
    """Opening positions, adjustments, all fills and all splits of an account, by symbol."""
    held: Held = {}
    for symbol, quantity in connection.execute(
        "SELECT symbol, quantity FROM position_entries WHERE broker = ? AND environment = ? AND account = ?",
        account,
    ):
        held[symbol] = held.get(symbol, money.ZERO) + money.parse(quantity)
    for symbol, side, quantity in connection.execute(
        "SELECT symbol, side, quantity FROM fills WHERE broker = ? AND environment = ? AND account = ?",
        account,
    ):
        signed = money.parse(quantity) if side == "buy" else -money.parse(quantity)
        held[position_symbol(symbol)] = held.get(position_symbol(symbol), money.ZERO) + signed
    for symbol, quantity in connection.execute(
        "SELECT symbol, quantity FROM account_activities WHERE broker = ? AND environment = ? AND account = ?"
        " AND kind = 'SPLIT' AND symbol IS NOT NULL AND quantity IS NOT NULL"
        " AND coalesce(status, '') <> 'canceled'",
        account,
    ):
        held[symbol] = held.get(symbol, money.ZERO) + money.parse(quantity)
    return held


@dataclass(frozen=True, slots=True)
class MissingFills:
    """An attempt whose fills (``summed``) do not add up to the filled quantity of its order (``filled``)."""

    symbol: str
    side: str
    filled: Decimal
    summed: Decimal
    since: str


def missing_fills(connection: sqlite3.Connection, account: AccountKey) -> dict[str, MissingFills]:
    """The attempts of an account with missing or excess fills, by id."""
    rows = connection.execute(
        "SELECT e.execution_id, e.symbol, d.side, e.filled_quantity, e.fills_quantity, o.updated_at"
        " FROM trade_executions e JOIN alpaca_orders o ON o.broker_order_id = e.alpaca_order_id"
        " JOIN trade_decisions d ON d.decision_id = e.decision_id"
        " WHERE e.broker = ? AND e.environment = ? AND e.account = ?"
        " AND e.filled_quantity <> e.fills_quantity",
        account,
    )
    return {
        row[0]: MissingFills(
            position_symbol(row[1]), row[2], money.parse(row[3]), money.parse(row[4]), row[5]
        )
        for row in rows.fetchall()
    }


def record_opening_positions(tx: Transaction, account: AccountKey, held: Held, ours: Held, actor: str) -> int:
    """Record what is held without a fill as opening positions; returns the number of symbols."""
    unexplained = differences(ours, held)
    for symbol, (had, has) in sorted(unexplained.items()):
        _entry(tx, account, symbol, "opening", has - had, "held at the first reconciliation", actor)
    number = str(account)
    tx.unaudited(
        "UPDATE reconcile_marks SET opened_at = ? WHERE broker = ? AND environment = ? AND account = ?",
        (tx.now, *account),
    )
    tx.journal("positions.opened", number, symbols=len(unexplained))
    return len(unexplained)


def differences(ours: Held, held: Held) -> dict[str, tuple[Decimal, Decimal]]:
    """(expected, actual) by symbol, of those that differ."""
    symbols = set(ours) | set(held)
    pairs = {name: (ours.get(name, money.ZERO), held.get(name, money.ZERO)) for name in symbols}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def update_breaks(
    tx: Transaction,
    account: AccountKey,
    kind: str,
    differences: Mapping[str, tuple[str, Decimal, Decimal]],
    unsure: set[str],
) -> None:
    """Open, change and close the breaks of a kind; ``differences`` is (symbol, expected, actual) by subject.

    The breaks of the subjects in ``unsure`` stay as they are.
    """
    open_breaks = {
        row["subject"]: row
        for row in tx.dicts(
            "SELECT * FROM breaks WHERE broker = ? AND environment = ? AND account = ? AND kind = ?"
            " AND closed_at IS NULL",
            (*account, kind),
        )
    }
    for subject, (symbol, expected, actual) in sorted(differences.items()):
        row = open_breaks.get(subject)
        numbers = {"expected": money.to_text(expected), "actual": money.to_text(actual)}
        text = f"{symbol}: {_description(kind, numbers)}"
        if row is None:
            break_id = ids.new(ids.BREAK)
            tx.insert(
                "breaks",
                {
                    "break_id": break_id,
                    **account.as_columns(),
                    "kind": kind,
                    "subject": subject,
                    "symbol": symbol,
                    "found_at": tx.now,
                    **numbers,
                    "changed_at": tx.now,
                },
            )
            raise_alert(tx, f"{kind}_break", break_id, text)
            tx.journal("break.found", break_id)
        elif (row["expected"], row["actual"]) != tuple(numbers.values()):
            tx.update("breaks", row["break_id"], {**numbers, "changed_at": tx.now})
            tx.journal("break.changed", row["break_id"])
    for subject, row in open_breaks.items():
        if subject not in differences and subject not in unsure:
            close_break(tx, row["break_id"], kind, BreakResolution.AGREED, "the two agree again")


def close_break(tx: Transaction, break_id: str, kind: str, resolution: BreakResolution, why: str) -> None:
    """Close a break; ``why`` is the reason for people."""
    changes = {"closed_at": tx.now, "closed_why": why, "resolution": resolution.value}
    tx.update("breaks", break_id, changes)
    clear(tx, break_id, (f"{kind}_break",))
    tx.journal("break.closed", break_id)


def is_accepted_break(tx: Transaction, execution_id: str, filled: Decimal, summed: Decimal) -> bool:
    """Whether a person has accepted a break with exactly these numbers."""
    row = tx.one(
        "SELECT 1 FROM breaks WHERE kind = 'fills' AND subject = ? AND expected = ? AND actual = ?"
        " AND resolution = ?",
        (execution_id, money.to_text(filled), money.to_text(summed), BreakResolution.ACCEPTED.value),
    )
    return row is not None


def accept_break(tx: Transaction, break_id: str, reason: str, actor: str) -> None:
    """Accept a break for a person's reason: the difference becomes an adjustment of the position."""
    row = tx.dicts("SELECT * FROM breaks WHERE break_id = ?", (break_id,))[0]
    account = AccountKey(row["broker"], row["environment"], row["account"])
    if row["kind"] == "position":
        change = money.parse(row["actual"]) - money.parse(row["expected"])
        _entry(tx, account, row["subject"], "adjustment", change, reason, actor)
    else:
        side = tx.one(
            "SELECT d.side FROM trade_executions e JOIN trade_decisions d ON d.decision_id = e.decision_id"
            " WHERE e.execution_id = ?",
            (row["subject"],),
        )[0]
        missing = money.parse(row["expected"]) - money.parse(row["actual"])
        change = missing if side == "buy" else -missing
        _entry(tx, account, row["symbol"], "adjustment", change, reason, actor)
    close_break(tx, break_id, row["kind"], BreakResolution.ACCEPTED, f"accepted: {reason}")


def _description(kind: str, numbers: Mapping[str, str]) -> str:
    if kind == "position":
        return f"the broker holds {numbers['actual']}, the fills add up to {numbers['expected']}"
    return f"the order has {numbers['expected']} filled, its fills add up to {numbers['actual']}"


def _entry(
    tx: Transaction, account: AccountKey, symbol: str, kind: str, quantity: Decimal, reason: str, actor: str
) -> None:
    tx.insert(
        "position_entries",
        {
            **account.as_columns(),
            "symbol": symbol,
            "kind": kind,
            "quantity": money.to_text(quantity),
            "reason": reason,
            "actor": actor,
            "recorded_at": tx.now,
        },
    )
