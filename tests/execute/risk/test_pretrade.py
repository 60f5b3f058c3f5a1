"""The gate in front of the broker: limits, halts, hours, age and approval, with the real SDK on the wire."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests import wall_clock
from tests.conftest import scalar
from tests.execute.driving import go, settle, state
from tests.fakes.alpaca import KEYS, FakeAlpaca, Fault
from tradelog.config.risk import ControlConfig
from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.errors import UsageError
from tradelog.execute.amend import order_requests
from tradelog.execute.brokers.alpaca import AlpacaBroker
from tradelog.execute.risk import controls
from tradelog.execute.worker import Worker
from tradelog.store.writer import Writer

Decide = Callable[..., str]
Limited = Callable[..., Worker]


@pytest.fixture
def limited(writer: Writer, broker: AlpacaBroker, config: Config) -> Limited:
    """A worker under these limits; ``controls`` are of strategies by name."""

    def make(controls: dict[str, ControlConfig] | None = None, **limits: Any) -> Worker:
        # Not the default, which is lenient where there is no quote.
        risk = replace(config.risk, **{"max_order_notional": Decimal(999_999), **limits})
        default = {"bot": ControlConfig(max_age_seconds=risk.max_age_seconds)}
        ruled = replace(config, risk=risk, controls=controls or default)
        made = Worker(writer, broker, ruled)
        made.start()
        return made

    return make


def failure(writer: Writer, decision_id: str) -> tuple[str, str]:
    result: tuple[str, str] = writer.connection.execute(
        "SELECT failure_code, failure_message FROM trade_decisions WHERE decision_id = ?", (decision_id,)
    ).fetchone()
    return result


def checks(writer: Writer, decision_id: str) -> list[dict[str, Any]]:
    text = scalar(
        writer,
        f"SELECT checks FROM risk_checks WHERE decision_id = '{decision_id}' ORDER BY check_id DESC LIMIT 1",
    )
    result: list[dict[str, Any]] = json.loads(text)["checks"]
    return result


LIMIT = {"order_type": "limit", "limit_price": "100", "time_in_force": "day", "quantity": "10"}


@pytest.mark.parametrize(
    ("limits", "first", "second", "code"),
    [
        ({"max_order_notional": Decimal(1005)}, {"quantity": "10"}, {"quantity": "10.01"}, "order_notional"),
        ({"max_order_quantity": Decimal(10)}, {"quantity": "10"}, {"quantity": "10.1"}, "order_quantity"),
        ({"max_symbol_notional": Decimal(1999)}, LIMIT, LIMIT, "symbol_notional"),
        ({"max_day_notional": Decimal(1999)}, LIMIT, {**LIMIT, "symbol": "MSFT"}, "day_notional"),
        ({"max_gross_exposure": Decimal(1999)}, LIMIT, {**LIMIT, "symbol": "MSFT"}, "gross_exposure"),
        ({"max_orders_per_minute": 1}, LIMIT, {"symbol": "MSFT"}, "orders_per_minute"),
        ({"max_orders_per_day": 1}, LIMIT, {"symbol": "MSFT"}, "orders_per_day"),
        ({"duplicate_window_seconds": Decimal(60)}, LIMIT, LIMIT, "duplicate"),
        ({"restricted_symbols": ("MSFT",)}, LIMIT, {"symbol": "MSFT"}, "restricted_symbol"),
        ({"allowed_symbols": ("AAPL",)}, LIMIT, {"symbol": "MSFT"}, "allowed_symbol"),
        ({}, {"quantity": "10"}, {"side": "sell", "quantity": "10.5"}, "long_only"),
        (
            {"price_collar_percent": Decimal(5)},
            LIMIT,
            {**LIMIT, "limit_price": "95.4", "symbol": "MSFT"},
            "price_collar",
        ),
        ({"buying_power": True}, LIMIT, {"notional": "399000.01", "quantity": None}, "buying_power"),
        ({"tradable_assets": True}, {"symbol": "MSFT"}, {"quantity": "1"}, "asset"),
        ({"market_hours": "refuse"}, {"symbol": "BTC/USD"}, {"quantity": "1"}, "market_hours"),
    ],
)
def test_a_limit_lets_one_through_and_refuses_the_next(
    limits: dict[str, Any],
    first: dict[str, Any],
    second: dict[str, Any],
    code: str,
    limited: Limited,
    writer: Writer,
    fake: FakeAlpaca,
    decide: Decide,
) -> None:
    fake.assets["AAPL"] = {"tradable": code != "asset"}
    worker = limited(**limits)
    passing = decide(**first)
    settle(worker, writer, passing)
    fake.is_open = code != "market_hours"
    refused = decide(**second)
    worker.drain()
    assert state(writer, passing)[0] == "executed", failure(writer, passing)
    assert state(writer, refused) == ("failed", None, f"risk.{code}"), failure(writer, refused)
    assert len(fake.posts()) == 1
    verdict = [item for item in checks(writer, refused) if not item["passed"]]
    assert [item["check"] for item in verdict] == [code]
    assert verdict[0]["limit"]
    assert scalar(writer, "SELECT verdict FROM risk_checks ORDER BY check_id LIMIT 1") == "passed"
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE kind = 'trade_failed'") == 1


@pytest.mark.parametrize(
    ("limits", "code", "observed"),
    [
        ({"max_orders_per_day": 3}, "orders_per_day", "4"),
        ({"max_day_notional": Decimal(1010)}, "day_notional", "1015"),
    ],
)
def test_what_was_sent_counts_whatever_became_of_it(
    limits: dict[str, Any],
    code: str,
    observed: str,
    limited: Limited,
    writer: Writer,
    fake: FakeAlpaca,
    decide: Decide,
) -> None:
    """Refused, rejected, canceled and unknown orders were orders; a send that never left is none."""
    fake.fills = False
    worker = limited(**limits)
    refused = decide(symbol="NOPE", notional="5", quantity=None)
    settle(worker, writer, refused)
    canceled = decide(symbol="AAPL", **{**LIMIT, "time_in_force": "gtc"})
    worker.drain()
    with writer.transaction() as tx:
        order_requests.request_cancel(tx, canceled, None, "test")
    settle(worker, writer, canceled)
    fake.faults += [Fault(drop=True), Fault("GET", status=500, path="by_client")]
    unknown = decide(symbol="MSFT", notional="5", quantity=None)
    worker.drain()
    assert state(writer, unknown)[1] == "unknown"
    fourth = decide(symbol="IBM", notional="5", quantity=None)
    worker.drain()
    assert state(writer, fourth)[2] == f"risk.{code}"
    assert [item["observed"] for item in checks(writer, fourth) if not item["passed"]] == [observed]


def test_a_throttled_try_is_no_second_order(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    worker = limited(max_orders_per_day=1)
    fake.faults.append(Fault(status=429, headers={"Retry-After": "1"}))
    decision_id = decide()
    worker.drain()
    assert state(writer, decision_id)[:2] == ("pending", "not_accepted")
    assert settle(worker, writer, decision_id)[0] == "executed"


def test_two_workers_cannot_spend_one_limit_twice(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    one, other = limited(max_day_notional=Decimal(1500)), limited(max_day_notional=Decimal(1500))
    ids = [decide(symbol=name, notional="1000", quantity=None) for name in ("A", "B")]
    # The other takes its turn while the first is at the broker.
    submit = one.session.broker.submit

    def interrupted(order: Any) -> Any:
        other.drain()
        return submit(order)

    one.session.broker.submit = interrupted  # type: ignore[method-assign]
    one.drain()
    assert sorted(state(writer, each)[2] or "" for each in ids) == ["", "risk.day_notional"]
    assert len(fake.posts()) == 1


def test_a_resting_buy_is_exposure_as_a_position_is(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.fills = False
    worker = limited(max_gross_exposure=Decimal(1999))
    first, second = decide(**LIMIT), decide(symbol="MSFT", **LIMIT)
    third = decide(symbol="IBM", **{**LIMIT, "quantity": "9.99"})
    worker.drain()
    assert state(writer, first)[0] == "executing"
    assert state(writer, second)[2] == "risk.gross_exposure"
    assert state(writer, third)[0] == "executing"
    # Filled in part, it counts once: what is held, and what may still come.
    fake.fill(next(iter(fake.orders)), "4", "100")
    worker.poll()
    fourth = decide(symbol="GE", notional="1", quantity=None)
    worker.drain()
    observed = [item["observed"] for item in checks(writer, fourth) if item["check"] == "gross_exposure"]
    assert observed == ["2002"]


@pytest.mark.parametrize(
    ("limits", "order"),
    [
        ({"buying_power": True}, {"notional": "300000", "quantity": None}),
        ({"max_gross_exposure": Decimal(400_000)}, {"notional": "300000", "quantity": None}),
        ({}, {"side": "sell", "quantity": "10"}),
    ],
)
def test_what_another_worker_sends_after_the_question_counts(
    limits: dict[str, Any],
    order: dict[str, Any],
    limited: Limited,
    writer: Writer,
    fake: FakeAlpaca,
    decide: Decide,
) -> None:
    """The account and the positions were told before the other's order: the claim adds what it began."""
    fake.given = {"AAPL": Decimal(10)}
    one, other = limited(**limits), limited(**limits)
    ids = [decide(**order), decide(**order)]
    prepare = one.pretrade.prepare

    def slowly(wanted: Any) -> bool:
        is_ready = prepare(wanted)
        # As long as there is something to do for the other, it is done before our claim.
        if not fake.posts():
            other.drain()
            other.poll()
        return is_ready

    one.pretrade.prepare = slowly  # type: ignore[method-assign]
    one.drain()
    assert len(fake.posts()) == 1
    assert sorted(state(writer, each)[0] for each in ids) == ["executed", "failed"]


