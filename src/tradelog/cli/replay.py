"""tradelog replay"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from tradelog.cli import render
from tradelog.cli.context import load_config, open_reader
from tradelog.cli.render import Column
from tradelog.cli.speaking import insist_on_id

COLUMNS = (
    Column("what", "what"),
    Column("then", "then", flex=True),
    Column("now", "now", flex=True),
)
CODES = {"same": 0, "different": 1, "not replayable": 3}


def command(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="A decision or a signal; a beginning of it.")],
    with_current_code: Annotated[
        bool, typer.Option("--with-current-code", help="Today's code on what was known then.")
    ] = False,
    as_of_now: Annotated[
        bool, typer.Option("--as-of-now", help="The same day with what is known today of its filings.")
    ] = False,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run the strategy of a decision once more on just what it had. Writes nothing.

    Exits 0 when it says the same, 1 when not, 3 when it cannot be replayed.
    """
    from tradelog.evidence import replay
    from tradelog.report import trail

    config = load_config()
    insist_on_id(wanted)
    with open_reader(config) as reader:
        kind, found_id = reader.resolve(wanted, ("dec", "sig", "exe"))
        signal_id: str | None = found_id
        if kind != "sig":
            decision_id = found_id if kind == "dec" else trail.decision_of(reader, kind, found_id)
            signal_id = reader.value(
                "SELECT signal_id FROM trade_decisions WHERE decision_id = ?", (decision_id,)
            )
        if signal_id is None:
            found = replay.without_code(reader, str(decision_id))
        else:
            found = replay.replay(
                reader, config, signal_id, current_code=with_current_code, as_of_now=as_of_now
            )
    if output_json:
        render.as_json({"replay": asdict(found)})
    else:
        _tell(found)
    raise typer.Exit(CODES[found.verdict])


def _tell(found: Any) -> None:
    between = ": " if found.verdict == "not replayable" else ", "
    why = f"{between}{found.why}" if found.why else ""
    render.line(f"{found.subject} of {found.strategy}: {found.verdict}{why}")
    rows = [
        {"what": item.what, "then": _said(item.then), "now": _said(item.now)} for item in found.differences
    ]
    if rows:
        render.table(COLUMNS, rows)


def _said(value: Any) -> str:
    if value is None:
        return "—"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
