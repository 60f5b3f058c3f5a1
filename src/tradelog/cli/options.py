"""The options that reports share: which days, how many rows, in which form."""

from __future__ import annotations

from typing import Annotated

import typer

from tradelog.errors import UsageError

NEWEST = 50

Year = Annotated[int | None, typer.Option(help="A year of the market's days.")]
First = Annotated[str | None, typer.Option("--from", metavar="DATE", help="First day, inclusive.")]
Last = Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day, inclusive.")]
Zone = Annotated[
    str | None, typer.Option("--tz", metavar="ZONE", help="Days and times of this zone, not the market's.")
]
Symbol = Annotated[str | None, typer.Option(help="Only this symbol.")]
Strategy = Annotated[str | None, typer.Option(help="Only this strategy.")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help=f"N rows a list, not {NEWEST} (--json and --csv: all)."),
]
All = Annotated[bool, typer.Option("--all", help=f"All rows, not the newest {NEWEST}.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]


def rows(limit: int | None, show_all: bool, *, is_for_programs: bool) -> int:
    """How many rows a list may have; -1 is all.

    JSON and CSV are complete unless ``--limit`` is given. Raises UsageError where both are given.
    """
    if show_all and limit is not None:
        raise UsageError("--limit or --all, not both")
    if limit is not None:
        return limit
    return -1 if show_all or is_for_programs else NEWEST


def one_form(output_json: bool, output_csv: bool) -> None:
    """Raise UsageError where two output forms are given."""
    if output_json and output_csv:
        raise UsageError("--json or --csv, not both")
