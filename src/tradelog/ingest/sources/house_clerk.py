"""The House Clerk's yearly index of financial disclosures: XML, tab-separated text, or the ZIP of both.

From disclosures-clerk.house.gov/public_disc/financial-pdfs/{YYYY}FD.zip. Each line is a filing, not a
trade; nothing in it links an amendment to what it amends. A DocID that begins with 20 is an electronic
filing with text, 8 and 9 are scanned paper.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
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


def is_table(file: TextFile) -> bool:
    """Whether a text file is the index in its tab-separated form."""
    with file.path.open(encoding=file.encoding, errors="replace") as stream:
        return tuple(stream.readline().rstrip("\r\n").split("\t")) == COLUMNS


def read(run: IngestionRun, file: TextFile, latest: date) -> Iterator[Record | BadRow]:
    """The filings of an index. Raises UnexpectedType or SchemaMismatch."""
    run.recognised(FEED)
    name, text = _unpacked(file) if file.first == files.ZIP else (str(file.path), file.read())
    given = _from_xml(text, name) if text.lstrip("\ufeff \r\n").startswith("<") else _from_table(text)
    yield from forms.read_rows(_FORM, given, latest, name)


def _unpacked(file: TextFile) -> tuple[str, str]:
    """(name, text) of the index in a ZIP; the XML where it holds both forms."""
    try:
        with zipfile.ZipFile(file.path) as archive:
            found = sorted(name for name in archive.namelist() if name.lower().endswith((".xml", ".txt")))
            if not found:
                raise SchemaMismatch(f"{file.path} holds no index in XML or TXT")
            name = found[-1]
            if archive.getinfo(name).file_size > 100_000_000:
                raise UnexpectedType(f"{name} in {file.path} is far too large for an index")
            return f"{file.path}:{name}", archive.read(name).decode("utf-8-sig")
    except (zipfile.BadZipFile, UnicodeDecodeError, EOFError, OSError) as error:
        raise files.truncated(file.path, str(error)) from error


def _from_xml(text: str, where: str) -> Iterator[Given]:
    root = xml.parse(text, where)
    if root.tag != "FinancialDisclosure":
        raise SchemaMismatch(
            f"{where} is no known form of trades: its root is <{root.tag}>",
            hint="ownership filings are read by: tradelog fetch insider --file PATH",
        )
    for position, item in enumerate(root, 1):
        row = {child.tag: child.text or "" for child in item}
        yield Given(position, row, json.dumps(row, ensure_ascii=False))


def _from_table(text: str) -> Iterator[Given]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    next(rows)
    for position, values in enumerate(rows, 1):
        if not values:
            continue
        if len(values) != len(COLUMNS):
            reason = f"{len(values)} fields where there are {len(COLUMNS)}"
            yield Given(position, None, json.dumps(values, ensure_ascii=False), reason)
            continue
        row = dict(zip(COLUMNS, values, strict=True))
        yield Given(position, row, json.dumps(row, ensure_ascii=False))


def _filing(position: int, row: Row, payload: str, latest: date) -> Record:
    given = {name: forms.text(row, name).strip() for name in COLUMNS}
    if not given["DocID"]:
        raise Unreadable("no DocID")
    filed = given["FilingDate"]
    day = fields.day(filed, latest) if filed else None
    flags = [] if day else ["impossible_filed_date" if filed else "no_filed_date"]
    if given["FilingType"] == PERIODIC_TRANSACTION_REPORT:
        flags.append("electronic" if given["DocID"].startswith("20") else "scanned")
    return Record(
        kind=KIND,
        position=position,
        identity=(given["Year"], given["DocID"]),
        content=(filed, *(given[name] for name in COLUMNS[:6])),
        payload=payload,
        filed_at=None if day is None else fields.filed_moment(day),
        filed_as_given=filed or None,
        actor=" ".join(filter(None, (given[name] for name in ("Prefix", "First", "Last", "Suffix")))),
        flags=tuple(flags),
        document=given["DocID"],
    )


_FORM = Form(
    "House Clerk index", FEED, frozenset(COLUMNS), _filing, frozenset(("DocID", "FilingDate", "Last"))
)
