"""Invariant 3: what an answer proves, and what it does not."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from tradelog.execute.brokers.base import Exchange, WireOrder
from tradelog.execute.outbox import responses
from tradelog.execute.outbox.responses import ResponseKind

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
        (exchange(200, ORDER), ResponseKind.ORDER),
        (exchange(200, ORDER | {"status": "an_invented_one", "submitted_at": None}), ResponseKind.ORDER),
        (exchange(200, b"<html>"), ResponseKind.UNKNOWN),
        (exchange(200, b""), ResponseKind.UNKNOWN),
        (exchange(200, json.dumps(ORDER).encode()[:-5]), ResponseKind.UNKNOWN),
        (exchange(200, {"id": 5}), ResponseKind.UNKNOWN),
        (exchange(403, {"code": 40310000, "message": "insufficient buying power"}), ResponseKind.REFUSED),
        (exchange(422, {"code": 40010001, "message": "qty must be > 0"}), ResponseKind.REFUSED),
        (
            exchange(422, {"code": 40010001, "message": "client_order_id must be unique"}),
            ResponseKind.DUPLICATE,
        ),
        (
            exchange(422, {"code": 42210000, "message": "Client order id must be unique"}),
            ResponseKind.DUPLICATE,
        ),
        (exchange(422, b""), ResponseKind.UNKNOWN),
        (exchange(403, b"<html>"), ResponseKind.UNKNOWN),
        (exchange(403, {"message": "forbidden."}), ResponseKind.BAD_KEYS),
        (exchange(401, {"message": "unauthorized."}), ResponseKind.BAD_KEYS),
        (exchange(401, b"<html>"), ResponseKind.BAD_KEYS),
        (exchange(429, b""), ResponseKind.THROTTLED),
        (exchange(400, {"message": "bad"}), ResponseKind.UNKNOWN),
        (exchange(404, {"message": "not found"}), ResponseKind.UNKNOWN),
        (exchange(500, {"message": "x"}), ResponseKind.UNKNOWN),
        (exchange(502, b"<html>"), ResponseKind.UNKNOWN),
        (exchange(504), ResponseKind.UNKNOWN),
        (exchange(302), ResponseKind.UNKNOWN),
        (exchange(None, error="timed out"), ResponseKind.UNKNOWN),
        (exchange(None, error="refused", left_host=False), ResponseKind.NOT_SENT),
    ],
)
def test_submit(answer: Exchange, kind: ResponseKind) -> None:
    assert responses.classify_submit(answer).kind is kind


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (exchange(200, ORDER), ResponseKind.ORDER),
        (exchange(404, {"message": "order not found"}), ResponseKind.NOT_FOUND),
        (exchange(404, b"<html>"), ResponseKind.UNKNOWN),
        (exchange(500, {"message": "x"}), ResponseKind.UNKNOWN),
        (exchange(401, {"message": "x"}), ResponseKind.BAD_KEYS),
        (exchange(None, error="x"), ResponseKind.UNKNOWN),
    ],
)
def test_lookup(answer: Exchange, kind: ResponseKind) -> None:
    assert responses.classify_lookup(answer).kind is kind


@pytest.mark.parametrize(("theirs", "ours"), STATUSES.items())
def test_every_status_of_the_broker(theirs: str, ours: str) -> None:
    assert responses.attempt_status(ORDER | {"status": theirs}) == ours


def test_a_live_status_with_a_quantity_is_partial() -> None:
    assert responses.attempt_status(ORDER | {"status": "new", "filled_qty": "0.5"}) == "partially_filled"
    assert responses.attempt_status(ORDER | {"status": "canceled", "filled_qty": "0.5"}) == "canceled"


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
def test_refusals_are_classified_by_their_text(status: int, message: str, code: str) -> None:
    classification = responses.classify_submit(exchange(status, {"code": 40310000, "message": message}))
    assert (classification.kind, classification.failure_code, classification.message) == (
        ResponseKind.REFUSED,
        code,
        message,
    )


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (exchange(204), ResponseKind.REQUESTED),
        (exchange(422, {"message": 'order is already in "filled" state'}), ResponseKind.REFUSED),
        (exchange(404, {"message": "order not found"}), ResponseKind.REFUSED),
        (exchange(404, b"<html>"), ResponseKind.UNKNOWN),
        (exchange(500, {"message": "x"}), ResponseKind.UNKNOWN),
        (exchange(429, b""), ResponseKind.THROTTLED),
        (exchange(401, b""), ResponseKind.BAD_KEYS),
        (exchange(None, error="x"), ResponseKind.UNKNOWN),
        (exchange(None, error="x", left_host=False), ResponseKind.NOT_SENT),
    ],
)
def test_cancel(answer: Exchange, kind: ResponseKind) -> None:
    assert responses.classify_cancel(answer).kind is kind


@pytest.mark.parametrize(
    "judge", [responses.classify_submit, responses.classify_lookup, responses.classify_cancel]
)
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (exchange(None, error="timed out"), "timed out"),
        (exchange(None), "no answer"),
        (exchange(500, {"message": "try later"}), "HTTP 500: try later"),
        (exchange(500, b"<html>"), "HTTP 500: no message in the broker’s form"),
        (exchange(401, {"message": "who?"}), "who?"),
        (exchange(401), "request is not authorized"),
        (exchange(429, {"message": "slower"}), "slower"),
        (exchange(429), "rate limit exceeded"),
    ],
)
def test_the_brokers_message_is_kept(judge: Any, answer: Exchange, message: str) -> None:
    assert judge(answer).message == message


@pytest.mark.parametrize("status", [200, 204])
def test_a_cancel_that_was_taken(status: int) -> None:
    assert responses.classify_cancel(exchange(status)).kind is ResponseKind.REQUESTED


@pytest.mark.parametrize(
    ("missing", "value"),
    [(name, value) for name in ("id", "client_order_id", "symbol", "status") for value in (None, "", 5)],
)
def test_what_lacks_a_part_of_an_order_is_none(missing: str, value: Any) -> None:
    assert responses.parse_order(ORDER) == ORDER
    assert responses.parse_order(ORDER | {missing: value}) is None


@pytest.mark.parametrize("filled", [None, "", "0", "x"])
def test_filled_with_nothing_is_no_order(filled: Any) -> None:
    assert responses.parse_order(ORDER | {"status": "filled", "filled_qty": filled}) is None
    assert responses.parse_order(ORDER | {"status": "filled", "filled_qty": "1"}) is not None
    assert responses.parse_order(ORDER | {"status": "canceled", "filled_qty": filled}) is not None


def test_what_cannot_be_written_down_is_no_order() -> None:
    assert responses.parse_order(ORDER | {"note": "\ud800"}) is None


FILL = {"id": "f", "order_id": "o", "symbol": "AAPL", "side": "buy", "qty": "1", "price": "2"}
FILL |= {"transaction_time": "2026-01-05T15:00:00Z"}


@pytest.mark.parametrize("side", ["buy", "sell", "sell_short"])
def test_a_fill(side: str) -> None:
    assert responses.is_fill(FILL | {"side": side})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("id", "order_id", "symbol") for value in (None, "", 5)),
        *((name, value) for name in ("qty", "price") for value in (None, "", "x", 1.5)),
        *(("side", value) for value in (None, "short", "")),
        *(("transaction_time", value) for value in (None, "", "soon", 5)),
    ],
)
def test_what_lacks_a_part_of_a_fill_is_none(name: str, value: Any) -> None:
    assert not responses.is_fill(FILL | {name: value})


@pytest.mark.parametrize("item", [None, [], "x", 5])
def test_what_is_no_object_is_no_fill(item: Any) -> None:
    assert not responses.is_fill(item)


def wanted(**changes: Any) -> WireOrder:
    values = {
        **{"client_order_id": "tl-1", "symbol": "AAPL", "side": "buy", "quantity": Decimal("1.5")},
        **{"notional": None, "order_type": "limit", "limit_price": Decimal(100), "stop_price": None},
        **{"time_in_force": "day", "extended_hours": False},
    }
    return WireOrder(**(values | changes))


OURS = {"client_order_id": "tl-1", "symbol": "AAPL", "side": "buy", "type": "limit", "qty": "1.50"}
IN_DOLLARS = wanted(quantity=None, notional=Decimal(50))


@pytest.mark.parametrize(
    ("changes", "order", "different"),
    [
        ({}, wanted(), None),
        ({"client_order_id": "tl-2"}, wanted(), "client_order_id is tl-2, not tl-1"),
        ({"symbol": "MSFT"}, wanted(), "symbol is MSFT, not AAPL"),
        ({"symbol": "BTC/USD"}, wanted(symbol="BTC/USD"), None),
        ({"symbol": "BTCUSD"}, wanted(symbol="BTC/USD"), None),
        ({"side": "sell"}, wanted(), "side is sell, not buy"),
        ({"type": "market"}, wanted(), "type is market, not limit"),
        ({"type": None, "order_type": "limit"}, wanted(), None),
        ({"type": None, "order_type": "market"}, wanted(), "type is market, not limit"),
        ({"type": "limit", "order_type": "market"}, wanted(), None),
        ({"qty": "1.6"}, wanted(), "qty is 1.6, not 1.5"),
        ({"qty": None}, wanted(), "qty is None, not 1.5"),
        ({"qty": None, "notional": "50"}, IN_DOLLARS, None),
        ({"qty": None, "notional": "50.01"}, IN_DOLLARS, "notional is 50.01, not 50"),
        # Filled, it may tell shares and no dollars any more.
        ({"qty": "0.5", "notional": None}, IN_DOLLARS, None),
        ({"qty": "0.5"}, IN_DOLLARS, None),
        # A notional of an order by shares says nothing.
        ({"notional": "999"}, wanted(), None),
        (
            {"side": "sell", "symbol": "MSFT"},
            wanted(),
            "symbol is MSFT, not AAPL; side is sell, not buy",
        ),
    ],
)
def test_an_order_under_our_id_is_ours_only_if_every_field_is(
    changes: dict[str, Any], order: WireOrder, different: str | None
) -> None:
    assert responses.mismatch(OURS | changes, order) == different


def test_the_size_of_a_replacement_is_the_broker_s_to_say() -> None:
    assert responses.mismatch(OURS | {"qty": "7"}, wanted(), sized=False) is None
    assert responses.mismatch(OURS | {"qty": None, "notional": "7"}, IN_DOLLARS, sized=False) is None
    assert responses.mismatch(OURS | {"qty": "7", "side": "sell"}, wanted(), sized=False) is not None


@pytest.mark.parametrize(
    ("changes", "different"),
    [
        ({}, None),
        ({"qty": "2"}, "quantity is 2, not 1.5"),
        ({"limit_price": "101"}, "limit price is 101, not 100"),
        ({"stop_price": "99"}, "stop price is 99, not None"),
        ({"time_in_force": "gtc"}, "time in force is gtc, not day"),
    ],
)
def test_a_replacement_is_read_back_term_by_term(changes: dict[str, Any], different: str | None) -> None:
    order = {"qty": "1.5", "limit_price": "100", "stop_price": None, "time_in_force": "day"}
    assert responses.replacement_mismatch(order | changes, wanted()) == different


@pytest.mark.parametrize(
    ("value", "number"),
    [("1.50", Decimal("1.5")), (2, Decimal(2)), (None, None), ("", None), ("x", None), (1.5, None)],
)
def test_a_number_of_an_order(value: Any, number: Decimal | None) -> None:
    assert responses.decimal_field({"qty": value}, "qty") == number
    assert responses.decimal_field({}, "qty") is None


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("asset FOO not found", "not_tradable"),
        ("asset FOO is odd", "invalid_order"),
        ("order not found", "invalid_order"),
    ],
)
def test_an_asset_that_is_not_found(message: str, code: str) -> None:
    assert responses.refusal_code(422, message) == code
