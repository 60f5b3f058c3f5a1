"""Every table and every line that people see.

On a terminal: aligned and coloured, as wide as it is. Piped: plain and tab-separated, nothing cut.
Text from outside is shown, never obeyed: control characters are made visible, and markup is text.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TextIO

from tradelog import money

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
    """``key`` names the value in a row; numbers are aligned to the right."""

    key: str
    title: str
    right: bool = False
    style: str | None = None


def visible(value: object) -> str:
    """Text that can do nothing to a terminal: control and direction characters become escapes."""
    text = "" if value is None else str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"\\u{ord(sign):04x}" if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else sign
        for sign in text
    )


def is_terminal(stream: TextIO | None = None) -> bool:
    return (stream or sys.stdout).isatty()


def table(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], *, title: str | None = None) -> None:
    """Print rows: a table on a terminal, tab-separated lines with a header elsewhere."""
    if not is_terminal():
        print("\t".join(column.key for column in columns))
        for row in rows:
            print("\t".join(visible(row.get(column.key)) for column in columns))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, show_edge=False)
    for column in columns:
        shown.add_column(
            column.title,
            justify="right" if column.right else "left",
            overflow="fold" if not column.right else "ellipsis",
            no_wrap=column.right,
        )
    for row in rows:
        cells = []
        for column in columns:
            text = visible(row.get(column.key))
            style = _STYLES.get(text, "") if column.style == "status" else (column.style or "")
            cells.append(Text(text, style=style))
        shown.add_row(*cells)
    _console().print(shown)


def heading(text: str) -> None:
    if not is_terminal():
        print(f"# {visible(text)}")
        return
    from rich.text import Text

    _console().print(Text(visible(text), style="bold"))


def pairs(items: Sequence[tuple[str, Any]]) -> None:
    """Name and value, one a line."""
    if not is_terminal():
        for name, value in items:
            print(f"{name}\t{visible(value)}")
        return
    width = max((len(name) for name, _ in items), default=0)
    for name, value in items:
        line(f"  {name.ljust(width)}  {visible(value)}")


def line(text: str = "") -> None:
    """A line of data."""
    print(visible(text))


def note(text: str) -> None:
    """A line of talk, on stderr."""
    print(visible(text), file=sys.stderr)


def as_json(value: Mapping[str, Any]) -> None:
    """A JSON document with a schema number; decimals as text."""
    print(json.dumps({"schema": SCHEMA, **value}, ensure_ascii=False, indent=2, default=plain))


def plain(value: object) -> Any:
    if isinstance(value, Decimal):
        return money.to_text(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def percent(share: Decimal | None) -> str:
    """A share as a percentage with one decimal; ``none`` where there is none."""
    return "—" if share is None else f"{(share * 100).quantize(Decimal('0.1'))} %"


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
