"""Trades of company insiders: files of every form in which they come, and Quiver's rows.

Quiver gives no accession number, so a trade there is identified by its content; its ``uploaded`` and its
titles are not part of that. Its ``fileDate`` names no zone: it is read as Eastern time, the later of
the two that it can be, because a filing must never count as known too early.
"""

from __future__ import annotations

import csv
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

from tradelog.domain import clock, money
from tradelog.domain.text import normalise_name
from tradelog.errors import SchemaMismatch
from tradelog.ingest import fields
from tradelog.ingest.identity import Record
from tradelog.ingest.run import IngestionRun
from tradelog.ingest.sources import files, forms, listings, ownership
from tradelog.ingest.sources.files import TextFile
from tradelog.ingest.sources.forms import Form, Row

_FEED_COLUMNS = frozenset(("form", "accession", "filed", "updated", "cik", "name"))
_NUMBERS = ("Shares", "PricePerShare")


def read_file(run: IngestionRun, path: Path) -> None:
    """Read a file of insider trades or of filings into the run.

    Raises NotFound, UnexpectedType or SchemaMismatch; nothing of the file is then visible.
    """
    file = files.begin(run, path, EXPECTED)
    if file is None:
        return
    latest = clock.market_today()
    if file.first == files.ZIP:
        raise SchemaMismatch(f"{path} is a ZIP", hint=f"expected one of: {EXPECTED}")
    if file.first == "[":
        elements = files.elements(file.read(), path, EXPECTED)
        files.add_all(run, files.json_rows(run, elements, FORMS, EXPECTED, path, latest))
    elif _first_line(file).startswith("Description:"):
        run.recognised(listings.INDEX)
        files.add_all(run, listings.read_index(files.whole_lines(file), path))
    elif file.first == "{":
        run.recognised(listings.SUBMISSIONS)
        files.add_all(run, listings.read_submissions(files.json_object(file.read(), path), path))
    elif file.first in "<-":
        _read_markup(run, file)
    else:
        _read_csv(run, file, latest)


def _read_markup(run: IngestionRun, file: TextFile) -> None:
    text = file.read()
    if ownership.is_submission(text) or "<ownershipDocument" in text:
        run.recognised(ownership.FEED)
        files.add_all(run, ownership.read_many(text, file.path))
    else:
        run.recognised(listings.LATEST)
        files.add_all(run, listings.read_atom(text, file.path))


def _read_csv(run: IngestionRun, file: TextFile, latest: date) -> None:
    with file.open() as stream:
        try:
            header = next(csv.reader(stream), [])
        except csv.Error:
            header = []
        if frozenset(header) >= _FEED_COLUMNS:
            run.recognised(listings.LATEST)
            rows = files.whole_rows(file, header, csv.reader(stream, strict=True))
            files.add_all(run, listings.read_feed_rows(rows))
            return
    files.add_all(run, files.csv_rows(run, file, FORMS, EXPECTED, latest))


def _first_line(file: TextFile) -> str:
    with file.open() as stream:
        return stream.readline()


def _form4_entry(position: int, row: Row, payload: str, latest: date) -> Record:
    name, code = forms.name(row, "Name"), forms.text(row, "TransactionCode").strip().upper()
    shares, price = (_number(forms.text(row, key)) for key in _NUMBERS)
    traded = forms.text(row, "Date")[:10]
    day = fields.day(traded, latest)
    filed = forms.text(row, "fileDate")
    cost = None
    if code in ownership.OPEN_MARKET:
        cost = ownership.product(forms.text(row, "Shares"), forms.text(row, "PricePerShare"))
    flags = [] if day else [f"impossible_event_date: {traded or 'none given'}"]
    if code in ownership.OPEN_MARKET and cost is None:
        flags.append("unknown_amount")
    filed_at = _filed(filed, latest)
    if filed_at is None:
        flags.append("impossible_filed_date" if filed else "no_filed_date")
    else:
        flags.append("filed_zone_assumed")
    if day and filed[:10] and day.isoformat() > filed[:10]:
        flags.append("traded_after_filed")
    roles = ("isDirector", "isOfficer", "isTenPercentOwner", "isOther")
    return Record(
        kind=ownership.TRADE,
        position=position,
        identity=(
            fields.normalised_ticker(forms.text(row, "Ticker")),
            normalise_name(name),
            traded,
            code,
            forms.text(row, "AcquiredDisposedCode").strip().upper(),
            forms.text(row, "directOrIndirectOwnership").strip().upper(),
            *("" if number is None else money.to_text(number) for number in (shares, price)),
        ),
        content=(
            *(name, forms.text(row, "Ticker"), filed),
            _as_given(forms.text(row, "SharesOwnedFollowing")),
            *(forms.text(row, role).lower() for role in roles),
        ),
        payload=payload,
        event_date=None if day is None else day.isoformat(),
        filed_at=filed_at,
        filed_as_given=filed or None,
        symbol=ownership.symbol(forms.text(row, "Ticker")),
        actor=name,
        side=ownership.SIDES.get(code, "other"),
        amount_low=cost,
        amount_high=cost,
        flags=tuple(flags),
    )


def _number(text: str) -> Decimal | None:
    try:
        return money.parse(text)
    except ValueError:
        return None


def _as_given(text: str) -> str:
    """A number in one spelling, other text as it is: JSON and CSV write 10 and 10.0."""
    number = _number(text)
    return text.strip() if number is None else money.to_text(number)


def _filed(text: str, latest: date) -> str | None:
    """When it was filed at the latest; a bare date, or midnight, counts as the end of that day."""
    day = fields.day(text.strip()[:10], latest)
    if day is None:
        return None
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        return clock.end_of_day(day)
    if at.time() == time(0):
        return clock.end_of_day(day)
    return clock.to_text(at if at.tzinfo else at.replace(tzinfo=clock.zone(clock.MARKET_ZONE)))


QUIVER_INSIDERS = Form(
    "Quiver insiders",
    "quiver-insiders",
    frozenset(("Ticker", "Date", "Name", "AcquiredDisposedCode", "TransactionCode", "Shares", "fileDate")),
    _form4_entry,
    frozenset(("Ticker", "Date", "TransactionCode", "fileDate")),
    dated=True,
)
FORMS = (QUIVER_INSIDERS,)
EXPECTED = (
    "ownership XML (Forms 3, 4, 5), a full submission (.txt, .nc), an EDGAR daily index, the latest-filings"
    " feed, submissions JSON, Quiver insiders"
)
