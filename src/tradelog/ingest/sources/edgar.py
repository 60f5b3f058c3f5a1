"""SEC EDGAR: the daily index of filings, or one ticker's submissions, and the filings behind them.

EDGAR's rules (sec.gov/os/accessing-edgar-data): a User-Agent with a contact, and at most ten requests a
second in all. A filing never changes, so one that is held is not downloaded again.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta
from http import HTTPStatus
from typing import Any

from tradelog.config.schema import EdgarConfig
from tradelog.domain import clock
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
from tradelog.ingest.sources.base import Request, Source
from tradelog.ingest.sources.listings import Listed
from tradelog.store.writer import Writer

# Ten a second is the most; a little less leaves room for the clock.
PACE_SECONDS = 0.105
BLOCK_SECONDS = 600.0
# An index appears late in the evening, and a filing of the evening in the next one. So many days hold
# three working days that have passed at the least: enough to tell a holiday from a wrong address.
LOOK_BACK_DAYS = 5
# So many filings in a row that cannot be had are no accident.
MAX_FAILURES = 5
DAYS_A_RUN = 5
# S3, behind EDGAR, answers 403 for what does not exist.
NO_INDEX = (403, 404)
MAX_DAYS_WITHOUT = 3
TICKERS = "/files/company_tickers.json"


def fetch(run: IngestionRun, request: Request) -> None:
    """New ownership filings into the run. Raises SourceError, ConfigError without a contact."""
    settings = request.settings
    if settings.contact and "@" not in settings.contact:
        raise ConfigError(
            f"[sources.sec-edgar] contact = {settings.contact!r} holds no mail address",
            hint='write contact = "Your Name you@example.com"',
        )
    if not settings.contact:
        raise ConfigError(
            "EDGAR requires a contact, and [sources.sec-edgar] contact is not set",
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
        listed = _with_pending(run, listed) if request.goes_on else listed
        request.progress.expect(len(listed))
        _take_all(run, client, request, listed)
    run.empty_is_normal, run.bad_is_normal = not listed, True


def _with_pending(run: IngestionRun, listed: list[Listed | BadRow]) -> list[Listed | BadRow]:
    """What is listed now, and what was listed in the last while and could not be had."""
    accessions = {item.accession for item in listed if isinstance(item, Listed)}
    pending = {
        item.accession: item for text in run.pending() if (item := listings.from_text(text)) is not None
    }
    return [*listed, *(item for accession, item in pending.items() if accession not in accessions)]


def _take_all(
    run: IngestionRun, client: http.Client, request: Request, listed: list[Listed | BadRow]
) -> None:
    """Each filing: confirmed where it is held, else downloaded and read.

    One that cannot be downloaded or read costs only itself, and is fetched again later. Where several in a
    row fail, or all of two and more, it is not the filing: raises the error of the last one. A filing that
    is missing (404) does not count.
    """
    position = in_a_row = failed = had = 0
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
            records = _read(run, client, request.settings, item, position + 1)
        except (VendorFault, UnexpectedType, SchemaMismatch) as error:
            is_there = run.api_calls[-1].get("status") != HTTPStatus.NOT_FOUND
            in_a_row, failed = in_a_row + is_there, failed + is_there
            last = error
            if in_a_row >= MAX_FAILURES:
                raise
            run.add(BadRow(position + 1, error.message, listings.as_text(item)))
            position += 1
            continue
        in_a_row, had = 0, had + 1
        for record in records:
            run.add(record)
            position = record.position
    if failed > 1 and not had:
        raise last


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
    assert request.since is not None
    assert request.until is not None
    items: list[Listed | BadRow] = []
    without: list[date] = []
    for day in _working_days(request.since, request.until):
        url = _index_url(request.settings, day)
        answer = client.get(url, since=_validators(run, url), missing=NO_INDEX)
        if answer.status in NO_INDEX:
            _refuse_page(answer)
            # The index of today comes in the evening.
            without += [day] if day < clock.market_today() else []
            if len(without) >= MAX_DAYS_WITHOUT:
                raise EmptyAnswer(
                    f"EDGAR has no daily index for {len(without)} working days up to {day}",
                    hint="check [sources.sec-edgar] base_url",
                )
            continue
        without.clear()
        if answer.text is None:
            continue
        listed = listings.index(http.no_html(answer, "an index"), answer.url)
        run.api_calls[-1]["records"] = len(listed)
        _refuse_unread(listed, answer.url)
        items += listed
    return list(listings.merged(items))


def _validators(run: IngestionRun, url: str) -> dict[str, str]:
    """What an index was like when all its filings were last taken: unchanged, it has no new ones."""
    previous = run.last_asking(url)
    if previous is None or previous.quarantined:
        return {}
    calls = [call for call in previous.api_calls if call["endpoint"] == url]
    return http.validators(calls[-1]) if calls else {}


def _refuse_page(answer: http.Answer) -> None:
    """Explain a 403: S3 has an XML one for a missing file. Raises VendorFault for a page that blocks us."""
    text = (answer.text or "").lstrip()[:15].lower()
    if answer.status == HTTPStatus.FORBIDDEN and text.startswith(("<!doctype html", "<html")):
        raise VendorFault(f"{answer.url} blocked the request (HTTP 403, HTML)", hint="try again later")


def _refuse_unread(listed: list[Listed | BadRow], url: str) -> None:
    """Raise EmptyAnswer for a list without filings, SchemaMismatch for one of which none can be read."""
    if not listed:
        raise EmptyAnswer(f"{url} lists no Form 4, where some are normal", hint="try again later")
    if not any(isinstance(item, Listed) for item in listed):
        first = next(item for item in listed if isinstance(item, BadRow))
        raise SchemaMismatch(
            f"{url}: none of {len(listed)} lines could be read; the first: {first.reason}",
            hint="its form has changed; nothing was changed here",
        )


def parts(writer: Writer, request: Request) -> list[Request]:
    """A week of indexes a run: thousands of filings, which a later failure must not take along."""
    if request.symbol is not None:
        return [request]
    last = request.until or clock.market_today()
    first = request.since or _resume(writer, last)
    goes_on = request.since is None and request.until is None
    days = _working_days(first, last)
    weeks = [days[at : at + DAYS_A_RUN] for at in range(0, len(days), DAYS_A_RUN)]
    bounds = [(week[0], week[-1]) for week in weeks] or [(first, last)]
    return [replace(request, since=since, until=until, goes_on=goes_on) for since, until in bounds]


def _working_days(first: date, last: date) -> list[date]:
    every = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return [day for day in every if day.weekday() < 5]


def _resume(writer: Writer, last: date) -> date:
    """Where the last fetch ended, and always a few days back: what is held costs no download."""
    with writer.reading() as connection:
        until = connection.execute(
            "SELECT max(json_extract(params, '$.until')) FROM data_ingestion_runs"
            " WHERE data_source = ? AND status = 'completed' AND json_extract(params, '$.goes_on')",
            (ownership.FEED,),
        ).fetchone()[0]
    ended = last if until is None else min(last, date.fromisoformat(until))
    return ended - timedelta(days=LOOK_BACK_DAYS)


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
    items = listings.submissions(whole, url)
    if items:
        _refuse_unread(items, url)
    for name in _older_parts(whole, request):
        older = f"{data}/submissions/{name}"
        rows = files.json_object(http.no_html(client.get(older), "JSON"), older)
        items += listings.submissions({**rows, "cik": cik, "name": whole.get("name")}, older)
    return [
        item for item in listings.merged(items) if isinstance(item, BadRow) or request.covers(item.filed_day)
    ]


def _older_parts(whole: dict[str, Any], request: Request) -> list[str]:
    """The names of the older parts of a submissions file that hold days within the bounds."""
    parts_ = whole["filings"].get("files") if isinstance(whole.get("filings"), dict) else None
    if not isinstance(parts_, list) or (request.since is None and request.until is None):
        return []
    since = "" if request.since is None else request.since.isoformat()
    until = "9" if request.until is None else request.until.isoformat()
    return [
        str(part["name"])
        for part in parts_
        if isinstance(part, dict)
        and re.fullmatch(r"[\w.-]+", str(part.get("name")))
        and str(part.get("filingTo") or "9") >= since
        and str(part.get("filingFrom") or "") <= until
    ]


def _cik(client: http.Client, settings: EdgarConfig, symbol: str) -> str:
    url = settings.base_url.rstrip("/") + TICKERS
    companies = files.json_object(http.no_html(client.get(url), "JSON"), url)
    ticker = symbol.upper().replace(".", "-")
    for company in companies.values():
        if isinstance(company, dict) and str(company.get("ticker", "")).upper() == ticker:
            return str(company.get("cik_str", "")).zfill(10)
    raise NotFound(f"EDGAR lists no company with the ticker {symbol}", hint=f"see {url}")


def _explain(url: str, status: int, body: str) -> SourceError | None:
    """EDGAR's own refusals: pages of HTML with status 403."""
    if status == 403 and "Request Rate Threshold" in body:
        return Throttled(
            f"{url}: the request rate is too high; EDGAR blocks for about ten minutes",
            wait_seconds=BLOCK_SECONDS,
            hint="wait at least ten minutes; does another program of this address use EDGAR?",
        )
    if status == 403 and "Undeclared Automated Tool" in body:
        return NotAuthorised(
            f"{url}: EDGAR does not accept the User-Agent",
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
    parts=parts,
)
