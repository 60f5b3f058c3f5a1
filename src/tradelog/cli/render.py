"""Tables and lines of output.

On a terminal: aligned and coloured, as wide as it is; rows that are wider become lines of names and values.
Piped: plain and tab-separated. Nothing is truncated. Text from outside is escaped: control characters and
markup have no effect.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, TextIO

from tradelog.domain import money
from tradelog.domain.text import escape_controls

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

    Where a table is wider than the terminal its ``picture`` columns go first, then ``flex`` ones are wrapped.
    """

    key: str
    title: str
    right: bool = False
    style: str | None = None
    flex: bool = False
    picture: bool = False


def is_terminal(stream: TextIO | None = None) -> bool:
    """Whether standard output is a terminal."""
    return (stream or sys.stdout).isatty()


def table(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], *, title: str | None = None) -> None:
    """Print rows: a table on a terminal, tab-separated lines with a header elsewhere."""
    if not is_terminal():
        print("\t".join(column.key for column in columns))
        for row in rows:
            print("\t".join(_shown(row.get(column.key)) for column in columns))
        return
    console = _console()
    cells = [[_shown(row.get(column.key)) for column in columns] for row in rows]
    fitting = _fit(columns, cells, console.width)
    if fitting is None:
        _blocks(columns, cells, console.width, title)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        pad_edge=False,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for number, width in fitting.items():
        column = columns[number]
        shown.add_column(
            column.title,
            justify="right" if column.right else "left",
            overflow="fold",
            width=width,
        )
    for texts in cells:
        shown.add_row(
            *(Text(texts[number], style=_style(columns[number], texts[number])) for number in fitting)
        )
    console.print(shown)


def _blocks(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int, title: str | None) -> None:
    """Rows that no table of this width can hold: names and values, one after the other."""
    if title:
        heading(title)
    for texts in cells:
        pairs_of_row = [
            f"{column.title or column.key} {text}"
            for column, text in zip(columns, texts, strict=True)
            if text and not column.picture
        ]
        print(_flowing(pairs_of_row, width))


def _flowing(parts: Sequence[str], width: int) -> str:
    """Parts in lines of a width, further lines indented; a part is wrapped between words."""
    from rich.cells import cell_len

    lines = [""]
    for part in parts:
        gap = "  " if lines[-1].strip() else ""
        if cell_len(lines[-1] + gap + part) <= width:
            lines[-1] += gap + part
            continue
        if lines[-1].strip():
            lines.append("  ")
        for word in part.split(" "):
            space = " " if lines[-1].strip() else ""
            if cell_len(lines[-1] + space + word) > width and lines[-1].strip():
                lines.append("    ")
                space = ""
            if not lines[-1].strip():
                lines[-1] = lines[-1][: max(0, width - cell_len(word))]
            lines[-1] += space + word
    return "\n".join(lines)


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
    """``460ms``, ``1.2s``, ``3.0m``, ``17h``: two significant digits."""
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
    """On a terminal to the cent, with thousands separators, and further digits where there are any; ``—`` for
    None. Elsewhere plain digits."""
    if amount is None:
        return "—"
    number = Decimal(amount)
    if not is_terminal():
        return money.to_text(number)
    return f"{number:,.{max(2, money.places(number))}f}"


def cents(amount: Decimal | None) -> str:
    """A total for people: to the cent on a terminal, with all its digits elsewhere; ``—`` for None."""
    if amount is None or not is_terminal():
        return dollars(amount)
    return f"{amount.quantize(Decimal('0.01'), ROUND_HALF_EVEN):,f}"


# A wrapped column is at least so wide, and as wide as its longest word within reason.
FLEX_LEAST = 12
WORD_MOST = 40


def _shown(value: object) -> str:
    """A value as a cell has it: numbers in plain digits."""
    return money.to_text(value) if isinstance(value, Decimal) else escape_controls(value)


def _style(column: Column, text: str) -> str:
    return _STYLES.get(text, "") if column.style == "status" else ""


