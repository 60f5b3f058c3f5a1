"""QuiverQuant's API (api.quiverquant.com/docs; field lists as of November 2026).

It ignores unknown parameters, so bounds of time are applied here, and both counts are kept. Pages are
counted from 1, and end with an empty one.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from tradelog.config.schema import QuiverConfig
from tradelog.domain import clock
from tradelog.domain.symbols import normalise_ticker
from tradelog.errors import VendorFault
from tradelog.ingest import http
from tradelog.ingest.identity import BadRow, Record
from tradelog.ingest.run import IngestionRun
from tradelog.ingest.sources import congress, files, insider
from tradelog.ingest.sources.base import Request, Source, resume

# Newest first, at most 500 trades of each chamber.
LIVE_CONGRESS = "/beta/live/congresstrading"
# Everything ever reported, in one answer; five calls an hour.
BULK_CONGRESS = "/beta/bulk/congresstrading"
SYMBOL_CONGRESS = "/beta/historical/congresstrading/"
LIVE_INSIDERS = "/beta/live/insiders"
PAGE_SIZE = 500
# A fetch that was missed is made up for; what was there before is seen again, unchanged.
LOOK_BACK_DAYS = 5
MAX_PAGES = 1000
# A list that moves while it is read is read again, so often; then what came is taken together.
PASSES = 3

Elements = list[tuple[Any, str]]


def fetch(run: IngestionRun, request: Request) -> None:
    """Trades of Congress or of insiders into the run. Raises SourceError of the kind that fits."""
    headers = {"Authorization": f"Bearer {request.key}", "Accept": "application/json"}
    timeout = float(request.settings.timeout_seconds)
    with http.Client(
        run, headers=headers, timeout_seconds=timeout, key=request.key, key_name="QUIVER_API_KEY"
    ) as client:
        read = _congress if request.command == "congress" else _insiders
        read(run, client, request)


def _congress(run: IngestionRun, client: http.Client, request: Request) -> None:
    base = request.settings.base_url.rstrip("/")
    params: dict[str, str] = {}
    if request.symbol is not None:
        url = base + SYMBOL_CONGRESS + request.symbol
    elif request.history:
        url, params = base + BULK_CONGRESS, {"version": "V2", "nonstock": "true"}
    else:
        url = base + LIVE_CONGRESS
    run.recognised(congress.QUIVER_V1.feed)
    if request.history and not (request.symbol or request.since or request.until):
        run.lists_all(congress.KIND)
    text = http.rows(client.get(url, params))
    came = taken = 0
    for row in congress.read_json(run, text, url, clock.market_today()):
        came += 1
        if isinstance(row, BadRow) or (request.covers(_filed_day(row)) and _is_of(request, row)):
            taken += 1
            run.add(row)
    run.api_calls[-1] |= {"records": came, "records_in_bounds": taken}
    # A ticker without trades, or days without filings, are a valid response.
    run.empty_is_normal = came > 0 or request.symbol is not None


def _is_of(request: Request, row: Record) -> bool:
    """Whether a row is of the requested ticker: the API ignores unknown parameters."""
    return request.symbol is None or row.symbol == normalise_ticker(request.symbol)


def _filed_day(row: Record) -> str | None:
    """The day of the filing as the source gives it, ISO."""
    return (row.filed_as_given or "").strip()[:10] or None


def _insiders(run: IngestionRun, client: http.Client, request: Request) -> None:
    url = request.settings.base_url.rstrip("/") + LIVE_INSIDERS
    run.recognised(insider.QUIVER_INSIDERS.feed)
    # A holiday has no trades; a week without any is no answer to be trusted.
    days: list[date | None] = [*_days(run, request)]
    run.empty_is_normal = request.symbol is not None or len(days) < LOOK_BACK_DAYS
    request.progress.expect(max(1, len(days)))
    came: Elements = []
    found: Elements = []
    for day in days or [None]:
        params = {} if day is None else {"uploaded": day.strftime("%Y%m%d")}
        if request.symbol is not None:
            params["ticker"] = request.symbol
        rows = _pages(run, client, url, params)
        came += rows
        found += [row for row in rows if day is None or _uploaded(row[0]) in (None, day.isoformat())]
        request.progress.advance()
    taken = 0
    for record in files.json_rows(run, found, insider.FORMS, insider.EXPECTED, url, clock.market_today()):
        if isinstance(record, BadRow) or _is_of(request, record):
            taken += 1
            run.add(record)
    run.api_calls[-1] |= {"records": len(came), "records_in_bounds": taken}


def _uploaded(value: Any) -> str | None:
    """The day on which the vendor had a row, by its own account."""
    text = str(value.get("uploaded") or "") if isinstance(value, dict) else ""
    return text[:10] or None


def _days(run: IngestionRun, request: Request) -> list[date]:
    """The days of upload to fetch; none for all of one symbol."""
    if request.symbol is not None and request.since is None and request.until is None:
        return []
    last = request.until or clock.market_today()
    first = request.since or resume(run, LIVE_INSIDERS, last, LOOK_BACK_DAYS - 1)
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _pages(run: IngestionRun, client: http.Client, url: str, params: dict[str, str]) -> Elements:
    """All rows of a paged list, each once, also where the list moves while it is read."""
    passes: list[list[Elements]] = []
    while len(passes) < PASSES:
        passes.append(_one_pass(client, url, params))
        # One page cannot be torn, and a list that reads the same twice stood still: what two of its
        # pages have alike at their seam are two rows.
        if len(passes[-1]) < 2 or (len(passes) > 1 and passes[-1] == passes[-2]):
            return [row for page in passes[-1] for row in page]
    run.api_calls[-1]["moving"] = True
    return _union([_joined(pages) for pages in passes])


def _one_pass(client: http.Client, url: str, params: dict[str, str]) -> list[Elements]:
    """Page after page until an empty one: the page size is the source's."""
    pages: list[Elements] = []
    for number in range(1, MAX_PAGES + 1):
        page = _page(client, url, params, number)
        # The same page again: this source has no pages, and has sent everything.
        if not page or (pages and page == pages[-1]):
            return pages
        pages.append(page)
    raise VendorFault(f"{url} has more than {MAX_PAGES} pages", hint="fetch fewer days: --since, --until")


