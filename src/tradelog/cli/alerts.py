"""tradelog alerts"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from tradelog.cli.broker import open_for_writing
from tradelog.cli.context import load_config, open_reader
from tradelog.cli.render import Column, as_json, line, note, table
from tradelog.cli.status import ALERTS
from tradelog.config.schema import Config
from tradelog.domain.text import counted
from tradelog.errors import ConfigError, NotFound, TradelogError, UsageError
from tradelog.operate.alerts import acknowledge

if TYPE_CHECKING:
    from tradelog.operate.delivery import Outcome

CHANNELS = (Column("channel", "channel"), Column("result", "result", flex=True))


class Action(StrEnum):
    """What to do beside listing."""

    TEST = "test"
    SEND = "send"


def command(
    action: Annotated[
        Action | None,
        typer.Argument(help="test: send a message through each channel; send: send what is due."),
    ] = None,
    ack: Annotated[
        str | None, typer.Option(metavar="NUMBER|all", help="Acknowledge one alert, or all that are open.")
    ] = None,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the open alerts, oldest first; --ack acknowledges.

    A worker has what is due sent by itself; without one, run `tradelog alerts send` from cron.
    """
    from tradelog.report import status as report

    config = load_config()
    if action is not None:
        if ack is not None:
            raise UsageError(f"{action} goes without --ack")
        (_test if action is Action.TEST else _send)(config, output_json)
        return
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


def _test(config: Config, output_json: bool) -> None:
    """Send a message through each channel now, and say what came of it."""
    from tradelog.domain import clock
    from tradelog.operate import channels

    configured = channels.configured(config.alerts)
    if not configured:
        raise ConfigError(
            "no channel is configured", hint='[alerts] urls = ["ntfy://my-topic"]; see docs/operations.md'
        )
    text = "This is a test: messages about alerts come this way."
    message = channels.Message(
        0, "test", "test", "test", "", 0, "tradelog: test", text, clock.now_text(), "", is_again=False
    )
    results = [(channel.label, channel.send(message)) for channel in configured]
    if output_json:
        as_json({"channels": [{"channel": label, "error": error} for label, error in results]})
    else:
        table(CHANNELS, [{"channel": label, "result": error or "delivered"} for label, error in results])
    failed = [label for label, error in results if error is not None]
    if failed:
        is_broken = any(isinstance(channel, channels.BrokenChannel) for channel in configured)
        raise (ConfigError if is_broken else TradelogError)(
            f"{counted(len(failed), 'channel')} did not deliver: {', '.join(failed)}",
            hint="[alerts] in tradelog.toml",
        )


def _left(config: Config, outcome: Outcome) -> str:
    """What is not sent yet, and why."""
    if not config.alerts.urls and config.alerts.command is None:
        return "; no channel is configured"
    parts = []
    if outcome.untold:
        parts.append(f"{counted(outcome.untold, 'alert')} for the digest or a later window")
    if outcome.owed:
        parts.append(f"{counted(outcome.owed, 'message')} to be tried again")
    return f"; {', '.join(parts)}" if parts else ""


def _send(config: Config, output_json: bool) -> None:
    """Send what is due."""
    from tradelog.operate import delivery

    with open_for_writing(config) as writer:
        outcome = delivery.run(writer, config.alerts)
    if output_json:
        as_json(
            {
                "delivered": outcome.delivered,
                "untold": outcome.untold,
                "owed": outcome.owed,
                "errors": outcome.errors,
            }
        )
    else:
        line(f"{counted(outcome.delivered, 'message')} delivered{_left(config, outcome)}")
    for label, error in outcome.errors.items():
        note(f"{label}: {error}")
    if outcome.errors:
        raise TradelogError(
            f"{counted(len(outcome.errors), 'channel')} did not deliver", hint="it is tried again"
        )
