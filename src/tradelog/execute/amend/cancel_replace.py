"""Processing of cancels and replaces: submitted after they are recorded, and tracked to their end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tradelog.domain import clock, ids, money
from tradelog.domain.status import AttemptStatus, RefusedBy, RequestKind, RequestStatus
from tradelog.errors import UsageError
from tradelog.execute.amend.order_requests import (
    REPLACEABLE_TERMS,
    live_attempts,
    load_decision,
    new_terms,
    newest_live_attempt,
    parse_stored_terms,
)
from tradelog.execute.brokers.base import WireOrder
from tradelog.execute.outbox import claims, exchanges, responses, transitions
from tradelog.execute.outbox.exchanges import Purpose
from tradelog.execute.outbox.responses import ResponseKind
from tradelog.execute.risk import controls
from tradelog.execute.risk.pretrade import PreTradeChecks, Refusal
from tradelog.execute.session import BrokerSession
from tradelog.execute.submission import MAX_SUBMISSIONS, SLICE_SECONDS, Submitter
from tradelog.execute.track.orders import Owner
from tradelog.execute.track.tracker import OrderTracker
from tradelog.operate.alerts import raise_alert
from tradelog.store import control_state
from tradelog.store.writer import Transaction

_LIVE = (AttemptStatus.ACCEPTED, AttemptStatus.PARTIALLY_FILLED)
# An order in pending_cancel, though no response confirmed the request, is polled again after so long.
CANCEL_POLL_SECONDS = 60.0


class CancelReplace:
    """Submits requested cancels and replaces."""

    def __init__(
        self, session: BrokerSession, pretrade: PreTradeChecks, submitter: Submitter, tracker: OrderTracker
    ) -> None:
        self._session = session
        self._pretrade = pretrade
        self._writer = session.writer
        self._submitter = submitter
        self._tracker = tracker

    def process(self, decision_id: str | None = None) -> None:
        """Take one step for every open request that is due, of one decision or of all."""
        with self._writer.reading() as connection:
            rows = connection.execute(
                "SELECT r.request_id, r.kind, r.decision_id, r.next_attempt_at"
                " FROM order_requests r INDEXED BY uq_requests_open"
                " JOIN trade_decisions d ON d.decision_id = r.decision_id"
                " WHERE r.ended_at IS NULL AND (r.kind = 'cancel' OR r.status IN ('pending', 'sending'))"
                " AND d.broker = ? AND d.environment = ? AND d.account = ?"
                " AND coalesce(?4, r.decision_id) = r.decision_id ORDER BY r.id",
                (*self._session.account, decision_id),
            ).fetchall()
        began = clock.running_seconds()
        for request_id, kind, of_decision, next_at in rows:
            if clock.running_seconds() - began > SLICE_SECONDS:
                return
            if not self._session.may_request():
                return
            if not self._session.ensure_bound():
                self._session.pause(self._session.backoff())
                return
            if next_at is not None and next_at > clock.now_text():
                continue
            if kind == RequestKind.CANCEL:
                self._cancel(request_id, of_decision)
            else:
                self._replace(request_id, of_decision)

    def _cancel(self, request_id: str, decision_id: str) -> None:
        with self._writer.transaction() as tx:
            transitions.cancel_unsubmitted(tx, decision_id)
            tx.journal_rest("cancel.unsent", request_id)
            left = [] if _has_ended(tx, request_id) else _without_cancel(tx, decision_id)
            tries = tx.one("SELECT tries FROM order_requests WHERE request_id = ?", (request_id,))[0]
        for execution in left:
            owner = Owner(execution["execution_id"], decision_id)
            if tries:
                # An earlier request may have arrived: the order shows it.
                order = self._tracker.poll_order(owner, execution["alpaca_order_id"])
                if order is None:
                    self._later(request_id)
                if order is None or order["status"] in responses.TERMINAL:
                    continue
                if order["status"] == "pending_cancel":
                    self._note_sent(request_id)
                    continue
            self._send_cancel(request_id, owner, execution["alpaca_order_id"])

    def _send_cancel(self, request_id: str, owner: Owner, order_id: str) -> None:
        with self._writer.transaction() as tx:
            if _has_ended(tx, request_id):
                return
            decision = load_decision(tx, owner.decision_id)
            if claims.is_leased(tx, decision, self._session.worker_id):
                return
            token = claims.acquire_lease(tx, decision, self._session.worker_id, self._session.lease)
            tries = tx.one("SELECT tries FROM order_requests WHERE request_id = ?", (request_id,))[0]
            tx.update("order_requests", request_id, {"status": RequestStatus.SENDING, "tries": tries + 1})
            tx.journal("cancel.sending", request_id, execution=owner.execution_id)
        exchange = self._session.broker.cancel(order_id)
        classification = responses.classify_cancel(exchange)

        def write() -> None:
            with self._writer.transaction() as tx:
                exchanges.record_exchange(tx, exchange, Purpose.CANCEL, owner.execution_id)
                is_ours = tx.one(
                    "SELECT 1 FROM trade_decisions WHERE decision_id = ? AND lease_token = ?",
                    (owner.decision_id, token),
                )
                if is_ours and not _has_ended(tx, request_id):
                    self._settle_cancel(tx, request_id, owner, classification, exchange)
                    claims.release_lease(tx, owner.decision_id, token)
                tx.journal("cancel.answered", request_id)

        self._session.retry_write(write)
        self._session.observe(exchange, classification)
        if classification.kind is ResponseKind.REQUESTED or classification.kind is ResponseKind.REFUSED:
            self._tracker.poll_order(owner, order_id)
        if classification.kind is ResponseKind.REFUSED:
            self._end_refused(request_id, owner, classification.message)

    def _settle_cancel(
        self,
        tx: Transaction,
        request_id: str,
        owner: Owner,
        classification: responses.Classification,
        exchange: Any,
    ) -> None:
        if classification.kind is ResponseKind.REQUESTED:
            tx.update("order_requests", request_id, {"status": RequestStatus.SENT, "message": None})
            return
        tries = tx.one("SELECT tries FROM order_requests WHERE request_id = ?", (request_id,))[0]
        is_limited = classification.kind in (ResponseKind.THROTTLED, ResponseKind.NOT_SENT)
        at = (
            self._session.retry_at(exchange, tx.now)
            if is_limited
            else clock.later(tx.now, min(60.0, 2.0**tries))
        )
        state: dict[str, Any] = {
            "status": RequestStatus.PENDING,
            "message": classification.message,
            "next_attempt_at": at,
        }
        if is_limited:
            # The broker did not get it: that was no try.
            state["tries"] = tries - 1
        tx.update("order_requests", request_id, state)
        if tries >= MAX_SUBMISSIONS and not is_limited:
            text = f"requested {tries} times, without a response: {classification.message}"
            raise_alert(tx, "cancel_unanswered", owner.decision_id, text)

    def _end_refused(self, request_id: str, owner: Owner, message: str) -> None:
        """End a refused cancel, unless the end of its order has ended it already."""
        with self._writer.transaction() as tx:
            if _has_ended(tx, request_id):
                return
            row = tx.one(
                "SELECT broker_status, status FROM trade_executions WHERE execution_id = ?",
                (owner.execution_id,),
            )
            if row[0] == "pending_cancel":
                at = clock.later(tx.now, CANCEL_POLL_SECONDS)
                changes = {"status": RequestStatus.SENT, "message": message, "next_attempt_at": at}
                tx.update("order_requests", request_id, changes)
            elif row[1] not in _LIVE:
                # This order has ended, another of the decision has not: that one is to be cancelled.
                tx.update("order_requests", request_id, {"status": RequestStatus.PENDING, "message": message})
            else:
                transitions.end_request(
                    tx, request_id, RequestStatus.REFUSED, message, refused_by=RefusedBy.BROKER
                )
                raise_alert(tx, "cancel_refused", owner.decision_id, f"cancel refused: {message}")
            tx.journal("cancel.refused", request_id)

    def _note_sent(self, request_id: str) -> None:
        with self._writer.transaction() as tx:
            if not _has_ended(tx, request_id):
                at = clock.later(tx.now, CANCEL_POLL_SECONDS)
                tx.update("order_requests", request_id, {"status": RequestStatus.SENT, "next_attempt_at": at})
                tx.journal("cancel.found_sent", request_id)

    def _later(self, request_id: str) -> None:
        with self._writer.transaction() as tx:
            if not _has_ended(tx, request_id):
                at = clock.later(tx.now, CANCEL_POLL_SECONDS / 4)
                tx.update("order_requests", request_id, {"next_attempt_at": at})
                tx.journal("request.put_off", request_id)

    def _replace(self, request_id: str, decision_id: str) -> None:
        with self._writer.reading() as connection:
            state, execution_id = connection.execute(
                "SELECT status, execution_id FROM order_requests WHERE request_id = ?", (request_id,)
            ).fetchone()
        if state == RequestStatus.SENDING:
            # Its attempt is recorded: it is resolved as every attempt is, and the old order polled.
            self._follow(execution_id, decision_id)
            return
        if execution_id is not None and not self._has_answer_for(execution_id, decision_id):
            return
        with self._writer.transaction() as tx:
            target = newest_live_attempt(tx, decision_id)
        if target is not None:
            owner = Owner(target["execution_id"], decision_id)
            if self._tracker.poll_order(owner, target["alpaca_order_id"]) is None:
                self._later(request_id)
                return
            if not self._pretrade.prepare(self._replacement(request_id, decision_id, target)):
                return
        claim = self._claim_replace(request_id, decision_id)
        if claim is not None:
            self._submitter.submit(claim)
            self._follow(claim.execution_id, decision_id)

    def _replacement(self, request_id: str, decision_id: str, target: Mapping[str, Any]) -> WireOrder:
        """The order of a replace request, to prefetch what its checks look at."""
        with self._writer.transaction() as tx:
            decision = load_decision(tx, decision_id)
            terms = tx.one("SELECT terms FROM order_requests WHERE request_id = ?", (request_id,))[0]
        new_terms = {name: value for name, value in json.loads(terms).items() if name in REPLACEABLE_TERMS}
        return claims.wire_order(decision, {**target, **new_terms})

    def _has_answer_for(self, execution_id: str, decision_id: str) -> bool:
        """Before a second attempt, look up the first; False without a response."""
        with self._writer.reading() as connection:
            client_id, order_id = connection.execute(
                "SELECT client_order_id, alpaca_order_id FROM trade_executions WHERE execution_id = ?",
                (execution_id,),
            ).fetchone()
        if order_id is not None:
            return True
        exchange = self._session.broker.find(client_id)
        classification = responses.classify_lookup(exchange)
        self._session.observe(exchange, classification, quiet=True)
        if classification.order is not None:
            owner = Owner(execution_id, decision_id)
            self._tracker.apply(owner, dict(classification.order), exchange, "lookup")
        return classification.order is not None or classification.kind is ResponseKind.NOT_FOUND

    def _claim_replace(self, request_id: str, decision_id: str) -> claims.Claim | None:
        """Record the attempt to replace, or end the request where there is nothing to replace."""
        with self._writer.transaction() as tx:
            state = tx.one("SELECT status FROM order_requests WHERE request_id = ?", (request_id,))[0]
            if state != RequestStatus.PENDING:
                return None
            if _has_landed(tx, request_id):
                # Throttled or not sent, by its response, and there all the same.
                tx.update(
                    "order_requests", request_id, {"status": RequestStatus.SENT, "next_attempt_at": None}
                )
                transitions.update_decision(tx, decision_id)
                tx.journal("replace.found", request_id)
                return None
            decision = load_decision(tx, decision_id)
            target = newest_live_attempt(tx, decision_id)
            terms = json.loads(
                tx.one("SELECT terms FROM order_requests WHERE request_id = ?", (request_id,))[0]
            )
            if claims.is_leased(tx, decision, self._session.worker_id) or _is_unsettled(tx, decision_id):
                return None
            why = "the order had ended before" if target is None else None
            if _is_cancelling(tx, decision_id):
                why = "it is to be cancelled"
            if why is None and target is not None:
                try:
                    own = new_terms(tx, decision, target, parse_stored_terms(terms))
                except UsageError as error:
                    why = error.message
            if why is not None or target is None:
                transitions.end_request(tx, request_id, RequestStatus.OVERTAKEN, why)
                tx.journal("replace.overtaken", request_id)
                return None
            client_id = _next_client_id(tx, request_id, decision)
            may, value = self._is_allowed(
                tx, request_id, decision, target, {**own, "client_order_id": client_id}
            )
            if not may:
                return None
            execution_id, _ = claims.insert_attempt(
                tx,
                decision,
                client_id,
                replaces=target["execution_id"],
                order_value=None if value is None else money.to_text(value),
                **own,
            )
            token = claims.acquire_lease(tx, decision, self._session.worker_id, self._session.lease)
            tries = tx.one("SELECT tries FROM order_requests WHERE request_id = ?", (request_id,))[0]
            changes = {"status": RequestStatus.SENDING, "tries": tries + 1, "execution_id": execution_id}
            tx.update("order_requests", request_id, {**changes, "next_attempt_at": None})
            tx.journal("replace.sending", request_id, execution=execution_id)
            execution = tx.dicts("SELECT * FROM trade_executions WHERE execution_id = ?", (execution_id,))[0]
            return claims.claim_of_attempt(tx, decision, execution, token)

    def _is_allowed(
        self,
        tx: Transaction,
        request_id: str,
        decision: Mapping[str, Any],
        target: Mapping[str, Any],
        own: Mapping[str, Any],
    ) -> tuple[bool, Decimal | None]:
        """Check a replacement against halts and limits; a refused one ends its request."""
        account = self._session.account
        order = claims.wire_order(decision, own)
        value = None
        if control_state.halts(tx.dicts, account).covers(decision["strategy_name"], decision["symbol"]):
            refusal: Refusal | None = Refusal(
                RefusedBy.HALT, "halted: nothing new is sent; the old order stands"
            )
        else:
            limits = controls.limits_in_force(tx.dicts, account, self._session.config.risk, tx.now)
            refusal, value = self._pretrade.check_replacement(tx, decision, order, limits, target)
        if refusal is not None:
            transitions.end_request(
                tx, request_id, RequestStatus.REFUSED, refusal.reason, refused_by=refusal.code
            )
            tx.journal("replace.refused", request_id)
        return refusal is None, value

    def _follow(self, execution_id: str, decision_id: str) -> None:
        """Poll the old order, whose end is what ends the replace, and then the new one."""
        with self._writer.reading() as connection:
            rows = connection.execute(
                "SELECT o.execution_id, o.alpaca_order_id, o.status FROM trade_executions e"
                " JOIN trade_executions o ON o.execution_id IN (e.replaces, e.execution_id)"
                " WHERE e.execution_id = ? ORDER BY o.id",
                (execution_id,),
            ).fetchall()
        for owner_id, order_id, status in rows:
            if order_id is not None and status in _LIVE and self._session.may_request():
                self._tracker.poll_order(Owner(owner_id, decision_id), order_id)


def _without_cancel(tx: Transaction, decision_id: str) -> list[dict[str, Any]]:
    """The live attempts of a decision whose cancel the broker has not confirmed."""
    return [
        row
        for row in live_attempts(tx, decision_id)
        if tx.one(
            "SELECT 1 FROM broker_calls WHERE execution_id = ? AND purpose = 'cancel'"
            " AND status IN (200, 204)",
            (row["execution_id"],),
        )
        is None
    ]


def _is_unsettled(tx: Transaction, decision_id: str) -> bool:
    row = tx.one(
        "SELECT 1 FROM trade_executions WHERE decision_id = ? AND status IN ('sending', 'unknown')",
        (decision_id,),
    )
    return row is not None


def _is_cancelling(tx: Transaction, decision_id: str) -> bool:
    row = tx.one(
        "SELECT 1 FROM order_requests WHERE decision_id = ? AND kind = 'cancel' AND ended_at IS NULL",
        (decision_id,),
    )
    return row is not None


def _has_ended(tx: Transaction, request_id: str) -> bool:
    row = tx.one("SELECT ended_at FROM order_requests WHERE request_id = ?", (request_id,))
    return row[0] is not None


def _has_landed(tx: Transaction, request_id: str) -> bool:
    """Whether an earlier attempt of a replace has an order after all."""
    row = tx.one(
        "SELECT 1 FROM order_requests r JOIN trade_executions e ON e.execution_id = r.execution_id"
        " WHERE r.request_id = ? AND e.alpaca_order_id IS NOT NULL",
        (request_id,),
    )
    return row is not None


def _next_client_id(tx: Transaction, request_id: str, decision: Mapping[str, Any]) -> str:
    """One client order id per request: a repeated attempt carries the same, which the broker takes once."""
    earlier = tx.one(
        "SELECT e.client_order_id FROM order_requests r JOIN trade_executions e"
        " ON e.execution_id = r.execution_id WHERE r.request_id = ?",
        (request_id,),
    )
    if earlier is not None:
        return str(earlier[0])
    numbers = tx.query(
        "SELECT DISTINCT client_order_id FROM trade_executions WHERE decision_id = ?",
        (decision["decision_id"],),
    )
    return ids.client_order_id(decision["decision_id"], decision["decision_hash"], len(numbers) + 1)
