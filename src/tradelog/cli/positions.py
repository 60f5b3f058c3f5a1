"""tradelog positions"""

from __future__ import annotations

from typing import Annotated

import typer

from tradelog.cli.context import load_config, open_reader
from tradelog.cli.render import Column, as_json, heading, line, note, table
from tradelog.cli.resolve import BREAKS
from tradelog.domain import clock
from tradelog.domain.text import counted
from tradelog.errors import NeedsAttention

COLUMNS = (
    Column("symbol", "symbol"),
    Column("opening", "opening", right=True),
    Column("adjustment", "adjusted", right=True),
    Column("bought", "bought", right=True),
    Column("sold", "sold", right=True),
    Column("split", "by split", right=True),
    Column("expected", "held", right=True),
    Column("broker", "at the broker", right=True),
    Column("buying", "buying", right=True),
    Column("selling", "selling", right=True),
)


def command(
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what is held by symbol, by our fills and by the broker, with open orders and breaks."""
    from tradelog.report import positions as report
    from tradelog.report.status import age

    config = load_config()
    with open_reader(config) as reader:
        state = report.positions(reader, config.account)
    if output_json:
        as_json(state)
    else:
        name, environment, account = config.account
        heading(f"Positions  account {account} ({name}, {environment})")
        if state["positions"]:
            table(COLUMNS, state["positions"])
        else:
            line("nothing is held, and no order is open")
        zone = config.report.timezone
        if state["broker_as_of"] is None:
            note("never reconciled; tradelog reconcile compares with the broker")
        else:
            reconciled_at = state["reconciled_at"] or state["broker_as_of"]
            note(f"reconciled {clock.local(reconciled_at, zone)} ({zone}); tradelog reconcile compares again")
        if state["breaks"]:
            heading("Breaks")
            table(BREAKS, [{**row, "age": age(row["found_at"])} for row in state["breaks"]])
    if state["breaks"]:
        raise NeedsAttention(
            f"{counted(len(state['breaks']), 'break')} between the broker and the log",
            hint='explain one: tradelog resolve BREAK --accept --why "..."',
        )
