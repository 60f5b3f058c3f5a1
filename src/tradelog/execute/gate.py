"""The gate that every order passes right before it is sent: what is due, and what the limits say of it.

    prepare (no transaction open): ask the broker for what the checks look at
    claim (one commit): halts, approval, expiry, limits → an attempt, a failed decision, or a wait

What a check looks at is asked for outside the claim, so that no transaction waits for the network; the
claim only takes answers that are fresh. Sums and counts come from the store, under the lock of the claim:
no two workers can spend one limit twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from tradelog import clock, money, prices
from tradelog.config import RiskConfig
from tradelog.execute import control, outbox, risk, sessions, settle, spending
from tradelog.execute.brokers.base import WireOrder
from tradelog.execute.line import Line, Patience
from tradelog.execute.outcome import Kind, of_lookup
from tradelog.execute.snapshots import Snapshot, Snapshots, quoted
from tradelog.operate.alerts import clear, raise_alert
from tradelog.store import controls
from tradelog.store.writer import Transaction

# Kinds whose subject is the symbol; the others are of the whole account.
_BY_SYMBOL = ("quote", "asset")
# What our own orders change: asked for anew each time it is looked at.
_CHANGED_BY_US = ("position", "account")
# So often a quote or an asset is asked for in vain before that counts as an answer.
LOOKS = 3
# No more decisions are ended in one commit: others want to write, too.
MOST_AT_ONCE = 50


class Gate:
    def __init__(self, line: Line) -> None:
        self._line = line
        self._writer = line.writer
        self._config = line.config
        self.snapshots = Snapshots(line.writer, line.broker, line.account)
        self._patience = Patience(4.0)
        self._sessions: list[sessions.Session] = []
        self._prices: prices.Prices | None = None
        # What the limits, or the time, have ended since somebody last asked.
        self.ended: set[str] = set()

    def claim_next(self) -> outbox.Claim | None:
        """The oldest due decision that may be sent, as a claim; None where there is none now."""
        while self._line.is_open():
            # Without the lock: the claim looks again.
            decision = self._due(self._writer.rows, clock.now_text())
            if decision is None:
                return None
            if not self.prepare(outbox.wire_order(decision)):
                continue
            with self._writer.transaction() as tx:
                claim = self.claim(tx, decision["decision_id"])
            if claim is not None:
                return claim
        return None

    def claim(self, tx: Transaction, prepared: str | None = None) -> outbox.Claim | None:
        """Claim within a transaction. Where something must be asked for first, None.

        What cannot be known although it was ``prepared`` fails that decision as stale data.
        """
        account = self._line.account
        limits = control.limits(tx.dicts, account, self._config.risk, tx.now)
        for _ in range(MOST_AT_ONCE):
            decision = self._due(tx.dicts, tx.now)
            if decision is None:
                return None
            order = outbox.wire_order(decision)
            if decision["decision_id"] != prepared and not self._is_ready(limits, order):
                return None
            if control.throttle(tx, account, decision["strategy_name"], limits):
                continue
            passed, value = self.judge(tx, decision, order, limits)
            if passed:
                return outbox.claim(tx, decision, self._line.worker_id, self._line.lease, value)
        return None

    def prepare(self, order: WireOrder) -> bool:
        """Ask for what the checks of an order look at; False where that has to wait."""
        rows, now = self._writer.rows, clock.now_text()
        limits = control.limits(rows, self._line.account, self._config.risk, now)
        for kind in sorted(risk.needs(limits, order)):
            subject = order.symbol if kind in _BY_SYMBOL else ""
            if kind not in _CHANGED_BY_US and self._is_fresh(limits, kind, subject):
                continue
            if not self._line.is_open() or not self._ask(kind, subject):
                return False
        return True

    def judge(
        self,
        tx: Transaction,
        decision: Mapping[str, Any],
        order: WireOrder,
        limits: RiskConfig,
    ) -> tuple[bool, Decimal | None]:
        """Hold a decision against the limits and write down what they say; (passed, its value in dollars).

        One that fails ends here; one that waits for the market is put off. The caller journals.
        """
        facts = self._facts(tx, decision, order, limits, None)
        checks = risk.judge(limits, facts)
        failed = next((item for item in checks if not item.passed), None)
        waits_until = None if failed else self._waits_until(limits, order, facts)
        self._record(tx, decision, order, limits, checks, held=waits_until is not None)
        if failed is not None:
            self._fail(tx, decision, failed)
        elif waits_until is not None:
            self._hold(tx, decision, waits_until)
        return failed is None and waits_until is None, facts.value

    def judge_replacement(
        self,
        tx: Transaction,
        decision: Mapping[str, Any],
        order: WireOrder,
        limits: RiskConfig,
        replaces: Mapping[str, Any],
    ) -> tuple[str | None, Decimal | None]:
        """Why an order may not take the place of ``replaces``, an execution; and its value in dollars.

        Its decision goes on, whatever is said. The caller journals.
        """
        facts = self._facts(tx, decision, order, limits, replaces)
        checks = risk.judge(limits, facts)
        failed = next((item for item in checks if not item.passed), None)
        self._record(tx, decision, order, limits, checks)
        return (None if failed is None else f"risk.{failed.code}: {_in_words(failed)}"), facts.value

    def expire(self, tx: Transaction) -> int:
        """Cancel what was not sent in time: past its own time, too old, or never approved."""
        config, ended = self._config, 0
        rules = [config.control(""), *config.controls.values()]
        ages = [rule.max_age_seconds for rule in rules if rule.max_age_seconds is not None]
        ages += [rule.approval_hours * 3600 for rule in rules if rule.approval]
        oldest = clock.later(tx.now, -float(min(ages))) if ages else ""
        for row in tx.dicts(
            "SELECT decision_id, strategy_name, symbol, extended_hours, time_in_force, created_at,"
            " expires_at, approval, approval_at, held_until FROM trade_decisions WHERE status = 'pending'"
            " AND broker = ? AND environment = ? AND account = ? AND (expires_at <= ? OR created_at <= ?)",
            (*self._line.account, tx.now, oldest),
        ):
            why = self._too_late(tx, row)
            if why is None:
                continue
            settle.end_unsent(tx, row["decision_id"], "cancelled", "expired_unsent", why)
            clear(tx, row["decision_id"], ("approval_waiting",))
            tx.journal("decision.expired_unsent", row["decision_id"])
            self.ended.add(row["decision_id"])
            ended += 1
        return ended

    def ask_for_approval(self, tx: Transaction) -> None:
        """Tell of each decision that waits for a person."""
        strategies = self._approved_only()
        if not strategies:
            return
        for row in tx.dicts(
            "SELECT decision_id, strategy_name, symbol, side FROM trade_decisions WHERE status = 'pending'"
            " AND broker = ? AND environment = ? AND account = ? AND approval IS NULL"
            " AND strategy_name IN (SELECT value FROM json_each(?))",
            (*self._line.account, json.dumps(strategies)),
        ):
            text = f"{row['strategy_name']}: {row['side']} {row['symbol']} waits for approval"
            raise_alert(tx, "approval_waiting", row["decision_id"], text, once=True)
        tx.journal_rest("approval.waiting", ":".join(self._line.account))

    def know_sessions(self) -> None:
        """Where decisions wait for the open: the hours since the oldest of them, asked for once a day.

        Without an answer nothing is sent: what has waited too long could not be told from what has not.
        """
        if self._config.risk.market_hours != "wait" or not self._line.is_open():
            return
        with self._writer.reading() as connection:
            oldest = connection.execute(
                "SELECT min(created_at) FROM trade_decisions WHERE status = 'pending'"
                " AND broker = ? AND environment = ? AND account = ?",
                self._line.account,
            ).fetchone()[0]
        if oldest is None:
            return
        first, today = clock.from_text(oldest), clock.now()
        known = self._sessions
        if known and known[0].opens <= first and known[-1].closes > today:
            return
        start, end = (first - timedelta(days=7)).date(), (today + timedelta(days=10)).date()
        exchange = self._line.broker.calendar(start.isoformat(), end.isoformat())
        self._line.hear(exchange, quiet=True)
        found = sessions.read(exchange.json()) if exchange.status == 200 else None
        if found:
            self._sessions = found
        else:
            self._line.pause(self._line.backoff())

    def is_halted(self, strategy: str, symbol: str) -> bool:
        """Whether a halt covers it at this moment: looked at once more right before a request leaves."""
        return controls.halts(self._writer.rows, self._line.account).covers(strategy, symbol)

    def _due(self, rows: controls.Rows, now: str) -> dict[str, Any] | None:
        halted = controls.halts(rows, self._line.account)
        if halted.everything:
            return None
        waiting = [key.partition(":")[2] for key in self._patience.waiting()]
        return outbox.due(
            rows,
            self._line.account,
            now,
            strategies=sorted(halted.strategies),
            symbols=sorted({*halted.symbols, *waiting}),
            approved_only=self._approved_only(),
        )

    def _approved_only(self) -> list[str]:
        return sorted(name for name, rule in self._config.controls.items() if rule.approval)

    def _is_fresh(self, limits: RiskConfig, kind: str, subject: str) -> bool:
        found = self.snapshots.get(kind, subject)
        if found is None or found.age() > float(limits.max_snapshot_seconds) / 2:
            return False
        return kind != "clock" or found.value is None or not _has_turned(found)

    def _is_ready(self, limits: RiskConfig, order: WireOrder) -> bool:
        """Whether all that the checks look at is known, without another question."""
        return all(
            kind not in _CHANGED_BY_US
            and self._is_fresh(limits, kind, order.symbol if kind in _BY_SYMBOL else "")
            for kind in risk.needs(limits, order)
        )

    def _ask(self, kind: str, subject: str) -> bool:
        """Ask once; False where there is no answer to go by, and the line or the symbol has to wait."""
        key = f"{kind}:{subject}"
        exchange, is_answered = self.snapshots.ask(kind, subject)
        if kind not in _BY_SYMBOL:
            # The broker itself: what ails it concerns every order, and consumes none.
            verdict = of_lookup(exchange)
            self._line.hear(exchange, verdict, quiet=True)
            if not is_answered and verdict.kind is not Kind.THROTTLED:
                self._line.pause(self._line.backoff())
            return is_answered
        if is_answered:
            self._patience.done(key)
            return True
        self._patience.failed(key)
        if self._patience.failures(key) < LOOKS:
            return False
        self._patience.done(key)
        said = exchange.error or f"HTTP {exchange.status}"
        self.snapshots.give_up(kind, subject, f"asked {LOOKS} times, without an answer: {said}")
        return True

    def _facts(
        self,
        tx: Transaction,
        decision: Mapping[str, Any],
        order: WireOrder,
        limits: RiskConfig,
        replaces: Mapping[str, Any] | None,
    ) -> risk.Facts:
        needed = risk.needs(limits, order)
        unknown: dict[str, str] = {}
        quote, asset, hours, held, power = (
            self._value(limits, kind, order.symbol, unknown) if kind in needed else None
            for kind in ("quote", "asset", "clock", "position", "account")
        )
        last = None if quote is None else quoted(quote.value, order.symbol, order.side)
        if quote is not None and last is None:
            unknown["quote"] = "neither side of it has a price"
        price = risk.valuing_price(order, last)
        if price is None and "quote" in needed:
            price = self._last_close(order.symbol)
        replaced = None if replaces is None else str(replaces["client_order_id"])
        spent = spending.Spending(tx, self._line.account, order.client_order_id, price, replaced)
        return risk.Facts(
            order=order,
            price=price,
            quote=last,
            is_open=None if hours is None else bool(hours.value["is_open"]),
            asset=None if asset is None else asset.value,
            available=None if held is None else spent.available(held, order.symbol),
            exposure=None if held is None or limits.max_gross_exposure is None else spent.exposure(held),
            power=None if power is None else spent.power(power, unknown),
            symbol_sent=spent.today(order.symbol) if limits.max_symbol_notional is not None else money.ZERO,
            day_sent=spent.today(None) if limits.max_day_notional is not None else money.ZERO,
            orders_minute=spent.orders(60) if limits.max_orders_per_minute is not None else 0,
            orders_day=spent.orders_today() if limits.max_orders_per_day is not None else 0,
            duplicate=spent.duplicate(decision, limits.duplicate_window_seconds)
            if replaces is None
            else None,
            unknown=unknown,
            is_refused_unpriced=self._line.broker.refuses_without_price,
        )

    def _last_close(self, symbol: str) -> Decimal | None:
        """Of the price file, for a symbol that the broker has no quote of."""
        if self._prices is None:
            self._prices = prices.load(self._config.market.prices)
        bar = self._prices.last(symbol)
        return None if bar is None else bar.close

    def _value(self, limits: RiskConfig, kind: str, symbol: str, unknown: dict[str, str]) -> Snapshot | None:
        """A snapshot that may be looked at; otherwise why not, in ``unknown``."""
        found = self.snapshots.get(kind, symbol if kind in _BY_SYMBOL else "")
        if found is None:
            unknown[kind] = "never told"
        elif found.value is None:
            unknown[kind] = found.missing or "not told"
        elif found.age() > float(limits.max_snapshot_seconds):
            unknown[kind] = f"told at {found.as_of}, which is too long ago"
        elif kind == "clock" and _has_turned(found):
            unknown[kind] = "the market has opened or closed since it was told"
        else:
            return found
        return None

    def _record(
        self,
        tx: Transaction,
        decision: Mapping[str, Any],
        order: WireOrder,
        limits: RiskConfig,
        checks: Sequence[risk.Check],
        *,
        held: bool = False,
    ) -> None:
        looked = {}
        for kind in sorted(risk.needs(limits, order)):
            found = self.snapshots.get(kind, order.symbol if kind in _BY_SYMBOL else "")
            if found is not None and found.value is not None:
                looked[kind] = {"snapshot": found.snapshot_id, "as_of": found.as_of}
        failed = next((item for item in checks if not item.passed), None)
        said = {"checks": [item.as_row() for item in checks], "snapshots": looked}
        tx.insert(
            "risk_checks",
            {
                "decision_id": decision["decision_id"],
                "client_order_id": order.client_order_id,
                "verdict": "failed" if failed else "held" if held else "passed",
                "code": None if failed is None else f"risk.{failed.code}",
                "checks": json.dumps(said, ensure_ascii=False),
                "checked_at": tx.now,
            },
        )

    def _waits_until(self, limits: RiskConfig, order: WireOrder, facts: risk.Facts) -> str | None:
        if limits.market_hours != "wait" or facts.is_open is not False or not risk.keeps_hours(order):
            return None
        found = self.snapshots.get("clock", "")
        assert found is not None
        return clock.read_moment(found.value["next_open"])

    def _fail(self, tx: Transaction, decision: Mapping[str, Any], check: risk.Check) -> None:
        decision_id, code = decision["decision_id"], f"risk.{check.code}"
        text = f"{decision['symbol']}: {_in_words(check)}"
        settle.end_unsent(tx, decision_id, "failed", code, text)
        raise_alert(tx, "trade_failed", decision_id, text)
        tx.journal("decision.refused_by_limit", decision_id, code=code)
        self.ended.add(decision_id)

    def _hold(self, tx: Transaction, decision: Mapping[str, Any], until: str) -> None:
        changes = {"held_until": until, "next_attempt_at": until}
        tx.update("trade_decisions", decision["decision_id"], changes)
        tx.journal("decision.held", decision["decision_id"], until=until)

    def _too_late(self, tx: Transaction, row: Mapping[str, Any]) -> str | None:
        """Why a pending decision is not sent any more; None while it may be."""
        if row["expires_at"] is not None and row["expires_at"] <= tx.now:
            return f"expired at {row['expires_at']} before it was sent"
        rule = self._config.control(row["strategy_name"])
        if rule.approval and row["approval"] is None:
            hours = money.to_text(rule.approval_hours)
            is_over = clock.later(row["created_at"], float(rule.approval_hours) * 3600) <= tx.now
            return f"nobody approved it within {hours} hours" if is_over else None
        if rule.max_age_seconds is None:
            return None
        since = max(row["created_at"], row["approval_at"] or "")
        since = max(row["held_until"] or self._opened_after(row, since), since)
        if clock.later(since, float(rule.max_age_seconds)) > tx.now:
            return None
        return f"not sent within {money.to_text(rule.max_age_seconds)} s of {since}"

    def _opened_after(self, row: Mapping[str, Any], since: str) -> str:
        """The open that a decision of between the sessions waits for, where it waits; else its own time."""
        is_regular = risk.is_regular(
            row["symbol"], row["time_in_force"], extended_hours=bool(row["extended_hours"])
        )
        if self._config.risk.market_hours != "wait" or not is_regular:
            return since
        opens = sessions.open_after(self._sessions, clock.from_text(since))
        return since if opens is None else clock.to_text(opens)


def _in_words(check: risk.Check) -> str:
    if check.code == risk.STALE:
        return f"{check.name} cannot be checked ({check.note}); the limit is {check.limit}"
    return f"{check.name} is {check.observed}, the limit is {check.limit}"


def _has_turned(snapshot: Snapshot) -> bool:
    """Whether the market has opened or closed since a clock was told."""
    name = "next_close" if snapshot.value["is_open"] else "next_open"
    moment = clock.read_moment(snapshot.value[name])
    return moment is None or clock.now_text() >= moment
