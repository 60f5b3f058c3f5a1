"""tradelog trades"""

from __future__ import annotations

from tradelog.cli import options, render
from tradelog.cli.context import covered, load_config, open_reader
from tradelog.cli.paging import paged
from tradelog.cli.render import Column, heading, line, note, table
from tradelog.domain import clock
from tradelog.report import subjects
from tradelog.report import trades as report

COLUMNS = (
    Column("executed", "executed"),
    Column("decision_id", "decision", style="id"),
    Column("strategy_name", "strategy", flex=True),
    Column("side", "side"),
    Column("symbol", "symbol"),
    Column("quantity", "quantity", right=True),
    Column("price", "price", right=True),
    Column("value", "value, $", right=True),
    Column("status", "order is", style="status"),
    Column("why", "why", flex=True),
)


def command(
    symbol: options.Symbol = None,
    strategy: options.Strategy = None,
    year: options.Year = None,
    first: options.First = None,
    last: options.Last = None,
    zone: options.Zone = None,
    limit: options.Limit = None,
    show_all: options.All = False,
    output_json: options.Json = False,
    output_csv: options.Csv = False,
) -> None:
    """List what really executed, fill by fill, newest first, with its price and the reason."""
    options.one_form(output_json, output_csv)
    most = options.rows(limit, show_all, is_for_programs=output_json or output_csv)
    config = load_config()
    days = covered(config, year, first, last, zone)
    with open_reader(config) as reader:
        rows, total = report.trades(
            reader,
            config.account,
            days,
            symbol=None if symbol is None else symbol.strip().upper(),
            strategy=strategy,
            limit=most,
        )
        if not rows:
            subjects.check(reader, config, strategy=strategy, symbol=symbol)
    if output_json:
        render.as_json({"period": str(days), "total": total, "trades": rows})
        return
    for row in rows:
        row["executed"] = clock.local(row["transaction_time"], days.zone)
    if output_csv:
        render.as_csv(COLUMNS, rows)
        return
    for row in rows:
        row["value"] = render.dollars(row["value"])
    with paged():
        heading(f"Trades  {days.title}  account {config.account.label}")
        if rows:
            table(COLUMNS, rows)
        else:
            line("nothing executed")
    if rows:
        note(f"{len(rows)} of {total}")
