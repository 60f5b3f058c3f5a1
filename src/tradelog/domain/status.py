"""The states of decisions, attempts, requests, runs, breaks and alerts, and how each may change.

A state is stored by its value. One table per state says which may follow which; the tests walk each table and
hold every change that they see against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class DecisionStatus(StrEnum):
    """``cancelled`` is ours, ``canceled`` the broker's: an attempt's."""

    PENDING = "pending"  # recorded; nothing is at the broker
    EXECUTING = "executing"  # an attempt may reach the broker, or its order is open
    EXECUTED = "executed"  # over, with at least a part filled
    FAILED = "failed"  # over, with nothing filled, against its owner's will
    CANCELLED = "cancelled"  # over, with nothing filled, as its owner or its limits wanted

    @property
    def is_open(self) -> bool:
        """Whether the decision may still have, or get, an order."""
        return self in (DecisionStatus.PENDING, DecisionStatus.EXECUTING)

    @property
    def is_terminal(self) -> bool:
        """Whether the decision has ended."""
        return not self.is_open


class AttemptStatus(StrEnum):
    """One try to have an order at the broker, a row of ``trade_executions``."""

    SENDING = "sending"  # intent committed; the request leaves, or has left
    ACCEPTED = "accepted"  # the broker has the order
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"  # refused by the broker at once, or by the venue later
    REPLACED = "replaced"  # another order took its place
    UNKNOWN = "unknown"  # a request left, and no response proves what came of it
    NOT_SENT = "not_sent"  # the request provably never left
    NOT_ACCEPTED = "not_accepted"  # it left, and the broker provably has no order of it

    @property
    def is_open(self) -> bool:
        """Whether the broker has, or may have, an order that can still be filled."""
        return self.is_unsettled or self.is_live

    @property
    def is_terminal(self) -> bool:
        """Whether the attempt has ended."""
        return not self.is_open

    @property
    def is_unsettled(self) -> bool:
        """Whether it is unknown if the broker has the order."""
        return self in (AttemptStatus.SENDING, AttemptStatus.UNKNOWN)

    @property
    def is_live(self) -> bool:
        """Whether the order is at the broker and may still be filled."""
        return self in (AttemptStatus.ACCEPTED, AttemptStatus.PARTIALLY_FILLED)


class RequestKind(StrEnum):
    CANCEL = "cancel"
    REPLACE = "replace"


class RequestStatus(StrEnum):
    """A requested cancel or replace."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"  # the broker has it; the order shows how it ends
    DONE = "done"
    REFUSED = "refused"
    OVERTAKEN = "overtaken"  # the order had ended before

    @property
    def is_open(self) -> bool:
        """Whether the request is still processed."""
        return self in (RequestStatus.PENDING, RequestStatus.SENDING, RequestStatus.SENT)

    @property
    def is_terminal(self) -> bool:
        """Whether the request has ended."""
        return not self.is_open


class CommandKind(StrEnum):
    """What a bot asks of the broker through the recording client, beside simple orders."""

    ORDER = "order"  # of several legs: no decision of one symbol and side
    REPLACE = "replace"
    CANCEL = "cancel"
    CANCEL_ALL = "cancel_all"
    CLOSE = "close"
    CLOSE_ALL = "close_all"
    EXERCISE = "exercise"


class MessageReason(StrEnum):
    """Why people get a message about alerts."""

    URGENT = "urgent"
    DIGEST = "digest"
    REPEAT = "repeat"
    RESOLVED = "resolved"


class MaintenanceStatus(StrEnum):
    """How a day's maintenance ended: ``failed`` where a step did, ``abandoned`` where it did not end."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    ABANDONED = "abandoned"


class CommandStatus(StrEnum):
    """How such a command ended, by the broker's answer to the bot."""

    SENDING = "sending"
    DONE = "done"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"  # it left, and nobody knows what came of it

    @property
    def is_open(self) -> bool:
        """Whether the bot still waits for the answer."""
        return self is CommandStatus.SENDING

    @property
    def is_terminal(self) -> bool:
        """Whether the bot has its answer, or its error."""
        return not self.is_open


class RunStatus(StrEnum):
    """An ingestion run. ``abandoned`` is set by others: its process died before it could end the run."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    ABORTED = "aborted"
    ABANDONED = "abandoned"

    @property
    def is_open(self) -> bool:
        """Whether the run has not ended."""
        return self is RunStatus.RUNNING

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended."""
        return not self.is_open


class Approval(StrEnum):
    """What a person decided about a decision that waits for approval; None in the store until then."""

    APPROVED = "approved"
    DECLINED = "declined"


class BreakKind(StrEnum):
    """What differs from the broker's books."""

    POSITION = "position"  # shares held, against opening positions, fills, splits and adjustments
    FILLS = "fills"  # filled quantity of an order, against the sum of its fills


class BreakResolution(StrEnum):
    """Why a break was closed; None while it is open."""

    AGREED = "agreed"  # a later comparison found no difference
    ACCEPTED = "accepted"  # a person explained it: the difference became an adjustment


class RefusedBy(StrEnum):
    """Who refused a cancel or replace; a limit is named by its failure code, ``risk.*``, instead."""

    BROKER = "broker"
    VENUE = "venue"
    HALT = "halted"


class AlertStatus(StrEnum):
    """Where an alert stands, by its row."""

    OPEN = "open"
    DELIVERED = "delivered"
    ACKNOWLEDGED = "acknowledged"


class ControlScope(StrEnum):
    """What a halt covers."""

    ALL = "all"
    STRATEGY = "strategy"
    SYMBOL = "symbol"


_D, _A, _R = DecisionStatus, AttemptStatus, RequestStatus

