"""What the checks must not confuse: accounts, scopes, old orders, other people's orders, and moments."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests import wall_clock
from tests.conftest import scalar
from tests.execute.driving import go, settle, state
from tests.execute.risk.test_checks import dollars, order
from tests.execute.risk.test_pretrade import LIMIT, Decide, Limited, limited
from tests.fakes.alpaca import FakeAlpaca, Fault
from tradelog.config.load import load_config
from tradelog.config.risk import ControlConfig, RiskConfig
from tradelog.config.schema import Config
from tradelog.decide import record
from tradelog.domain import clock
from tradelog.domain.account import AccountKey
from tradelog.errors import UsageError
from tradelog.execute.amend import order_requests
from tradelog.execute.brokers.alpaca import AlpacaBroker
from tradelog.execute.risk import checks, controls
from tradelog.execute.worker import Worker
from tradelog.store import control_state
from tradelog.store.writer import Writer

__all__ = ["limited"]

RESTING = {**LIMIT, "time_in_force": "gtc"}


@pytest.mark.parametrize(
    ("limits", "placed", "needed"),
    [
        ({"max_symbol_notional": Decimal(1)}, order(), {"quote"}),
        ({"max_day_notional": Decimal(1)}, order(), {"quote"}),
        ({"max_gross_exposure": Decimal(1)}, order(), {"quote", "position"}),
        ({"buying_power": True}, order(), {"quote", "account"}),
        ({"buying_power": True}, order(side="sell"), set()),
        ({"long_only": True}, dollars("5", side="sell"), {"quote", "position"}),
        ({"long_only": True}, order(), set()),
        ({"max_order_quantity": Decimal(1)}, dollars("5"), {"quote"}),
        ({"max_day_notional": Decimal(1)}, dollars("5"), set()),
        ({"max_day_notional": Decimal(1)}, order(order_type="limit", limit_price=Decimal(1)), set()),
        (
            {"max_day_notional": Decimal(1)},
            order(order_type="limit", limit_price=Decimal(1), side="sell"),
            {"quote"},
        ),
    ],
)
def test_what_each_check_asks_for(limits: dict[str, Any], placed: Any, needed: set[str]) -> None:
    off = RiskConfig(max_order_notional=None, long_only=False)
    assert checks.required_snapshots(replace(off, **limits), placed) == needed


def test_a_limit_sell_is_worth_what_the_market_pays(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    worker = limited(max_order_notional=Decimal(900), long_only=False)
    cheap = decide(side="sell", **{**LIMIT, "limit_price": "1"})
    worker.drain()
    assert state(writer, cheap)[2] == "risk.order_notional"


def test_the_age_of_the_file_holds_for_every_strategy(home: Any) -> None:
    with (home / "tradelog.toml").open("a") as stream:
        stream.write("[risk]\nmax_age_seconds = 60\n[strategies.bot]\napproval_hours = 2\n")
    result = load_config(home / "tradelog.toml")
    assert result.control("bot").max_age_seconds == result.control("unnamed").max_age_seconds == 60


def test_restricted_symbols_are_read_in_any_case(home: Any) -> None:
    with (home / "tradelog.toml").open("a") as stream:
        stream.write('[risk]\nrestricted_symbols = ["ibm", "brk.b"]\n')
    result = load_config(home / "tradelog.toml").risk
    assert result.restricted_symbols == ("IBM", "BRK.B")
    results = checks.run_checks(result, checks.Facts(order=order(symbol="BRK-B"), price=Decimal(1)))
    assert results[0].code == "restricted_symbol"


@pytest.mark.parametrize("moment", ["before the claim", "during the question"])
def test_a_fill_of_an_older_order_counts_once_and_never_not_at_all(
    moment: str, limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    """The positions were told before it was filled, and the order is no longer open."""
    fake.fills = False
    limits = {"max_gross_exposure": Decimal(3000)}
    one, other = limited(**limits), limited(**limits)
    decide(**{**RESTING, "quantity": "20"})
    one.drain()
    second = decide(symbol="MSFT", **{**LIMIT, "quantity": "11"})

    def filled() -> None:
        for order_id, placed in list(fake.orders.items()):
            if placed["status"] == "new":
                fake.fill(order_id, None, "100")
        other.poll()

    if moment == "before the claim":
        prepare = one.pretrade.prepare
        one.pretrade.prepare = lambda wanted: (prepare(wanted), filled())[0]  # type: ignore[method-assign]
    else:
        positions = one.session.broker.positions
        one.session.broker.positions = lambda: (positions(), filled())[0]  # type: ignore[method-assign]
    one.drain()
    assert state(writer, second)[2] == "risk.gross_exposure"


@pytest.mark.parametrize(("scope", "subject"), [("strategy", "manual"), ("symbol", "AAPL")])
def test_a_halt_of_a_scope_stops_replacements_too(
    scope: str, subject: str, worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.fills = False
    decision_id = decide(**RESTING)
    worker.drain()
    with writer.transaction() as tx:
        order_requests.request_replace(tx, decision_id, {"limit_price": Decimal(99)}, None, "test")
        controls.halt(tx, scope, subject, "ann", "stop")
    for _ in range(3):
        worker.drain()
        go(1)
    assert fake.count("PATCH") == 0
    assert scalar(writer, "SELECT message FROM order_requests").startswith("halted")


def test_control_of_one_environment_is_none_of_another_s(writer: Writer, config: Config) -> None:
    paper, live = AccountKey("alpaca", "paper", "default"), AccountKey("alpaca", "live", "default")
    with writer.transaction() as tx:
        controls.halt(tx, "strategy", "bot", "tradelog", "x", paper)
    assert not control_state.halts(writer.rows, live).covers("bot", "A")
    with writer.transaction() as tx:
        assert controls.resume(tx, "strategy", "bot", "ann", "x", live) == 0
    assert control_state.halts(writer.rows, paper).covers("bot", "A")
    with writer.transaction() as tx:
        until = clock.later(tx.now, 60)
        controls.lift_limit(tx, config, "long_only", False, until=until, actor="ann", reason="x")
        controls.halt(tx, "all", "", "ann", "everything")
    assert set(control_state.lifts(writer.rows, paper, clock.now_text())) == {"long_only"}
    assert control_state.lifts(writer.rows, live, clock.now_text()) == {}
    assert control_state.halts(writer.rows, live).everything


def test_a_halt_that_overtakes_a_second_send_leaves_it_unknown(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    """The first may have landed: nothing says that it has not left."""
    fake.faults.append(Fault(accept=True, drop=True))
    fake.hidden = 6
    decision_id = decide()
    worker.drain()
    is_halted, answers = worker.pretrade.is_halted, iter([False, True])
    worker.pretrade.is_halted = lambda *_: next(answers, True)  # type: ignore[method-assign]
    for _ in range(6):
        worker.drain()
        go(1)
        if scalar(writer, "SELECT resent_at FROM trade_executions"):
            break
    assert fake.count("POST") == 1
    assert state(writer, decision_id)[:2] == ("executing", "unknown")
    worker.pretrade.is_halted = is_halted  # type: ignore[method-assign]
    assert settle(worker, writer, decision_id)[0] == "executed"
    assert len(fake.orders) == 1


def test_a_second_send_waits_for_the_open_as_the_first(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    day = wall_clock.now().date()
    fake.sessions = [
        {"date": str(day + timedelta(days=n)), "open": "00:00", "close": "23:59"} for n in range(-9, 12)
    ]
    fake.faults.append(Fault(drop=True))
    lost = decide()
    worker = limited(market_hours="wait")
    worker.drain()
    fake.is_open = False
    go(40)
    for _ in range(8):
        worker.drain()
        go(1)
    assert fake.count("POST") == 1
    assert state(writer, lost)[1] == "unknown"


def test_what_grew_old_between_the_question_and_the_claim_is_stale(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    worker = limited()
    prepare = worker.pretrade.prepare
    worker.pretrade.prepare = lambda wanted: (prepare(wanted), go(61))[0]  # type: ignore[method-assign]
    decision_id = decide()
    worker.drain()
    assert state(writer, decision_id)[2] == "risk.stale_data"


@pytest.mark.parametrize(
    "limits",
    [
        {"max_orders_per_day": 1},
        {"max_day_notional": Decimal(10)},
        {"max_symbol_notional": Decimal(10)},
        {"duplicate_window_seconds": Decimal(60)},
        {"throttle_orders": 1},
    ],
)
def test_what_somebody_else_placed_uses_no_limit_up(
    limits: dict[str, Any], limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.place({"symbol": "AAPL", "side": "buy", "notional": "8", "type": "market", "time_in_force": "day"})
    worker = limited(**limits)
    worker.reconcile()
    assert scalar(writer, "SELECT count(*) FROM trade_decisions WHERE adopted = 1") == 1
    decision_id = decide(notional="8", quantity=None)
    assert settle(worker, writer, decision_id)[0] == "executed"


@pytest.mark.parametrize("differs", ["account", "environment"])
@pytest.mark.parametrize(
    "limits",
    [
        {"max_day_notional": Decimal(10)},
        {"max_symbol_notional": Decimal(10)},
        {"max_orders_per_minute": 1},
        {"duplicate_window_seconds": Decimal(60)},
    ],
)
def test_what_another_account_sent_uses_no_limit_up(
    differs: str,
    limits: dict[str, Any],
    limited: Limited,
    writer: Writer,
    fake: FakeAlpaca,
    decide: Decide,
    config: Config,
) -> None:
    from tradelog.decide import record

    other = replace(config.broker, **{differs: "live" if differs == "environment" else "second"})
    there = Worker(writer, limited().session.broker, replace(config, broker=other))
    there.start()
    values = {"strategy": "manual", "symbol": "AAPL", "side": "buy", "notional": "8", "rationale": "x"}
    expected = record.record(writer, there.session.account, record.parse(values)).decision_id
    assert settle(there, writer, expected)[0] == "executed"
    worker = limited(**limits)
    decision_id = decide(notional="8", quantity=None)
    assert settle(worker, writer, decision_id)[0] == "executed", scalar(
        writer, f"SELECT failure_message FROM trade_decisions WHERE decision_id = '{decision_id}'"
    )


def test_a_duplicate_is_of_one_strategy_and_one_side(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    worker = limited(duplicate_window_seconds=Decimal(60))
    ids = [decide(quantity="1"), decide(quantity="1", side="sell"), decide(quantity="1", strategy="bot")]
    for each in ids:
        assert settle(worker, writer, each)[0] == "executed"


def test_the_throttle_counts_each_strategy_for_itself(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    worker = limited(throttle_orders=1)
    ids = [decide(strategy=name, notional="5", quantity=None) for name in ("a", "b")]
    for each in ids:
        assert settle(worker, writer, each)[0] == "executed"


@pytest.mark.parametrize(
    "limits",
    [{"max_day_notional": Decimal(1500)}, {"max_gross_exposure": Decimal(1500)}, {"buying_power": True}],
)
def test_a_replaced_buy_gives_up_what_it_held(
    limits: dict[str, Any], limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.fills, fake.cash = False, Decimal(1500)
    worker = limited(**limits)
    decision_id = decide(**RESTING)
    worker.drain()
    with writer.transaction() as tx:
        order_requests.request_replace(tx, decision_id, {"limit_price": Decimal(99)}, None, "test")
    for _ in range(3):
        worker.drain()
        worker.poll()
        go(1)
    assert scalar(writer, "SELECT status FROM order_requests") == "done"
    assert scalar(writer, "SELECT order_value FROM trade_executions ORDER BY id DESC LIMIT 1") == "990"


def test_a_retried_order_counts_once(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    worker = limited(max_day_notional=Decimal(1000))
    fake.faults.append(Fault(status=429, headers={"Retry-After": "1"}))
    first = decide(notional="600", quantity=None)
    worker.drain()
    assert settle(worker, writer, first)[0] == "executed"
    exact, over = decide(notional="400", quantity=None), decide(notional="0.01", quantity=None)
    assert settle(worker, writer, exact)[0] == "executed"
    worker.drain()
    assert state(writer, over)[2] == "risk.day_notional"


def test_the_smaller_of_held_and_free_is_free(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.positions = lambda: [{"symbol": "AAPL", "qty": "5", "side": "long", "qty_available": "10"}]  # type: ignore[method-assign]
    worker = limited()
    decision_id = decide(side="sell", quantity="6")
    worker.drain()
    assert state(writer, decision_id)[2] == "risk.long_only"


def test_a_sell_may_be_valued_at_the_ask(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.given = {"AAPL": Decimal(1)}
    worker = limited()
    monkeypatch.setattr(fake, "_quotes", lambda symbol: {symbol: {"ap": 100, "bp": 0}})
    decision_id = decide(side="sell", quantity="1")
    assert settle(worker, writer, decision_id)[0] == "executed"


@pytest.mark.parametrize("days", [4, 6])
def test_a_quote_of_last_week_is_none(
    days: int,
    limited: Limited,
    writer: Writer,
    fake: FakeAlpaca,
    decide: Decide,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = clock.later(clock.now_text(), -days * 86_400.0)
    monkeypatch.setattr(fake, "_quotes", lambda symbol: {symbol: {"ap": 100, "bp": 100, "t": made}})
    worker = limited()
    decision_id = decide()
    worker.drain()
    assert (state(writer, decision_id)[2] == "risk.stale_data") is (days == 6)


def test_a_lifted_default_limit_is_strict(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide, config: Config
) -> None:
    with writer.transaction() as tx:
        until = clock.later(tx.now, 9000)
        controls.lift_limit(tx, config, "max_order_notional", "200", until=until, actor="ann", reason="x")
    fake.faults.append(Fault("GET", status=500, path="quotes", times=99))
    decision_id = decide()
    settle(worker, writer, decision_id)
    assert state(writer, decision_id)[2] == "risk.stale_data"


@pytest.mark.parametrize(
    ("written", "environment", "sent"),
    [
        ("", "paper", True),
        ('[risk]\nmax_order_notional = "1000000"\n', "paper", True),
        ('[risk]\nmax_order_notional = "999999"\n', "paper", False),
        ('[risk]\nmax_order_notional = "1000000"\n', "live", False),
    ],
)
def test_the_default_limit_means_the_same_written_out_or_not(
    writer: Writer,
    broker: AlpacaBroker,
    home: Path,
    fake: FakeAlpaca,
    written: str,
    environment: str,
    sent: bool,
) -> None:
    """On paper it stops no order for want of a quote; any other limit does, and any of a live account."""
    path = home / "tradelog.toml"
    number = f'environment = "{environment}"\naccount_number = "{fake.account_number}"\n'
    path.write_text(path.read_text().replace('name = "alpaca"\n', f'name = "alpaca"\n{number}') + written)
    config = load_config(path)
    fake.faults.append(Fault("GET", status=404, body=b'{"message": "none"}', path="quotes", times=99))
    values = {"strategy": "manual", "symbol": "AAPL", "side": "buy", "quantity": "1", "rationale": "x"}
    decision_id = record.record(writer, config.account, record.parse(values)).decision_id
    worker = Worker(writer, broker, config)
    worker.start()
    settle(worker, writer, decision_id)
    assert len(fake.posts()) == int(sent)
    assert (state(writer, decision_id)[2] == "risk.stale_data") is not sent


def test_too_late_is_too_late_to_approve(writer: Writer, config: Config, decide: Decide) -> None:
    ruled = replace(config, controls={"bot": ControlConfig(approval=True, approval_hours=Decimal(1))})
    dated = decide(strategy="bot", expires_at=clock.later(clock.now_text(), 60))
    other = decide(strategy="bot")
    go(61)
    with pytest.raises(UsageError, match="expired"), writer.transaction() as tx:
        controls.approve(tx, ruled, dated, "ann", None)
    go(3600)
    with pytest.raises(UsageError, match="within 1 h"), writer.transaction() as tx:
        controls.approve(tx, ruled, other, "ann", None)


def test_an_approval_that_is_shorter_than_the_age_ends_first(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    worker = limited({"bot": ControlConfig(approval=True, approval_hours=Decimal("0.5"))})
    decision_id = decide(strategy="bot")
    go(1900)
    worker.drain()
    assert state(writer, decision_id)[2] == "expired_unsent"


def test_another_account_s_decisions_are_left_alone(
    limited: Limited, writer: Writer, config: Config, decide: Decide
) -> None:
    from tradelog.decide import record

    values = {"symbol": "AAPL", "side": "buy", "notional": "8", "strategy": "bot", "rationale": "x"}
    live = AccountKey("alpaca", "live", "default")
    expected = record.record(writer, live, record.parse(values)).decision_id
    go(90_000)
    limited({"bot": ControlConfig(approval=True)}).drain()
    assert state(writer, expected) == ("pending", None, None)
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE kind <> 'clock_offset'") == 0


def test_without_the_hours_nothing_is_sent_and_nothing_ends(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    """What has waited too long could not be told from what has not."""
    decision_id = decide()
    go(4000)
    fake.faults.append(Fault("GET", status=503, path="/v2/calendar", times=5))
    worker = limited(market_hours="wait")
    for _ in range(4):
        worker.drain()
        assert state(writer, decision_id) == ("pending", None, None)
        go(70)


def test_a_resumed_strategy_s_alert_is_over(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    worker = limited(throttle_orders=1)
    for number in range(2):
        decide(strategy="bot", symbol=f"S{number}", notional="5", quantity=None)
    worker.drain()
    worker.drain()
    open_alerts = "SELECT count(*) FROM alerts WHERE acknowledged_at IS NULL AND kind = 'strategy_halted'"
    assert scalar(writer, open_alerts) == 1
    with writer.transaction() as tx:
        controls.resume(tx, "strategy", "bot", "ann", "x", worker.session.account)
    assert scalar(writer, open_alerts) == 0


def test_a_broker_that_takes_an_id_twice_is_sent_none_a_second_time(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(worker.session.broker), "rejects_duplicate_ids", False)
    fake.faults.append(Fault(drop=True))
    decision_id = decide()
    for _ in range(9):
        worker.drain()
        go(1)
    assert fake.count("POST") == 1
    assert state(writer, decision_id)[:2] == ("executing", "unknown")
    assert "same id twice" in scalar(writer, "SELECT needs_attention FROM trade_decisions")


def test_a_lease_that_is_lost_before_the_second_send_sends_nothing(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    fake.faults.append(Fault(drop=True))
    decide()
    worker.drain()
    prepare = worker.pretrade.prepare

    def overtaken(wanted: Any) -> bool:
        writer.connection.execute("UPDATE trade_decisions SET lease_token = lease_token + 1")
        return prepare(wanted)

    worker.pretrade.prepare = overtaken  # type: ignore[method-assign]
    for _ in range(9):
        worker.drain()
        go(1)
    assert fake.count("POST") == 1
    assert scalar(writer, "SELECT resent_at FROM trade_executions") is None


def test_a_replacement_is_prefetched_by_its_own_terms(
    limited: Limited, writer: Writer, fake: FakeAlpaca, decide: Decide
) -> None:
    """The quote of when the old order was sent is too old for the new price."""
    fake.fills = False
    worker = limited(price_collar_percent=Decimal(5))
    decision_id = decide(**{**RESTING, "limit_price": "100"})
    worker.drain()
    go(61)
    fake.quotes["AAPL"] = "80"
    with writer.transaction() as tx:
        order_requests.request_replace(tx, decision_id, {"limit_price": Decimal(81)}, None, "test")
    for _ in range(3):
        worker.drain()
        worker.poll()
        go(1)
    assert scalar(writer, "SELECT status FROM order_requests") == "done"
    asked = [item.method for item in fake.seen if item.method == "PATCH" or "quotes" in item.path]
    assert asked == ["GET", "GET", "PATCH"]
