"""Trade outbox and audit trail between a strategy and its broker.

    import tradelog

    with tradelog.open_log() as log:
        with log.ingestion_run("data_fetch:my_feed", "my-feed") as run:
            run.add(tradelog.Record(...))
        decided = log.decide(
            strategy="my-bot", symbol="AAPL", side="buy", quantity="10", rationale={"why": "..."}
        )

Nothing is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tradelog.adopt.because import because
    from tradelog.api import TradeLog, open_log
    from tradelog.errors import TradelogError
    from tradelog.ingest.identity import BadRow, Record

__all__ = ["BadRow", "Record", "TradeLog", "TradelogError", "because", "open_log"]

_HOMES = {
    "BadRow": "tradelog.ingest.identity",
    "Record": "tradelog.ingest.identity",
    "TradeLog": "tradelog.api",
    "TradelogError": "tradelog.errors",
    "because": "tradelog.adopt.because",
    "open_log": "tradelog.api",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tradelog' has no attribute {name!r}")
