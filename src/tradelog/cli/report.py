"""tradelog report"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from tradelog.cli import options, render
from tradelog.cli.context import covered, load_config, open_reader
from tradelog.cli.paging import paged
from tradelog.cli.render import Column
from tradelog.domain import clock, money
from tradelog.report import symbol

DATA = (
    Column("first_seen", "first seen by us"),
    Column("run_id", "run", style="id"),
    Column("member", "member", flex=True),
    Column("side", "type"),
    Column("traded", "traded"),
    Column("filed_as_given", "disclosed"),
    Column("amount", "amount, $", right=True),
    Column("remarks", "remarks", flex=True),
)
DECISIONS = (
    Column("created", "decided"),
    Column("decision_id", "decision", style="id"),
    Column("by", "strategy", flex=True),
    Column("side", "side"),
    Column("size", "size", right=True),
    Column("status", "status", style="status"),
    Column("why_not", "failure", flex=True),
)
TRADES = (
    Column("executed", "executed"),
    Column("decision_id", "decision", style="id"),
    Column("side", "side"),
    Column("quantity", "quantity", right=True),
    Column("size", "ordered", right=True),
    Column("price", "price", right=True),
    Column("status", "order is", style="status"),
    Column("price_basis", "price from", flex=True),
)

CSV = tuple(
    Column(key, key)
    for key in (
        "what",
        "at",
        "utc",
        "id",
        "who",
        "side",
        "size",
        "price",
        "day",
        "status",
        "decision_id",
        "remarks",
    )
)


def command(
    name: Annotated[str, typer.Argument(metavar="SYMBOL", help="The symbol, such as AAPL.")],
    year: options.Year = None,
    first: options.First = None,
    last: options.Last = None,
    tz: options.Zone = None,
    limit: options.Limit = None,
    show_all: options.All = False,
    output_json: options.Json = False,
    output_csv: options.Csv = False,
) -> None:
    """Show all activity in a symbol: data, decisions, trades."""
    options.one_form(output_json, output_csv)
    most = options.rows(limit, show_all, is_for_programs=output_json or output_csv)
    config = load_config()
    days = covered(config, year, first, last, tz)
    with open_reader(config) as reader:
        result = symbol.report(reader, name, config.account, days, limit=most)
    if output_json:
        render.as_json(_json(result))
        return
    _describe(result, days.zone)
    if output_csv:
        render.as_csv(CSV, _activity(result))
        return
    with paged():
        render.heading(f"{result.symbol}  {days.title}  account {result.account.label}")
        _data(result, most)
        _decisions(result)
        _trades(result)
        _summary(result)


def _describe(result: symbol.SymbolReport, zone: str) -> None:
    """What people read of each row, beside what it holds."""
    for row in (*result.data, *result.seen_outside):
        row["first_seen"] = clock.local(row["first_seen_at"], zone)
        row["traded"] = row["event_date"] or "unknown"
        row["amount"] = render.amount(row["amount_low"], row["amount_high"])
        marks = (["backfill"] if row["backfill"] else []) + (["gone"] if row["gone"] else [])
        row["remarks"] = ", ".join(marks + [flag.replace("_", " ") for flag in row["flags"]])
    for row in result.decisions:
        row["created"] = clock.local(row["created_at"], zone)
        row["by"] = row["strategy_name"] + (" (recorded after the fact)" if row["adopted"] else "")
        row["size"] = f"${row['notional']}" if row["notional"] else row["quantity"]
        reason = [row["failure_code"], row["failure_message"]]
        row["why_not"] = ": ".join(filter(None, reason)) or row["needs_attention"] or ""
    for row in result.trades:
        row["executed"] = clock.local(row["transaction_time"], zone)
        row["size"] = row["ordered"] or (f"${row['notional']}" if row["notional"] else "")


def _activity(result: symbol.SymbolReport) -> list[dict[str, Any]]:
    """All three lists as one, oldest first."""
    rows = [
        {"what": "data", "at": row["first_seen"], "utc": row["first_seen_at"], "id": row["version_id"]}
        | {"who": row["member"], "side": row["side"], "size": row["amount"], "day": row["event_date"]}
        | {"remarks": row["remarks"]}
        for row in (*result.data, *result.seen_outside)
    ]
    rows += [
        {"what": "decision", "at": row["created"], "utc": row["created_at"], "id": row["decision_id"]}
        | {"who": row["strategy_name"], "side": row["side"], "size": row["size"], "status": row["status"]}
        | {"remarks": row["why_not"]}
        for row in result.decisions
    ]
    rows += [
        {"what": "trade", "at": row["executed"], "utc": row["transaction_time"], "id": row["fill_id"]}
        | {"who": row["strategy_name"], "side": row["side"], "size": row["quantity"], "price": row["price"]}
        | {"status": row["status"], "remarks": row["price_basis"], "decision_id": row["decision_id"]}
        for row in result.trades
    ]
    return sorted(rows, key=lambda row: str(row["utc"]))


def _data(result: symbol.SymbolReport, most: int) -> None:
    render.line()
    render.heading(f"Data ingested: {result.data_first_seen} first seen by us in this period")
    if result.data:
        render.table(DATA, result.data)
        _cut(len(result.data), result.data_first_seen)
    else:
        render.line("  none")
    render.line()
    render.heading(f"Data about trades in this period: {result.data_traded}")
    if result.seen_outside:
        render.line("  first seen by us before or after it:")
        render.table(DATA, result.seen_outside)
        if len(result.seen_outside) == most:
            render.note(f"  the {most} newest trades of these; --all shows all")
    elif result.data_traded:
        render.line("  all of them first seen by us in it, above")
    else:
        render.line("  none")


def _decisions(result: symbol.SymbolReport) -> None:
    render.line()
    render.heading(f"Decisions: {result.summary.decisions}")
    if not result.decisions:
        render.line(f"  no decisions on {result.symbol} in this period")
        return
    render.table(DECISIONS, result.decisions)
    _cut(len(result.decisions), result.summary.decisions)


def _trades(result: symbol.SymbolReport) -> None:
    render.line()
    render.heading(f"Trades executed: {result.summary.trades}")
    if not result.trades:
        render.line("  none")
        return
    render.table(TRADES, result.trades)
    _cut(len(result.trades), result.summary.trades)


def _summary(result: symbol.SymbolReport) -> None:
    summary = result.summary
    render.line()
    render.heading("Summary")
    rate = "no decisions" if summary.success_rate is None else render.percent(summary.success_rate)
    render.pairs(
        [
            ("signals", summary.signals),
            ("decisions", summary.decisions),
            ("executed", summary.executed),
            ("failed", summary.failed),
            ("cancelled", summary.cancelled),
            ("pending", summary.pending),
            ("success rate", rate),
            ("trades", summary.trades),
            ("shares bought", money.to_text(summary.bought)),
            ("shares sold", money.to_text(summary.sold)),
        ]
    )


def _cut(shown: int, total: int) -> None:
    if shown < total:
        render.note(f"  the {shown} newest of {total}; --all shows all")


def _json(result: symbol.SymbolReport) -> dict[str, Any]:
    return {
        "symbol": result.symbol,
        **result.account.as_columns(),
        "period": {
            "from": result.period.first and result.period.first.isoformat(),
            "to": result.period.last and result.period.last.isoformat(),
            "timezone": result.period.zone,
        },
        "data_first_seen": result.data_first_seen,
        "data_traded": result.data_traded,
        "data": result.data,
        "data_seen_outside": result.seen_outside,
        "decisions": result.decisions,
        "trades": result.trades,
        "summary": asdict(result.summary),
    }
