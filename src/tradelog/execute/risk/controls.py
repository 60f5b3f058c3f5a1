"""Controls: halt and resume, approve and decline, lift a limit, and the throttle. Each is an event.

Every function is one step inside a transaction of the caller, which journals it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from tradelog.config.risk import RiskConfig, as_text, as_toml, check_risk, limit_from, with_lifts
from tradelog.config.schema import Config
from tradelog.domain import clock, money
from tradelog.domain.account import EVERY_ACCOUNT, AccountKey
from tradelog.domain.status import ControlScope, DecisionStatus
from tradelog.domain.text import counted
from tradelog.errors import NotFound, UsageError
from tradelog.execute.outbox import transitions
from tradelog.operate.alerts import TRADELOG, clear, raise_alert
from tradelog.store import control_state
from tradelog.store.writer import Transaction

# A halt of a person is for every account of the store, whichever is configured in the moment of need.
EVERYWHERE = EVERY_ACCOUNT
CONFIGURED = "limit.configured"
# What a halt of everything is about, where it is not a person's: one ends by a reconciliation alone.
RESTORED = control_state.RESTORED
BEHIND = "behind"
LIFTED = "limit.lifted"
LIMITS = tuple(item.name for item in fields(RiskConfig))
# How old a decision may get is a rule of each strategy, in its own table.
LIFTABLE = tuple(name for name in LIMITS if name != "max_age_seconds")


def record_event(
    tx: Transaction,
    kind: str,
    subject: str,
    actor: str,
    reason: str,
    old: str | None = None,
    new: str | None = None,
    *,
    account: AccountKey | None = None,
    until: str | None = None,
) -> None:
    """Record what was decided, by whom and why."""
    row: dict[str, Any] = {
        "kind": kind,
        "subject": subject,
        "actor": actor,
        "reason": reason,
        "old_value": old,
        "new_value": new,
        "created_at": tx.now,
    }
    if account is not None:
        row |= account.as_columns()
    tx.insert("control_events", row if until is None else row | {"until": until})


def halt(
    tx: Transaction, scope: str, subject: str, actor: str, reason: str, account: AccountKey = EVERYWHERE
) -> bool:
    """Halt submission for a scope; False where it is halted already."""
    open_halt = tx.one(
        "SELECT 1 FROM halts WHERE ended_at IS NULL AND broker = ? AND environment = ? AND account = ?"
        " AND scope = ? AND subject = ?",
        (*account, scope, subject),
    )
    if open_halt is not None:
        return False
    row = account.as_columns()
    row |= {"scope": scope, "subject": subject, "actor": actor, "reason": reason, "created_at": tx.now}
    tx.insert("halts", row)
    named = _named(scope, subject)
    record_event(tx, "halt", named, actor, reason, "running", "halted", account=account)
    if actor != TRADELOG:  # the throttle has an alert of its own
        raise_alert(tx, "halted", named, f"halted by {actor}: {named}: {reason}")
    tx.journal("halt", _named(scope, subject))
    return True


def resume(tx: Transaction, scope: str, subject: str, by: str, reason: str, account: AccountKey) -> int:
    """End the halts of a scope, of all accounts and of this one; returns how many there were."""
    rows = tx.query(
        "SELECT halt_id, broker, environment, account FROM halts WHERE ended_at IS NULL AND scope = ?"
        " AND subject IN (?, ?) AND (account = '' OR (broker = ? AND environment = ? AND account = ?))",
        (scope, subject, BEHIND if scope == ControlScope.ALL else subject, *account),
    )
    name = _named(scope, subject)
    for halt_id, *whose in rows:
        tx.update("halts", halt_id, {"ended_at": tx.now, "ended_by": by, "ended_why": reason})
        record_event(tx, "resume", name, by, reason, "halted", "running", account=AccountKey(*whose))
    if scope == "strategy":
        clear(tx, subject, ("strategy_halted",), by=by)
    clear(tx, name, ("halted",), by=by)
    if scope == ControlScope.ALL:
        clear(tx, str(account), ("store_behind",), by=by)
    tx.journal_rest("resume", name)
    return len(rows)


def halt_restored(tx: Transaction, account: AccountKey, why: str) -> None:
    """Halt an account until a reconciliation has shown what the restored store does not know."""
    halt(tx, ControlScope.ALL, RESTORED, TRADELOG, why, account)
    text = f"{account.label}: {why}: nothing is submitted until a reconciliation has run"
    raise_alert(tx, "restored", str(account), text)


def end_restored(tx: Transaction, account: AccountKey) -> None:
    """Resume an account whose reconciliation since a restore is complete."""
    rows = tx.query(
        "SELECT halt_id FROM halts WHERE ended_at IS NULL AND scope = 'all' AND subject = ?"
        " AND broker = ? AND environment = ? AND account = ?",
        (RESTORED, *account),
    )
    for (halt_id,) in rows:
        ended = {"ended_at": tx.now, "ended_by": TRADELOG, "ended_why": "reconciled"}
        tx.update("halts", halt_id, ended)
        record_event(tx, "resume", RESTORED, TRADELOG, "reconciled", "halted", "running", account=account)
    clear(tx, str(account), ("restored",))
    tx.journal_rest("store.reconciled", str(account))


def halt_behind(tx: Transaction, account: AccountKey, why: str) -> None:
    """Halt an account because the store lacks what it once held, until a person resumes it."""
    if halt(tx, ControlScope.ALL, BEHIND, TRADELOG, why, account):
        text = f"{account.label}: {why}; tradelog decisions --strategy manual lists what it"
        text += " does not know; then tradelog resume"
        raise_alert(tx, "store_behind", str(account), text)
        tx.journal("store.behind", str(account))


def halt_for_orders_of_other_logs(tx: Transaction, account: AccountKey) -> None:
    """Halt where the broker has orders of a tradelog that are not in this store: it is behind, or not alone.

    What the first reconciliation of a store finds is history, unless it was restored.
    """
    found = tx.one(
        "SELECT count(*), max(a.created_at) FROM alerts a INDEXED BY uq_alerts_open"
        " JOIN trade_decisions d ON d.decision_id = a.subject"
        " LEFT JOIN reconcile_marks m ON m.broker = d.broker AND m.environment = d.environment"
        " AND m.account = d.account"
        " WHERE a.kind = 'order_of_another_log' AND a.acknowledged_at IS NULL"
        " AND (m.opened_at < a.created_at OR EXISTS (SELECT 1 FROM restores))"
        " AND d.broker = ? AND d.environment = ? AND d.account = ?",
        account,
    )
    known = tx.one(
        "SELECT 1 FROM halts WHERE scope = 'all' AND subject = ? AND broker = ? AND environment = ?"
        " AND account = ? AND created_at >= ?",
        (BEHIND, *account, found[1]),
    )
    if found[0] and known is None:
        orders = f"{counted(found[0], 'order')} at the broker of a tradelog that this store does not have"
        halt_behind(tx, account, orders)


def throttle(tx: Transaction, account: AccountKey, decision: Mapping[str, Any], limits: RiskConfig) -> bool:
    """Halt a strategy that has submitted too many automatic orders, until a person resumes it.

    The decision that would be the next one is left out: it may have been tried before.
    """
    most, strategy = limits.throttle_orders, str(decision["strategy_name"])
    if most is None or strategy == "manual":
        return False
    since = clock.later(tx.now, -float(limits.throttle_minutes) * 60)
    resumed = tx.one(
        "SELECT max(ended_at) FROM halts WHERE scope = 'strategy' AND subject = ?"
        " AND (account = '' OR (broker = ? AND environment = ? AND account = ?))",
        (strategy, *account),
    )[0]
    sent = tx.one(
        "SELECT count(DISTINCT e.client_order_id) FROM trade_executions e"
        " JOIN trade_decisions d ON d.decision_id = e.decision_id"
        " WHERE e.broker = ? AND e.environment = ? AND e.account = ? AND e.started_at > ?"
        " AND e.status <> 'not_sent' AND d.strategy_name = ? AND d.adopted = 0 AND d.decision_id <> ?",
        (*account, max(since, resumed or ""), strategy, decision["decision_id"]),
    )[0]
    if sent < most:
        return False
    why = f"{counted(sent, 'order')} within {money.to_text(limits.throttle_minutes)} minutes"
    halt(tx, "strategy", strategy, "tradelog", why, account)
    raise_alert(
        tx,
        "strategy_halted",
        strategy,
        f"{strategy} was halted by its throttle: {why}; tradelog resume --strategy",
    )
    tx.journal("strategy.throttled", strategy)
    return True


def limits_in_force(
    rows: control_state.Rows, account: AccountKey, configured: RiskConfig, now: str
) -> RiskConfig:
    """The configured limits, with those that are lifted now."""
    lifted = control_state.lifts(rows, account, now)
    return with_lifts(configured, {name: item.value for name, item in lifted.items()})


def lift_limit(
    tx: Transaction, config: Config, name: str, value: Any, *, until: str, actor: str, reason: str
) -> tuple[str, str]:
    """Lift a limit to another value until a time, or end the lift for None.

    Returns (old, new) as text. Raises UsageError where it cannot be lifted, ConfigError for a wrong value.
    """
    check_liftable(name)
    if name == "max_order_notional" and value == "off" and config.broker.environment == "live":
        raise UsageError("live trading keeps a max_order_notional", hint="give an amount")
    if until <= tx.now:
        raise UsageError(f"{until} is in the past", hint='such as --until "2026-12-24 16:00"')
    old = getattr(limits_in_force(tx.dicts, config.account, config.risk, tx.now), name)
    new = getattr(config.risk, name) if value is None else limit_from(name, value, name)
    check_risk(replace(config.risk, **{name: new}))
    stored = None if value is None else json.dumps(as_toml(new))
    account = config.account
    record_event(tx, LIFTED, name, actor, reason, as_text(old), stored, account=account, until=until)
    tx.journal("limit.lifted", name)
    return as_text(old), as_text(new)


def check_liftable(name: str) -> None:
    """Raise UsageError for a name that is no limit, or none that can be lifted."""
    if name not in LIFTABLE:
        raise UsageError(f"{name!r} cannot be lifted", hint=f"one of: {', '.join(LIFTABLE)}")


def record_configured_limits(tx: Transaction, config: Config, actor: str) -> None:
    """Record each configured limit, and each rule of a strategy, that differs from the last recorded one.

    A strategy's rules carry its name; without a table it has the rules of every other strategy.
    """
    account = config.account
    now = {name: as_text(getattr(config.risk, name)) for name in LIMITS}
    for strategy in {*config.controls, *_strategies_noted(tx, account)}:
        rule = config.control(strategy)
        now |= {f"{strategy}.{item.name}": as_text(getattr(rule, item.name)) for item in fields(rule)}
    recorded = dict(
        tx.query(
            "SELECT subject, new_value FROM control_events WHERE event_id IN (SELECT max(event_id)"
            " FROM control_events WHERE kind = ? AND broker = ? AND environment = ? AND account = ?"
            " AND subject IN (SELECT value FROM json_each(?)) GROUP BY subject)",
            (CONFIGURED, *account, json.dumps(sorted(now))),
        )
    )
    for name, text in now.items():
        if recorded.get(name) != text:
            record_event(
                tx, CONFIGURED, name, actor, "tradelog.toml", recorded.get(name), text, account=account
            )
    tx.journal_rest("limits.configured", str(account))


def _strategies_noted(tx: Transaction, account: AccountKey) -> set[str]:
    rows = tx.query(
        "SELECT DISTINCT subject FROM control_events WHERE kind = ? AND broker = ? AND environment = ?"
        " AND account = ? AND subject LIKE '%.%'",
        (CONFIGURED, *account),
    )
    return {subject.rpartition(".")[0] for (subject,) in rows}


def approve(tx: Transaction, config: Config, decision_id: str, by: str, reason: str | None) -> None:
    """Approve a decision that waits for a person. Raises UsageError where it does not wait."""
    _waiting(tx, config, decision_id)
    changes = {"approval": "approved", "approval_at": tx.now, "approval_by": by}
    tx.update("trade_decisions", decision_id, changes)
    record_event(tx, "approve", decision_id, by, reason or "", "waiting", "approved", account=config.account)
    clear(tx, decision_id, ("approval_waiting",), by=by)
    tx.journal("decision.approved", decision_id)


def decline(tx: Transaction, config: Config, decision_id: str, by: str, reason: str) -> None:
    """Decline a decision that waits for a person: it ends. Raises UsageError where it does not wait."""
    _waiting(tx, config, decision_id)
    changes = {"approval": "declined", "approval_at": tx.now, "approval_by": by}
    tx.update("trade_decisions", decision_id, changes)
    transitions.end_unsubmitted(
        tx, decision_id, DecisionStatus.CANCELLED, "declined", f"declined by {by}: {reason}"
    )
    record_event(tx, "decline", decision_id, by, reason, "waiting", "declined", account=config.account)
    clear(tx, decision_id, ("approval_waiting",), by=by)
    tx.journal("decision.declined", decision_id)


def _waiting(tx: Transaction, config: Config, decision_id: str) -> None:
    rows = tx.dicts("SELECT * FROM trade_decisions WHERE decision_id = ?", (decision_id,))
    if not rows:
        raise NotFound(f"no decision {decision_id}")
    row: Mapping[str, Any] = rows[0]
    hint = f"tradelog show {decision_id}"
    if row["approval"] is not None:
        raise UsageError(f"{decision_id} is {row['approval']} already, by {row['approval_by']}", hint=hint)
    if row["status"] != DecisionStatus.PENDING:
        raise UsageError(f"{decision_id} is {row['status']}", hint=hint)
    if row["expires_at"] is not None and row["expires_at"] <= tx.now:
        raise UsageError(f"{decision_id} expired at {row['expires_at']}", hint=hint)
    control = config.control(row["strategy_name"])
    if not control.approval:
        raise UsageError(f"decisions of {row['strategy_name']} need no approval", hint=hint)
    if clock.later(row["created_at"], float(control.approval_hours) * 3600) <= tx.now:
        hours = money.to_text(control.approval_hours)
        raise UsageError(f"{decision_id} was not approved within {hours} h, and is over", hint=hint)


def _named(scope: str, subject: str) -> str:
    return "everything" if scope == "all" else f"{scope} {subject}"
