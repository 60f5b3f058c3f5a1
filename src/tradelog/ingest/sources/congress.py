"""Trades of members of Congress: every form in which they come, known by their columns.

A feed is one source whatever the form: the Quiver export, its API and both its versions share
identities, so that a file and the API never count a trade twice. Which fields make an identity and
which a version is written at each form; ``ExcessReturn``, ``PriceChange``, ``SPYChange`` and
``excess_return`` move daily and know the future, and are in neither.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from tradelog.domain import clock, money
from tradelog.domain.text import normalise_name
from tradelog.ingest import fields
from tradelog.ingest.identity import BadRow, Record
from tradelog.ingest.run import IngestionRun
from tradelog.ingest.sources import files, forms, house_clerk
from tradelog.ingest.sources.forms import Form, Reader, Row

KIND = "congress_trade"
FILING = "senate_filing"

_AMENDMENT = re.compile(r"\s*\(Amendment\s+\d+\)\s*$", re.IGNORECASE)


def read_file(run: IngestionRun, path: Path) -> None:
    """Read a file of congress trades, or a yearly index of the House Clerk, into the run.

    Raises NotFound, UnexpectedType or SchemaMismatch; nothing of the file is then visible.
    """
    file = files.begin(run, path, EXPECTED)
    if file is None:
        return
    latest = clock.market_today()
    if file.first in (files.ZIP, "<") or house_clerk.is_table(file):
        files.add_all(run, house_clerk.read(run, file, latest))
    elif file.first in "[{":
        # JSON has no rows before its last bracket, so it is read whole.
        files.add_all(run, read_json(run, file.read(), str(path), latest))
    else:
        files.add_all(run, files.csv_rows(run, file, FORMS, EXPECTED, latest))


def read_json(run: IngestionRun, text: str, where: str, latest: date) -> Iterator[Record | BadRow]:
    """The rows of a JSON array of a known form. Raises UnexpectedType or SchemaMismatch."""
    elements = files.elements(text, where, EXPECTED)
    if frozenset(("report_id", "filer", "data")) <= files.columns(elements):
        run.recognised(SENATE_EFD.feed)
        return read_reports(elements, latest)
    return files.json_rows(run, elements, FORMS, EXPECTED, where, latest)


def read_reports(reports: Iterable[tuple[Any, str]], latest: date) -> Iterator[Record | BadRow]:
    """Senate eFD reports and their trades, given as (report, its text), in the order of the file."""
    position = 0
    report_ids: set[str] = set()
    for report, text in reports:
        position += 1
        try:
            rows = [row for table in report["data"] for row in table["rows"]]
            head = {key: report.get(key) for key in EFD_REPORT}
        except (TypeError, KeyError, AttributeError):
            yield BadRow(position, "not a report with tables of rows", text)
            continue
        known_as = str(head["report_id"] or "")
        if not known_as or known_as in report_ids:
            why = f"the report {known_as} is there twice" if known_as else "a report without report_id"
            yield BadRow(position, why, text)
            continue
        report_ids.add(known_as)
        yield forms.read_row(_EFD_HEAD, position, head, json.dumps(head), latest)
        for line, row in enumerate(rows, 1):
            position += 1
            if not isinstance(row, Mapping):
                yield BadRow(position, f"line {line} of the report is no row", json.dumps(row))
                continue
            whole = {**head, "line": line, **row}
            yield forms.read_row(SENATE_EFD, position, whole, json.dumps(whole), latest)


@dataclass(frozen=True, slots=True)
class _Dates:
    """``event`` is ISO, ``filed`` the day; both None where there is no such day, and what was given
    then stands in ``event_given`` and ``filed_given``, which otherwise are ISO as well."""

    event: str | None
    event_given: str
    filed: date | None
    filed_given: str
    flags: tuple[str, ...]


@lru_cache(maxsize=65536)
def _dates(event: str, filed: str, latest: date) -> _Dates:
    flags = []
    happened = fields.day(event, latest)
    disclosed = fields.day(filed, latest) if filed.strip() else None
    if happened is None:
        flags.append(f"impossible_event_date: {event.strip() or 'none given'}")
    if disclosed is None:
        flags.append("impossible_filed_date" if filed.strip() else "no_filed_date")
    elif happened is not None and happened > disclosed:
        flags.append("traded_after_filed")
    when = None if happened is None else happened.isoformat()
    return _Dates(when, _as_iso(event), disclosed, _as_iso(filed), tuple(flags))


def _as_iso(text: str) -> str:
    """A day as ISO, also one that cannot be yet: what a record is known by must not change with time."""
    parsed = fields.day(text, date.max)
    return text.strip() if parsed is None else parsed.isoformat()


def _record(
    position: int,
    payload: str,
    *,
    identity: tuple[str, ...],
    content: tuple[str, ...],
    dates: _Dates,
    filed: str,
    filed_time: str | None = None,
    symbol: str,
    actor: str,
    side: str,
    amount: str,
    flags: tuple[str, ...] = (),
    document: str | None = None,
    person: str | None = None,
) -> Record:
    low, high = fields.amount(amount)
    odd = dates.flags + flags + (() if low is not None else ("unknown_amount",))
    if len(symbol.split()) > 1:
        odd += ("several_tickers",)
    return Record(
        kind=KIND,
        position=position,
        identity=identity,
        content=identity + content,
        payload=payload,
        event_date=dates.event,
        filed_at=None if dates.filed is None else fields.filed_moment(dates.filed, filed_time),
        filed_as_given=filed or None,
        symbol=fields.ticker(symbol),
        actor=actor,
        side=fields.side(side),
        amount_low=low,
        amount_high=high,
        flags=odd,
        document=document,
        person=person,
    )


def _quiver(name: str, traded: str, filed: str, side: str, amounts: tuple[str, ...], chamber: str) -> Reader:
    """The reader of a version of Quiver's rows, whose columns these are."""

    def read(position: int, row: Row, payload: str, latest: date) -> Record:
        member, symbol = forms.name(row, name), forms.text(row, "Ticker")
        disclosed, kind = forms.text(row, filed), forms.text(row, side)
        dates = _dates(forms.text(row, traded), disclosed, latest)
        amount = next(filter(None, (forms.text(row, column) for column in amounts)), "")
        return _record(
            position,
            payload,
            identity=(
                normalise_name(member),
                fields.normalised_ticker(symbol),
                dates.event_given,
                kind.strip().lower(),
                _lower_bound(amount),
            ),
            content=(
                dates.filed_given,
                member,
                symbol,
                forms.text(row, "Party").strip()[:1].upper(),
                forms.text(row, chamber).strip()[:1].upper(),
            ),
            dates=dates,
            filed=disclosed,
            symbol=symbol,
            actor=member,
            side=kind,
            amount=amount,
            person=_bioguide(forms.text(row, "BioGuideID")),
        )

    return read


