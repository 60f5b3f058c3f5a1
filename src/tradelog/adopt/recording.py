"""Record mode: each call of a bot that trades is on record before it leaves, and as it ends.

    commit what is about to leave → the SDK's attempts, each committed → commit the answer → the bot has it

The bot gets just what alpaca-py gives it: models, dicts, exceptions. Two things differ on the wire: an order
without a client order id gets one, and a repeated order that the broker refuses as a duplicate is looked up.
"""

from __future__ import annotations

import json
import logging
import sys
import uuid
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import requests
from alpaca.common.exceptions import RetryException

from tradelog.adopt import answers, calls
from tradelog.adopt.calls import Call
from tradelog.adopt.client_log import ClientLog
from tradelog.adopt.wire import Capture
from tradelog.decide import lineage
from tradelog.domain.status import CommandKind
from tradelog.errors import StoreError
from tradelog.execute import recorded
from tradelog.execute.brokers.base import Exchange
from tradelog.execute.outbox import responses
from tradelog.execute.outbox.exchanges import Purpose
from tradelog.execute.outbox.responses import Classification, ResponseKind
from tradelog.execute.recorded import Reason, Sent
from tradelog.store.writer import Transaction

# Makes one request of the SDK, with the options that it is given.
Send = Callable[[Mapping[str, Any]], Any]
log = logging.getLogger("tradelog.adopt")


class Unrecorded(UserWarning):
    """An order left, or its answer came, and could not be recorded."""


@dataclass(slots=True)
class Recording:
    """One logical call of the bot, with all attempts of the SDK at it."""

    log: ClientLog
    reason: Reason
    sent: Sent | None = None
    command_id: str | None = None
    client_order_id: str | None = None
    # Whether an attempt before the last one may have had its effect.
    may_have_landed: bool = False
    last: Exchange | None = None
    answer: Classification | None = None

    def attempt(
        self, session: requests.Session, method: str, url: str, options: Mapping[str, Any], send: Send
    ) -> Any:
        """Make one attempt, and keep its exchange; whatever it raises is the bot's."""
        capture = Capture(method, url)
        try:
            result = send({**options, "hooks": capture.hooks(session)})
        except RetryException as error:
            self._note_retry(capture.exchange(error))
            raise
        except BaseException as error:
            self.last = capture.exchange(error)
            raise
        self.last = capture.exchange(None)
        return result

    def end(self) -> None:
        """Record the last answer and what it proves."""
        exchange = self.last
        if exchange is None:  # it never came to an attempt
            return
        # What it proves is known whether or not it can be recorded.
        self.answer = responses.classify_submit(exchange)

        def write(tx: Transaction) -> None:
            actor = self.log.writer.actor
            if self.sent is not None:
                self.answer = recorded.settle(
                    tx,
                    self.log.account,
                    self.sent,
                    exchange,
                    may_have_landed=self.may_have_landed,
                    actor=actor,
                )
            elif self.command_id is not None and not self.landed_before:
                self._end_command(tx, exchange)

        self._write_after(write)

    @property
    def lookup(self) -> dict[str, str]:
        """What a repeated order is looked up by."""
        return {"client_order_id": self.client_order_id or ""}

    def end_by_lookup(self, exchange: Exchange) -> bool:
        """Record what the look-up of a repeated order says; returns whether it is that order."""
        found = responses.classify_lookup(exchange)
        self.answer = found

        def write(tx: Transaction) -> None:
            if self.sent is None:
                self._end_command(tx, exchange)
                return
            self.answer = recorded.settle(
                tx,
                self.log.account,
                self.sent,
                exchange,
                may_have_landed=True,
                purpose=Purpose.LOOKUP,
                actor=self.log.writer.actor,
            )

        self._write_after(write)
        return self.answer.kind is ResponseKind.ORDER or (self.sent is None and exchange.status == 200)

    def _end_command(self, tx: Transaction, exchange: Exchange) -> None:
        if self.command_id is not None:
            recorded.end_command(
                tx,
                self.log.account,
                self.reason,
                self.command_id,
                exchange,
                may_have_worked=self.may_have_landed,
                actor=self.log.writer.actor,
            )

    @property
    def landed_before(self) -> bool:
        """Whether the broker refused a repeated order because the first one had landed."""
        is_duplicate = self.answer is not None and self.answer.kind is ResponseKind.DUPLICATE
        return self.may_have_landed and is_duplicate and self.client_order_id is not None

    def _note_retry(self, exchange: Exchange) -> None:
        # Known whether or not it can be recorded.
        self.may_have_landed |= responses.classify_submit(exchange).kind is ResponseKind.UNKNOWN

        def write(tx: Transaction) -> None:
            if self.sent is not None:
                recorded.note_retry(tx, self.sent, exchange)
            elif self.command_id is not None:
                recorded.note_command_retry(tx, self.command_id, exchange)

        self._write_after(write)

    def _write_after(self, write: Callable[[Transaction], None]) -> None:
        """Record what has happened. The bot must have its answer, also where that cannot be recorded."""
        if self.sent is None and self.command_id is None:
            return
        try:
            with self.log.writer.transaction() as tx:
                write(tx)
        except StoreError as error:
            # The worker looks the order up: what is on record says that it may have left.
            complain(f"an answer of the broker could not be recorded: {error.message}")


