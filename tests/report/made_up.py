"""A store of made-up trading, full of what reports have to tell apart, and the same rows as plain lists.

Two accounts, four symbols, three strategies, over New Year and both changes of the clocks; orders that were
filled, filled in part, refused, replaced, lost; signals that nobody acted on; rows of a run that failed.
"""

from __future__ import annotations

import json
import random
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tradelog.domain import clock
from tradelog.domain.account import AccountKey
from tradelog.store.opening import open_writer

ACCOUNTS = (AccountKey("alpaca", "paper", "default"), AccountKey("alpaca", "live", "default"))
SYMBOLS = ("AAPL", "MSFT", "BRK.B", "T")
STRATEGIES = ("congress", "insider", "manual")
CODES = (
    "insufficient_buying_power",
    "risk.order_notional",
    "rejected_by_venue",
    "expired_unsent",
    "declined",
    None,
)
START = datetime(2024, 10, 28, tzinfo=UTC)
DAYS = 140

Row = dict[str, Any]
Tables = dict[str, list[Row]]


class Maker:
    def __init__(self, path: Path, seed: int, decisions: int) -> None:
        open_writer(path).close()
        self.chance = random.Random(seed)
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("BEGIN")
        self.now = START
        self.numbers = iter(range(1, 10**9))
        self.data()
        for _ in range(decisions):
            self.pass_time(DAYS * 86_400 / decisions)
            if self.chance.random() < 0.25:
                self.signal(is_taken=False)
            else:
                self.decide()
        self.connection.execute("COMMIT")
        self.connection.close()

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=self.chance.random() * 2 * seconds)

    def text(self, seconds: float = 0) -> str:
        return clock.to_text(self.now + timedelta(seconds=seconds))

    def add(self, table: str, **row: Any) -> int:
        names = ", ".join(row)
        marks = ", ".join("?" * len(row))
        cursor = self.connection.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values())
        )
        return int(cursor.lastrowid or 0)

    def data(self) -> None:
        """Disclosures of each run, seen weeks after they were traded, over the whole span and before it."""
        for number in range(1, 31):
            moment = clock.to_text(START + timedelta(days=number * DAYS / 30 - 20, hours=number % 24))
            status = "failed" if number % 9 == 0 else "completed"
            ended = {"failed_at" if status == "failed" else "completed_at": moment}
            self.add(
                "data_ingestion_runs",
                id=number,
                run_id=f"run_{number:04d}",
                task_name="data_fetch:congress",
                data_source="quiver-congress" if number % 2 else "house-clerk",
                actor="me",
                host="box",
                pid=1,
                boot_id="b",
                heartbeat_at=moment,
                started_at=moment,
                **{"status": status, "params": "{}", "api_calls": "[]", **ended},
                **dict.fromkeys(("records_fetched", "records_created", "records_updated"), 5),
                **dict.fromkeys(("records_skipped", "records_quarantined", "records_gone"), 0),
            )
            for position in range(self.chance.randrange(4, 9)):
                traded = (clock.from_text(moment) - timedelta(days=self.chance.randrange(60))).date()
                record = self.add(
                    "source_records",
                    feed="f",
                    kind="congress_trade",
                    identity=b"%d" % next(self.numbers),
                    occurrence=1,
                )
                self.add(
                    "record_versions",
                    record_id=record,
                    run=number,
                    first_seen_at=moment,
                    position=position,
                    event_date=None if self.chance.random() < 0.1 else traded.isoformat(),
                    filed_at=moment,
                    symbol=self.chance.choice((*SYMBOLS, None)),
                    actor=f"Member {self.chance.randrange(5)}",
                    side="purchase",
                    amount_low="1001",
                    amount_high="15000",
                    backfill=0,
                    gone=0,
                    content_hash=b"x",
                    payload="{}",
                )

    def ours(self) -> Row:
        account = ACCOUNTS[self.chance.random() < 0.2]
        return account.as_columns()

    def signal(self, *, is_taken: bool, **wanted: Any) -> str | None:
        strategy = wanted.get("strategy_name") or self.chance.choice(STRATEGIES[:2])
        run_id = f"srn_{next(self.numbers):08d}"
        ours = wanted.get("ours") or self.ours()
        self.add(
            "strategy_runs",
            strategy_run_id=run_id,
            strategy_name=strategy,
            strategy_version="1",
            code_hash="x",
            parameters="{}",
            includes_backfill=0,
            basis=1,
            context="{}",
            **ours,
            started_at=self.text(),
        )
        signal_id = f"sig_{next(self.numbers):08d}"
        self.add(
            "signals",
            **{"signal_id": signal_id, "strategy_run_id": run_id, "strategy_name": strategy, **ours},
            symbol=wanted.get("symbol") or self.chance.choice(SYMBOLS),
            side=wanted.get("side") or self.chance.choice(("buy", "sell")),
            episode=f"e{next(self.numbers)}",
            taken=int(is_taken),
            reason=None if is_taken else "no position to sell",
            detail="{}",
            created_at=self.text(),
        )
        return signal_id

    def decide(self) -> None:
        chance, ours = self.chance, self.ours()
        strategy, symbol = chance.choice(STRATEGIES), chance.choice(SYMBOLS)
        side = "buy" if chance.random() < 0.6 else "sell"
        adopted = strategy == "manual" and chance.random() < 0.3
        signal = None
        if strategy != "manual":
            signal = self.signal(is_taken=True, strategy_name=strategy, symbol=symbol, side=side, ours=ours)
        sized = (
            {"notional": "1000.50"} if chance.random() < 0.2 else {"quantity": str(chance.randrange(1, 9))}
        )
        if chance.random() < 0.05:
            sized = {"quantity": "2.5"}
        status = chance.choices(
            ("executed", "failed", "cancelled", "pending", "executing"), (60, 20, 8, 4, 8)
        )[0]
        number = next(self.numbers)
        decision_id = f"dec_{number:08d}"
        code = chance.choice(CODES) if status == "failed" else None
        if status == "cancelled":
            code = chance.choice(("expired_unsent", "declined", "canceled"))
        price = chance.choice(('"100.25"', "99.5", '"none"', "null", '"101"'))
        rationale = f'{{"trigger": "t{number % 3}", "market_context": {{"price": {price}}}}}'
        row = {
            **{"decision_id": decision_id, "signal_id": signal, "strategy_name": strategy, "actor": "me"},
            **ours,
            **{"symbol": symbol, "side": side, **sized, "order_type": "market", "time_in_force": "day"},
            **{"extended_hours": 0, "decision_rationale": rationale, "basis": 1, "decision_hash": "x"},
            **{"client_order_id": f"tl-{number}", "created_at": self.text(), "status": status},
            **{"failure_code": code, "failure_message": code and f"said {code}", "retry_count": 0},
            **{"lease_token": 0, "adopted": int(adopted)},
        }
        if status in ("failed", "cancelled"):
            row["failed_at"] = self.text(chance.randrange(90_000))
        key = self.add("trade_decisions", **row)
        versions = [item[0] for item in self.connection.execute("SELECT version_id FROM record_versions")]
        for version in set(chance.sample(versions, chance.randrange(4))):
            self.add("decision_inputs", decision=key, version_id=version)
        if status != "pending" and code not in ("expired_unsent", "declined", "risk.order_notional"):
            self.attempts(row)

    def attempts(self, decision: Row) -> None:
        chance = self.chance
        last = chance.choice((1, 1, 1, 2, 3))
        before: str | None = None
        for number in range(1, last + 1):
            status = (
                self.end_of(str(decision["status"]))
                if number == last
                else chance.choice(("replaced", "not_sent"))
            )
            before = self.attempt(decision, number, status, before)

    def end_of(self, decision: str) -> str:
        return {
            "executed": self.chance.choice(("filled", "filled", "canceled", "expired")),
            "failed": "rejected",
            "cancelled": "canceled",
        }.get(decision) or self.chance.choice(("unknown", "sending", "accepted", "partially_filled"))

    def attempt(self, decision: Row, number: int, status: str, replaces: str | None) -> str:
        chance = self.chance
        execution_id, order_id = f"exe_{next(self.numbers):08d}", f"order-{next(self.numbers)}"
        began = chance.random() * 100_000 if chance.random() < 0.1 else chance.random() * 5
        ordered = decision.get("quantity")
        filled, price = "0", str(90 + chance.randrange(2000) / 100)
        if decision["status"] == "executed" and status in ("filled", "canceled", "expired"):
            filled = "9.876543211" if ordered is None else ordered if status == "filled" else "1"
        elif status == "partially_filled":
            filled = "1"
        self.add(
            "trade_executions",
            execution_id=execution_id,
            decision_id=decision["decision_id"],
            attempt_number=number,
            client_order_id=f"{decision['client_order_id']}-{number}",
            **{name: decision[name] for name in ("broker", "environment", "account", "symbol")},
            status=status,
            alpaca_order_id=order_id,
            filled_quantity=filled,
            filled_avg_price=None if filled == "0" else price,
            replaces=replaces,
            started_at=self.text(began),
            fills_quantity=filled,
            quantity=None if number == 1 or ordered is None else str(int(float(ordered)) + 1),
            error_message="what was said",
        )
        if status != "not_sent":
            answered = 403 if status == "rejected" else 200 if status != "unknown" else None
            self.call(execution_id, "submit", began, began + chance.random(), answered)
            if chance.random() < 0.1:
                self.call(execution_id, "lookup", began + 30, began + 31, chance.choice((200, 404)))
        if filled != "0":
            self.fills(decision, execution_id, order_id, filled, price, began)
        if status == "replaced" and chance.random() < 0.3:
            self.add(
                "order_requests",
                request_id=f"req_{next(self.numbers):08d}",
                kind="replace",
                terms="{}",
                decision_id=decision["decision_id"],
                actor="me",
                created_at=self.text(),
                status="refused",
                message="x",
                refused_by=chance.choice(("halted", "risk.long_only", "broker", "venue")),
                tries=1,
                ended_at=self.text(began + 9),
            )
        return execution_id

    def call(self, execution_id: str, purpose: str, start: float, end: float, status: int | None) -> None:
        self.add(
            "broker_calls",
            execution_id=execution_id,
            purpose=purpose,
            method="POST",
            url="u",
            status=status,
            body_encoding="utf-8",
            started_at=self.text(start),
            ended_at=self.text(end),
        )

    def fills(
        self, decision: Row, execution_id: str, order_id: str, total: str, price: str, began: float
    ) -> None:
        parts = [total]
        if total.isdigit() and int(total) > 1:
            parts = ["1", str(int(total) - 1)]
        for part in parts:
            self.add(
                "fills",
                fill_id=f"fill-{next(self.numbers):08d}",
                broker_order_id=order_id,
                execution_id=execution_id,
                **{name: decision[name] for name in ("broker", "environment", "account", "symbol", "side")},
                quantity=part,
                price=price,
                price_basis="broker",
                transaction_time=self.text(began + self.chance.random() * 20 - 1),
                seen_at=self.text(began + 30),
            )


def tables(path: Path) -> Tables:
    """Every row of the store."""
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    names = (
        *("data_ingestion_runs", "record_versions", "decision_inputs", "signals", "trade_decisions"),
        *("trade_executions", "broker_calls", "fills", "order_requests"),
    )
    result = {name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")] for name in names}
    connection.close()
    for row in result["trade_decisions"]:
        row["rationale"] = json.loads(row["decision_rationale"])
    return result
