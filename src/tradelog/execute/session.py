"""The broker session: when a request may be made, and what a response means for all requests.

Refused keys end the process; a rate limit or an outage pauses it. One session belongs to one
worker process or one command.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from datetime import timedelta

from tradelog.config.schema import Config
from tradelog.domain import clock, ids
from tradelog.errors import BrokerRefusesUs, StoreLocked, StoreUnwritable
from tradelog.execute.account.binding import bind_account, note_refused_keys
from tradelog.execute.backoff import JitteredBackoff
from tradelog.execute.brokers.base import Broker, Exchange
from tradelog.execute.outbox import responses
from tradelog.execute.outbox.responses import Classification, ResponseKind
from tradelog.execute.rate_limit import RateLimit, requested_wait
from tradelog.operate import systemd
from tradelog.store import workers
from tradelog.store.writer import Transaction, Writer

# So many responses in a row that prove nothing are an outage.
OUTAGE_FAILURES = 3
STORE_RETRY_SECONDS = 1.0


class BrokerSession:
    """``role`` is ``worker``, or the command that opened the session."""

    def __init__(self, writer: Writer, broker: Broker, config: Config, role: str = "worker") -> None:
        self.writer = writer
        self.broker = broker
        self.config = config
        self.account = config.account
        self.lease = timedelta(seconds=float(config.worker.lease_seconds))
        worker = config.worker
        # No call takes longer than its two time-outs together.
        self.call_seconds = float(worker.connect_timeout_seconds + worker.read_timeout_seconds)
        self.worker_id = ids.new(ids.WORKER)
        # Of `clock.running_seconds`.
        self.paused_until = 0.0
        self.stopping = threading.Event()
        self._role = role
        # As the broker answered it; None until the account is bound.
        self.account_number: str | None = None
        self._quiet_calls = 0
        self._rate_limit = RateLimit()
        self._backoff = JitteredBackoff()
        self._unproven_responses = 0

    def register(self, tx: Transaction) -> None:
        """Record this process, so that others can tell whether the owner of a lease is alive."""
        workers.register(tx, self.worker_id, self.account, self._role)

    def heartbeat(self) -> None:
        """Record that this process is alive."""
        with self.writer.transaction() as tx:
            tx.unaudited(
                "UPDATE workers SET heartbeat_at = ?, quiet_calls = ? WHERE worker_id = ?",
                (tx.now, self._quiet_calls, self.worker_id),
            )
        systemd.notify("WATCHDOG=1")

    def deregister(self) -> None:
        """Record that this process has ended in good order."""
        with self.writer.transaction() as tx:
            tx.unaudited(
                "UPDATE workers SET heartbeat_at = ?, stopped_at = ?, quiet_calls = ? WHERE worker_id = ?",
                (tx.now, tx.now, self._quiet_calls, self.worker_id),
            )

    def ensure_bound(self) -> bool:
        """Whether the broker answers for the account that this store is bound to; nothing leaves before.

        Raises BrokerRefusesUs where it answers for another one.
        """
        if self.account_number is None:
            # A command compares no clocks: reconciling twice adds nothing.
            worker_id = self.worker_id if self._role == "worker" else None
            self.account_number = bind_account(self.writer, self.broker, self.config, worker_id)
        return self.account_number is not None

    def may_request(self, *, keep_reserve: bool = False) -> bool:
        """Whether a request may be made now. ``keep_reserve`` leaves the last of the rate limit to orders."""
        if self.stopping.is_set() or clock.running_seconds() < self.paused_until:
            return False
        return self._rate_limit.allows_request(keep_reserve=keep_reserve)

    def observe(
        self, exchange: Exchange, classification: Classification | None = None, *, quiet: bool = False
    ) -> None:
        """Apply what a response means for all requests; ``quiet`` ones are counted and not kept.

        Raises BrokerRefusesUs for refused keys.
        """
        self._quiet_calls += quiet
        # A long reconciliation is alive as long as it is answered.
        systemd.notify("WATCHDOG=1")
        self._rate_limit.observe(exchange)
        classification = classification or responses.classify_lookup(exchange)
        kind = classification.kind
        if kind is ResponseKind.BAD_KEYS:
            note_refused_keys(self.writer, self.account, self.broker.name, classification.message)
            raise BrokerRefusesUs(
                f"{self.broker.name} refuses our keys: {classification.message}",
                hint="check APCA_API_KEY_ID and APCA_API_SECRET_KEY; decisions stay pending",
            )
        if kind is ResponseKind.THROTTLED:
            self.pause(requested_wait(exchange))
        elif kind is ResponseKind.NOT_SENT:
            self.pause(self.backoff())
        elif kind is ResponseKind.UNKNOWN and (exchange.status is None or exchange.status >= 500):
            # One is an accident; several in a row are an outage, and orders are not sent into one.
            self._unproven_responses += 1
            if self._unproven_responses >= OUTAGE_FAILURES:
                self.pause(self.backoff())
        else:
            self._backoff.reset()
            self._unproven_responses = 0

    def pause(self, seconds: float) -> None:
        """Make no request for so long; a longer pause stands."""
        self.paused_until = max(self.paused_until, clock.running_seconds() + seconds)

    def retry_at(self, exchange: Exchange, now: str) -> str:
        """When to submit again what the broker provably did not take, as store text."""
        seconds = self.backoff() if exchange.status is None else requested_wait(exchange)
        return clock.later(now, seconds)

    def backoff(self) -> float:
        """Seconds to wait after one more failure to reach the broker."""
        return self._backoff.next_wait()

    def retry_write(self, write: Callable[[], None]) -> None:
        """Record a response, however long the store cannot take it; nothing is sent meanwhile."""
        while True:
            try:
                write()
            except (StoreLocked, StoreUnwritable) as error:
                print(f"waiting to record the broker's response: {error.message}", file=sys.stderr)
                systemd.notify("WATCHDOG=1")
                if self.stopping.wait(STORE_RETRY_SECONDS):
                    raise
            else:
                return
