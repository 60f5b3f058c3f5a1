"""Response classification: what a response of the broker proves, and what it does not.

A refusal is 403 or 422 with the broker's JSON ``message``. 401, ``forbidden.`` and 429 say that
this attempt was not accepted and nothing about the order. Anything else that is no order in the
broker's form (time-outs, drops, 5xx, 400, HTML, half a JSON) proves nothing: unknown until looked up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from tradelog.domain import clock, money
from tradelog.domain.status import AttemptStatus
from tradelog.execute.brokers.base import Exchange, WireOrder


class ResponseKind(StrEnum):
    ORDER = "order"
    REFUSED = "refused"
    DUPLICATE = "duplicate"
    BAD_KEYS = "bad keys"
    THROTTLED = "throttled"
    NOT_SENT = "not sent"
    NOT_FOUND = "not found"
    REQUESTED = "requested"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Classification:
    kind: ResponseKind
    message: str
    failure_code: str | None = None
    order: Mapping[str, Any] | None = None


# The broker's texts for its refusals: its codes are reused, so that only the text distinguishes them
# (collected from recorded answers and issue reports of Alpaca's API, 2020 to 2026).
_REFUSALS = (
    ("insufficient buying power", "insufficient_buying_power"),
    ("insufficient day trading buying power", "insufficient_buying_power"),
    ("day trading margin call", "insufficient_buying_power"),
    ("insufficient qty", "insufficient_quantity"),
    ("cannot be sold short", "insufficient_quantity"),
    ("wash trade", "wash_trade"),
    ("no price known", "no_price"),
    ("not fractionable", "not_tradable"),
    ("not tradable", "not_tradable"),
    ("not active", "not_tradable"),
    ("could not find", "not_tradable"),
    ("not authorized to trade", "not_tradable"),
    ("restricted to liquidation", "not_tradable"),
    ("rejected by user request", "not_tradable"),
    ("pattern day trading", "market_rule"),
    ("must be submitted after", "market_rule"),
    ("extended hours", "market_rule"),
    ("sub-penny", "invalid_order"),
    ("minimal amount", "invalid_order"),
)

# Final for this order id; every other status, also an unlisted one, may still change.
TERMINAL = {
    status.value: status
    for status in (
        *(AttemptStatus.FILLED, AttemptStatus.CANCELED, AttemptStatus.EXPIRED),
        *(AttemptStatus.REJECTED, AttemptStatus.REPLACED),
    )
}
LIVE = frozenset(
    (
        *("new", "accepted", "pending_new", "accepted_for_bidding", "stopped", "suspended", "held"),
        *("partially_filled", "done_for_day", "calculated", "pending_cancel", "pending_replace"),
        "pending_review",
    )
)


def classify_submit(exchange: Exchange) -> Classification:
    """What the response to POST /v2/orders, or to PATCH of one order, proves."""
    if exchange.status is None:
        kind = ResponseKind.UNKNOWN if exchange.left_host else ResponseKind.NOT_SENT
        return Classification(kind, exchange.error or "no answer")
    answer = exchange.json()
    message = _message(answer)
    if exchange.status in (200, 201):
        order = parse_order(answer)
        if order is not None:
            return Classification(ResponseKind.ORDER, order["status"], order=order)
        return Classification(ResponseKind.UNKNOWN, f"HTTP {exchange.status}, but no order in its body")
    stopped = _stopped(exchange.status, message)
    if stopped is not None:
        return stopped
    if exchange.status in (403, 422) and message is not None:
        if is_duplicate_id(message):
            return Classification(ResponseKind.DUPLICATE, message)
        return Classification(
            ResponseKind.REFUSED, message, failure_code=refusal_code(exchange.status, message)
        )
    return Classification(
        ResponseKind.UNKNOWN, f"HTTP {exchange.status}: {message or 'no message in the broker’s form'}"
    )


def is_duplicate_id(text: str) -> bool:
    """Whether a refusal's text is that of a client order id which is taken; older ones have spaces in it."""
    return "client order id must be unique" in text.lower().replace("_", " ")


def classify_lookup(exchange: Exchange) -> Classification:
    """What the response to GET of one order proves: the order, that it is not found, or nothing."""
    if exchange.status is None:
        return Classification(ResponseKind.UNKNOWN, exchange.error or "no answer")
    answer = exchange.json()
    if exchange.status == 200:
        order = parse_order(answer)
        if order is not None:
            return Classification(ResponseKind.ORDER, order["status"], order=order)
        return Classification(ResponseKind.UNKNOWN, "HTTP 200, but no order in its body")
    message = _message(answer)
    stopped = _stopped(exchange.status, message)
    if stopped is not None:
        return stopped
    # An HTML 404 is a proxy's; the broker's own is JSON.
    if exchange.status == 404 and message is not None:
        return Classification(ResponseKind.NOT_FOUND, message)
    return Classification(
        ResponseKind.UNKNOWN, f"HTTP {exchange.status}: {message or 'no message in the broker’s form'}"
    )


