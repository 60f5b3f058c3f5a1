"""Submission: one request per attempt, and no second one before the first is accounted for.

    commit the claim → POST once → commit what the response proves, with the next claim
    unknown → look up by client order id, several times over a grace period → adopt, or resubmit the same id

No transaction is open during a request to the broker. Replacements are submitted the same way by PATCH.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import timedelta

from tradelog.domain import clock
from tradelog.domain.status import AttemptStatus
from tradelog.execute.backoff import MAX_BACKOFF_SECONDS
from tradelog.execute.brokers.base import Exchange
from tradelog.execute.outbox import claims, exchanges, responses, transitions
from tradelog.execute.outbox.claims import Claim, LeaseLost
from tradelog.execute.outbox.exchanges import Purpose
from tradelog.execute.outbox.responses import Classification, ResponseKind
from tradelog.execute.risk.pretrade import PreTradeChecks
from tradelog.execute.session import BrokerSession
from tradelog.execute.track import orders
from tradelog.execute.track.orders import Owner
from tradelog.store.writer import Transaction

# An id that was submitted this often without a trace of it needs a person.
MAX_SUBMISSIONS = 5
# At least so many "not found" over the grace period before the same id is submitted again.
LOOKUPS = 4
# A drain yields to polling and heartbeats after so long, and continues afterwards.
SLICE_SECONDS = 2.0

HALTED = "halted before it left"

log = logging.getLogger("tradelog.worker")


@dataclass(slots=True)
class Summary:
    """The decisions that were submitted."""

    sent: set[str] = field(default_factory=set)


class Submitter:
    def __init__(self, session: BrokerSession, pretrade: PreTradeChecks) -> None:
        self._session = session
        self._pretrade = pretrade
        self._writer = session.writer
        self.is_idle = False
        # Whether something was submitted since the last snapshot of the account.
        self.has_changes = True
        self.summary = Summary()

    def drain(self) -> None:
        """Resolve unknown outcomes, then submit what is ready, oldest first."""
        session = self._session
        self.is_idle = False
        if not session.may_request():
            return
        if not session.ensure_bound():
            session.pause(session.backoff())
            return
        began = clock.running_seconds()
        self.resolve_unknowns()
        if not session.may_request():
            return
        self._pretrade.refresh_market_sessions()
        if not session.may_request():
            return
        with self._writer.transaction() as tx:
            self._pretrade.expire_due(tx)
            self._pretrade.alert_approvals(tx)
        claim = self._pretrade.claim_next(SLICE_SECONDS)
        while claim is not None:
            self.summary.sent.add(claim.decision_id)
            self.has_changes = True
            goes_on = clock.running_seconds() - began < SLICE_SECONDS
            claim = self._submit_and_claim(claim, goes_on=goes_on)
            if claim is None and not goes_on:
                return
        self.is_idle = session.may_request() and not self._pretrade.is_waiting

    def resolve_unknowns(self) -> None:
        """Look up every attempt whose outcome is unknown and whose next look-up is due."""
        looked_up: set[str] = set()
        began = clock.running_seconds()
        while (
            clock.running_seconds() - began < SLICE_SECONDS
            and self._session.may_request()
            and self._has_unsettled()
        ):
            with self._writer.transaction() as tx:
                claim = claims.claim_unsettled(
                    tx,
                    self._session.account,
                    self._session.worker_id,
                    self._session.lease,
                    looked_up=looked_up,
                )
            if claim is None:
                return
            looked_up.add(claim.execution_id)
            self.look_up(claim)

    def submit(self, claim: Claim) -> Classification:
        """Submit one claimed attempt, and look it up right away where the response proves nothing."""
        if self._withdraw_if_halted(claim):
            return Classification(ResponseKind.NOT_SENT, HALTED)
        exchange, classification = self._transmit(claim)
        self._record(claim, exchange, Purpose.SUBMIT, classification, claims_next=False)
        if classification.kind in (ResponseKind.DUPLICATE, ResponseKind.UNKNOWN):
            self.look_up(claim)
        self._session.observe(exchange, classification)
        return classification

    def look_up(self, claim: Claim) -> Classification:
        """Look an order up by its client order id: adopt it or, after the grace period, resubmit it."""
        exchange = self._session.broker.find(claim.order.client_order_id)
        classification = responses.classify_lookup(exchange)
        different = _different(claim, classification)
        try:
            if claim.is_recorded and self._is_of_another(claim, exchange, classification, different):
                return classification
            if different is not None:
                with self._writer.transaction() as tx:
                    unproven = Classification(ResponseKind.UNKNOWN, different)
                    exchanges.record_exchange(tx, exchange, Purpose.LOOKUP, claim.execution_id, unproven)
                    transitions.require_attention(
                        tx, claim, f"the broker has another order under this client order id: {different}"
                    )
                return classification
            self._record(claim, exchange, Purpose.LOOKUP, classification, claims_next=False)
            self._session.observe(exchange, classification)
            if classification.kind is ResponseKind.NOT_FOUND and self._is_absent(claim):
                self._resubmit(claim)
        except LeaseLost:
            log.warning("lease of %s lost", claim.decision_id, extra={"action": "lease_lost"})
        return classification

    def _is_of_another(
        self, claim: Claim, exchange: Exchange, classification: Classification, different: str | None
    ) -> bool:
        """Whether the id of a bot's order is that of another order; then its attempt has ended."""
        order = classification.order
        if order is None:
            return False
        with self._writer.transaction() as tx:
            if different is None and not orders.is_of_another(tx, claim.execution_id, order):
                return False
            claims.check_lease(tx, claim)
            exchanges.record_exchange(tx, exchange, Purpose.LOOKUP, claim.execution_id, classification)
            why = f"its client order id is that of order {order['id']}"
            transitions.end_taken(tx, claim, f"{why}: {different}" if different else why)
        return True

    def _submit_and_claim(self, claim: Claim, *, goes_on: bool) -> Claim | None:
        """Submit one claimed decision; returns the next, claimed in the commit that records this one."""
        if self._withdraw_if_halted(claim):
            return self._pretrade.claim_next() if goes_on else None
        log.info("submitting %s", claim.execution_id, extra={"action": "submit"})
        exchange, classification = self._transmit(claim)
        # The rate limit first: it decides whether another one may be claimed.
        is_plain = classification.kind in (ResponseKind.ORDER, ResponseKind.REFUSED)
        if is_plain:
            self._session.observe(exchange, classification)
        following = self._record(
            claim,
            exchange,
            Purpose.SUBMIT,
            classification,
            claims_next=goes_on and is_plain and self._session.may_request(),
        )
        if following is not None:
            return following
        if classification.kind in (ResponseKind.DUPLICATE, ResponseKind.UNKNOWN):
            self.look_up(claim)
        if not is_plain:
            self._session.observe(exchange, classification)
        return self._pretrade.claim_next() if goes_on else None

    def _withdraw_if_halted(self, claim: Claim) -> bool:
        """Whether a halt came between the claim and this moment: then no request leaves."""
        if not self._pretrade.is_halted(claim.strategy, claim.order.symbol):
            return False
        try:
            with self._writer.transaction() as tx:
                claims.check_lease(tx, claim)
                if exchanges.count_submissions(tx, claim):
                    transitions.mark_unknown(tx, claim, HALTED, self._next_lookup_at(tx, claim))
                else:
                    classification = Classification(ResponseKind.NOT_SENT, HALTED)
                    transitions.return_to_queue(
                        tx, claim, classification, AttemptStatus.NOT_SENT, None, alerts=False
                    )
        except LeaseLost:
            log.warning("lease of %s lost", claim.decision_id, extra={"action": "lease_lost"})
        return True

    def _transmit(self, claim: Claim) -> tuple[Exchange, Classification]:
        """Make the request, once, unless too much of the lease has gone by."""
        session = self._session
        if clock.running_seconds() - claim.leased_at > session.lease.total_seconds() - session.call_seconds:
            # The machine slept, or the process was stopped: another worker may have taken it over.
            now = clock.now_text()
            method = "POST" if claim.change is None else "PATCH"
            error = "not sent: its lease was about to end"
            exchange = Exchange(method, session.broker.name, None, now, now, error=error, left_host=False)
            return exchange, responses.classify_submit(exchange)
        if claim.change is None:
            exchange = session.broker.submit(claim.order)
        else:
            assert claim.old_order_id is not None
            exchange = session.broker.replace(claim.old_order_id, claim.change)
        classification = responses.classify_submit(exchange)
        different = _different(claim, classification)
        if different is not None:
            classification = Classification(
                ResponseKind.UNKNOWN, f"the response is another order: {different}"
            )
        return exchange, classification

    def _record(
        self,
        claim: Claim,
        exchange: Exchange,
        purpose: str,
        classification: Classification,
        *,
        claims_next: bool,
    ) -> Claim | None:
        """Record an exchange and what it proves, in one commit, unless the lease is lost."""
        following: Claim | None = None

        def write() -> None:
            nonlocal following
            with self._writer.transaction() as tx:
                self._write_outcome(tx, claim, exchange, purpose, classification)
                if claims_next:
                    following = self._pretrade.claim(tx)

        try:
            self._session.retry_write(write)
        except LeaseLost:
            # The owner of the lease records the outcome; the exchange is kept all the same.
            self._session.retry_write(lambda: self._write_lost(claim, exchange, purpose))
            log.warning("lease of %s lost", claim.decision_id, extra={"action": "lease_lost"})
        return following

    def _write_lost(self, claim: Claim, exchange: Exchange, purpose: str) -> None:
        with self._writer.transaction() as tx:
            exchanges.record_exchange(tx, exchange, purpose, claim.execution_id)
            tx.journal("execution.lease_lost", claim.execution_id)

    def _write_outcome(
        self, tx: Transaction, claim: Claim, exchange: Exchange, purpose: str, classification: Classification
    ) -> None:
        session = self._session
        claims.check_lease(tx, claim)
        is_first = purpose == Purpose.SUBMIT and not exchanges.count_submissions(tx, claim)
        call_id = exchanges.record_exchange(tx, exchange, purpose, claim.execution_id, classification)
        if classification.order is not None:
            source = "submit" if purpose == Purpose.SUBMIT else "lookup"
            owner = Owner(claim.execution_id, claim.decision_id)
            orders.apply_order(tx, session.account, owner, classification.order, source, call_id)
            claims.release_lease(tx, claim.decision_id, claim.token)
            tx.journal_rest("order.told", claim.execution_id)
        elif classification.kind is ResponseKind.REFUSED and is_first:
            transitions.apply_refusal(tx, claim, classification)
        elif is_first and classification.kind in (
            ResponseKind.BAD_KEYS,
            ResponseKind.THROTTLED,
            ResponseKind.NOT_SENT,
        ):
            status = (
                AttemptStatus.NOT_SENT
                if classification.kind is ResponseKind.NOT_SENT
                else AttemptStatus.NOT_ACCEPTED
            )
            retry_at = (
                None if classification.kind is ResponseKind.BAD_KEYS else session.retry_at(exchange, tx.now)
            )
            transitions.return_to_queue(tx, claim, classification, status, retry_at)
        else:
            # After a resubmission even a refusal proves nothing about the first: it may be
            # refused because the first one landed and took the buying power.
            transitions.mark_unknown(tx, claim, classification.message, self._next_lookup_at(tx, claim))

    def _has_unsettled(self) -> bool:
        with self._writer.reading() as connection:
            row = connection.execute(
                "SELECT 1 FROM trade_executions WHERE broker = ? AND environment = ? AND account = ?"
                " AND status IN ('sending', 'unknown') LIMIT 1",
                self._session.account,
            ).fetchone()
        return row is not None

    def _next_lookup_at(self, tx: Transaction, claim: Claim) -> str:
        """When to look an unknown up again: often within the grace period, less and less often after it."""
        lookups = tx.one(
            "SELECT count(*) FROM broker_calls WHERE execution_id = ?1 AND purpose = 'lookup' AND call_id >"
            " coalesce((SELECT max(call_id) FROM broker_calls WHERE execution_id = ?1"
            " AND purpose = 'submit'), 0)",
            (claim.execution_id,),
        )[0]
        step = float(self._session.config.worker.unknown_grace_seconds) / LOOKUPS
        more = 2.0 ** min(max(0, lookups - LOOKUPS), 16)
        return clock.later(tx.now, max(step, min(step * more, MAX_BACKOFF_SECONDS)))

    def _is_absent(self, claim: Claim) -> bool:
        """Whether enough look-ups over the whole grace period found nothing since the last submission."""
        with self._writer.reading() as connection:
            # A resubmission may have left no exchange, as the first one; its time is on record all the same.
            last_sent = connection.execute(
                "SELECT max(coalesce(e.resent_at, e.started_at), coalesce((SELECT max(ended_at)"
                " FROM broker_calls WHERE execution_id = ?1 AND purpose = 'submit'), ''))"
                " FROM trade_executions e WHERE e.execution_id = ?1",
                (claim.execution_id,),
            ).fetchone()[0]
            lookups = connection.execute(
                "SELECT count(*) FROM broker_calls WHERE execution_id = ? AND purpose = 'lookup'"
                " AND proves = 'not found' AND started_at >= ?",
                (claim.execution_id, last_sent),
            ).fetchone()[0]
        since = clock.from_text(last_sent)
        grace = timedelta(seconds=float(self._session.config.worker.unknown_grace_seconds))
        return lookups >= LOOKUPS and clock.now() - since >= grace

    def _resubmit(self, claim: Claim) -> None:
        """Submit the same id again, which the broker refuses if it has it; unless that is not safe."""
        if claim.is_recorded:
            self._end_absent(claim)
            return
        is_known, old_state = self._old_order_state(claim)
        if not is_known:
            return
        is_halted = self._pretrade.is_halted(claim.strategy, claim.order.symbol)
        if not is_halted and not self._pretrade.prepare(claim.order):
            return
        with self._writer.transaction() as tx:
            claims.check_lease(tx, claim)
            if self._ended_or_waits(tx, claim, old_state, is_halted=is_halted):
                return
            sent = exchanges.count_submissions(tx, claim)
            why = self._why_not_again(tx, claim, sent)
            if why is not None:
                transitions.require_attention(tx, claim, why)
                return
            claims.record_resubmission(tx, claim, sent)
        self.submit(claim)

    def _end_absent(self, claim: Claim) -> None:
        """A bot sends its orders itself: what the broker does not have is not submitted for it."""
        with self._writer.transaction() as tx:
            claims.check_lease(tx, claim)
            if not exchanges.was_duplicate_id(tx, claim):
                transitions.end_absent(tx, claim, "the bot's order never came to the broker")

    def _ended_or_waits(
        self, tx: Transaction, claim: Claim, old_state: str | None, *, is_halted: bool
    ) -> bool:
        """Whether an absent order is not to be submitted again now, which ends its attempt where it can."""
        waits = tx.one(
            "SELECT needs_attention FROM trade_decisions WHERE decision_id = ?", (claim.decision_id,)
        )[0]
        is_unwanted = self._is_unwanted(tx, claim)
        if exchanges.was_duplicate_id(tx, claim) or (waits and not is_unwanted):
            # The broker has it, or a person is to decide: it is looked up again, and not resubmitted.
            return True
        refused = exchanges.last_refusal(tx, claim)
        if refused is not None and old_state is None:
            transitions.apply_refusal(tx, claim, refused)
        elif is_unwanted:
            transitions.abandon_attempt(
                tx, claim, "cancelled: the broker has no such order, and it is not submitted again"
            )
        elif is_halted and claim.change is None:
            # It waits as before, and others of its symbol go on. Whatever comes of it later has the same id.
            classification = Classification(ResponseKind.NOT_FOUND, "halted: the broker has no such order")
            transitions.return_to_queue(
                tx, claim, classification, AttemptStatus.NOT_ACCEPTED, None, alerts=False
            )
        elif old_state is not None and not is_halted:
            transitions.abandon_attempt(tx, claim, f"the order that it should replace is {old_state} by now")
        else:
            return is_halted
        return True

    def _why_not_again(self, tx: Transaction, claim: Claim, sent: int) -> str | None:
        """Why the same id must not be submitted once more without a person; None where it may be."""
        if not self._session.broker.rejects_duplicate_ids:
            return "the broker would take the same id twice: it is not submitted again"
        if sent >= MAX_SUBMISSIONS:
            return f"submitted {sent} times, and the broker has no such order"
        why = self._pretrade.check_resubmission(tx, claim)
        return None if why is None else f"the broker has no such order, and it is not submitted again: {why}"

    def _old_order_state(self, claim: Claim) -> tuple[bool, str | None]:
        """Of a replacement: whether the old order could be looked up, and how it ended, None while live."""
        if claim.old_order_id is None:
            return True, None
        exchange = self._session.broker.order(claim.old_order_id)
        classification = responses.classify_lookup(exchange)
        self._session.observe(exchange, classification)
        if classification.order is None:
            return False, None
        status = str(classification.order["status"])
        return True, status if status in responses.TERMINAL else None

    def _is_unwanted(self, tx: Transaction, claim: Claim) -> bool:
        row = tx.one(
            "SELECT 1 FROM order_requests WHERE decision_id = ? AND kind = 'cancel' AND ended_at IS NULL",
            (claim.decision_id,),
        )
        return row is not None


def _different(claim: Claim, classification: Classification) -> str | None:
    """How an order in a response differs from the submitted one; None where it does not."""
    if classification.order is None:
        return None
    return responses.mismatch(classification.order, claim.order, sized=claim.change is None)
