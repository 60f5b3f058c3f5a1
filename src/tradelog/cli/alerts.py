"""tradelog alerts"""

from __future__ import annotations

from typing import Annotated

import typer

from tradelog.cli.broker import open_for_writing
from tradelog.cli.context import load_config, open_reader
from tradelog.cli.render import as_json, line, table
from tradelog.cli.status import ALERTS
from tradelog.errors import NotFound, UsageError
from tradelog.operate.alerts import acknowledge


def command(
    ack: Annotated[
        str | None, typer.Option(metavar="NUMBER|all", help="Acknowledge one alert, or all that are open.")
    ] = None,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the open alerts, oldest first; --ack acknowledges."""
    from tradelog.report import status as report

    config = load_config()
    if ack is not None:
        _acknowledge(ack, output_json)
        return
    with open_reader(config) as reader:
        rows = report.open_alerts(reader)
    if output_json:
        as_json({"alerts": rows})
    elif not rows:
        line("no open alerts")
    else:
        table(ALERTS, [{**row, "age": report.age(row["created_at"])} for row in rows])


def _acknowledge(ack: str, output_json: bool) -> None:
    config = load_config()
    if ack != "all" and not (ack.isascii() and ack.isdecimal() and len(ack) < 18):
        raise UsageError(f"--ack {ack!r} is no number of an alert", hint="tradelog alerts lists them")
    with open_for_writing(config) as writer, writer.transaction() as tx:
        acknowledged = acknowledge(tx, None if ack == "all" else int(ack), by=writer.actor)
    if not acknowledged and ack != "all":
        raise NotFound(f"no open alert has the number {ack}", hint="tradelog alerts lists them")
    if output_json:
        as_json({"acknowledged": acknowledged})
    else:
        line(f"{len(acknowledged)} acknowledged")
