"""What the commands share that make requests to the broker: cancel, replace, resolve, reconcile, halt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tradelog.cli.render import note
from tradelog.config.schema import Config
from tradelog.errors import UsageError
from tradelog.report import open_orders
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer

if TYPE_CHECKING:
    from tradelog.execute.worker import Worker

STEP_SECONDS = 0.25
# Characters of an id that a command which acts on it takes.
MIN_ID_CHARACTERS = 3


@contextmanager
def open_for_writing(config: Config) -> Iterator[Writer]:
    """The store for writing. Raises StoreError."""
    from tradelog.store.opening import open_writer

    writer = open_writer(config.store_path)
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def broker_session(config: Config, writer: Writer, role: str) -> Iterator[Worker]:
    """A registered broker session that works like a worker, for one command. Raises ConfigError."""
    from tradelog.execute.brokers import connect
    from tradelog.execute.worker import Worker

    worker = Worker(writer, connect(config), config, role)
    worker.register()
    try:
        yield worker
    finally:
        worker.session.deregister()


def decision_of(config: Config, id_prefix: str) -> str:
    """The decision that an id of it, of an attempt or of a request names, of the configured account.

    Raises NotFound, UsageError.
    """
    from tradelog.report import trail

    require_id(id_prefix)
    with Reader(config.store_path) as reader:
        kind, full_id = reader.resolve(id_prefix, ("dec", "exe", "req"))
        decision_id = full_id if kind == "dec" else str(trail.decision_of(reader, kind, full_id))
        account = trail.account_of(reader, decision_id)
    if account != config.account:
        raise UsageError(
            f"{decision_id} is of {', '.join(account)}", hint="set [broker] in tradelog.toml to it"
        )
    return decision_id


def require_id(id_prefix: str) -> None:
    """Raise UsageError for a prefix so short that it can fit by accident, as of an unset variable."""
    if len(id_prefix.strip().rpartition("_")[2]) < MIN_ID_CHARACTERS:
        raise UsageError(
            f"{id_prefix!r} is too short for an id",
            hint=f"write at least {MIN_ID_CHARACTERS} characters of it",
        )


def require_reason(why: str | None) -> str:
    """The reason, which is required. Raises UsageError."""
    reason = non_empty(why)
    if reason is None:
        raise UsageError("the reason is missing", hint='add --why "..."')
    return reason


def non_empty(text: str | None) -> str | None:
    """A text without surrounding space; None for an empty one."""
    return text.strip() or None if text is not None else None


def step_until(worker: Worker, step: Callable[[], bool], seconds: float) -> bool:
    """Repeat a step until it returns True; False where the time is over."""
    import time

    end = time.monotonic() + seconds
    while not step():
        if time.monotonic() >= end or worker.session.stopping.wait(STEP_SECONDS):
            return False
    return True


def process_request(
    config: Config, writer: Writer, role: str, decision_id: str, request_id: str
) -> dict[str, Any]:
    """Process a recorded request to its end where that is near; returns it as it is then."""
    row = open_orders.request(writer.rows, request_id)
    if row["ended_at"] is not None:
        return row
    note(f"{request_id} recorded")
    with broker_session(config, writer, role) as worker:

        def step() -> bool:
            worker.cancel_replace.process(decision_id)
            worker.submitter.resolve_unknowns()
            worker.tracker.poll(decision_id)
            return open_orders.request(writer.rows, request_id)["ended_at"] is not None

        step_until(worker, step, float(config.worker.once_seconds))
    return open_orders.request(writer.rows, request_id)
