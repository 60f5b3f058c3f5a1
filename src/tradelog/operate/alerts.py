"""Alerts: one row per kind and subject until it is acknowledged.

Raising and clearing are steps inside a transaction of the caller, whose entry journals them. How people are
told of them is in `messages`, `channels` and `delivery`.
"""

from __future__ import annotations

from tradelog.store.writer import Transaction

# Alerts that end by themselves once their cause has gone.
ENDED_BY_CAUSE = ("outcome_unknown", "broker_not_sent", "broker_not_accepted", "needs_attention")
TRADELOG = "tradelog"
# What people are told of at once; the rest is in the digest.
URGENT = (
    *("outcome_unknown", "landed_unrecorded", "no_buying_power", "halted", "strategy_halted"),
    *("keys_refused", "evidence_broken", "channel_failed"),
    *("restored", "store_behind"),
)


def is_urgent(kind: str) -> bool:
    """Whether people are told at once of alerts of this kind, as `messages` groups them."""
    return kind in URGENT or kind.endswith("_break")


def raise_alert(tx: Transaction, kind: str, subject: str, message: str, *, once: bool = False) -> None:
    """Raise an alert unless one of this kind and subject is open. The caller's entry journals it.

    ``once`` is for what will be seen again and again: once acknowledged, it is not raised again.
    """
    existing = tx.one(
        "SELECT 1 FROM alerts WHERE kind = ? AND subject = ? AND (? OR acknowledged_at IS NULL)",
        (kind, subject, once),
    )
    if existing is None:
        tx.insert("alerts", {"kind": kind, "subject": subject, "message": message, "created_at": tx.now})


def clear(
    tx: Transaction, subject: str, kinds: tuple[str, ...] = ENDED_BY_CAUSE, *, by: str = TRADELOG
) -> int:
    """Acknowledge the open alerts of a subject; returns how many. The caller's entry journals it."""
    marks = ", ".join("?" * len(kinds))
    rows = tx.query(
        f"SELECT alert_id FROM alerts WHERE kind IN ({marks}) AND subject = ? AND acknowledged_at IS NULL",
        (*kinds, subject),
    )
    for (alert_id,) in rows:
        tx.update("alerts", alert_id, {"acknowledged_at": tx.now, "acknowledged_by": by})
    return len(rows)


def acknowledge(tx: Transaction, alert_id: int | None, *, by: str) -> list[int]:
    """Acknowledge one open alert, or all for None; returns their numbers. Journals where there were any."""
    rows = tx.query(
        "SELECT alert_id FROM alerts WHERE acknowledged_at IS NULL AND alert_id = coalesce(?, alert_id)",
        (alert_id,),
    )
    for (number,) in rows:
        tx.update("alerts", number, {"acknowledged_at": tx.now, "acknowledged_by": by})
    if rows:
        tx.journal("alerts.acknowledged", "all" if alert_id is None else str(alert_id))
    return [number for (number,) in rows]
