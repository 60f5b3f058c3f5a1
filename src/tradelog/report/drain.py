"""What one drain of the outbox left: its decisions, and why others were not submitted."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.store import control_state
from tradelog.store.reader import Reader, Row

_DECISIONS = """
SELECT d.decision_id, d.symbol, d.side, d.status, d.failure_code, d.failure_message, d.needs_attention,
       e.status AS execution, e.error_message, e.filled_quantity, e.filled_avg_price
FROM trade_decisions d LEFT JOIN trade_executions e ON e.decision_id = d.decision_id
  AND e.attempt_number = (
    SELECT max(x.attempt_number) FROM trade_executions x WHERE x.decision_id = d.decision_id)
WHERE (d.decision_id IN (SELECT value FROM json_each(?)) OR d.status = 'executing')
  AND d.broker = ? AND d.environment = ? AND d.account = ?
ORDER BY d.id
"""
# Never submitted, though they are due.
_DUE = """
SELECT d.strategy_name, d.symbol, d.approval FROM trade_decisions d
WHERE d.broker = ? AND d.environment = ? AND d.account = ? AND d.status = 'pending'
  AND d.needs_attention IS NULL AND (d.next_attempt_at IS NULL OR d.next_attempt_at <= ?)
  AND NOT EXISTS (
    SELECT 1 FROM trade_executions e WHERE e.symbol = d.symbol AND e.status IN ('sending', 'unknown')
      AND e.broker = d.broker AND e.environment = d.environment AND e.account = d.account)
  AND NOT EXISTS (SELECT 1 FROM trade_executions e WHERE e.decision_id = d.decision_id)
"""
_HELD = """
SELECT count(*) FROM trade_decisions WHERE broker = ? AND environment = ? AND account = ?
AND status = 'pending' AND held_until > ?
"""


@dataclass(frozen=True, slots=True)
class Drain:
    """``decisions`` with their last attempt; of the due ones how many are halted, wait for approval or for
    another reason; ``held`` wait for the market to open."""

    decisions: list[Row]
    halted: int
    unapproved: int
    waiting: int
    held: int


def drain(reader: Reader, config: Config, decision_ids: Collection[str]) -> Drain:
    """The state of these decisions and of all that are executing, and of what is due."""
    now, account = clock.now_text(), config.account
    due = reader.rows(_DUE, (*account, now))
    halts = control_state.halts(reader.rows, account)
    halted = [row for row in due if halts.covers(row["strategy_name"], row["symbol"])]
    unapproved = [
        row
        for row in due
        if row not in halted and row["approval"] is None and config.control(row["strategy_name"]).approval
    ]
    return Drain(
        reader.rows(_DECISIONS, (json.dumps(sorted(decision_ids)), *account)),
        halted=len(halted),
        unapproved=len(unapproved),
        waiting=len(due) - len(halted) - len(unapproved),
        held=reader.value(_HELD, (*account, now)),
    )
