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
from dataclasses import replace
from decimal import Decimal
from typing import Any

from tradelog import prices
from tradelog.config.risk import MAX_ORDER_NOTIONAL, RiskConfig
from tradelog.domain import clock, money, symbols
from tradelog.execute.account.snapshots import Snapshot, Snapshots, quote_age, quote_price
from tradelog.execute.backoff import KeyedBackoff
from tradelog.execute.brokers.base import WireOrder
from tradelog.execute.outbox import claims, transitions
from tradelog.execute.outbox.responses import ResponseKind, classify_lookup
from tradelog.execute.rate_limit import requested_wait
from tradelog.execute.risk import checks, controls, usage
from tradelog.execute.risk.expiry import Expiry
from tradelog.execute.session import BrokerSession
from tradelog.operate import systemd
from tradelog.operate.alerts import clear, raise_alert
from tradelog.store import control_state
from tradelog.store.writer import Transaction

# Kinds whose subject is the symbol; the others are of the whole account.
_BY_SYMBOL = ("quote", "asset")
# What our own orders change: asked for anew each time it is looked at.
_CHANGED_BY_US = ("position", "account")
# A quote that is older, by its own time, is none: the symbol does not trade.
MAX_QUOTE_AGE_SECONDS = 5 * 86_400.0
# The market's clock and ours need not agree to the second at the open.
SESSION_CHANGE_SECONDS = 1.0
# No more decisions are ended in one commit: others want to write, too.
MAX_EXPIRED_PER_COMMIT = 50


