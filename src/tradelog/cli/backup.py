"""tradelog backup"""

from __future__ import annotations

from typing import Annotated

import typer

from tradelog.cli.broker import open_for_writing
from tradelog.cli.context import load_config
from tradelog.cli.render import as_json, line


def command(
    target: Annotated[
        str,
        typer.Argument(
            metavar="PATH|COMMAND", help="A folder, a new file, or '| COMMAND' with the copy as its input."
        ),
    ],
    keep: Annotated[
        int | None, typer.Option(metavar="N", help="Of the copies in a folder, keep the newest N.")
    ] = None,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Copy the store while others work on it; the copy is opened and verified before it counts.

    The head of its journal stands beside it as NAME.head.
    """
    from tradelog.upkeep import backup

    config = load_config()
    made = backup.back_up(config.store_path, target, keep)
    with open_for_writing(config) as writer:
        backup.record(writer, made)
    where = str(made.path) if made.path is not None else made.command
    if output_json:
        as_json(
            {
                "path": where,
                "bytes": made.size,
                "head": made.head.line(),
                "removed": [str(path) for path in made.removed],
            }
        )
        return
    line(f"{where}: {made.size:,} bytes, verified; its head is {made.head.seq} {made.head.hash}")
    for path in made.removed:
        line(f"removed {path}")
