"""tradelog cancel"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tradelog.cli.context import load_config
from tradelog.cli.render import as_json, line
from tradelog.cli.speaking import carry_out, decision_of, filled, writing
from tradelog.errors import NeedsAttention, TradelogError


def command(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="A decision, or an attempt of it.")],
    why: Annotated[str | None, typer.Option(help="The reason; kept with the request.")] = None,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take a decision back: unsent at once, at the broker by a cancel that is followed to its end.

    Exits 0 when it is cancelled, 1 when it was too late or refused, 6 while the broker has not said.
    """
    from tradelog.execute.amend import order_requests

    config = load_config()
    with writing(config) as writer:
        decision_id = decision_of(config, wanted)
        with writer.transaction() as tx:
            request_id = order_requests.request_cancel(tx, decision_id, why, writer.actor)
        found = carry_out(config, writer, "cancel", decision_id, request_id)
        found["filled_quantity"] = filled(writer, decision_id)
    tell(found, output_json)


def tell(found: dict[str, Any], output_json: bool) -> None:
    """Say how a request stands; raises where it is not done."""
    decision_id, said = found["decision_id"], found["message"]
    if output_json:
        as_json(found)
    elif found["status"] == "done":
        done = "cancelled" if found["kind"] == "cancel" else "replaced"
        rest = f", {said}" if said else ""
        line(f"{decision_id} {done}{rest}; {found['filled_quantity']} filled")
    if found["status"] in ("refused", "overtaken"):
        raise TradelogError(
            f"{found['kind']} of {decision_id} {found['status']}: {said}",
            hint=f"the decision is {found['decision_status']}: tradelog show {decision_id}",
        )
    if found["ended_at"] is None:
        raise NeedsAttention(
            f"{found['kind']} of {decision_id} is {found['status']}, and the broker has not said how it ends"
            + (f": {said}" if said else ""),
            hint="a worker follows it; tradelog status shows its age",
        )
