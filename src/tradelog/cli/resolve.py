"""tradelog resolve"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tradelog.cli.broker import broker_session, decision_of, open_for_writing, require_id
from tradelog.cli.context import load_config, open_reader
from tradelog.cli.render import Column, as_json, heading, line, note, table
from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.errors import NeedsAttention, UsageError

UNKNOWN = (
    Column("decision_id", "decision", style="id"),
    Column("symbol", "symbol"),
    Column("age", "since", right=True),
    Column("status", "attempt is", style="status"),
    Column("lookups", "look-ups", right=True),
    Column("message", "message", flex=True),
    Column("needs_attention", "needs attention", flex=True),
)
BREAKS = (
    Column("break_id", "break", style="id"),
    Column("kind", "kind"),
    Column("symbol", "symbol"),
    Column("expected", "expected", right=True),
    Column("actual", "at the broker", right=True),
    Column("age", "since", right=True),
)


def command(
    id_prefix: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A decision, an attempt or a break; none lists them.")
    ] = None,
    not_placed: Annotated[
        bool, typer.Option("--not-placed", help="Your decision: the broker never got it. It fails.")
    ] = False,
    order: Annotated[
        str | None, typer.Option(metavar="BROKER_ID", help="Your decision: it is this order of the broker.")
    ] = None,
    seen: Annotated[bool, typer.Option("--seen", help="Your decision: looked at; it continues.")] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="Of a break: the broker's figure is right, for your reason.")
    ] = False,
    why: Annotated[
        str | None, typer.Option("--why", "--reason", help="The reason for your decision.")
    ] = None,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List unknown outcomes and breaks, look one up at the broker, or record your decision about it.

    Without options ID is looked up now. A decision needs its reason, which is recorded with it.
    """
    config = load_config()
    words = [not_placed, order is not None, seen, accept]
    if id_prefix is None:
        if any(words):
            raise UsageError("the id is missing", hint="tradelog resolve lists them")
        _list(config, output_json)
        return
    if sum(words) > 1:
        raise UsageError("give one of --not-placed, --order, --seen and --accept")
    if any(words) and not (why and why.strip()):
        raise UsageError("a decision needs its reason", hint='add --why "..."')
    require_id(id_prefix)
    with open_reader(config) as reader:
        kind, _ = reader.resolve(id_prefix, ("dec", "exe", "req", "brk"))
    if accept != (kind == "brk"):
        raise UsageError(
            f"{id_prefix} is a break" if kind == "brk" else f"{id_prefix} is no break",
            hint='explain it: --accept --why "..."' if kind == "brk" else "--accept is for breaks",
        )
    if accept:
        _accept(config, id_prefix, str(why), output_json)
        return
    decision_id = decision_of(config, id_prefix)
    _resolve(config, decision_id, not_placed=not_placed, order=order, seen=seen, why=str(why))
    _print_result(config, decision_id, output_json)


def _resolve(
    config: Config, decision_id: str, *, not_placed: bool, order: str | None, seen: bool, why: str
) -> None:
    from tradelog.execute.amend import manual_resolution

    with open_for_writing(config) as writer:
        if not_placed:
            manual_resolution.resolve_not_placed(writer, decision_id, why)
        elif seen:
            manual_resolution.acknowledge(writer, decision_id, why)
        else:
            with broker_session(config, writer, "resolve") as worker:
                if not worker.session.ensure_bound():
                    raise NeedsAttention("the broker did not respond", hint="try again; nothing was changed")
                if order is not None:
                    manual_resolution.adopt_order(worker.session, decision_id, order, why)
                else:
                    manual_resolution.ask_broker(worker.session, worker.submitter, decision_id)
                worker.tracker.poll(decision_id)


def _accept(config: Config, id_prefix: str, why: str, output_json: bool) -> None:
    from tradelog.execute.amend import manual_resolution
    from tradelog.store.reader import Reader

    with open_for_writing(config) as writer:
        with Reader(config.store_path) as reader:
            _, break_id = reader.resolve(id_prefix, ("brk",))
        row = manual_resolution.accept_break(writer, break_id, why)
    if output_json:
        as_json({"break_id": break_id, "symbol": row["symbol"], "actual": row["actual"], "reason": why})
    else:
        line(f"{break_id} accepted: {row['symbol']} is {row['actual']}")


def _print_result(config: Config, decision_id: str, output_json: bool) -> None:
    from tradelog.report import trail

    with open_reader(config) as reader:
        row = trail.last_attempt(reader, decision_id)
    if output_json:
        as_json(row)
    else:
        line(f"{decision_id} is {row['status']}, its last attempt {row['execution']}")
    if row["execution"] in ("sending", "unknown") or row["needs_attention"]:
        raise NeedsAttention(
            f"{decision_id} is still open: {row['needs_attention'] or row['error_message']}",
            hint="look at the broker's own page, then decide: --not-placed or --order, with --why",
        )


def _list(config: Config, output_json: bool) -> None:
    from tradelog.report import status as report

    with open_reader(config) as reader:
        state = report.status(reader, config)
    waiting = {row["decision_id"]: row["needs_attention"] for row in state["needs_attention"]}
    rows: list[dict[str, Any]] = [
        {**row, "age": report.age(row["since"]), "needs_attention": waiting.pop(row["decision_id"], None)}
        for row in state["unknown"]
    ]
    rows += [row for row in state["needs_attention"] if row["decision_id"] in waiting]
    if output_json:
        as_json({"unknown": rows, "breaks": state["breaks"]})
    elif not rows and not state["breaks"]:
        line("no unknown outcomes, no breaks")
    else:
        if rows:
            heading("Unknown outcome")
            table(UNKNOWN, rows)
        if state["breaks"]:
            heading("Breaks")
            table(BREAKS, [{**row, "age": report.age(row["found_at"])} for row in state["breaks"]])
        note(f"as of {clock.local(clock.now_text(), config.report.timezone)} {config.report.timezone}")
