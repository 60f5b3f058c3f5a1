"""Files of rows: CSV with a header, or JSON. UTF-8, and bytes that are none as cp1252; else refused.

A CSV is read as a stream. What cannot be a whole file (an open quote or half a row at its end,
JSON that stops) is refused as a whole; a row with the wrong number of fields costs only itself.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from importlib.metadata import version
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any, TextIO

from tradelog.errors import NotFound, SchemaMismatch, UnexpectedType
from tradelog.ingest.identity import BadRow, Record
from tradelog.ingest.run import IngestionRun
from tradelog.ingest.sources import forms as forms_
from tradelog.ingest.sources.forms import Form, Given

BLOCK = 1 << 20
# Descriptions may hold line breaks, but no row is this long.
MAX_LINES = 20
# How many different last fields are remembered, to detect a truncated one.
MAX_ENDS = 1000
ZIP = "PK"
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _as_cp1252(error: UnicodeError) -> tuple[str, int]:
    """One byte of an older encoding does not make the rest of a file one: Sánchez stays Sánchez."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


_FALLBACK = "tradelog.cp1252"
codecs.register_error(_FALLBACK, _as_cp1252)


@dataclass(frozen=True, slots=True)
class TextFile:
    """What a scan of every byte found. ``ends_in_newline`` is False for a file cut in a line.

    ``first`` is its first character that is no space; `ZIP` for an archive, which is no text.
    """

    path: Path
    encoding: str
    size: int
    digest: str
    ends_in_newline: bool
    first: str

    def open(self) -> TextIO:
        """The text as a stream, its line ends as they are."""
        return self.path.open(encoding="utf-8-sig", errors=_FALLBACK, newline="")

    def read(self) -> str:
        """The whole text."""
        with self.path.open(encoding="utf-8-sig", errors=_FALLBACK) as stream:
            return stream.read()


def examine(path: Path, expected: str) -> TextFile:
    """Read the file once. Raises NotFound, or UnexpectedType where it is empty or no text."""
    digest = sha256()
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    is_utf8, size, last, first, is_zip = True, 0, b"", b"", False
    try:
        with path.open("rb") as stream:
            while block := stream.read(BLOCK):
                is_zip = is_zip or (not size and block.startswith(b"PK\x03\x04"))
                digest.update(block)
                if is_zip:
                    size += len(block)
                    continue
                if not size and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise UnexpectedType(f"{path} is UTF-16", hint="save it as UTF-8, then fetch it again")
                if b"\0" in block:
                    raise UnexpectedType(
                        f"{path} has NUL bytes: it is no text, or UTF-16", hint="save it as UTF-8 CSV or JSON"
                    )
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
    if not path.is_file():
        raise UnexpectedType(f"{path} is a pipe, which cannot be read twice", hint="save it to a file first")
    if is_zip:
        return TextFile(path, "zip", size, digest.hexdigest(), True, ZIP)
    if not first:
        raise UnexpectedType(f"{path} is empty", hint=f"known forms: {expected}")
    encoding = "utf-8" if is_utf8 else "utf-8, and bytes that are none as cp1252"
    return TextFile(path, encoding, size, digest.hexdigest(), last == b"\n", first.decode("latin-1"))


def begin(run: IngestionRun, path: Path, expected: str) -> TextFile | None:
    """Examine a file and log it in the run; None where nothing in it can be new.

    That is where it is byte for byte what the feed's last run read, without a bad row, by this
    release: then everything that it lists has been seen again, unchanged.
    """
    file = examine(path, expected)
    facts = {"size": file.size, "sha256": file.digest, "encoding": file.encoding}
    run.api_call(path.resolve().as_uri(), **facts, reader=version("tradelog"))
    previous = run.last_reading(file.digest)
    if previous is None:
        return file
    last = previous.api_calls[0]
    is_same = len(previous.api_calls) == 1 and last.get("reader") == version("tradelog")
    is_listed = not run.complete or previous.params.get("complete")
    if not is_same or not is_listed or previous.quarantined:
        return file
    run.recognised(previous.data_source)
    run.confirm_run(previous)
    run.api_calls[-1] |= {"records": last.get("records"), "same_as": previous.run_id}
    return None


def add_all(run: IngestionRun, rows: Iterable[Record | BadRow]) -> None:
    """Take all rows into the run, and their number into its last call."""
    last: Record | BadRow | None = None
    for last in rows:
        run.add(last)
    run.api_calls[-1]["records"] = 0 if last is None else last.position


def csv_rows(
    run: IngestionRun, file: TextFile, forms: Iterable[Form], expected: str, latest: date
) -> Iterator[Record | BadRow]:
    """The rows of a CSV of a known form. Raises UnexpectedType or SchemaMismatch."""
    with file.open() as stream:
        reader = csv.reader(stream, strict=True)
        try:
            header = next(reader)
        except (csv.Error, StopIteration):
            raise forms_.unknown(file.path, expected) from None
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise SchemaMismatch(
                f"{file.path} has the column {twice[0]!r} twice", hint="name each column once"
            )
        form = forms_.recognise(forms, frozenset(header), file.path, expected)
        run.recognised(form.feed)
        rows = forms_.read_rows(form, whole_rows(file, header, reader), latest, file.path)
        yield from rows if file.ends_in_newline else _with_whole_date(rows, file)


def _with_whole_date(rows: Iterable[Record | BadRow], file: TextFile) -> Iterator[Record | BadRow]:
    """The rows, refused where the last one's date was cut."""
    held: Record | BadRow | None = None
    for row in rows:
        if held is not None:
            yield held
        held = row
    if isinstance(held, Record) and "impossible_filed_date" in held.flags:
        raise truncated(file.path, f"line {held.position} stops in the middle")
    if held is not None:
        yield held


