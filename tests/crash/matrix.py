"""A process that dies at the n-th statement or call, and what must hold after a restart."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.execute.driving import go
from tests.fakes.books import Books
from tests.fakes.direct import DirectBroker, Fault
from tests.journaled import check_complete
from tradelog.config.schema import Config
from tradelog.decide import record
from tradelog.execute.amend import order_requests
from tradelog.execute.submission import LOOKUPS
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
        self.broker.watch = self._watch
        if seen is not None:
            self.broker.seen = seen
        self.worker = Worker(self.writer, self.broker, config)
        self.config = config
        self.books = books

    def _watch(self, method: str, path: str, body: str) -> None:
        """Invariants 1 and 13 at the moment of a call: what it is for is on disk, and no transaction open."""
        assert not self.writer.connection.in_transaction
        if method == "GET":
            return
        with Reader(self.config.store_path) as reader:
            if method == "DELETE":
                written = reader.value(
                    "SELECT count(*) FROM order_requests r JOIN trade_executions e USING (decision_id)"
                    " WHERE r.kind = 'cancel' AND r.status = 'sending' AND e.alpaca_order_id = ?",
                    (path.rpartition("/")[2],),
                )
            else:
                written = reader.value(
                    "SELECT count(*) FROM trade_executions WHERE status = 'sending' AND client_order_id = ?",
                    (json.loads(body)["client_order_id"],),
                )
        assert written == 1, (method, path, body)

    def decide(self, **values: Any) -> str:
        given = {
            "strategy": "manual",
            "symbol": "AAPL",
            "side": "buy",
            "quantity": "10",
            "rationale": {"why": "x"},
        } | values
        return record.record(self.writer, self.config.account, record.parse(given)).decision_id

    def cancel(self, decision_id: str) -> None:
        with self.writer.transaction() as tx:
            order_requests.request_cancel(tx, decision_id, "test", "test")

    def replace(self, decision_id: str, **terms: Any) -> None:
        with self.writer.transaction() as tx:
            order_requests.request_replace(tx, decision_id, terms, "test", "test")

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


def recover(config: Config, books: Books, seen: list[Any]) -> str:
    """Restart, and let time go by until nothing is open that can end by itself; returns who did that."""
    with living(config, books, Fuse(), seen=seen) as life:
        life.worker.start()
        for _ in range(60):
            life.work()
            if is_quiet(life):
                break
            go(10)
            life.worker.session.paused_until = 0.0
        life.worker.reconcile()
        life.worker.finish()
        return life.worker.session.worker_id


def is_quiet(life: Life) -> bool:
    with life.writer.reading() as connection:
        left = connection.execute(
            "SELECT (SELECT count(*) FROM trade_executions WHERE status IN ('sending', 'unknown')"
            "   OR filled_quantity <> fills_quantity)"
            " + (SELECT count(*) FROM trade_decisions WHERE status = 'pending')"
            " + (SELECT count(*) FROM order_requests WHERE ended_at IS NULL)"
        ).fetchone()[0]
    return not left


def check(config: Config, books: Books, seen: list[Any], *, worker_id: str, crashes: int) -> None:
    """Invariants 1 to 4, 6, 12 and 14, of the store and the books together.

    ``worker_id`` did the last work; each of the ``crashes`` may have taken the record of one call with it.
    """
    with Reader(config.store_path) as reader:
        check_complete(reader)
        executions = {row["execution_id"]: row for row in reader.rows("SELECT * FROM trade_executions")}
        decisions = reader.rows("SELECT * FROM trade_decisions")
        check_orders(reader, books, executions)
        check_wire(reader, seen, crashes)
        for row in decisions:
            own = [item for item in executions.values() if item["decision_id"] == row["decision_id"]]
            check_decision(reader, books, row, own)
            assert row["lease_owner"] != worker_id, "a lease was not given back"
        assert reader.rows("SELECT * FROM breaks WHERE closed_at IS NULL") == []


def check_orders(reader: Reader, books: Books, executions: Mapping[str, Any]) -> None:
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
    # Every attempt explained: none is left in the middle.
    assert all(row["status"] not in ("sending", "unknown") for row in executions.values())


def check_wire(reader: Reader, seen: list[Any], crashes: int) -> None:
    """What is on record as said was said, and what was said is on record, but for who died saying it."""
    logged = Counter(
        (row["method"], row["url"].removeprefix("direct:"), row["request_body"] or "")
        for row in reader.rows("SELECT * FROM broker_calls WHERE url IS NOT NULL")
        if row["method"] != "GET"
    )
    text = Counter(item for item in seen if item[0] != "GET")
    assert not logged - text
    assert (text - logged).total() <= crashes, text - logged
    # Nothing is repeated before it was asked about: a cancel once, an order over the grace period. What a
    # limit turned away was answered, and needs no asking.
    limited = {row["request_body"] for row in reader.rows("SELECT * FROM broker_calls WHERE status = 429")}
    asked: Counter[str] = Counter()
    said_before = set()
    for method, path, body in seen:
        if method == "GET":
            asked[path] += 1
            continue
        thing, enough = path, 1
        if method != "DELETE":
            client_id = json.loads(body)["client_order_id"]
            thing, enough = f"/v2/orders:by_client_order_id?client_order_id={client_id}", LOOKUPS
        if (method, thing) in said_before and body not in limited:
            assert asked[thing] >= enough, (method, path, body)
        said_before.add((method, thing))
        asked[thing] = 0


def check_decision(reader: Reader, books: Books, row: Any, own: list[Any]) -> None:
    filled = sum((Decimal(item["filled_quantity"]) for item in own), Decimal(0))
    is_open = any(item["status"] in ("accepted", "partially_filled") for item in own)
    assert (row["status"] == "executing") == is_open, (row["status"], [i["status"] for i in own])
    if not is_open and filled:
        assert row["status"] == "executed"
    # Never more than was wanted, but where the broker did not do as it was told, and a person knows.
    told = "SELECT count(*) FROM alerts WHERE kind = 'needs_attention' AND subject = ?"
    if not row["adopted"]:
        assert filled <= Decimal(row["quantity"]) or reader.value(told, (row["decision_id"],))
    # What is called cancelled has nothing at the broker that could still be filled.
    done = "SELECT count(*) FROM order_requests WHERE kind = 'cancel' AND status = 'done' AND decision_id = ?"
    if reader.value(done, (row["decision_id"],)):
        ids = {item["alpaca_order_id"] for item in own if item["alpaca_order_id"]}
        assert not {books.orders[each]["status"] for each in ids} & {"new", "partially_filled"}


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
        last = recover(config, books, seen)
        check(config, books, seen, worker_id=last, crashes=int(fuse.is_dead))
        if not fuse.is_dead:
            return fuse.count
        at += step


def _fresh(config: Config, template: Path) -> None:
    """A new store each time, without the time that making one takes."""
    for suffix in ("", "-wal", "-shm", ".head"):
        Path(f"{config.store_path}{suffix}").unlink(missing_ok=True)
    if not template.exists():
        from tradelog.store.opening import open_writer

        open_writer(config.store_path).close()
        shutil.copy(config.store_path, template)
    shutil.copy(template, config.store_path)