@lru_cache(maxsize=8192)
def _bioguide(text: str) -> str | None:
    bioguide = text.strip().upper()
    return bioguide if re.fullmatch(r"[A-Z]\d{6}", bioguide) else None


@lru_cache(maxsize=8192)
def _lower_bound(amount: str) -> str:
    """The lower bound only: V2 gives nothing else, and it distinguishes the bands."""
    low, _ = fields.amount(amount)
    return amount.strip() if low is None else money.to_text(low)


def _stock_watcher(member: str, extras: tuple[str, ...]) -> Reader:
    def read(position: int, row: Row, payload: str, latest: date) -> Record:
        traded, filed = forms.text(row, "transaction_date"), forms.text(row, "disclosure_date")
        dates = _dates(traded, filed, latest)
        amount, kind = forms.text(row, "amount"), forms.text(row, "type")
        link = forms.text(row, "ptr_link").strip()
        return _record(
            position,
            payload,
            identity=(
                link,
                dates.event_given,
                *(forms.text(row, key).strip() for key in ("owner", "ticker", "asset_description")),
                kind.strip().lower(),
                amount.strip(),
            ),
            # Only what all forms of the feed have: the JSON form carries no disclosure date.
            content=(forms.name(row, member), *(forms.text(row, key) for key in extras)),
            dates=dates,
            filed=filed,
            symbol=forms.text(row, "ticker"),
            actor=forms.name(row, member),
            side=kind,
            amount=amount,
            document=_document(link),
        )

    return read


def _document(link: str) -> str | None:
    """The id of the filing that a link leads to: the DocID of the House, the report id of the Senate."""
    return link.rstrip("/").rpartition("/")[2].removesuffix(".pdf") or None


