"""Whatever is decided, filled, refused, crashed and recovered: no more gets past a limit than it allows.

The law is held against the broker's own books, which know nothing of limits.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.crash.matrix import Crash, Fuse, Life
from tests.execute import driving
from tests.fakes.books import Books
from tests.fakes.direct import Fault
from tradelog.config.load import load_config
from tradelog.domain import clock
from tradelog.errors import UsageError
from tradelog.execute.risk import controls
from tradelog.store.opening import open_writer

pytestmark = pytest.mark.slow

LIMITS = """
[risk]
max_order_notional = 1500
max_symbol_notional = 4000
max_day_notional = 6000
max_orders_per_day = 7
max_gross_exposure = 3500
duplicate_window_seconds = 5
"""
TEMPLATE = Path(tempfile.mkdtemp(prefix="tradelog-limits-")) / "template.db"


class Limited(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        driving.reset()
        self._now, self._running = clock.now, clock.running_seconds
        real, noon = self._running, datetime(2030, 3, 8, 17, tzinfo=UTC)
        # Noon in New York, so that a story stays within one of the market's days.
        clock.now = lambda: noon + timedelta(seconds=driving.ahead())
        clock.running_seconds = lambda: real() + driving.ahead()
        self.home = Path(tempfile.mkdtemp(prefix="tradelog-limits-"))
        (self.home / "tradelog.toml").write_text(
            '[store]\nurl = "sqlite:///store/log.db"\n[broker]\nname = "alpaca"\n'
            "[worker]\nunknown_grace_seconds = 4\n" + LIMITS
        )
        self.config = load_config(self.home / "tradelog.toml")
        (self.home / "store").mkdir(mode=0o700)
        if not TEMPLATE.exists():
            open_writer(TEMPLATE).close()
        shutil.copy(TEMPLATE, self.config.store_path)
        self.books = Books()
        self.books.price = "100"
        self.books.cash = Decimal(10**9)
        self.halted_at: int | None = None
        self.seen: list[Any] = []
        self.lives = [self._born(), self._born()]

    def _born(self, fuse: Fuse | None = None) -> Life:
        return Life(self.config, self.books, fuse or Fuse(), [], self.seen)

    @rule(
        symbol=st.sampled_from("ABC"),
        side=st.sampled_from(["buy", "buy", "sell"]),
        quantity=st.sampled_from(["1", "5", "9", "14", "15", "16", "40"]),
        limit=st.sampled_from([None, "90", "100", "110"]),
        rests=st.booleans(),
    )
    def decide(self, symbol: str, side: str, quantity: str, limit: str | None, rests: bool) -> None:
        self.books.fills = not rests
        terms = {"order_type": "limit", "limit_price": limit, "time_in_force": "gtc"} if limit else {}
        self.lives[0].decide(symbol=symbol, side=side, quantity=quantity, **terms)

    @rule(who=st.integers(0, 1))
    def work(self, who: int) -> None:
        life = self.lives[who]
        life.worker.session.paused_until = 0.0
        life.work()
        driving.go(1)

    @rule(who=st.integers(0, 1), method=st.sampled_from(["POST", "PATCH", "GET"]), accept=st.booleans())
    def fault(self, who: int, method: str, accept: bool) -> None:
        self.lives[who].broker.faults.append(Fault(method, accept=accept))

    @rule(who=st.integers(0, 1), at=st.integers(1, 80))
    def crash(self, who: int, at: int) -> None:
        self.lives[who].end()
        mortal = self._born(Fuse(at))
        with suppress(Crash):
            mortal.work()
        mortal.end()
        self.lives[who] = self._born()

    @rule(seconds=st.sampled_from([1, 6, 61]))
    def time_goes_by(self, seconds: int) -> None:
        driving.go(seconds)

    @rule()
    def the_other_works_meanwhile(self) -> None:
        first, second = self.lives
        tick, done = first.broker._tick, []
        first.worker.session.paused_until = 0.0

        def interrupted(what: str) -> None:
            tick(what)
            if what == "before POST" and not done:
                done.append(what)
                second.worker.session.paused_until = 0.0
                second.work()

        first.broker._tick = interrupted
        try:
            first.worker.drain()
        finally:
            first.broker._tick = tick

    @rule(data=st.data())
    def fill(self, data: st.DataObject) -> None:
        resting = [o for o in self.books.orders.values() if o["status"] in ("new", "partially_filled")]
        if resting:
            order = data.draw(st.sampled_from(resting))
            left = Decimal(order["qty"]) - Decimal(order["filled_qty"])
            self.books.fill(order["id"], str(min(left, Decimal(3))), order["limit_price"] or "100")

    @rule(data=st.data(), limit=st.sampled_from([80, 95, 120]), quantity=st.sampled_from([1, 10, 30]))
    def replace(self, data: st.DataObject, limit: int, quantity: int) -> None:
        rows = self.lives[0].writer.rows("SELECT decision_id FROM trade_decisions WHERE status = 'executing'")
        if rows:
            expected = data.draw(st.sampled_from([row["decision_id"] for row in rows]))
            with suppress(UsageError):
                self.lives[0].replace(expected, limit_price=Decimal(limit), quantity=Decimal(quantity))

    @rule(stops=st.booleans())
    def halt(self, stops: bool) -> None:
        with self.lives[0].writer.transaction() as tx:
            if stops:
                controls.halt(tx, "all", "", "ann", "stop")
            else:
                controls.resume(tx, "all", "", "ann", "go", self.config.account)
        self.halted_at = len(self.books.orders) if stops else None

    @invariant()
    def no_limit_is_passed(self) -> None:
        if not hasattr(self, "books"):
            return
        orders = list(self.books.orders.values())
        worth = [Decimal(o["qty"]) * Decimal(o["limit_price"] or "100") for o in orders]
        assert all(item <= 1500 for item, o in zip(worth, orders, strict=True) if o["side"] == "buy")
        assert len(orders) <= 7
        assert sum(worth) <= 6000 + sum(
            # A limit sell is worth what the market pays, which is less than its limit here and there.
            (Decimal(o["qty"]) * 20 for o in orders if o["side"] == "sell"),
            Decimal(0),
        )
        for symbol in "ABC":
            spent = [
                w for w, o in zip(worth, orders, strict=True) if (o["symbol"], o["side"]) == (symbol, "buy")
            ]
            assert sum(spent) <= 4000
        held = {name: quantity for name, quantity in self.books._held().items() if quantity}
        assert all(quantity >= 0 for quantity in held.values()), held
        promised = sum(
            (
                (Decimal(o["qty"]) - Decimal(o["filled_qty"])) * Decimal(o["limit_price"] or "100")
                for o in orders
                if o["side"] == "buy" and o["status"] in ("new", "partially_filled", "pending_new")
            ),
            Decimal(0),
        )
        assert sum(held.values(), Decimal(0)) * 100 + promised <= 3500 + 3 * 110
        if self.halted_at is not None:
            assert len(orders) == self.halted_at

    def teardown(self) -> None:
        if not hasattr(self, "lives"):
            return
        for life in self.lives:
            life.end()
        clock.now, clock.running_seconds = self._now, self._running
        shutil.rmtree(self.home)


TestLimited = Limited.TestCase
TestLimited.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
