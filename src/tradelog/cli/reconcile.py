"""tradelog reconcile"""

from __future__ import annotations

from typing import Annotated

import typer

from tradelog.cli.broker import broker_session, open_for_writing
from tradelog.cli.context import load_config, open_reader
from tradelog.cli.render import as_json, line, table
from tradelog.cli.resolve import BREAKS
from tradelog.domain.text import counted
from tradelog.errors import NeedsAttention, TradelogError


def command(
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare every order, fill and position of the broker with the log, since the last time.

    Orders that tradelog did not send are adopted, marked as recorded after the fact. Exits 6 on a break.
    """
    from tradelog.report import status as report

    config = load_config()
    with open_for_writing(config) as writer, broker_session(config, writer, "reconcile") as worker:
        result = worker.reconcile()
    with open_reader(config) as reader:
        breaks = report.breaks(reader, config.account)
    if output_json:
        as_json(
            {
                "orders": result.orders,
                "news": result.news,
                "adopted": result.adopted,
                "fills": result.fills,
                "activities": result.activities,
                "opened": result.opened,
                "missing": result.missing,
                "breaks": breaks,
            }
        )
    else:
        name, environment, account = config.account
        line(f"account {account} ({name}, {environment})")
        line(
            f"{counted(result.orders, 'order')} read: {result.news} changed,"
            f" {len(result.adopted)} adopted; {counted(result.fills, 'fill')} added,"
            f" other activities: {result.activities}"
        )
        if result.opened is not None:
            line(f"opening positions recorded: {result.opened} symbols held without a fill")
        if breaks:
            table(BREAKS, [{**row, "age": report.age(row["found_at"])} for row in breaks])
    if result.missing is not None:
        raise TradelogError(
            f"not complete: {result.missing} could not be read",
            hint="run it again; what was read is recorded",
        )
    if breaks:
        raise NeedsAttention(
            f"{counted(len(breaks), 'break')} between the broker and the log",
            hint='explain one: tradelog resolve BREAK --accept --why "..."',
        )
