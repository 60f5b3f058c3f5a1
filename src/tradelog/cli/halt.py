"""tradelog halt"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tradelog.cli.broker import broker_session, non_empty, open_for_writing, require_reason, step_until
from tradelog.cli.context import load_config
from tradelog.cli.render import Column, as_json, line, note, table
from tradelog.config.schema import Config
from tradelog.domain import symbols
from tradelog.domain.status import ControlScope, DecisionStatus
from tradelog.domain.text import counted
from tradelog.errors import NeedsAttention, UsageError
from tradelog.report import open_orders
from tradelog.store.writer import Writer

if TYPE_CHECKING:
    from tradelog.execute.worker import Worker

COLUMNS = (
    Column("decision_id", "decision", style="id"),
    Column("side", "side"),
    Column("symbol", "symbol"),
    Column("strategy_name", "strategy", flex=True),
    Column("filled_quantity", "filled", right=True),
    Column("result", "is", style="status"),
    Column("message", "message", flex=True),
)


def command(
    strategy: Annotated[str | None, typer.Option(help="Only this strategy.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only this symbol.")] = None,
    why: Annotated[str | None, typer.Option(help="The reason; recorded.")] = None,
    cancel_open: Annotated[
        bool, typer.Option("--cancel-open", help="Also cancel the orders that are open at the broker.")
    ] = False,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Halt submission in every account of the store, until tradelog resume.

    A running worker stops before its next request, and one that starts later submits nothing. Cancels are
    still sent. Exits 6 where an open order is not confirmed to be gone.
    """
    from tradelog.execute.risk import controls
    from tradelog.report.status import recording_bots, recording_strategies

    scope, subject = scope_of(strategy, symbol)
    reason = require_reason(why)
    config = load_config()
    with open_for_writing(config) as writer:
        with writer.transaction() as tx:
            is_new = controls.halt(tx, scope, subject, writer.actor, reason)
        _note_halted(config, writer, scope, subject, is_new=is_new)
        rows = _await_responses(config, writer, scope, subject)
        if cancel_open and rows:
            rows = _cancel(config, writer, rows, reason)
        elsewhere = open_orders.count_in_other_accounts(writer.rows, config.account)
        bots = unhalted(
            recording_bots(writer.rows, config.account), recording_strategies(writer.rows, config.account)
        )
    if bots is not None:
        note(f'not halted: {bots}; stop it, or set [client] mode = "outbox"')
    if elsewhere:
        note(f"open orders of other accounts: {elsewhere}; tradelog halt with their tradelog.toml cancels")
    if output_json:
        as_json({"scope": scope, "subject": subject, "halted_before": not is_new, "open_orders": rows})
    elif rows:
        table(COLUMNS, rows)
    else:
        line("no order is open at the broker")
    ended = [status for status in DecisionStatus if status.is_terminal]
    _check_left([row for row in rows if row["result"] not in ended], is_canceled=cancel_open)


def _note_halted(config: Config, writer: Writer, scope: str, subject: str, *, is_new: bool) -> None:
    what = "nothing is submitted" if scope == ControlScope.ALL else "nothing of it is submitted"
    note(f"{scope_label(scope, subject)} {'is halted' if is_new else 'was halted already'}: {what}")
    if scope != ControlScope.STRATEGY or subject in config.controls:
        return
    if not open_orders.has_decided(writer.rows, subject):
        note(f"no decision, and no table of tradelog.toml, has the strategy {subject!r}: is that its name?")


def _check_left(left: list[dict[str, Any]], *, is_canceled: bool) -> None:
    """Raise NeedsAttention where cancels are not confirmed; otherwise name how to cancel."""
    if left and is_canceled:
        listed = ", ".join(row["decision_id"] for row in left)
        raise NeedsAttention(
            f"{counted(len(left), 'order')} not confirmed to be gone: {listed}",
            hint="a worker tracks them; tradelog status",
        )
    if left:
        note(
            f"{counted(len(left), 'order')} still open at the broker;"
            " tradelog halt --cancel-open cancels them"
        )


def scope_of(strategy: str | None, symbol: str | None) -> tuple[str, str]:
    """(scope, subject) of the options. Raises UsageError for both at once."""
    if strategy is not None and symbol is not None:
        raise UsageError("give --strategy or --symbol, not both", hint="halt one after the other")
    if strategy is not None:
        name = non_empty(strategy)
        if name is None:
            raise UsageError("--strategy is empty")
        return ControlScope.STRATEGY.value, name
    if symbol is not None:
        try:
            return ControlScope.SYMBOL.value, symbols.parse(symbol)
        except ValueError as error:
            raise UsageError(str(error)) from error
    return ControlScope.ALL.value, ""


def scope_label(scope: str, subject: str) -> str:
    """What a halt covers, for people."""
    return "everything" if scope == ControlScope.ALL else f"{scope} {subject}"


def unhalted(processes: list[dict[str, Any]], strategies: list[str]) -> str | None:
    """What sends its own orders, and is subject to no limit and no halt."""
    if not processes and not strategies:
        return None
    names = [*strategies, *(f"process {row['pid']} on {row['host']}" for row in processes)]
    return f"{', '.join(names)}: sends its own orders, to which no limit and no halt applies"


def _await_responses(config: Config, writer: Writer, scope: str, subject: str) -> list[dict[str, Any]]:
    """The open orders, once every request has been answered that was on its way when the halt came."""
    worker = config.worker
    end = time.monotonic() + float(worker.connect_timeout_seconds + worker.read_timeout_seconds)
    while open_orders.is_sending(writer.rows, config.account) and time.monotonic() < end:
        time.sleep(0.05)
    rows = open_orders.executing(writer.rows, config.account, scope, subject)
    for row in rows:
        filled = open_orders.filled_quantity(writer.rows, row["decision_id"])
        row |= {"filled_quantity": filled, "result": "open", "message": None}
    return rows


def _cancel(config: Config, writer: Writer, rows: list[dict[str, Any]], reason: str) -> list[dict[str, Any]]:
    """Request the cancel of each, in one commit, then process them; returns the rows with the results."""
    from tradelog.execute.amend import order_requests

    requests = {}
    with writer.transaction() as tx:
        for row in rows:
            decision_id = row["decision_id"]
            if open_orders.status_of(tx.dicts, decision_id) == DecisionStatus.EXECUTING:
                requests[decision_id] = order_requests.request_cancel(
                    tx, decision_id, f"halt: {reason}", writer.actor
                )
    with broker_session(config, writer, "halt") as worker:
        seconds = float(config.worker.once_seconds)
        end = time.monotonic() + seconds
        step_until(worker, lambda: _step(worker, writer, requests, end), seconds)
    for row in rows:
        decision_id = row["decision_id"]
        row["filled_quantity"] = open_orders.filled_quantity(writer.rows, decision_id)
        status = open_orders.status_of(writer.rows, decision_id)
        row["result"] = "not confirmed" if status == DecisionStatus.EXECUTING else status
        if decision_id in requests:
            row["message"] = open_orders.request(writer.rows, requests[decision_id])["message"]
    return rows


def _step(worker: Worker, writer: Writer, requests: dict[str, str], end: float) -> bool:
    def has_ended(request_id: str) -> bool:
        return open_orders.request(writer.rows, request_id)["ended_at"] is not None

    for decision_id, request_id in requests.items():
        if time.monotonic() >= end or not worker.session.may_request():
            return False
        if not has_ended(request_id):
            worker.cancel_replace.process(decision_id)
            worker.tracker.poll(decision_id)
    worker.submitter.resolve_unknowns()
    return all(has_ended(request_id) for request_id in requests.values())
