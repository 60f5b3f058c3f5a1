"""tradelog replace"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import typer

from tradelog.cli.cancel import tell
from tradelog.cli.context import load_config
from tradelog.cli.speaking import carry_out, decision_of, filled, writing
from tradelog.domain import money
from tradelog.domain.order import TimeInForce
from tradelog.errors import UsageError


def command(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="A decision, or an attempt of it.")],
    quantity: Annotated[
        str | None,
        typer.Option(help="Shares that all orders of the decision are to reach, filled ones included."),
    ] = None,
    limit: Annotated[str | None, typer.Option(help="Limit price.")] = None,
    stop: Annotated[str | None, typer.Option(help="Stop price.")] = None,
    tif: Annotated[str | None, typer.Option(help="Time in force: day, gtc, opg, cls, ioc, fok.")] = None,
    why: Annotated[str | None, typer.Option(help="The reason; kept with the request.")] = None,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Give the order of a decision other terms, as a new order that replaces the old one.

    After a partial fill the new order gets what is left. Exits as cancel does.
    """
    from tradelog.execute.amend import order_requests

    terms: dict[str, Any] = {
        "quantity": _number("--quantity", quantity),
        "limit_price": _number("--limit", limit),
        "stop_price": _number("--stop", stop),
        "time_in_force": tif,
    }
    if tif is not None and tif not in tuple(TimeInForce):
        raise UsageError(f"--tif {tif!r} is not known", hint=f"one of: {', '.join(TimeInForce)}")
    if not any(value is not None for value in terms.values()):
        raise UsageError("nothing to change", hint="give --quantity, --limit, --stop or --tif")
    config = load_config()
    with writing(config) as writer:
        decision_id = decision_of(config, wanted)
        with writer.transaction() as tx:
            request_id = order_requests.request_replace(tx, decision_id, terms, why, writer.actor)
        found = carry_out(config, writer, "replace", decision_id, request_id)
        found["filled_quantity"] = filled(writer, decision_id)
    tell(found, output_json)


def _number(name: str, text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        number = money.parse(text)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from error
    if number <= 0:
        raise UsageError(f"{name}: {text} is not above zero")
    return number
