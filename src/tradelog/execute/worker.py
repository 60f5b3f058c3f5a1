"""The worker: submits, amends, tracks and reconciles until it is stopped.

APScheduler is the timer only; the store decides which worker submits which decision. All jobs run
one at a time on one thread, and no transaction is open during a request to the broker.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.errors import StoreLocked, StoreUnwritable
from tradelog.execute.account import snapshots
from tradelog.execute.amend.cancel_replace import CancelReplace
from tradelog.execute.backoff import KeyedBackoff
from tradelog.execute.brokers.base import Broker
from tradelog.execute.risk import controls
from tradelog.execute.risk.pretrade import PreTradeChecks
from tradelog.execute.session import BrokerSession
from tradelog.execute.submission import Submitter, Summary
from tradelog.execute.track.reconcile import Reconciler, Result
from tradelog.execute.track.tracker import OrderTracker
from tradelog.operate import systemd
from tradelog.operate.alerts import clear, raise_alert
from tradelog.operate.courier import Courier
from tradelog.operate.schedule import Timetable
from tradelog.store import figures, head_file
from tradelog.store.writer import Writer

HEARTBEAT_SECONDS = 10
SNAPSHOT_SECONDS = 60
ALERT_SECONDS = 1
REPORT_CACHE_SECONDS = 10
# An order waits no longer than this for the report cache.
REPORT_CACHE_SLICE_SECONDS = 0.1
# A signal is noticed within so long.
SLICE_SECONDS = 0.25
# More pending decisions than this raise an alert.
DEEP_QUEUE = 100


class Worker:
    """Works for the broker, environment and account of the configuration only."""

    def __init__(self, writer: Writer, broker: Broker, config: Config, role: str = "worker") -> None:
        self.session = BrokerSession(writer, broker, config, role)
        self.pretrade = PreTradeChecks(self.session)
        self.submitter = Submitter(self.session, self.pretrade)
        self.tracker = OrderTracker(self.session)
        self.cancel_replace = CancelReplace(self.session, self.pretrade, self.submitter, self.tracker)
        self.reconciler = Reconciler(self.session, self.tracker)
        self._courier = Courier(writer, config)
        self._timetable = Timetable(writer, config.schedule, config.path)
        self._writer = writer
        self._config = config
        self._failure: BaseException | None = None
        # An incomplete reconciliation is repeated before the next one is due.
        self._is_complete = False
        self._backoff = KeyedBackoff()

    @property
    def worker_id(self) -> str:
        """The id of this process, as leases name it."""
        return self.session.worker_id

    @property
    def summary(self) -> Summary:
        """What this worker submitted."""
        return self.submitter.summary

    def register(self) -> None:
        """Record this process, and the limits that hold while it works."""
        with self._writer.transaction() as tx:
            self.session.register(tx)
            controls.record_configured_limits(tx, self._config, self._writer.actor)

    def start(self) -> None:
        """Register, bind the account and reconcile. Raises BrokerRefusesUs."""
        self.register()
        self._check_head()
        try:
            if self.session.ensure_bound():
                self.reconcile()
                self.snapshot()
        except BaseException:
            self.session.deregister()
            raise
        systemd.notify("READY=1")

    def stop(self) -> None:
        """Finish the call in flight, then end. Safe to call from a signal handler."""
        self.session.stopping.set()

    def run(self) -> None:
        """Until `stop`. Raises what ended it."""
        settings = self._config.worker
        self._schedule(
            [
                (self.drain, settings.drain_seconds, 0),
                (self.poll, settings.poll_seconds, 0),
                (self.heartbeat, Decimal(HEARTBEAT_SECONDS), 0),
                (self.snapshot, Decimal(SNAPSHOT_SECONDS), 0),
                (self._courier.tick, Decimal(ALERT_SECONDS), 0),
                (self._timetable.tick, Decimal(ALERT_SECONDS), 0),
                (self.update_report_cache, Decimal(REPORT_CACHE_SECONDS), REPORT_CACHE_SECONDS),
                # The start has just done it.
                (self.reconcile, settings.reconcile_seconds, float(settings.reconcile_seconds)),
            ],
            None,
        )

    def run_once(self) -> None:
        """Drain the outbox; end when all that was submitted has ended, or after ``once_seconds``."""
        settings = self._config.worker
        quick = min(settings.poll_seconds, Decimal("0.5"))
        self._schedule(
            [
                (self.drain, settings.drain_seconds, 0),
                (self.poll, quick, 0),
                (self._courier.tick, quick, 0),
                (self._reconcile_again, quick, 0),
                (self._end_when_done, quick, 0),
            ],
            float(settings.once_seconds),
        )
        self.snapshot()
        self.update_report_cache()

    def drain(self) -> None:
        """Process cancels and replaces, then submit what is ready."""
        self.cancel_replace.process()
        self.submitter.drain()

    def expire(self) -> int:
        """End what waits for longer than it may; returns how many decisions that were."""
        self.pretrade.refresh_market_sessions()
        with self._writer.transaction() as tx:
            self.pretrade.expire_due(tx)
        return len(self.pretrade.ended)

    def poll(self) -> None:
        """Poll every order that may still change, and fetch missing fills."""
        self.tracker.poll()

    def reconcile(self) -> Result:
        """Reconcile with the broker's books."""
        result = self.reconciler.run()
        self._is_complete = result.missing is None
        account = self.session.account
        with self._writer.transaction() as tx:
            controls.halt_for_orders_of_other_logs(tx, account)
            if self._is_complete:
                controls.end_restored(tx, account)
        if self._is_complete:
            self._backoff.succeeded("reconcile")
        else:
            self._backoff.failed("reconcile")
        return result

    def heartbeat(self) -> None:
        """Record that this process is alive, watch the queue's depth, resume an incomplete reconciliation."""
        self.session.heartbeat()
        head_file.keep(self._writer)
        self._watch_depth()
        self._reconcile_again()

    @property
    def has_reconciled(self) -> bool:
        """Whether the last reconciliation was complete."""
        return self._is_complete

    def _reconcile_again(self) -> None:
        if (
            not self._is_complete
            and self._backoff.is_due("reconcile")
            and self.session.may_request(keep_reserve=True)
        ):
            self.reconcile()

    def snapshot(self) -> None:
        """Store account and positions after an order changed."""
        if (self.submitter.has_changes or self.tracker.has_changes) and self.session.may_request(
            keep_reserve=True
        ):
            done = snapshots.refresh_snapshots(self._writer, self.session.broker, self.session.account)
            self.submitter.has_changes = self.tracker.has_changes = not done

    def update_report_cache(self) -> None:
        """Update the report cache of closed days, a little at a time."""
        figures.remember(
            self._writer,
            self.session.account,
            self._config.report.timezone,
            seconds=REPORT_CACHE_SLICE_SECONDS,
        )

    def finish(self) -> None:
        """Record that this worker has ended in good order."""
        systemd.notify("STOPPING=1")
        self._courier.close()
        self.session.deregister()
        head_file.keep(self._writer)

    def _check_head(self) -> None:
        """Halt where the head that was kept beside the store is not in its journal."""
        kept = head_file.missing(self._writer)
        if kept is None:
            return
        newest = head_file.newest(self._writer)
        seq = 0 if newest is None else newest.seq
        why = f"the store ends at entry {seq}, but entry {kept.seq} was written: an older copy, or another"
        with self._writer.transaction() as tx:
            controls.halt_behind(tx, self.session.account, why)
        head_file.set_aside(self._writer.path)

    def _watch_depth(self) -> None:
        account = str(self.session.account)
        with self._writer.transaction() as tx:
            depth = tx.one(
                "SELECT count(*) FROM trade_decisions WHERE broker = ? AND environment = ?"
                " AND account = ? AND status = 'pending'",
                self.session.account,
            )[0]
            if depth > DEEP_QUEUE:
                raise_alert(tx, "queue_depth", account, f"{depth} decisions are waiting to be submitted")
            else:
                clear(tx, account, ("queue_depth",))
            tx.journal_rest("queue.watched", account)

    def _end_when_done(self) -> None:
        with self._writer.reading() as connection:
            # An order that rests since an earlier day is not waited for, an unknown outcome is.
            waiting = connection.execute(
                "SELECT 1 FROM trade_decisions d JOIN trade_executions e ON e.decision_id = d.decision_id"
                " WHERE d.broker = ? AND d.environment = ? AND d.account = ? AND d.status = 'executing'"
                " AND d.needs_attention IS NULL AND (e.status IN ('sending', 'unknown')"
                " OR d.decision_id IN (SELECT value FROM json_each(?))) LIMIT 1",
                (*self.session.account, json.dumps(sorted(self.summary.sent))),
            ).fetchone()
        if self.submitter.is_idle and waiting is None and not self.tracker.awaits_fills():
            self.stop()

    def _schedule(
        self, jobs: list[tuple[Callable[[], object], Decimal, float]], most_seconds: float | None
    ) -> None:
        from apscheduler.executors.pool import ThreadPoolExecutor
        from apscheduler.schedulers.background import BackgroundScheduler

        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": ThreadPoolExecutor(1)},
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
        )
        for job, seconds, delay in jobs:
            scheduler.add_job(
                self._guarded(job),
                "interval",
                seconds=float(seconds),
                next_run_time=clock.machine_now() + timedelta(seconds=delay),
            )
        scheduler.start()
        try:
            end = None if most_seconds is None else clock.running_seconds() + most_seconds
            # In slices: a signal that comes right before an endless wait would not end it.
            while not self.session.stopping.wait(SLICE_SECONDS):
                if end is not None and clock.running_seconds() >= end:
                    break
        finally:
            self.session.stopping.set()
            scheduler.shutdown(wait=True)
        if self._failure is not None:
            raise self._failure

    def _guarded(self, job: Callable[[], object]) -> Callable[[], None]:
        """APScheduler logs a job's exception and continues; here an exception must end the worker.

        Only a store that cannot be written just now is waited for: nothing is submitted meanwhile.
        """

        def run() -> None:
            if self.session.stopping.is_set():
                return
            try:
                job()
            except (StoreLocked, StoreUnwritable) as error:
                print(f"waiting: {error.message}", file=sys.stderr)
                systemd.notify("WATCHDOG=1")
                self.session.pause(1.0)
            except BaseException as error:
                self._failure = error
                self.stop()

        return run
