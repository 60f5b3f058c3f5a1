"""tradelog resume"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tradelog.cli.broker import non_empty, open_for_writing, require_reason
from tradelog.cli.context import load_config
from tradelog.cli.halt import scope_label, scope_of
from tradelog.cli.render import line, note
from tradelog.domain.status import ControlScope
from tradelog.errors import NotFound, UsageError
from tradelog.store.control_state import RESTORED


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
    if not ended and scope == ControlScope.ALL and left:
        raise NotFound("nobody has halted everything", hint=_way_out(left[0]))
    if not ended:
        raise NotFound(f"{scope_label(scope, subject)} is not halted", hint="tradelog limits lists what is")
    line(f"{scope_label(scope, subject)} resumed by {who}")


def _way_out(halt: dict[str, Any]) -> str:
    """What ends a halt that is none of everything, or none of a person's."""
    if halt["subject"] == RESTORED:
        return "the store was restored: tradelog reconcile ends it"
    return f"tradelog resume --{halt['scope']} {halt['subject']}"
