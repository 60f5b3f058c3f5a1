"""tradelog decline"""

from __future__ import annotations

from typing import Annotated

import typer

from tradelog.cli.broker import decision_of, non_empty, open_for_writing, require_reason
from tradelog.cli.context import load_config
from tradelog.cli.render import line


def command(
    id_prefix: Annotated[str, typer.Argument(metavar="ID", help="A decision that waits for approval.")],
    why: Annotated[str | None, typer.Option(help="The reason; recorded with the decision.")] = None,
    by: Annotated[str | None, typer.Option(help="Who declines it; you, if left out.")] = None,
) -> None:
    """End a decision that waits for a person: it is never sent."""
    from tradelog.execute.risk import controls

    reason = require_reason(why)
    config = load_config()
    with open_for_writing(config) as writer:
        decision_id = decision_of(config, id_prefix)
        with writer.transaction() as tx:
            controls.decline(tx, config, decision_id, non_empty(by) or writer.actor, reason)
    line(f"{decision_id} declined; it is never sent")
