"""Outbox mode: what a bot asks for becomes decisions and requests, which the worker sends under the limits.

What reads passes to the broker, but for orders that only the log has so far. What the outbox cannot send
whole is refused by name: never a plain order in place of one with a stop.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from decimal import ROUND_DOWN, Decimal
from typing import Any

import requests
from alpaca.common.exceptions import APIError

from tradelog.adopt import answers, calls
from tradelog.adopt.client_log import ClientLog
from tradelog.decide import record
from tradelog.domain import money
from tradelog.domain.order import OrderTerms
from tradelog.domain.status import CommandKind, DecisionStatus
from tradelog.errors import InvalidDecision, StoreError, UsageError
from tradelog.execute.amend import order_requests
from tradelog.execute.brokers.base import WireOrder
from tradelog.execute.outbox.claims import wire_order
from tradelog.execute.track.orders import terms_of

Row = dict[str, Any]
# The broker's names of the terms, and ours.
_NAMES = {
    **{name: name for name in ("symbol", "side", "notional", "limit_price", "stop_price", "trail_price")},
    **{name: name for name in ("trail_percent", "time_in_force", "extended_hours")},
    "qty": "quantity",
    "type": "order_type",
    "client_order_id": "key",
}
_CHANGES = {
    "qty": "quantity",
    "limit_price": "limit_price",
    "stop_price": "stop_price",
    "time_in_force": "time_in_force",
}
_SIMPLE: dict[str, tuple[Any, ...]] = {"order_class": (None, "", "simple"), "legs": (None, [])}
POLL_SECONDS = 0.1
# The broker's code of a request that cannot be carried out.
UNPROCESSABLE = 42210000
NO_SUCH = 40410000
_DECISION = "SELECT * FROM trade_decisions WHERE broker = ? AND environment = ? AND account = ? AND"


class OutboxOrders:
    """``ask`` makes a request of the broker as alpaca-py does, ``cancel`` one that is recorded."""

    def __init__(
        self,
        log: ClientLog,
        ask: Callable[[str, str, Any], Any],
        cancel: Callable[[str, str], Any],
    ) -> None:
        self._log = log
        self._ask = ask
        self._cancel_on_record = cancel

    @property
    def is_on(self) -> bool:
        """Whether the client is in outbox mode; else only what it left here is answered."""
        return self._log.settings.mode == "outbox"

    def names_decision(self, path: str, data: Any) -> bool:
        """Whether a request names an order of the outbox, which the bot left there in another mode."""
        if path == "/orders:by_client_order_id":
            try:
                return self._by_key(str((data or {}).get("client_order_id"))) is not None
            except StoreError:
                return False  # a question passes to the broker; an order does not, or loudly
        return path.startswith("/orders/") and answers.decision_of(path.removeprefix("/orders/")) is not None

    def cancel_waiting(self) -> list[Row]:
        """Request the cancel of what the bot left in the outbox, and what has not been sent."""
        rows = self._rows(
            "status = 'pending' AND recorded = 0 AND strategy_name = ?", self._log.settings.strategy
        )
        for row in rows:
            self._request_cancel(row, "/orders")
        return [{"id": answers.order_id(row["decision_id"]), "status": 200} for row in rows]

    def answer(self, method: str, path: str, data: Any) -> tuple[bool, Any]:
        """(whether the request is the log's to answer, the answer in the broker's form).

        Raises APIError as the broker would, also for what cannot be sent whole, by name; StoreError.
        """
        try:
            return self._answer(method, path, data)
        except InvalidDecision as error:
            text = f"{error.message}; {error.hint}" if error.hint else error.message
            raise answers.api_error(422, UNPROCESSABLE, text, method.upper(), path) from error

    def _answer(self, method: str, path: str, data: Any) -> tuple[bool, Any]:
        if method.upper() == "GET":
            return self._read(path, data)
        call = calls.trading_call(method, path)
        if call is None:
            return False, None
        body = calls.exact(data) if isinstance(data, dict) else {}
        if call.kind is None:
            return True, self._submit(body)
        target = call.target or ""
        if call.kind is CommandKind.CANCEL:
            return self._cancel(target, path)
        if call.kind is CommandKind.REPLACE:
            return True, self._replace(target, body, path)
        if call.kind is CommandKind.CANCEL_ALL:
            return True, self._cancel_all()
        if call.kind is CommandKind.CLOSE:
            return True, self._close(self._ask("GET", path, None), body)
        if call.kind is CommandKind.CLOSE_ALL:
            return True, self._close_all(cancels=str(body.get("cancel_orders")).lower() == "true")
        raise InvalidDecision("exercise", "the outbox does not exercise options", hint='mode="record" does')

    def _submit(self, body: Mapping[str, Any]) -> Row:
        for name, value in body.items():
            if name not in _NAMES and value not in _SIMPLE.get(name, ()):
                raise InvalidDecision(
                    name, "the outbox cannot send this order whole", hint='mode="record" passes it on'
                )
        decision = self._decision(body)
        own = body.get("client_order_id")
        if own:
            sent = self._taken(str(own), decision)
            if sent is not None:
                return sent
        recorded = record.record(self._log.writer, self._log.account, decision)
        return self._settled(recorded.decision_id)

    def _decision(self, body: Mapping[str, Any]) -> record.Decision:
        reason = self._log.reason()
        values = {_NAMES[name]: value for name, value in body.items() if name in _NAMES and value != ""}
        more = {"rationale": dict(reason.rationale), "inputs": reason.inputs}
        return record.parse({**values, "strategy": reason.strategy, **more})

    def _taken(self, own: str, decision: record.Decision) -> Row | None:
        """The order that has the bot's id at the broker, from another mode; None where none has.

        Raises APIError where it is another order.
        """
        if self._by_key(own) is not None:
            return None  # the outbox's own: its content is compared there
        row = self._one(
            "(recorded = 1 OR adopted = 1) AND client_order_id = ? AND EXISTS (SELECT 1 FROM"
            " trade_executions e WHERE e.decision_id = trade_decisions.decision_id"
            " AND e.status NOT IN ('not_sent', 'not_accepted', 'rejected'))",
            own,
        )
        order = self._at_broker(row) if row is not None else self._found(own)
        if row is None and order is None:
            return None
        terms = wire_order(row) if row is not None else None
        theirs = order if order is not None else _body_of(terms)
        if not _is_same(decision.terms, theirs):
            raise answers.taken_id("POST", "/orders")
        return self._settled(row["decision_id"]) if row is not None else order

    def _found(self, own: str) -> Row | None:
        """The broker's order under an id that the log does not know; None also where it does not answer."""
        try:
            found = self._ask("GET", "/orders:by_client_order_id", {"client_order_id": own})
        except (APIError, requests.RequestException):
            # A bot decides also while the broker is away.
            return None
        return found if isinstance(found, dict) else None

    def _settled(self, decision_id: str) -> Row:
        """The decision's order, waited for as long as the client is to wait."""
        end = time.monotonic() + float(self._log.settings.wait_seconds)
        while True:
            row = self._one("decision_id = ?", decision_id)
            assert row is not None
            order = self._at_broker(row)
            if order is not None or DecisionStatus(row["status"]).is_terminal or time.monotonic() >= end:
                return order or answers.order_of(row)
            time.sleep(POLL_SECONDS)

    def _read(self, path: str, data: Any) -> tuple[bool, Any]:
        if path == "/orders:by_client_order_id":
            client_id = str((data or {}).get("client_order_id"))
            row = self._one("client_order_id = ?", client_id) or self._by_key(client_id)
        elif path.startswith("/orders/"):
            row = self._named(path.removeprefix("/orders/"))
        else:
            return False, None
        if row is None:
            return False, None
        order = self._at_broker(row)
        if order is None:
            return True, answers.order_of(row)
        # The broker's own answer, as of now.
        return True, _under_own_id(self._ask("GET", f"/orders/{order['id']}", {}), row)

    def _cancel(self, target: str, path: str) -> tuple[bool, Any]:
        row = self._named(target)
        if row is None:
            return False, None  # an order that the log does not have: passed on, on the record
        self._request_cancel(row, path)
        return True, None

    def _request_cancel(self, row: Row, path: str) -> None:
        writer, reason = self._log.writer, self._log.reason()
        try:
            with writer.transaction() as tx:
                order_requests.request_cancel(
                    tx, row["decision_id"], json.dumps(dict(reason.rationale), default=str), writer.actor
                )
        except UsageError as error:
            raise answers.api_error(422, UNPROCESSABLE, error.message, "DELETE", path) from error

    def _replace(self, target: str, body: Mapping[str, Any], path: str) -> Row:
        row = self._named(target)
        if row is None:
            raise answers.api_error(404, NO_SUCH, f"order not found for {target}", "PATCH", path)
        other = next((name for name in body if name not in _CHANGES), None)
        if other is not None:
            raise InvalidDecision(other, "the outbox cannot change this of an order")
        terms = {
            _CHANGES[name]: value if name == "time_in_force" else money.parse(value)
            for name, value in body.items()
        }
        writer, reason = self._log.writer, self._log.reason()
        try:
            with writer.transaction() as tx:
                order_requests.request_replace(
                    tx,
                    row["decision_id"],
                    terms,
                    json.dumps(dict(reason.rationale), default=str),
                    writer.actor,
                )
        except UsageError as error:
            raise answers.api_error(422, UNPROCESSABLE, error.message, "PATCH", path) from error
        return self._at_broker(row) or answers.order_of(row)

    def _cancel_all(self) -> list[Row]:
        """Request the cancel of every open decision, sent or not; what the log does not have goes too."""
        cancelled = []
        for row in self._rows("status IN ('pending', 'executing')"):
            self._request_cancel(row, "/orders")
            order = self._at_broker(row)
            cancelled.append(
                {"id": order["id"] if order else answers.order_id(row["decision_id"]), "status": 200}
            )
        for order in self._ask("GET", "/orders", {"status": "open", "limit": 500}):
            if self._named(order["id"]) is None:
                self._cancel_on_record("DELETE", f"/orders/{order['id']}")
                cancelled.append({"id": order["id"], "status": 200})
        return cancelled

    def _close(self, position: Mapping[str, Any], options: Mapping[str, Any]) -> Row:
        held = money.parse(position["qty"])
        quantity = abs(held)
        if options.get("qty") is not None:
            quantity = money.parse(options["qty"])
        elif options.get("percentage") is not None:
            part = quantity * money.parse(options["percentage"]) / 100
            quantity = part.quantize(Decimal("0.000000001"), rounding=ROUND_DOWN)
        side = "sell" if held > 0 else "buy"
        return self._submit(
            {
                "symbol": position["symbol"],
                "side": side,
                "qty": quantity,
                "type": "market",
                "time_in_force": "day",
            }
        )

    def _close_all(self, *, cancels: bool) -> list[Row]:
        if cancels:
            self._cancel_all()
        closed = []
        for position in self._ask("GET", "/positions", None):
            order = self._close(position, {})
            closed.append(
                {"order_id": order["id"], "status": 200, "symbol": position["symbol"], "body": order}
            )
        return closed

    def _named(self, order_id: str) -> Row | None:
        """The decision that an order's id stands for, ours or the broker's."""
        decision_id = answers.decision_of(order_id)
        if decision_id is not None:
            return self._one("decision_id = ?", decision_id)
        return self._one(
            "decision_id = (SELECT decision_id FROM alpaca_orders WHERE broker_order_id = ?)", order_id
        )

    def _by_key(self, key: str) -> Row | None:
        return self._one("strategy_name = ? AND decision_key = ?", self._log.settings.strategy, key)

    def _at_broker(self, row: Row) -> Row | None:
        """The newest order of a decision, as the broker last showed it."""
        rows = self._log.writer.rows(
            "SELECT o.raw FROM trade_executions e"
            " JOIN alpaca_orders o ON o.broker_order_id = e.alpaca_order_id"
            " WHERE e.decision_id = ? ORDER BY e.id DESC LIMIT 1",
            (row["decision_id"],),
        )
        return _under_own_id(json.loads(rows[0]["raw"]), row) if rows else None

    def _one(self, condition: str, *values: Any) -> Row | None:
        rows = self._rows(condition, *values)
        return rows[0] if rows else None

    def _rows(self, condition: str, *values: Any) -> list[Row]:
        return self._log.writer.rows(f"{_DECISION} {condition} ORDER BY id", (*self._log.account, *values))


def _under_own_id(order: Row, row: Row) -> Row:
    """The order under the client order id that the bot gave it: at the broker it has the log's."""
    return {**order, "client_order_id": row["decision_key"] or order["client_order_id"]}


def _body_of(terms: WireOrder | None) -> Row:
    return {} if terms is None else terms.body()


def _is_same(terms: OrderTerms, order: Mapping[str, Any]) -> bool:
    """Whether an order in the broker's form has these terms."""
    theirs = terms_of(order)
    if theirs is None:
        return False
    ours = {
        "symbol": terms.symbol,
        "side": str(terms.side),
        "order_type": str(terms.order_type),
        "time_in_force": str(terms.time_in_force),
        **{
            name: None if (value := getattr(terms, name)) is None else money.to_text(value)
            for name in ("quantity", "notional", "limit_price", "stop_price", "trail_price", "trail_percent")
        },
    }
    return all(theirs.get(name) == value for name, value in ours.items())
