"""What the commands share that speak with the broker themselves: cancel, replace, resolve, reconcile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tradelog.cli.render import note
from tradelog.config.schema import Config
from tradelog.errors import UsageError
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer

if TYPE_CHECKING:
    from tradelog.execute.worker import Worker

STEP_SECONDS = 0.25
# Characters of an id that acting on it takes.
LEAST = 3


@contextmanager
def writing(config: Config) -> Iterator[Writer]:
    """The store for writing. Raises StoreError."""
    from tradelog.store.opening import open_writer

    writer = open_writer(config.store_path)
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def speaking(config: Config, writer: Writer, role: str) -> Iterator[Worker]:
    """Somebody at the broker who works like a worker, for one command. Raises ConfigError."""
    from tradelog.execute.brokers import connect
    from tradelog.execute.worker import Worker

    worker = Worker(writer, connect(config), config, role)
    worker.register()
    try:
        yield worker
    finally:
        worker.session.deregister()


def decision_of(config: Config, wanted: str) -> str:
    """The decision that an id of it, of an attempt or of a request names, of the configured account.

    Raises NotFound, UsageError.
    """
    from tradelog.report import trail

    insist_on_id(wanted)
    with Reader(config.store_path) as reader:
        kind, found = reader.resolve(wanted, ("dec", "exe", "req"))
        decision_id = found if kind == "dec" else str(trail.decision_of(reader, kind, found))
        row = reader.one(
            "SELECT broker, environment, account FROM trade_decisions WHERE decision_id = ?", (decision_id,)
        )
    assert row is not None
    if tuple(row.values()) != config.account:
        named = ", ".join(str(value) for value in row.values())
        raise UsageError(f"{decision_id} is of {named}", hint="set [broker] in tradelog.toml to it")
    return decision_id


def insist_on_id(wanted: str) -> None:
    """Raise UsageError for so little of an id that it can fit by accident, as of an unset variable."""
    if len(wanted.strip().rpartition("_")[2]) < LEAST:
        raise UsageError(
            f"{wanted!r} is too little of an id", hint=f"write at least {LEAST} characters of it"
        )


def insist_on_why(why: str | None) -> str:
    """The reason, which must be given. Raises UsageError."""
    reason = named(why)
    if reason is None:
        raise UsageError("the reason is missing", hint='add --why "..."')
    return reason


def named(text: str | None) -> str | None:
    """A text that somebody gave; None for an empty one."""
    return text.strip() or None if text is not None else None


def until(worker: Worker, step: Callable[[], bool], seconds: float) -> bool:
    """Take steps until one says that it is done, or the time is over."""
    import time

    end = time.monotonic() + seconds
    while not step():
        if time.monotonic() >= end or worker.session.stopping.wait(STEP_SECONDS):
            return False
    return True


def carry_out(config: Config, writer: Writer, role: str, decision_id: str, request_id: str) -> dict[str, Any]:
    """Carry a recorded request to its end where that is near; returns it as it is then."""
    found = request(writer, request_id)
    if found["ended_at"] is not None:
        return found
    note(f"{request_id} recorded")
    with speaking(config, writer, role) as worker:

        def step() -> bool:
            worker.cancel_replace.process(decision_id)
            worker.submitter.resolve_unknowns()
            worker.tracker.poll(decision_id)
            return request(writer, request_id)["ended_at"] is not None

        until(worker, step, float(config.worker.once_seconds))
    return request(writer, request_id)


def request(writer: Writer, request_id: str) -> dict[str, Any]:
    with writer.transaction() as tx:
        rows = tx.dicts(
            "SELECT r.request_id, r.kind, r.decision_id, r.status, r.message, r.execution_id, r.ended_at,"
            " d.status AS decision_status FROM order_requests r"
            " JOIN trade_decisions d ON d.decision_id = r.decision_id WHERE r.request_id = ?",
            (request_id,),
        )
    return rows[0]


def filled(writer: Writer, decision_id: str) -> str:
    """What all orders of a decision have filled together, as text."""
    from tradelog.domain import money

    with writer.reading() as connection:
        rows = connection.execute(
            "SELECT filled_quantity FROM trade_executions WHERE decision_id = ?", (decision_id,)
        ).fetchall()
    return money.to_text(sum((money.parse(row[0]) for row in rows), money.ZERO))
