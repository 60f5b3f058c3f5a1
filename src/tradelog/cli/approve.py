"""tradelog approve"""

from __future__ import annotations

from typing import Annotated

import typer

from tradelog.cli.context import load_config
from tradelog.cli.render import line
from tradelog.cli.speaking import decision_of, named, writing


def command(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="A decision that waits for approval.")],
    by: Annotated[str | None, typer.Option(help="Who approves it; you, if left out.")] = None,
    why: Annotated[str | None, typer.Option(help="The reason; kept with the approval.")] = None,
) -> None:
    """Let a decision be sent that waits for a person."""
    from tradelog.execute.risk import controls

    config = load_config()
    with writing(config) as writer:
        decision_id = decision_of(config, wanted)
        with writer.transaction() as tx:
            controls.approve(tx, config, decision_id, named(by) or writer.actor, why)
    line(f"{decision_id} approved; tradelog run-worker sends it")
