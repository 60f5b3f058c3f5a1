"""Comparison: the broker's orders against the log, order by order, without a change to either.

What reconciliation mends, this shows: orders that went around the log, terms or states that differ, and what
the log has and the broker does not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tradelog.domain import clock
from tradelog.errors import TradelogError
from tradelog.execute.brokers.base import ORDERS_PAGE
from tradelog.execute.outbox import responses
from tradelog.execute.outbox.claims import wire_order
from tradelog.execute.session import BrokerSession
from tradelog.execute.track.tracker import MAX_PAGES, next_page_after

# The broker's clock, and how long an order takes to be listed.
SETTLING_SECONDS = 60.0

_KNOWN = """
SELECT d.*, e.execution_id, e.client_order_id AS sent_id, e.status AS attempt, e.replaces,
       o.broker_order_id, o.status AS order_status, o.filled_quantity AS order_filled
FROM trade_executions e
JOIN trade_decisions d ON d.decision_id = e.decision_id
LEFT JOIN alpaca_orders o ON o.broker_order_id = e.alpaca_order_id
WHERE e.broker = ? AND e.environment = ? AND e.account = ?
"""
_BY_ID = """
 AND e.id IN (SELECT x.id FROM alpaca_orders a JOIN trade_executions x ON x.execution_id = a.execution_id
 WHERE a.broker_order_id IN (SELECT value FROM json_each(?))
 UNION SELECT id FROM trade_executions WHERE client_order_id IN (SELECT value FROM json_each(?)))
"""
# Attempts that say that the broker has, or had, an order.
_AT_BROKER = """
 AND e.started_at >= ? AND e.started_at < ? AND e.status NOT IN ('not_sent', 'not_accepted', 'rejected')
"""


class Difference(StrEnum):
    """How the log and the broker differ about an order."""

    NOT_IN_LOG = "not in the log"
    AROUND_LOG = "went around the log"
    OTHER_TERMS = "other terms"
    OTHER_STATE = "another state"
    NOT_AT_BROKER = "not at the broker"
    UNKNOWN = "unknown outcome"


@dataclass(frozen=True, slots=True)
class Differing:
    """An order that is not the same on both sides. Times are store text (UTC)."""

    difference: Difference
    at: str | None
    broker_order_id: str | None
    client_order_id: str
    symbol: str
    side: str | None
    detail: str
    decision_id: str | None = None
    strategy: str | None = None


@dataclass(slots=True)
class Comparison:
    """Orders read from the broker, how many of them the log has by whose hand, and what differs."""

    since: str
    orders: int = 0
    recorded: int = 0
    outbox: int = 0
    differing: list[Differing] = field(default_factory=list)


def compare(session: BrokerSession, since: str) -> Comparison:
    """Compare the orders submitted since a moment (store text).

    Raises TradelogError where the broker's list cannot be read to its end.
    """
    found = Comparison(since)
    seen: set[str] = set()
    compared: set[str] = set()
    until = clock.later(clock.now_text(), -SETTLING_SECONDS)
    for page in _pages(session, since):
        fresh = [order for order in page if order["id"] not in seen]
        seen |= {order["id"] for order in fresh}
        compared |= _compare_page(session, found, fresh)
    found.orders = len(seen)
    rows = session.writer.rows(_KNOWN + _AT_BROKER, (*session.account, since, until))
    for row in rows:
        if row["execution_id"] not in compared:
            found.differing += _only_in_log(row)
    found.differing.sort(key=lambda item: item.at or "")
    return found


def _pages(session: BrokerSession, since: str) -> Iterator[list[dict[str, Any]]]:
    after = since
    for _ in range(MAX_PAGES):
        exchange = session.broker.orders("all", after)
        session.observe(exchange, quiet=True)
        page = exchange.json()
        if exchange.status != 200 or not isinstance(page, list):
            said = exchange.error or f"HTTP {exchange.status}"
            raise TradelogError(
                f"{session.broker.name} did not list its orders: {said}", hint="run it again later"
            )
        read = [order for item in page if (order := responses.parse_order(item)) is not None]
        yield read
        edge = next_page_after(read)
        if len(page) < ORDERS_PAGE or edge is None:
            return
        if edge <= after:
            break
        after = edge
    raise TradelogError(
        "the broker's orders could not be listed to the end", hint="run it again, or with a later --since"
    )


def _compare_page(session: BrokerSession, found: Comparison, page: Sequence[dict[str, Any]]) -> set[str]:
    """Compare these orders; returns the attempts that they are the orders of."""
    ids = [json.dumps([order[name] for order in page]) for name in ("id", "client_order_id")]
    rows = session.writer.rows(_KNOWN + _BY_ID + " ORDER BY e.id", (*session.account, *ids))
    by_order = {row["broker_order_id"]: row for row in rows if row["broker_order_id"] is not None}
    by_client = {row["sent_id"]: row for row in rows}
    compared: set[str] = set()
    for order in page:
        row = by_order.get(order["id"]) or by_client.get(order["client_order_id"])
        if row is not None and not row["adopted"]:
            found.recorded += row["recorded"]
            found.outbox += 1 - row["recorded"]
        found.differing += _differences(order, row)
        if row is not None:
            compared.add(row["execution_id"])
    return compared


def _differences(order: Mapping[str, Any], row: Mapping[str, Any] | None) -> Iterator[Differing]:
    def differing(kind: Difference, detail: str) -> Differing:
        return Differing(
            kind,
            clock.read_moment(order.get("submitted_at")),
            order["id"],
            order["client_order_id"],
            order["symbol"],
            order.get("side"),
            detail,
            None if row is None else row["decision_id"],
            None if row is None else row["strategy_name"],
        )

    if row is None:
        yield differing(Difference.NOT_IN_LOG, "tradelog reconcile adopts it")
        return
    if row["adopted"]:
        yield differing(Difference.AROUND_LOG, "adopted after the fact: another program, or mode off")
        return
    if row["replaces"] is None:
        sent = wire_order({**row, "client_order_id": row["sent_id"]})
        terms = responses.mismatch(order, sent)
        if terms is not None:
            yield differing(Difference.OTHER_TERMS, f"at the broker {terms}")
    if row["broker_order_id"] is None:
        yield differing(Difference.UNKNOWN, f"{order['status']} at the broker, {row['attempt']} in the log")
        return
    filled = responses.decimal_field(order, "filled_qty")
    same_fill = filled == responses.decimal_field({"filled": row["order_filled"]}, "filled")
    if order["status"] != row["order_status"] or not same_fill:
        text = f"{order['status']}, filled {order.get('filled_qty')}, at the broker;"
        yield differing(
            Difference.OTHER_STATE, f"{text} {row['order_status']}, filled {row['order_filled']}, in the log"
        )


def _only_in_log(row: Mapping[str, Any]) -> Iterator[Differing]:
    is_unknown = row["broker_order_id"] is None
    yield Differing(
        Difference.UNKNOWN if is_unknown else Difference.NOT_AT_BROKER,
        row["created_at"],
        row["broker_order_id"],
        row["sent_id"],
        row["symbol"],
        row["side"],
        f"{row['attempt']} in the log" + ("; a worker looks it up" if is_unknown else ""),
        row["decision_id"],
        row["strategy_name"],
    )
