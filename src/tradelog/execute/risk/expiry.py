"""How long a decision may wait to be sent, and from when that counts: its own time, an approval, an open."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tradelog.config.risk import RiskConfig
from tradelog.domain import clock, money
from tradelog.domain.order import is_regular_session
from tradelog.execute.brokers import market_hours
from tradelog.execute.risk import controls
from tradelog.execute.session import BrokerSession


class Expiry:
    def __init__(self, session: BrokerSession) -> None:
        self._session = session
        self._writer = session.writer
        self._config = session.config
        self._sessions: list[market_hours.Session] = []

    def refresh_market_sessions(self) -> None:
        """Where decisions wait for the open: the hours since the oldest of them, asked for once a day.

        Without an answer nothing is sent: what has waited too long could not be told from what has not.
        """
        rows, moment = self._writer.rows, clock.now_text()
        limits = controls.limits_in_force(rows, self._session.account, self._config.risk, moment)
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
        known = self._sessions
        if known and known[0].opens <= first and known[-1].closes > today:
            return
        start, end = (first - timedelta(days=7)).date(), (today + timedelta(days=10)).date()
        exchange = self._session.broker.calendar(start.isoformat(), end.isoformat())
        self._session.observe(exchange, quiet=True)
        found = market_hours.parse_calendar(exchange.json()) if exchange.status == 200 else None
        if found:
            self._sessions = found
        else:
            self._session.pause(self._session.backoff())

    def expiry_reason(self, row: Mapping[str, Any], limits: RiskConfig, now: str) -> str | None:
        """Why a pending decision is not sent any more; None while it may be."""
        if row["expires_at"] is not None and row["expires_at"] <= now:
            return f"expired at {row['expires_at']} before it was sent"
        rule = self._config.control(row["strategy_name"])
        if rule.approval and row["approval"] is None:
            hours = money.to_text(rule.approval_hours)
            is_over = clock.later(row["created_at"], float(rule.approval_hours) * 3600) <= now
            return f"nobody approved it within {hours} hours" if is_over else None
        if rule.max_age_seconds is None:
            return None
        since = max(row["created_at"], row["approval_at"] or "")
        since = max(row["held_until"] or self._opened_after(row, since, limits), since)
        if clock.later(since, float(rule.max_age_seconds)) > now:
            return None
        return f"not sent within {money.to_text(rule.max_age_seconds)} s of {since}"

    def _opened_after(self, row: Mapping[str, Any], since: str, limits: RiskConfig) -> str:
        """The open that a decision of between the sessions waits for, where it waits; else its own time."""
        is_regular = is_regular_session(
            row["symbol"], row["time_in_force"], extended_hours=bool(row["extended_hours"])
        )
        if limits.market_hours != "wait" or not is_regular:
            return since
        opens = market_hours.next_open(self._sessions, clock.from_text(since))
        return since if opens is None else clock.to_text(opens)
