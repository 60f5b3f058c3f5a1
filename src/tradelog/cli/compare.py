"""tradelog compare"""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from tradelog.cli.broker import broker_session, open_for_writing
from tradelog.cli.context import load_config
from tradelog.cli.render import Column, as_json, line, table
from tradelog.domain import clock
from tradelog.domain.text import counted
from tradelog.errors import NeedsAttention

DAYS = 7
COLUMNS = (
    Column("at", "submitted"),
    Column("difference", "difference", style="status"),
    Column("side", "side"),
    Column("symbol", "symbol"),
    Column("client_order_id", "client order id", style="id"),
    Column("decision_id", "decision", style="id"),
    Column("strategy", "strategy", flex=True),
    Column("detail", "detail", flex=True),
)


def command(
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help=f"First day; by default {DAYS} days ago.")
    ] = None,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show where the broker's orders and the log differ, without changing either.

    For a bot in record mode: an order that went around the log shows here. Exits 6 on a difference.
    """
    from tradelog.execute.track.comparison import compare

    config = load_config()
    zone = config.report.timezone
    week_ago = clock.market_today(zone) - timedelta(days=DAYS)
    start = clock.start_of_day(week_ago if since is None else clock.parse_past_day(since, zone), zone)
    with open_for_writing(config) as writer, broker_session(config, writer, "compare") as worker:
        worker.session.ensure_bound()
        found = compare(worker.session, start)
    if output_json:
        as_json(asdict(found))
    else:
        line(
            f"{counted(found.orders, 'order')} at the broker since {clock.local(start, zone)}:"
            f" {found.recorded} sent by a bot and recorded, {found.outbox} sent by tradelog"
        )
        rows = [{**asdict(item), "at": clock.local(item.at, zone)} for item in found.differing]
        if rows:
            table(COLUMNS, rows)
    if found.differing:
        raise NeedsAttention(
            f"{counted(len(found.differing), 'difference')} between the broker and the log",
            hint="tradelog reconcile, and a worker, bring the log along; what went around it stays marked so",
        )
