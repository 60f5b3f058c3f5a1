"""Sending what was decided: one request an attempt, and no second before the first is accounted for.

    commit the claim → POST once → commit what its answer proves, with the next claim
    unknown → ask by our id, several times over a grace period → adopt, or the same id once more

No transaction is open while the broker is spoken to. Replacements are sent the same way by PATCH.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import timedelta

from tradelog.domain import clock
from tradelog.execute.brokers.base import Exchange
from tradelog.execute.outbox import claims, responses, transitions
from tradelog.execute.outbox.claims import Claim, LeaseLost
from tradelog.execute.outbox.responses import Kind, Verdict
from tradelog.execute.risk.pretrade import Gate
from tradelog.execute.session import MOST_SECONDS_BETWEEN, Line
from tradelog.execute.track import orders
from tradelog.execute.track.orders import Owner
from tradelog.store.writer import Transaction

# An id that was sent this often without a trace of it is a matter for a person.
MOST_SENDS = 5
# At least so many "not found" over the grace period before the same id is sent again.
LOOKUPS = 4
# A drain gives way to polling and heartbeats after so long, and goes on afterwards.
SLICE_SECONDS = 2.0

HALTED = "halted before it left"

log = logging.getLogger("tradelog.worker")


@dataclass(slots=True)
class Summary:
    """What was sent, by decision id."""

    sent: set[str] = field(default_factory=set)


class Sender:
    def __init__(self, line: Line, gate: Gate) -> None:
        self._line = line
        self._gate = gate
        self._writer = line.writer
        self.is_idle = False
        # Whether something was sent since somebody last asked.
        self.stirred = True
        self.summary = Summary()

    def drain(self) -> None:
        """Settle what is unsettled, then send what is due, oldest first."""
        line = self._line
        self.is_idle = False
        if not line.is_open():
            return
        if not line.bind():
            line.pause(line.backoff())
            return
        began = clock.running_seconds()
        self.settle_unsettled()
        if not line.is_open():
            return
        self._gate.know_sessions()
        if not line.is_open():
            return
        with self._writer.transaction() as tx:
            self._gate.expire(tx)
            self._gate.ask_for_approval(tx)
        claim = self._gate.claim_next(SLICE_SECONDS)
        while claim is not None:
            self.summary.sent.add(claim.decision_id)
            self.stirred = True
            goes_on = clock.running_seconds() - began < SLICE_SECONDS
            claim = self._send(claim, goes_on=goes_on)
            if claim is None and not goes_on:
                return
        self.is_idle = line.is_open() and not self._gate.is_waiting

    def settle_unsettled(self) -> None:
        """Ask about every attempt whose outcome is open and whose time has come."""
        asked: set[str] = set()
        began = clock.running_seconds()
        while (
            clock.running_seconds() - began < SLICE_SECONDS and self._line.is_open() and self._has_unsettled()
        ):
            with self._writer.transaction() as tx:
                claim = claims.unsettled(
                    tx, self._line.account, self._line.worker_id, self._line.lease, asked=asked
                )
            if claim is None:
                return
            asked.add(claim.execution_id)
            self.resolve(claim)

    def send(self, claim: Claim) -> Verdict:
        """Send one claimed attempt, and ask at once where its answer proves nothing."""
        if self._withdraw(claim):
            return Verdict(Kind.NOT_SENT, HALTED)
        exchange, verdict = self._transmit(claim)
        self._settle(claim, exchange, "submit", verdict, claims_next=False)
        if verdict.kind in (Kind.DUPLICATE, Kind.UNKNOWN):
            self.resolve(claim)
        self._line.hear(exchange, verdict)
        return verdict

    def resolve(self, claim: Claim) -> Verdict:
        """Ask the broker for an order by our id: adopt it, or, after the grace period, send it again."""
        exchange = self._line.broker.find(claim.order.client_order_id)
        verdict = responses.of_lookup(exchange)
        different = _different(claim, verdict)
        try:
            if different is not None:
                with self._writer.transaction() as tx:
                    transitions.log_call(tx, exchange, "lookup", claim.execution_id)
                    transitions.stuck(tx, claim, f"the broker has another order under our id: {different}")
                return verdict
            self._settle(claim, exchange, "lookup", verdict, claims_next=False)
            self._line.hear(exchange, verdict)
            if verdict.kind is Kind.NOT_FOUND and self._is_gone(claim):
                self._send_again(claim)
        except LeaseLost:
            log.warning("lease of %s lost", claim.decision_id, extra={"action": "lease_lost"})
        return verdict

    def _send(self, claim: Claim, *, goes_on: bool) -> Claim | None:
        """Send one claimed decision; returns the next, claimed in the commit that settled this one."""
        if self._withdraw(claim):
            return self._gate.claim_next() if goes_on else None
        log.info("sending %s", claim.execution_id, extra={"action": "send"})
        exchange, verdict = self._transmit(claim)
        # The limit first: it decides whether another one may be claimed.
        is_plain = verdict.kind in (Kind.ORDER, Kind.REFUSED)
        if is_plain:
            self._line.hear(exchange, verdict)
        following = self._settle(
            claim, exchange, "submit", verdict, claims_next=goes_on and is_plain and self._line.is_open()
        )
        if following is not None:
            return following
        if verdict.kind in (Kind.DUPLICATE, Kind.UNKNOWN):
            self.resolve(claim)
        if not is_plain:
            self._line.hear(exchange, verdict)
        return self._gate.claim_next() if goes_on else None

    def _withdraw(self, claim: Claim) -> bool:
        """Whether a halt came between the claim and this moment: then nothing leaves."""
        if not self._gate.is_halted(claim.strategy, claim.order.symbol):
            return False
        try:
            with self._writer.transaction() as tx:
                claims.check_lease(tx, claim)
                if claims.sends(tx, claim):
                    transitions.unknown(tx, claim, HALTED, self._ask_at(tx, claim))
                else:
                    verdict = Verdict(Kind.NOT_SENT, HALTED)
                    transitions.returned(tx, claim, verdict, "not_sent", None, tells=False)
        except LeaseLost:
            log.warning("lease of %s lost", claim.decision_id, extra={"action": "lease_lost"})
        return True

    def _transmit(self, claim: Claim) -> tuple[Exchange, Verdict]:
        """Put the request on the wire, once, unless too much of the lease has gone by."""
        line = self._line
        if clock.running_seconds() - claim.leased_at > line.lease.total_seconds() - line.call_seconds:
            # This machine slept, or the process was stopped: somebody else may be at it by now.
            now = clock.now_text()
            method = "POST" if claim.change is None else "PATCH"
            error = "not sent: its lease was about to end"
            exchange = Exchange(method, line.broker.name, None, now, now, error=error, sent=False)
            return exchange, responses.of_submit(exchange)
        if claim.change is None:
            exchange = line.broker.submit(claim.order)
        else:
            assert claim.old_order_id is not None
            exchange = line.broker.replace(claim.old_order_id, claim.change)
        verdict = responses.of_submit(exchange)
        different = _different(claim, verdict)
        if different is not None:
            verdict = Verdict(Kind.UNKNOWN, f"the answer is another order: {different}")
        return exchange, verdict

    def _settle(
        self, claim: Claim, exchange: Exchange, purpose: str, verdict: Verdict, *, claims_next: bool
    ) -> Claim | None:
        """Record an exchange and what it proves, in one commit, unless the lease is lost."""
        following: Claim | None = None

        def write() -> None:
            nonlocal following
            with self._writer.transaction() as tx:
                self._write_settled(tx, claim, exchange, purpose, verdict)
                if claims_next:
                    following = self._gate.claim(tx)

        try:
            self._line.insist(write)
        except LeaseLost:
            # Whoever holds the lease now settles it; the words that were spoken are kept all the same.
            self._line.insist(lambda: self._write_lost(claim, exchange, purpose))
            log.warning("lease of %s lost", claim.decision_id, extra={"action": "lease_lost"})
        return following

    def _write_lost(self, claim: Claim, exchange: Exchange, purpose: str) -> None:
        with self._writer.transaction() as tx:
            transitions.log_call(tx, exchange, purpose, claim.execution_id)
            tx.journal("execution.lease_lost", claim.execution_id)

    def _write_settled(
        self, tx: Transaction, claim: Claim, exchange: Exchange, purpose: str, verdict: Verdict
    ) -> None:
        line = self._line
        claims.check_lease(tx, claim)
        is_first = purpose == "submit" and not claims.sends(tx, claim)
        call_id = transitions.log_call(tx, exchange, purpose, claim.execution_id)
        if verdict.order is not None:
            source = "submit" if purpose == "submit" else "lookup"
            owner = Owner(claim.execution_id, claim.decision_id)
            orders.apply_order(tx, line.account, owner, verdict.order, source, call_id)
            claims.release(tx, claim.decision_id, claim.token)
            tx.journal_rest("order.told", claim.execution_id)
        elif verdict.kind is Kind.REFUSED and is_first:
            transitions.refused(tx, claim, verdict)
        elif is_first and verdict.kind in (Kind.BAD_KEYS, Kind.THROTTLED, Kind.NOT_SENT):
            status = "not_sent" if verdict.kind is Kind.NOT_SENT else "not_accepted"
            retry_at = None if verdict.kind is Kind.BAD_KEYS else line.retry_at(exchange, tx.now)
            transitions.returned(tx, claim, verdict, status, retry_at)
        else:
            # Of a repeated send even a refusal proves nothing about the first: it may be
            # refused because the first one landed and took the buying power.
            transitions.unknown(tx, claim, verdict.message, self._ask_at(tx, claim))

    def _has_unsettled(self) -> bool:
        with self._writer.reading() as connection:
            row = connection.execute(
                "SELECT 1 FROM trade_executions WHERE broker = ? AND environment = ? AND account = ?"
                " AND status IN ('sending', 'unknown') LIMIT 1",
                self._line.account,
            ).fetchone()
        return row is not None

    def _ask_at(self, tx: Transaction, claim: Claim) -> str:
        """When to ask about an unknown again: often within the grace period, ever less often after it."""
        asked = tx.one(
            "SELECT count(*) FROM broker_calls WHERE execution_id = ?1 AND purpose = 'lookup' AND call_id >"
            " coalesce((SELECT max(call_id) FROM broker_calls WHERE execution_id = ?1"
            " AND purpose = 'submit'), 0)",
            (claim.execution_id,),
        )[0]
        step = float(self._line.config.worker.unknown_grace_seconds) / LOOKUPS
        more = 2.0 ** min(max(0, asked - LOOKUPS), 16)
        return clock.later(tx.now, max(step, min(step * more, MOST_SECONDS_BETWEEN)))

    def _is_gone(self, claim: Claim) -> bool:
        """Whether enough look-ups over the whole grace period have found nothing since the last send."""
        with self._writer.reading() as connection:
            # A second send may have left no word, as the first one; its moment is on record all the same.
            last_sent = connection.execute(
                "SELECT max(coalesce(e.resent_at, e.started_at), coalesce((SELECT max(ended_at)"
                " FROM broker_calls WHERE execution_id = ?1 AND purpose = 'submit'), ''))"
                " FROM trade_executions e WHERE e.execution_id = ?1",
                (claim.execution_id,),
            ).fetchone()[0]
            asked = connection.execute(
                "SELECT count(*) FROM broker_calls WHERE execution_id = ? AND purpose = 'lookup'"
                " AND status = 404 AND response_body LIKE '{%' AND started_at >= ?",
                (claim.execution_id, last_sent),
            ).fetchone()[0]
        since = clock.from_text(last_sent)
        grace = timedelta(seconds=float(self._line.config.worker.unknown_grace_seconds))
        return asked >= LOOKUPS and clock.now() - since >= grace

    def _send_again(self, claim: Claim) -> None:
        """The same id once more, which the broker refuses if it has it; or, if that is not safe, nobody."""
        is_known, old_state = self._old_order_state(claim)
        if not is_known:
            return
        is_halted = self._gate.is_halted(claim.strategy, claim.order.symbol)
        if not is_halted and not self._gate.prepare(claim.order):
            return
        with self._writer.transaction() as tx:
            claims.check_lease(tx, claim)
            waits = tx.one(
                "SELECT needs_attention FROM trade_decisions WHERE decision_id = ?", (claim.decision_id,)
            )[0]
            if transitions.was_duplicate(tx, claim) or (waits and not self._is_unwanted(tx, claim)):
                # It is there, or a person is to say: it is asked about again, and not sent again.
                return
            refused = transitions.last_refusal(tx, claim)
            sent = claims.sends(tx, claim)
            if refused is not None and old_state is None:
                transitions.refused(tx, claim, refused)
                return
            if self._is_unwanted(tx, claim):
                transitions.given_up(
                    tx, claim, "cancelled: the broker does not know it, and it is not sent again"
                )
                return
            if is_halted and claim.change is None:
                # Nobody has it: it waits as before, and what is not halted of its symbol goes on. Whatever
                # comes of it later comes under the same id.
                verdict = Verdict(Kind.NOT_FOUND, "halted: the broker does not know it")
                transitions.returned(tx, claim, verdict, "not_accepted", None, tells=False)
                return
            if is_halted:
                return
            if old_state is not None:
                transitions.given_up(tx, claim, f"the order that it should replace is {old_state} by now")
                return
            if not self._line.broker.rejects_duplicate_ids:
                transitions.stuck(tx, claim, "the broker would take the same id twice: it is not sent again")
                return
            if sent >= MOST_SENDS:
                transitions.stuck(tx, claim, f"sent {sent} times, and the broker knows nothing of it")
                return
            why = self._gate.may_resend(tx, claim)
            if why is not None:
                transitions.stuck(tx, claim, f"the broker does not know it, and it is not sent again: {why}")
                return
            claims.resend(tx, claim, sent)
        self.send(claim)

    def _old_order_state(self, claim: Claim) -> tuple[bool, str | None]:
        """Of a replacement: whether the old order is known, and how it ended, None while it is live."""
        if claim.old_order_id is None:
            return True, None
        exchange = self._line.broker.order(claim.old_order_id)
        verdict = responses.of_lookup(exchange)
        self._line.hear(exchange, verdict)
        if verdict.order is None:
            return False, None
        status = str(verdict.order["status"])
        return True, status if status in responses.TERMINAL else None

    def _is_unwanted(self, tx: Transaction, claim: Claim) -> bool:
        row = tx.one(
            "SELECT 1 FROM order_requests WHERE decision_id = ? AND kind = 'cancel' AND ended_at IS NULL",
            (claim.decision_id,),
        )
        return row is not None


def _different(claim: Claim, verdict: Verdict) -> str | None:
    """How an order in an answer is not the one that was sent; None where it is, or where there is none."""
    if verdict.order is None:
        return None
    return responses.mismatch(verdict.order, claim.order, sized=claim.change is None)
