"""Expiry: the reason for each way a decision can be too late, and when market sessions are fetched."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.execute.driving import go
from tests.execute.stage import NOON, OTHERS, Stage, moment
from tradelog.config.risk import ControlConfig, RiskConfig
from tradelog.domain import clock
from tradelog.execute.brokers.market_hours import Session
from tradelog.execute.risk.expiry import Expiry
from tradelog.execute.session import BrokerSession

WAIT = RiskConfig(market_hours="wait")
# From an hour ago to four hours from now, and the next day.
SESSIONS = [
    Session(NOON - timedelta(hours=1), NOON + timedelta(hours=4)),
    Session(NOON + timedelta(hours=23), NOON + timedelta(hours=28)),
]


def expiry(stage: Stage, limits: RiskConfig = WAIT, **controls: ControlConfig) -> Expiry:
    config = replace(stage.config, risk=limits, controls=controls)
    return Expiry(BrokerSession(stage.writer, stage.broker, config))


def calendars(stage: Stage) -> int:
    return sum("/calendar" in path for _, path, _ in stage.broker.seen)


@pytest.mark.parametrize("account", OTHERS)
def test_only_decisions_of_the_account_need_market_sessions(stage: Stage, account: Any) -> None:
    stage.decide(account)
    expiry(stage).refresh_market_sessions()
    assert calendars(stage) == 0


def test_market_sessions_are_fetched_for_a_waiting_decision_and_once(stage: Stage) -> None:
    stage.decide()
    subject = expiry(stage)
    subject.refresh_market_sessions()
    assert calendars(stage) == 1
    subject.refresh_market_sessions()
    assert calendars(stage) == 1


@pytest.mark.parametrize("hours", ["queue", "refuse"])
def test_without_waiting_for_the_open_no_sessions_are_fetched(stage: Stage, hours: str) -> None:
    stage.decide()
    expiry(stage, RiskConfig(market_hours=hours)).refresh_market_sessions()
    assert calendars(stage) == 0


@pytest.mark.parametrize(
    ("opens", "closes", "fetched"),
    [
        # The first session must begin by the decision's time, the last one end after now.
        (0, 3600, 0),
        (1, 3600, 1),
        (-1, 3600, 0),
        (0, 60, 1),
        (0, 61, 0),
    ],
)
def test_market_sessions_must_span_from_the_oldest_decision_to_now(
    stage: Stage, opens: float, closes: float, fetched: int
) -> None:
    stage.decide()
    start = clock.from_text(moment())
    go(60)
    subject = expiry(stage)
    subject._sessions = [Session(start + timedelta(seconds=opens), start + timedelta(seconds=closes))]
    subject.refresh_market_sessions()
    assert calendars(stage) == fetched


@pytest.mark.parametrize(("seconds", "is_over"), [(7199.999, False), (7200, True)])
def test_approval_is_awaited_for_its_hours(stage: Stage, seconds: float, is_over: bool) -> None:
    rule = ControlConfig(approval=True, approval_hours=Decimal(2))
    decision = stage.row("trade_decisions", stage.decide(strategy="bot"))
    go(seconds)
    reason = expiry(stage, bot=rule).reason(decision, WAIT, moment())
    assert reason == ("not approved within 2 hours" if is_over else None)


@pytest.mark.parametrize(
    ("limits", "changes", "seconds", "is_over"),
    [
        # Decided within a session: from its own time.
        (WAIT, {}, 3600, True),
        # Decided between sessions and waiting for the open: from the open.
        (WAIT, {"created_at": 5 * 3600}, 18 * 3600 + 3599, False),
        (WAIT, {"created_at": 5 * 3600}, 18 * 3600 + 3600, True),
        # Not waiting, or not for the regular session: from its own time.
        (RiskConfig(), {"created_at": 5 * 3600}, 3600, True),
        (WAIT, {"created_at": 5 * 3600, "extended_hours": 1}, 3600, True),
        (WAIT, {"created_at": 5 * 3600, "symbol": "BTC/USD"}, 3600, True),
        # No sessions that reach so far: from its own time.
        (WAIT, {"created_at": 40 * 3600}, 3600, True),
    ],
)
def test_expiry_counts_from_the_open_that_a_decision_waits_for(
    stage: Stage, limits: RiskConfig, changes: dict[str, Any], seconds: float, is_over: bool
) -> None:
    decision = stage.row("trade_decisions", stage.decide())
    start = changes.get("created_at", 0)
    decision |= {**changes, "created_at": moment(start)}
    subject = expiry(stage, limits)
    subject._sessions = list(SESSIONS)
    assert (subject.reason(decision, limits, moment(start + seconds)) is not None) is is_over


def test_no_maximum_age_is_no_expiry(stage: Stage) -> None:
    decision = stage.row("trade_decisions", stage.decide(strategy="bot"))
    subject = expiry(stage, bot=ControlConfig(max_age_seconds=None))
    assert subject.reason(decision, WAIT, moment(10**9)) is None


def test_only_pending_decisions_of_the_account_expire(stage: Stage) -> None:
    old = stage.decide()
    executing = stage.decide(symbol="MSFT")
    stage.set("trade_decisions", executing, status="executing")
    others = [stage.decide(account) for account in OTHERS]
    go(7200)
    stage.decide(symbol="IBM")
    with stage.tx() as tx:
        assert expiry(stage).expire_due(tx) == {old}
    for decision_id in (executing, *others):
        assert stage.row("trade_decisions", decision_id)["failure_code"] is None
