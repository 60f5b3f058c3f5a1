"""tradelog restore"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tradelog.cli.context import load_config
from tradelog.cli.render import as_json, line
from tradelog.errors import NeedsAttention


def command(
    source: Annotated[Path, typer.Argument(metavar="COPY", help="A copy that tradelog backup made.")],
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Put a copy in the place of the store, once it has verified; what it replaces is kept beside it.

    Nothing is submitted until a reconciliation has run. Exits 6 to say so.
    """
    from tradelog.upkeep import restore

    config = load_config()
    done = restore.restore(config, source)
    if output_json:
        as_json(
            {
                "store": str(config.store_path),
                "source": str(source),
                "head": done.head.line(),
                "kept": None if done.kept is None else str(done.kept),
                "kept_head": None if done.kept_head is None else done.kept_head.line(),
            }
        )
    else:
        line(f"{config.store_path} is now {source}, up to entry {done.head.seq} of {done.head.at}")
        if done.kept is not None:
            end = "" if done.kept_head is None else f", which ended at entry {done.kept_head.seq}"
            line(f"the store that it replaced is {done.kept}{end}")
    raise NeedsAttention(
        "nothing is submitted until a reconciliation has run",
        hint="tradelog reconcile, or start the worker, which begins with one",
    )
