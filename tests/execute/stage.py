"""A store, a broker in this process and a clock that stands still: for rules that are tested row by row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests import transitions
from tests.execute import driving
from tests.fakes.books import Books
from tests.fakes.direct import DirectBroker
from tradelog.config.schema import Config
from tradelog.decide import record
from tradelog.domain import clock
from tradelog.domain.account import AccountKey
from tradelog.execute.brokers.base import Exchange
from tradelog.execute.outbox import claims, exchanges
from tradelog.execute.outbox.claims import Claim
from tradelog.execute.worker import Worker
from tradelog.store.writer import Transaction, Writer

# Noon in New York on a working day, later than any process that runs the tests began.
NOON = datetime(2041, 3, 6, 17, 0, tzinfo=UTC)
RUNNING = 1000.0
LEASE = timedelta(seconds=5)
OTHERS = [
    AccountKey("other", "paper", "default"),
    AccountKey("alpaca", "live", "default"),
    AccountKey("alpaca", "paper", "other"),
]


def now() -> datetime:
    return NOON + timedelta(seconds=driving.ahead())


def running_seconds() -> float:
    return RUNNING + driving.ahead()


def moment(seconds: float = 0.0) -> str:
    """Store text of so many seconds after now."""
    return clock.later(clock.to_text(now()), seconds)


class Stage:
    def __init__(self, writer: Writer, config: Config) -> None:
        self.writer = writer
        self.config = config
        self.account = config.account
        self.books = Books()
        self.broker = DirectBroker(self.books)

    @contextmanager
    def tx(self) -> Iterator[Transaction]:
        """A transaction; what it changed is journaled at its end."""
        with self.writer.transaction() as tx:
            yield tx
            tx.journal_rest("test.set", "stage")

    def decide(self, account: AccountKey | None = None, **changes: Any) -> str:
        values = {
            "strategy": "manual",
            "symbol": "AAPL",
            "side": "buy",
            "quantity": "10",
            "rationale": {"why": "x"},
        } | changes
        parsed = record.parse(values)
        return record.record(self.writer, account or self.account, parsed).decision_id

    def attempt(self, decision_id: str, status: str = "sending", **columns: Any) -> str:
        """An attempt of a decision, as if it had come so far; the decision is executing."""
        decision = self.row("trade_decisions", decision_id)
        with self.tx() as tx:
            own = columns.pop("client_order_id", decision["client_order_id"])
            execution_id, _ = claims.insert_attempt(tx, decision, own, status=status, **columns)
        self.set("trade_decisions", decision_id, status="executing")
        return execution_id

    def row(self, table: str, key: str) -> dict[str, Any]:
        columns = {
            "trade_decisions": "decision_id",
            "trade_executions": "execution_id",
            "order_requests": "request_id",
            "breaks": "break_id",
            "alpaca_orders": "broker_order_id",
        }
        (row,) = self.writer.rows(f"SELECT * FROM {table} WHERE {columns[table]} = ?", (key,))
        return row

    def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        return self.writer.rows(sql, parameters)

    def value(self, sql: str, *parameters: Any) -> Any:
        return self.writer.connection.execute(sql, parameters).fetchone()[0]

    def set(self, table: str, key: str, **changes: Any) -> None:
        with self.tx() as tx:
            leased = {name: changes.pop(name) for name in list(changes) if name.startswith("lease_")}
            if changes:
                transitions.arrange(tx, table, key, changes)
            for name, value in leased.items():
                tx.unaudited(f"UPDATE trade_decisions SET {name} = ? WHERE decision_id = ?", (value, key))

    def claim(self, decision_id: str, worker_id: str = "wrk_me") -> Claim:
        with self.tx() as tx:
            decision = tx.dicts("SELECT * FROM trade_decisions WHERE decision_id = ?", (decision_id,))[0]
            return claims.claim_decision(tx, decision, worker_id, LEASE, Decimal(1000))

    def call(self, execution_id: str | None, purpose: str, **more: Any) -> None:
        """An exchange of an attempt, kept as the worker keeps it."""

        values = {"method": "GET", "url": "u", "request_body": None, "status": 200, "body": b"{}"}
        values |= {"started_at": moment(), "ended_at": moment()} | more
        with self.tx() as tx:
            exchanges.record_exchange(tx, Exchange(**values), purpose, execution_id)

    def worker(self, **risk: Any) -> Worker:
        config = replace(self.config, risk=replace(self.config.risk, **risk))
        made = Worker(self.writer, self.broker, config)
        made.start()
        self.broker.seen.clear()
        return made

    def alerts(self) -> list[str]:
        result = self.rows("SELECT kind FROM alerts WHERE acknowledged_at IS NULL ORDER BY alert_id")
        return [row["kind"] for row in result]
