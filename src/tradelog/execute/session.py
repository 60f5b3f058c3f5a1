"""The line to the broker: who speaks on it, when it may be used, and how its answers are kept.

What concerns every order, and not one alone, is heeded here: wrong keys end the work, a limit or an
outage pauses it. One line belongs to one worker or one command.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import threading
from collections.abc import Callable
from datetime import timedelta

from tradelog.config.schema import Config
from tradelog.domain import clock, ids
from tradelog.errors import BrokerRefusesUs, StoreLocked, StoreUnwritable
from tradelog.execute.account import snapshots
from tradelog.execute.brokers.base import Broker, Exchange
from tradelog.execute.outbox import responses
from tradelog.execute.outbox.responses import ResponseKind
from tradelog.execute.risk.controls import record_configured_limits
from tradelog.operate import systemd
from tradelog.store.process import boot_id
from tradelog.store.writer import Writer

THROTTLED_SECONDS = 60.0
# No wait that a broker asks for is longer: a wrong header must not park an order for years.
MAX_REQUESTED_WAIT_SECONDS = 300.0
# What fails is tried less and less often, but at least once in so many seconds.
MAX_BACKOFF_SECONDS = 60.0
# Requests that are left for orders: questions wait for the limit to reset rather than use them up.
RESERVED_REQUESTS = 20
# So many answers in a row that prove nothing are an outage.
OUTAGE = 3


class BrokerSession:
    """``role`` is ``worker``, or the command that speaks."""

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
        self.paused_until = 0.0
        self.stopping = threading.Event()
        self._role = role
        self._is_bound = False
        self._quiet_calls = 0
        self._unreachable_times = 0
        self._failures = 0
        self._remaining: int | None = None
        self._resets_at = 0.0

    def register(self) -> None:
        """Write down who speaks, and by which limits: others must be able to tell whose lease is alive."""
        with self.writer.transaction() as tx:
            tx.unaudited(
                "INSERT INTO workers (worker_id, host, pid, boot_id, broker, environment, account,"
                " started_at, heartbeat_at, role) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(self.worker_id, socket.gethostname(), os.getpid(), boot_id(), *self.account),
                    *(tx.now, tx.now, self._role),
                ),
            )
            record_configured_limits(tx, self.config, self.writer.actor)

    def heartbeat(self) -> None:
        with self.writer.transaction() as tx:
            tx.unaudited(
                "UPDATE workers SET heartbeat_at = ?, quiet_calls = ? WHERE worker_id = ?",
                (tx.now, self._quiet_calls, self.worker_id),
            )
        systemd.notify("WATCHDOG=1")

    def deregister(self) -> None:
        """Write down that this speaker has ended in good order."""
        with self.writer.transaction() as tx:
            tx.unaudited(
                "UPDATE workers SET heartbeat_at = ?, stopped_at = ?, quiet_calls = ? WHERE worker_id = ?",
                (tx.now, tx.now, self._quiet_calls, self.worker_id),
            )

    def ensure_bound(self) -> bool:
        """Whether the broker has answered for the account that this store knows; nothing is sent before.

        Raises BrokerRefusesUs where it answers for another one.
        """
        if not self._is_bound:
            # A command compares no clocks: reconciling twice adds nothing.
            worker_id = self.worker_id if self._role == "worker" else None
            number = snapshots.bind_account(self.writer, self.broker, self.config, worker_id)
            self._is_bound = number is not None
        return self._is_bound

    def may_request(self, *, keep_reserve: bool = False) -> bool:
        """Whether a call may be made now. ``keep_reserve`` leaves the last of the rate limit to orders."""
        if self.stopping.is_set() or clock.running_seconds() < self.paused_until:
            return False
        least = RESERVED_REQUESTS if keep_reserve else 0
        is_spent = self._remaining is not None and self._remaining <= least
        return not is_spent or clock.now().timestamp() > self._resets_at

    def observe(
        self,
        exchange: Exchange,
        classification: responses.Classification | None = None,
        *,
        quiet: bool = False,
    ) -> None:
        """Heed what an answer says about all calls. Raises BrokerRefusesUs for refused keys."""
        self._quiet_calls += quiet
        # A long reconciliation is alive as long as it is answered.
        systemd.notify("WATCHDOG=1")
        remaining = _whole(exchange.headers.get("x-ratelimit-remaining"))
        reset = _whole(exchange.headers.get("x-ratelimit-reset"))
        if remaining is not None and reset is not None:
            self._remaining = int(remaining)
            self._resets_at = min(reset, clock.now().timestamp() + MAX_REQUESTED_WAIT_SECONDS)
        classification = classification or responses.classify_lookup(exchange)
        kind = classification.kind
        if kind is ResponseKind.BAD_KEYS:
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
            self._failures += 1
            if self._failures >= OUTAGE:
                self.pause(self.backoff())
        else:
            self._unreachable_times = 0
            self._failures = 0

    def pause(self, seconds: float) -> None:
        self.paused_until = max(self.paused_until, clock.running_seconds() + seconds)

    def retry_at(self, exchange: Exchange, now: str) -> str:
        """When to send again what did not get there."""
        seconds = self.backoff() if exchange.status is None else requested_wait(exchange)
        return clock.later(now, seconds)

    def backoff(self) -> float:
        """Seconds under a doubling bound with full jitter, so that workers do not come back all at once."""
        bound = min(MAX_BACKOFF_SECONDS, 2.0**self._unreachable_times)
        self._unreachable_times = min(self._unreachable_times + 1, 10)
        return random.uniform(0.5, bound)  # noqa: S311

    def retry_write(self, write: Callable[[], None]) -> None:
        """Write down what was said, however long the store cannot take it; nothing is sent meanwhile."""
        while True:
            try:
                write()
            except (StoreLocked, StoreUnwritable) as error:
                print(f"waiting to record the broker's answer: {error.message}", file=sys.stderr)
                systemd.notify("WATCHDOG=1")
                if self.stopping.wait(1.0):
                    raise
            else:
                return


class KeyedBackoff:
    """Asks less and less often about what fails, each thing for itself: one that fails keeps none waiting."""

    def __init__(self, most: float = MAX_BACKOFF_SECONDS) -> None:
        self._most = most
        self._failed: dict[str, tuple[int, float]] = {}

    def is_due(self, key: str) -> bool:
        return clock.running_seconds() >= self._failed.get(key, (0, 0.0))[1]

    def failures(self, key: str) -> int:
        return self._failed.get(key, (0, 0.0))[0]

    def failed(self, key: str, wait: float | None = None) -> None:
        """It is due again after ``wait`` seconds, by default the longer the more often it has failed."""
        failures = self.failures(key)
        if wait is None:
            wait = min(self._most, 2.0 ** min(failures, 20))
        self._failed[key] = (failures + 1, clock.running_seconds() + wait)

    def done(self, key: str) -> None:
        self._failed.pop(key, None)

    def waiting(self) -> list[str]:
        """What has failed and is not due yet."""
        return [key for key in self._failed if not self.is_due(key)]


def requested_wait(exchange: Exchange) -> float:
    """How long the broker asks us to wait, in seconds: Retry-After, else until its limit resets."""
    after = _whole(exchange.headers.get("retry-after"))
    if after is not None:
        return min(after, MAX_REQUESTED_WAIT_SECONDS)
    reset = _whole(exchange.headers.get("x-ratelimit-reset"))
    if reset is not None:
        # A second more, and not all at once (the broker's own advice; docs.alpaca.markets, rate limits).
        wait = max(reset - clock.now().timestamp(), 0.0) + random.uniform(1.0, 1.5)  # noqa: S311
        return min(wait, MAX_REQUESTED_WAIT_SECONDS)
    return THROTTLED_SECONDS


def _whole(text: str | None) -> float | None:
    """A header's whole number; None for anything else, and for one that no wait can have."""
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 12:
        return None
    return float(text)
