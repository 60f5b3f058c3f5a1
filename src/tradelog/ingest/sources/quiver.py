"""QuiverQuant's API (api.quiverquant.com/docs; field lists as of November 2026)."""

from __future__ import annotations

from tradelog import clock
from tradelog.config import QuiverConfig, secret
from tradelog.errors import CredentialsMissing
from tradelog.ingest import http
from tradelog.ingest.run import IngestionRun
from tradelog.ingest.sources import congress
from tradelog.ingest.sources.files import read_json

# Newest first, at most 500 trades of each chamber.
LIVE_CONGRESS = "/beta/live/congresstrading"


def key() -> str:
    """Raises CredentialsMissing with the two ways on."""
    found = secret("QUIVER_API_KEY")
    if found is None:
        raise CredentialsMissing(
            "QuiverQuant needs a key, and QUIVER_API_KEY is not set",
            hint="export QUIVER_API_KEY=..., or read a file you have: tradelog fetch congress --file PATH",
        )
    return found


def fetch_congress(run: IngestionRun, config: QuiverConfig, api_key: str) -> None:
    """The newest congress trades into the run. Raises SourceError of the kind that fits."""
    url = config.base_url.rstrip("/") + LIVE_CONGRESS
    body = http.get(
        run,
        url,
        params={},
        headers={"Authorization": f"Bearer {api_key}", "Accept": "application/json"},
        timeout_seconds=float(config.timeout_seconds),
    )
    http.rows(url, body)
    run.recognised(congress.QUIVER_V1.feed)
    last = 0
    for item in read_json(run, body, url, clock.market_today()):
        run.add(item)
        last = item.position
    run.api_calls[-1]["records"] = last
