"""tradelog strategies"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import typer

from tradelog import prices as price_file
from tradelog.cli import options, render
from tradelog.cli.context import covered, load_config, open_reader
from tradelog.cli.paging import paged
from tradelog.cli.render import Column, heading, line, note, percent, table
from tradelog.config.schema import Config
from tradelog.errors import UsageError
from tradelog.report.period import Period
from tradelog.store.figures import STEPS

KINDS = ("trigger", "member", "source")
OUTCOMES = (
    Column("strategy", "strategy", flex=True),
    Column("signals", "signals", right=True),
    Column("decisions", "decided", right=True),
    Column("executed", "executed", right=True),
    Column("failed", "failed", right=True),
    Column("cancelled", "cancelled", right=True),
    Column("pending", "open", right=True),
    Column("adopted", "adopted", right=True),
    Column("success", "success", right=True),
    Column("bar", "", picture=True),
    Column("fills", "filled", right=True),
    Column("slippage_bps", "slip, bp", right=True),
    Column("slippage", "slip, $", right=True),
    Column("priced", "of", right=True),
)
TIMES = (
    Column("strategy", "strategy", flex=True),
    Column("sent", "decided → sent", right=True),
    Column("acknowledged", "→ acknowledged", right=True),
    Column("filled", "→ filled", right=True),
    Column("in all", "in all", right=True),
)
QUALITY = (
    Column("strategy", "strategy", flex=True),
    Column("acted_on", "signals"),
    Column("signals", "number", right=True),
    *(
        column
        for after in (1, 5, 20)
        for column in (
            Column(f"move_{after}", f"+{after}", right=True),
            Column(f"right_{after}", "right", right=True),
            Column(f"known_{after}", "of", right=True),
        )
    ),
)
DRIVERS = (
    Column("name", "", flex=True),
    Column("decisions", "decided", right=True),
    Column("executed", "executed", right=True),
    Column("failed", "failed", right=True),
    Column("success", "success", right=True),
    Column("bar", "", picture=True),
    Column("closed", "closed", right=True),
    Column("profitable", "with profit", right=True),
    Column("realised", "realised, $", right=True),
)
# All of the three tables in a row.
CSV = tuple(
    Column(key, key)
    for key in (
        *("strategy", "signals", "not_taken", "decisions", "executed", "failed", "cancelled", "pending"),
        *("adopted", "success_rate", "fill_rate", "priced", "slippage", "slippage_bps"),
        *(f"{step.replace(' ', '_')}_p{share}_ms" for step in STEPS for share in (50, 90, 99)),
        *(
            f"{taken}_{name}_{after}"
            for taken in ("taken", "not_taken")
            for after in (1, 5, 20)
            for name in ("known", "move", "right")
        ),
    )
)


def command(
    strategy: options.Strategy = None,
    by: Annotated[str | None, typer.Option("--by", help="Profit by trigger, member or source.")] = None,
    year: options.Year = None,
    first: options.First = None,
    last: options.Last = None,
    zone: options.Zone = None,
    limit: options.Limit = None,
    show_all: options.All = False,
    output_json: options.Json = False,
    output_csv: options.Csv = False,
) -> None:
    """Compare strategies, this year: outcomes of their decisions, and the quality of their signals.

    With --by: realised profit by the trigger, member or source of their data.
    """
    options.one_form(output_json, output_csv)
    most = options.rows(limit, show_all, is_for_programs=output_json or output_csv)
    if by is not None and by not in KINDS:
        raise UsageError(f"nothing is grouped by {by!r}", hint=f"one of: {', '.join(KINDS)}")
    if by is None and (limit is not None or show_all):
        raise UsageError("--limit and --all go with --by: strategies are all shown")
    config = load_config()
    days = covered(config, year, first, last, zone, this_year=True)
    if by is not None:
        _drivers(config, days, by, strategy, most, output_json=output_json, output_csv=output_csv)
        return
    rows = _read(config, days, strategy)
    if output_json:
        render.as_json({"period": str(days), "strategies": rows})
        return
    if output_csv:
        render.as_csv(CSV, [_flat(row) for row in rows])
        return
    with paged():
        heading(f"Strategies  {days.title}  account {config.account.label}")
        if rows:
            _tables(rows)
        else:
            line("no signal and no decision")
    if rows:
        note("slip: what fills came to beyond the decisions' prices, to our disadvantage")
        note(
            "times are the median / 90 % / 99 %; moves are in the direction of the signal, by the price file"
        )


def _read(config: Config, days: Period, strategy: str | None) -> list[dict[str, Any]]:
    from tradelog.report import quality, strategies

    prices = price_file.load(config.market.prices)
    with open_reader(config) as reader:
        rows = strategies.strategies(reader, config.account, days, strategy=strategy)
        rows_of_quality = quality.quality(reader, config.account, days, prices, strategy=strategy)
    nothing = {after: {"count": 0, "move": None, "right": None} for after in quality.AFTER}
    for row in rows:
        row["quality"] = {
            name: {
                "signals": row["not_taken"] if name == "not_taken" else row["decisions"],
                "after_sessions": rows_of_quality.get((row["strategy"], name == "taken"), nothing),
            }
            for name in ("taken", "not_taken")
        }
    return rows


def _tables(rows: list[dict[str, Any]]) -> None:
    line()
    heading("What became of the decisions")
    table(_shown(OUTCOMES), [_outcome(row) for row in rows])
    line()
    heading("How long it took")
    table(TIMES, [{"strategy": row["strategy"]} | _spans(row["times"]) for row in rows])
    line()
    heading("How the symbol moved after so many sessions, executed or not")
    table(QUALITY, [item for row in rows for item in _quality(row)])


def _shown(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """A bar in characters."""
    return columns if render.is_terminal() else _without_bar(columns)


def _without_bar(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    return tuple(column for column in columns if column.key != "bar")


def _outcome(row: dict[str, Any]) -> dict[str, Any]:
    shown = {**row, "success": percent(row["success_rate"]), "fills": percent(row["fill_rate"])}
    shown["bar"] = render.bar(row["success_rate"])
    shown["adopted"] = row["adopted"] or ""
    bps = row["slippage_bps"]
    shown["slippage_bps"] = "—" if bps is None else f"{bps:.1f}"
    shown["slippage"] = render.dollars(row["slippage"])
    return shown


def _spans(times: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {
        step: " / ".join(render.duration(milliseconds[f"p{share}"]) for share in (50, 90, 99))
        if milliseconds["count"]
        else "—"
        for step, milliseconds in times.items()
    }


def _quality(row: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, label in (("taken", "taken"), ("not_taken", "not taken")):
        group = row["quality"][name]
        if not group["signals"]:
            continue
        shown = {"strategy": row["strategy"], "acted_on": label, "signals": group["signals"]}
        for after, item in group["after_sessions"].items():
            shown |= {f"move_{after}": _signed(item["move"]), f"right_{after}": percent(item["right"])}
            shown[f"known_{after}"] = item["count"] or ""
        rows.append(shown)
    return rows


def _signed(move: Decimal | None) -> str:
    return "—" if move is None else f"{move * 100:+.2f} %"


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat = dict(row)
    for step, milliseconds in row["times"].items():
        flat |= {f"{step.replace(' ', '_')}_p{share}_ms": milliseconds[f"p{share}"] for share in (50, 90, 99)}
    for name, group in row["quality"].items():
        for after, item in group["after_sessions"].items():
            flat |= {f"{name}_known_{after}": item["count"], f"{name}_move_{after}": item["move"]}
            flat[f"{name}_right_{after}"] = item["right"]
    return flat


def _drivers(
    config: Config,
    days: Period,
    by: str,
    strategy: str | None,
    most: int,
    *,
    output_json: bool,
    output_csv: bool,
) -> None:
    from tradelog.report import drivers

    with open_reader(config) as reader:
        rows = drivers.drivers(reader, config.account, days, by, strategy=strategy)
    total = len(rows)
    rows = rows if most < 0 else rows[:most]
    if output_json:
        render.as_json({"period": str(days), "by": by, "total": total, "groups": rows})
        return
    for row in rows:
        row["success"], row["bar"] = percent(row["success_rate"]), render.bar(row["success_rate"])
    if output_csv:
        render.as_csv(_without_bar(DRIVERS), rows)
        return
    for row in rows:
        row["name"] = row["name"] or "(none)"
        row["realised"] = render.dollars(row["realised"])
    with paged():
        heading(f"Profit by {by}  {days.title}  account {config.account.label}")
        if rows:
            table(_shown(DRIVERS), rows)
        else:
            line("no decisions")
    if rows:
        note(f"{len(rows)} of {total}; profit is that of the lots these decisions opened, before fees")
        note("a decision that rests on several counts for each of them")
