"""Files of rows: CSV with a header, or JSON. UTF-8, else cp1252; refused where they are no text.

A CSV is read as a stream. What cannot be a whole file (an open quote or half a row at its end,
JSON that stops) is refused as a whole; a row with the wrong number of fields costs only itself.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

from tradelog import clock
from tradelog.errors import NotFound, SchemaMismatch, UnexpectedType
from tradelog.ingest.identity import BadRow, Record
from tradelog.ingest.run import IngestionRun
from tradelog.ingest.sources import congress

BLOCK = 1 << 20
# Descriptions may hold line breaks, but no row is this long.
MOST_LINES = 20
# How many different last fields are remembered, to know a cut one by.
MOST_ENDS = 1000
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class TextFile:
    """What a look at every byte told. ``ends_in_newline`` is False for a file cut in a line."""

    path: Path
    encoding: str
    size: int
    digest: str
    ends_in_newline: bool
    first: str


def examine(path: Path) -> TextFile:
    """Read the file once. Raises NotFound, or UnexpectedType where it is empty or no text."""
    digest = sha256()
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    is_utf8, size, last, first = True, 0, b"", b""
    try:
        with path.open("rb") as stream:
            while block := stream.read(BLOCK):
                if not size and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise UnexpectedType(f"{path} is UTF-16", hint="save it as UTF-8, then fetch it again")
                if b"\0" in block:
                    raise UnexpectedType(
                        f"{path} has NUL bytes: it is no text, or UTF-16", hint="save it as UTF-8 CSV or JSON"
                    )
                digest.update(block)
                size += len(block)
                last = block[-1:]
                first = first or block.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
                if is_utf8:
                    try:
                        decoder.decode(block)
                    except UnicodeDecodeError:
                        is_utf8 = False
        if is_utf8:
            try:
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                is_utf8 = False
    except FileNotFoundError:
        raise NotFound(f"no file at {path}", hint="check the path") from None
    except OSError as error:
        raise UnexpectedType(f"cannot read {path}: {error.strerror}") from error
    if not first:
        raise UnexpectedType(f"{path} is empty", hint=f"known forms: {congress.EXPECTED}")
    encoding = "utf-8-sig" if is_utf8 else "cp1252"
    return TextFile(path, encoding, size, digest.hexdigest(), last == b"\n", first.decode("latin-1"))


def read_congress(run: IngestionRun, path: Path) -> None:
    """Read a file of congress trades into the run.

    Raises NotFound, UnexpectedType or SchemaMismatch; nothing of the file is then visible.
    """
    found = examine(path)
    latest = clock.market_today()
    run.api_call(path.resolve().as_uri(), size=found.size, sha256=found.digest, encoding=found.encoding)
    rows = _json(run, found, latest) if found.first in "[{" else _csv(run, found, latest)
    last: Record | BadRow | None = None
    for last in rows:
        run.add(last)
    run.api_calls[-1]["records"] = 0 if last is None else last.position


def _csv(run: IngestionRun, file: TextFile, latest: date) -> Iterator[Record | BadRow]:
    with file.path.open(encoding=file.encoding, errors="replace", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            header = next(reader)
        except (csv.Error, StopIteration):
            raise _unknown(file.path) from None
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise SchemaMismatch(
                f"{file.path} has the column {twice[0]!r} twice", hint="name each column once"
            )
        form = congress.recognise(frozenset(header))
        if form is None:
            raise _unknown(file.path)
        run.recognised(form.feed)
        held: Record | BadRow | None = None
        ends: set[str] = set()
        end = ""
        for position, fields in _csv_rows(reader, file.path):
            if held is not None:
                yield held
                if len(ends) < MOST_ENDS:
                    ends.add(end)
            end = fields[-1]
            if isinstance(fields, str):
                held = BadRow(position, fields, "")
            elif len(fields) != len(header):
                reason = f"{len(fields)} fields where the header has {len(header)}"
                held = BadRow(position, reason, _encode(fields))
            else:
                row = dict(zip(header, fields, strict=True))
                held = congress.read_row(form, position, row, _encode(row), latest)
        if held is None:
            return
        is_odd = isinstance(held, BadRow) or "impossible_filed_date" in held.flags
        # "Fals" where other rows end in "False": a file cut inside its very last field.
        is_cut = end not in ends and any(other.startswith(end) for other in ends)
        if not file.ends_in_newline and (is_odd or is_cut):
            raise _truncated(file.path, f"line {held.position} stops in the middle")
        yield held


def _csv_rows(reader: Any, path: Path) -> Iterator[tuple[int, list[str] | str]]:
    """(line, fields), or (line, reason) where the line is no CSV.

    A quote that somebody left open swallows the rows behind it: where one spans many lines, the file
    as a whole cannot be trusted.
    """
    line = reader.line_num
    while True:
        began, reason, fields = line + 1, "", []
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = str(error)
        line = reader.line_num
        if "unexpected end" in reason:
            raise _truncated(path, f"the quote opened on line {began} is open at its end")
        if line - began >= MOST_LINES or (reason and line > began):
            raise _truncated(path, f"the quote opened on line {began} is still open on line {line}")
        if reason:
            yield line, f"no CSV: {reason}"
        elif fields:
            yield line, fields


def _json(run: IngestionRun, file: TextFile, latest: date) -> Iterator[Record | BadRow]:
    # JSON has no rows before its last bracket, so it is read whole.
    text = file.path.read_text(encoding=file.encoding, errors="replace")
    yield from read_json(run, text, str(file.path), latest)


def read_json(run: IngestionRun, text: str, where: str, latest: date) -> Iterator[Record | BadRow]:
    """The rows of a JSON array of a known form, each with its own text as payload.

    Raises UnexpectedType for what is no JSON array, SchemaMismatch for an unknown form.
    """
    elements = list(_elements(text, where))
    if not elements:
        return
    columns = frozenset().union(*(value for value, _ in elements[:50] if isinstance(value, dict)))
    if {"report_id", "filer", "data"} <= columns:
        run.recognised(congress.SENATE_EFD.feed)
        yield from congress.read_reports(elements, latest)
        return
    form = congress.recognise(columns)
    if form is None:
        raise _unknown(where)
    run.recognised(form.feed)
    for position, (value, payload) in enumerate(elements, 1):
        yield congress.read_row(form, position, value, payload, latest)


def _elements(text: str, where: str) -> Iterator[tuple[Any, str]]:
    """Each element of a JSON array with its text as written."""
    decoder = json.JSONDecoder()
    skip = json.decoder.WHITESPACE.match  # type: ignore[attr-defined]
    at = skip(text, 0).end()
    if text[at : at + 1] != "[":
        raise UnexpectedType(f"{where} is no JSON array of rows", hint=f"known forms: {congress.EXPECTED}")
    at = skip(text, at + 1).end()
    while text[at : at + 1] != "]":
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise _truncated(where, f"no JSON at character {at}") from error
        yield value, text[at:end]
        at = skip(text, end).end()
        if text[at : at + 1] == ",":
            at = skip(text, at + 1).end()
        elif text[at : at + 1] != "]":
            raise _truncated(where, f"the JSON stops at character {at}")
    if text[at + 1 :].strip():
        raise UnexpectedType(f"{where} goes on after its JSON ends, at character {at + 1}")


def _truncated(where: object, what: str) -> UnexpectedType:
    return UnexpectedType(f"{where} is truncated or damaged: {what}", hint="get the whole file again")


def _unknown(where: object) -> SchemaMismatch:
    return SchemaMismatch(
        f"{where} is no known form", hint=f"expected the columns of one of: {congress.EXPECTED}"
    )
