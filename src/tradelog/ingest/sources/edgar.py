"""SEC EDGAR: the daily index of filings, or one ticker's submissions, and the filings behind them.

What EDGAR asks (sec.gov/os/accessing-edgar-data): say who you are in the User-Agent, and at most ten
requests a second in all. A filing never changes, so one that is held is not downloaded again.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

from tradelog import clock
from tradelog.config import EdgarConfig
from tradelog.errors import (
    ConfigError,
    EmptyAnswer,
    NotAuthorised,
    NotFound,
    SchemaMismatch,
    SourceError,
    Throttled,
    UnexpectedType,
    VendorFault,
)
from tradelog.ingest import http
from tradelog.ingest.identity import BadRow, Record
from tradelog.ingest.run import IngestionRun
from tradelog.ingest.sources import files, listings, ownership
from tradelog.ingest.sources.base import Request, Source, resume
from tradelog.ingest.sources.listings import Listed

# Ten a second is the most; a little less leaves room for the clock.
PACE_SECONDS = 0.105
BLOCK_SECONDS = 600.0
# An index appears late in the evening, and a filing of the evening in the next one.
LOOK_BACK_DAYS = 3
# So many filings in a row that cannot be had are no accident.
MOST_FAILURES = 5
# S3, behind EDGAR, says 403 for what does not exist.
NO_INDEX = (403, 404)
MOST_DAYS_WITHOUT = 5
TICKERS = "/files/company_tickers.json"


def fetch(run: IngestionRun, request: Request) -> None:
    """New ownership filings into the run. Raises SourceError, ConfigError without a contact."""
    settings = request.settings
    if not settings.contact or "@" not in settings.contact:
        raise ConfigError(
            "EDGAR wants to know who asks, and [sources.sec-edgar] contact is not set",
            hint='write contact = "Your Name you@example.com" there',
        )
    run.recognised(ownership.FEED)
    with http.Client(
        run,
        headers={"User-Agent": settings.contact, "Accept-Encoding": "gzip, deflate"},
        timeout_seconds=float(settings.timeout_seconds),
        pace_seconds=PACE_SECONDS,
        explain=_explain,
    ) as client:
        listed = _of_symbol(client, request) if request.symbol else _of_days(run, client, request)
        is_plain = not (request.symbol or request.since or request.until)
        listed = _with_owed(run, listed) if is_plain else listed
        request.progress.expect(len(listed))
        _take_all(run, client, request, listed)
    run.empty_is_normal, run.bad_is_normal = not listed, True


def _with_owed(run: IngestionRun, listed: list[Listed | BadRow]) -> list[Listed | BadRow]:
    """What is listed now, and what was listed in the last while and could not be had."""
    known = {item.accession for item in listed if isinstance(item, Listed)}
    owed = {item.accession: item for text in run.owed() if (item := listings.from_text(text)) is not None}
    return [*listed, *(item for accession, item in owed.items() if accession not in known)]


def _take_all(
    run: IngestionRun, client: http.Client, request: Request, listed: list[Listed | BadRow]
) -> None:
    """Each filing: confirmed where it is held, else downloaded and read.

    One that cannot be had or read costs only itself, and is asked for again. Raises the error of the
    last one where several in a row fail: then it is not the filing.
    """
    position = failures = 0
    for item in listed:
        request.progress.advance()
        if isinstance(item, BadRow):
            run.add(item)
            continue
        held = run.held(ownership.FILING, (item.accession,))
        if held is not None:
            run.confirm(ownership.FILING, [held])
            continue
        try:
            found = _read(run, client, request.settings, item, position + 1)
            failures = 0
        except (VendorFault, UnexpectedType, SchemaMismatch) as error:
            failures += 1
            if failures >= MOST_FAILURES or (isinstance(error, VendorFault) and error.passing):
                raise
            run.add(BadRow(position + 1, error.message, listings.as_text(item)))
            position += 1
            continue
        for record in found:
            run.add(record)
            position = record.position


def _read(
    run: IngestionRun, client: http.Client, settings: EdgarConfig, item: Listed, position: int
) -> list[Record]:
    """The records of one filing. Raises SourceError."""
    url = _document_url(settings, item)
    answer = client.get(url)
    run.api_calls[-1]["headers"] = {"date": answer.headers.get("date")}
    text = http.no_html(answer, "XML")
    if ownership.is_submission(text):
        return ownership.read_submission(text, url, position, item.accession)
    envelope = ownership.Envelope(item.accession, item.filed_at, item.filed_as_given, item.filed_day)
    return ownership.read_document(text, envelope, url, position)


def _document_url(settings: EdgarConfig, item: Listed) -> str:
    if item.path.startswith("edgar/"):
        return f"{settings.base_url.rstrip('/')}/Archives/{item.path}"
    cik = item.entities[0].cik.lstrip("0")
    return f"{settings.base_url.rstrip('/')}/Archives/edgar/data/{cik}/{item.path}"


def _of_days(run: IngestionRun, client: http.Client, request: Request) -> list[Listed | BadRow]:
    """The filings of each day's index. Weekends have none; holidays and today may have none."""
    today = clock.market_today()
    last = request.until or today
    first = request.since or resume(run, "/daily-index/", last, LOOK_BACK_DAYS)
    found: list[Listed | BadRow] = []
    without: list[date] = []
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        if day.weekday() >= 5:
            continue
        answer = client.get(_index_url(request.settings, day), missing=NO_INDEX)
        if answer.status in NO_INDEX:
            without.append(day)
            continue
        without.clear()
        listed = listings.index(http.no_html(answer, "an index"), answer.url)
        run.api_calls[-1]["records"] = len(listed)
        if not listed:
            raise EmptyAnswer(f"{answer.url} lists no Form 4, where some are normal", hint="try again later")
        found += listed
    if len(without) >= MOST_DAYS_WITHOUT:
        raise EmptyAnswer(
            f"EDGAR has no daily index for {len(without)} working days up to {last}",
            hint="check [sources.sec-edgar] base_url",
        )
    return list(listings.merged(found))