DECISION_TRANSITIONS: Mapping[DecisionStatus, frozenset[DecisionStatus]] = {
    # To an end without `executing`: expired, declined, over a limit; or found at the broker after a restore.
    _D.PENDING: frozenset((_D.EXECUTING, _D.EXECUTED, _D.FAILED, _D.CANCELLED)),
    # Back to `pending`: the broker provably has nothing, and it is tried again later.
    _D.EXECUTING: frozenset((_D.PENDING, _D.EXECUTED, _D.FAILED, _D.CANCELLED)),
    # From an end: the broker shows an order, or a fill, that could not be known before.
    _D.EXECUTED: frozenset((_D.EXECUTING, _D.FAILED, _D.CANCELLED)),
    _D.FAILED: frozenset((_D.EXECUTING, _D.EXECUTED, _D.CANCELLED)),
    _D.CANCELLED: frozenset((_D.EXECUTING, _D.EXECUTED, _D.FAILED)),
}

_AT_BROKER = frozenset(
    (*(_A.ACCEPTED, _A.PARTIALLY_FILLED, _A.FILLED, _A.CANCELED, _A.EXPIRED, _A.REJECTED, _A.REPLACED),)
)
_ENDED_AT_BROKER = _AT_BROKER - {_A.ACCEPTED, _A.PARTIALLY_FILLED}

ATTEMPT_TRANSITIONS: Mapping[AttemptStatus, frozenset[AttemptStatus]] = {
    _A.SENDING: _AT_BROKER | {_A.UNKNOWN, _A.NOT_SENT, _A.NOT_ACCEPTED},
    # Back to `sending`: the same client order id is submitted once more.
    _A.UNKNOWN: _AT_BROKER | {_A.SENDING, _A.NOT_ACCEPTED},
    _A.ACCEPTED: _AT_BROKER - {_A.ACCEPTED},
    _A.PARTIALLY_FILLED: _AT_BROKER - {_A.ACCEPTED, _A.PARTIALLY_FILLED},
    # The broker may correct one end by another, such as a fill that crossed the cancel; never to an open one.
    _A.FILLED: _ENDED_AT_BROKER - {_A.FILLED},
    _A.CANCELED: _ENDED_AT_BROKER - {_A.CANCELED},
    _A.EXPIRED: _ENDED_AT_BROKER - {_A.EXPIRED},
    # Lives again where the venue refuses its replacement.
    _A.REPLACED: _AT_BROKER - {_A.REPLACED},
    # Refused or without an order, by a response, and there all the same.
    _A.REJECTED: _AT_BROKER - {_A.REJECTED},
    _A.NOT_SENT: _AT_BROKER,
    _A.NOT_ACCEPTED: _AT_BROKER,
}

REQUEST_TRANSITIONS: Mapping[RequestStatus, frozenset[RequestStatus]] = {
    _R.PENDING: frozenset((_R.SENDING, _R.SENT, _R.DONE, _R.REFUSED, _R.OVERTAKEN)),
    # Back to `pending`: the broker did not take it, or another order of the decision is to be cancelled, too.
    _R.SENDING: frozenset((_R.PENDING, _R.SENT, _R.DONE, _R.REFUSED, _R.OVERTAKEN)),
    _R.SENT: frozenset((_R.PENDING, _R.SENDING, _R.DONE, _R.REFUSED, _R.OVERTAKEN)),
    _R.DONE: frozenset(),
    _R.REFUSED: frozenset(),
    _R.OVERTAKEN: frozenset(),
}

COMMAND_TRANSITIONS: Mapping[CommandStatus, frozenset[CommandStatus]] = {
    CommandStatus.SENDING: frozenset(CommandStatus) - {CommandStatus.SENDING},
    CommandStatus.DONE: frozenset(),
    CommandStatus.REFUSED: frozenset(),
    CommandStatus.NOT_SENT: frozenset(),
    CommandStatus.UNKNOWN: frozenset(),
}

MAINTENANCE_TRANSITIONS: Mapping[MaintenanceStatus, frozenset[MaintenanceStatus]] = {
    MaintenanceStatus.RUNNING: frozenset(
        {MaintenanceStatus.COMPLETED, MaintenanceStatus.FAILED, MaintenanceStatus.ABANDONED}
    ),
    MaintenanceStatus.COMPLETED: frozenset(),
    MaintenanceStatus.FAILED: frozenset(),
    MaintenanceStatus.ABANDONED: frozenset(),
}
RUN_TRANSITIONS: Mapping[RunStatus, frozenset[RunStatus]] = {
    RunStatus.RUNNING: frozenset(
        (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.ABORTED, RunStatus.ABANDONED)
    ),
    RunStatus.COMPLETED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.ABORTED: frozenset(),
    RunStatus.ABANDONED: frozenset(),
}

APPROVAL_TRANSITIONS: Mapping[Approval | None, frozenset[Approval]] = {
    None: frozenset(Approval),
    Approval.APPROVED: frozenset(),
    Approval.DECLINED: frozenset(),
}

BREAK_TRANSITIONS: Mapping[BreakResolution | None, frozenset[BreakResolution]] = {
    None: frozenset(BreakResolution),
    BreakResolution.AGREED: frozenset(),
    BreakResolution.ACCEPTED: frozenset(),
}

ALERT_TRANSITIONS: Mapping[AlertStatus, frozenset[AlertStatus]] = {
    AlertStatus.OPEN: frozenset((AlertStatus.DELIVERED, AlertStatus.ACKNOWLEDGED)),
    AlertStatus.DELIVERED: frozenset((AlertStatus.ACKNOWLEDGED,)),
    AlertStatus.ACKNOWLEDGED: frozenset(),
}
