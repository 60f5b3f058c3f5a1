"""What is kept of an exchange, and what is read back from it."""

from __future__ import annotations

import json

import pytest

from tests.execute.stage import Stage
from tradelog.execute.outbox import exchanges
from tradelog.execute.outbox.responses import ResponseKind

TAKEN = json.dumps({"code": 40010001, "message": "client_order_id must be unique"}).encode()
REFUSAL = json.dumps({"code": 40310000, "message": "insufficient buying power"}).encode()


def forget_what_it_proves(stage: Stage) -> None:
    """As rows of before schema 0008 are."""
    stage.writer.connection.executescript(
        "DROP TRIGGER broker_calls_update; UPDATE broker_calls SET proves = NULL, left_host = NULL;"
    )


@pytest.mark.parametrize(
    ("purpose", "status", "body", "proves"),
    [
        ("submit", 200, b"{}", "unknown"),
        ("submit", 403, REFUSAL, "refused"),
        ("submit", 422, TAKEN, "duplicate"),
        ("submit", 429, b"", "throttled"),
        ("submit", 401, b"", "bad keys"),
        ("lookup", 404, b'{"message": "order not found"}', "not found"),
        ("lookup", 404, b"<html>", "unknown"),
        ("cancel", 204, b"", "requested"),
        ("poll", 200, b"[]", None),
    ],
)
def test_an_exchange_says_what_it_proves(
    stage: Stage, purpose: str, status: int, body: bytes, proves: str | None
) -> None:
    stage.call(None, purpose, status=status, body=body)
    row = stage.rows("SELECT proves, left_host FROM broker_calls")[0]
    assert (row["proves"], row["left_host"]) == (proves, 1)


@pytest.mark.tampered
@pytest.mark.parametrize(("body", "is_duplicate"), [(TAKEN, True), (REFUSAL, False), (b"<html>", False)])
def test_an_older_store_remembers_a_duplicate_id(stage: Stage, body: bytes, is_duplicate: bool) -> None:
    """Invariant 2, across an upgrade: an id that the broker has taken is not submitted again."""
    claim = stage.claim(stage.decide())
    stage.call(claim.execution_id, "submit", status=422, body=body)
    forget_what_it_proves(stage)
    with stage.tx() as tx:
        assert exchanges.was_duplicate_id(tx, claim) is is_duplicate


@pytest.mark.tampered
def test_an_older_store_remembers_a_refusal(stage: Stage) -> None:
    claim = stage.claim(stage.decide())
    stage.call(claim.execution_id, "submit", status=403, body=REFUSAL)
    forget_what_it_proves(stage)
    with stage.tx() as tx:
        refusal = exchanges.last_refusal(tx, claim)
    assert refusal is not None
    assert (refusal.kind, refusal.failure_code) == (ResponseKind.REFUSED, "insufficient_buying_power")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8"])
def test_a_refusal_is_read_back_in_any_encoding(stage: Stage, encoding: str) -> None:
    claim = stage.claim(stage.decide())
    body = REFUSAL.decode().encode(encoding)
    stage.call(claim.execution_id, "submit", status=403, body=body)
    with stage.tx() as tx:
        refusal = exchanges.last_refusal(tx, claim)
    assert refusal is not None
    assert refusal.message == "insufficient buying power"
