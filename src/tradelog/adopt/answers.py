"""Answers in the broker's form about a decision that the worker sends: orders, and refusals as APIError."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import requests
from alpaca.common.exceptions import APIError

from tradelog.domain import ids
from tradelog.domain.status import DecisionStatus

# The broker's words for where a decision stands that has no order there (docs.alpaca.markets, Orders).
_STATUS = {
    DecisionStatus.PENDING: "pending_new",
    DecisionStatus.EXECUTING: "pending_new",
    DecisionStatus.EXECUTED: "filled",
    DecisionStatus.FAILED: "rejected",
    DecisionStatus.CANCELLED: "canceled",
}
# The first 48 bits of the ids that stand for decisions; the other 80 are those of the decision's own id.
_PREFIX = 0x7472_6164_6C6F


def order_id(decision_id: str) -> str:
    """A UUID that stands for a decision: it can be read back, see `decision_of`."""
    number = 0
    for sign in decision_id.removeprefix(f"{ids.DECISION}_"):
        number = number * 32 + ids.ALPHABET.index(sign)
    return str(uuid.UUID(int=(_PREFIX << 80) | number))


def decision_of(text: str) -> str | None:
    """The decision that a UUID stands for; None for any other id."""
    try:
        number = uuid.UUID(text).int
    except ValueError:
        return None
    if number >> 80 != _PREFIX:
        return None
    signs = [ids.ALPHABET[number >> (5 * place) & 31] for place in reversed(range(ids.LENGTH))]
    return f"{ids.DECISION}_{''.join(signs)}"


def order_of(decision: Mapping[str, Any]) -> dict[str, Any]:
    """An order for a decision's row that has none at the broker: alpaca-py's model takes it as it is."""
    created, ended = decision["created_at"], decision["failed_at"]
    status = DecisionStatus(decision["status"])
    return {
        "id": order_id(decision["decision_id"]),
        "client_order_id": decision["decision_key"] or decision["client_order_id"],
        "created_at": created,
        "updated_at": ended or created,
        "submitted_at": created,
        **dict.fromkeys(("filled_at", "expired_at", "replaced_at", "replaced_by", "replaces", "asset_id")),
        "canceled_at": ended if status is DecisionStatus.CANCELLED else None,
        "failed_at": ended if status is DecisionStatus.FAILED else None,
        "symbol": decision["symbol"],
        "asset_class": _asset_class(decision["symbol"]),
        "notional": decision["notional"],
        "qty": decision["quantity"],
        "filled_qty": "0",
        "filled_avg_price": None,
        "order_class": "simple",
        "order_type": decision["order_type"],
        "type": decision["order_type"],
        "side": decision["side"],
        "time_in_force": decision["time_in_force"],
        "extended_hours": bool(decision["extended_hours"]),
        **{name: decision[name] for name in ("limit_price", "stop_price", "trail_price", "trail_percent")},
        "status": _STATUS[status],
        "legs": None,
        "hwm": None,
    }


def api_error(status: int, code: int, message: str, method: str, url: str) -> APIError:
    """The exception that alpaca-py raises for such an answer of the broker."""
    response = requests.Response()
    response.status_code = status
    response.url = url
    text = json.dumps({"code": code, "message": message})
    response._content = text.encode()
    # No request was made: there is none to prepare.
    response.request = requests.PreparedRequest()
    response.request.method, response.request.url = method, url
    http_error = requests.HTTPError(message, response=response, request=response.request)
    return APIError(text, http_error)  # type: ignore[no-untyped-call]


def taken_id(method: str, path: str) -> APIError:
    """The broker's refusal of an order whose client order id another one has."""
    return api_error(422, 40010001, "client_order_id must be unique", method, path)


def _asset_class(symbol: str) -> str:
    return "crypto" if "/" in symbol else "us_equity"
