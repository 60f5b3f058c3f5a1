"""Pre-trade checks, rule by rule: how fresh what they look at must be, and what ends without being sent."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.execute.driving import go
from tests.execute.stage import RUNNING, Stage, moment
from tests.fakes.direct import Fault
from tradelog.config.risk import ControlConfig, RiskConfig
from tradelog.domain import clock
from tradelog.execute.account.snapshots import Snapshot
from tradelog.execute.brokers.base import WireOrder
from tradelog.execute.outbox import claims
from tradelog.execute.risk import checks, market_data
from tradelog.execute.risk.market_data import MAX_QUOTE_AGE_SECONDS, SESSION_CHANGE_SECONDS
from tradelog.execute.risk.pretrade import PreTradeChecks

D = Decimal


def known(pretrade: PreTradeChecks, kind: str, value: Any, subject: str = "", **more: Any) -> None:
    """What the broker told of a kind, a moment ago."""
    given = {"as_of": moment(), "taken": clock.running_seconds(), "seen": (0, 0), "missing": None} | more
    pretrade._market_data._snapshots._known[kind, subject] = Snapshot(7, value, **given)


def quote(price: str = "100", at: str | None = None) -> dict[str, Any]:
    return {"quotes": {"AAPL": {"ap": price, "bp": price, "t": at or moment()}}}


def hours(*, is_open: bool, turns: float) -> dict[str, Any]:
    """The market's clock as told; it opens or closes after so many seconds from now."""
    names = ("next_close", "next_open") if is_open else ("next_open", "next_close")
    return {"is_open": is_open, names[0]: moment(turns), names[1]: moment(turns + 20_000)}


def order(stage: Stage, **changes: Any) -> WireOrder:
    return claims.wire_order(stage.row("trade_decisions", stage.decide(**changes)))


def verdict(
    stage: Stage, pretrade: PreTradeChecks, limits: RiskConfig, decision_id: str | None = None
) -> dict[str, Any]:
    """Hold a decision against the limits; what was written down of it."""
    decision = stage.row("trade_decisions", decision_id or stage.decide())
    with stage.tx() as tx:
        pretrade.check(tx, decision, claims.wire_order(decision), limits)
    row = stage.rows("SELECT * FROM risk_checks ORDER BY check_id DESC LIMIT 1")[0]
    return {**row, **json.loads(row["checks"])}


STRICT = RiskConfig(max_order_notional=D(5000), long_only=False)


# How fresh it must be.


@pytest.mark.parametrize(("age", "is_fresh"), [(0, True), (30, True), (30.001, False), (60, False)])
def test_a_snapshot_older_than_half_the_limit_is_fetched_again(
    stage: Stage, age: float, is_fresh: bool
) -> None:
    pretrade = stage.worker().pretrade
    known(pretrade, "quote", quote(), "AAPL")
    go(age)
    assert pretrade._market_data._is_fresh(STRICT, "quote", "AAPL") is is_fresh
    assert not pretrade._market_data._is_fresh(STRICT, "quote", "MSFT")


@pytest.mark.parametrize(
    ("value", "is_fresh"),
    [("open", True), ("just closed", False), ("just opened", False), (None, True)],
)
def test_hours_are_fresh_until_the_market_turns(stage: Stage, value: str | None, is_fresh: bool) -> None:
    pretrade = stage.worker().pretrade
    told = {
        "open": hours(is_open=True, turns=10),
        "just closed": hours(is_open=True, turns=0),
        "just opened": hours(is_open=False, turns=0),
    }.get(value or "")
    known(pretrade, "clock", told)
    assert pretrade._market_data._is_fresh(STRICT, "clock", "") is is_fresh


@pytest.mark.parametrize(("age", "is_stale"), [(60, False), (60.001, True)])
def test_what_a_check_looks_at_is_no_older_than_the_limit(stage: Stage, age: float, is_stale: bool) -> None:
    pretrade = stage.worker().pretrade
    known(pretrade, "quote", quote(), "AAPL")
    go(age)
    result = verdict(stage, pretrade, STRICT)
    assert (result["code"] == "risk.stale_data") is is_stale
    if is_stale:
        assert result["checks"][0]["note"] == f"quote: fetched at {moment(-age)}, which is too long ago"