def _page(client: http.Client, url: str, params: dict[str, str], number: int) -> Elements:
    answer = client.get(url, {**params, "page": str(number), "page_size": str(PAGE_SIZE)})
    return files.elements(http.rows(answer), url, insider.EXPECTED)


def _joined(pages: list[Elements]) -> Elements:
    """Page after page; what a page repeats of the end of the one before has moved down, and is one."""
    rows: Elements = []
    for page in pages:
        texts = [text for _, text in page]
        before = [text for _, text in rows[-len(page) :]]
        shift = next((size for size in range(len(page), 0, -1) if before[-size:] == texts[:size]), 0)
        rows += page[shift:] if len(before) >= shift else page
    return rows


def _union(passes: list[Elements]) -> Elements:
    """Rows of several passes: of identical ones as many as the pass with the most of them has."""
    kept: Elements = []
    have: dict[str, int] = {}
    for rows in passes:
        counts: dict[str, int] = {}
        for value, text in rows:
            counts[text] = counts.get(text, 0) + 1
            if counts[text] > have.get(text, 0):
                have[text] = counts[text]
                kept.append((value, text))
    return kept


SOURCE = Source(
    name="quiver",
    commands={"congress": congress.QUIVER_V1.feed, "insider": insider.QUIVER_INSIDERS.feed},
    origin="api.quiverquant.com, a vendor; its data is vendor-attested",
    terms="paid plan; no commercial use on Hobbyist and Trader plans",
    fetch=fetch,
    settings=QuiverConfig,
    key="QUIVER_API_KEY",
    options={
        "congress": frozenset({"since", "until", "symbol", "history"}),
        "insider": frozenset({"since", "until", "symbol"}),
    },
)
