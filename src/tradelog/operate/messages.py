"""Messages: what people are told of the alerts, many in one text.

    urgent   each kind and account: the first at once, later ones together, in windows that double
    digest   all the others, once a day
    repeat   an urgent group that is still open, after so many hours
    resolved an urgent group of which nothing is open any more, once

Composing is one step in a transaction of the caller; sending is in `delivery`. The times here are the
clock's, and go back with it, where those of the journal do not: what lies in the future is of a clock that
was ahead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from tradelog.config.schema import AlertsConfig
from tradelog.domain import clock
from tradelog.domain.status import MessageReason
from tradelog.operate.alerts import TRADELOG, URGENT, is_urgent
from tradelog.store.writer import Transaction

# Alerts that are shown of each group; the others are counted.
SHOWN = 3
SHOWN_CHARACTERS = 300
# What the store, or the broker, says of an order that the account has no money for.
_NO_BUYING_POWER = ("insufficient_buying_power", "risk.buying_power")
_FROM = """
LEFT JOIN trade_executions e ON e.execution_id = a.subject
LEFT JOIN order_requests r ON r.request_id = a.subject
LEFT JOIN trade_decisions d ON d.decision_id = coalesce(e.decision_id, r.decision_id, a.subject)
LEFT JOIN breaks b ON b.break_id = a.subject
"""
_COLUMNS = """
a.alert_id, a.kind, a.subject, a.message, a.created_at, a.acknowledged_at, a.acknowledged_by, d.failure_code,
coalesce(d.account, b.account) AS account, coalesce(d.broker, b.broker) AS broker,
coalesce(d.environment, b.environment) AS environment
"""
_NEW = f"""
SELECT {_COLUMNS} FROM alerts a INDEXED BY ix_alerts_unsent {_FROM}
WHERE a.message_id IS NULL AND a.acknowledged_at IS NULL
ORDER BY a.kind NOT IN {URGENT} AND a.kind NOT GLOB '*_break', a.alert_id LIMIT 20000
"""
_TOLD = f"""
SELECT {_COLUMNS} FROM alert_messages m JOIN alerts a ON a.message_id = m.message_id {_FROM}
WHERE m.group_kind = ? AND m.account = ? AND m.message_id >= ? ORDER BY a.alert_id
"""


@dataclass(frozen=True, slots=True)
class Group:
    """Alerts that people are told of together. ``account`` is for people, empty where they concern none."""

    kind: str
    account: str
    alerts: tuple[dict[str, Any], ...]

    @property
    def title(self) -> str:
        """``3 × outcome unknown, default (alpaca, paper)``."""
        where = f", {self.account}" if self.account else ""
        return f"{len(self.alerts):,} × {self.kind.replace('_', ' ')}{where}"

    def lines(self) -> list[str]:
        """The first of the alerts, and how many more there are."""
        shown = [f"- {row['message'][:SHOWN_CHARACTERS]} ({row['subject']})" for row in self.alerts[:SHOWN]]
        more = len(self.alerts) - SHOWN
        return shown + ([f"- and {more:,} more"] if more > 0 else [])


def compose(tx: Transaction, rules: AlertsConfig, channels: Sequence[str]) -> int:
    """Write the messages that are due now, for these channels; returns how many."""
    if not channels:
        return 0
    composed = 0
    groups = _grouped(tx.dicts(_NEW))
    for group in groups:
        if is_urgent(group.kind):
            composed += _urgent(tx, rules, group, channels)
    rest = [group for group in groups if not is_urgent(group.kind)]
    if rest and _is_digest_due(tx, rules, rest):
        title = "digest: " + "; ".join(group.title for group in rest[:SHOWN])
        body = [line for group in rest for line in (group.title, *group.lines())]
        _write(tx, MessageReason.DIGEST, None, rest, title, body, channels)
        composed += 1
    waiting = {(group.kind, group.account) for group in groups}
    return composed + _follow_up(tx, rules, channels, waiting)


def _urgent(tx: Transaction, rules: AlertsConfig, group: Group, channels: Sequence[str]) -> int:
    state = _state(tx, group)
    longest = rules.repeat_hours * 3600
    wait = rules.window_seconds
    if state is not None and state["is_open"]:
        if state["told_at"] <= clock.now_text() < clock.later(state["told_at"], state["wait_seconds"]):
            return 0
        wait = min(2 * state["wait_seconds"], max(longest, wait))
    _write(tx, MessageReason.URGENT, group, [group], group.title, group.lines(), channels)
    _remember(tx, group, is_open=True, wait=wait)
    return 1


def _follow_up(
    tx: Transaction, rules: AlertsConfig, channels: Sequence[str], waiting: set[tuple[str, str]]
) -> int:
    """Say once that a group is resolved, and now and then that it is not.

    One that is ``waiting`` has new alerts, told or soon to be.
    """
    composed, now = 0, clock.now_text()
    for state in tx.dicts("SELECT * FROM alert_groups WHERE is_open = 1"):
        since = _first_message(tx, state)
        rows = tx.dicts(_TOLD, (state["group_kind"], state["account"], since))
        group = Group(state["group_kind"], state["account"], tuple(rows))
        left = tuple(row for row in rows if row["acknowledged_at"] is None)
        if not left and (group.kind, group.account) in waiting:
            continue
        if not left:
            by = sorted({str(row["acknowledged_by"]) for row in rows})
            who = "their cause has gone" if by == [TRADELOG] else f"ended by {', '.join(by)}"
            lines = [*group.lines(), who]
            _write(tx, MessageReason.RESOLVED, group, [], f"resolved: {group.title}", lines, channels)
            _remember(tx, group, is_open=False, wait=state["wait_seconds"])
        elif not state["told_at"] <= now < clock.later(state["told_at"], rules.repeat_hours * 3600):
            open_ = Group(group.kind, group.account, left)
            title = f"still open: {open_.title}"
            _write(tx, MessageReason.REPEAT, group, [], title, open_.lines(), channels)
            _remember(tx, group, is_open=True, wait=state["wait_seconds"])
        else:
            continue
        composed += 1
    return composed


def _grouped(rows: Iterable[dict[str, Any]]) -> list[Group]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        kind = "no_buying_power" if row["failure_code"] in _NO_BUYING_POWER else row["kind"]
        account = f"{row['account']} ({row['broker']}, {row['environment']})" if row["account"] else ""
        groups.setdefault((kind, account), []).append(row)
    return [Group(kind, account, tuple(rows)) for (kind, account), rows in groups.items()]


def _is_digest_due(tx: Transaction, rules: AlertsConfig, groups: Sequence[Group]) -> bool:
    """Whether the time of the digest has passed since the oldest alert, and since the last digest."""
    zone = clock.zone(clock.MARKET_ZONE)
    now = clock.now().astimezone(zone)
    at = datetime.combine(now.date(), time.fromisoformat(rules.digest_at), zone)
    if at > now:
        at = datetime.combine(now.date() - timedelta(days=1), time.fromisoformat(rules.digest_at), zone)
    latest = clock.to_text(at)
    row = tx.one(
        "SELECT created_at FROM alert_messages WHERE reason = 'digest' ORDER BY message_id DESC LIMIT 1"
    )
    last = None if row is None else row[0]
    oldest = min(row["created_at"] for group in groups for row in group.alerts)
    present = clock.to_text(now)
    return (oldest < latest or oldest > present) and (last is None or last < latest or last > present)


def _state(tx: Transaction, group: Group) -> dict[str, Any] | None:
    rows = tx.dicts(
        "SELECT * FROM alert_groups WHERE group_kind = ? AND account = ?", (group.kind, group.account)
    )
    return rows[0] if rows else None


def _first_message(tx: Transaction, state: dict[str, Any]) -> int:
    """The group's first message since it was resolved last."""
    row = tx.one(
        "SELECT min(message_id) FROM alert_messages WHERE group_kind = ?1 AND account = ?2 AND message_id >"
        " coalesce((SELECT max(message_id) FROM alert_messages WHERE group_kind = ?1 AND account = ?2"
        " AND reason = 'resolved'), 0)",
        (state["group_kind"], state["account"]),
    )
    return int(row[0])


