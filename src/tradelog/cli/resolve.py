"""tradelog resolve"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tradelog.cli.context import load_config, open_reader
from tradelog.cli.render import Column, as_json, heading, line, note, table
from tradelog.cli.speaking import decision_of, insist_on_id, speaking, writing
from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.errors import NeedsAttention, UsageError

UNKNOWN = (
    Column("decision_id", "decision", style="id"),
    Column("symbol", "symbol"),
    Column("age", "since", right=True),
    Column("status", "attempt is", style="status"),
    Column("lookups", "asked", right=True),
    Column("message", "last word", flex=True),
    Column("needs_attention", "waits for", flex=True),
)
BREAKS = (
    Column("break_id", "break", style="id"),
    Column("kind", "kind"),
    Column("symbol", "symbol"),
    Column("expected", "expected", right=True),
    Column("actual", "broker says", right=True),
    Column("age", "since", right=True),
)


def command(
    wanted: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A decision, an attempt or a break; none lists them.")
    ] = None,
    not_placed: Annotated[
        bool, typer.Option("--not-placed", help="Your word: the broker never got it. It fails.")
    ] = False,
    order: Annotated[
        str | None, typer.Option(metavar="BROKER_ID", help="Your word: it is this order of the broker.")
    ] = None,
    seen: Annotated[bool, typer.Option("--seen", help="Your word: looked at; the work goes on.")] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="Of a break: the broker is right, for your reason.")
    ] = False,
    why: Annotated[str | None, typer.Option("--why", "--reason", help="The reason for your word.")] = None,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what has no known outcome with its evidence, ask the broker about one, or take your word.

    Without options ID is asked about now. A word needs its reason, and is kept with it.
    """
    config = load_config()
    words = [not_placed, order is not None, seen, accept]
    if wanted is None:
        if any(words):
            raise UsageError("which one?", hint="tradelog resolve lists them; name one")
        _list(config, output_json)
        return
    if sum(words) > 1:
        raise UsageError("give one of --not-placed, --order, --seen and --accept")
    if any(words) and not (why and why.strip()):
        raise UsageError("a word needs its reason", hint='add --why "..."')
    insist_on_id(wanted)
    with open_reader(config) as reader:
        kind, _ = reader.resolve(wanted, ("dec", "exe", "req", "brk"))
    if accept != (kind == "brk"):
        raise UsageError(
            f"{wanted} is a break" if kind == "brk" else f"{wanted} is no break",
            hint='explain it: --accept --why "..."' if kind == "brk" else "--accept is for breaks",
        )
    if accept:
        _accept(config, wanted, str(why), output_json)
        return
    decision_id = decision_of(config, wanted)
    _settle(config, decision_id, not_placed=not_placed, order=order, seen=seen, why=str(why))
    _tell(config, decision_id, output_json)


def _settle(
    config: Config, decision_id: str, *, not_placed: bool, order: str | None, seen: bool, why: str
) -> None:
    from tradelog.execute.amend import manual_resolution

    with writing(config) as writer:
        if not_placed:
            manual_resolution.resolve_not_placed(writer, decision_id, why)
        elif seen:
            manual_resolution.acknowledge(writer, decision_id, why)
        else:
            with speaking(config, writer, "resolve") as worker:
                if not worker.session.ensure_bound():
                    raise NeedsAttention("the broker does not answer", hint="try again; nothing was changed")
                if order is not None:
                    manual_resolution.adopt_order(worker.session, decision_id, order, why)
                else:
                    manual_resolution.ask_broker(worker.session, worker.submitter, decision_id)
                worker.tracker.poll(decision_id)


def _accept(config: Config, wanted: str, why: str, output_json: bool) -> None:
    from tradelog.execute.account import positions
    from tradelog.execute.risk.controls import record_event
    from tradelog.store.reader import Reader

    with writing(config) as writer:
        with Reader(config.store_path) as reader:
            _, break_id = reader.resolve(wanted, ("brk",))
        with writer.transaction() as tx:
            row = tx.dicts("SELECT * FROM breaks WHERE break_id = ?", (break_id,))[0]
            if row["closed_at"] is not None:
                raise UsageError(f"{break_id} is closed already: {row['closed_why']}")
            record_event(tx, "break.accepted", break_id, writer.actor, why, row["expected"], row["actual"])
            positions.accept_break(tx, break_id, why, writer.actor)
    if output_json:
        as_json({"break_id": break_id, "symbol": row["symbol"], "actual": row["actual"], "reason": why})
    else:
        line(f"{break_id} accepted: {row['symbol']} is {row['actual']}")


def _tell(config: Config, decision_id: str, output_json: bool) -> None:
    with open_reader(config) as reader:
        row = reader.one(
            "SELECT d.decision_id, d.symbol, d.status, d.failure_code, d.failure_message, d.needs_attention,"
            " e.status AS execution, e.filled_quantity, e.error_message FROM trade_decisions d"
            " JOIN trade_executions e ON e.decision_id = d.decision_id WHERE d.decision_id = ?"
            " ORDER BY e.id DESC LIMIT 1",
            (decision_id,),
        )
    assert row is not None
    if output_json:
        as_json(row)
    else:
        line(f"{decision_id} is {row['status']}, its last attempt {row['execution']}")
    if row["execution"] in ("sending", "unknown") or row["needs_attention"]:
        raise NeedsAttention(
            f"{decision_id} is still open: {row['needs_attention'] or row['error_message']}",
            hint="look at the broker's own page, then give your word: --not-placed or --order, with --why",
        )


def _list(config: Config, output_json: bool) -> None:
    from tradelog.report import status as report

    with open_reader(config) as reader:
        found = report.status(reader, config)
    waiting = {row["decision_id"]: row["needs_attention"] for row in found["needs_attention"]}
    rows: list[dict[str, Any]] = [
        {**row, "age": report.age(row["since"]), "needs_attention": waiting.pop(row["decision_id"], None)}
        for row in found["unknown"]
    ]
    rows += [row for row in found["needs_attention"] if row["decision_id"] in waiting]
    if output_json:
        as_json({"unknown": rows, "breaks": found["breaks"]})
    elif not rows and not found["breaks"]:
        line("every outcome is known, and nothing differs from the broker")
    else:
        if rows:
            heading("No known outcome")
            table(UNKNOWN, rows)
        if found["breaks"]:
            heading("Breaks")
            table(BREAKS, [{**row, "age": report.age(row["found_at"])} for row in found["breaks"]])
        note(f"as of {clock.local(clock.now_text(), config.report.timezone)} {config.report.timezone}")
