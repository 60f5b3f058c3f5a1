"""Reconciliation: every order, fill, activity and position of the broker against the store.

    orders since the last time, whatever their state → matched by client order id, or adopted
    fills since the last time                        → recorded for known orders
    activities that are no fills                     → fees, splits, dividends, recorded as listed
    positions                                        → opening positions once, then breaks

Each page is recorded as it comes, in short transactions; the last day is read again, since listings go by a
submission time that moves. Reconciling twice adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tradelog.domain import clock, money
from tradelog.execute.account import activities, positions, snapshots
from tradelog.execute.brokers.base import ORDERS_PAGE, Exchange
from tradelog.execute.outbox import exchanges, responses
from tradelog.execute.outbox.claims import wire_order
from tradelog.execute.outbox.exchanges import Purpose
from tradelog.execute.session import BrokerSession
from tradelog.execute.track import orders
from tradelog.execute.track.orders import Owner
from tradelog.execute.track.tracker import FIRST, MAX_PAGES, OrderTracker, next_page_after
from tradelog.operate.alerts import raise_alert
from tradelog.store.writer import Transaction

OVERLAP_SECONDS = 86_400.0
CHUNK = 100
# Activities come later than the order's state; a difference younger than this is none yet.
FILL_GRACE_SECONDS = 60.0
# Positions are read again while fills come in between.
READS = 3


@dataclass(slots=True)
class Result:
    """What a reconciliation read and did; ``missing`` says what it could not read."""

    orders: int = 0
    news: int = 0
    adopted: list[str] = field(default_factory=list)
    fills: int = 0
    activities: int = 0
    opened: int | None = None
    missing: str | None = None


class Reconciler:
    def __init__(self, session: BrokerSession, tracker: OrderTracker) -> None:
        self._session = session
        self._writer = session.writer
        self._tracker = tracker
        self._result = Result()
        self._resume: str | None = None
        # Orders that fills name and the broker does not have: looked up once per worker process.
        self._without_order: set[str] = set()

    def run(self) -> Result:
        """Compare everything; a part that cannot be read now is left for the next time."""
        self._result = Result()
        polled = self._tracker.fills_recorded
        self._reconcile()
        self._result.fills += self._tracker.fills_recorded - polled
        return self._result

    def _reconcile(self) -> None:
        if not self._session.ensure_bound():
            self._result.missing = "the account, because the broker did not answer,"
            return
        marks = self._marks()
        if not self._orders(marks["orders_until"]):
            self._result.missing = self._result.missing or "the list of orders"
            return
        self._tracker.poll()
        if not self._fills(marks["fills_until"]):
            self._result.missing = "the list of fills"
            return
        if not self._activities(marks["activities_until"]):
            self._result.missing = "the activities of the account"
            return
        if not self._positions(is_open=marks["opened_at"] is not None):
            self._result.missing = "the positions"
            return
        self._mark("completed_at", clock.now_text())

    def _orders(self, since: str | None) -> bool:
        after = None if since is None else clock.later(since, -OVERLAP_SECONDS)
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            if not self._session.may_request(keep_reserve=True):
                self._result.missing = "the list of orders: the rate limit, or the end of the worker"
                return False
            exchange = self._session.broker.orders("all", after)
            page = exchange.json()
            if exchange.status != 200 or not isinstance(page, list):
                with self._writer.transaction() as tx:
                    exchanges.record_exchange(tx, exchange, Purpose.RECONCILE, None)
                    tx.journal("reconcile.failed", self._session.broker.name)
                self._session.observe(exchange)
                return False
            read = [order for item in page if (order := responses.parse_order(item)) is not None]
            self._unreadable(page)
            fresh = [order for order in read if order["id"] not in seen]
            seen |= {order["id"] for order in read}
            self._apply_order(fresh, exchange)
            edge = next_page_after(read)
            if edge is not None:
                self._mark("orders_until", clock.later(edge, 0.001))
            self._result.orders = len(seen)
            if len(page) < ORDERS_PAGE or edge is None:
                return True
            if not fresh:
                self._too_many(edge)
                return False
            after = edge
        return False

    def _too_many(self, edge: str) -> None:
        """Raise an alert: a page full of one single moment leads no further."""
        self._result.missing = f"more than {ORDERS_PAGE} orders submitted at {edge}"
        with self._writer.transaction() as tx:
            text = f"{self._result.missing}: later ones cannot be listed"
            raise_alert(tx, "orders_unlisted", str(self._session.account), text, once=True)
            tx.journal_rest("orders.unlisted", edge)

    def _apply_order(self, read: Sequence[dict[str, Any]], exchange: Exchange) -> None:
        with self._writer.reading() as connection:
            updates = [order for order in read if orders.is_update(connection, order)]
        # Of two that were submitted at once, the one that replaces the other comes after it.
        updates.sort(key=lambda order: (str(order.get("submitted_at")), order.get("replaces") is not None))
        self._session.observe(exchange, quiet=not updates)
        call_id: int | None = None
        for start in range(0, len(updates), CHUNK):

            def write(chunk: Sequence[dict[str, Any]] = updates[start : start + CHUNK]) -> None:
                nonlocal call_id
                with self._writer.transaction() as tx:
                    logged = call_id or exchanges.record_exchange(tx, exchange, Purpose.RECONCILE, None)
                    for order in chunk:
                        self._match(tx, order, logged)
                    tx.journal_rest("reconcile.read", self._session.broker.name)
                call_id = logged

            self._session.retry_write(write)
        self._result.news += len(updates)

    def _match(self, tx: Transaction, order: dict[str, Any], call_id: int) -> None:
        account = self._session.account
        owner = orders.owner_of(tx, account, order)
        if owner is not None and self._is_another(tx, owner, order):
            orders.note_foreign(tx, account, order, "reconcile", call_id, quiet=True)
            return
        if owner is None:
            owner = orders.adopt(tx, account, order, self._writer.actor)
            if owner is not None:
                self._result.adopted.append(owner.decision_id)
        if owner is None:
            orders.note_foreign(tx, account, order, "reconcile", call_id)
        else:
            orders.apply_order(tx, account, owner, order, "reconcile", call_id)

    def _is_another(self, tx: Transaction, owner: Owner, order: dict[str, Any]) -> bool:
        """Whether an order under one of our ids differs from the submitted one: an alert, never adopted."""
        execution = tx.dicts("SELECT * FROM trade_executions WHERE execution_id = ?", (owner.execution_id,))[
            0
        ]
        if execution["alpaca_order_id"] is not None:
            return False
        decision = tx.dicts("SELECT * FROM trade_decisions WHERE decision_id = ?", (owner.decision_id,))[0]
        sized = execution["replaces"] is None
        different = responses.mismatch(order, wire_order(decision, execution), sized=sized)
        if different is None:
            return False
        why = f"the broker has another order under our id: {different}"
        if decision["needs_attention"] != why:
            tx.update("trade_decisions", owner.decision_id, {"needs_attention": why})
            raise_alert(tx, "needs_attention", owner.decision_id, f"{order['symbol']}: {why}")
            tx.journal("decision.needs_attention", owner.decision_id)
        return True

    def _unreadable(self, page: Sequence[Any]) -> None:
        for item in page:
            if (
                isinstance(item, dict)
                and isinstance(item.get("id"), str)
                and responses.parse_order(item) is None
            ):
                with self._writer.transaction() as tx:
                    text = f"order {item['id']} of the broker lacks required fields, and is not tracked"
                    raise_alert(tx, "order_unreadable", item["id"], text, once=True)
                    tx.journal_rest("order.unreadable", item["id"])

    def _fills(self, since: str | None) -> bool:
        after = self._resume or (FIRST if since is None else clock.later(since, -OVERLAP_SECONDS))
        fills, is_complete = self._tracker.fills_between(after)
        is_complete = self._adopt_by_fill(fills) and is_complete
        for start in range(0, len(fills), CHUNK):

            def write(chunk: Sequence[dict[str, Any]] = fills[start : start + CHUNK]) -> None:
                with self._writer.transaction() as tx:
                    self._result.fills += orders.apply_fills(tx, self._session.account, chunk)

            self._session.retry_write(write)
        moments = [
            moment for item in fills if (moment := clock.read_moment(item["transaction_time"])) is not None
        ]
        if moments and is_complete:
            self._mark("fills_until", min(max(moments), clock.now_text()))
        # Cut short, the next one continues from here: the day before would be read over and over.
        self._resume = None if is_complete or not moments else clock.later(max(moments), -1.0)
        return is_complete

    def _activities(self, since: str | None) -> bool:
        after = FIRST if since is None else clock.later(since, -OVERLAP_SECONDS)
        listed, is_complete = self._tracker.activities_since(after)
        for start in range(0, len(listed), CHUNK):

            def write(chunk: Sequence[Any] = listed[start : start + CHUNK]) -> None:
                with self._writer.transaction() as tx:
                    self._result.activities += activities.record_activities(tx, self._session.account, chunk)

            self._session.retry_write(write)
        moments = [
            moment
            for item in listed
            if isinstance(item, dict) and (moment := activities.created_at(item)) is not None
        ]
        if moments and is_complete:
            self._mark("activities_until", min(max(moments), clock.now_text()))
        return is_complete

    def _adopt_by_fill(self, fills: Sequence[dict[str, Any]]) -> bool:
        """Look up orders that are known from their fills only; False where some are left."""
        with self._writer.reading() as connection:
            unknown = sorted(
                {
                    item["order_id"]
                    for item in fills
                    if connection.execute(
                        "SELECT 1 FROM alpaca_orders WHERE broker_order_id = ?", (item["order_id"],)
                    ).fetchone()
                    is None
                }
            )
        is_complete = True
        for order_id in unknown:
            if not self._session.may_request(keep_reserve=True):
                return False
            if order_id in self._without_order:
                continue
            exchange = self._session.broker.order(order_id)
            classification = responses.classify_lookup(exchange)
            if classification.order is not None and classification.order["id"] == order_id:
                self._apply_order([dict(classification.order)], exchange)
                continue
            self._session.observe(exchange, classification, quiet=True)
            if classification.kind is not responses.ResponseKind.NOT_FOUND:
                is_complete = False
                continue
            self._without_order.add(order_id)
            with self._writer.transaction() as tx:
                text = f"fills of order {order_id}, which the broker does not have, are not recorded"
                raise_alert(tx, "fills_without_order", order_id, text, once=True)
                tx.journal_rest("fills.without_order", order_id)
        return is_complete

    def _positions(self, *, is_open: bool) -> bool:
        """Compare positions, with no fill in between that would be a difference of its own."""
        for _ in range(READS):
            if not self._session.may_request(keep_reserve=True):
                return False
            exchange = self._session.broker.positions()
            self._session.observe(exchange, quiet=True)
            held = positions.parse_positions(exchange.json()) if exchange.status == 200 else None
            if held is None:
                return False
            # Orders that changed, and fills that came, while the positions were read.
            changed = self._tracker.updates
            self._tracker.poll()
            fills, is_complete = self._tracker.fills_between(
                clock.later(clock.now_text(), -OVERLAP_SECONDS / 24)
            )
            if not is_complete:
                return False
            if not self._adopt_by_fill(fills):
                return False
            with self._writer.transaction() as tx:
                added = orders.apply_fills(tx, self._session.account, fills)
            self._result.fills += added
            if not added and changed == self._tracker.updates:
                self._compare(held, exchange, is_open=is_open)
                return True
        return False

    def _compare(self, held: positions.Held, exchange: Exchange, *, is_open: bool) -> None:
        account = self._session.account
        with self._writer.transaction() as tx:
            snapshots.keep_positions(tx, account, held, exchange)
            with self._writer.reading() as connection:
                ours = positions.expected_positions(connection, account)
                incomplete = positions.missing_fills(connection, account)
            incomplete = {
                key: row
                for key, row in incomplete.items()
                if not positions.is_accepted_break(tx, key, row.filled, row.summed)
            }
            oldest = clock.later(tx.now, -FILL_GRACE_SECONDS)
            ripe = {
                key: (row.symbol, row.filled, row.summed)
                for key, row in incomplete.items()
                if row.since < oldest
            }
            positions.update_breaks(tx, account, "fills", ripe, set(incomplete))
            # Where fills are missing, the positions would only repeat it.
            unsure = {row.symbol for row in incomplete.values()}
            if not is_open:
                for row in incomplete.values():
                    missing = row.filled - row.summed
                    change = missing if row.side == "buy" else -missing
                    ours[row.symbol] = ours.get(row.symbol, money.ZERO) + change
                # Another process may have recorded them meanwhile.
                if self._marks_in(tx)["opened_at"] is None:
                    self._result.opened = positions.record_opening_positions(
                        tx, account, held, ours, self._writer.actor
                    )
                return
            differing = {
                symbol: (symbol, *pair)
                for symbol, pair in positions.differences(ours, held).items()
                if symbol not in unsure
            }
            positions.update_breaks(tx, account, "position", differing, unsure)

    def _marks(self) -> dict[str, str | None]:
        with self._writer.transaction() as tx:
            tx.unaudited(
                "INSERT INTO reconcile_marks (broker, environment, account) VALUES (?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                self._session.account,
            )
            return self._marks_in(tx)

    def _marks_in(self, tx: Transaction) -> dict[str, str | None]:
        return tx.dicts(
            "SELECT * FROM reconcile_marks WHERE broker = ? AND environment = ? AND account = ?",
            self._session.account,
        )[0]

    def _mark(self, column: str, moment: str) -> None:
        with self._writer.transaction() as tx:
            tx.unaudited(
                f"UPDATE reconcile_marks SET {column} = max(?, coalesce({column}, ''))"
                " WHERE broker = ? AND environment = ? AND account = ?",
                (moment, *self._session.account),
            )