def test_a_sell_counts_what_other_sells_have_promised(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.given = {"AAPL": Decimal(10)}
    worker = limited()
    fake.fills = False
    first = decide(side="sell", **{**LIMIT, "quantity": "7"})
    worker.drain()
    second, third = decide(side="sell", quantity="4"), decide(side="sell", quantity="3")
    worker.drain()
    assert state(writer, first)[:2] == ("executing", "accepted")
    assert state(writer, second)[2] == "risk.long_only"
    assert state(writer, third)[0] == "executing"


@pytest.mark.parametrize("missing", ["qty_available", "side"])
def test_positions_without_qty_available(
    missing: str, limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.given = {"AAPL": Decimal(10)}
    told = fake.positions
    fake.positions = lambda: [{k: v for k, v in row.items() if k != missing} for row in told()]  # type: ignore[method-assign]
    worker = limited()
    fake.fills = False
    decide(side="sell", **{**LIMIT, "quantity": "7"})
    worker.drain()
    second = decide(side="sell", quantity="4")
    worker.drain()
    assert state(writer, second)[2] == "risk.long_only"


def test_crypto_positions_have_another_name(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.given = {"BTC/USD": Decimal(2)}
    worker = limited()
    sold = decide(symbol="BTC/USD", side="sell", quantity="2", time_in_force="gtc")
    worker.drain()
    assert state(writer, sold)[2] is None


@pytest.mark.parametrize("trouble", ["none", "empty", "unreadable", "404", "500", "dropped", "403"])
def test_without_a_quote_an_order_cannot_be_valued(
    trouble: str, limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    """A clear no is an answer; trouble is asked about again before it counts. Other symbols go on."""
    worker = limited()
    path = "quotes/latest?symbols=AAPL"
    if trouble == "none":
        fake.quotes["AAPL"] = None
    elif trouble == "empty":
        fake.quotes["AAPL"] = "0"
    elif trouble == "unreadable":
        fake.faults.append(Fault("GET", status=200, body=b"<html>", path=path, times=99))
    elif trouble == "dropped":
        fake.faults.append(Fault("GET", drop=True, path=path, times=99))
    else:
        fake.faults.append(Fault("GET", status=int(trouble), path=path, times=99))
    blind, seen = decide(), decide(symbol="MSFT")
    settle(worker, writer, blind)
    worker.poll()
    assert state(writer, blind) == ("failed", None, "risk.stale_data")
    assert "quote" in failure(writer, blind)[1]
    assert state(writer, seen)[0] == "executed"
    assert [body["symbol"] for body in fake.posts()] == ["MSFT"]


def test_the_default_limit_stops_no_paper_order_without_a_quote(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    """Its keys may have no market data. What is known of its price is still held against it."""
    fake.faults.append(Fault("GET", status=404, body=b"not here", path="quotes/latest", times=9))
    sent = decide()
    huge = decide(symbol="MSFT", quantity="5001", rationale={"market_context": {"price": "200"}})
    worker.drain()
    worker.poll()
    assert state(writer, sent)[0] == "executed"
    assert "no quote" in checks(writer, sent)[0]["note"]
    assert state(writer, huge)[2] == "risk.order_notional"


@pytest.mark.parametrize(
    ("quote", "passes"),
    [
        ({"ap": 100.5, "bp": 100.4}, True),
        ({"ap": 0, "bp": 0.01}, False),
        ({"ap": None, "bp": None}, False),
        ({"ap": "many", "bp": []}, False),
        ({"ap": 100.5, "bp": 100.4, "t": "2020-01-01T00:00:00Z"}, False),
        ({"ap": 1e30}, False),
    ],
)
def test_a_quote_without_an_ask_is_none_for_a_buyer(
    quote: dict[str, Any],
    passes: bool,
    limited: Limited,
    writer: Writer,
    fake: FakeAlpaca,
    decide: Decide,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = limited()
    monkeypatch.setattr(fake, "_quotes", lambda symbol: {symbol: quote})
    decision_id = decide(rationale={"market_context": {"price": "0.01"}})
    worker.drain()
    assert (state(writer, decision_id)[2] is None) is passes
    assert len(fake.posts()) == passes


@pytest.mark.parametrize("free", ["", "many", True, "1e30", []])
def test_a_position_that_cannot_be_read_sells_nothing(
    free: Any, limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.positions = lambda: [{"symbol": "AAPL", "qty": "10", "side": "long", "qty_available": free}]  # type: ignore[method-assign]
    worker = limited(max_gross_exposure=Decimal(10**9))
    decision_id = decide(side="sell", quantity="1")
    worker.drain()
    assert state(writer, decision_id)[2] == "risk.stale_data"


def test_data_that_is_limited_is_waited_for(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    worker = limited()
    fake.faults.append(
        Fault("GET", status=429, path="quotes/latest", headers={"Retry-After": "100"}, times=3)
    )
    decision_id = decide()
    for _ in range(3):
        worker.drain()
        assert state(writer, decision_id)[0] == "pending"
        assert fake.count("GET", "quotes") <= 3
        go(101)
    assert settle(worker, writer, decision_id)[0] == "executed"


def test_a_page_of_a_proxy_is_no_answer(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.given = {"AAPL": Decimal(10)}
    worker = limited()
    for status in (200, 404, 408, 503):
        fake.faults.append(Fault("GET", status=status, body=b"<html>", path="/v2/positions"))
    sold = decide(side="sell", quantity="1")
    for _ in range(4):
        worker.drain()
        assert state(writer, sold)[0] == "pending"
        go(61)
    assert settle(worker, writer, sold, seconds=61)[0] == "executed"


def test_slow_quotes_keep_no_other_work_waiting(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One drain ends soon; what grew too old meanwhile is not sent after all."""
    worker = limited()
    broker = worker.session.broker
    quote = broker.quote

    def slowly(symbol: str) -> Any:
        go(15)
        return quote(symbol)

    monkeypatch.setattr(broker, "quote", slowly)
    ids = [decide(symbol=f"S{number}") for number in range(20)]
    before = clock.running_seconds()
    worker.drain()
    assert clock.running_seconds() - before < 40
    for _ in range(20):
        worker.drain()
    go(3600)
    late = decide(symbol="LATE", strategy="bot")
    monkeypatch.setattr(broker, "quote", lambda symbol: (go(3700), quote(symbol))[1])
    worker.drain()
    worker.drain()
    assert state(writer, late) == ("cancelled", None, "expired_unsent")
    assert {state(writer, each)[0] for each in ids} <= {"executing", "executed"}


def test_a_short_trouble_with_quotes_consumes_nothing(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    worker = limited()
    fake.faults.append(Fault("GET", status=503, path="quotes/latest", times=2))
    decision_id = decide()
    worker.drain()
    assert state(writer, decision_id)[0] == "pending"
    assert settle(worker, writer, decision_id)[0] == "executed"


@pytest.mark.parametrize(
    ("limits", "path"),
    [
        ({"buying_power": True}, "/v2/account"),
        ({"max_gross_exposure": Decimal(10_000)}, "/v2/positions"),
        ({"market_hours": "refuse"}, "/v2/clock"),
    ],
)
def test_trouble_at_the_broker_consumes_nothing(
    limits: dict[str, Any], path: str, limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    """Invariant 11: what concerns every order pauses them all, however long it lasts."""
    worker = limited(**limits)
    fake.faults.append(Fault("GET", status=503, path=path, times=8))
    decision_id = decide()
    for _ in range(4):
        worker.drain()
        assert state(writer, decision_id) == ("pending", None, None)
        go(100)
    assert settle(worker, writer, decision_id, seconds=100)[0] == "executed"


def test_a_stale_snapshot_is_fetched_again_and_the_check_names_it(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    worker = limited()
    settle(worker, writer, decide())
    asked = fake.count("GET", "quotes/latest")
    settle(worker, writer, decide())
    assert fake.count("GET", "quotes/latest") == asked
    go(61)
    fake.quotes["AAPL"] = "2000000"
    refused = decide()
    worker.drain()
    assert fake.count("GET", "quotes/latest") == asked + 1
    assert state(writer, refused)[2] == "risk.order_notional"
    used = json.loads(scalar(writer, "SELECT checks FROM risk_checks ORDER BY check_id DESC LIMIT 1"))
    kept = writer.connection.execute(
        "SELECT kind, subject, value FROM broker_snapshots WHERE snapshot_id = ?",
        (used["snapshots"]["quote"]["snapshot"],),
    ).fetchone()
    assert kept[:2] == ("quote", "AAPL")
    assert "2000000" in kept[2]


def test_while_it_is_closed_decisions_wait_for_the_open_and_age_from_there(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.is_open = False
    fake.next_open = wall_clock.now() + timedelta(hours=15)
    day = wall_clock.now().date()
    fake.sessions = [
        {"date": str(day + timedelta(days=n)), "open": "09:30", "close": "16:00"} for n in range(-9, 12)
    ]
    worker = limited(market_hours="wait")
    waits, sleeps = decide(strategy="bot"), decide(strategy="bot", symbol="MSFT")
    worker.drain()
    assert fake.posts() == []
    assert state(writer, waits) == ("pending", None, None)
    assert scalar(writer, "SELECT verdict FROM risk_checks LIMIT 1") == "held"
    held = scalar(writer, "SELECT held_until FROM trade_decisions LIMIT 1")
    assert held == clock.read_moment(fake.next_open.isoformat())
    before = scalar(writer, "SELECT count(*) FROM journal")
    for _ in range(3):
        go(3600)
        worker.drain()
    assert scalar(writer, "SELECT count(*) FROM journal") == before
    go(12 * 3600 + 60)
    fake.is_open, fake.next_close = True, wall_clock.now() + timedelta(hours=30)
    writer.connection.execute(
        "UPDATE trade_decisions SET next_attempt_at = '2999-01-01' WHERE decision_id = ?", (sleeps,)
    )
    assert settle(worker, writer, waits)[0] == "executed"
    go(3600)
    worker.drain()
    assert state(writer, sleeps) == ("cancelled", None, "expired_unsent")


@pytest.mark.parametrize("policy", ["queue", "wait"])
def test_a_worker_that_was_down_sends_nothing_stale(
    policy: str, limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide, monkeypatch: Any
) -> None:
    """Friday's evening decision: under ``wait`` Monday's open is what it ages from."""
    fake.sessions = [
        {"date": day, "open": "09:30", "close": "16:00"}
        for day in ("2027-03-11", "2027-03-12", "2027-03-15", "2027-03-16")
    ]
    fake.next_open = datetime(2027, 3, 16, 13, 30, tzinfo=UTC)
    fake.next_close = datetime(2027, 3, 15, 20, tzinfo=UTC)
    at = datetime(2027, 3, 12, 23, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: at)
    decision_id = decide(notional="5", quantity=None)
    # Daylight saving began on Sunday: the open is at 13:30 UTC.
    at = datetime(2027, 3, 15, 14, 20, tzinfo=UTC)
    worker = limited(market_hours=policy)
    worker.drain()
    expected = "expired_unsent" if policy == "queue" else None
    assert state(writer, decision_id)[2] == expected
    late = decide(symbol="MSFT", notional="5", quantity=None)
    at = datetime(2027, 3, 15, 15, 21, tzinfo=UTC)
    worker.drain()
    assert state(writer, late) == ("cancelled", None, "expired_unsent")
    assert len(fake.posts()) == (0 if policy == "queue" else 1)


def test_each_strategy_has_its_own_age(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    rules = {
        "quick": ControlConfig(max_age_seconds=Decimal(30)),
        "patient": ControlConfig(max_age_seconds=None),
    }
    quick, usual, patient, given = (
        decide(strategy=name, symbol=symbol, expires_at=until)
        for name, symbol, until in (
            ("quick", "A", None),
            ("bot", "B", None),
            ("patient", "C", None),
            ("bot", "D", clock.later(clock.now_text(), 10)),
        )
    )
    go(31)
    worker = limited(rules)
    worker.drain()
    assert state(writer, quick)[2] == state(writer, given)[2] == "expired_unsent"
    assert "30 s" in failure(writer, quick)[1]
    assert state(writer, usual)[2] is state(writer, patient)[2] is None
    again = decide(strategy="patient", symbol="E")
    go(90_000)
    worker.drain()
    assert state(writer, again)[0] != "cancelled"


def test_a_decision_waits_for_its_approval(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide, config: Config
) -> None:
    rules = {"bot": ControlConfig(approval=True, approval_hours=Decimal(2))}
    worker = limited(rules)
    ruled = replace(config, controls=rules)
    first, other = decide(strategy="bot"), decide(strategy="bot", symbol="IBM")
    declined = decide(strategy="bot", symbol="MSFT")
    # A way out does not wait behind what waits for a person.
    free = decide()
    for _ in range(3):
        worker.drain()
    assert [state(writer, each)[0] for each in (first, other, declined)] == ["pending"] * 3
    assert state(writer, free)[0] != "pending"
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE kind = 'approval_waiting'") == 3
    go(3700)
    with writer.transaction() as tx:
        controls.approve(tx, ruled, first, "ann", None)
    with writer.transaction() as tx:
        controls.decline(tx, ruled, declined, "ann", "not now")
    assert settle(worker, writer, first)[0] == "executed"
    assert state(writer, declined) == ("cancelled", None, "declined")
    assert failure(writer, declined)[1] == "declined by ann: not now"
    go(3600)
    worker.drain()
    assert state(writer, other) == ("cancelled", None, "expired_unsent")
    assert "not approved" in failure(writer, other)[1]
    kinds = writer.connection.execute(
        "SELECT kind, actor FROM control_events WHERE kind IN ('approve', 'decline') ORDER BY event_id"
    ).fetchall()
    assert kinds == [("approve", "ann"), ("decline", "ann")]
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE acknowledged_at IS NULL") == 0
    for wrong in (first, declined, other, free):
        with pytest.raises(UsageError), writer.transaction() as tx:
            controls.approve(tx, ruled, wrong, "ann", None)


def test_an_approved_decision_is_sent_within_its_age_or_never(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide, config: Config
) -> None:
    rules = {"bot": ControlConfig(approval=True)}
    decision_id = decide(strategy="bot")
    go(7000)
    with writer.transaction() as tx:
        controls.approve(tx, replace(config, controls=rules), decision_id, "ann", None)
    go(3601)
    limited(rules).drain()
    assert state(writer, decision_id) == ("cancelled", None, "expired_unsent")


@pytest.mark.parametrize(
    ("scope", "subject", "stopped"),
    [("all", "", "AB"), ("strategy", "bot", "A"), ("symbol", "MSFT", "B")],
)
def test_a_halt_stops_its_scope_until_it_is_resumed(
    scope: str, subject: str, stopped: str, worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    with writer.transaction() as tx:
        assert controls.halt(tx, scope, subject, "ann", "odd prices")
    with writer.transaction() as tx:
        assert not controls.halt(tx, scope, subject, "bob", "me too")
    ids = {"A": decide(strategy="bot"), "B": decide(symbol="MSFT")}
    worker.drain()
    worker.poll()
    assert "".join(name for name, each in ids.items() if state(writer, each)[0] == "pending") == stopped
    with writer.transaction() as tx:
        assert controls.resume(tx, scope, subject, "ann", "fine again", worker.session.account) == 1
    for each in ids.values():
        assert settle(worker, writer, each)[0] == "executed"
    events = writer.connection.execute(
        "SELECT kind, actor, reason, old_value, new_value FROM control_events"
        " WHERE kind IN ('halt', 'resume') ORDER BY event_id"
    ).fetchall()
    assert events == [
        ("halt", "ann", "odd prices", "running", "halted"),
        ("resume", "ann", "fine again", "halted", "running"),
    ]


def test_a_halt_in_mid_drain_lets_nothing_leave_after_its_commit(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide, config: Config
) -> None:
    """Also what is claimed already: it is looked for once more right before the request leaves."""
    from tradelog.store.opening import open_writer

    ids = [decide(symbol=f"S{number}", notional="5", quantity=None) for number in range(10)]
    submit = worker.session.broker.submit
    person = open_writer(config.store_path, actor="ann")

    def halted_meanwhile(order: Any) -> Any:
        answer = submit(order)
        if len(fake.posts()) == 4:
            with person.transaction() as tx:
                controls.halt(tx, "all", "", "ann", "stop")
        return answer

    worker.session.broker.submit = halted_meanwhile  # type: ignore[method-assign]
    worker.drain()
    worker.drain()
    person.close()
    assert len(fake.posts()) == 4
    states = [state(writer, each)[0] for each in ids]
    assert states.count("pending") == 6
    assert scalar(writer, "SELECT count(*) FROM trade_executions WHERE status = 'sending'") == 0


def test_a_claim_that_a_halt_overtakes_goes_back(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    decision_id = decide()
    claim = worker.pretrade.claim_next()
    assert claim is not None
    with writer.transaction() as tx:
        controls.halt(tx, "all", "", "ann", "stop")
    worker.submitter.submit(claim)
    assert fake.posts() == []
    assert state(writer, decision_id) == ("pending", "not_sent", None)
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE kind <> 'halted'") == 0
    with writer.transaction() as tx:
        controls.resume(tx, "all", "", "ann", "go", worker.session.account)
    assert settle(worker, writer, decision_id)[0] == "executed"


@pytest.mark.parametrize(
    ("limits", "wait", "why"),
    [
        ({}, 3700, "not sent within 3600 s"),
        ({"restricted_symbols": ("AAPL",)}, 10, "risk.restricted_symbol"),
        ({"max_order_notional": Decimal(10)}, 10, "risk.order_notional"),
        ({"market_hours": "refuse"}, 10, "risk.market_hours"),
    ],
)
def test_a_second_send_is_held_against_the_limits_as_the_first(
    limits: dict[str, Any],
    wait: int,
    why: str,
    limited: Limited,
    writer: Writer,
    fake: FakeAlpaca,
    decide: Decide,
) -> None:
    """Lost on the way, then the machine was off, or somebody changed a limit: a person is to say."""
    fake.faults.append(Fault(drop=True))
    lost = decide(strategy="bot")
    limited().drain()
    assert state(writer, lost)[1] == "unknown"
    go(wait)
    fake.is_open = False
    worker = limited(**limits)
    for _ in range(8):
        worker.drain()
        go(1)
    assert fake.count("POST") == 1
    assert state(writer, lost)[:2] == ("executing", "unknown")
    assert why in scalar(writer, "SELECT needs_attention FROM trade_decisions")


def test_a_second_send_counts_on_its_own_day(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = datetime(2027, 3, 17, 3, 59, 30, tzinfo=UTC)  # half a minute to midnight in New York
    monkeypatch.setattr(clock, "now", lambda: at + timedelta(seconds=60 * is_next_day))
    is_next_day = False
    fake.faults.append(Fault(drop=True))
    lost = decide(notional="600", quantity=None)
    worker = limited(max_day_notional=Decimal(1000), max_orders_per_day=9)
    worker.drain()
    is_next_day = True
    monkeypatch.setattr(worker.submitter, "_is_absent", lambda _: True)
    go(10)
    monkeypatch.setattr(clock, "now_text", lambda: clock.to_text(clock.now()))
    writer.connection.execute("UPDATE trade_decisions SET next_attempt_at = NULL")
    worker.drain()
    assert fake.count("POST") == 2
    worker.poll()
    assert state(writer, lost)[0] == "executed"
    second = decide(symbol="MSFT", notional="600", quantity=None)
    worker.drain()
    assert state(writer, second)[2] == "risk.day_notional"


def test_at_the_bell_nothing_is_submitted_and_nothing_fails(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    """The broker's clock is a little behind ours: it still says closed at the open that it named."""
    day = wall_clock.now().date()
    fake.sessions = [
        {"date": str(day + timedelta(days=n)), "open": "00:00", "close": "23:59"} for n in range(-9, 12)
    ]
    fake.is_open, fake.next_open = False, wall_clock.now() + timedelta(seconds=100)
    worker = limited(market_hours="wait")
    decision_id = decide()
    worker.drain()
    go(100.3)
    for _ in range(3):
        worker.drain()
        assert state(writer, decision_id)[0] == "pending"
        go(1.1)
    fake.is_open, fake.next_close = True, wall_clock.now() + timedelta(hours=5)
    worker.drain()
    assert len(fake.posts()) == 1


def test_what_makes_the_exposure_no_larger_passes(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    """A way out of a position that has grown beyond the limit stays open, of a short one as well."""
    fake.given = {"AAPL": Decimal(90), "MSFT": Decimal(-90)}
    worker = limited(max_gross_exposure=Decimal(10_000), long_only=False)
    out, cover = decide(side="sell", quantity="90"), decide(symbol="MSFT", quantity="90")
    worker.drain()
    worker.poll()
    assert [state(writer, each)[0] for each in (out, cover)] == ["executed"] * 2
    # Both are out: there is room again, up to the limit and no further.
    fits, over = decide(symbol="IBM", quantity="99"), decide(symbol="GE", quantity="1")
    assert settle(worker, writer, fits)[0] == "executed"
    worker.drain()
    assert state(writer, over)[2] == "risk.gross_exposure"


def test_open_short_sells_are_exposure(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.is_open = False
    worker = limited(max_gross_exposure=Decimal(10_000), long_only=False)
    ids = [decide(symbol=f"S{n}", side="sell", quantity="60") for n in range(3)]
    for _ in range(3):
        worker.drain()
    assert len(fake.posts()) == 1
    assert [state(writer, each)[2] for each in ids[1:]] == ["risk.gross_exposure"] * 2


def test_an_open_order_without_a_value_makes_exposure_unknown(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.is_open = False
    fake.place({"symbol": "GE", "side": "buy", "qty": "1000", "type": "market", "time_in_force": "day"})
    worker = limited(max_gross_exposure=Decimal(100_000))
    decision_id = decide()
    worker.drain()
    assert state(writer, decision_id)[2] == "risk.stale_data"
    assert "no known price" in failure(writer, decision_id)[1]


def test_a_step_back_of_the_clock_counts_nothing_twice(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.given = {"AAPL": Decimal(10)}
    worker = limited(buying_power=True)
    go(-0.5)
    ids = [decide(side="sell", **{**LIMIT, "quantity": "5"}) for _ in range(2)]
    for each in ids:
        settle(worker, writer, each)
    assert [state(writer, each)[0] for each in ids] == ["executed"] * 2


def test_the_throttle_does_not_count_the_order_against_itself(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    worker = limited(throttle_orders=1)
    fake.faults.append(Fault(status=429, headers={"Retry-After": "1"}))
    decision_id = decide(strategy="bot")
    worker.drain()
    assert settle(worker, writer, decision_id)[0] == "executed"
    assert scalar(writer, "SELECT count(*) FROM halts") == 0


def test_an_older_lift_does_not_come_back(writer: Writer, config: Config) -> None:
    from tradelog.store import control_state

    now = clock.now_text()
    for value, hours in (("5000000", 4), ("2000", 2)):
        with writer.transaction() as tx:
            controls.lift_limit(
                tx,
                config,
                "max_order_notional",
                value,
                until=clock.later(now, hours * 3600),
                actor="ann",
                reason="x",
            )
    account = config.account
    assert control_state.lifts(writer.rows, account, now)["max_order_notional"].value == "2000"
    assert control_state.lifts(writer.rows, account, clock.later(now, 3 * 3600)) == {}


def test_a_symbol_of_crypto_has_one_name(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    with pytest.raises(UsageError, match="BTC/USD"):
        decide(symbol="BTCUSD")
    worker = limited(restricted_symbols=("ETHUSD",))
    with writer.transaction() as tx:
        controls.halt(tx, "symbol", "BTCUSD", "ann", "x")
    halted = decide(symbol="BTC/USD", quantity="1")
    refused = decide(symbol="ETH/USD", quantity="1")
    worker.drain()
    assert state(writer, halted)[0] == "pending"
    assert state(writer, refused)[2] == "risk.restricted_symbol"


def test_a_halt_sends_no_second_time_and_replaces_nothing(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.fills = False
    resting = decide(symbol="MSFT", **{**LIMIT, "time_in_force": "gtc"})
    worker.drain()
    fake.faults.append(Fault(drop=True))
    lost = decide(notional="5", quantity=None)
    worker.drain()
    assert state(writer, lost)[1] == "unknown"
    with writer.transaction() as tx:
        order_requests.request_replace(tx, resting, {"limit_price": Decimal(99)}, None, "test")
    with writer.transaction() as tx:
        controls.halt(tx, "all", "", "ann", "stop")
    sent = fake.count("POST")
    for _ in range(12):
        worker.drain()
        go(5)
    assert fake.count("POST") == sent
    assert fake.count("PATCH") == 0
    # Nobody knows it, so it waits as before, and holds nothing back.
    assert state(writer, lost)[:2] == ("pending", "not_accepted")
    assert scalar(writer, "SELECT status || message FROM order_requests").startswith("refusedhalted")
    # A cancel passes.
    with writer.transaction() as tx:
        order_requests.request_cancel(tx, resting, None, "test")
    settle(worker, writer, resting)
    assert fake.count("DELETE") == 1
    with writer.transaction() as tx:
        controls.resume(tx, "all", "", "ann", "go", worker.session.account)
    fake.fills = True
    assert settle(worker, writer, lost)[0] == "executed"


def test_a_strategy_that_sends_too_much_halts_itself(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    worker = limited(throttle_orders=2, throttle_minutes=Decimal(10))
    ids = [decide(strategy="bot", symbol=f"S{n}", notional="5", quantity=None) for n in range(4)]
    by_hand = [decide(symbol=f"M{n}", notional="5", quantity=None) for n in range(3)]
    for _ in range(3):
        worker.drain()
        worker.poll()
    assert [state(writer, each)[0] for each in ids] == ["executed", "executed", "pending", "pending"]
    assert {state(writer, each)[0] for each in by_hand} == {"executed"}
    halted = writer.connection.execute("SELECT scope, subject, actor, account FROM halts").fetchall()
    assert halted == [("strategy", "bot", "tradelog", "default")]
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE kind = 'strategy_halted'") == 1
    with writer.transaction() as tx:
        controls.resume(tx, "strategy", "bot", "ann", "meant", worker.session.account)
    for _ in range(3):
        worker.drain()
        worker.poll()
    # The count begins anew with the resume.
    assert [state(writer, each)[0] for each in ids] == ["executed"] * 4


def test_a_replacement_is_held_against_the_limits(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.fills = False
    worker = limited(max_order_notional=Decimal(1000), max_day_notional=Decimal(1900))
    decision_id = decide(**{**LIMIT, "time_in_force": "gtc"})
    worker.drain()

    def replaced(**terms: Decimal) -> str:
        with writer.transaction() as tx:
            order_requests.request_replace(tx, decision_id, terms, None, "test")
        for _ in range(3):
            worker.drain()
            worker.poll()
            go(1)
        return str(
            scalar(
                writer,
                "SELECT status || ' ' || coalesce(message, '') FROM order_requests ORDER BY id DESC LIMIT 1",
            )
        )

    assert replaced(limit_price=Decimal("100.01")).startswith("refused risk.order_notional")
    assert fake.count("PATCH") == 0
    assert state(writer, decision_id)[:2] == ("executing", "accepted")
    assert replaced(limit_price=Decimal(90)).startswith("done")
    # Both were orders: 1000 and 900 of today's 1900.
    assert replaced(limit_price=Decimal(91)).startswith("refused risk.day_notional")
    assert fake.count("PATCH") == 1


def test_a_replacement_may_use_what_the_old_order_holds(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.given = {"AAPL": Decimal(10)}
    fake.fills = False
    worker = limited(max_gross_exposure=Decimal(3000))
    decision_id = decide(side="sell", **{**LIMIT, "time_in_force": "gtc"})
    worker.drain()
    with writer.transaction() as tx:
        order_requests.request_replace(tx, decision_id, {"limit_price": Decimal(99)}, None, "test")
    for _ in range(3):
        worker.drain()
        worker.poll()
        go(1)
    assert scalar(writer, "SELECT status FROM order_requests") == "done"


def test_a_lifted_limit_counts_until_its_time(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide, config: Config
) -> None:
    worker = limited(max_order_notional=Decimal(1000))
    ruled = replace(config, risk=replace(config.risk, max_order_notional=Decimal(1000)))
    until = clock.later(clock.now_text(), 100)
    with writer.transaction() as tx:
        text = controls.lift_limit(
            tx, ruled, "max_order_notional", "2000", until=until, actor="ann", reason="x"
        )
    assert text == ("1000", "2000")
    big = decide(notional="1500", quantity=None)
    assert settle(worker, writer, big)[0] == "executed"
    go(101)
    again = decide(notional="1500", quantity=None)
    worker.drain()
    assert state(writer, again)[2] == "risk.order_notional"
    row = writer.connection.execute(
        "SELECT subject, actor, reason, old_value, new_value, until FROM control_events"
        " WHERE kind = 'limit.lifted'"
    ).fetchone()
    assert row == ("max_order_notional", "ann", "x", "1000", '"2000"', until)


def test_a_changed_configuration_is_an_event(limited: Limited, writer: Writer) -> None:
    limited()
    limited()
    first = scalar(writer, "SELECT count(*) FROM control_events")
    assert scalar(writer, "SELECT count(DISTINCT subject) FROM control_events") == first
    limited(max_orders_per_day=7)
    row = writer.connection.execute(
        "SELECT kind, subject, old_value, new_value, reason FROM control_events ORDER BY event_id DESC"
    ).fetchone()
    assert row == ("limit.configured", "max_orders_per_day", "off", "7", "tradelog.toml")
    assert scalar(writer, "SELECT count(*) FROM control_events") == first + 1
    # A gate before a strategy's orders is a control, too: put up, and taken away with its table.
    rules = {"bot": ControlConfig(approval=True)}
    for table in (rules, rules, {"other": ControlConfig()}):
        limited(table, max_orders_per_day=7)
    changed = writer.connection.execute(
        "SELECT old_value, new_value FROM control_events WHERE subject = 'bot.approval' ORDER BY event_id"
    ).fetchall()
    assert changed == [(None, "off"), ("off", "on"), ("on", "off")]


def test_limits_are_of_one_account(writer: Writer, fake: FakeAlpaca, config: Config, decide: Decide) -> None:
    """A halt of a strategy by itself, and what was sent, concern the account of it alone."""
    other = replace(config, broker=replace(config.broker, account="second"))
    for number, ruled in enumerate((config, other)):
        limit = replace(ruled, risk=replace(ruled.risk, max_orders_per_day=1, throttle_orders=1))
        broker = AlpacaBroker(fake.url, *KEYS, connect=0.5, read=0.5)
        made = Worker(writer, broker, limit)
        made.start()
        from tradelog.decide import record

        values = {"symbol": f"S{number}", "side": "buy", "notional": "5", "strategy": "bot", "rationale": "x"}
        decision_id = record.record(writer, ruled.account, record.parse(values)).decision_id
        assert settle(made, writer, decision_id)[0] == "executed"


def test_what_waits_for_the_open_holds_back_nothing_that_does_not(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    """An order for the opening auction, and one for outside the session; and all, once nobody waits."""
    fake.given = {"AAPL": Decimal(10)}
    fake.is_open = False
    day = wall_clock.now().date()
    fake.sessions = [
        {"date": str(day + timedelta(days=n)), "open": "09:30", "close": "16:00"} for n in range(-9, 12)
    ]
    worker = limited(market_hours="wait")
    held = decide()
    auction = decide(time_in_force="opg", quantity="1")
    outside = decide(extended_hours=True, **{**LIMIT, "quantity": "1"})
    for _ in range(3):
        worker.drain()
    states = [state(writer, each)[0] for each in (held, auction, outside)]
    assert states == ["pending", "executing", "executing"]
    assert len(fake.posts()) == 2
    with writer.transaction() as tx:
        controls.lift_limit(
            tx,
            worker.session.config,
            "market_hours",
            "queue",
            until=clock.later(tx.now, 100),
            actor="ann",
            reason="now",
        )
    worker.drain()
    assert state(writer, held)[0] == "executing"


def test_the_queries_of_a_claim_use_an_index(writer: Writer) -> None:
    """At a million executions a claim must cost what it costs at ten."""
    from tradelog.execute.outbox import claims
    from tradelog.execute.risk import usage
    from tradelog.store import order_values

    account = {"broker": "a", "environment": "b", "account": "c"}
    begun = usage._SENT.format(picked=usage._BEGUN, columns=order_values.COLUMNS)
    untold = usage._SENT.format(picked=usage._NOT_IN_SNAPSHOT, columns=order_values.COLUMNS)
    lists = dict.fromkeys(("strategies", "symbols", "approved_only"), "[]")
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "due": (claims._DUE, {**account, **lists, "now": "x", "waits": 1}),
        "begun": (begun, {**account, "own": "x", "since": "x"}),
        "untold": (untold, {**account, "own": "x", "execution": 1, "event": 1}),
        "expiring": (
            "SELECT * FROM trade_decisions WHERE status = 'pending' AND broker = :broker"
            " AND environment = :environment AND account = :account"
            " AND (expires_at <= :now OR created_at <= :now)",
            {**account, "now": "x"},
        ),
    }
    allowed = ("ix_decisions_due", "ix_decisions_waiting", "ix_executions_unsettled", "ix_executions_open")
    allowed += (
        "ix_executions_started",
        "ix_executions_resent",
        "ix_events_order",
        "autoindex",
        "PRIMARY KEY",
    )
    for name, (sql, values) in asked.items():
        for row in writer.connection.execute(f"EXPLAIN QUERY PLAN {sql}", values):
            step = row[3]
            if "json_each" in step or not step.startswith(("SCAN", "SEARCH")):
                continue
            assert step.startswith("SEARCH"), (name, step)
            assert any(index in step for index in allowed), (name, step)