@pytest.mark.parametrize(
    ("age", "is_stale"),
    [(MAX_QUOTE_AGE_SECONDS, False), (MAX_QUOTE_AGE_SECONDS + 0.001, True), (6.4 * 86_400, True)],
)
def test_a_quote_of_an_older_day_is_none(stage: Stage, age: float, is_stale: bool) -> None:
    assert market_data.MAX_QUOTE_AGE_SECONDS == 432_000
    pretrade = stage.worker().pretrade
    known(pretrade, "quote", quote(at=moment(-age)), "AAPL")
    result = verdict(stage, pretrade, STRICT)
    assert (result["code"] == "risk.stale_data") is is_stale
    if is_stale:
        days = round(age / 86_400)
        assert result["checks"][0]["note"] == f"quote: the last one is {days} days old"


@pytest.mark.parametrize(
    ("told", "note"),
    [
        ({"quotes": {"AAPL": {"ap": 0, "bp": 0}}}, "quote: there is no price on the other side"),
        (None, "quote: the broker has none: asked in vain"),
        ("never", "quote: never fetched"),
    ],
)
def test_a_missing_quote_has_its_reason(stage: Stage, told: Any, note: str) -> None:
    pretrade = stage.worker().pretrade
    if told is None:
        known(pretrade, "quote", None, "AAPL", missing="the broker has none: asked in vain")
    elif told != "never":
        known(pretrade, "quote", told, "AAPL")
    result = verdict(stage, pretrade, STRICT)
    assert (result["code"], result["checks"][0]["note"]) == ("risk.stale_data", note)
    # What had no answer is no evidence.
    assert ("quote" in result["snapshots"]) is isinstance(told, dict)


def test_a_snapshot_without_a_reason_is_not_available(stage: Stage) -> None:
    pretrade = stage.worker().pretrade
    known(pretrade, "quote", None, "AAPL")
    assert verdict(stage, pretrade, STRICT)["checks"][0]["note"] == "quote: not available"


@pytest.mark.parametrize("missing", ["position", "quote"])
def test_exposure_that_cannot_be_known_fails_the_order(stage: Stage, missing: str) -> None:
    """And nothing else: no error that stops the worker."""
    pretrade = stage.worker().pretrade
    limits = RiskConfig(max_order_notional=None, long_only=False, max_gross_exposure=D(5000))
    if missing == "position":
        known(pretrade, "quote", quote(), "AAPL")
    else:
        known(pretrade, "position", [])
    result = verdict(stage, pretrade, limits)
    assert (result["code"], result["checks"][0]["note"]) == ("risk.stale_data", f"{missing}: never fetched")


def test_exposure_with_all_known(stage: Stage) -> None:
    pretrade = stage.worker().pretrade
    known(pretrade, "quote", quote(), "AAPL")
    known(pretrade, "position", [])
    limits = RiskConfig(max_order_notional=None, long_only=False, max_gross_exposure=D(999))
    result = verdict(stage, pretrade, limits)
    assert (result["code"], result["checks"][0]["observed"]) == ("risk.gross_exposure", "1000")
    assert result["snapshots"]["position"]["snapshot"] == 7


# What is asked for before a claim.


def test_an_unanswered_quote_is_retried_for_a_while(stage: Stage) -> None:
    pretrade = stage.worker(max_order_notional=D(5000)).pretrade
    stage.broker.faults += [Fault("GET", status=500) for _ in range(4)]
    expected = order(stage)
    assert not pretrade.prepare(expected)
    assert pretrade.is_waiting
    go(59.999)
    assert not pretrade.prepare(expected)
    go(0.001)
    assert pretrade.prepare(expected)
    assert not pretrade.is_waiting
    told = pretrade._market_data._snapshots.get("quote", "AAPL")
    assert told is not None
    assert told.missing == "not answered for 60 s: HTTP 500"
    # What has been given up is asked for anew the next time, for as long.
    go(31)
    assert not pretrade.prepare(expected)


