"""Invariant 3: what an answer proves, and what it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tradelog.execute import outcome
from tradelog.execute.brokers.base import Exchange
from tradelog.execute.outcome import Kind

ORDER = {"id": "1", "client_order_id": "tl-1", "symbol": "AAPL", "status": "accepted", "filled_qty": "0"}
STATUSES = {
    **dict.fromkeys(("new", "accepted", "pending_new", "accepted_for_bidding", "stopped"), "accepted"),
    **dict.fromkeys(("suspended", "held", "done_for_day", "calculated", "pending_cancel"), "accepted"),
    **dict.fromkeys(("pending_replace", "pending_review", "an_invented_one"), "accepted"),
    "partially_filled": "partially_filled",
    **{status: status for status in ("filled", "canceled", "expired", "rejected", "replaced")},
}


def exchange(status: int | None, body: Any = b"", **more: Any) -> Exchange:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Exchange("POST", "u", "{}", "t", "t", status=status, body=raw, **more)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (exchange(200, ORDER), Kind.ORDER),
        (exchange(200, ORDER | {"status": "an_invented_one", "submitted_at": None}), Kind.ORDER),
        (exchange(200, b"<html>"), Kind.UNKNOWN),
        (exchange(200, b""), Kind.UNKNOWN),
        (exchange(200, json.dumps(ORDER).encode()[:-5]), Kind.UNKNOWN),
        (exchange(200, {"id": 5}), Kind.UNKNOWN),
        (exchange(403, {"code": 40310000, "message": "insufficient buying power"}), Kind.REFUSED),
        (exchange(422, {"code": 40010001, "message": "qty must be > 0"}), Kind.REFUSED),
        (exchange(422, {"code": 40010001, "message": "client_order_id must be unique"}), Kind.DUPLICATE),
        (exchange(422, {"code": 42210000, "message": "Client order id must be unique"}), Kind.DUPLICATE),
        (exchange(422, b""), Kind.UNKNOWN),
        (exchange(403, b"<html>"), Kind.UNKNOWN),
        (exchange(403, {"message": "forbidden."}), Kind.BAD_KEYS),
        (exchange(401, {"message": "unauthorized."}), Kind.BAD_KEYS),
        (exchange(401, b"<html>"), Kind.BAD_KEYS),
        (exchange(429, b""), Kind.THROTTLED),
        (exchange(400, {"message": "bad"}), Kind.UNKNOWN),
        (exchange(404, {"message": "not found"}), Kind.UNKNOWN),
        (exchange(500, {"message": "x"}), Kind.UNKNOWN),
        (exchange(502, b"<html>"), Kind.UNKNOWN),
        (exchange(504), Kind.UNKNOWN),
        (exchange(302), Kind.UNKNOWN),
        (exchange(None, error="timed out"), Kind.UNKNOWN),
        (exchange(None, error="refused", sent=False), Kind.NOT_SENT),
    ],
)
def test_submit(answer: Exchange, kind: Kind) -> None:
    assert outcome.of_submit(answer).kind is kind


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (exchange(200, ORDER), Kind.ORDER),
        (exchange(404, {"message": "order not found"}), Kind.NOT_FOUND),
        (exchange(404, b"<html>"), Kind.UNKNOWN),
        (exchange(500, {"message": "x"}), Kind.UNKNOWN),
        (exchange(401, {"message": "x"}), Kind.BAD_KEYS),
        (exchange(None, error="x"), Kind.UNKNOWN),
    ],
)
def test_lookup(answer: Exchange, kind: Kind) -> None:
    assert outcome.of_lookup(answer).kind is kind


@pytest.mark.parametrize(("theirs", "ours"), STATUSES.items())
def test_every_status_of_the_broker(theirs: str, ours: str) -> None:
    assert outcome.execution_status(ORDER | {"status": theirs}) == ours


def test_a_live_status_with_a_quantity_is_partial() -> None:
    assert outcome.execution_status(ORDER | {"status": "new", "filled_qty": "0.5"}) == "partially_filled"
    assert outcome.execution_status(ORDER | {"status": "canceled", "filled_qty": "0.5"}) == "canceled"


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (403, "insufficient buying power", "insufficient_buying_power"),
        (403, "insufficient qty available for order (requested: 2, available: 1)", "insufficient_quantity"),
        (403, 'asset "OCGN" is not fractionable', "not_tradable"),
        (403, "potential wash trade detected. use complex orders", "wash_trade"),
        (422, 'asset "XYZ" not found', "not_tradable"),
        (403, "account is not authorized to trade", "not_tradable"),
        (403, "opg orders must be submitted after 7:00pm and before 9:28am", "market_rule"),
        (422, "invalid limit_price 290.123. sub-penny increment does not fulfill", "invalid_order"),
        (422, "qty must be > 0", "invalid_order"),
        (403, "trade denied due to pattern day trading protection", "market_rule"),
        (403, "day trading margin call protection", "insufficient_buying_power"),
        (403, "potential wash trade detected. opposite side limit order exists", "wash_trade"),
        (422, "potential wash trade detected. use complex orders", "wash_trade"),
        (422, "could not find us_equity 'X'", "not_tradable"),
        (422, "qty or notional is required", "invalid_order"),
        (422, "qty must be integer", "invalid_order"),
        (422, "only one of qty or notional is accepted", "invalid_order"),
        (422, "fractional orders must be DAY orders", "invalid_order"),
        (422, "fractional orders cannot be sold short", "insufficient_quantity"),
        (422, "notional must be >= 1.00", "invalid_order"),
        (403, "cost basis must be >= minimal amount of order 1", "invalid_order"),
        (422, "extended hours order must be DAY or GTC limit orders", "market_rule"),
        (422, "bracket orders require take_profit.limit_price", "invalid_order"),
        (422, "client_order_id must be no more than 128 characters", "invalid_order"),
        (403, "account is restricted to liquidation only", "not_tradable"),
        (403, "new orders rejected by user request", "not_tradable"),
        (403, "something new", "other"),
    ],
)
def test_refusals_by_their_words(status: int, message: str, code: str) -> None:
    verdict = outcome.of_submit(exchange(status, {"code": 40310000, "message": message}))
    assert (verdict.kind, verdict.failure_code, verdict.message) == (Kind.REFUSED, code, message)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (exchange(204), Kind.ASKED),
        (exchange(422, {"message": 'order is already in "filled" state'}), Kind.REFUSED),
        (exchange(404, {"message": "order not found"}), Kind.REFUSED),
        (exchange(404, b"<html>"), Kind.UNKNOWN),
        (exchange(500, {"message": "x"}), Kind.UNKNOWN),
        (exchange(429, b""), Kind.THROTTLED),
        (exchange(401, b""), Kind.BAD_KEYS),
        (exchange(None, error="x"), Kind.UNKNOWN),
        (exchange(None, error="x", sent=False), Kind.NOT_SENT),
    ],
)
def test_cancel(answer: Exchange, kind: Kind) -> None:
    assert outcome.of_cancel(answer).kind is kind