def parse_order(answer: Any) -> dict[str, Any] | None:
    """The order that a body holds, None where it lacks what makes one."""
    if not isinstance(answer, dict):
        return None
    needed = ("id", "client_order_id", "symbol", "status")
    if not all(isinstance(answer.get(name), str) and answer[name] for name in needed):
        return None
    if answer["status"] == "filled" and not decimal_field(answer, "filled_qty"):
        return None
    try:
        # What cannot be stored, such as half a surrogate pair, is no order that can be kept.
        json.dumps(answer, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return None
    return answer


def is_fill(item: Any) -> bool:
    """Whether an activity is a fill in the broker's form."""
    if not isinstance(item, dict) or item.get("side") not in ("buy", "sell", "sell_short"):
        return False
    names = ("id", "order_id", "symbol")
    if clock.read_moment(item.get("transaction_time")) is None:
        return False
    numbers = [decimal_field(item, name) for name in ("qty", "price")]
    return all(isinstance(item.get(name), str) and item[name] for name in names) and None not in numbers


def decimal_field(order: Mapping[str, Any], name: str) -> Decimal | None:
    """A number of an order, which Alpaca writes as text; None where it is absent or none."""
    value = order.get(name)
    if value is None or value == "":
        return None
    try:
        return money.parse(value)
    except ValueError:
        return None


def mismatch(order: Mapping[str, Any], submitted: WireOrder, *, sized: bool = True) -> str | None:
    """How an order found by client order id differs from the submitted one; None where it does not.

    ``sized`` False leaves the size out: that of a replacement depends on fills in between.
    """
    pairs: list[tuple[str, Any, Any]] = [
        ("client_order_id", order.get("client_order_id"), submitted.client_order_id),
        # Alpaca answers for BTCUSD as BTC/USD.
        ("symbol", str(order.get("symbol")).replace("/", ""), submitted.symbol.replace("/", "")),
        ("side", order.get("side"), submitted.side),
        ("type", order.get("type") or order.get("order_type"), submitted.order_type),
    ]
    if sized and submitted.quantity is not None:
        pairs.append(("qty", decimal_field(order, "qty"), submitted.quantity))
    if sized and submitted.notional is not None and order.get("notional") is not None:
        pairs.append(("notional", decimal_field(order, "notional"), submitted.notional))
    differing = [f"{name} is {theirs}, not {ours}" for name, theirs, ours in pairs if theirs != ours]
    return "; ".join(differing) or None


def replacement_mismatch(order: Mapping[str, Any], submitted: WireOrder) -> str | None:
    """How the terms of a replacement differ from the requested ones; None where they do not."""
    pairs = [
        ("quantity", decimal_field(order, "qty"), submitted.quantity),
        ("limit price", decimal_field(order, "limit_price"), submitted.limit_price),
        ("stop price", decimal_field(order, "stop_price"), submitted.stop_price),
        ("time in force", order.get("time_in_force"), submitted.time_in_force),
    ]
    differing = [f"{name} is {theirs}, not {ours}" for name, theirs, ours in pairs if theirs != ours]
    return "; ".join(differing) or None


def classify_cancel(exchange: Exchange) -> Classification:
    """What the response to DELETE /v2/orders/{id} proves: that it was requested, refused, or nothing."""
    if exchange.status in (200, 204):
        return Classification(ResponseKind.REQUESTED, "requested")
    if exchange.status is None:
        kind = ResponseKind.UNKNOWN if exchange.left_host else ResponseKind.NOT_SENT
        return Classification(kind, exchange.error or "no answer")
    message = _message(exchange.json())
    stopped = _stopped(exchange.status, message)
    if stopped is not None:
        return stopped
    if exchange.status in (403, 404, 422) and message is not None:
        return Classification(ResponseKind.REFUSED, message)
    return Classification(
        ResponseKind.UNKNOWN, f"HTTP {exchange.status}: {message or 'no message in the broker’s form'}"
    )


def attempt_status(order: Mapping[str, Any]) -> AttemptStatus:
    """The attempt's status for the broker's order."""
    status = str(order["status"])
    if status in TERMINAL:
        return TERMINAL[status]
    filled = decimal_field(order, "filled_qty") or money.ZERO
    if filled > 0 or status == "partially_filled":
        return AttemptStatus.PARTIALLY_FILLED
    return AttemptStatus.ACCEPTED


def refusal_code(status: int, message: str) -> str:
    """The stable failure code for the text of a refusal."""
    lowered = message.lower()
    for words, code in _REFUSALS:
        if words in lowered:
            return code
    if lowered.startswith("asset ") and "not found" in lowered:
        return "not_tradable"
    return "invalid_order" if status == 422 else "other"


def _stopped(status: int, message: str | None) -> Classification | None:
    if status == 401 or (status == 403 and (message or "").strip().lower() == "forbidden."):
        return Classification(ResponseKind.BAD_KEYS, message or "request is not authorized")
    if status == 429:
        return Classification(ResponseKind.THROTTLED, message or "rate limit exceeded")
    return None


def _message(answer: Any) -> str | None:
    if isinstance(answer, dict) and isinstance(answer.get("message"), str):
        return str(answer["message"].encode("utf-8", "replace").decode())
    return None