def _senate_filing(position: int, row: Row, payload: str, latest: date) -> Record:
    """The report as such. An amendment repeats the whole report, and names it in its title."""
    title, filer = forms.text(row, "title"), forms.name(row, "filer")
    filed, time = forms.text(row, "filed-date"), forms.text(row, "filed-time")
    day = fields.day(filed, latest)
    is_amendment = _AMENDMENT.search(title) is not None
    base = f"{normalise_name(filer)}: {_AMENDMENT.sub('', title).strip()}"
    return Record(
        kind=FILING,
        position=position,
        identity=(forms.text(row, "report_id"),),
        content=(title, filer, filed, time),
        payload=payload,
        filed_at=None if day is None else fields.filed_moment(day, time or None),
        filed_as_given=f"{filed} {time}".strip() or None,
        actor=filer,
        flags=(("amendment",) if is_amendment else ()) + (() if day else ("no_filed_date",)),
        document=forms.text(row, "report_id"),
        reference=None if is_amendment else base,
        amends=base if is_amendment else None,
    )


def _senate_efd(position: int, row: Row, payload: str, latest: date) -> Record:
    traded, filed = forms.text(row, "transaction-date"), forms.text(row, "filed-date")
    dates = _dates(traded, filed, latest)
    names = ("ticker", "asset-name", "asset-type", "type", "amount", "comment", "owner")
    return _record(
        position,
        payload,
        identity=(forms.text(row, "report_id"), forms.text(row, "line")),
        content=(traded, filed, forms.name(row, "filer"), *(forms.text(row, key) for key in names)),
        dates=dates,
        filed=filed,
        filed_time=forms.text(row, "filed-time") or None,
        symbol=forms.text(row, "ticker"),
        actor=forms.name(row, "filer"),
        side=forms.text(row, "type"),
        amount=forms.text(row, "amount"),
        flags=("amendment",) if _AMENDMENT.search(forms.text(row, "title")) else (),
        document=forms.text(row, "report_id"),
    )


# The report's own "type" repeats its title, and would collide with the trade's.
EFD_REPORT = ("report_id", "title", "filer", "filed-date", "filed-time")

_EFD_HEAD = Form("Senate eFD report", "senate-efd", frozenset(["report_id", "filer"]), _senate_filing)
QUIVER_V1 = Form(
    "Quiver V1",
    "quiver-congress",
    frozenset(("ReportDate", "TransactionDate", "Ticker", "Representative", "Transaction", "Range")),
    _quiver("Representative", "TransactionDate", "ReportDate", "Transaction", ("Range", "Amount"), "House"),
    frozenset(("ReportDate", "TransactionDate", "Ticker", "Transaction", "Range")),
    dated=True,
)
QUIVER_V2 = Form(
    "Quiver V2",
    "quiver-congress",
    frozenset(("Traded", "Filed", "Ticker", "Name", "Transaction", "Trade_Size_USD")),
    _quiver("Name", "Traded", "Filed", "Transaction", ("Trade_Size_USD",), "Chamber"),
    frozenset(("Traded", "Filed", "Ticker", "Transaction", "Trade_Size_USD")),
    dated=True,
)
HOUSE_STOCK_WATCHER = Form(
    "House Stock Watcher",
    "house-stock-watcher",
    frozenset(
        (
            *("disclosure_date", "transaction_date", "owner", "ticker", "type", "amount"),
            *("representative", "ptr_link"),
        )
    ),
    _stock_watcher("representative", ("district", "cap_gains_over_200_usd")),
    frozenset(("disclosure_date", "transaction_date", "type", "amount")),
    dated=True,
)
SENATE_STOCK_WATCHER = Form(
    "Senate Stock Watcher",
    "senate-stock-watcher",
    frozenset(["transaction_date", "owner", "ticker", "asset_type", "type", "amount", "senator", "ptr_link"]),
    _stock_watcher("senator", ("asset_type", "comment")),
    frozenset(("transaction_date", "type", "amount")),
    dated=True,
)
SENATE_EFD = Form(
    "Senate eFD reports",
    "senate-efd",
    frozenset(["report_id", "filer", "transaction-date", "owner", "ticker", "asset-name", "type", "amount"]),
    _senate_efd,
)
FORMS = (QUIVER_V1, QUIVER_V2, HOUSE_STOCK_WATCHER, SENATE_STOCK_WATCHER)
EXPECTED = ", ".join(form.name for form in (*FORMS, SENATE_EFD)) + ", House Clerk index (XML, TXT, ZIP)"
