"""tradelog limits"""

from __future__ import annotations

import tomllib
from typing import Annotated, Any

import typer

from tradelog.cli.broker import non_empty, open_for_writing, require_reason
from tradelog.cli.context import load_config, open_reader
from tradelog.cli.render import Column, as_json, heading, line, note, table
from tradelog.config.risk import RiskConfig
from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.errors import ConfigError, UsageError

COLUMNS = (
    Column("name", "limit"),
    Column("limit", "is", flex=True),
    Column("used", "today's use", flex=True),
    Column("refused", "refused today", right=True),
    Column("configured", "in tradelog.toml", flex=True),
    Column("lifted", "lifted", flex=True),
)
HALTS = (
    Column("scope", "halted"),
    Column("subject", "which"),
    Column("since", "since"),
    Column("actor", "by"),
    Column("reason", "because", flex=True),
)
APPROVAL = (
    Column("decision_id", "decision", style="id"),
    Column("strategy_name", "strategy", flex=True),
    Column("side", "side"),
    Column("symbol", "symbol"),
    Column("size", "size", right=True),
    Column("until", "until"),
)
HISTORY = (
    Column("at", "when"),
    Column("kind", "what"),
    Column("subject", "of", flex=True),
    Column("change", "from → to", flex=True),
    Column("actor", "by", flex=True),
    Column("reason", "because", flex=True),
)
USAGE = 'tradelog limits set max_order_notional 50000 --until "2026-12-24 16:00" --why "..."'


def command(
    action: Annotated[str | None, typer.Argument(help="set: lift a limit to another value.")] = None,
    name: Annotated[str | None, typer.Argument(help="The limit, as in tradelog.toml.")] = None,
    value: Annotated[str | None, typer.Argument(help="The value, off, or configured to put it back.")] = None,
    until: Annotated[str | None, typer.Option(help="Until when; market time unless it names a zone.")] = None,
    why: Annotated[str | None, typer.Option(help="The reason; recorded.")] = None,
    by: Annotated[str | None, typer.Option(help="Who decides; you, by default.")] = None,
    history: Annotated[
        bool, typer.Option("--history", help="What was halted, resumed, lifted, changed, approved; by whom.")
    ] = False,
    show_all: Annotated[bool, typer.Option("--all", help="With --history: all of it.")] = False,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the limits with today's use, halts and approvals; or lift a limit for a while.

    tradelog limits set NAME VALUE --until TIME --why "..."
    """
    config = load_config()
    if action is None and history:
        _print_history(config, show_all, output_json)
        return
    if action is None:
        _show(config, output_json)
        return
    if action != "set" or name is None or value is None:
        raise UsageError("to lift a limit: set NAME VALUE", hint=USAGE)
    _lift(config, name, value, until, require_reason(why), non_empty(by))


def _lift(config: Config, name: str, value: str, until: str | None, reason: str, by: str | None) -> None:
    from tradelog.execute.risk import controls
    from tradelog.store import control_state

    with open_for_writing(config) as writer, writer.transaction() as tx:
        controls.check_liftable(name)
        moment = None if until is None else clock.to_text(clock.parse_moment(until, clock.MARKET_ZONE))
        lifted_value: Any = None
        if value == "configured":
            lift = control_state.lifts(tx.dicts, config.account, tx.now).get(name)
            if lift is None:
                raise UsageError(f"{name} is as configured", hint="tradelog limits shows what is lifted")
            moment = lift.until
        elif moment is None:
            raise UsageError(
                "a limit is lifted for a while only: --until TIME is missing",
                hint="for good, change it in tradelog.toml and restart the worker",
            )
        else:
            lifted_value = _parsed(name, value)
        try:
            old, new = controls.lift_limit(
                tx, config, name, lifted_value, until=moment, actor=by or writer.actor, reason=reason
            )
        except ConfigError as error:
            raise UsageError(error.message, hint=error.hint or "as it would be written in [risk]") from error
    until_when = f", until {clock.local(moment, clock.MARKET_ZONE)} ({clock.MARKET_ZONE})"
    line(f"{name}: {old} → {new}{'' if lifted_value is None else until_when}")


def _print_history(config: Config, show_all: bool, output_json: bool) -> None:
    from tradelog.report import limits as report

    with open_reader(config) as reader:
        events, total = report.history(reader, config.account, limit=-1 if show_all or output_json else 50)
    if output_json:
        as_json({"total": total, "events": events})
        return
    for row in events:
        row["at"] = clock.local(row["created_at"], config.report.timezone)
        change = [row["old_value"], row["new_value"]]
        row["change"] = " → ".join(str(item) for item in change if item is not None)
    if not events:
        line("nothing yet")
        return
    table(HISTORY, events)
    note(f"{len(events)} of {total}; times in {config.report.timezone}")


def _parsed(name: str, value: str) -> Any:
    """A value as it would be read from the file; one that is no TOML is a text. A switch is on or off."""
    if isinstance(getattr(RiskConfig(), name), bool) and value in ("on", "off"):
        return value == "on"
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except ValueError:  # also more digits than Python reads
        return value


def _show(config: Config, output_json: bool) -> None:
    from tradelog.report import limits as report

    with open_reader(config) as reader:
        state = report.limits(reader, config)
    if output_json:
        as_json(state)
        return
    zone = config.report.timezone
    heading(f"Limits  {state['day']}  account {config.account.label}")
    for row in state["limits"]:
        row["refused"] = row["refused"] or None
        row["lifted"] = (
            f"until {clock.local(row['lifted_until'], zone)} by {row['lifted_by']}: {row['lifted_why']}"
            if row["lifted_until"]
            else None
        )
    table(COLUMNS, state["limits"])
    for row in state["halts"]:
        row["since"] = clock.local(row["created_at"], zone)
    if state["halts"]:
        heading("Halted")
        table(HALTS, state["halts"])
    for row in state["approval"]:
        row["size"] = f"${row['notional']}" if row["notional"] else row["quantity"]
        row["until"] = clock.local(row["until"], zone)
    if state["approval"]:
        heading("Waiting for approval")
        table(APPROVAL, state["approval"])
    note("a day is the market's; what was sent counts whatever became of it")
