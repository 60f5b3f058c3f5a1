"""tradelog halt"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tradelog.cli.context import load_config
from tradelog.cli.render import Column, as_json, line, note, table
from tradelog.cli.speaking import filled, insist_on_why, named, request, speaking, until, writing
from tradelog.config.schema import Config
from tradelog.domain import symbols
from tradelog.domain.text import counted
from tradelog.errors import NeedsAttention, UsageError
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
    Column("message", "last word", flex=True),
)
_OPEN = """
SELECT decision_id, side, symbol, strategy_name FROM trade_decisions
WHERE broker = :broker AND environment = :environment AND account = :account AND status = 'executing'
  AND (:scope = 'all' OR (:scope = 'strategy' AND strategy_name = :subject)
       OR (:scope = 'symbol' AND replace(symbol, '/', '') = replace(:subject, '/', '')))
ORDER BY id
"""
_ELSEWHERE = """
SELECT count(*) FROM trade_executions WHERE status IN ('sending', 'unknown', 'accepted', 'partially_filled')
AND NOT (broker = ? AND environment = ? AND account = ?)
"""


def command(
    strategy: Annotated[str | None, typer.Option(help="Only this strategy.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only this symbol.")] = None,
    why: Annotated[str | None, typer.Option(help="The reason; kept.")] = None,
    cancel_open: Annotated[
        bool, typer.Option("--cancel-open", help="Cancel what is open at the broker, too.")
    ] = False,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Stop all sending at once, in every account of the store, until tradelog resume.

    A worker that runs heeds it before its next request, one that starts later as well. Cancels still go
    out. Exits 6 where an open order is not known to be gone.
    """
    from tradelog.execute.risk import controls

    scope, subject = scope_of(strategy, symbol)
    reason = insist_on_why(why)
    config = load_config()
    with writing(config) as writer:
        with writer.transaction() as tx:
            is_new = controls.halt(tx, scope, subject, writer.actor, reason)
        what = "nothing is sent" if scope == "all" else "nothing of it is sent"
        note(f"{told(scope, subject)} {'is halted' if is_new else 'was halted already'}: {what}")
        if scope == "strategy" and not _is_known(config, writer, subject):
            note(
                f"no decision, and no table of tradelog.toml, has the strategy {subject!r}: is that its name?"
            )
        rows = _await_answers(config, writer, scope, subject)
        if cancel_open and rows:
            rows = _cancel(config, writer, rows, reason)
        with writer.reading() as connection:
            elsewhere = connection.execute(_ELSEWHERE, config.account).fetchone()[0]
    if elsewhere:
        note(f"open orders of other accounts: {elsewhere}; tradelog halt with their tradelog.toml cancels")
    if output_json:
        as_json({"scope": scope, "subject": subject, "halted_before": not is_new, "open_orders": rows})
    elif rows:
        table(COLUMNS, rows)
    else:
        line("no order is open at the broker")
    left = [row for row in rows if row["result"] not in ("cancelled", "executed", "failed")]
    if left and cancel_open:
        listed = ", ".join(row["decision_id"] for row in left)
        raise NeedsAttention(
            f"{len(left)} not known to be gone: {listed}", hint="a worker follows them; tradelog status"
        )
    if left:
        note(
            f"{counted(len(left), 'order')} still open at the broker;"
            " tradelog halt --cancel-open cancels them"
        )


def _is_known(config: Config, writer: Writer, strategy: str) -> bool:
    decided = "SELECT 1 FROM trade_decisions WHERE strategy_name = ? LIMIT 1"
    return strategy in config.controls or bool(writer.rows(decided, (strategy,)))


def scope_of(strategy: str | None, symbol: str | None) -> tuple[str, str]:
    """(scope, subject) of what was asked for. Raises UsageError for both at once."""
    if strategy is not None and symbol is not None:
        raise UsageError("give --strategy or --symbol, not both", hint="halt one after the other")
    if strategy is not None:
        name = named(strategy)
        if name is None:
            raise UsageError("--strategy is empty")
        return "strategy", name
    if symbol is not None:
        try:
            return "symbol", symbols.parse(symbol)
        except ValueError as error:
            raise UsageError(str(error)) from error
    return "all", ""


def told(scope: str, subject: str) -> str:
    """What a halt is of, in words."""
    return "everything" if scope == "all" else f"{scope} {subject}"


def _open(config: Config, writer: Writer, scope: str, subject: str) -> list[dict[str, Any]]:
    names = config.account.as_columns()
    return writer.rows(_OPEN, {**names, "scope": scope, "subject": subject})


def _await_answers(config: Config, writer: Writer, scope: str, subject: str) -> list[dict[str, Any]]:
    """The open orders, once every request has been answered that was on its way when the halt came."""
    worker = config.worker
    end = time.monotonic() + float(worker.connect_timeout_seconds + worker.read_timeout_seconds)
    names = (*config.account,)
    sending = (
        "SELECT 1 FROM trade_executions e JOIN trade_decisions d ON d.decision_id = e.decision_id"
        " WHERE e.broker = ? AND e.environment = ? AND e.account = ? AND e.status = 'sending'"
        " AND d.lease_until > ? LIMIT 1"
    )
    from tradelog.domain import clock

    while writer.rows(sending, (*names, clock.now_text())) and time.monotonic() < end:
        time.sleep(0.05)
    rows = _open(config, writer, scope, subject)
    for row in rows:
        row |= {"filled_quantity": filled(writer, row["decision_id"]), "result": "open", "message": None}
    return rows


def _cancel(config: Config, writer: Writer, rows: list[dict[str, Any]], reason: str) -> list[dict[str, Any]]:
    """Ask for each to be cancelled, in one commit, then carry that out; what became of each."""
    from tradelog.execute.amend import order_requests

    asked = {}
    with writer.transaction() as tx:
        for row in rows:
            status = tx.one("SELECT status FROM trade_decisions WHERE decision_id = ?", (row["decision_id"],))
            if status[0] == "executing":
                asked[row["decision_id"]] = order_requests.request_cancel(
                    tx, row["decision_id"], f"halt: {reason}", writer.actor
                )
    with speaking(config, writer, "halt") as worker:
        seconds = float(config.worker.once_seconds)
        end = time.monotonic() + seconds
        until(worker, lambda: _step(worker, writer, asked, end), seconds)
    for row in rows:
        row["filled_quantity"] = filled(writer, row["decision_id"])
        state = writer.rows(
            "SELECT status FROM trade_decisions WHERE decision_id = ?", (row["decision_id"],)
        )[0]["status"]
        row["result"] = "not confirmed" if state == "executing" else state
        if row["decision_id"] in asked:
            row["message"] = request(writer, asked[row["decision_id"]])["message"]
    return rows


def _step(worker: Worker, writer: Writer, asked: dict[str, str], end: float) -> bool:
    for decision_id, request_id in asked.items():
        if time.monotonic() >= end or not worker.session.may_request():
            return False
        if request(writer, request_id)["ended_at"] is None:
            worker.cancel_replace.process(decision_id)
            worker.tracker.poll(decision_id)
    worker.submitter.resolve_unknowns()
    return all(request(writer, request_id)["ended_at"] is not None for request_id in asked.values())
