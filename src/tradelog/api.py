"""The public API: what a program uses to keep a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from tradelog.config.load import load_config
from tradelog.config.schema import Config
from tradelog.store.opening import open_writer
from tradelog.store.writer import Writer

if TYPE_CHECKING:
    from tradelog.decide.record import Recorded
    from tradelog.ingest.run import IngestionRun
    from tradelog.report.period import Period
    from tradelog.report.symbol import SymbolReport


Number: TypeAlias = str | int | Decimal


class TradeLog:
    """An open store and its configuration. Threads may share it; close it when none needs it any more."""

    def __init__(self, settings: Config, writer: Writer) -> None:
        self.config = settings
        self._writer = writer

    def __enter__(self) -> TradeLog:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store. Safe to call twice."""
        self._writer.close()

    def ingestion_run(
        self,
        task_name: str,
        data_source: str,
        params: Mapping[str, Any] | None = None,
        *,
        empty_is_normal: bool = False,
        complete: bool = False,
        allow_shrink: bool = False,
    ) -> IngestionRun:
        """A context manager for one fetch; see `tradelog.ingest.run.IngestionRun`."""
        from tradelog.ingest.run import IngestionRun

        return IngestionRun(
            self._writer,
            task_name,
            data_source,
            params,
            empty_is_normal=empty_is_normal,
            complete=complete,
            allow_shrink=allow_shrink,
        )

    def decide(
        self,
        *,
        strategy: str,
        symbol: str,
        side: str | Enum,
        rationale: Mapping[str, Any] | str,
        quantity: Number | None = None,
        notional: Number | None = None,
        order_type: str | Enum | None = None,
        limit_price: Number | None = None,
        stop_price: Number | None = None,
        trail_price: Number | None = None,
        trail_percent: Number | None = None,
        time_in_force: str | Enum | None = None,
        extended_hours: bool = False,
        expires_at: str | None = None,
        inputs: Sequence[int] = (),
        key: str | None = None,
    ) -> Recorded:
        """Record a decision; durable when it returns.

        ``quantity`` is in shares, ``notional`` and the prices in dollars: text, int or Decimal, never float.
        ``side``, ``order_type`` (market) and ``time_in_force`` (day) are text or alpaca-py's enums.
        ``rationale`` is the reason, a text or a JSON object; ``inputs`` are the record versions it rests
        on. It is submitted before ``expires_at`` (``2025-12-24T14:30:00Z``; without a zone: New York) or
        not at all. The same ``key`` and content of one strategy and account give the first decision again.

        Raises InvalidDecision, which names the field, also for a key that was used for another decision;
        nothing was recorded then. Raises StoreError where the store cannot be written.
        """
        from tradelog.decide import record

        values = {name: value for name, value in locals().items() if name in record.KEYS}
        return record.record(self._writer, self.config.account, record.parse(values))

    def report(self, symbol: str, period: Period | None = None) -> SymbolReport:
        """All activity in a symbol, by default of all time. Raises NotFound."""
        from tradelog.report import symbol as report
        from tradelog.report.period import Period
        from tradelog.store.reader import Reader

        covered = period or Period(None, None, self.config.report.timezone)
        with Reader(self.config.store_path) as reader:
            return report.report(reader, symbol, self.config.account, covered, limit=-1)


def open_log(path: Path | str | None = None, *, actor: str | None = None) -> TradeLog:
    """Open the store of a configuration file (looked up as the command line does) for writing.

    ``actor`` names who acts, by default user@host. Raises ConfigError, StoreError.
    """
    settings = load_config(None if path is None else Path(path))
    return TradeLog(settings, open_writer(settings.store_path, actor=actor, check_same_thread=False))
