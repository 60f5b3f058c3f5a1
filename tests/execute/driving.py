"""How tests drive a worker: its steps by hand, on a clock that can be put forward."""

from __future__ import annotations

from typing import Any

from tests.fakes.alpaca import KEYS
from tradelog.execute.worker import Worker
from tradelog.store.writer import Writer

ENVIRONMENT = {"APCA_API_KEY_ID": KEYS[0], "APCA_API_SECRET_KEY": KEYS[1]}
_ahead = [0.0]


def go(seconds: float) -> None:
    """Put the clock forward, for this test."""
    _ahead[0] += seconds


def ahead() -> float:
    return _ahead[0]


def reset() -> None:
    _ahead[0] = 0.0


def state(writer: Writer, decision_id: str) -> tuple[str, str | None, str | None]:
    """(decision, last execution, failure code)."""
    return writer.connection.execute(
        "SELECT d.status, (SELECT e.status FROM trade_executions e WHERE e.decision_id = d.decision_id"
        " ORDER BY e.id DESC LIMIT 1), d.failure_code FROM trade_decisions d WHERE d.decision_id = ?",
        (decision_id,),
    ).fetchone()


def has_ended(writer: Writer, decision_id: str) -> bool:
    return state(writer, decision_id)[0] not in ("pending", "executing")


def settle(worker: Worker, writer: Writer, decision_id: str, *, seconds: float = 5) -> tuple[str, Any, Any]:
    """Drain and poll, as time goes by, until the decision has ended."""
    for _ in range(40):
        worker.drain()
        worker.poll()
        if has_ended(writer, decision_id):
            break
        go(seconds)
        worker.session.paused_until = 0.0
    return state(writer, decision_id)
