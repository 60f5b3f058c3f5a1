"""Exchanges: each HTTP request and its response, kept as on the wire, with what the response proves."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from tradelog.domain.status import AttemptStatus
from tradelog.execute.brokers.base import Exchange
from tradelog.execute.outbox import responses
from tradelog.execute.outbox.claims import Claim
from tradelog.execute.outbox.responses import Classification, ResponseKind
from tradelog.store.writer import Transaction


class Purpose(StrEnum):
    """Why a request was made."""

    SUBMIT = "submit"
    LOOKUP = "lookup"
    CANCEL = "cancel"
    COMMAND = "command"  # a bot's, through the recording client
    POLL = "poll"
    RECONCILE = "reconcile"
    ACCOUNT = "account"
    FILLS = "fills"
    ACTIVITIES = "activities"


_CLASSIFY = {
    Purpose.SUBMIT: responses.classify_submit,
    Purpose.LOOKUP: responses.classify_lookup,
    Purpose.CANCEL: responses.classify_cancel,
}


def record_exchange(
    tx: Transaction,
    exchange: Exchange,
    purpose: str,
    execution_id: str | None,
    classification: Classification | None = None,
    *,
    command_id: str | None = None,
) -> int:
    """Keep an exchange as it was on the wire; returns its number. The caller journals.

    ``classification`` is what the response proves; by default what its purpose makes of it.
    """
    body, encoding = exchange.text()
    if classification is None and purpose in _CLASSIFY:
        classification = _CLASSIFY[Purpose(purpose)](exchange)
    return tx.insert(
        "broker_calls",
        {
            "execution_id": execution_id,
            "purpose": str(purpose),
            "method": exchange.method,
            "url": exchange.url,
            "request_body": exchange.request_body,
            "status": exchange.status,
            "response_headers": json.dumps(dict(exchange.headers)) if exchange.headers else None,
            "response_body": body if exchange.status is not None else None,
            "body_encoding": encoding,
            "error": exchange.error,
            "started_at": exchange.started_at,
            "ended_at": exchange.ended_at,
            "left_host": int(exchange.left_host),
            "proves": None if classification is None else classification.kind.value,
            "command_id": command_id,
        },
    )


def count_submissions(tx: Transaction, claim: Claim) -> int:
    """How often this attempt's request was submitted, or may have been: also one that left no response."""
    recorded, status, resent_at, resubmissions = tx.one(
        "SELECT (SELECT count(*) FROM broker_calls WHERE execution_id = ?1 AND purpose = 'submit'"
        " AND left_host IS NOT 0), e.status, e.resent_at, d.retry_count FROM trade_executions e"
        " JOIN trade_decisions d ON d.decision_id = e.decision_id WHERE e.execution_id = ?1",
        (claim.execution_id,),
    )
    may_have_left = status == AttemptStatus.UNKNOWN or resent_at is not None
    if claim.change is not None:  # the count of the decision is that of its first order
        return max(int(recorded), int(may_have_left))
    return max(int(recorded), int(resubmissions) + 1 if may_have_left else 0)


def was_duplicate_id(tx: Transaction, claim: Claim) -> bool:
    """Whether the broker once refused this attempt's id as taken: then the broker has it."""
    rows = tx.dicts(
        "SELECT * FROM broker_calls WHERE execution_id = ? AND purpose = 'submit'"
        " AND (proves = ? OR proves IS NULL)",
        (claim.execution_id, ResponseKind.DUPLICATE.value),
    )
    return any(_classification(row).kind is ResponseKind.DUPLICATE for row in rows)


def last_refusal(tx: Transaction, claim: Claim) -> Classification | None:
    """The refusal of the last submission of this attempt, where it was one."""
    rows = tx.dicts(
        "SELECT * FROM broker_calls WHERE execution_id = ? AND purpose = 'submit'"
        " ORDER BY call_id DESC LIMIT 1",
        (claim.execution_id,),
    )
    if not rows or rows[0]["proves"] not in (ResponseKind.REFUSED.value, None):
        return None
    classification = _classification(rows[0])
    return classification if classification.kind is ResponseKind.REFUSED else None


def _classification(call: Mapping[str, Any]) -> Classification:
    """What a stored submission proves, with its message; before schema 0008 only the body says it."""
    body = call["response_body"] or ""
    return responses.classify_submit(
        Exchange(
            method=call["method"],
            url=call["url"],
            request_body=call["request_body"],
            started_at=call["started_at"],
            ended_at=call["ended_at"],
            status=call["status"],
            body=base64.b64decode(body) if call["body_encoding"] == "base64" else body.encode(),
        )
    )
