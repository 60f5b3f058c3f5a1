"""Expiry: how long a decision may wait to be submitted, and from when that counts.

It counts from the decision's own time, from its approval, or from the open that it waits for.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tradelog.config.risk import RiskConfig
from tradelog.domain import clock, money
from tradelog.domain.order import is_regular_session
from tradelog.domain.status import DecisionStatus
from tradelog.execute.brokers import market_hours
from tradelog.execute.outbox import transitions
from tradelog.execute.risk import controls
from tradelog.execute.session import BrokerSession
from tradelog.operate.alerts import clear
from tradelog.store.writer import Transaction


class Expiry:
    def __init__(self, session: BrokerSession) -> None:
        self._session = session
        self._writer = session.writer
        self._config = session.config
        self._sessions: list[market_hours.Session] = []

    def refresh_market_sessions(self) -> None:
        """Where decisions wait for the open: fetch the sessions since the oldest of them, once a day.

        Without a response nothing is submitted: it could not be known what has waited too long.
        """
        rows, now = self._writer.rows, clock.now_text()
        limits = controls.limits_in_force(rows, self._session.account, self._config.risk, now)
        if limits.market_hours != "wait" or not self._session.may_request():
            return
        with self._writer.reading() as connection:
            oldest = connection.execute(
                "SELECT min(created_at) FROM trade_decisions WHERE status = 'pending'"
                " AND broker = ? AND environment = ? AND account = ?",
                self._session.account,
            ).fetchone()[0]
        if oldest is None:
            return
        first, today = clock.from_text(oldest), clock.now()
        sessions = self._sessions
        if sessions and sessions[0].opens <= first and sessions[-1].closes > today:
            return
        start, end = (first - timedelta(days=7)).date(), (today + timedelta(days=10)).date()
        exchange = self._session.broker.calendar(start.isoformat(), end.isoformat())
        self._session.observe(exchange, quiet=True)
        listed = market_hours.parse_calendar(exchange.json()) if exchange.status == 200 else None
        if listed:
            self._sessions = listed
        else:
            self._session.pause(self._session.backoff())

    def reason(self, decision: Mapping[str, Any], limits: RiskConfig, now: str) -> str | None:
        """Why a pending decision is not submitted any more; None while it may be."""
        if decision["expires_at"] is not None and decision["expires_at"] <= now:
            return f"expired at {decision['expires_at']} before it was sent"
        rule = self._config.control(decision["strategy_name"])
        if rule.approval and decision["approval"] is None:
            hours = money.to_text(rule.approval_hours)
            is_over = clock.later(decision["created_at"], float(rule.approval_hours) * 3600) <= now
            return f"not approved within {hours} hours" if is_over else None
        if rule.max_age_seconds is None:
            return None
        since = max(decision["created_at"], decision["approval_at"] or "")
        since = max(decision["held_until"] or self._counts_from(decision, since, limits), since)
        if clock.later(since, float(rule.max_age_seconds)) > now:
            return None
        return f"not sent within {money.to_text(rule.max_age_seconds)} s of {since}"

    def expire_due(self, tx: Transaction) -> set[str]:
        """Cancel what was not submitted in time: past its own time, too old, or never approved.

        Returns the decisions that ended.
        """
        config = self._config
        rules = [config.control(""), *config.controls.values()]
        ages = [rule.max_age_seconds for rule in rules if rule.max_age_seconds is not None]
        ages += [rule.approval_hours * 3600 for rule in rules if rule.approval]
        oldest = clock.later(tx.now, -float(min(ages))) if ages else ""
        limits = controls.limits_in_force(tx.dicts, self._session.account, config.risk, tx.now)
        candidates = tx.dicts(
            "SELECT * FROM trade_decisions WHERE status = 'pending' AND broker = ? AND environment = ?"
            " AND account = ? AND (expires_at <= ? OR created_at <= ?)",
            (*self._session.account, tx.now, oldest),
        )
        return {row["decision_id"] for row in candidates if self.expire(tx, row, limits)}

    def expire(self, tx: Transaction, decision: Mapping[str, Any], limits: RiskConfig) -> bool:
        """End a pending decision that is past its time; False where it is not."""
        why = self.reason(decision, limits, tx.now)
        if why is None:
            return False
        decision_id = decision["decision_id"]
        transitions.end_unsubmitted(tx, decision_id, DecisionStatus.CANCELLED, "expired_unsent", why)
        clear(tx, decision_id, ("approval_waiting",))
        tx.journal("decision.expired_unsent", decision_id)
        return True

    def _counts_from(self, decision: Mapping[str, Any], since: str, limits: RiskConfig) -> str:
        """The open that a decision of between the sessions waits for, where it waits; else its own time."""
        is_regular = is_regular_session(
            decision["symbol"], decision["time_in_force"], extended_hours=bool(decision["extended_hours"])
        )
        if limits.market_hours != "wait" or not is_regular:
            return since
        opens = market_hours.next_open(self._sessions, clock.from_text(since))
        return since if opens is None else clock.to_text(opens)
