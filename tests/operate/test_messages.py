"""What people are told: together, urgent things at once, the rest once a day, and each end once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.conftest import scalar
from tests.operate.conftest import Hands, Kept
from tradelog.config.schema import AlertsConfig, Config
from tradelog.decide import record
from tradelog.domain.account import AccountKey
from tradelog.domain.status import DecisionStatus
from tradelog.operate import delivery
from tradelog.store.writer import Writer

At = Callable[[str], None]
RULES = AlertsConfig()
NOON = "2026-03-06T17:00:00+00:00"  # a Friday in New York


def later(minutes: float) -> str:
    return (datetime.fromisoformat(NOON) + timedelta(minutes=minutes)).isoformat()


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def send(writer: Writer, kept: Kept, at: At) -> Callable[[float], list[str]]:
    """Sends what is due so many minutes after noon; returns the titles."""

    def send(minutes: float) -> list[str]:
        at(later(minutes))
        before = len(kept.messages)
        delivery.run(writer, RULES, [kept])
        return kept.titles[before:]

    return send


Send = Callable[[float], list[str]]


@pytest.mark.parametrize(
    "kind",
    [
        *("outcome_unknown", "position_break", "cash_break", "halted", "strategy_halted"),
        *("keys_refused", "evidence_broken", "landed_unrecorded"),
    ],
)
def test_what_is_urgent_is_told_at_once(hands: Hands, send: Send, at: At, kind: str) -> None:
    at(NOON)
    hands.raise_(kind, "a")
    assert send(0) == [f"1 × {kind.replace('_', ' ')}"]
    assert send(1) == []


@pytest.mark.parametrize("kind", ["trade_failed", "approval_waiting", "queue_depth", "task_failed"])
def test_the_rest_waits_for_the_digest(hands: Hands, send: Send, at: At, kind: str, kept: Kept) -> None:
    at(NOON)
    hands.raise_(kind, "a", "b")
    words = kind.replace("_", " ")
    assert send(0) == send(5 * 60) == []  # 17:00 in New York
    assert send(5.5 * 60) == [f"digest: 2 × {words}"]
    assert send(24 * 60) == []
    at(later(25 * 60))
    hands.raise_(kind, "c")
    assert send(29.4 * 60) == []
    assert send(29.5 * 60) == [f"digest: 1 × {words}"]
    assert kept.messages[0].body.splitlines()[:2] == [f"2 × {words}", "- AAPL: odd (a)"]


def test_a_digest_that_nobody_was_there_to_send_is_sent_later_once(hands: Hands, send: Send, at: At) -> None:
    at(NOON)
    hands.raise_("trade_failed", "a")
    assert send(60 * 24 * 3) == ["digest: 1 × trade failed"]
    assert send(60 * 24 * 4) == []


def test_later_ones_are_told_together_in_windows_that_double(
    hands: Hands, send: Send, at: At, kept: Kept
) -> None:
    at(NOON)
    told = []
    for minute in range(60):
        at(later(minute))
        hands.raise_("outcome_unknown", f"o{minute}")
        told += [(minute, title) for title in send(minute)]
    assert told == [
        (0, "1 × outcome unknown"),
        (5, "5 × outcome unknown"),
        (15, "10 × outcome unknown"),
        (35, "20 × outcome unknown"),
    ]
    body = kept.messages[-1].body.splitlines()
    assert body[:4] == [*(f"- AAPL: odd (o{n})" for n in (16, 17, 18)), "- and 17 more"]
    assert kept.messages[-1].count == 20


def test_kinds_and_accounts_are_told_apart(
    hands: Hands, send: Send, at: At, writer: Writer, config: Config
) -> None:
    at(NOON)
    accounts = (config.account._replace(account=name) for name in ("default", "other"))
    ids = [_decided(writer, account) for account in accounts]
    hands.raise_("outcome_unknown", *ids)
    hands.raise_("halted", "everything")
    assert send(0) == [
        "1 × outcome unknown, default (simulated, paper)",
        "1 × outcome unknown, other (simulated, paper)",
        "1 × halted",
    ]


def test_no_buying_power_is_urgent_another_failure_is_not(
    hands: Hands, send: Send, at: At, writer: Writer, config: Config
) -> None:
    at(NOON)
    _failed(writer, config, "insufficient_buying_power", hands)
    _failed(writer, config, "risk.buying_power", hands)
    _failed(writer, config, "not_tradable", hands)
    assert send(0) == ["2 × no buying power, default (simulated, paper)"]
    assert send(5.5 * 60) == ["digest: 1 × trade failed, default (simulated, paper)"]


def test_ten_thousand_failures_and_a_break_are_a_handful_of_messages(
    hands: Hands, send: Send, at: At, kept: Kept, writer: Writer
) -> None:
    """A bad day: 10,000 in an hour, then nothing until a person looks."""
    at(NOON)
    told = []
    for minute in range(0, 60, 6):
        at(later(minute))
        hands.raise_("outcome_unknown", *(f"o{minute}-{n}" for n in range(1000)))
        if minute == 30:
            hands.raise_("position_break", "brk_1", message="AAPL: 5 expected, 3 held")
        told += send(minute)
    for minute in range(60, 24 * 60, 5):
        told += send(minute)
    assert told == [
        "1,000 × outcome unknown",
        "1,000 × outcome unknown",
        "2,000 × outcome unknown",
        "1 × position break",
        "4,000 × outcome unknown",
        "2,000 × outcome unknown",
        "still open: 1 × position break",
        "still open: 10,000 × outcome unknown",
    ]
    assert scalar(writer, "SELECT count(*) FROM alerts WHERE told_at IS NULL") == 0


def test_what_stays_open_is_said_again_after_hours(hands: Hands, send: Send, at: At) -> None:
    at(NOON)
    hands.raise_("position_break", "brk_1")
    told = [(minute // 60, title) for minute in range(0, 30 * 60, 10) for title in send(minute)]
    assert told == [
        (0, "1 × position break"),
        (12, "still open: 1 × position break"),
        (24, "still open: 1 × position break"),
    ]


@pytest.mark.parametrize(("by", "line"), [("tradelog", "their cause has gone"), ("ann", "ended by ann")])
def test_the_end_is_told_once(hands: Hands, send: Send, at: At, kept: Kept, by: str, line: str) -> None:
    at(NOON)
    hands.raise_("outcome_unknown", "a", "b")
    assert send(0) == ["2 × outcome unknown"]
    hands.clear("outcome_unknown", "a", by=by)
    assert send(1) == []
    hands.clear("outcome_unknown", "b", by=by)
    assert send(2) == ["resolved: 2 × outcome unknown"]
    assert kept.messages[-1].body.splitlines()[:3] == ["- AAPL: odd (a)", "- AAPL: odd (b)", line]
    assert send(3) == send(24 * 60) == []
    at(later(24 * 60))
    hands.raise_("outcome_unknown", "c")
    assert send(24 * 60) == ["1 × outcome unknown"]  # at once: it is another story


def test_a_new_one_before_the_end_was_told_keeps_it_open(hands: Hands, send: Send, at: At) -> None:
    at(NOON)
    hands.raise_("outcome_unknown", "a")
    send(0)
    hands.clear("outcome_unknown", "a")
    hands.raise_("outcome_unknown", "b")
    assert send(1) == []
    assert send(5) == ["1 × outcome unknown"]
    hands.clear("outcome_unknown", "b")
    assert send(6) == ["resolved: 2 × outcome unknown"]


def test_what_has_gone_before_anybody_was_told_is_not_told(hands: Hands, send: Send, at: At) -> None:
    at(NOON)
    hands.raise_("outcome_unknown", "a")
    hands.clear("outcome_unknown", "a")
    assert send(0) == []


def test_a_message_takes_the_head_of_the_journal_along(
    hands: Hands, send: Send, at: At, kept: Kept, writer: Writer
) -> None:
    at(NOON)
    hands.raise_("halted", "everything")
    send(0)
    seq, digest = kept.messages[0].head.split()
    assert kept.messages[0].body.endswith(f"journal {seq} {digest}")
    stored = scalar(writer, "SELECT lower(hex(hash)) FROM journal WHERE seq = ?", int(seq))
    assert digest == stored


def test_urgent_messages_leave_first(hands: Hands, writer: Writer, at: At, kept: Kept) -> None:
    at(NOON)
    hands.raise_("trade_failed", "a")
    at(later(6 * 60))
    hands.raise_("position_break", "b")
    delivery.run(writer, RULES, [kept])
    assert kept.titles == ["1 × position break", "digest: 1 × trade failed"]


def test_without_a_channel_nothing_is_composed(hands: Hands, writer: Writer, at: At, kept: Kept) -> None:
    """Whoever configures one later is told what is open then."""
    at(NOON)
    hands.raise_("halted", "everything")
    delivery.run(writer, RULES, [])
    assert scalar(writer, "SELECT count(*) FROM alert_messages") == 0
    delivery.run(writer, RULES, [kept])
    assert kept.titles == ["1 × halted"]


def test_the_rules_are_those_of_the_configuration(hands: Hands, writer: Writer, at: At, kept: Kept) -> None:
    rules = replace(RULES, window_seconds=60, repeat_hours=1, digest_at="12:30")
    at(NOON)
    hands.raise_("trade_failed", "x")
    for minute in range(125):
        at(later(minute))
        if minute < 3:
            hands.raise_("outcome_unknown", f"o{minute}")
        delivery.run(writer, rules, [kept])
    assert kept.titles == [
        "1 × outcome unknown",
        "1 × outcome unknown",
        "1 × outcome unknown",
        "digest: 1 × trade failed",
        "still open: 3 × outcome unknown",
        "still open: 3 × outcome unknown",
    ]


def test_what_a_message_counts(hands: Hands, writer: Writer, at: At, kept: Kept, send: Send) -> None:
    """The number of its alerts, the first of them; three are all shown, and nothing is said of no more."""
    at(NOON)
    hands.raise_("halted", "a", "b", "c")
    hands.raise_("trade_failed", "d", "e")
    outcome = delivery.run(writer, RULES, [kept])
    assert (outcome.composed, outcome.delivered) == (1, 1)
    assert kept.messages[0].body.splitlines()[:4] == [*(f"- AAPL: odd ({n})" for n in "abc"), ""]
    assert delivery.run(writer, RULES, []).composed == 0
    hands.clear("halted", "a", "b", "c")
    at(later(6 * 60))
    assert delivery.run(writer, RULES, [kept]).composed == 2
    told = writer.rows("SELECT reason, first_alert, alert_count FROM alert_messages ORDER BY message_id")
    assert [tuple(row.values()) for row in told] == [
        ("urgent", 1, 3),
        ("digest", 4, 2),
        ("resolved", None, 3),
    ]


def test_each_group_ends_by_its_own_alerts(hands: Hands, send: Send, at: At, kept: Kept) -> None:
    """Two kinds, one of them for the second time: each message tells of its own, since its own last end."""
    at(NOON)
    hands.raise_("halted", "first")
    hands.raise_("position_break", "b")
    send(0)
    hands.clear("halted", "first")
    assert send(1) == ["resolved: 1 × halted"]
    hands.raise_("halted", "second")
    assert send(2) == ["1 × halted"]
    hands.clear("halted", "second")
    assert send(3) == ["resolved: 1 × halted"]
    assert kept.messages[-1].body.splitlines()[0] == "- AAPL: odd (second)"
    hands.clear("position_break", "b")
    assert send(4) == ["resolved: 1 × position break"]
    assert kept.messages[-1].body.splitlines()[0] == "- AAPL: odd (b)"


def test_a_digest_tells_of_what_came_before_its_time(hands: Hands, send: Send, at: At) -> None:
    """One alert before 17:30 and one after: the time is past since the older one."""
    at(NOON)
    hands.raise_("trade_failed", "before")
    at(later(6 * 60))
    hands.raise_("trade_failed", "after")
    assert send(6 * 60) == ["digest: 2 × trade failed"]
    at(later(29.5 * 60))
    hands.raise_("trade_failed", "on the minute")
    assert send(29.5 * 60) == []
    assert send(53.5 * 60) == ["digest: 1 × trade failed"]
    assert send(53.5 * 60) == []


def test_an_urgent_one_is_told_before_twenty_thousand_others(hands: Hands, send: Send, at: At) -> None:
    at(NOON)
    hands.raise_("broker_not_accepted", *(f"d{number}" for number in range(20_000)))
    hands.raise_("halted", "everything")
    assert send(0) == ["1 × halted"]


def test_a_clock_that_was_ahead_for_a_while_silences_nobody(hands: Hands, send: Send, at: At) -> None:
    year = 365 * 24 * 60
    at(later(year))
    hands.raise_("halted", "everything")
    hands.raise_("trade_failed", "early")
    assert send(year + 24 * 60)[0] == "1 × halted"
    at(later(0))
    hands.raise_("halted", "strategy x")
    hands.raise_("trade_failed", "a")
    assert send(1) == ["1 × halted", "digest: 1 × trade failed"]
    assert send(2) == []


def _decided(writer: Writer, account: AccountKey) -> str:
    values = {"symbol": "AAPL", "side": "buy", "quantity": "1", "strategy": "x", "rationale": {"why": "y"}}
    return record.record(writer, account, record.parse(values)).decision_id


def _failed(writer: Writer, config: Config, code: str, hands: Hands) -> None:
    decision_id = _decided(writer, config.account)
    with writer.transaction() as tx:
        changes = {"status": DecisionStatus.FAILED, "failure_code": code, "failed_at": tx.now}
        tx.update("trade_decisions", decision_id, changes)
        tx.journal("decision.failed", decision_id)
    hands.raise_("trade_failed", decision_id)
