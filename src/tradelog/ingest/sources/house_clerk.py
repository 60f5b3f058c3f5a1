"""The House Clerk's yearly index of financial disclosures: XML, tab-separated text, or the ZIP of both.

From disclosures-clerk.house.gov/public_disc/financial-pdfs/{YYYY}FD.zip. Each line is a filing, not a
trade; nothing in it links an amendment to what it amends. A DocID that begins with 20 is an electronic
filing with text, 8 and 9 are scanned paper.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date

from tradelog.errors import SchemaMismatch, UnexpectedType
from tradelog.ingest import fields, xml
from tradelog.ingest.identity import BadRow, Record
from tradelog.ingest.run import IngestionRun
from tradelog.ingest.sources import files, forms
from tradelog.ingest.sources.files import TextFile
from tradelog.ingest.sources.forms import Form, Given, Row, Unreadable

KIND = "house_filing"
FEED = "house-clerk"
COLUMNS = ("Prefix", "Last", "First", "Suffix", "FilingType", "StateDst", "Year", "FilingDate", "DocID")
PERIODIC_TRANSACTION_REPORT = "P"
MAX_BYTES = 100_000_000
_MEMBER = re.compile(r"(?:(?!__MACOSX/)[^/]+/)*(\d{4}FD)\.(?:txt|xml)", re.IGNORECASE)


def is_table(file: TextFile) -> bool:
    """Whether a text file is the index in its tab-separated form."""
    with file.open() as stream:
        return tuple(stream.readline().rstrip("\r\n").split("\t")) == COLUMNS


def read(run: IngestionRun, file: TextFile, latest: date) -> Iterator[Record | BadRow]:
    """The filings of an index. Raises UnexpectedType or SchemaMismatch."""
    run.recognised(FEED)
    if file.first == files.ZIP:
        texts = _unpacked(file)
    else:
        texts = [(str(file.path), file.read() if file.first == "<" else files.whole_lines(file))]
    start = 0
    for where, text in texts:
        is_xml = text.lstrip("\ufeff \r\n").startswith("<")
        rows = _from_xml(text, where, start) if is_xml else _from_table(text, where, start)
        for row in forms.read_rows(_FORM, rows, latest, where):
            yield row
            start = row.position


def _unpacked(file: TextFile) -> list[tuple[str, str]]:
    """(name, text) of each index in a ZIP; the XML where it holds both forms of a year."""
    try:
        with zipfile.ZipFile(file.path) as archive:
            members = {}
            for name in sorted(archive.namelist()):
                if match := _MEMBER.fullmatch(name):
                    # XML sorts behind TXT, and takes its place.
                    members[match[1]] = name
            if not members:
                raise SchemaMismatch(
                    f"{file.path} holds no yearly index", hint="it is named such as 2021FD.xml or 2021FD.txt"
                )
            texts = []
            for name in members.values():
                if archive.getinfo(name).file_size > MAX_BYTES:
                    raise UnexpectedType(f"{name} in {file.path} is far too large for an index")
                text = archive.read(name).decode("utf-8-sig")
                if not text.endswith(("\n", ">")):
                    raise files.truncated(f"{file.path}:{name}", "its last line has no end")
                texts.append((f"{file.path}:{name}", text))
            return texts
    except (zipfile.BadZipFile, zlib.error, RuntimeError, UnicodeDecodeError, EOFError, OSError) as error:
        raise files.truncated(file.path, str(error)) from error


def _from_xml(text: str, where: str, start: int) -> Iterator[Given]:
    root = xml.parse(text, where)
    if root.tag != "FinancialDisclosure":
        raise SchemaMismatch(
            f"{where} is no known form of trades: its root is <{root.tag}>",
            hint="ownership filings are read by: tradelog fetch insider --file PATH",
        )
    for position, item in enumerate(root, start + 1):
        row = {child.tag: child.text or "" for child in item}
        yield Given(position, row, json.dumps(row, ensure_ascii=False))


def _from_table(text: str, where: str, start: int) -> Iterator[Given]:
    rows = (line.split("\t") for line in text.replace("\r\n", "\n").rstrip("\n").split("\n"))
    if tuple(next(rows)) != COLUMNS:
        raise SchemaMismatch(f"{where} is no known form", hint=f"expected the columns {', '.join(COLUMNS)}")
    for position, values in enumerate(rows, start + 1):
        if len(values) != len(COLUMNS):
            reason = f"{len(values)} fields where there are {len(COLUMNS)}"
            yield Given(position, None, json.dumps(values, ensure_ascii=False), reason)
            continue
        row = dict(zip(COLUMNS, values, strict=True))
        yield Given(position, row, json.dumps(row, ensure_ascii=False))


def _filing(position: int, row: Row, payload: str, latest: date) -> Record:
    fields_given = {name: forms.text(row, name).strip() for name in COLUMNS}
    if not fields_given["DocID"]:
        raise Unreadable("no DocID")
    filed = fields_given["FilingDate"]
    day = fields.day(filed, latest) if filed else None
    flags = [] if day else ["impossible_filed_date" if filed else "no_filed_date"]
    if fields_given["FilingType"] == PERIODIC_TRANSACTION_REPORT:
        flags.append("electronic" if fields_given["DocID"].startswith("20") else "scanned")
    return Record(
        kind=KIND,
        position=position,
        identity=(fields_given["Year"], fields_given["DocID"]),
        content=(filed, *(fields_given[name] for name in COLUMNS[:6])),
        payload=payload,
        filed_at=None if day is None else fields.filed_moment(day),
        filed_as_given=filed or None,
        actor=" ".join(filter(None, (fields_given[name] for name in ("Prefix", "First", "Last", "Suffix")))),
        flags=tuple(flags),
        document=fields_given["DocID"],
    )


_FORM = Form(
    "House Clerk index", FEED, frozenset(COLUMNS), _filing, frozenset(("DocID", "FilingDate", "Last"))
)
