"""tradelog resume"""

from __future__ import annotations

from typing import Annotated

import typer

from tradelog.cli.broker import non_empty, open_for_writing, require_reason
from tradelog.cli.context import load_config
from tradelog.cli.halt import scope_label, scope_of
from tradelog.cli.render import line, note
from tradelog.errors import NotFound, UsageError


def command(
    by: Annotated[str | None, typer.Option(help="Who resumes it.")] = None,
    why: Annotated[str | None, typer.Option(help="The reason; recorded.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Only what was halted for this strategy.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only what was halted for this symbol.")] = None,
) -> None:
    """Resume submission after tradelog halt, or after a strategy's throttle."""
    from tradelog.execute.risk import controls
    from tradelog.store import control_state

    scope, subject = scope_of(strategy, symbol)
    reason, who = require_reason(why), non_empty(by)
    if who is None:
        raise UsageError("resuming needs a name", hint="add --by NAME")
    config = load_config()
    with open_for_writing(config) as writer:
        with writer.transaction() as tx:
            ended = controls.resume(tx, scope, subject, who, reason, config.account)
        left = control_state.open_halts(writer.rows, config.account)
    for row in left:
        note(f"still halted: {scope_label(row['scope'], row['subject'])}, by {row['actor']}: {row['reason']}")
    if not ended:
        raise NotFound(f"{scope_label(scope, subject)} is not halted", hint="tradelog limits lists what is")
    line(f"{scope_label(scope, subject)} resumed by {who}")
