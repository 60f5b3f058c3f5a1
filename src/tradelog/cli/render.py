"""Every table and every line that people see.

On a terminal: aligned and coloured, as wide as it is. Piped: plain and tab-separated, nothing cut.
Text from outside is shown, never obeyed: control characters are made visible, and markup is text.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TextIO

from tradelog import money
from tradelog.shown import visible

SCHEMA = 1

_STYLES = {
    "completed": "green",
    "executed": "green",
    "filled": "green",
    "running": "cyan",
    "pending": "cyan",
    "executing": "cyan",
    "accepted": "cyan",
    "partially_filled": "cyan",
    "sending": "yellow",
    "unknown": "yellow",
    "cancelled": "yellow",
    "canceled": "yellow",
    "expired": "yellow",
    "aborted": "yellow",
    "failed": "red",
    "rejected": "red",
    "abandoned": "red",
}


@dataclass(frozen=True, slots=True)
class Column:
    """``key`` names the value in a row; numbers are aligned to the right.

    On a terminal an ``id`` is shown by its beginning, which every command takes. Where the width is
    not enough, columns go in the order of ``drop`` (highest first), then ``flex`` ones are folded.
    """

    key: str
    title: str
    right: bool = False
    style: str | None = None
    flex: bool = False
    drop: int = 0


def is_terminal(stream: TextIO | None = None) -> bool:
    return (stream or sys.stdout).isatty()


def table(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], *, title: str | None = None) -> None:
    """Print rows: a table on a terminal, tab-separated lines with a header elsewhere."""
    if not is_terminal():
        print("\t".join(column.key for column in columns))
        for row in rows:
            print("\t".join(_shown(row.get(column.key)) for column in columns))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = _console()
    cells = [[_cell(column, row) for column in columns] for row in rows]
    fitting = _fit(columns, cells, console.width)
    shown = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        pad_edge=False,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for number in fitting:
        column = columns[number]
        shown.add_column(
            column.title,
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=not column.flex,
        )
    for texts in cells:
        shown.add_row(
            *(Text(texts[number], style=_style(columns[number], texts[number])) for number in fitting)
        )
    console.print(shown)


def as_csv(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows with a header of the columns' keys, for spreadsheets: no cell of them is a formula."""
    import csv

    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow([column.key for column in columns])
    for row in rows:
        out.writerow([_harmless(_shown(row.get(column.key))) for column in columns])


def _harmless(text: str) -> str:
    """Text that a spreadsheet takes as text (OWASP, CSV injection); a number stays one."""
    if text[:1] in _FORMULAS and not _NUMBER.fullmatch(text):
        return "'" + text
    return text


_FORMULAS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


BARS = "▁▂▃▄▅▆▇█"