def _fit(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int) -> dict[int, int] | None:
    """How wide each column is that is shown, by number; None where a table would have to cut something."""
    from rich.cells import cell_len

    least, most = {}, {}
    for number, column in enumerate(columns):
        texts = [column.title, *(row[number] for row in cells)]
        # A column that is empty in every row is left out.
        if cells and not any(texts[1:]):
            continue
        most[number] = least[number] = max(map(cell_len, texts))
        if column.flex:
            words = [cell_len(word) for text in texts for word in text.split()]
            least[number] = min(most[number], max(FLEX_LEAST, min(max(words, default=0), WORD_MOST)))
    for number in [number for number in least if columns[number].picture]:
        if _total(least) > width:
            del least[number]
    spare = width - _total(least)
    if spare < 0:
        return None
    # What is left over goes to what could use it, the smallest need first, so that it is shared out evenly.
    folded = sorted((most[number] - least[number], number) for number in least if columns[number].flex)
    for count, (need, number) in enumerate(folded):
        more = min(need, spare // (len(folded) - count))
        least[number] += more
        spare -= more
    return least


def _total(widths: Mapping[int, int]) -> int:
    return sum(width + 2 for width in widths.values()) - 2


def heading(text: str) -> None:
    """Print a heading line."""
    if not is_terminal():
        print(f"# {escape_controls(text)}")
        return
    from rich.text import Text

    _console().print(Text(escape_controls(text), style="bold"))


def pairs(items: Sequence[tuple[str, Any]]) -> None:
    """Names and values, one per line; on a terminal without empty ones."""
    if not is_terminal():
        for name, value in items:
            print(f"{name}\t{escape_controls(value)}")
        return
    width = max((len(name) for name, _ in items), default=0)
    for name, value in items:
        if value not in (None, ""):
            line(f"  {name.ljust(width)}  {value}")


def line(text: str = "") -> None:
    """Print a line of data; wrapped between words on a narrower terminal."""
    shown = escape_controls(text)
    print(_wrapped(shown) if is_terminal() else shown)


def note(text: str) -> None:
    """Print a note on stderr."""
    shown = escape_controls(text)
    print(_wrapped(shown) if is_terminal(sys.stderr) else shown, file=sys.stderr)


def _wrapped(text: str) -> str:
    indent = " " * (len(text) - len(text.lstrip(" ")))
    return indent + _flowing([text.strip()], _width_of_terminal() - len(indent)).replace("\n", "\n" + indent)


def as_json(value: Mapping[str, Any]) -> None:
    """A JSON document with a schema number; decimals as text."""
    # In any encoding but UTF-8 the letters are escaped, or what comes out could not be read back.
    is_narrow = sys.stdout.encoding.lower().replace("-", "") != "utf8"
    print(json.dumps({"schema": SCHEMA, **value}, ensure_ascii=is_narrow, indent=2, default=plain))


def plain(value: object) -> Any:
    """A value as JSON has it: decimals as text. Raises TypeError for anything else."""
    if isinstance(value, Decimal):
        return money.to_text(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def percent(share: Decimal | None) -> str:
    """A share as a percentage with one decimal; ``none`` where there is none."""
    return "—" if share is None else f"{(share * 100).quantize(Decimal('0.1'))} %"


def terms(row: dict[str, Any]) -> str:
    """An order's type with its prices, and its time in force."""
    parts = [row["order_type"]]
    for name, value in (("limit", row["limit_price"]), ("stop", row["stop_price"])):
        if value:
            parts.append(f"{name} {value}")
    if row["trail_price"] or row["trail_percent"]:
        parts.append(f"trail {row['trail_price'] or row['trail_percent'] + '%'}")
    if row["extended_hours"]:
        parts.append("extended hours")
    return ", ".join([*parts, row["time_in_force"]])


def amount(low: str | None, high: str | None) -> str:
    """A disclosed range: ``1,001–15,000``, ``5,000,000+``, or empty where it is unknown."""
    if low is None:
        return ""
    first = f"{Decimal(low):,f}"
    if high is None:
        return first + "+"
    return first if low == high else f"{first}–{Decimal(high):,f}"


def _width_of_terminal() -> int:
    # Here: a report that is piped does not pay for loading it.
    import shutil

    return shutil.get_terminal_size().columns


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, width=_width_of_terminal())
