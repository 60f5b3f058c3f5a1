"""tradelog cancel"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tradelog.cli.broker import decision_of, open_for_writing, process_request
from tradelog.cli.context import load_config
from tradelog.cli.render import as_json, line
from tradelog.domain.status import RequestKind, RequestStatus
from tradelog.errors import NeedsAttention, TradelogError
from tradelog.report import open_orders


def command(
    id_prefix: Annotated[str, typer.Argument(metavar="ID", help="A decision, or an attempt of it.")],
    why: Annotated[str | None, typer.Option(help="The reason; recorded with the request.")] = None,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Cancel a decision: an unsubmitted one right away, an order by a request that is tracked to its end.

    Exits 0 when it is cancelled, 1 when it was too late or refused, 6 while the broker has not confirmed.
    """
    from tradelog.execute.amend import order_requests

    config = load_config()
    with open_for_writing(config) as writer:
        decision_id = decision_of(config, id_prefix)
        with writer.transaction() as tx:
            request_id = order_requests.request_cancel(tx, decision_id, why, writer.actor)
        request = process_request(config, writer, "cancel", decision_id, request_id)
        request["filled_quantity"] = open_orders.filled_quantity(writer.rows, decision_id)
    print_request(request, output_json)


def print_request(request: dict[str, Any], output_json: bool) -> None:
    """Print how a request stands. Raises TradelogError where it failed, NeedsAttention while it is open."""
    decision_id, message = request["decision_id"], request["message"]
    status = RequestStatus(request["status"])
    more = f": {message}" if message else ""
    if output_json:
        as_json(request)
    elif status is RequestStatus.DONE:
        done = "cancelled" if request["kind"] == RequestKind.CANCEL else "replaced"
        rest = f", {message}" if message else ""
        line(f"{decision_id} {done}{rest}; {request['filled_quantity']} filled")
    if status in (RequestStatus.REFUSED, RequestStatus.OVERTAKEN):
        raise TradelogError(
            f"{request['kind']} of {decision_id} {status}: {message}",
            hint=f"the decision is {request['decision_status']}: tradelog show {decision_id}",
        )
    if status.is_open:
        raise NeedsAttention(
            f"{request['kind']} of {decision_id} is {status}, its end not confirmed by the broker{more}",
            hint="a worker tracks it; tradelog status shows its age",
        )