def test_the_reason_of_a_silence_is_the_wire_s_where_there_is_no_status(stage: Stage) -> None:
    pretrade = stage.worker(max_order_notional=D(5000)).pretrade
    expected = order(stage)
    for _ in range(2):
        stage.broker.faults.append(Fault("GET"))
        pretrade.prepare(expected)
        go(60)
    told = pretrade._market_data._snapshots.get("quote", "AAPL")
    assert told is not None
    assert told.missing == "not answered for 60 s: dropped"


def test_a_limit_on_quotes_is_waited_for_however_long(stage: Stage) -> None:
    pretrade = stage.worker(max_order_notional=D(5000)).pretrade
    expected = order(stage)
    for _ in range(3):
        stage.broker.faults.append(Fault("GET", status=429, body=b"{}"))
        assert not pretrade.prepare(expected)
        go(100)


@pytest.mark.parametrize("kind", ["position", "account"])
def test_what_the_broker_itself_does_not_tell_pauses_all(stage: Stage, kind: str) -> None:
    limits = {"long_only": kind == "position", "buying_power": kind == "account"}
    worker = stage.worker(max_order_notional=None, **limits)
    expected = order(
        stage, side="sell" if kind == "position" else "buy", order_type="limit", limit_price="100"
    )
    stage.broker.faults.append(Fault("GET", status=500))
    assert not worker.pretrade.prepare(expected)
    assert not worker.session.may_request()
    assert not worker.pretrade.prepare(expected)
    go(60)
    assert worker.pretrade.prepare(expected)


def test_positions_are_fetched_for_each_order(stage: Stage) -> None:
    """Our own orders change them."""
    pretrade = stage.worker(max_order_notional=D(5000)).pretrade
    expected = order(stage, side="sell")
    for _ in range(2):
        assert pretrade.prepare(expected)
    asked = [path.split("?")[0] for _, path, _ in stage.broker.seen]
    assert asked == ["/v2/positions", "/v2/stocks/quotes/latest", "/v2/positions"]


@pytest.mark.parametrize(
    ("limits", "side", "fresh", "is_ready"),
    [
        ({"max_order_notional": D(5000)}, "buy", ("quote",), True),
        ({"max_order_notional": D(5000)}, "buy", (), False),
        ({"max_order_notional": None, "long_only": False}, "sell", (), True),
        # What our own orders change is never at hand.
        ({"max_order_notional": None, "long_only": True}, "sell", ("position",), False),
    ],
)
def test_a_claim_takes_what_is_at_hand_only(
    stage: Stage, limits: dict[str, Any], side: str, fresh: tuple[str, ...], is_ready: bool
) -> None:
    pretrade = stage.worker().pretrade
    ruled = RiskConfig(**({"long_only": False} | limits))
    for kind in fresh:
        known(pretrade, kind, quote() if kind == "quote" else [], "AAPL" if kind == "quote" else "")
    assert pretrade._market_data.is_ready(ruled, order(stage, side=side)) is is_ready


@pytest.mark.parametrize(
    ("market_hours", "told", "has_turned"),
    [
        ("wait", "turned", True),
        ("wait", "still", False),
        ("wait", "missing", False),
        ("wait", "never", False),
        ("queue", "turned", False),
    ],
)
def test_nothing_is_claimed_between_the_market_s_clock_and_ours(
    stage: Stage, market_hours: str, told: str, has_turned: bool
) -> None:
    pretrade = stage.worker().pretrade
    if told != "never":
        turns = 0 if told == "turned" else 0.001
        value = None if told == "missing" else hours(is_open=True, turns=turns)
        known(pretrade, "clock", value, missing="none" if told == "missing" else None)
    limits = RiskConfig(market_hours=market_hours)
    assert pretrade._market_data.has_session_changed(limits, order(stage)) is has_turned


def test_at_the_bell_the_session_pauses_for_the_brokers_clock(stage: Stage) -> None:
    stage.books.is_open = True
    worker = stage.worker(market_hours="refuse", max_order_notional=None)
    stage.books.next_close = clock.from_text(moment())
    expected = order(stage)
    assert not worker.pretrade.prepare(expected)
    assert worker.session.paused_until == RUNNING + SESSION_CHANGE_SECONDS
    stage.books.next_close = clock.from_text(moment(100))
    go(SESSION_CHANGE_SECONDS)
    assert worker.pretrade.prepare(expected)


