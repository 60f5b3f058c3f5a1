"""Trades of members of Congress: every form in which they come, known by their columns.

A feed is one source whatever the form: the Quiver export, its API and both its versions share
identities, so that a file and the API never count a trade twice. Which fields make an identity and
which a version is written at each form; ``ExcessReturn``, ``PriceChange``, ``SPYChange`` and
``excess_return`` move daily and know the future, and are in neither.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from tradelog import money, names
from tradelog.ingest import fields
from tradelog.ingest.identity import BadRow, Record

KIND = "congress_trade"

Row = Mapping[str, Any]
Reader = Callable[[int, Row, str, date], Record]


@dataclass(frozen=True, slots=True)
class Form:
    """``needs`` are the columns that make the form; ``read`` turns one row of it into a record."""

    name: str
    feed: str
    needs: frozenset[str]
    read: Reader


class Unreadable(ValueError):
    """A row that cannot be a trade."""


def recognise(columns: frozenset[str]) -> Form | None:
    """The form with these columns, None where it is no known one."""
    return next((form for form in FORMS if form.needs <= columns), None)


def read_row(form: Form, position: int, row: object, payload: str, latest: date) -> Record | BadRow:
    """One row; a BadRow with the reason where it cannot be read."""
    if not isinstance(row, Mapping):
        return BadRow(position, "not a row with named fields", payload)
    missing = sorted(form.needs - row.keys())
    if missing:
        return BadRow(position, f"no field {', '.join(missing)}", payload)
    try:
        return form.read(position, row, payload, latest)
    except Unreadable as error:
        return BadRow(position, str(error), payload)


def read_reports(reports: Any, latest: date) -> Iterator[Record | BadRow]:
    """The trades of Senate eFD reports, given as (report, its text), in the order of the file."""
    position = 0
    for report, text in reports:
        try:
            rows = [row for table in report["data"] for row in table["rows"]]
            head = {key: report.get(key) for key in EFD_REPORT}
        except (TypeError, KeyError, AttributeError):
            position += 1
            yield BadRow(position, "not a report with tables of rows", text)
            continue
        for line, row in enumerate(rows, 1):
            position += 1
            if not isinstance(row, Mapping):
                yield BadRow(position, f"line {line} of the report is no row", json.dumps(row))
                continue
            payload = json.dumps({**head, "line": line, **row})
            yield read_row(SENATE_EFD, position, {**head, "line": line, **row}, payload, latest)


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    text = "" if value is None else str(value)
    # Half of a surrogate pair is no text that can be kept; the payload still has it as it was given.
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _name(row: Row, key: str) -> str:
    name = _text(row, key)
    if not name.strip():
        raise Unreadable(f"no name in {key}")
    return name


@dataclass(frozen=True, slots=True)
class _Dates:
    event: date | None
    filed: date | None
    flags: tuple[str, ...]


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
    return _Dates(happened, disclosed, tuple(flags))


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
        event_date=None if dates.event is None else dates.event.isoformat(),
        filed_at=None if dates.filed is None else fields.filed_moment(dates.filed, filed_time),
        filed_as_given=filed or None,
        symbol=fields.ticker(symbol),
        actor=actor,
        side=fields.side(side),
        amount_low=low,
        amount_high=high,
        flags=odd,
    )


def _quiver_v1(position: int, row: Row, payload: str, latest: date) -> Record:
    amount = _text(row, "Range") or _text(row, "Amount")
    return _quiver(
        position,
        payload,
        latest,
        name=_name(row, "Representative"),
        traded=_text(row, "TransactionDate"),
        filed=_text(row, "ReportDate"),
        symbol=_text(row, "Ticker"),
        side=_text(row, "Transaction"),
        amount=amount,
        party=_text(row, "Party"),
        chamber=_text(row, "House"),
    )


def _quiver_v2(position: int, row: Row, payload: str, latest: date) -> Record:
    return _quiver(
        position,
        payload,
        latest,
        name=_name(row, "Name"),
        traded=_text(row, "Traded"),
        filed=_text(row, "Filed"),
        symbol=_text(row, "Ticker"),
        side=_text(row, "Transaction"),
        amount=_text(row, "Trade_Size_USD"),
        party=_text(row, "Party"),
        chamber=_text(row, "Chamber"),
    )


def _quiver(
    position: int,
    payload: str,
    latest: date,
    *,
    name: str,
    traded: str,
    filed: str,
    symbol: str,
    side: str,
    amount: str,
    party: str,
    chamber: str,
) -> Record:
    # The lower bound only: V2 gives nothing else, and it tells the bands apart.
    low, _ = fields.amount(amount)
    dates = _dates(traded, filed, latest)
    when = traded.strip() if dates.event is None else dates.event.isoformat()
    return _record(
        position,
        payload,
        identity=(
            names.folded(name),
            fields.folded_ticker(symbol),
            when,
            side.strip().lower(),
            amount.strip() if low is None else money.to_text(low),
        ),
        content=(
            filed.strip() if dates.filed is None else dates.filed.isoformat(),
            name,
            symbol,
            party.strip()[:1].upper(),
            chamber.strip()[:1].upper(),
        ),
        dates=dates,
        filed=filed,
        symbol=symbol,
        actor=name,
        side=side,
        amount=amount,
    )


def _stock_watcher(member: str, extras: tuple[str, ...]) -> Reader:
    def read(position: int, row: Row, payload: str, latest: date) -> Record:
        traded, filed = _text(row, "transaction_date"), _text(row, "disclosure_date")
        dates = _dates(traded, filed, latest)
        amount, kind = _text(row, "amount"), _text(row, "type")
        return _record(
            position,
            payload,
            identity=(
                _text(row, "ptr_link").strip(),
                traded.strip() if dates.event is None else dates.event.isoformat(),
                *(_text(row, key).strip() for key in ("owner", "ticker", "asset_description")),
                kind.strip().lower(),
                amount.strip(),
            ),
            # Only what all forms of the feed have: the JSON form carries no disclosure date.
            content=(_name(row, member), *(_text(row, key) for key in extras)),
            dates=dates,
            filed=filed,
            symbol=_text(row, "ticker"),
            actor=_name(row, member),
            side=kind,
            amount=amount,
        )

    return read


def _senate_efd(position: int, row: Row, payload: str, latest: date) -> Record:
    traded, filed = _text(row, "transaction-date"), _text(row, "filed-date")
    dates = _dates(traded, filed, latest)
    names = ("ticker", "asset-name", "asset-type", "type", "amount", "comment", "owner")
    return _record(
        position,
        payload,
        identity=(_text(row, "report_id"), _text(row, "line")),
        content=(traded, filed, _name(row, "filer"), *(_text(row, key) for key in names)),
        dates=dates,
        filed=filed,
        filed_time=_text(row, "filed-time") or None,
        symbol=_text(row, "ticker"),
        actor=_name(row, "filer"),
        side=_text(row, "type"),
        amount=_text(row, "amount"),
        flags=("amendment",) if "(Amendment" in _text(row, "title") else (),
    )


# The report's own "type" says what its title says, and would meet the trade's.
EFD_REPORT = ("report_id", "title", "filer", "filed-date", "filed-time")

QUIVER_V1 = Form(
    "Quiver V1",
    "quiver-congress",
    frozenset(("ReportDate", "TransactionDate", "Ticker", "Representative", "Transaction", "Range")),
    _quiver_v1,
)
QUIVER_V2 = Form(
    "Quiver V2",
    "quiver-congress",
    frozenset(("Traded", "Filed", "Ticker", "Name", "Transaction", "Trade_Size_USD")),
    _quiver_v2,
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
)
SENATE_STOCK_WATCHER = Form(
    "Senate Stock Watcher",
    "senate-stock-watcher",
    frozenset(["transaction_date", "owner", "ticker", "asset_type", "type", "amount", "senator", "ptr_link"]),
    _stock_watcher("senator", ("asset_type", "comment")),
)
SENATE_EFD = Form(
    "Senate eFD reports",
    "senate-efd",
    frozenset(["report_id", "filer", "transaction-date", "owner", "ticker", "asset-name", "type", "amount"]),
    _senate_efd,
)
FORMS = (QUIVER_V1, QUIVER_V2, HOUSE_STOCK_WATCHER, SENATE_STOCK_WATCHER)
EXPECTED = ", ".join(form.name for form in (*FORMS, SENATE_EFD))
