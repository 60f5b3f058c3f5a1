"""tradelog maintenance"""

from __future__ import annotations

from typing import Annotated

import typer

from tradelog.cli import digest
from tradelog.cli.broker import open_for_writing
from tradelog.cli.context import load_config
from tradelog.cli.render import Column, as_json, heading, line, table
from tradelog.domain import clock
from tradelog.domain.text import counted
from tradelog.errors import NeedsAttention

COLUMNS = (
    Column("name", "step"),
    Column("outcome", "result", style="status"),
    Column("seconds", "seconds", right=True),
    Column("said", "said", flex=True),
)


def command(
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print nothing where all went well, or there is nothing to do.")
    ] = False,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Do what a log needs once a day: fetch, reconcile, expire, verify, head, backup, archive, digest.

    Runs once a day of the market, not before `[maintenance] at`, however often it is called. Exits 6 where a
    step failed; the others have run.
    """
    from tradelog.upkeep import maintenance

    config = load_config()
    if not maintenance.is_due(config):
        if not quiet:
            line(f"not before {config.maintenance.at} of the market's day")
        return
    with open_for_writing(config) as writer:
        done = maintenance.run(config, writer)
    rows = maintenance.rows_of(done)
    is_silent = quiet and (not done.is_new or not done.failed)
    if output_json:
        as_json(
            {
                "maintenance_id": done.maintenance_id,
                "day": done.day,
                "status": done.status,
                "is_new": done.is_new,
                "steps": rows,
            }
        )
    elif not is_silent:
        heading(f"Maintenance of {done.day}  {done.status}{'' if done.is_new else ', as it ran before'}")
        table(COLUMNS, rows)
        line()
        digest.page(config, clock.parse_day(done.day), clock.MARKET_ZONE)
    if done.is_new and done.failed:
        raise NeedsAttention(
            f"{counted(len(done.failed), 'step')} failed: {', '.join(done.failed)}",
            hint=f"once it is mended: {maintenance.line_of(config, done.failed[0])}",
        )
