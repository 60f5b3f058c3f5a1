"""SEC EDGAR: the daily index of filings, or one ticker's submissions, and the filings behind them.

What EDGAR asks (sec.gov/os/accessing-edgar-data): say who you are in the User-Agent, and at most ten
requests a second in all. A filing never changes, so one that is held is not downloaded again.
"""

from __future__ import annotations

from datetime import date, timedelta

from tradelog import clock
from tradelog.config import EdgarConfig
from tradelog.errors import ConfigError, EmptyAnswer, NotAuthorised, NotFound, SourceError, Throttled
from tradelog.ingest import http
from tradelog.ingest.identity import BadRow, Record
from tradelog.ingest.run import IngestionRun
from tradelog.ingest.sources import files, listings, ownership
from tradelog.ingest.sources.base import Request, Source
from tradelog.ingest.sources.listings import Listed

# Ten a second is the most; a little less leaves room for the clock.
PACE_SECONDS = 0.105
BLOCK_SECONDS = 600.0
# An index appears late in the evening, and a filing of the evening in the next one.
LOOK_BACK_DAYS = 3
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
        request.progress.expect(len(listed))
        position = 0
        for item in listed:
            position = _take(run, client, request, item, position)
            request.progress.advance()
    run.empty_is_normal = not listed


def _take(run: IngestionRun, client: http.Client, request: Request, item: Listed, position: int) -> int:
    """One filing: confirmed where it is held, else downloaded and read; returns the last position."""
    held = run.held(ownership.FILING, (item.accession,))
    if held is not None:
        run.confirm(ownership.FILING, [held])
        return position
    url = _document_url(request.settings, item)
    answer = client.get(url, missing=(404,))
    run.api_calls[-1]["headers"] = {"date": answer.headers.get("date")}
    for record in _read(answer, url, item, position + 1):
        run.add(record)
        position = record.position
    return position


def _read(answer: http.Answer, url: str, item: Listed, position: int) -> list[Record | BadRow]:
    """The records of a filing; one that cannot be had or read costs only itself, and is asked again."""
    if answer.status == 404:
        return [BadRow(position, f"{url} is listed but not there (HTTP 404)", "")]
    text = http.no_html(answer, "XML")
    try:
        if ownership.is_submission(text):
            return list(ownership.read_submission(text, url, position))
        envelope = ownership.Envelope(item.accession, item.filed_at, item.filed_as_given, item.filed_day)
        return list(ownership.read_document(text, envelope, url, position))
    except SourceError as error:
        return [BadRow(position, error.message, text)]


def _document_url(settings: EdgarConfig, item: Listed) -> str:
    if item.path.startswith("edgar/"):
        return f"{settings.base_url.rstrip('/')}/Archives/{item.path}"
    cik = item.entities[0].cik.lstrip("0")
    return f"{settings.base_url.rstrip('/')}/Archives/edgar/data/{cik}/{item.path}"


def _of_days(run: IngestionRun, client: http.Client, request: Request) -> list[Listed]:
    """The filings of each day's index. Weekends have none; holidays and today may have none."""
    today = clock.market_today()
    last = request.until or today
    first = request.since or _resume(run, last)
    found: list[Listed] = []
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
        listed = listings.read_index(http.no_html(answer, "an index"), answer.url)
        run.api_calls[-1]["records"] = len(listed)
        if not listed:
            raise EmptyAnswer(f"{answer.url} lists no Form 4, where some are normal", hint="try again later")
        found += listed
    if len(without) >= MOST_DAYS_WITHOUT:
        raise EmptyAnswer(
            f"EDGAR has no daily index for {len(without)} working days up to {last}",
            hint="check [sources.sec-edgar] base_url",
        )
    return listings.merged(found)


def _resume(run: IngestionRun, last: date) -> date:
    """Where the last run left off, and always a few days back: what is held costs no download."""
    previous = run.last_unbounded("/daily-index/")
    back = last - timedelta(days=LOOK_BACK_DAYS)
    if previous is None:
        return back
    looked = clock.from_text(previous.started_at).astimezone(clock.zone(clock.MARKET_ZONE)).date()
    return min(back, looked - timedelta(days=LOOK_BACK_DAYS))


def _index_url(settings: EdgarConfig, day: date) -> str:
    quarter = (day.month - 1) // 3 + 1
    base = f"{settings.base_url.rstrip('/')}/Archives/edgar/daily-index"
    return f"{base}/{day.year}/QTR{quarter}/form.{day:%Y%m%d}.idx"


def _of_symbol(client: http.Client, request: Request) -> list[Listed]:
    """The filings about one issuer, its older parts where the bounds reach back to them."""
    settings, data = request.settings, request.settings.data_url.rstrip("/")
    assert request.symbol is not None
    cik = _cik(client, settings, request.symbol)
    url = f"{data}/submissions/CIK{cik}.json"
    answer = client.get(url)
    whole = files.json_object(http.no_html(answer, "JSON"), url)
    found = listings.read_submissions(whole, url)
    filings = whole.get("filings") or {}
    for part in filings.get("files") or () if request.since is not None else ():
        if request.since is not None and str(part.get("filingTo", "9")) >= request.since.isoformat():
            older = f"{data}/submissions/{part['name']}"
            rows = files.json_object(http.no_html(client.get(older), "JSON"), older)
            found += listings.read_submissions({**rows, "cik": cik, "name": whole.get("name")}, older)
    return [item for item in listings.merged(found) if request.covers(item.filed_day)]


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
    options=frozenset({"since", "until", "symbol"}),
)
