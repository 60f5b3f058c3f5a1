"""tradelog run-strategy"""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tradelog.cli.context import load_config, open_reader
from tradelog.cli.render import Column, as_json, line, note, table
from tradelog.config.schema import Config
from tradelog.domain import clock, money
from tradelog.domain.text import counted
from tradelog.errors import UsageError

if TYPE_CHECKING:
    from tradelog.decide.run import StrategyRunResult
    from tradelog.prices import Prices


def command(
    name: Annotated[str | None, typer.Argument(help="The strategy, such as congress.")] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", metavar="DATE", help="End the window at this day, and include backfilled data."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what it would decide; write nothing.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the installed strategies.")] = False,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a strategy on the current data, and record its decisions."""
    from tradelog import prices

    if listed:
        _list(output_json)
        return
    if name is None:
        raise UsageError("the strategy is missing", hint="tradelog run-strategy --list")
    config = load_config()
    day = None if as_of is None else clock.parse_past_day(as_of)
    price_file = prices.load(config.market.prices)
    result = _run(config, name, price_file, day, dry_run=dry_run)
    rows = [_row(item) for item in result.outcomes]
    if output_json:
        as_json(
            {
                "strategy_run_id": result.strategy_run_id,
                "as_of": result.as_of.isoformat(),
                "includes_backfill": result.includes_backfill,
                "records_considered": result.considered,
                "signals": rows,
            }
        )
        return
    history = ", imported history included" if result.includes_backfill else ""
    note(
        f"{name} as of {result.as_of}{history}: {counted(result.considered, 'disclosure')},"
        f" {counted(len(rows), 'signal')}"
    )
    if not rows:
        line("no signals" if result.considered else "no signals: nothing was disclosed in the window")
        if day is None and result.newest is not None:
            note(
                f"hint: the newest disclosure is of {result.newest}; tradelog run-strategy {name}"
                f" --as-of {result.newest} decides as of that day, imported history included"
            )
        return
    table(COLUMNS, rows)


def _run(
    config: Config, name: str, price_file: Prices, day: date | None, *, dry_run: bool
) -> StrategyRunResult:
    from tradelog.decide.run import run_strategy

    if dry_run:
        with open_reader(config) as reader:
            return run_strategy(reader.connection, None, config, name, price_file, as_of=day)
    from tradelog.decide import strategies
    from tradelog.execute.account.snapshots import refresh_snapshots
    from tradelog.execute.brokers import connect
    from tradelog.store.opening import open_writer

    strategies.load(name)
    writer = open_writer(config.store_path)
    try:
        if config.broker.name == "simulated":
            # Its account is a local file; a real broker's is that of the worker's last snapshot.
            refresh_snapshots(writer, connect(config), config.account)
        return run_strategy(writer.connection, writer, config, name, price_file, as_of=day)
    finally:
        writer.close()


def _list(output_json: bool) -> None:
    from tradelog.decide import strategies

    rows = [asdict(item) for item in strategies.installed()]
    if output_json:
        as_json({"strategies": rows})
    else:
        table(INSTALLED, rows)


INSTALLED = (
    Column("name", "strategy"),
    Column("version", "version"),
    Column("package", "package"),
    Column("error", "cannot be loaded", flex=True),
)
COLUMNS = (
    Column("verdict", "outcome"),
    Column("side", "side"),
    Column("symbol", "symbol"),
    Column("size", "size", right=True),
    Column("people", "people", right=True),
    Column("since", "since"),
    Column("price", "price", right=True),
    Column("decision_id", "decision", style="id"),
    Column("reason", "reason", flex=True),
)


def _row(outcome: Any) -> dict[str, Any]:
    signal = outcome.signal
    found = signal.rationale.get("consensus_detected", {})
    people = found.get("members", found.get("insiders"))
    size = ""
    if signal.notional is not None:
        size = f"${money.to_text(signal.notional)}"
    elif signal.quantity is not None:
        size = money.to_text(signal.quantity)
    return {
        "verdict": outcome.outcome,
        "side": signal.side,
        "symbol": signal.symbol,
        "size": size,
        "people": None if people is None else len(people),
        "since": signal.episode.isoformat(),
        "price": (outcome.market or {}).get("price"),
        "decision_id": outcome.decision_id,
        "reason": signal.reason,
    }
