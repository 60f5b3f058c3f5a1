"""What pre-trade checks look at, fetched before the claim: quotes, assets, hours, positions, buying power.

It is fetched outside the claim, so that no transaction waits for the network; the claim takes fresh answers
only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from tradelog import prices
from tradelog.config.risk import MAX_ORDER_NOTIONAL, RiskConfig
from tradelog.domain import clock
from tradelog.execute.account.snapshots import Snapshot, Snapshots, quote_age, quote_price
from tradelog.execute.backoff import KeyedBackoff
from tradelog.execute.brokers.base import WireOrder
from tradelog.execute.outbox.responses import ResponseKind, classify_lookup
from tradelog.execute.rate_limit import requested_wait
from tradelog.execute.risk import checks
from tradelog.execute.session import BrokerSession
from tradelog.operate import systemd

# Kinds of snapshots whose subject is the symbol; the others are of the whole account.
_BY_SYMBOL = ("quote", "asset")
# What our own orders change: fetched for every check.
_CHANGED_BY_US = ("position", "account")
# A quote that is older, by its own time, is stale: the symbol does not trade.
MAX_QUOTE_AGE_SECONDS = 5 * 86_400.0
# The market's clock and ours need not agree to the second at the open.
SESSION_CHANGE_SECONDS = 1.0
MAX_FETCH_BACKOFF_SECONDS = 4.0


class MarketData:
    """The last snapshots of the account's broker, each as fresh as ``[risk] max_snapshot_seconds``."""

    def __init__(self, session: BrokerSession) -> None:
        self._session = session
        self._snapshots = Snapshots(session.writer, session.broker, session.account)
        self._prices = prices.load(session.config.market.prices)
        self._backoff = KeyedBackoff(MAX_FETCH_BACKOFF_SECONDS)
        # Since when each quote or asset could not be fetched.
        self._failing_since: dict[str, float] = {}

    def waiting_symbols(self) -> list[str]:
        """The symbols whose quote or asset could not be fetched, and is not due yet."""
        return [key.partition(":")[2] for key in self._backoff.waiting()]

    def prefetch(self, limits: RiskConfig, order: WireOrder) -> bool:
        """Fetch what the checks of an order look at; False where the order has to wait for it."""
        for kind in sorted(checks.required_snapshots(limits, order)):
            subject = _subject(kind, order.symbol)
            if kind not in _CHANGED_BY_US and self._is_fresh(limits, kind, subject):
                continue
            if not self._session.may_request():
                return False
            is_required = kind != "quote" or not self.is_lenient(limits) or _needs_quote(limits, order)
            if not self._fetch(limits, kind, subject, is_required=is_required):
                return False
        if self.has_session_changed(limits, order):
            # The broker's clock is behind ours: it is uncertain whether the market has opened or closed.
            self._session.pause(SESSION_CHANGE_SECONDS)
            return False
        return True

    def is_ready(self, limits: RiskConfig, order: WireOrder) -> bool:
        """Whether all that the checks look at is known without another request."""
        return all(
            kind not in _CHANGED_BY_US and self._is_fresh(limits, kind, _subject(kind, order.symbol))
            for kind in checks.required_snapshots(limits, order)
        )

    def has_session_changed(self, limits: RiskConfig, order: WireOrder) -> bool:
        """Whether the market has opened or closed, by our clock, since the broker's was fetched."""
        snapshot = self._snapshots.get("clock", "")
        is_required = "clock" in checks.required_snapshots(limits, order)
        return is_required and snapshot is not None and snapshot.value is not None and _is_past(snapshot)

    def is_lenient(self, limits: RiskConfig) -> bool:
        """Whether the bound of one order's value is the default on paper, written out or not.

        It catches a zero too many, and stops no order for want of a quote. For a live account the bound is
        always a person's decision.
        """
        environment = self._session.config.broker.environment
        return limits.max_order_notional == MAX_ORDER_NOTIONAL and environment == "paper"

    def snapshot(
        self, limits: RiskConfig, kind: str, symbol: str, unknown: dict[str, str]
    ) -> Snapshot | None:
        """A snapshot that is fresh enough; otherwise None, with the reason in ``unknown``."""
        snapshot = self._snapshots.get(kind, _subject(kind, symbol))
        if snapshot is None:
            unknown[kind] = "never fetched"
        elif snapshot.value is None:
            unknown[kind] = snapshot.missing or "not available"
        elif snapshot.age() > float(limits.max_snapshot_seconds):
            unknown[kind] = f"fetched at {snapshot.as_of}, which is too long ago"
        else:
            return snapshot
        return None

    def quote(self, quote: Snapshot, order: WireOrder, unknown: dict[str, str]) -> Decimal | None:
        """The market's price for the side of an order; otherwise None, with the reason in ``unknown``."""
        age = quote_age(quote.value, order.symbol)
        if age is not None and age > MAX_QUOTE_AGE_SECONDS and not self._session.broker.refuses_without_price:
            unknown["quote"] = f"the last one is {age / 86_400:.0f} days old"
            return None
        price = quote_price(quote.value, order.symbol, order.side)
        if price is None:
            unknown["quote"] = "there is no price on the other side"
        return price

    def last_close(self, symbol: str) -> Decimal | None:
        """The newest close of the configured price file."""
        bar = self._prices.last(symbol)
        return None if bar is None else bar.close

    def next_open(self) -> str | None:
        """When the market opens next, by the last clock that was fetched, as store text."""
        snapshot = self._snapshots.get("clock", "")
        assert snapshot is not None
        return clock.read_moment(snapshot.value["next_open"])

    def used_snapshots(self, limits: RiskConfig, order: WireOrder) -> Mapping[str, Any]:
        """Which snapshots the checks of an order looked at, as they are recorded with the checks."""
        used = {}
        for kind in sorted(checks.required_snapshots(limits, order)):
            snapshot = self._snapshots.get(kind, _subject(kind, order.symbol))
            if snapshot is not None and snapshot.value is not None:
                used[kind] = {"snapshot": snapshot.snapshot_id, "as_of": snapshot.as_of}
        return used

    def _is_fresh(self, limits: RiskConfig, kind: str, subject: str) -> bool:
        snapshot = self._snapshots.get(kind, subject)
        if snapshot is None or snapshot.age() > float(limits.max_snapshot_seconds) / 2:
            return False
        return kind != "clock" or snapshot.value is None or not _is_past(snapshot)

    def _fetch(self, limits: RiskConfig, kind: str, subject: str, *, is_required: bool) -> bool:
        """Make one request; False where the session or the symbol has to wait for a usable answer."""
        key = f"{kind}:{subject}"
        exchange, is_answered = self._snapshots.fetch(kind, subject)
        systemd.notify("WATCHDOG=1")
        if kind not in _BY_SYMBOL:
            # Trouble at the broker itself concerns every order, and consumes none.
            classification = classify_lookup(exchange)
            self._session.observe(exchange, classification, quiet=True)
            if not is_answered and classification.kind is not ResponseKind.THROTTLED:
                self._session.pause(self._session.backoff())
            return is_answered
        if is_answered:
            self._backoff.succeeded(key)
            self._failing_since.pop(key, None)
            return True
        # A rate limit is no trouble with this symbol: it is waited for, however long.
        is_throttled = exchange.status == 429
        self._backoff.failed(key, requested_wait(exchange) if is_throttled else None)
        began = self._failing_since.setdefault(key, clock.running_seconds())
        seconds = clock.running_seconds() - began
        if is_required and (is_throttled or seconds < float(limits.max_snapshot_seconds)):
            return False
        self._backoff.succeeded(key)
        del self._failing_since[key]
        problem = exchange.error or f"HTTP {exchange.status}"
        self._snapshots.mark_unavailable(kind, subject, f"not answered for {seconds:.0f} s: {problem}")
        return True


def _needs_quote(limits: RiskConfig, order: WireOrder) -> bool:
    """Whether a check besides the one of the default limit looks at the quote."""
    return "quote" in checks.required_snapshots(replace(limits, max_order_notional=None), order)


def _subject(kind: str, symbol: str) -> str:
    """What a snapshot of a kind is of: a symbol, or the whole account."""
    return symbol if kind in _BY_SYMBOL else ""


def _is_past(snapshot: Snapshot) -> bool:
    """Whether the market has opened or closed since its clock was fetched."""
    name = "next_close" if snapshot.value["is_open"] else "next_open"
    moment = clock.read_moment(snapshot.value[name])
    return moment is None or clock.now_text() >= moment
