"""The worker: claims, sends, asks and polls until it is told to stop.

APScheduler is the timer only; which decision is sent, and by whom, the store decides. All jobs run
one at a time on one thread, and no transaction is open while the broker is spoken to.
"""

from __future__ import annotations

import json
import logging
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from tradelog import clock, ids
from tradelog.config import Config
from tradelog.errors import BrokerRefusesUs, StoreLocked, StoreUnwritable
from tradelog.execute import orders, outbox, outcome, snapshots
from tradelog.execute.brokers.base import Broker, Exchange
from tradelog.execute.outbox import Claim, LeaseLost
from tradelog.execute.outcome import Kind
from tradelog.store.process import boot_id
from tradelog.store.writer import Transaction, Writer

HEARTBEAT_SECONDS = 10
SNAPSHOT_SECONDS = 60
# An id that was sent this often without a trace of it is a matter for a person.
MOST_SENDS = 5
# At least so many "not found" over the grace period before the same id is sent again.
LOOKUPS = 4
THROTTLED_SECONDS = 60.0
# No wait that a broker asks for is longer: a wrong header must not park an order for years.
MOST_SECONDS_ASKED = 300.0
# What fails is tried less and less often, but at least once in so many seconds.
MOST_SECONDS_BETWEEN = 60.0
# Alpaca's largest page of activities, and as many of them as one order can reasonably have.
PAGE = 100
MOST_PAGES = 100

log = logging.getLogger("tradelog.worker")


@dataclass(slots=True)
class Summary:
    """What a worker did, by decision id."""

    sent: set[str] = field(default_factory=set)
    expired: int = 0


