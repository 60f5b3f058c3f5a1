"""tradelog replace"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import typer

from tradelog.cli.broker import decision_of, open_for_writing, process_request
from tradelog.cli.cancel import print_request
from tradelog.cli.context import load_config
from tradelog.domain import money
from tradelog.domain.order import TimeInForce
from tradelog.errors import UsageError
from tradelog.report import open_orders


def command(
    id_prefix: Annotated[str, typer.Argument(metavar="ID", help="A decision, or an attempt of it.")],
    quantity: Annotated[
        str | None,
        typer.Option(help="Shares that all orders of the decision are to reach, filled ones included."),
    ] = None,
    limit: Annotated[str | None, typer.Option(help="Limit price.")] = None,
    stop: Annotated[str | None, typer.Option(help="Stop price.")] = None,
    tif: Annotated[str | None, typer.Option(help="Time in force: day, gtc, opg, cls, ioc, fok.")] = None,
    why: Annotated[str | None, typer.Option(help="The reason; recorded with the request.")] = None,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Replace the order of a decision by one with other terms.

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
    with open_for_writing(config) as writer:
        decision_id = decision_of(config, id_prefix)
        with writer.transaction() as tx:
            request_id = order_requests.request_replace(tx, decision_id, terms, why, writer.actor)
        request = process_request(config, writer, "replace", decision_id, request_id)
        request["filled_quantity"] = open_orders.filled_quantity(writer.rows, decision_id)
    print_request(request, output_json)


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
