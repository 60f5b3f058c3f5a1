"""Pre-trade checks: which ready decision may be submitted now, under which limits.

    prepare (no transaction open): fetch what the checks look at
    claim (one commit): halts, approval, expiry, limits → an attempt, a failed decision, or a wait

Sums and counts come from the store, under the lock of the claim: no two workers can use one limit twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from tradelog.config.risk import RiskConfig
from tradelog.domain import clock, money, symbols
from tradelog.domain.status import DecisionStatus
from tradelog.execute.brokers.base import WireOrder
from tradelog.execute.outbox import claims, transitions
from tradelog.execute.risk import checks, controls, usage
from tradelog.execute.risk.expiry import Expiry
from tradelog.execute.risk.market_data import MarketData
from tradelog.execute.session import BrokerSession
from tradelog.operate.alerts import raise_alert
from tradelog.store import control_state
from tradelog.store.writer import Transaction

# No more decisions are ended in one commit: others want to write, too.
MAX_ENDED_PER_COMMIT = 50
CLAIM_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an order may not be submitted: ``code`` is stable (``risk.*``), ``reason`` is for people."""

    code: str
    reason: str


class PreTradeChecks:
    def __init__(self, session: BrokerSession) -> None:
        self._session = session
        self._writer = session.writer
        self._config = session.config
        self._market_data = MarketData(session)
        self._expiry = Expiry(session)
        # Decisions that limits or expiry have ended while this process worked.
        self.ended: set[str] = set()

    @property
    def is_waiting(self) -> bool:
        """Whether a decision is due that waits for a quote or an asset only."""
        return bool(self._market_data.waiting_symbols())

    def claim_next(self, seconds: float = CLAIM_SECONDS) -> claims.Claim | None:
        """The oldest ready decision that may be submitted, as a claim; None where there is none now.

        No more is fetched once ``seconds`` have gone by: other jobs have to run.
        """
        end = clock.running_seconds() + seconds
        while self._session.may_request() and clock.running_seconds() < end:
            # Without the lock: the claim looks again.
            decision = self._next_ready(self._writer.rows, clock.now_text())
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
        """Claim within a transaction; None where something must be fetched first.

        What cannot be known although it was ``prepared`` fails that decision as stale data.
        """
        account = self._session.account
        limits = self._limits(tx.dicts, tx.now)
        for _ in range(MAX_ENDED_PER_COMMIT):
            decision = self._next_ready(tx.dicts, tx.now)
            if decision is None:
                return None
            if self._expiry.expire(tx, decision, limits):
                self.ended.add(decision["decision_id"])
                continue
            order = claims.wire_order(decision)
            if decision["decision_id"] != prepared and not self._market_data.is_ready(limits, order):
                return None
            if self._market_data.has_session_changed(limits, order):
                return None
            if controls.throttle(tx, account, decision, limits):
                continue
            passed, value = self.check(tx, decision, order, limits)
            if passed:
                return claims.claim_decision(
                    tx, decision, self._session.worker_id, self._session.lease, value
                )
        return None

    def prepare(self, order: WireOrder) -> bool:
        """Fetch what the checks of an order look at; False where that has to wait."""
        return self._market_data.prefetch(self._limits(self._writer.rows, clock.now_text()), order)

    def check(
        self, tx: Transaction, decision: Mapping[str, Any], order: WireOrder, limits: RiskConfig
    ) -> tuple[bool, Decimal | None]:
        """Run the checks of a decision and record them; (passed, the order's value in dollars).

        One that fails ends here; one that waits for the market is postponed. The caller journals.
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
    ) -> tuple[Refusal | None, Decimal | None]:
        """Why an order may not take the place of ``replaces``, an attempt; and its value in dollars.

        Its decision continues either way. The caller journals.
        """
        facts = self._facts(tx, decision, order, limits, replaces)
        results = checks.run_checks(limits, facts)
        failed = next((item for item in results if not item.passed), None)
        self._record(tx, decision, order, limits, results)
        return (None if failed is None else _refusal(failed)), facts.value

    def check_resubmission(self, tx: Transaction, claim: claims.Claim) -> str | None:
        """Why the same id may not be submitted once more: it is late, or past a limit; None where it may.

        What the checks look at is prepared before. The caller journals.
        """
        decision = tx.dicts("SELECT * FROM trade_decisions WHERE decision_id = ?", (claim.decision_id,))[0]
        limits = self._limits(tx.dicts, tx.now)
        late = self._expiry.reason(decision, limits, tx.now)
        if late is not None or claim.change is not None:
            return late
        facts = self._facts(tx, decision, claim.order, limits, None)
        results = checks.run_checks(limits, facts)
        failed = next((item for item in results if not item.passed), None)
        if failed is None and self._waits_until(limits, claim.order, facts) is not None:
            return "the market is closed"
        self._record(tx, decision, claim.order, limits, results)
        return None if failed is None else _refusal(failed).reason

    def expire_due(self, tx: Transaction) -> None:
        """Cancel what was not submitted in time."""
        self.ended |= self._expiry.expire_due(tx)

    def alert_approvals(self, tx: Transaction) -> None:
        """Raise an alert for each decision that waits for a person's approval."""
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
        """Fetch the sessions of the market, where decisions wait for them."""
        self._expiry.refresh_market_sessions()

    def is_halted(self, strategy: str, symbol: str) -> bool:
        """Whether a halt covers it at this moment: looked at once more right before a request leaves."""
        return control_state.halts(self._writer.rows, self._session.account).covers(strategy, symbol)

    def _limits(self, rows: control_state.Rows, now: str) -> RiskConfig:
        return controls.limits_in_force(rows, self._session.account, self._config.risk, now)

    def _next_ready(self, rows: control_state.Rows, now: str) -> dict[str, Any] | None:
        halted = control_state.halts(rows, self._session.account)
        if halted.everything:
            return None
        waiting = map(symbols.normalise, self._market_data.waiting_symbols())
        return claims.next_ready(
            rows,
            self._session.account,
            now,
            waits=self._limits(rows, now).market_hours == "wait",
            strategies=sorted(halted.strategies),
            symbols=sorted({*halted.symbols, *waiting}),
            approved_only=self._approved_only(),
        )

    def _approved_only(self) -> list[str]:
        return sorted(name for name, rule in self._config.controls.items() if rule.approval)

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
            self._market_data.snapshot(limits, kind, order.symbol, unknown) if kind in needed else None
            for kind in ("quote", "asset", "clock", "position", "account")
        )
        last = None if quote is None else self._market_data.quote(quote, order, unknown)
        price, rough, unpriced = self._price(limits, order, last, unknown)
        replaced = None if replaces is None else str(replaces["client_order_id"])
        used = usage.LimitUsage(tx, self._session.account, order.client_order_id, price, replaced)
        facts = checks.Facts(
            order=order,
            price=price,
            quote=last,
            is_open=None if hours is None else bool(hours.value["is_open"]),
            asset=None if asset is None else asset.value,
            available=None if held is None else used.available(held, order.symbol),
            power=None if power is None else used.buying_power(power, unknown),
            symbol_sent=used.today(order.symbol) if limits.max_symbol_notional is not None else money.ZERO,
            day_sent=used.today(None) if limits.max_day_notional is not None else money.ZERO,
            orders_minute=used.orders(60) if limits.max_orders_per_minute is not None else 0,
            orders_day=used.orders_today() if limits.max_orders_per_day is not None else 0,
            duplicate=None if replaces else used.duplicate(decision, limits.duplicate_window_seconds),
            unknown=unknown,
            unpriced=unpriced,
            rough=rough,
        )
        if held is None or limits.max_gross_exposure is None or facts.value is None:
            return facts
        exposure = used.exposure(held, order.symbol, order.side, facts.value)
        if exposure is None:
            unknown["position"] = "a position or an open order has no known price"
        return replace(facts, exposure=exposure)

    def _price(
        self, limits: RiskConfig, order: WireOrder, last: Decimal | None, unknown: Mapping[str, str]
    ) -> tuple[Decimal | None, Decimal | None, str | None]:
        """(price, rough price, why an order without a price passes), as `checks.Facts` has them."""
        price = checks.valuing_price(order, last)
        if self._session.broker.refuses_without_price:
            # It fills at the price that the decision carries, or at the last close.
            prices = (price, order.reference_price, self._market_data.last_close(order.symbol))
            if order.side == "sell" or order.limit_price is None:
                price = max((item for item in prices if item is not None), default=None)
            return price, None, "no price is known: the broker itself refuses it"
        if self._market_data.is_lenient(limits):
            # A limit that is on by default stops no order for want of a quote.
            rough = order.reference_price or self._market_data.last_close(order.symbol)
            return price, rough, f"no quote ({unknown.get('quote', 'none')}), and the limit is the default"
        return price, None, None

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
        failed = next((item for item in results if not item.passed), None)
        body = {
            "checks": [item.as_row() for item in results],
            "snapshots": self._market_data.used_snapshots(limits, order),
        }
        tx.insert(
            "risk_checks",
            {
                "decision_id": decision["decision_id"],
                "client_order_id": order.client_order_id,
                "verdict": "failed" if failed else "held" if held else "passed",
                "code": None if failed is None else f"risk.{failed.code}",
                "checks": json.dumps(body, ensure_ascii=False),
                "checked_at": tx.now,
            },
        )

    def _waits_until(self, limits: RiskConfig, order: WireOrder, facts: checks.Facts) -> str | None:
        """When the market opens, for an order that has to wait for it; None for any other."""
        is_closed = facts.is_open is False
        if limits.market_hours != "wait" or not is_closed or not checks.is_for_regular_session(order):
            return None
        return self._market_data.next_open()

    def _fail(self, tx: Transaction, decision: Mapping[str, Any], check: checks.Check) -> None:
        decision_id, code = decision["decision_id"], f"risk.{check.code}"
        text = f"{decision['symbol']}: {checks.failure_reason(check)}"
        transitions.end_unsubmitted(tx, decision_id, DecisionStatus.FAILED, code, text)
        raise_alert(tx, "trade_failed", decision_id, text)
        tx.journal("decision.refused_by_limit", decision_id, code=code)
        self.ended.add(decision_id)

    def _hold(self, tx: Transaction, decision: Mapping[str, Any], until: str) -> None:
        changes = {"held_until": until, "next_attempt_at": until}
        tx.update("trade_decisions", decision["decision_id"], changes)
        tx.journal("decision.held", decision["decision_id"], until=until)


def _refusal(check: checks.Check) -> Refusal:
    code = f"risk.{check.code}"
    return Refusal(code, f"{code}: {checks.failure_reason(check)}")
