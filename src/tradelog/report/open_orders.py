"""Which decisions have orders that may still be filled. ``rows`` runs SQL, of a reader or a writer."""

from __future__ import annotations

from tradelog.domain import clock, money
from tradelog.domain.account import AccountKey
from tradelog.store.control_state import Rows
from tradelog.store.reader import Row

_EXECUTING = """
SELECT decision_id, side, symbol, strategy_name FROM trade_decisions
WHERE broker = :broker AND environment = :environment AND account = :account AND status = 'executing'
  AND (:scope = 'all' OR (:scope = 'strategy' AND strategy_name = :subject)
       OR (:scope = 'symbol' AND replace(symbol, '/', '') = replace(:subject, '/', '')))
ORDER BY id
"""
_IN_OTHER_ACCOUNTS = """
SELECT count(*) AS orders FROM trade_executions
WHERE status IN ('sending', 'unknown', 'accepted', 'partially_filled')
AND NOT (broker = ? AND environment = ? AND account = ?)
"""
_SENDING = """
SELECT 1 FROM trade_executions e JOIN trade_decisions d ON d.decision_id = e.decision_id
WHERE e.broker = ? AND e.environment = ? AND e.account = ? AND e.status = 'sending' AND d.lease_until > ?
LIMIT 1
"""


def executing(rows: Rows, account: AccountKey, scope: str, subject: str) -> list[Row]:
    """The decisions of a halt's scope that have, or may have, an open order."""
    return rows(_EXECUTING, {**account.as_columns(), "scope": scope, "subject": subject})


def count_in_other_accounts(rows: Rows, account: AccountKey) -> int:
    """How many attempts of other accounts of the store are open."""
    return int(rows(_IN_OTHER_ACCOUNTS, account)[0]["orders"])


def is_sending(rows: Rows, account: AccountKey) -> bool:
    """Whether a request of a live lease is on its way now."""
    return bool(rows(_SENDING, (*account, clock.now_text())))


def has_decided(rows: Rows, strategy: str) -> bool:
    """Whether any decision names the strategy."""
    return bool(rows("SELECT 1 FROM trade_decisions WHERE strategy_name = ? LIMIT 1", (strategy,)))


def status_of(rows: Rows, decision_id: str) -> str:
    """The status of a decision that exists."""
    return str(rows("SELECT status FROM trade_decisions WHERE decision_id = ?", (decision_id,))[0]["status"])


def filled_quantity(rows: Rows, decision_id: str) -> str:
    """The filled quantity of all orders of a decision together, as text."""
    sql = "SELECT filled_quantity FROM trade_executions WHERE decision_id = ?"
    quantities = (money.parse(row["filled_quantity"]) for row in rows(sql, (decision_id,)))
    return money.to_text(sum(quantities, money.ZERO))


def request(rows: Rows, request_id: str) -> Row:
    """A cancel or replace that exists, with the status of its decision."""
    return rows(
        "SELECT r.request_id, r.kind, r.decision_id, r.status, r.message, r.execution_id, r.ended_at,"
        " d.status AS decision_status FROM order_requests r"
        " JOIN trade_decisions d ON d.decision_id = r.decision_id WHERE r.request_id = ?",
        (request_id,),
    )[0]
