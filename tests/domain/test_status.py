"""The tables of transitions, walked."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pytest

from tradelog.domain import status
from tradelog.domain.status import AttemptStatus, DecisionStatus, RequestStatus, RunStatus

TABLES: list[tuple[Any, Mapping[Any, frozenset[Any]], Any]] = [
    (DecisionStatus, status.DECISION_TRANSITIONS, DecisionStatus.PENDING),
    (AttemptStatus, status.ATTEMPT_TRANSITIONS, AttemptStatus.SENDING),
    (RequestStatus, status.REQUEST_TRANSITIONS, RequestStatus.PENDING),
    (RunStatus, status.RUN_TRANSITIONS, RunStatus.RUNNING),
    (status.CommandStatus, status.COMMAND_TRANSITIONS, status.CommandStatus.SENDING),
    (status.MaintenanceStatus, status.MAINTENANCE_TRANSITIONS, status.MaintenanceStatus.RUNNING),
    (status.Approval, status.APPROVAL_TRANSITIONS, None),
    (status.BreakResolution, status.BREAK_TRANSITIONS, None),
    (status.AlertStatus, status.ALERT_TRANSITIONS, status.AlertStatus.OPEN),
]


@pytest.mark.parametrize(("kind", "table", "first"), TABLES)
def test_each_table_has_each_state_and_reaches_it_from_the_first(
    kind: type[StrEnum], table: Mapping[Any, frozenset[Any]], first: Any
) -> None:
    assert set(kind) <= set(table)
    assert all(state not in following for state, following in table.items())
    reached, edge = {first}, {first}
    while edge:
        edge = {following for state in edge for following in table[state]} - reached
        reached |= edge
    assert reached >= set(kind)


@pytest.mark.parametrize(("kind", "table", "_first"), TABLES[:5])
def test_a_state_is_open_or_terminal(kind: Any, table: Mapping[Any, frozenset[Any]], _first: Any) -> None:
    for state in kind:
        assert state.is_open is not state.is_terminal
    assert any(state.is_terminal for state in kind)
    assert any(state.is_open for state in kind)


@pytest.mark.parametrize(
    "table", [status.REQUEST_TRANSITIONS, status.RUN_TRANSITIONS, status.COMMAND_TRANSITIONS]
)
def test_a_request_and_a_run_end_once(table: Mapping[Any, frozenset[Any]]) -> None:
    assert all(bool(following) is state.is_open for state, following in table.items())


def test_a_decision_that_ended_only_moves_by_what_the_broker_shows() -> None:
    """Never back to `pending`: nothing that ended is submitted again by itself."""
    for state, following in status.DECISION_TRANSITIONS.items():
        assert (DecisionStatus.PENDING in following) is (state is DecisionStatus.EXECUTING)


def test_unknown_is_not_failed() -> None:
    """Invariant 3: an unknown attempt never becomes one that provably was not sent."""
    assert AttemptStatus.NOT_SENT not in status.ATTEMPT_TRANSITIONS[AttemptStatus.UNKNOWN]


def test_an_attempt_is_submitted_again_only_while_its_outcome_is_unknown() -> None:
    for state, following in status.ATTEMPT_TRANSITIONS.items():
        assert (AttemptStatus.SENDING in following) is (state is AttemptStatus.UNKNOWN)


def test_nothing_that_ended_at_the_broker_lives_again_but_what_was_replaced_or_refused() -> None:
    ended = (AttemptStatus.FILLED, AttemptStatus.CANCELED, AttemptStatus.EXPIRED)
    for state in ended:
        assert not any(following.is_live for following in status.ATTEMPT_TRANSITIONS[state])


def test_which_attempts_are_unsettled_or_live() -> None:
    groups = {
        "unsettled": {state for state in AttemptStatus if state.is_unsettled},
        "live": {state for state in AttemptStatus if state.is_live},
    }
    assert groups == {
        "unsettled": {"sending", "unknown"},
        "live": {"accepted", "partially_filled"},
    }
    assert {state for state in AttemptStatus if state.is_open} == groups["unsettled"] | groups["live"]


def test_which_decisions_and_requests_are_open() -> None:
    assert {state for state in DecisionStatus if state.is_open} == {"pending", "executing"}
    assert {state for state in RequestStatus if state.is_open} == {"pending", "sending", "sent"}
