"""tradelog approve"""

from __future__ import annotations

from typing import Annotated

import typer

from tradelog.cli.broker import decision_of, non_empty, open_for_writing
from tradelog.cli.context import load_config
from tradelog.cli.render import line


def command(
    id_prefix: Annotated[str, typer.Argument(metavar="ID", help="A decision that waits for approval.")],
    by: Annotated[str | None, typer.Option(help="Who approves it; you, if left out.")] = None,
    why: Annotated[str | None, typer.Option(help="The reason; recorded with the approval.")] = None,
) -> None:
    """Approve a decision that waits for a person."""
    from tradelog.execute.risk import controls

    config = load_config()
    with open_for_writing(config) as writer:
        decision_id = decision_of(config, id_prefix)
        with writer.transaction() as tx:
            controls.approve(tx, config, decision_id, non_empty(by) or writer.actor, why)
    line(f"{decision_id} approved; tradelog run-worker sends it")
