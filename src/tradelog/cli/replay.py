"""tradelog replay"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from tradelog.cli import render
from tradelog.cli.broker import require_id
from tradelog.cli.context import load_config, open_reader
from tradelog.cli.render import Column

COLUMNS = (
    Column("what", "what"),
    Column("then", "then", flex=True),
    Column("now", "now", flex=True),
)
CODES = {"same": 0, "different": 1, "not replayable": 3}


def command(
    id_prefix: Annotated[
        str, typer.Argument(metavar="ID", help="A decision or a signal; a unique prefix will do.")
    ],
    with_current_code: Annotated[
        bool, typer.Option("--with-current-code", help="Today's code on the data of then.")
    ] = False,
    as_of_now: Annotated[
        bool, typer.Option("--as-of-now", help="The same day with what is known today about its filings.")
    ] = False,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Replay a decision: run its strategy on exactly the data that it had. Writes nothing.

    Exits 0 when the result is the same, 1 when it is not, 3 when it cannot be replayed.
    """
    from tradelog.evidence import replay
    from tradelog.report import trail

    config = load_config()
    require_id(id_prefix)
    with open_reader(config) as reader:
        kind, full_id = reader.resolve(id_prefix, ("dec", "sig", "exe"))
        signal_id: str | None = full_id
        if kind != "sig":
            decision_id = full_id if kind == "dec" else trail.decision_of(reader, kind, full_id)
            signal_id = trail.signal_of(reader, str(decision_id))
        if signal_id is None:
            result = replay.without_code(reader, str(decision_id))
        else:
            result = replay.replay(
                reader, config, signal_id, current_code=with_current_code, as_of_now=as_of_now
            )
    if output_json:
        render.as_json({"replay": asdict(result)})
    else:
        _print(result)
    raise typer.Exit(CODES[result.verdict])


def _print(result: Any) -> None:
    between = ": " if result.verdict == "not replayable" else ", "
    why = f"{between}{result.why}" if result.why else ""
    render.line(f"{result.subject} of {result.strategy}: {result.verdict}{why}")
    rows = [
        {"what": item.what, "then": _text(item.then), "now": _text(item.now)} for item in result.differences
    ]
    if rows:
        render.table(COLUMNS, rows)


def _text(value: Any) -> str:
    if value is None:
        return "—"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
