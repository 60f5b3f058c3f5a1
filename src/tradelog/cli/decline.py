"""tradelog decline"""

from __future__ import annotations

from typing import Annotated

import typer

from tradelog.cli.context import load_config
from tradelog.cli.render import line
from tradelog.cli.speaking import decision_of, insist_on_why, named, writing


def command(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="A decision that waits for approval.")],
    why: Annotated[str | None, typer.Option(help="The reason; kept with the decision.")] = None,
    by: Annotated[str | None, typer.Option(help="Who declines it; you, if left out.")] = None,
) -> None:
    """End a decision that waits for a person: it is never sent."""
    from tradelog.execute.risk import controls

    reason = insist_on_why(why)
    config = load_config()
    with writing(config) as writer:
        decision_id = decision_of(config, wanted)
        with writer.transaction() as tx:
            controls.decline(tx, config, decision_id, named(by) or writer.actor, reason)
    line(f"{decision_id} declined; it is never sent")
