"""tradelog resume"""

from __future__ import annotations

from typing import Annotated

import typer

from tradelog.cli.context import load_config
from tradelog.cli.halt import scope_of, told
from tradelog.cli.render import line, note
from tradelog.cli.speaking import insist_on_why, named, writing
from tradelog.errors import NotFound, UsageError


def command(
    by: Annotated[str | None, typer.Option(help="Who lets it go on.")] = None,
    why: Annotated[str | None, typer.Option(help="The reason; kept.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Only what was halted for this strategy.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only what was halted for this symbol.")] = None,
) -> None:
    """Let orders go out again after tradelog halt, or after a strategy halted itself."""
    from tradelog.execute.risk import controls
    from tradelog.store import control_state

    scope, subject = scope_of(strategy, symbol)
    reason, who = insist_on_why(why), named(by)
    if who is None:
        raise UsageError("resuming needs a name", hint="add --by NAME")
    config = load_config()
    with writing(config) as writer:
        with writer.transaction() as tx:
            ended = controls.resume(tx, scope, subject, who, reason, config.account)
        left = control_state.open_halts(writer.rows, config.account)
    for row in left:
        note(f"still halted: {told(row['scope'], row['subject'])}, by {row['actor']}: {row['reason']}")
    if not ended:
        raise NotFound(f"{told(scope, subject)} is not halted", hint="tradelog limits lists what is")
    line(f"{told(scope, subject)} resumed by {who}")
