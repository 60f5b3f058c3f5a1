"""Any order of recording, sending, crashing, sleeping, faults, cancels, replaces and reconciling.

After each step what can be seen then of invariants 1 to 4, 11 and 12 holds; at the end of each story
a restart settles everything (14), and the log equals the broker's books.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests import wall_clock
from tests.crash.matrix import Crash, Fuse, Life, check, check_wire, recover
from tests.execute import driving
from tests.fakes.books import Books
from tests.fakes.direct import Fault
from tradelog.config.load import load_config
from tradelog.domain import clock
from tradelog.errors import UsageError
from tradelog.store.opening import open_writer
from tradelog.store.reader import Reader

IS_SOAK = bool(os.environ.get("TRADELOG_SOAK"))
TEMPLATE = Path(tempfile.mkdtemp(prefix="tradelog-machine-")) / "template.db"
FAULTS = st.builds(
    Fault,
    method=st.sampled_from(["POST", "PATCH", "DELETE", "GET"]),
    accept=st.booleans(),
    status=st.sampled_from([None, 500, 502, 504, 429, 400]),
    body=st.sampled_from([b"", b"<html>", b'{"message": "busy"}', b'{"id": "cut']),
)
TABLES = (
    *("trade_decisions", "trade_executions", "broker_calls", "alpaca_orders", "order_events", "fills"),
    *("order_requests", "breaks", "position_entries", "alerts", "journal", "broker_snapshots"),
)


class Trading(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        driving.reset()
        self._now, self._running = clock.now, clock.running_seconds
        real = self._running
        clock.now = lambda: wall_clock.now() + timedelta(seconds=driving.ahead())
        clock.running_seconds = lambda: real() + driving.ahead()
        self.home = Path(tempfile.mkdtemp(prefix="tradelog-machine-"))
        (self.home / "tradelog.toml").write_text(
            '[store]\nurl = "sqlite:///store/log.db"\n[broker]\nname = "alpaca"\n'
            "[worker]\nunknown_grace_seconds = 4\n[risk]\nlong_only = false\n"
        )
        self.config = load_config(self.home / "tradelog.toml")
        (self.home / "store").mkdir(mode=0o700)
        if not TEMPLATE.exists():
            open_writer(TEMPLATE).close()
        shutil.copy(TEMPLATE, self.config.store_path)
        self.books = Books()
        self.seen: list[Any] = []
        self.crashes = 0
        self.lives = [self._born(), self._born()]

    def _born(self, fuse: Fuse | None = None) -> Life:
        return Life(self.config, self.books, fuse or Fuse(), [], self.seen)

    @rule(symbol=st.sampled_from(["A", "B"]), side=st.sampled_from(["buy", "sell"]), rests=st.booleans())
    def decide(self, symbol: str, side: str, rests: bool) -> None:
        self.books.fills = not rests
        terms = {"order_type": "limit", "limit_price": "100", "time_in_force": "gtc"} if rests else {}
        self.lives[0].decide(symbol=symbol, side=side, quantity="10", **terms)

    @rule(who=st.integers(0, 1))
    def drain(self, who: int) -> None:
        self.lives[who].worker.session.paused_until = 0.0
        self.lives[who].worker.drain()

    @rule(who=st.integers(0, 1))
    def poll(self, who: int) -> None:
        self.lives[who].worker.poll()

    @rule(who=st.integers(0, 1), fault=FAULTS)
    def fault(self, who: int, fault: Fault) -> None:
        self.lives[who].broker.faults.append(Fault(**vars(fault)))

    @rule(who=st.integers(0, 1), at=st.integers(1, 60), then=st.sampled_from(["drain", "poll", "reconcile"]))
    def crash(self, who: int, at: int, then: str) -> None:
        """A worker dies somewhere in its work, and another takes its place."""
        self.lives[who].end()
        mortal = self._born(Fuse(at))
        with contextlib.suppress(Crash):
            getattr(mortal.worker, then)()
        self.crashes += 1
        mortal.end()
        self.lives[who] = self._born()

    @rule(seconds=st.sampled_from([1, 5, 30, 90, 4000]))
    def time_goes_by(self, seconds: int) -> None:
        driving.go(seconds)

    @rule()
    def the_other_works_while_this_one_is_at_the_broker(self) -> None:
        """The first is stopped in the middle of a call for longer than its lease."""
        first, second = self.lives
        first.worker.session.paused_until = 0.0
        tick, done = first.broker._tick, []

        def interrupted(what: str) -> None:
            tick(what)
            if what in ("after POST", "before POST") and not done:
                done.append(what)
                driving.go(61)
                second.worker.session.paused_until = 0.0
                second.worker.drain()
                second.worker.poll()

        first.broker._tick = interrupted
        try:
            first.worker.drain()
        finally:
            first.broker._tick = tick

    def _decisions(self, *states: str) -> list[str]:
        with Reader(self.config.store_path) as reader:
            rows = reader.rows("SELECT decision_id, status FROM trade_decisions ORDER BY id")
        return [row["decision_id"] for row in rows if row["status"] in states]

    @precondition(lambda self: self._decisions("pending", "executing"))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.lives[0].cancel(data.draw(st.sampled_from(self._decisions("pending", "executing"))))

    @precondition(lambda self: self._decisions("executing"))
    @rule(data=st.data(), limit=st.integers(90, 110))
    def replace(self, data: st.DataObject, limit: int) -> None:
        decision_id = data.draw(st.sampled_from(self._decisions("executing")))
        # There may be nothing at the broker to replace, or something under way.
        with suppress(UsageError):
            self.lives[0].replace(decision_id, limit_price=Decimal(limit))

    @precondition(lambda self: self._resting())
    @rule(data=st.data(), quantity=st.integers(1, 3))
    def fill_a_part(self, data: st.DataObject, quantity: int) -> None:
        order = data.draw(st.sampled_from(self._resting()))
        left = Decimal(order["qty"]) - Decimal(order["filled_qty"])
        self.books.fill(order["id"], str(min(left, Decimal(quantity))), "100")

    def _resting(self) -> list[dict[str, Any]]:
        return [o for o in self.books.orders.values() if o["status"] in ("new", "partially_filled")]

    @rule()
    def somebody_else_trades(self) -> None:
        self.books.fills = True
        self.books.place({"symbol": "C", "side": "buy", "qty": "3", "type": "market", "time_in_force": "day"})

    @rule(switch=st.sampled_from(["fills_on_cancel", "rejects_replacement", "keeps_quantity"]))
    def the_broker_is_in_a_mood(self, switch: str) -> None:
        setattr(self.books, switch, not getattr(self.books, switch))

    @rule(who=st.integers(0, 1))
    def reconcile_twice(self, who: int) -> None:
        """Invariant 12."""
        self.lives[who].broker.faults.clear()
        self.lives[who].worker.session.paused_until = 0.0
        self.lives[who].worker.reconcile()
        self.lives[who].worker.reconcile()
        before = self._rows()
        self.lives[who].worker.reconcile()
        assert self._rows() == before

    def _rows(self) -> dict[str, int]:
        with Reader(self.config.store_path) as reader:
            return {name: reader.value(f"SELECT count(*) FROM {name}") for name in TABLES}

    @invariant()
    def one_order_an_intent(self) -> None:
        if not hasattr(self, "books"):
            return
        ids = [order["client_order_id"] for order in self.books.orders.values()]
        assert len(ids) == len(set(ids))
        with Reader(self.config.store_path) as reader:
            executions = reader.rows("SELECT * FROM trade_executions")
            # 2: what was sent carries an id that was fixed before, of this store.
            fixed = {row["client_order_id"] for row in executions}
            for method, _, body in self.seen:
                if method in ("POST", "PATCH"):
                    assert json.loads(body)["client_order_id"] in fixed
            # 3: what is called refused was refused, by an answer or by the order itself.
            for row in executions:
                if row["status"] == "rejected" and row["alpaca_order_id"] is None:
                    refusals = reader.value(
                        "SELECT count(*) FROM broker_calls WHERE execution_id = ? AND status IN (403, 422)",
                        (row["execution_id"],),
                    )
                    assert refusals
            # 4: every request on record was made, and every one that was made is on record.
            check_wire(reader, self.seen, self.crashes)
            # 11: only what a broker has refused or ended has failed.
            for row in reader.rows("SELECT * FROM trade_decisions WHERE status = 'failed'"):
                own = [e["status"] for e in executions if e["decision_id"] == row["decision_id"]]
                assert {"rejected", "canceled", "expired"} & set(own), own

    def teardown(self) -> None:
        if not hasattr(self, "lives"):
            return
        try:
            for life in self.lives:
                life.end()
            self.books.rejects_replacement = self.books.fills_on_cancel = False
            last = recover(self.config, self.books, self.seen)
            check(self.config, self.books, self.seen, worker_id=last, crashes=self.crashes)
        finally:
            clock.now, clock.running_seconds = self._now, self._running
            shutil.rmtree(self.home)


TestTrading = Trading.TestCase
TestTrading.settings = settings(
    max_examples=1500 if IS_SOAK else 30,
    stateful_step_count=40 if IS_SOAK else 25,
    deadline=None,
    derandomize=not IS_SOAK,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