def begin(client_log: ClientLog, call: Call, method: str, path: str, data: Any) -> tuple[Recording, Any]:
    """Record a call that is about to leave; returns it with the data to send.

    Raises StoreError, InvalidDecision, before anything has left, unless the client is to send all the same;
    APIError where the bot's id names an order of the outbox.
    """
    reason = client_log.reason()
    recording = Recording(client_log, reason)
    body = calls.exact(data) if isinstance(data, dict) else {}
    is_order = call.kind is None and recorded.is_plain(body)
    try:
        writer = client_log.writer
        with writer.transaction() as tx:
            reason = recording.reason = _with_lineage(tx, reason)
            if is_order and recorded.is_in_outbox(tx, client_log.account, reason, body):
                raise answers.taken_id(method, path)
            if is_order:
                recording.sent = recorded.insert(
                    tx,
                    client_log.account,
                    _with_request(reason, data),
                    body,
                    actor=writer.actor,
                    worker_id=client_log.worker_id,
                    lease=client_log.lease,
                )
            else:
                recording.command_id = recorded.insert_command(
                    tx,
                    client_log.account,
                    reason,
                    call.kind or CommandKind.ORDER,
                    (method.upper(), path, json.dumps(data) if data else None),
                    target=call.target,
                    actor=writer.actor,
                )
    except StoreError as error:
        if client_log.settings.on_error == "refuse":
            raise
        recording.sent = recording.command_id = None
        complain(f"an order leaves without a record of it, as on_error says: {error.message}")
    if call.kind is None and isinstance(data, dict):
        recording.client_order_id = str(data.get("client_order_id") or _own_id(recording))
        data = {**data, "client_order_id": recording.client_order_id}
    return recording, data


def _own_id(recording: Recording) -> str:
    """The client order id of an order that the bot gave none, so that its repeat is no second order."""
    if recording.sent is not None:
        return recording.sent.client_order_id
    return recording.command_id or str(uuid.uuid4())


def complain(message: str) -> None:
    """Say what nobody may miss: in the program's log, as a warning, and on standard error."""
    log.critical(message)
    # The bot must have its answer, also where warnings are errors, or nobody can be told.
    with suppress(Unrecorded):
        warnings.warn(message, Unrecorded, stacklevel=3)
    with suppress(OSError, ValueError, AttributeError):
        print(f"tradelog: {message}", file=sys.stderr)


def _with_lineage(tx: Transaction, reason: Reason) -> Reason:
    """The reason with the runs of its inputs. Raises InvalidDecision for one that is not on record."""
    lineage_of = {"ingestion_runs": lineage.check(tx, reason.inputs)}
    return replace(reason, rationale={**reason.rationale, "data_lineage": lineage_of})


def _with_request(reason: Reason, data: Mapping[str, Any]) -> Reason:
    """The rationale with the request as the bot made it: all of it, also what is no term of an order."""
    # Floats are numbers that have been through binary before they came here.
    request = {"mode": "record", "request": calls.exact(data), "floats": calls.floats_in(data)}
    return replace(reason, rationale={**reason.rationale, "client": request})
