"""A process that dies at the n-th statement or call, and what must hold after a restart."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.execute.driving import go
from tests.fakes.books import Books
from tests.fakes.direct import DirectBroker, Fault
from tests.store.test_journal import check_complete
from tradelog.config import Config
from tradelog.decide import record
from tradelog.execute import changes
from tradelog.execute.worker import Worker
from tradelog.store import engine
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer


class Crash(BaseException):
    """The process is gone: nothing of it runs any more, no clean-up either."""


class Fuse:
    """Burns down at each statement and each call, and kills at ``at``; 0 never does."""

    def __init__(self, at: int = 0) -> None:
        self._at = at
        self.count = 0
        self.is_dead = False

    def tick(self, _what: str) -> None:
        self.count += 1
        if self.count == self._at:
            self.is_dead = True
        if self.is_dead:
            raise Crash


class Mortal:
    """A connection whose every statement can be the last one, before it or after it."""

    def __init__(self, connection: sqlite3.Connection, fuse: Fuse) -> None:
        self._connection = connection
        self._fuse = fuse

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        is_read = sql.lstrip().startswith(("SELECT", "PRAGMA"))
        if not is_read:
            self._fuse.tick(sql)
        elif self._fuse.is_dead:
            raise Crash
        cursor = self._connection.execute(sql, *parameters)
        # After a read nothing is different; after a write or a COMMIT everything may be.
        if sql == "COMMIT":
            self._fuse.tick(sql)
        return cursor

    def executemany(self, sql: str, rows: Any) -> sqlite3.Cursor:
        self._fuse.tick(sql)
        return self._connection.executemany(sql, rows)

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def close(self) -> None:
        self._connection.close()


class Life:
    """One process: a writer and a worker on a store, speaking with books that outlive it."""

    def __init__(
        self, config: Config, books: Books, fuse: Fuse, faults: list[Fault], seen: list[Any] | None = None
    ) -> None:
        self._connection = engine.connect_writer(config.store_path)
        self.writer = Writer(Mortal(self._connection, fuse), config.store_path, "test")  # type: ignore[arg-type]
        self.broker = DirectBroker(books, fuse.tick)
        self.broker.faults = faults
        if seen is not None:
            self.broker.seen = seen
        self.worker = Worker(self.writer, self.broker, config)
        self.config = config
        self.books = books

    def decide(self, **values: Any) -> str:
        given = {"symbol": "AAPL", "side": "buy", "quantity": "10", "rationale": {"why": "x"}} | values
        return record.record(self.writer, self.config.account, record.parse(given)).decision_id

    def cancel(self, decision_id: str) -> None:
        with self.writer.transaction() as tx:
            changes.ask_cancel(tx, decision_id, "test", "test")

    def replace(self, decision_id: str, **terms: Any) -> None:
        with self.writer.transaction() as tx:
            changes.ask_replace(tx, decision_id, terms, "test", "test")

    def decision(self) -> str:
        with self.writer.reading() as connection:
            return str(connection.execute("SELECT decision_id FROM trade_decisions").fetchone()[0])

    def work(self) -> None:
        self.worker.drain()
        self.worker.poll()

    def end(self) -> None:
        # What was not committed goes with the process.
        self._connection.close()


@contextmanager
def living(config: Config, books: Books, fuse: Fuse, *faults: Fault, seen: Any = None) -> Iterator[Life]:
    life = Life(config, books, fuse, list(faults), seen)
    try:
        yield life
    finally:
        life.end()


def recover(config: Config, books: Books, seen: list[Any]) -> None:
    """Restart, and let time go by until nothing is open that can end by itself."""
    with living(config, books, Fuse(), seen=seen) as life:
        life.worker.start()
        for _ in range(60):
            life.work()
            if is_quiet(life):
                break
            go(10)
            life.worker.line.paused_until = 0.0
        life.worker.reconcile()
        life.worker.finish()


def is_quiet(life: Life) -> bool:
    with life.writer.reading() as connection:
        left = connection.execute(
            "SELECT (SELECT count(*) FROM trade_executions WHERE status IN ('sending', 'unknown')"
            "   OR filled_quantity <> fills_quantity)"
            " + (SELECT count(*) FROM trade_decisions WHERE status = 'pending')"
            " + (SELECT count(*) FROM order_requests WHERE ended_at IS NULL)"
        ).fetchone()[0]
    return not left


def check(config: Config, books: Books, seen: list[Any]) -> None:
    """Invariants 1 to 4, 6, 12 and 14, of the store and the books together."""
    with Reader(config.store_path) as reader:
        check_complete(reader)
        executions = {row["execution_id"]: row for row in reader.rows("SELECT * FROM trade_executions")}
        ours = {row["alpaca_order_id"]: row for row in executions.values() if row["alpaca_order_id"]}
        # One order an intent: each order of the books is one attempt's, under that attempt's id.
        for order in books.orders.values():
            attempt = ours[order["id"]]
            assert attempt["client_order_id"] == order["client_order_id"]
            assert Decimal(attempt["filled_quantity"]) == Decimal(order["filled_qty"])
        assert len(ours) == len(books.orders)
        ids = [order["client_order_id"] for order in books.orders.values()]
        assert len(ids) == len(set(ids))
        # All fills, once.
        fills = {row["fill_id"]: Decimal(row["quantity"]) for row in reader.rows("SELECT * FROM fills")}
        assert fills == {item["id"]: Decimal(item["qty"]) for item in books.activities}
        # Every attempt explained: none is left in the middle, and what was sent was written down before.
        assert all(row["status"] not in ("sending", "unknown") for row in executions.values())
        written = {row["client_order_id"] for row in executions.values()}
        for method, _, body in seen:
            if method in ("POST", "PATCH"):
                assert json.loads(body)["client_order_id"] in written
        for row in reader.rows("SELECT * FROM trade_decisions"):
            own = [item for item in executions.values() if item["decision_id"] == row["decision_id"]]
            filled = sum((Decimal(item["filled_quantity"]) for item in own), Decimal(0))
            is_open = any(item["status"] in ("accepted", "partially_filled") for item in own)
            assert (row["status"] == "executing") == is_open, (row["status"], [i["status"] for i in own])
            if not is_open and filled:
                assert row["status"] == "executed"
        assert reader.rows("SELECT * FROM breaks WHERE closed_at IS NULL") == []


Scenario = Callable[[Life], None]


def crash_everywhere(
    tmp_path: Path,
    config: Config,
    prepare: Callable[[Life], None],
    act: Scenario,
    make_faults: Callable[[], list[Fault]] = list,
    make_books: Callable[[], Books] = Books,
    *,
    step: int = 1,
    start: int = 1,
) -> int:
    """Crash ``act`` at every ``step``-th point of it, recover and check; returns how many points it has."""
    template = tmp_path / "template.db"
    at = start
    while True:
        books, seen = make_books(), []
        _fresh(config, template)
        with living(config, books, Fuse(), seen=seen) as life:
            prepare(life)
        fuse = Fuse(at)
        with living(config, books, fuse, *make_faults(), seen=seen) as life, suppress(Crash):
            act(life)
        recover(config, books, seen)
        check(config, books, seen)
        if not fuse.is_dead:
            return fuse.count
        at += step


def _fresh(config: Config, template: Path) -> None:
    """A new store each time, without the time that making one takes."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{config.store_path}{suffix}").unlink(missing_ok=True)
    if not template.exists():
        from tradelog.store.opening import open_writer

        open_writer(config.store_path).close()
        shutil.copy(config.store_path, template)
    shutil.copy(template, config.store_path)
