"""tradelog people"""

from __future__ import annotations

from typing import Annotated

import typer

from tradelog.cli.context import load_config, open_reader
from tradelog.cli.render import Column, as_json, line, note, table
from tradelog.domain.text import counted
from tradelog.errors import NotFound

COLUMNS = (
    Column("name", "name as given", flex=True),
    Column("feed", "source"),
    Column("person", "BioGuide"),
    Column("member", "member", flex=True),
    Column("reason", "why", flex=True),
)


def command(
    text: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Part of a name, or a BioGuide id.")
    ] = None,
    unresolved: Annotated[
        bool, typer.Option("--unresolved", help="Only names that resolve to no member.")
    ] = False,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which member each name resolves to, in all its spellings, and which names are unresolved."""
    from tradelog.report import people as report

    with open_reader(load_config()) as reader:
        rows = report.people(reader, text, unresolved=unresolved)
    if not rows and text is not None:
        raise NotFound(f"no name of a member holds {text!r}", hint="tradelog people lists all")
    if output_json:
        as_json({"names": rows})
        return
    if not rows:
        line("none")
        return
    table(COLUMNS, rows)
    open_ = sum(row["person"] is None for row in rows)
    note(
        f"{counted(len(rows), 'name')}, {open_} of them unresolved;"
        " tradelog fetch committees fetches the members"
    )
