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
        found = symbol.report(reader, name, config.account, days, limit=most)
    if output_json:
        render.as_json(_json(found))
        return
    _describe(found, days.zone)
    if output_csv:
        render.as_csv(CSV, _activity(found))
        return
    with paged():
        render.heading(f"{found.symbol}  {days.title}  account {found.account.label}")
        _data(found, most)
        _decisions(found)
        _trades(found)
        _summary(found)


def _describe(found: symbol.SymbolReport, zone: str) -> None:
    """What people read of each row, beside what it holds."""
    for row in (*found.data, *found.seen_outside):
        row["first_seen"] = clock.local(row["first_seen_at"], zone)
        row["traded"] = row["event_date"] or "unknown"
        row["amount"] = render.amount(row["amount_low"], row["amount_high"])
        marks = (["backfill"] if row["backfill"] else []) + (["gone"] if row["gone"] else [])
        row["remarks"] = ", ".join(marks + [flag.replace("_", " ") for flag in row["flags"]])
    for row in found.decisions:
        row["created"] = clock.local(row["created_at"], zone)
        row["by"] = row["strategy_name"] + (" (recorded after the fact)" if row["adopted"] else "")
        row["size"] = f"${row['notional']}" if row["notional"] else row["quantity"]
        reason = [row["failure_code"], row["failure_message"]]
        row["why_not"] = ": ".join(filter(None, reason)) or row["needs_attention"] or ""
    for row in found.trades:
        row["executed"] = clock.local(row["transaction_time"], zone)
        row["size"] = row["ordered"] or (f"${row['notional']}" if row["notional"] else "")


def _activity(found: symbol.SymbolReport) -> list[dict[str, Any]]:
    """All three lists as one, oldest first."""
    rows = [
        {"what": "data", "at": row["first_seen"], "utc": row["first_seen_at"], "id": row["version_id"]}
        | {"who": row["member"], "side": row["side"], "size": row["amount"], "day": row["event_date"]}
        | {"remarks": row["remarks"]}
        for row in (*found.data, *found.seen_outside)
    ]
    rows += [
        {"what": "decision", "at": row["created"], "utc": row["created_at"], "id": row["decision_id"]}
        | {"who": row["strategy_name"], "side": row["side"], "size": row["size"], "status": row["status"]}
        | {"remarks": row["why_not"]}
        for row in found.decisions
    ]
    rows += [
        {"what": "trade", "at": row["executed"], "utc": row["transaction_time"], "id": row["fill_id"]}
        | {"who": row["strategy_name"], "side": row["side"], "size": row["quantity"], "price": row["price"]}
        | {"status": row["status"], "remarks": row["price_basis"], "decision_id": row["decision_id"]}
        for row in found.trades
    ]
    return sorted(rows, key=lambda row: str(row["utc"]))


def _data(found: symbol.SymbolReport, most: int) -> None:
    render.line()
    render.heading(f"Data ingested: {found.data_first_seen} first seen by us in this period")
    if found.data:
        render.table(DATA, found.data)
        _cut(len(found.data), found.data_first_seen)
    else:
        render.line("  none")
    render.line()
    render.heading(f"Data about trades in this period: {found.data_traded}")
    if found.seen_outside:
        render.line("  first seen by us before or after it:")
        render.table(DATA, found.seen_outside)
        if len(found.seen_outside) == most:
            render.note(f"  the {most} newest trades of these; --all shows all")
    elif found.data_traded:
        render.line("  all of them first seen by us in it, above")
    else:
        render.line("  none")


def _decisions(found: symbol.SymbolReport) -> None:
    render.line()
    render.heading(f"Decisions: {found.summary.decisions}")
    if not found.decisions:
        render.line(f"  no decisions on {found.symbol} in this period")
        return
    render.table(DECISIONS, found.decisions)
    _cut(len(found.decisions), found.summary.decisions)


def _trades(found: symbol.SymbolReport) -> None:
    render.line()
    render.heading(f"Trades executed: {found.summary.trades}")
    if not found.trades:
        render.line("  none")
        return
    render.table(TRADES, found.trades)
    _cut(len(found.trades), found.summary.trades)


def _summary(found: symbol.SymbolReport) -> None:
    summary = found.summary
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


def _json(found: symbol.SymbolReport) -> dict[str, Any]:
    return {
        "symbol": found.symbol,
        **found.account.as_columns(),
        "period": {
            "from": found.period.first and found.period.first.isoformat(),
            "to": found.period.last and found.period.last.isoformat(),
            "timezone": found.period.zone,
        },
        "data_first_seen": found.data_first_seen,
        "data_traded": found.data_traded,
        "data": found.data,
        "data_seen_outside": found.seen_outside,
        "decisions": found.decisions,
        "trades": found.trades,
        "summary": asdict(found.summary),
    }