def _remember(tx: Transaction, group: Group, *, is_open: bool, wait: int) -> None:
    tx.unaudited(
        "INSERT INTO alert_groups (group_kind, account, is_open, told_at, wait_seconds)"
        " VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET is_open = excluded.is_open, told_at = excluded.told_at,"
        " wait_seconds = excluded.wait_seconds",
        (group.kind, group.account, int(is_open), clock.now_text(), wait),
    )


def _write(
    tx: Transaction,
    reason: MessageReason,
    group: Group | None,
    told: Sequence[Group],
    title: str,
    lines: Sequence[str],
    channels: Sequence[str],
) -> None:
    """Write a message, mark the alerts that it tells of, and put it on its way through each channel."""
    ids = [row["alert_id"] for item in told for row in item.alerts]
    head = tx.one("SELECT seq, lower(hex(hash)) FROM journal ORDER BY seq DESC LIMIT 1")
    message_id = tx.insert(
        "alert_messages",
        {
            "reason": reason,
            "group_kind": None if group is None else group.kind,
            "account": None if group is None else group.account,
            "first_alert": min(ids, default=None),
            "alert_count": len(ids) or (0 if group is None else len(group.alerts)),
            "title": f"tradelog: {title}",
            # The head of the journal leaves the machine with it, as evidence of what was written by then.
            "body": "\n".join([*lines, "", f"journal {head[0]} {head[1]}" if head else "journal 0"]),
            "created_at": clock.now_text(),
        },
    )
    tx.unaudited(
        "UPDATE alerts SET message_id = ? WHERE alert_id IN (SELECT value FROM json_each(?))",
        (message_id, json.dumps(ids)),
    )
    for channel in channels:
        tx.unaudited(
            "INSERT INTO alert_deliveries (message_id, channel, tries, next_at) VALUES (?, ?, 0, ?)",
            (message_id, channel, clock.now_text()),
        )