class PreTradeChecks:
    def __init__(self, session: BrokerSession) -> None:
        self._session = session
        self._writer = session.writer
        self._config = session.config
        self.snapshots = Snapshots(session.writer, session.broker, session.account)
        self._backoff = KeyedBackoff(4.0)
        self._ages = Expiry(session)
        # Since when each quote or asset has been asked for in vain.
        self._failing_since: dict[str, float] = {}
        self._prices = prices.load(session.config.market.prices)
        # What the limits, or the time, have ended since somebody last asked.
        self.ended: set[str] = set()

    @property
    def is_waiting(self) -> bool:
        """Whether a decision is due that waits for a quote or an asset only."""
        return bool(self._backoff.waiting())

    def claim_next(self, seconds: float = 2.0) -> claims.Claim | None:
        """The oldest due decision that may be sent, as a claim; None where there is none now.

        No more is asked for once ``seconds`` have gone by: others have to be looked after.
        """
        end = clock.running_seconds() + seconds
        while self._session.may_request() and clock.running_seconds() < end:
            # Without the lock: the claim looks again.
            decision = self._due(self._writer.rows, clock.now_text())
            if decision is None:
                return None
            if not self.prepare(claims.wire_order(decision)):
                continue
            with self._writer.transaction() as tx:
                claim = self.claim(tx, decision["decision_id"])
            if claim is not None:
                return claim
        return None

    def claim(self, tx: Transaction, prepared: str | None = None) -> claims.Claim | None:
        """Claim within a transaction. Where something must be asked for first, None.

        What cannot be known although it was ``prepared`` fails that decision as stale data.
        """
        account = self._session.account
        limits = controls.limits_in_force(tx.dicts, account, self._config.risk, tx.now)
        for _ in range(MAX_EXPIRED_PER_COMMIT):
            decision = self._due(tx.dicts, tx.now)
            if decision is None:
                return None
            if self._expire(tx, decision, limits):
                continue
            order = claims.wire_order(decision)
            if decision["decision_id"] != prepared and not self._is_ready(limits, order):
                return None
            if self._has_turned(limits, order):
                return None
            if controls.throttle(tx, account, decision, limits):
                continue
            passed, value = self.judge(tx, decision, order, limits)
            if passed:
                return claims.claim_decision(
                    tx, decision, self._session.worker_id, self._session.lease, value
                )
        return None

    def prepare(self, order: WireOrder) -> bool:
        """Ask for what the checks of an order look at; False where that has to wait."""
        rows, now = self._writer.rows, clock.now_text()
        limits = controls.limits_in_force(rows, self._session.account, self._config.risk, now)
        for kind in sorted(checks.required_snapshots(limits, order)):
            subject = _subject(kind, order.symbol)
            if kind not in _CHANGED_BY_US and self._is_fresh(limits, kind, subject):
                continue
            if not self._session.may_request():
                return False
            insists = kind != "quote" or not self._is_lenient(limits) or _wants_quote(limits, order)
            if not self._ask(limits, kind, subject, insists=insists):
                return False
        if self._has_turned(limits, order):
            # The broker's clock is not yet where ours is, and nobody knows on which side of the bell we are.
            self._session.pause(SESSION_CHANGE_SECONDS)
            return False
        return True

    def check_resubmission(self, tx: Transaction, claim: claims.Claim) -> str | None:
        """Why the same id may not be sent once more: as any other order it is late, or past a limit, or None.

        What it looks at is prepared before. The caller journals.
        """
        decision = tx.dicts("SELECT * FROM trade_decisions WHERE decision_id = ?", (claim.decision_id,))[0]
        limits = controls.limits_in_force(tx.dicts, self._session.account, self._config.risk, tx.now)
        late = self._ages.expiry_reason(decision, limits, tx.now)
        if late is not None or claim.change is not None:
            return late
        facts = self._facts(tx, decision, claim.order, limits, None)
        results = checks.run_checks(limits, facts)
        failed = next((item for item in results if not item.passed), None)
        if failed is None and self._waits_until(limits, claim.order, facts) is not None:
            return "the market is closed"
        self._record(tx, decision, claim.order, limits, results)
        return None if failed is None else f"risk.{failed.code}: {checks.failure_reason(failed)}"

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
        results = checks.run_checks(limits, facts)
        failed = next((item for item in results if not item.passed), None)
        waits_until = None if failed else self._waits_until(limits, order, facts)
        self._record(tx, decision, order, limits, results, held=waits_until is not None)
        if failed is not None:
            self._fail(tx, decision, failed)
        elif waits_until is not None:
            self._hold(tx, decision, waits_until)
        return failed is None and waits_until is None, facts.value

    def check_replacement(
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
        results = checks.run_checks(limits, facts)
        failed = next((item for item in results if not item.passed), None)
        self._record(tx, decision, order, limits, results)
        return (
            None if failed is None else f"risk.{failed.code}: {checks.failure_reason(failed)}"
        ), facts.value

    def expire(self, tx: Transaction) -> None:
        """Cancel what was not sent in time: past its own time, too old, or never approved."""
        config = self._config
        rules = [config.control(""), *config.controls.values()]
        ages = [rule.max_age_seconds for rule in rules if rule.max_age_seconds is not None]
        ages += [rule.approval_hours * 3600 for rule in rules if rule.approval]
        oldest = clock.later(tx.now, -float(min(ages))) if ages else ""
        limits = controls.limits_in_force(tx.dicts, self._session.account, config.risk, tx.now)
        for row in tx.dicts(
            "SELECT * FROM trade_decisions WHERE status = 'pending' AND broker = ? AND environment = ?"
            " AND account = ? AND (expires_at <= ? OR created_at <= ?)",
            (*self._session.account, tx.now, oldest),
        ):
            self._expire(tx, row, limits)

    def _expire(self, tx: Transaction, row: Mapping[str, Any], limits: RiskConfig) -> bool:
        """End a pending decision that is too late; False where it is not."""
        why = self._ages.expiry_reason(row, limits, tx.now)
        if why is None:
            return False
        transitions.end_unsubmitted(tx, row["decision_id"], "cancelled", "expired_unsent", why)
        clear(tx, row["decision_id"], ("approval_waiting",))
        tx.journal("decision.expired_unsent", row["decision_id"])
        self.ended.add(row["decision_id"])
        return True

    def ask_for_approval(self, tx: Transaction) -> None:
        """Tell of each decision that waits for a person."""
        strategies = self._approved_only()
        if not strategies:
            return
        for row in tx.dicts(
            "SELECT decision_id, strategy_name, symbol, side FROM trade_decisions WHERE status = 'pending'"
            " AND broker = ? AND environment = ? AND account = ? AND approval IS NULL"
            " AND strategy_name IN (SELECT value FROM json_each(?))",
            (*self._session.account, json.dumps(strategies)),
        ):
            text = f"{row['strategy_name']}: {row['side']} {row['symbol']} waits for approval"
            raise_alert(tx, "approval_waiting", row["decision_id"], text, once=True)
        tx.journal_rest("approval.waiting", str(self._session.account))

    def refresh_market_sessions(self) -> None:
        """Learn the hours of the market, where decisions wait for them."""
        self._ages.refresh_market_sessions()

    def is_halted(self, strategy: str, symbol: str) -> bool:
        """Whether a halt covers it at this moment: looked at once more right before a request leaves."""
        return control_state.halts(self._writer.rows, self._session.account).covers(strategy, symbol)

    def _due(self, rows: control_state.Rows, now: str) -> dict[str, Any] | None:
        halted = control_state.halts(rows, self._session.account)
        if halted.everything:
            return None
        waiting = [key.partition(":")[2] for key in self._backoff.waiting()]
        limits = controls.limits_in_force(rows, self._session.account, self._config.risk, now)
        return claims.next_ready(
            rows,
            self._session.account,
            now,
            waits=limits.market_hours == "wait",
            strategies=sorted(halted.strategies),
            symbols=sorted({*halted.symbols, *map(symbols.normalise, waiting)}),
            approved_only=self._approved_only(),
        )

    def _approved_only(self) -> list[str]:
        return sorted(name for name, rule in self._config.controls.items() if rule.approval)

    def _is_fresh(self, limits: RiskConfig, kind: str, subject: str) -> bool:
        found = self.snapshots.get(kind, subject)
        if found is None or found.age() > float(limits.max_snapshot_seconds) / 2:
            return False
        return kind != "clock" or found.value is None or not _is_past(found)

    def _has_turned(self, limits: RiskConfig, order: WireOrder) -> bool:
        """Whether the market has opened or closed, by our clock, since the broker told of it."""
        found = self.snapshots.get("clock", "")
        is_needed = "clock" in checks.required_snapshots(limits, order)
        return is_needed and found is not None and found.value is not None and _is_past(found)

    def _is_ready(self, limits: RiskConfig, order: WireOrder) -> bool:
        """Whether all that the checks look at is known, without another question."""
        return all(
            kind not in _CHANGED_BY_US and self._is_fresh(limits, kind, _subject(kind, order.symbol))
            for kind in checks.required_snapshots(limits, order)
        )

    def _is_lenient(self, limits: RiskConfig) -> bool:
        """Whether the most that an order may be worth is the default, written out or not.

        It catches a zero too many, and stops no order on paper for want of a quote. What a live account
        may send is always somebody's decision.
        """
        return limits.max_order_notional == MAX_ORDER_NOTIONAL and self._config.broker.environment == "paper"

    def _ask(self, limits: RiskConfig, kind: str, subject: str, *, insists: bool = True) -> bool:
        """Ask once; False where there is no answer to go by, and the session or the symbol has to wait.

        Where nobody ``insists`` silence will do.
        """
        key = f"{kind}:{subject}"
        exchange, is_answered = self.snapshots.ask(kind, subject)
        systemd.notify("WATCHDOG=1")
        if kind not in _BY_SYMBOL:
            # The broker itself: what ails it concerns every order, and consumes none.
            classification = classify_lookup(exchange)
            self._session.observe(exchange, classification, quiet=True)
            if not is_answered and classification.kind is not ResponseKind.THROTTLED:
                self._session.pause(self._session.backoff())
            return is_answered
        if is_answered:
            self._backoff.succeeded(key)
            self._failing_since.pop(key, None)
            return True
        # A limit is no trouble with this symbol: it is waited for, however long.
        is_limited = exchange.status == 429
        self._backoff.failed(key, requested_wait(exchange) if is_limited else None)
        began = self._failing_since.setdefault(key, clock.running_seconds())
        tried = clock.running_seconds() - began
        if insists and (is_limited or tried < float(limits.max_snapshot_seconds)):
            return False
        self._backoff.succeeded(key)
        del self._failing_since[key]
        said = exchange.error or f"HTTP {exchange.status}"
        self.snapshots.mark_unavailable(kind, subject, f"asked for {tried:.0f} s, without an answer: {said}")
        return True

    def _facts(
        self,
        tx: Transaction,
        decision: Mapping[str, Any],
        order: WireOrder,
        limits: RiskConfig,
        replaces: Mapping[str, Any] | None,
    ) -> checks.Facts:
        needed = checks.required_snapshots(limits, order)
        unknown: dict[str, str] = {}
        quote, asset, hours, held, power = (
            self._value(limits, kind, order.symbol, unknown) if kind in needed else None
            for kind in ("quote", "asset", "clock", "position", "account")
        )
        last = None if quote is None else self._last_quote(quote, order, unknown)
        price, rough, unpriced = checks.valuing_price(order, last), None, None
        broker = self._session.broker
        if broker.refuses_without_price:
            # It fills at the price that the decision carries, or at the last close.
            known = (price, order.reference_price, self._last_close(order.symbol))
            if order.side == "sell" or order.limit_price is None:
                price = max((item for item in known if item is not None), default=None)
            unpriced = "nobody knows a price: the broker itself refuses it"
        elif self._is_lenient(limits):
            # The limit that is on without anybody's word stops no order for want of a quote.
            rough = order.reference_price or self._last_close(order.symbol)
            unpriced = f"no quote ({unknown.get('quote', 'not told')}), and the limit is the default"
        replaced = None if replaces is None else str(replaces["client_order_id"])
        spent = usage.LimitUsage(tx, self._session.account, order.client_order_id, price, replaced)
        facts = checks.Facts(
            order=order,
            price=price,
            quote=last,
            is_open=None if hours is None else bool(hours.value["is_open"]),
            asset=None if asset is None else asset.value,
            available=None if held is None else spent.available(held, order.symbol),
            power=None if power is None else spent.power(power, unknown),
            symbol_sent=spent.today(order.symbol) if limits.max_symbol_notional is not None else money.ZERO,
            day_sent=spent.today(None) if limits.max_day_notional is not None else money.ZERO,
            orders_minute=spent.orders(60) if limits.max_orders_per_minute is not None else 0,
            orders_day=spent.orders_today() if limits.max_orders_per_day is not None else 0,
            duplicate=None if replaces else spent.duplicate(decision, limits.duplicate_window_seconds),
            unknown=unknown,
            unpriced=unpriced,
            rough=rough,
        )
        if held is None or limits.max_gross_exposure is None or facts.value is None:
            return facts
        exposure = spent.exposure(held, order.symbol, order.side, facts.value)
        if exposure is None:
            unknown["position"] = "a position or an open order has no known price"
        return replace(facts, exposure=exposure)

    def _last_quote(self, quote: Snapshot, order: WireOrder, unknown: dict[str, str]) -> Decimal | None:
        """The market's price for the side of an order; otherwise why there is none, in ``unknown``."""
        age = quote_age(quote.value, order.symbol)
        if age is not None and age > MAX_QUOTE_AGE_SECONDS and not self._session.broker.refuses_without_price:
            unknown["quote"] = f"the last one is {age / 86_400:.0f} days old"
            return None
        found = quote_price(quote.value, order.symbol, order.side)
        if found is None:
            unknown["quote"] = "there is no price on the other side"
        return found

    def _last_close(self, symbol: str) -> Decimal | None:
        """Of the price file."""
        bar = self._prices.last(symbol)
        return None if bar is None else bar.close

    def _value(self, limits: RiskConfig, kind: str, symbol: str, unknown: dict[str, str]) -> Snapshot | None:
        """A snapshot that may be looked at; otherwise why not, in ``unknown``."""
        found = self.snapshots.get(kind, _subject(kind, symbol))
        if found is None:
            unknown[kind] = "never told"
        elif found.value is None:
            unknown[kind] = found.missing or "not told"
        elif found.age() > float(limits.max_snapshot_seconds):
            unknown[kind] = f"told at {found.as_of}, which is too long ago"
        else:
            return found
        return None

    def _record(
        self,
        tx: Transaction,
        decision: Mapping[str, Any],
        order: WireOrder,
        limits: RiskConfig,
        results: Sequence[checks.Check],
        *,
        held: bool = False,
    ) -> None:
        looked = {}
        for kind in sorted(checks.required_snapshots(limits, order)):
            found = self.snapshots.get(kind, _subject(kind, order.symbol))
            if found is not None and found.value is not None:
                looked[kind] = {"snapshot": found.snapshot_id, "as_of": found.as_of}
        failed = next((item for item in results if not item.passed), None)
        said = {"checks": [item.as_row() for item in results], "snapshots": looked}
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

    def _waits_until(self, limits: RiskConfig, order: WireOrder, facts: checks.Facts) -> str | None:
        if (
            limits.market_hours != "wait"
            or facts.is_open is not False
            or not checks.is_for_regular_session(order)
        ):
            return None
        found = self.snapshots.get("clock", "")
        assert found is not None
        return clock.read_moment(found.value["next_open"])

    def _fail(self, tx: Transaction, decision: Mapping[str, Any], check: checks.Check) -> None:
        decision_id, code = decision["decision_id"], f"risk.{check.code}"
        text = f"{decision['symbol']}: {checks.failure_reason(check)}"
        transitions.end_unsubmitted(tx, decision_id, "failed", code, text)
        raise_alert(tx, "trade_failed", decision_id, text)
        tx.journal("decision.refused_by_limit", decision_id, code=code)
        self.ended.add(decision_id)

    def _hold(self, tx: Transaction, decision: Mapping[str, Any], until: str) -> None:
        changes = {"held_until": until, "next_attempt_at": until}
        tx.update("trade_decisions", decision["decision_id"], changes)
        tx.journal("decision.held", decision["decision_id"], until=until)


def _wants_quote(limits: RiskConfig, order: WireOrder) -> bool:
    """Whether a check besides the one of the default limit looks at the quote."""
    return "quote" in checks.required_snapshots(replace(limits, max_order_notional=None), order)


def _subject(kind: str, symbol: str) -> str:
    """What a snapshot of a kind is of: a symbol, or the whole account."""
    return symbol if kind in _BY_SYMBOL else ""


def _is_past(snapshot: Snapshot) -> bool:
    """Whether the market has opened or closed since a clock was told."""
    name = "next_close" if snapshot.value["is_open"] else "next_open"
    moment = clock.read_moment(snapshot.value[name])
    return moment is None or clock.now_text() >= moment
