"""Order tracking: polling open orders, fetching their fills, and following replacements.

A poll that fails changes nothing about an order; its exchange is kept. Responses without a change are
counted and not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tradelog.domain import clock
from tradelog.execute.backoff import KeyedBackoff
from tradelog.execute.brokers.base import FILLS_PAGE, ORDERS_PAGE, Exchange
from tradelog.execute.outbox import exchanges, responses
from tradelog.execute.outbox.exchanges import Purpose
from tradelog.execute.session import BrokerSession
from tradelog.execute.track import orders
from tradelog.execute.track.orders import Owner
from tradelog.operate.alerts import raise_alert

# Up to so many orders are polled one by one: a response of its own is better evidence, and small.
FEW = 3
# As many pages as one listing can reasonably have.
MAX_PAGES = 200
# Fills of an order can be missing for long: fetched less and less often, at least once an hour.
MAX_FILLS_BACKOFF_SECONDS = 3600.0
# The broker's clock may be behind ours by more than a call takes.
CLOCK_SECONDS = 60.0
A_DAY = 86_400.0
# So many look-ups of an order's replacement, and then a person must look.
MAX_SUCCESSOR_LOOKUPS = 5
# Before any order that Alpaca can have.
FIRST = "2010-01-01T00:00:00.000000Z"


@dataclass(frozen=True, slots=True)
class _Open:
    owner: Owner
    order_id: str


class OrderTracker:
    def __init__(self, session: BrokerSession) -> None:
        self._session = session
        self._writer = session.writer
        self._backoff = KeyedBackoff()
        self._fills_backoff = KeyedBackoff(MAX_FILLS_BACKOFF_SECONDS)
        # Whether an order has changed since the last snapshot of the account.
        self.has_changes = False
        self.fills_recorded = 0
        self.updates = 0

    def poll(self, decision_id: str | None = None) -> None:
        """Poll every order that may still change, of one decision or of all, and fetch missing fills."""
        self._poll_orders(self._open(decision_id))
        self._follow_successors(decision_id)
        self.fetch_missing_fills()

    def poll_order(self, owner: Owner, order_id: str, source: str = "poll") -> dict[str, Any] | None:
        """Poll one order and record its state; returns the order, None without one."""
        exchange = self._session.broker.order(order_id)
        verdict = responses.classify_lookup(exchange)
        if verdict.order is None or verdict.order["id"] != order_id:
            with self._writer.transaction() as tx:
                exchanges.record_exchange(tx, exchange, source, owner.execution_id)
                tx.journal("order.poll_failed", owner.execution_id)
            self._backoff.failed(owner.execution_id)
            self._session.observe(exchange, verdict)
            return None
        self._backoff.succeeded(owner.execution_id)
        self.apply(owner, dict(verdict.order), exchange, source)
        return dict(verdict.order)

    def apply(self, owner: Owner, order: dict[str, Any], exchange: Exchange, source: str) -> None:
        """Record a response about one order with its exchange, where it shows a change."""
        with self._writer.reading() as connection:
            is_update = orders.is_update(connection, order)
        self._session.observe(exchange, quiet=not is_update)
        if not is_update:
            return
        if order["status"] == "rejected" and order.get("replaces"):
            # Refused by the venue, it replaced nothing: first poll whether the old order still stands.
            self._poll_predecessor(owner)

        def write() -> None:
            with self._writer.transaction() as tx:
                call_id = exchanges.record_exchange(tx, exchange, source, owner.execution_id)
                orders.apply_order(tx, self._session.account, owner, order, source, call_id)
                tx.journal_rest("order.told", owner.execution_id)

        self._session.retry_write(write)
        self.has_changes = True
        self.updates += 1

    def awaits_fills(self) -> bool:
        """Whether fills of any order are missing that could come soon."""
        return any(self._fills_backoff.failures(row[0]) < FEW for row in self._missing_fills())

    def fetch_missing_fills(self) -> None:
        """Fetch the missing fills of all orders: activities can come later than the order's status."""
        incomplete = [row for row in self._missing_fills() if self._fills_backoff.is_due(row[0])]
        fresh = [row for row in incomplete if self._fills_backoff.failures(row[0]) < FEW]
        # One that lacks them for long gets a window of its own, or everything since would be read for it.
        for group in ([fresh] if fresh else []) + [[row] for row in incomplete if row not in fresh]:
            if not self._session.may_request(keep_reserve=True):
                return
            self._fetch_group(group)

    def _fetch_group(self, group: Sequence[Any]) -> None:
        since = clock.later(min(row[1] for row in group), -CLOCK_SECONDS)
        is_late = len(group) == 1 and self._fills_backoff.failures(group[0][0]) >= FEW
        until = clock.later(max(row[2] for row in group), A_DAY) if is_late else None
        listed, _ = self.fills_between(since, until)
        order_ids = {row[3] for row in group}
        fills = [item for item in listed if item["order_id"] in order_ids]
        if fills:

            def write() -> None:
                with self._writer.transaction() as tx:
                    self.fills_recorded += orders.apply_fills(tx, self._session.account, fills)

            self._session.retry_write(write)
        still = {row[0] for row in self._missing_fills()}
        for row in group:
            if row[0] in still:
                self._fills_backoff.failed(row[0])
            else:
                self._fills_backoff.succeeded(row[0])

    def fills_between(self, since: str, until: str | None = None) -> tuple[list[dict[str, Any]], bool]:
        """The FILL activities between two moments as far as listed, and whether that is all."""
        listed, is_complete = self._all_pages(
            "fills", lambda token: self._session.broker.fills(since, token, until)
        )
        return [item for item in listed if responses.is_fill(item)], is_complete

    def activities_since(self, since: str) -> tuple[list[Any], bool]:
        """The activities that are no fills, as far as they could be listed, and whether that is all."""
        return self._all_pages("activities", lambda token: self._session.broker.activities(since, token))

    def _all_pages(self, what: str, fetch_page: Callable[[str | None], Exchange]) -> tuple[list[Any], bool]:
        items: list[Any] = []
        token: str | None = None
        for _ in range(MAX_PAGES):
            exchange = fetch_page(token)
            page = exchange.json()
            is_page = exchange.status == 200 and isinstance(page, list)
            if not is_page:
                with self._writer.transaction() as tx:
                    exchanges.record_exchange(tx, exchange, what, None)
                    tx.journal(f"{what}.poll_failed", self._session.broker.name)
            self._session.observe(exchange, quiet=is_page)
            if not is_page:
                return items, False
            items += page
            item_ids = [
                item["id"] for item in page if isinstance(item, dict) and isinstance(item.get("id"), str)
            ]
            if len(page) < FILLS_PAGE or not item_ids or item_ids[-1] == token:
                return items, True
            if not self._session.may_request(keep_reserve=True):
                return items, False
            token = item_ids[-1]
        return items, False

    def _open(self, decision_id: str | None) -> list[_Open]:
        with self._writer.reading() as connection:
            rows = connection.execute(
                "SELECT execution_id, decision_id, alpaca_order_id FROM trade_executions"
                " WHERE broker = ? AND environment = ? AND account = ?"
                " AND status IN ('accepted', 'partially_filled') AND alpaca_order_id IS NOT NULL"
                " AND coalesce(?4, decision_id) = decision_id ORDER BY id",
                (*self._session.account, decision_id),
            ).fetchall()
        return [_Open(Owner(row[0], row[1]), row[2]) for row in rows]

    def _poll_orders(self, waiting: list[_Open]) -> None:
        listed: dict[str, tuple[dict[str, Any], Exchange]] = {}
        if len(waiting) > FEW:
            if not (self._backoff.is_due("list") and self._session.may_request(keep_reserve=True)):
                return
            listed = self._listed()
            if not self._backoff.is_due("list"):
                return
        by_id = [item for item in waiting if item.order_id not in listed]
        with self._writer.reading() as connection:
            updates = [
                item
                for item in waiting
                if item.order_id in listed and orders.is_update(connection, listed[item.order_id][0])
            ]
        if len(updates) > FEW:
            self._apply_listed(updates, listed)
        else:
            by_id += updates
        for item in by_id:
            if not self._session.may_request(keep_reserve=True):
                return
            if self._backoff.is_due(item.owner.execution_id):
                self.poll_order(item.owner, item.order_id)

    def _apply_listed(self, updates: list[_Open], listed: dict[str, tuple[dict[str, Any], Exchange]]) -> None:
        """Record many changed orders: each page is kept once, and their events refer to it."""
        for exchange in {id(listed[item.order_id][1]): listed[item.order_id][1] for item in updates}.values():
            mine = [item for item in updates if listed[item.order_id][1] is exchange]

            def write(page: Exchange = exchange, mine: list[_Open] = mine) -> None:
                with self._writer.transaction() as tx:
                    call_id = exchanges.record_exchange(tx, page, Purpose.POLL, None)
                    for item in mine:
                        order = listed[item.order_id][0]
                        orders.apply_order(tx, self._session.account, item.owner, order, "poll", call_id)
                    tx.journal_rest("order.told", mine[0].owner.execution_id)

            self._session.retry_write(write)
        self.has_changes = True
        self.updates += len(updates)

    def _listed(self) -> dict[str, tuple[dict[str, Any], Exchange]]:
        """The broker's open orders by id, all pages, each with the page that it is on."""
        by_id: dict[str, tuple[dict[str, Any], Exchange]] = {}
        after: str | None = None
        for _ in range(MAX_PAGES):
            exchange = self._session.broker.orders("open", after)
            page = exchange.json()
            if exchange.status != 200 or not isinstance(page, list):
                with self._writer.transaction() as tx:
                    exchanges.record_exchange(tx, exchange, Purpose.POLL, None)
                    tx.journal("orders.poll_failed", self._session.broker.name)
                self._backoff.failed("list")
                self._session.observe(exchange)
                return {}
            self._session.observe(exchange, quiet=True)
            read = [order for item in page if (order := responses.parse_order(item)) is not None]
            updates = [order for order in read if order["id"] not in by_id]
            by_id |= {order["id"]: (order, exchange) for order in read}
            if len(page) < ORDERS_PAGE or not updates:
                break
            after = next_page_after(read)
            if after is None:
                break
        self._backoff.succeeded("list")
        return by_id

    def _follow_successors(self, decision_id: str | None) -> None:
        """Look up the replacements of orders that are not on record: by others, or not seen yet."""
        with self._writer.reading() as connection:
            rows = connection.execute(
                # In this order: few decisions are executing, and many executions were replaced.
                "SELECT e.execution_id, o.replaced_by, e.decision_id, e.alpaca_order_id,"
                " EXISTS (SELECT 1 FROM trade_executions r WHERE r.replaces = e.execution_id"
                "   AND r.decision_id = e.decision_id AND r.status = 'rejected'"
                "   AND r.alpaca_order_id = o.replaced_by) FROM trade_decisions d"
                " CROSS JOIN trade_executions e ON e.decision_id = d.decision_id"
                " JOIN alpaca_orders o ON o.broker_order_id = e.alpaca_order_id"
                " WHERE d.broker = ? AND d.environment = ? AND d.account = ? AND d.status = 'executing'"
                " AND e.status = 'replaced' AND d.needs_attention IS NULL"
                " AND coalesce(?4, d.decision_id) = d.decision_id"
                " AND NOT EXISTS (SELECT 1 FROM trade_executions n WHERE n.replaces = e.execution_id"
                "   AND n.decision_id = e.decision_id"
                "   AND n.status NOT IN ('not_sent', 'not_accepted', 'rejected'))",
                (*self._session.account, decision_id),
            ).fetchall()
        for execution_id, order_id, decision, old_id, is_refused in rows:
            if is_refused:
                self._poll_replaced_order(Owner(execution_id, decision), old_id)
                continue
            if order_id is None or self._backoff.failures(order_id) >= MAX_SUCCESSOR_LOOKUPS:
                self._require_attention(execution_id, order_id)
                continue
            if not self._session.may_request(keep_reserve=True) or not self._backoff.is_due(order_id):
                continue
            exchange = self._session.broker.order(order_id)
            verdict = responses.classify_lookup(exchange)
            if verdict.order is None or verdict.order["id"] != order_id:
                with self._writer.transaction() as tx:
                    exchanges.record_exchange(tx, exchange, Purpose.POLL, execution_id)
                    tx.journal("order.poll_failed", execution_id)
                self._backoff.failed(order_id)
            else:
                self._apply_order(dict(verdict.order), exchange)
            self._session.observe(exchange, verdict)

    def _poll_replaced_order(self, owner: Owner, order_id: str) -> None:
        """Poll an order whose replacement the venue refused: it may stand again."""
        key = f"old {order_id}"
        if not self._session.may_request(keep_reserve=True) or not self._backoff.is_due(key):
            return
        order = self.poll_order(owner, order_id)
        if order is not None and order["status"] != "replaced":
            self._backoff.succeeded(key)
            return
        self._backoff.failed(key)
        if self._backoff.failures(key) >= MAX_SUCCESSOR_LOOKUPS:
            self._require_attention(owner.execution_id, order.get("replaced_by") if order else None)

    def _require_attention(self, execution_id: str, order_id: str | None) -> None:
        """Stop a decision whose order was replaced by one that the broker does not show."""
        successor = order_id or "an order that it does not name"
        why = f"replaced at the broker by {successor}, which it does not show"
        with self._writer.transaction() as tx:
            decision_id, symbol = tx.one(
                "SELECT decision_id, symbol FROM trade_executions WHERE execution_id = ?", (execution_id,)
            )
            tx.update("trade_decisions", decision_id, {"needs_attention": why})
            raise_alert(tx, "needs_attention", decision_id, f"{symbol}: {why}")
            tx.journal("decision.needs_attention", decision_id)

    def _apply_order(self, order: dict[str, Any], exchange: Exchange) -> None:
        with self._writer.transaction() as tx:
            account = self._session.account
            owner = orders.owner_of(tx, account, order)
            owner = owner or orders.adopt(tx, account, order, self._writer.actor)
            if owner is None:
                return
            call_id = exchanges.record_exchange(tx, exchange, Purpose.POLL, owner.execution_id)
            orders.apply_order(tx, account, owner, order, "poll", call_id)
            tx.journal_rest("order.told", owner.execution_id)

    def _poll_predecessor(self, owner: Owner) -> None:
        with self._writer.reading() as connection:
            row = connection.execute(
                "SELECT o.execution_id, o.alpaca_order_id FROM trade_executions e"
                " JOIN trade_executions o ON o.execution_id = e.replaces WHERE e.execution_id = ?",
                (owner.execution_id,),
            ).fetchone()
        if row is not None and row[1] is not None:
            self.poll_order(Owner(row[0], owner.decision_id), row[1])

    def _missing_fills(self) -> list[Any]:
        """(attempt, its start, order last updated, broker's order id) of those with missing fills."""
        with self._writer.reading() as connection:
            return connection.execute(
                "SELECT e.execution_id, min(e.started_at, coalesce(e.submitted_at, e.started_at)),"
                " o.updated_at, e.alpaca_order_id FROM trade_executions e"
                " JOIN alpaca_orders o ON o.broker_order_id = e.alpaca_order_id"
                " WHERE e.broker = ? AND e.environment = ? AND e.account = ?"
                " AND e.filled_quantity <> e.fills_quantity",
                self._session.account,
            ).fetchall()


def next_page_after(read: Sequence[dict[str, Any]]) -> str | None:
    """Where the next page starts: the newest submission of this one, less a millisecond.

    ``after`` is exclusive, and orders of one moment may lie on both sides of an edge.
    """
    # An absurd time must not lead past everything else.
    latest = clock.later(clock.now_text(), CLOCK_SECONDS)
    moments = [
        moment
        for order in read
        if (moment := clock.read_moment(order.get("submitted_at") or order.get("created_at"))) is not None
        and FIRST <= moment <= latest
    ]
    return clock.later(max(moments), -0.001) if moments else None