def sparkline(counts: Sequence[int]) -> str:
    """A bar a number, the highest the full height; no bar for nothing."""
    most = max(counts, default=0)
    return "".join(BARS[(len(BARS) - 1) * count // most] if count else " " for count in counts)


def bar(share: Decimal | None, width: int = 8) -> str:
    """A share from 0 to 1 as a bar, in eighths of a cell; empty where there is none."""
    eighths = 0 if share is None else int(share * width * 8 + Decimal("0.5"))
    whole, part = divmod(eighths, 8)
    return ("█" * whole + "▏▎▍▌▋▊▉"[part - 1 : part]) if part else "█" * whole


def duration(milliseconds: int | None) -> str:
    """``460ms``, ``1.2s``, ``3.0m``, ``17h``: two digits say enough."""
    if milliseconds is None:
        return "—"
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    for unit, length in (("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)):
        number = Decimal(milliseconds) / length
        if number < (24 if unit == "h" else 60) or unit == "d":
            break
    return f"{number:.1f}{unit}" if number < 10 else f"{number:.0f}{unit}"


def dollars(amount: Decimal | str | None) -> str:
    """On a terminal to the cent, with thousands told apart, and further digits where there are any; ``—`` for
    None. Elsewhere plain digits."""
    if amount is None:
        return "—"
    number = Decimal(amount)
    if not is_terminal():
        return money.to_text(number)
    return f"{number:,.2f}" if money.places(number) <= 2 else f"{number:,f}"


ID_SHOWN = 12
FLEX_LEAST = 12


def _shown(value: object) -> str:
    """A value as a cell has it: numbers in plain digits."""
    return money.to_text(value) if isinstance(value, Decimal) else visible(value)


def _cell(column: Column, row: Mapping[str, Any]) -> str:
    text = _shown(row.get(column.key))
    return text[:ID_SHOWN] if column.style == "id" else text


def _style(column: Column, text: str) -> str:
    return _STYLES.get(text, "") if column.style == "status" else ""


def _fit(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int) -> list[int]:
    """The columns to show, by number: all, or without those that can go first."""
    from rich.cells import cell_len

    kept = list(range(len(columns)))
    # A column that is empty in every row says nothing.
    if cells:
        kept = [number for number in kept if any(row[number] for row in cells)]
    needs = {}
    for number in kept:
        longest = max([cell_len(columns[number].title), *(cell_len(row[number]) for row in cells)])
        needs[number] = min(longest, FLEX_LEAST) if columns[number].flex else longest
    while len(kept) > 1 and sum(needs[number] + 2 for number in kept) - 2 > width:
        goes = max(kept, key=lambda number: (columns[number].drop, number))
        if not columns[goes].drop:
            break
        kept.remove(goes)
    return kept


def heading(text: str) -> None:
    if not is_terminal():
        print(f"# {visible(text)}")
        return
    from rich.text import Text

    _console().print(Text(visible(text), style="bold"))


def pairs(items: Sequence[tuple[str, Any]]) -> None:
    """Name and value, one a line; on a terminal without those that are empty."""
    if not is_terminal():
        for name, value in items:
            print(f"{name}\t{visible(value)}")
        return
    width = max((len(name) for name, _ in items), default=0)
    for name, value in items:
        if value not in (None, ""):
            line(f"  {name.ljust(width)}  {value}")


def line(text: str = "") -> None:
    """A line of data."""
    print(visible(text))


def note(text: str) -> None:
    """A line of talk, on stderr."""
    print(visible(text), file=sys.stderr)


def as_json(value: Mapping[str, Any]) -> None:
    """A JSON document with a schema number; decimals as text."""
    # In any encoding but UTF-8 the letters are escaped, or what comes out could not be read back.
    is_narrow = sys.stdout.encoding.lower().replace("-", "") != "utf8"
    print(json.dumps({"schema": SCHEMA, **value}, ensure_ascii=is_narrow, indent=2, default=plain))


def plain(value: object) -> Any:
    if isinstance(value, Decimal):
        return money.to_text(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def percent(share: Decimal | None) -> str:
    """A share as a percentage with one decimal; ``none`` where there is none."""
    return "—" if share is None else f"{(share * 100).quantize(Decimal('0.1'))} %"


def terms(row: dict[str, Any]) -> str:
    """An order's type with its prices, and its time in force."""
    said = [row["order_type"]]
    for name, value in (("limit", row["limit_price"]), ("stop", row["stop_price"])):
        if value:
            said.append(f"{name} {value}")
    if row["trail_price"] or row["trail_percent"]:
        said.append(f"trail {row['trail_price'] or row['trail_percent'] + '%'}")
    if row["extended_hours"]:
        said.append("extended hours")
    return ", ".join([*said, row["time_in_force"]])


def amount(low: str | None, high: str | None) -> str:
    """A disclosed range: ``1,001–15,000``, ``5,000,000+``, or empty where it is unknown."""
    if low is None:
        return ""
    first = f"{Decimal(low):,f}"
    if high is None:
        return first + "+"
    return first if low == high else f"{first}–{Decimal(high):,f}"


def _console() -> Any:
    from rich.console import Console

    width = os.environ.get("COLUMNS")
    return Console(highlight=False, width=int(width) if width and width.isdigit() else None)
