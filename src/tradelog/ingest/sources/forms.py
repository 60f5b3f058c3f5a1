"""The forms in which rows come: known by their columns, read row by row, checked as a whole.

A parser for one form that meets another raises nothing and yields empty columns. So a form names
the columns that make it, and of those the ones that cannot be empty in every row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from tradelog.errors import SchemaMismatch
from tradelog.ingest.identity import BadRow, Record, whole

Row = Mapping[str, Any]
Reader = Callable[[int, Row, str, date], Record]

# So many rows without a required field are no accident.
ENOUGH_ROWS = 10


@dataclass(frozen=True, slots=True)
class Form:
    """``needs`` are the columns that make the form; ``read`` turns one row of it into a record.

    ``filled`` are those that some row must hold a value in; of a ``dated`` form some row has a day.
    """

    name: str
    feed: str
    needs: frozenset[str]
    read: Reader
    filled: frozenset[str] = frozenset()
    dated: bool = False


class Given(NamedTuple):
    """A row before it is read: ``row`` is None where ``reason`` says why there is none."""

    position: int
    row: Any
    payload: str
    reason: str = ""


class Unreadable(ValueError):
    """A row that does not fit its form."""


def recognise(forms: Iterable[Form], columns: frozenset[str], where: object, expected: str) -> Form:
    """The form with these columns. Raises SchemaMismatch where it is no known one."""
    for form in forms:
        if form.needs <= columns:
            return form
    raise unknown(where, expected)


def unknown(where: object, expected: str) -> SchemaMismatch:
    """The error for a file of no known form."""
    return SchemaMismatch(f"{where} is no known form", hint=f"expected the columns of one of: {expected}")


def read_rows(form: Form, rows: Iterable[Given], latest: date, where: object) -> Iterator[Record | BadRow]:
    """Each row read, a BadRow with the reason where it cannot be.

    Raises SchemaMismatch at the end where a field that the form requires was empty in all rows.
    """
    empty = set(form.filled)
    count, is_dated = 0, not form.dated
    for row_given in rows:
        if row_given.reason:
            yield BadRow(row_given.position, row_given.reason, row_given.payload)
            continue
        if empty and isinstance(row_given.row, Mapping):
            empty = {name for name in empty if not str(row_given.row.get(name) or "").strip()}
        count += 1
        row = read_row(form, row_given.position, row_given.row, row_given.payload, latest)
        is_dated = is_dated or (isinstance(row, Record) and row.event_date is not None)
        yield row
    if not is_dated and count >= ENOUGH_ROWS:
        raise SchemaMismatch(
            f"{where} has no day that can be read in any of {count} rows: its form has changed",
            hint="nothing was changed; look at the source",
        )
    if empty and count >= ENOUGH_ROWS:
        raise SchemaMismatch(
            f"{where} has no {sorted(empty)[0]} in any of {count} rows: its form has changed",
            hint="nothing was changed; look at the source",
        )


def read_row(form: Form, position: int, row: object, payload: str, latest: date) -> Record | BadRow:
    """One row; a BadRow with the reason where it cannot be read."""
    if not isinstance(row, Mapping):
        return BadRow(position, "not a row with named fields", payload)
    if not form.needs <= row.keys():
        missing = sorted(form.needs - row.keys())
        return BadRow(position, f"no field {', '.join(missing)}", payload)
    try:
        return form.read(position, row, payload, latest)
    except Unreadable as error:
        return BadRow(position, str(error), payload)


def text(row: Row, key: str) -> str:
    """A field as text, empty where it is missing or null."""
    value = row.get(key)
    if type(value) is str and value.isascii():
        return value
    return "" if value is None else whole(str(value))


def name(row: Row, key: str) -> str:
    """A field that must hold a name. Raises Unreadable."""
    value = text(row, key)
    if not value.strip():
        raise Unreadable(f"no name in {key}")
    return value