def whole_rows(file: TextFile, header: list[str], reader: Any) -> Iterator[Given]:
    """Each row, with its fields by name; refuses a file whose last row was cut."""
    width = len(header)
    payload = _payload(header)
    held: Given | None = None
    ends: set[str] = set()
    end = ""
    for position, fields in _csv_fields(reader, file.path):
        if held is not None:
            yield held
            if len(ends) < MAX_ENDS:
                ends.add(end)
        end = fields[-1]
        if isinstance(fields, str):
            held = Given(position, None, "", fields)
        elif fields == header:
            held = Given(position, None, _encode(fields), "the header again")
        elif len(fields) != width:
            held = Given(
                position, None, _encode(fields), f"{len(fields)} fields where the header has {width}"
            )
        else:
            held = Given(position, dict(zip(header, fields, strict=True)), payload(fields))
    if held is None:
        return
    # "Fals" where other rows end in "False": a file cut inside its very last field.
    is_cut = end not in ends and any(other.startswith(end) for other in ends)
    if not file.ends_in_newline and (held.reason or is_cut):
        raise truncated(file.path, f"line {held.position} stops in the middle")
    yield held


def _payload(header: list[str]) -> Callable[[list[str]], str]:
    """Writes a row as JSON, as the encoder would; the names of the fields are encoded once."""
    template = "{" + ",".join(encode_basestring(name).replace("%", "%%") + ":%s" for name in header) + "}"
    return lambda fields: template % tuple(map(encode_basestring, fields))


def _csv_fields(reader: Any, path: Path) -> Iterator[tuple[int, list[str] | str]]:
    """(line, fields), or (line, reason) where the line is no CSV.

    An unclosed quote swallows the rows behind it: where one spans many lines, the file
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
            raise truncated(path, f"the quote opened on line {began} is open at its end")
        if line - began >= MAX_LINES or (reason and line > began):
            raise truncated(path, f"the quote opened on line {began} is still open on line {line}")
        if reason:
            yield line, f"no CSV: {reason}"
        elif fields:
            yield line, fields


def json_rows(
    run: IngestionRun,
    elements: list[tuple[Any, str]],
    forms: Iterable[Form],
    expected: str,
    where: object,
    latest: date,
) -> Iterator[Record | BadRow]:
    """The rows of a JSON array of a known form, each with its own text as payload.

    Raises SchemaMismatch for an unknown form.
    """
    if not elements:
        return
    form = forms_.recognise(forms, columns(elements), where, expected)
    run.recognised(form.feed)
    rows = (Given(number, value, payload) for number, (value, payload) in enumerate(elements, 1))
    yield from forms_.read_rows(form, rows, latest, where)


def columns(elements: list[tuple[Any, str]]) -> frozenset[str]:
    """All names of fields in the first elements: an optional one may be missing in the very first."""
    return frozenset().union(*(value for value, _ in elements[:50] if isinstance(value, dict)))


def elements(text: str, where: object, expected: str) -> list[tuple[Any, str]]:
    """Each element of a JSON array with its text as written. Raises UnexpectedType."""
    return list(_elements(text, where, expected))


def _elements(text: str, where: object, expected: str) -> Iterator[tuple[Any, str]]:
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    skip = json.decoder.WHITESPACE.match  # type: ignore[attr-defined]
    at = skip(text, 0).end()
    if text[at : at + 1] != "[":
        raise UnexpectedType(f"{where} is no JSON array of rows", hint=f"known forms: {expected}")
    at = skip(text, at + 1).end()
    while text[at : at + 1] != "]":
        try:
            value, end = decoder.raw_decode(text, at)
        except DuplicateField as error:
            raise UnexpectedType(f"{where} has the field {error} twice at character {at}") from error
        except (ValueError, RecursionError) as error:
            raise truncated(where, f"no JSON at character {at}") from error
        yield value, text[at:end]
        at = skip(text, end).end()
        if text[at : at + 1] == ",":
            at = skip(text, at + 1).end()
        elif text[at : at + 1] != "]":
            raise truncated(where, f"the JSON stops at character {at}")
    if text[at + 1 :].strip():
        raise UnexpectedType(f"{where} goes on after its JSON ends, at character {at + 1}")


def json_value(text: str, where: object) -> Any:
    """A JSON text as a whole. Raises UnexpectedType, also for a field that is there twice."""
    try:
        return json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_unique)
    except DuplicateField as error:
        raise UnexpectedType(f"{where} has the field {error} twice", hint="get the file again") from error
    except (ValueError, RecursionError) as error:
        raise truncated(where, str(error)) from error


def json_object(text: str, where: object) -> dict[str, Any]:
    """A JSON object as a whole. Raises UnexpectedType."""
    value = json_value(text, where)
    if not isinstance(value, dict):
        raise UnexpectedType(f"{where} is no JSON object")
    return value


def whole_lines(file: TextFile) -> str:
    """The text of a file whose last line has its end: one that has not may have been cut in it.

    Raises UnexpectedType.
    """
    if not file.ends_in_newline:
        raise truncated(file.path, "its last line has no end")
    return file.read()


class DuplicateField(ValueError):
    """A field that an object has twice: which of them counts is unknown."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise DuplicateField(repr(next(name for name in names if names.count(name) > 1)))
    return values


def truncated(where: object, what: str) -> UnexpectedType:
    """The error for a file that ends within a row."""
    return UnexpectedType(f"{where} is truncated or damaged: {what}", hint="get the whole file again")