class Worker:
    """Works for the broker, environment and account of the configuration only."""

    def __init__(self, writer: Writer, broker: Broker, config: Config) -> None:
        self._writer = writer
        self._broker = broker
        self._config = config
        self._account = config.account
        self._lease = timedelta(seconds=float(config.worker.lease_seconds))
        self._paused_until = 0.0
        self._unreachable_times = 0
        self._unreachable_seconds = 0.0
        self._is_bound = False
        # Questions that failed: execution -> (how often in a row, when to ask again, monotonic).
        self._failed_polls: dict[str, tuple[int, float]] = {}
        # Orders whose fills do not add up to their filled quantity yet: order and its attempt's start.
        self._owed: dict[str, tuple[Any, str]] = {}
        self._stirred = True
        self._stop = threading.Event()
        self._is_idle = False
        self._failure: BaseException | None = None
        self.worker_id = ids.new(ids.WORKER)
        self.summary = Summary()

    def start(self) -> None:
        """Register, and bind the account. Raises BrokerRefusesUs where the broker is another's."""
        with self._writer.transaction() as tx:
            broker, environment, name = self._account
            tx.unaudited(
                "INSERT INTO workers (worker_id, host, pid, boot_id, broker, environment, account,"
                " started_at, heartbeat_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(self.worker_id, socket.gethostname(), os.getpid(), boot_id()),
                    *(broker, environment, name, tx.now, tx.now),
                ),
            )
        self._bind()
        self.snapshot()
        with self._writer.reading() as connection:
            self._owed = orders.owed_fills(connection, self._account)

    def _bind(self) -> bool:
        """Whether the broker has answered for the account that this store knows; nothing is sent before."""
        if not self._is_bound:
            self._is_bound = snapshots.bind_account(self._writer, self._broker, self._config) is not None
        return self._is_bound

    def stop(self) -> None:
        """Finish the call in flight, then end. Safe to call from a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Until `stop`. Raises what ended it."""
        settings = self._config.worker
        self._schedule(
            [
                (self.drain, settings.drain_seconds),
                (self.poll, settings.poll_seconds),
                (self.heartbeat, Decimal(HEARTBEAT_SECONDS)),
                (self.snapshot, Decimal(SNAPSHOT_SECONDS)),
            ],
            None,
        )

    def run_once(self) -> None:
        """Drain what is due; end when all that was sent is over, or after ``once_seconds``."""
        settings = self._config.worker
        quick = min(settings.poll_seconds, Decimal("0.5"))
        self._schedule(
            [(self.drain, settings.drain_seconds), (self.poll, quick), (self._end_when_done, quick)],
            float(settings.once_seconds),
        )
        self.snapshot()

    def drain(self) -> None:
        """Settle what is unsettled, then send what is due, oldest first."""
        self._is_idle = False
        asked: set[str] = set()
        while not self._stop.is_set() and time.monotonic() >= self._paused_until:
            if not self._bind():
                self._pause(self._backoff())
                return
            with self._writer.transaction() as tx:
                claim = outbox.unsettled(tx, self._account, self.worker_id, self._lease, asked=asked)
            if claim is not None:
                asked.add(claim.execution_id)
                self._resolve(claim)
                continue
            with self._writer.transaction() as tx:
                claim = outbox.claim(tx, self._account, self.worker_id, self._lease)
            if claim is None:
                self._is_idle = True
                return
            self.summary.sent.add(claim.decision_id)
            self._stirred = True
            log.info("sending %s", claim.execution_id, extra={"action": "send"})
            self._send(claim)

    def poll(self) -> None:
        """Ask for every order that may still change, and for fills that are missing."""
        with self._writer.reading() as connection:
            rows = connection.execute(
                "SELECT execution_id, decision_id, alpaca_order_id, started_at"
                " FROM trade_executions WHERE broker = ? AND environment = ? AND account = ?"
                " AND status IN ('accepted', 'partially_filled') ORDER BY id",
                self._account,
            ).fetchall()
        for execution_id, decision_id, order_id, started_at in rows:
            if self._must_wait(execution_id):
                continue
            exchange = self._broker.order(order_id)
            verdict = outcome.of_lookup(exchange)
            if verdict.order is None or verdict.order["id"] != order_id:
                # A failed question changes nothing about the order; that it failed is kept.
                with self._writer.transaction() as tx:
                    outbox.log_call(tx, exchange, "poll", execution_id)
                    tx.journal("order.poll_failed", execution_id)
                self._ask_later(execution_id)
                self._heed(verdict, exchange)
                continue
            self._failed_polls.pop(execution_id, None)
            self._apply(execution_id, decision_id, exchange, verdict.order, started_at)
        for execution_id in list(self._owed):
            if not self._must_wait(execution_id):
                self._fetch_fills(execution_id)

    def _must_wait(self, execution_id: str) -> bool:
        _, again = self._failed_polls.get(execution_id, (0, 0.0))
        return self._stop.is_set() or time.monotonic() < max(self._paused_until, again)

    def _ask_later(self, execution_id: str) -> None:
        """What fails is asked less often, each order for itself: one that fails keeps none waiting."""
        failures, _ = self._failed_polls.get(execution_id, (0, 0.0))
        wait = min(MOST_SECONDS_BETWEEN, 2.0**failures)
        self._failed_polls[execution_id] = (failures + 1, time.monotonic() + wait)

    def _fetch_fills(self, execution_id: str) -> None:
        """The fills that an order still owes us: its activities can come later than its status."""
        order, since = self._owed[execution_id]
        fills = self._fills_of(order, since)
        if not fills:
            self._ask_later(execution_id)
            return

        def apply() -> None:
            with self._writer.transaction() as tx:
                orders.apply_fills(tx, self._account, fills)
                self._note_owed(tx, execution_id, order, since)

        self._insist(apply)
        if execution_id in self._owed:
            self._ask_later(execution_id)

    def _note_owed(self, tx: Transaction, execution_id: str, order: Any, since: str) -> None:
        filled = outcome.number(order, "filled_qty") or Decimal(0)
        if orders.filled_so_far(tx, execution_id) == filled:
            self._owed.pop(execution_id, None)
            self._failed_polls.pop(execution_id, None)
        else:
            self._owed[execution_id] = (order, since)

    def heartbeat(self) -> None:
        with self._writer.transaction() as tx:
            tx.unaudited("UPDATE workers SET heartbeat_at = ? WHERE worker_id = ?", (tx.now, self.worker_id))

    def snapshot(self) -> None:
        """Keep account and positions after something was sent: what nobody traded on need not be."""
        if self._stirred:
            self._stirred = not snapshots.refresh(self._writer, self._broker, self._account)

    def finish(self) -> None:
        """Write down that this worker has ended in good order."""
        with self._writer.transaction() as tx:
            tx.unaudited(
                "UPDATE workers SET heartbeat_at = ?, stopped_at = ? WHERE worker_id = ?",
                (tx.now, tx.now, self.worker_id),
            )

    def _send(self, claim: Claim) -> None:
        exchange = self._broker.submit(claim.order)
        verdict = outcome.of_submit(exchange)
        if verdict.kind is Kind.ORDER and outcome.mismatch(verdict.order or {}, claim.order):
            different = outcome.mismatch(verdict.order or {}, claim.order)
            verdict = outcome.Verdict(Kind.UNKNOWN, f"the answer is another order: {different}")
        self._settle(claim, exchange, "submit", verdict)
        if verdict.kind is Kind.DUPLICATE or verdict.kind is Kind.UNKNOWN:
            self._resolve(claim)
        self._heed(verdict, exchange)

    def _settle(self, claim: Claim, exchange: Exchange, purpose: str, verdict: outcome.Verdict) -> None:
        """Record an exchange and what it proves, in one commit, unless the lease is lost."""

        def settle() -> None:
            with self._writer.transaction() as tx:
                outbox.check_lease(tx, claim)
                is_first = purpose == "submit" and not outbox.sends(tx, claim)
                outbox.log_call(tx, exchange, purpose, claim.execution_id)
                if verdict.order is not None:
                    source = "submit" if purpose == "submit" else "lookup"
                    order, ids = verdict.order, (claim.execution_id, claim.decision_id)
                    orders.apply_order(tx, self._account, *ids, order, source)
                    self._note_owed(tx, claim.execution_id, order, claim.started_at)
                    tx.journal_rest("order.told", claim.execution_id)
                elif verdict.kind is Kind.REFUSED and is_first:
                    outbox.settle_refused(tx, claim, verdict)
                elif is_first and verdict.kind in (Kind.BAD_KEYS, Kind.THROTTLED, Kind.NOT_SENT):
                    status = "not_sent" if verdict.kind is Kind.NOT_SENT else "not_accepted"
                    retry_at = None if verdict.kind is Kind.BAD_KEYS else self._later(exchange, tx.now)
                    outbox.settle_returned(tx, claim, verdict, status, retry_at)
                else:
                    # Of a repeated send even a refusal proves nothing about the first: it may be
                    # refused because the first one landed and took the buying power.
                    outbox.settle_unknown(tx, claim, verdict.message, self._ask_at(claim, tx.now))

        try:
            self._insist(settle)
        except LeaseLost:
            # Whoever holds the lease now settles it; the words that were spoken are kept all the same.
            with self._writer.transaction() as tx:
                outbox.log_call(tx, exchange, purpose, claim.execution_id)
                tx.journal("execution.lease_lost", claim.execution_id)
            log.warning("lease of %s lost", claim.decision_id, extra={"action": "lease_lost"})
        else:
            if claim.execution_id in self._owed:
                self._fetch_fills(claim.execution_id)

    def _insist(self, write: Callable[[], None]) -> None:
        """Write down what was said, however long the store cannot take it; nothing is sent meanwhile."""
        while True:
            try:
                write()
            except (StoreLocked, StoreUnwritable) as error:
                print(f"waiting to record the broker's answer: {error.message}", file=sys.stderr)
                if self._stop.wait(1.0):
                    raise
            else:
                return

    def _ask_at(self, claim: Claim, now: str) -> str:
        """When to ask about an unknown again: often within the grace period, ever less often after it."""
        age = (clock.from_text(now) - clock.from_text(claim.started_at)).total_seconds()
        grace = float(self._config.worker.unknown_grace_seconds)
        return _later_than(now, max(grace / LOOKUPS, min(age / LOOKUPS, MOST_SECONDS_BETWEEN)))

    def _resolve(self, claim: Claim) -> None:
        """Ask the broker for an order by our id: adopt it, or, after the grace period, send it again."""
        exchange = self._broker.find(claim.order.client_order_id)
        verdict = outcome.of_lookup(exchange)
        different = None if verdict.order is None else outcome.mismatch(verdict.order, claim.order)
        try:
            if different is not None:
                with self._writer.transaction() as tx:
                    outbox.log_call(tx, exchange, "lookup", claim.execution_id)
                    outbox.settle_stuck(tx, claim, f"the broker has another order under our id: {different}")
                return
            self._settle(claim, exchange, "lookup", verdict)
            self._heed(verdict, exchange)
            if verdict.kind is Kind.NOT_FOUND and self._is_gone(claim):
                self._send_again(claim)
        except LeaseLost:
            log.warning("lease of %s lost", claim.decision_id, extra={"action": "lease_lost"})

    def _is_gone(self, claim: Claim) -> bool:
        """Whether enough look-ups over the whole grace period have found nothing since the last send."""
        with self._writer.reading() as connection:
            last_sent, asked = connection.execute(
                "SELECT max(s.ended_at), (SELECT count(*) FROM broker_calls l WHERE l.execution_id = ?1"
                " AND l.purpose = 'lookup' AND l.status = 404 AND l.response_body LIKE '{%'"
                " AND l.started_at >= coalesce(max(s.ended_at), ''))"
                " FROM broker_calls s WHERE s.execution_id = ?1 AND s.purpose = 'submit'",
                (claim.execution_id,),
            ).fetchone()
        since = clock.from_text(last_sent or claim.started_at)
        grace = timedelta(seconds=float(self._config.worker.unknown_grace_seconds))
        return asked >= LOOKUPS and clock.now() - since >= grace

    def _send_again(self, claim: Claim) -> None:
        """The same id once more, which the broker refuses if it has it; or, if that is not safe, nobody."""
        with self._writer.transaction() as tx:
            outbox.check_lease(tx, claim)
            refused = outbox.last_refusal(tx, claim)
            sent = outbox.sends(tx, claim)
            if refused is not None:
                outbox.settle_refused(tx, claim, refused)
                return
            if sent >= MOST_SENDS:
                outbox.settle_stuck(tx, claim, f"sent {sent} times, and the broker knows nothing of it")
                return
            if claim.expires_at is not None and claim.expires_at <= tx.now:
                outbox.settle_stuck(tx, claim, "it expired while nobody knew whether it had arrived")
                return
            outbox.resend(tx, claim, sent)
        self._send(claim)

    def _apply(self, execution_id: str, decision_id: str, exchange: Exchange, order: Any, since: str) -> None:
        def apply() -> None:
            with self._writer.transaction() as tx:
                before = tx.seq
                orders.apply_order(tx, self._account, execution_id, decision_id, order, "poll")
                self._note_owed(tx, execution_id, order, since)
                if tx.seq != before:
                    self._stirred = True
                    outbox.log_call(tx, exchange, "poll", execution_id)
                    tx.journal("order.told", execution_id)

        self._insist(apply)

    def _fills_of(self, order: Any, since: str) -> list[Any]:
        """The FILL activities of an order, as far as the broker shows them now."""
        # The broker's clock may be behind ours by more than a call takes.
        after = _later_than(since, -60.0)
        found: list[Any] = []
        token: str | None = None
        for _ in range(MOST_PAGES):
            exchange = self._broker.fills(after, token)
            page = exchange.json()
            if exchange.status != 200 or not isinstance(page, list):
                self._heed(outcome.of_lookup(exchange), exchange)
                break
            found += [item for item in page if outcome.is_fill(item) and item["order_id"] == order["id"]]
            named = [
                item["id"] for item in page if isinstance(item, dict) and isinstance(item.get("id"), str)
            ]
            if len(page) < PAGE or not named or self._stop.is_set():
                break
            token = named[-1]
        return found

    def _heed(self, verdict: outcome.Verdict, exchange: Exchange) -> None:
        """What concerns every order, not this one: wrong keys end the drain, a limit pauses it."""
        if verdict.kind is Kind.BAD_KEYS:
            raise BrokerRefusesUs(
                f"{self._broker.name} refuses our keys: {verdict.message}",
                hint="check APCA_API_KEY_ID and APCA_API_SECRET_KEY; decisions stay pending",
            )
        if verdict.kind is Kind.THROTTLED:
            self._pause(_wait_asked(exchange))
        elif verdict.kind is Kind.NOT_SENT:
            self._pause(self._unreachable_seconds)
        else:
            self._unreachable_times = 0

    def _pause(self, seconds: float) -> None:
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def _later(self, exchange: Exchange, now: str) -> str:
        """When to send again what did not get there."""
        seconds = self._backoff() if exchange.status is None else _wait_asked(exchange)
        return _later_than(now, seconds)

    def _backoff(self) -> float:
        """Seconds under a doubling bound with full jitter, so that workers do not come back all at once."""
        bound = min(MOST_SECONDS_BETWEEN, 2.0**self._unreachable_times)
        self._unreachable_times = min(self._unreachable_times + 1, 10)
        self._unreachable_seconds = random.uniform(0.5, bound)  # noqa: S311
        return self._unreachable_seconds

    def _end_when_done(self) -> None:
        with self._writer.reading() as connection:
            # An order that rests since an earlier day is not waited for, an unknown outcome is.
            waiting = connection.execute(
                "SELECT 1 FROM trade_decisions d JOIN trade_executions e ON e.decision_id = d.decision_id"
                " WHERE d.broker = ? AND d.environment = ? AND d.account = ? AND d.status = 'executing'"
                " AND d.needs_attention IS NULL AND (e.status IN ('sending', 'unknown')"
                " OR d.decision_id IN (SELECT value FROM json_each(?))) LIMIT 1",
                (*self._account, json.dumps(sorted(self.summary.sent))),
            ).fetchone()
        if self._is_idle and waiting is None and not self._owed:
            self.stop()

    def _schedule(self, jobs: list[tuple[Callable[[], None], Decimal]], most_seconds: float | None) -> None:
        from apscheduler.executors.pool import ThreadPoolExecutor
        from apscheduler.schedulers.background import BackgroundScheduler

        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": ThreadPoolExecutor(1)},
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
        )
        for job, seconds in jobs:
            scheduler.add_job(
                self._guarded(job), "interval", seconds=float(seconds), next_run_time=clock.now()
            )
        scheduler.start()
        try:
            self._stop.wait(most_seconds)
        finally:
            self._stop.set()
            scheduler.shutdown(wait=True)
        if self._failure is not None:
            raise self._failure

    def _guarded(self, job: Callable[[], None]) -> Callable[[], None]:
        """APScheduler logs a job's exception and goes on; what goes wrong here must end the worker.

        Only a store that cannot be written just now is waited for: nothing is sent meanwhile.
        """

        def run() -> None:
            if self._stop.is_set():
                return
            try:
                job()
            except (StoreLocked, StoreUnwritable) as error:
                print(f"waiting: {error.message}", file=sys.stderr)
                self._pause(1.0)
            except BaseException as error:
                self._failure = error
                self.stop()

        return run


def _later_than(moment: str, seconds: float) -> str:
    return clock.to_text(clock.from_text(moment) + timedelta(seconds=seconds))


def _wait_asked(exchange: Exchange) -> float:
    """How long the broker asks us to wait, in seconds: Retry-After, else until its limit resets."""
    after = _whole(exchange.headers.get("retry-after"))
    if after is not None:
        return min(after, MOST_SECONDS_ASKED)
    reset = _whole(exchange.headers.get("x-ratelimit-reset"))
    if reset is not None:
        return min(max(reset - clock.now().timestamp(), 0.0) + 1.0, MOST_SECONDS_ASKED)
    return THROTTLED_SECONDS


def _whole(text: str | None) -> float | None:
    """A header's whole number; None for anything else, and for one that no wait can have."""
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 12:
        return None
    return float(text)
