"""Delivery: messages go out through each channel on its own, tried again with growing pauses.

Runs in a process of its own, `tradelog alerts send`. Each try is on record before it is made: whoever is
killed in between, or waits for an answer in vain, does not send in a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tradelog.config.schema import AlertsConfig
from tradelog.domain import clock
from tradelog.operate import channels, messages
from tradelog.operate.alerts import clear, raise_alert
from tradelog.operate.channels import Channel, Message
from tradelog.store.writer import Transaction, Writer

FIRST_PAUSE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 3600.0
# About seven hours.
MAX_TRIES = 12
# So many tries of a message, and its channel is an alert of its own.
TRIES_BEFORE_ALERT = 3
_DUE = """
SELECT q.message_id, q.channel, q.tries, m.* FROM alert_deliveries q INDEXED BY ix_deliveries_due
JOIN alert_messages m ON m.message_id = q.message_id
-- What lies further ahead than any pause was written while the clock was ahead.
WHERE q.next_at <= ? OR q.next_at > ?
ORDER BY m.reason = 'digest', m.reason <> 'urgent', q.message_id
"""


_FAILED = "SELECT subject FROM alerts WHERE kind = 'channel_failed' AND acknowledged_at IS NULL"
_LEFT = """
SELECT (SELECT count(*) FROM alerts INDEXED BY ix_alerts_unsent
        WHERE message_id IS NULL AND acknowledged_at IS NULL) AS untold,
       (SELECT count(*) FROM alert_deliveries WHERE next_at IS NOT NULL) AS owed
"""


@dataclass(slots=True)
class Outcome:
    """What a run of the delivery did; ``errors`` by channel.

    ``untold`` alerts wait for the digest or their window, ``owed`` messages for another try.
    """

    composed: int = 0
    delivered: int = 0
    untold: int = 0
    owed: int = 0
    errors: dict[str, str] = field(default_factory=dict)


def run(writer: Writer, config: AlertsConfig, given: Sequence[Channel] | None = None) -> Outcome:
    """Compose what is due, and send it. Raises StoreError."""
    by_label = {item.label: item for item in (channels.configured(config) if given is None else given)}
    outcome = Outcome()
    with writer.transaction() as tx:
        outcome.composed = messages.compose(tx, config, list(by_label))
        for subject in tx.query(_FAILED):
            if subject[0] not in by_label:
                clear(tx, subject[0], ("channel_failed",))
        tx.journal_rest("alerts.channel_gone", "alerts")
    now = clock.now_text()
    for row in writer.rows(_DUE, (now, clock.later(now, 2 * LONGEST_PAUSE_SECONDS))):
        label = row["channel"]
        # One that does not answer is not asked again for each message.
        if label in outcome.errors:
            continue
        with writer.transaction() as tx:
            is_ours = _claim(tx, row)
        if not is_ours:
            continue
        channel = by_label.get(label)
        error = "it is no longer configured" if channel is None else channel.send(_message(writer, row))
        with writer.transaction() as tx:
            _record(tx, row, error, is_gone=channel is None)
        if error is None:
            outcome.delivered += 1
        elif channel is not None:
            outcome.errors[label] = error
    left = writer.rows(_LEFT)[0]
    outcome.untold, outcome.owed = left["untold"], left["owed"]
    return outcome


def _claim(tx: Transaction, row: dict[str, Any]) -> bool:
    """Count the try, unless another process has taken it."""
    pause = min(FIRST_PAUSE_SECONDS * 2 ** row["tries"], LONGEST_PAUSE_SECONDS)
    return bool(
        tx.unaudited(
            "UPDATE alert_deliveries SET tries = tries + 1, next_at = ? WHERE message_id = ? AND channel = ?"
            " AND tries = ? AND next_at IS NOT NULL",
            (clock.later(clock.now_text(), pause), row["message_id"], row["channel"], row["tries"]),
        )
    )


def _message(writer: Writer, row: dict[str, Any]) -> Message:
    alerts = writer.rows("SELECT kind, subject FROM alerts WHERE alert_id = ?", (row["first_alert"],))
    first = alerts[0] if alerts else {"kind": row["group_kind"] or row["reason"], "subject": ""}
    return Message(
        row["message_id"],
        row["reason"],
        row["group_kind"] or first["kind"],
        first["subject"],
        row["account"] or "",
        row["alert_count"],
        row["title"],
        row["body"],
        row["created_at"],
        row["body"].rpartition("journal ")[2],
        row["tries"] > 0,
    )


def _record(tx: Transaction, row: dict[str, Any], error: str | None, *, is_gone: bool) -> None:
    key = (row["message_id"], row["channel"])
    if error is None:
        tx.unaudited(
            "UPDATE alert_deliveries SET delivered_at = ?, next_at = NULL, error = NULL"
            " WHERE message_id = ? AND channel = ?",
            (tx.now, *key),
        )
        tx.unaudited(
            "UPDATE alerts SET told_at = coalesce(told_at, ?), tell_error = NULL WHERE message_id = ?",
            (tx.now, row["message_id"]),
        )
        clear(tx, row["channel"], ("channel_failed",))
    else:
        tries = row["tries"] + 1
        tx.unaudited(
            "UPDATE alert_deliveries SET error = ?, next_at = CASE WHEN ? THEN NULL ELSE next_at END"
            " WHERE message_id = ? AND channel = ?",
            (error, is_gone or tries >= MAX_TRIES, *key),
        )
        tx.unaudited(
            "UPDATE alerts SET tell_tries = ?, tell_error = ? WHERE alert_id = ?",
            (tries, f"{row['channel']}: {error}", row["first_alert"]),
        )
        if tries >= TRIES_BEFORE_ALERT and not is_gone:
            text = f"messages do not reach people by {row['channel']}: {error}"
            raise_alert(tx, "channel_failed", row["channel"], text)
    tx.journal_rest("alerts.delivered" if error is None else "alerts.undelivered", str(row["message_id"]))
