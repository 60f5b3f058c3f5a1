"""HTTP requests to sources, and the reasons not to trust a response."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from hashlib import sha256
from importlib.metadata import version
from types import TracebackType
from typing import Any

import httpx
import tenacity

from tradelog.domain import clock
from tradelog.errors import (
    NotAuthorised,
    PlanTooSmall,
    SourceError,
    Throttled,
    UnexpectedType,
    VendorFault,
)
from tradelog.ingest.identity import whole
from tradelog.ingest.run import IngestionRun

KEPT = ("date", "age", "etag", "last-modified", "content-type", "retry-after", "x-request-id")
_VALIDATORS = {"If-None-Match": "etag", "If-Modified-Since": "last-modified"}
ATTEMPTS = 3
TOTAL_SECONDS = 600.0
MAX_BYTES = 1 << 30
# A source may request a longer wait than a person or a crontab has: then the run fails with it.
LONGEST_WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """``text`` is None where nothing has changed (304)."""

    url: str
    status: int
    text: str | None
    headers: Mapping[str, str]


class Client:
    """GETs of one run. Each attempt is logged in it, without secrets.

    Retries what may pass: no response, 5xx, and 429 with a short wait. ``pace_seconds`` is the least time
    from one request to the next. ``explain`` may know better what a refusal of this source means.
    Redirects are not followed: one can lead keys elsewhere.
    """

    def __init__(
        self,
        run: IngestionRun,
        *,
        headers: Mapping[str, str],
        timeout_seconds: float,
        pace_seconds: float = 0.0,
        key: str | None = None,
        key_name: str = "the key",
        explain: Callable[[str, int, str], SourceError | None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._run = run
        self._pace = pace_seconds
        self._key = key
        self._key_name = key_name
        self._explain = explain
        self._sleep = sleep
        self._last = -pace_seconds
        self._http = httpx.Client(
            headers=dict(headers), timeout=timeout_seconds, follow_redirects=False, trust_env=False
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        *,
        since: Mapping[str, str] | None = None,
        missing: tuple[int, ...] = (),
    ) -> Answer:
        """The answer 200; 304 where ``since`` gave the validators of an older one; or one of ``missing``.

        Raises VendorFault, NotAuthorised, PlanTooSmall or Throttled.
        """
        attempts = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=_wait,
            retry=tenacity.retry_if_exception(_may_pass),
            sleep=self._sleep,
            reraise=True,
        )
        return attempts(self._once, url, dict(params or {}), dict(since or {}), missing)

    def _once(
        self, url: str, params: dict[str, str], since: dict[str, str], missing: tuple[int, ...]
    ) -> Answer:
        self._keep_pace()
        began = time.monotonic()
        facts: dict[str, Any] = {"params": params} if params else {}
        try:
            response, content = self._read(url, params, since)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            message = self._redacted(str(error) or type(error).__name__)
            self._run.api_call(
                url, **facts, error=f"{type(error).__name__}: {message}", seconds=_since(began)
            )
            passing = isinstance(
                error, (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)
            )
            raise VendorFault(
                f"{url} could not be reached: {message}", passing=passing, hint="try again later"
            ) from error
        body = _decoded(response, content)
        facts |= {
            "status": response.status_code,
            "bytes": len(content),
            "sha256": sha256(content).hexdigest(),
            "seconds": _since(began),
            "headers": {name: response.headers[name] for name in KEPT if name in response.headers},
        }
        if response.headers.get("etag") or response.headers.get("last-modified"):
            # Another release may read the same answer in another way, and has to be given it.
            facts["reader"] = version("tradelog")
        if left := response.headers.get("x-ratelimit-remaining"):
            facts["rate_limit_left"] = left
        self._run.api_call(url, **facts)
        status = response.status_code
        if status == 200:
            return Answer(url, status, body, facts["headers"])
        if status == 304 and since:
            # A validator that the source did not repeat still holds: the next run sends it again.
            facts["headers"] = {_VALIDATORS[name]: value for name, value in since.items()} | facts["headers"]
            self._run.api_calls[-1] |= {"headers": facts["headers"], "reader": version("tradelog")}
            return Answer(url, status, None, facts["headers"])
        explained = self._explain(url, status, body) if self._explain else None
        if explained is not None:
            raise explained
        if status in missing:
            return Answer(url, status, body, facts["headers"])
        raise self._distrust(url, response, body)

    def _read(self, url: str, params: dict[str, str], since: dict[str, str]) -> tuple[httpx.Response, bytes]:
        """The answer and its whole body, within one total time and size: a source may drip."""
        began = time.monotonic()
        content = bytearray()
        with self._http.stream("GET", url, params=params, headers=since) as response:
            for block in response.iter_bytes():
                content += block
                if time.monotonic() - began > TOTAL_SECONDS or len(content) > MAX_BYTES:
                    raise httpx.ReadTimeout(f"after {len(content)} bytes the answer still went on")
        return response, bytes(content)

    def _redacted(self, text: str) -> str:
        """Text of others without our key in it, whoever repeats it."""
        return whole(text.replace(self._key, "***") if self._key else text)

    def _keep_pace(self) -> None:
        wait = self._last + self._pace - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        self._last = time.monotonic()

    def _distrust(self, url: str, response: httpx.Response, body: str) -> SourceError:
        status, message = response.status_code, self._redacted(_message(body))
        if status == 401:
            return NotAuthorised(f"{url} refuses the key: {message}", hint=f"check {self._key_name}")
        if status == 403:
            if "<" in body[:50]:
                return VendorFault(f"{url} blocked the request (HTTP 403, HTML)", hint="try again later")
            return PlanTooSmall(
                f"{url}: {message}", hint="this data set needs a larger plan, or use --file PATH"
            )
        wait = retry_after(response.headers.get("retry-after"))
        text = "" if wait is None else f"; it requests a wait of {wait:g} s"
        if status == 429:
            return Throttled(f"{url} is throttling us{text}", wait_seconds=wait, hint="try again after that")
        if status == 304:
            return VendorFault(f"{url} answers HTTP 304 to a request without a condition")
        if 300 <= status < 400:
            return VendorFault(f"{url} redirects to {response.headers.get('location')}; not followed")
        return VendorFault(
            f"{url} failed with HTTP {status}: {message}{text}",
            passing=status >= 500,
            wait_seconds=wait,
            hint="try again later",
        )


def no_html(answer: Answer, expected: str) -> str:
    """The text of a response; raises UnexpectedType where it is a page instead of ``expected``."""
    text = answer.text or ""
    if text.lstrip("\ufeff \r\n\t")[:15].lower().startswith(("<!doctype html", "<html")):
        raise UnexpectedType(f"{answer.url} answered with HTML instead of {expected}", hint="try again later")
    return text


def rows(answer: Answer) -> str:
    """The text of an answer that must be a JSON array.

    Raises UnexpectedType where it is HTML or no array, VendorFault for a bare JSON text.
    """
    text, url = answer.text or "", answer.url
    start = text.lstrip()[:1]
    if start == "<":
        raise UnexpectedType(f"{url} answered with HTML where JSON is normal", hint="try again later")
    if start == '"':
        raise VendorFault(f"{url} answered with a text instead of rows: {text.strip()[:200]}")
    if start != "[":
        raise UnexpectedType(f"{url} answered with no JSON array", hint="try again later")
    return text


def validators(call: Mapping[str, Any]) -> dict[str, str]:
    """The headers of a conditional request, from the validators that a run logged."""
    headers = call.get("headers") or {}
    if call.get("reader") != version("tradelog"):
        return {}
    return {name: str(headers[header]) for name, header in _VALIDATORS.items() if headers.get(header)}


def retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date; None where it is neither."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - clock.now()).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, Throttled):
        return error.wait_seconds is not None and error.wait_seconds <= LONGEST_WAIT_SECONDS
    if isinstance(error, VendorFault) and error.passing:
        return error.wait_seconds is None or error.wait_seconds <= LONGEST_WAIT_SECONDS
    return False


def _wait(state: tenacity.RetryCallState) -> float:
    """The wait that the source requested, else a second or two with jitter."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Throttled | VendorFault) and error.wait_seconds is not None:
        return error.wait_seconds
    return tenacity.wait_random_exponential(multiplier=0.5, max=5)(state)


def _message(body: str) -> str:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return "no JSON in the answer"
    if isinstance(answer, dict):
        answer = answer.get("detail") or answer.get("message") or answer
    return str(answer)[:200]


def _decoded(response: httpx.Response, content: bytes) -> str:
    """The body as text: UTF-8 unless the source names one of the few others that occur."""
    charset = (response.charset_encoding or "utf-8").lower()
    encoding = charset if charset in ("iso-8859-1", "windows-1252", "us-ascii") else "utf-8-sig"
    return content.decode(encoding, "replace")


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
