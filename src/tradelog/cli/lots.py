"""tradelog lots"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tradelog.cli import options, render
from tradelog.cli.context import covered, load_config, open_reader
from tradelog.cli.paging import paged
from tradelog.cli.render import Column, cents, dollars, heading, line, note, pairs, table
from tradelog.domain import clock
from tradelog.report import lots as report
from tradelog.report import subjects

COLUMNS = (
    Column("symbol", "symbol"),
    Column("quantity", "quantity", right=True),
    Column("acquired_on", "acquired"),
    Column("sold_on", "sold"),
    Column("proceeds", "proceeds, $", right=True),
    Column("basis", "basis, $", right=True),
    Column("gain", "gain, $", right=True),
    Column("side", "side"),
    Column("opened_by", "opened by", style="id"),
    Column("closed_by", "closed by", style="id"),
)
FEES = (
    Column("activity_date", "day"),
    Column("kind", "kind"),
    Column("sub_kind", "of"),
    Column("symbol", "symbol"),
    Column("net_amount", "amount, $", right=True),
)


def command(
    symbol: options.Symbol = None,
    year: options.Year = None,
    first: options.First = None,
    last: options.Last = None,
    zone: options.Zone = None,
    output_json: options.Json = False,
    output_csv: options.Csv = False,
) -> None:
    """List what was sold, lot by lot, first in first out: acquired, sold, proceeds, basis, gain.

    A lot is listed by the day it was closed on. Fees are those of the account, which the broker takes by the
    day. This is no tax advice.
    """
    options.one_form(output_json, output_csv)
    config = load_config()
    days = covered(config, year, first, last, zone)
    with open_reader(config) as reader:
        rows, fees, total = report.lots(
            reader, config.account, days, symbol=None if symbol is None else symbol.strip().upper()
        )
        if not rows:
            subjects.check(reader, config, symbol=symbol)
    if output_json:
        notice = {"period": str(days), "notice": report.NOTICE}
        render.as_json({**notice, "lots": rows, "fees": fees, "total": asdict(total)})
        return
    for row in rows:
        for name in ("acquired", "sold"):
            row[f"{name}_on"] = clock.local(row[name], days.zone)[:10] or "unknown"
        row["side"] = "short" if row["short"] else "long"
    if output_csv:
        render.as_csv(COLUMNS, rows)
        note(report.NOTICE)
        return
    with paged():
        heading(f"Lots  {days.title}  account {config.account.label}")
        line(report.NOTICE)
        line()
        if rows:
            table(COLUMNS, [_shown(row) for row in rows])
        else:
            line("nothing was sold")
        if fees:
            line()
            heading("Fees")
            table(FEES, fees)
        line()
        _total(total)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, **{name: dollars(row[name]) for name in ("proceeds", "basis", "gain")}}


def _total(total: report.Sold) -> None:
    pairs(
        [
            ("lots", total.lots),
            ("proceeds", cents(total.proceeds)),
            ("basis", cents(total.basis)),
            ("gain", cents(total.gain)),
            ("fees", cents(total.fees)),
        ]
    )
    if total.unknown:
        note(
            f"{total.unknown} of unknown basis are in no sum: held before the log began, or explained by hand"
        )