def _index_url(settings: EdgarConfig, day: date) -> str:
    quarter = (day.month - 1) // 3 + 1
    base = f"{settings.base_url.rstrip('/')}/Archives/edgar/daily-index"
    return f"{base}/{day.year}/QTR{quarter}/form.{day:%Y%m%d}.idx"


def _of_symbol(client: http.Client, request: Request) -> list[Listed | BadRow]:
    """The filings about one issuer, its older parts where the bounds reach back to them."""
    settings, data = request.settings, request.settings.data_url.rstrip("/")
    assert request.symbol is not None
    cik = _cik(client, settings, request.symbol)
    url = f"{data}/submissions/CIK{cik}.json"
    whole = files.json_object(http.no_html(client.get(url), "JSON"), url)
    found = listings.submissions(whole, url)
    for name in _older_parts(whole, request.since):
        older = f"{data}/submissions/{name}"
        rows = files.json_object(http.no_html(client.get(older), "JSON"), older)
        found += listings.submissions({**rows, "cik": cik, "name": whole.get("name")}, older)
    return [
        item for item in listings.merged(found) if isinstance(item, BadRow) or request.covers(item.filed_day)
    ]


def _older_parts(whole: dict[str, Any], since: date | None) -> list[str]:
    """The names of the older parts of a submissions file that reach up to a day."""
    parts = whole["filings"].get("files") if since is not None and "filings" in whole else None
    return [
        str(part["name"])
        for part in (parts if isinstance(parts, list) else ())
        if isinstance(part, dict)
        and re.fullmatch(r"[\w.-]+", str(part.get("name")))
        and since is not None
        and str(part.get("filingTo", "9")) >= since.isoformat()
    ]


def _cik(client: http.Client, settings: EdgarConfig, symbol: str) -> str:
    url = settings.base_url.rstrip("/") + TICKERS
    companies = files.json_object(http.no_html(client.get(url), "JSON"), url)
    wanted = symbol.upper().replace(".", "-")
    for company in companies.values():
        if isinstance(company, dict) and str(company.get("ticker", "")).upper() == wanted:
            return str(company.get("cik_str", "")).zfill(10)
    raise NotFound(f"EDGAR knows no company with the ticker {symbol}", hint=f"see {url}")


def _explain(url: str, status: int, body: str) -> SourceError | None:
    """EDGAR's own refusals: pages of HTML with status 403."""
    if status == 403 and "Request Rate Threshold" in body:
        return Throttled(
            f"{url}: EDGAR says that the request rate is too high; it blocks for about ten minutes",
            wait_seconds=BLOCK_SECONDS,
            hint="wait at least ten minutes; is another program of this address asking too?",
        )
    if status == 403 and "Undeclared Automated Tool" in body:
        return NotAuthorised(
            f"{url}: EDGAR does not accept who we say we are",
            hint="put a name and a mail address that work into [sources.sec-edgar] contact",
        )
    return None


SOURCE = Source(
    name="sec-edgar",
    commands={"insider": ownership.FEED},
    origin="sec.gov, U.S. Securities and Exchange Commission",
    terms="public record; ten requests a second, and a contact in the User-Agent",
    fetch=fetch,
    settings=EdgarConfig,
    options={"insider": frozenset({"since", "until", "symbol"})},
)