def test_a_claim_gives_way_once_its_time_is_over(stage: Stage) -> None:
    pretrade = stage.worker().pretrade
    decision_id = stage.decide()
    assert pretrade.claim_next(0.0) is None
    claim = pretrade.claim_next(0.001)
    assert claim is not None
    assert claim.decision_id == decision_id


def test_a_second_send_waits_for_the_market_as_the_first(stage: Stage) -> None:
    worker = stage.worker(market_hours="wait", max_order_notional=None)
    claim = stage.claim(stage.decide(), worker.session.worker_id)
    known(worker.pretrade, "clock", hours(is_open=False, turns=1000))
    with stage.tx() as tx:
        assert worker.pretrade.check_resubmission(tx, claim) == "the market is closed"
    known(worker.pretrade, "clock", hours(is_open=True, turns=1000))
    with stage.tx() as tx:
        assert worker.pretrade.check_resubmission(tx, claim) is None


def test_a_second_send_is_held_against_the_limits(stage: Stage) -> None:
    worker = stage.worker(max_orders_per_day=0, max_order_notional=None)
    claim = stage.claim(stage.decide(), worker.session.worker_id)
    with stage.tx() as tx:
        why = worker.pretrade.check_resubmission(tx, claim)
    assert why == "risk.orders_per_day: orders today: 1; the limit is 0 (max_orders_per_day)"


# What ends without being sent.


@pytest.mark.parametrize(
    ("seconds", "changes", "has_ended"),
    [
        (3600, {}, True),
        (3599.999, {}, False),
        (60, {"expires_at": 60}, True),
        (59.999, {"expires_at": 60}, False),
        # Where a strategy's decisions wait for approval, from the end of that time.
        (1800, {"strategy": "bot"}, True),
        (1799.999, {"strategy": "bot"}, False),
    ],
)
def test_what_was_not_sent_in_time_ends(
    stage: Stage, seconds: float, changes: dict[str, Any], has_ended: bool
) -> None:
    stage.config = stage.config.__class__(
        **{
            **{name: getattr(stage.config, name) for name in stage.config.__dataclass_fields__},
            "controls": {"bot": ControlConfig(approval=True, approval_hours=D("0.5"))},
        }
    )
    worker = stage.worker()
    given = {name: moment(value) if name == "expires_at" else value for name, value in changes.items()}
    decision_id = stage.decide(**given)
    go(seconds)
    with stage.tx() as tx:
        worker.pretrade.expire_due(tx)
    row = stage.row("trade_decisions", decision_id)
    assert (row["failure_code"] == "expired_unsent") is has_ended
    assert (decision_id in worker.pretrade.ended) is has_ended


def test_every_check_that_is_on_is_in_a_fixed_order() -> None:
    names = [check.__name__ for check in checks._CHECKS]
    assert len(names) == len(set(names)) == 15


@pytest.mark.parametrize(
    ("changes", "dollars"),
    [
        # A market order is worth the highest price that anybody knows: the quote, the decision's, the close.
        ({}, "1050"),
        ({"rationale": {"why": "x"}}, "1000"),
        ({"rationale": {"market_context": {"price": "90"}}}, "1000"),
        # A buy costs its limit at most; a sell brings that at least.
        ({"order_type": "limit", "limit_price": "80"}, "800"),
        ({"side": "sell", "order_type": "limit", "limit_price": "80"}, "1050"),
        ({"side": "sell", "order_type": "limit", "limit_price": "120"}, "1200"),
        ({"side": "sell"}, "1050"),
    ],
)
def test_where_the_broker_fills_at_known_prices_the_highest_counts(
    stage: Stage, changes: dict[str, Any], dollars: str
) -> None:
    stage.broker.refuses_without_price = True  # type: ignore[misc]
    pretrade = stage.worker().pretrade
    known(pretrade, "quote", quote("100"), "AAPL")
    values = {"rationale": {"market_context": {"price": "105"}}} | changes
    result = verdict(stage, pretrade, STRICT, stage.decide(**values))
    assert result["checks"][0]["observed"] == dollars
