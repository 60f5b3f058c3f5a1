"""tradelog archive"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tradelog.cli.broker import open_for_writing
from tradelog.cli.context import load_config, open_reader
from tradelog.cli.render import Column, as_json, heading, line, pairs, table
from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.domain.text import counted
from tradelog.errors import UsageError

MOVES = (
    Column("what", "what"),
    Column("rows", "rows", right=True),
    Column("size", "characters", right=True),
    Column("first", "from"),
    Column("last", "to"),
)
FILES = (
    Column("path", "file", flex=True),
    Column("rows", "rows", right=True),
    Column("archived", "archived"),
    Column("state", "is", style="status"),
)


class Action(StrEnum):
    """What to do beside moving rows out."""

    LIST = "list"
    RESTORE = "restore"


def command(
    action: Annotated[
        Action | None,
        typer.Argument(help="list: the files; restore: put the rows of a file into the store again."),
    ] = None,
    file: Annotated[str | None, typer.Argument(help="With restore: the file.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and move nothing.")] = False,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Move what is older than `[retention] hot_years` to compressed files: exchanges, and the sources' rows.

    Every report, key and proof stays; what is open, of an open lot, or under `[retention] hold` stays whole.
    """
    config = load_config()
    if (action is Action.RESTORE) != (file is not None):
        raise UsageError("restore goes with a file", hint="tradelog archive restore FILE")
    if action is not None and dry_run:
        raise UsageError(f"--dry-run goes without {action}")
    if file is not None:
        _restore(config, file, output_json)
    elif action is Action.LIST:
        _list(config, output_json)
    elif dry_run:
        _plan(config, output_json)
    else:
        _archive(config, output_json)


def _plan(config: Config, output_json: bool) -> None:
    from dataclasses import asdict

    from tradelog.upkeep import archive

    zone = config.report.timezone
    with open_reader(config) as reader:
        found = archive.plan(config, reader)
    if output_json:
        as_json(asdict(found))
        return
    heading(f"What is older than {clock.local(found.before, zone)} and would go")
    rows = [asdict(item) for item in found.moves]
    for row in rows:
        row |= {name: clock.local(row[name], zone) for name in ("first", "last")}
    if rows:
        table(MOVES, rows)
    else:
        line("nothing is old enough")
    line()
    heading("Decisions of that time")
    pairs(
        [
            ("closed, whose exchanges go", found.decisions),
            ("open, which stay whole", found.kept_open),
            ("of open lots, which stay whole", found.kept_lots),
            ("under [retention] hold", found.kept_held),
        ]
    )


def _archive(config: Config, output_json: bool) -> None:
    from tradelog.upkeep import archive

    with open_for_writing(config) as writer:
        done = archive.archive(config, writer)
    if output_json:
        as_json({"files": [{"path": str(path), "rows": rows} for path, rows in done.files]})
        return
    for path, rows in done.files:
        line(f"{path}: {counted(rows, 'row')}")
    if not done.files:
        line("nothing is old enough")
    elif not done.freed:
        line("another process is at work: the file of the store keeps its size, and is filled again")


def _list(config: Config, output_json: bool) -> None:
    from tradelog.upkeep import archive

    with open_reader(config) as reader:
        rows = archive.files_of(reader)
    if output_json:
        as_json({"files": rows})
        return
    for row in rows:
        row["archived"] = clock.local(row["archived_at"], config.report.timezone)
        row["state"] = "back in the store" if row["is_back"] else "there" if row["is_there"] else "not there"
    table(FILES, rows)


def _restore(config: Config, file: str, output_json: bool) -> None:
    from tradelog.upkeep import archive

    with open_for_writing(config) as writer:
        rows = archive.bring_back(writer, file)
    if output_json:
        as_json({"file": file, "rows": rows})
    else:
        line(f"{counted(rows, 'row')} of {file} are in the store again")
