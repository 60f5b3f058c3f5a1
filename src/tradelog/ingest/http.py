"""Asking a source over HTTP, and telling apart the reasons not to trust its answer."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from tradelog import clock
from tradelog.errors import NotAuthorised, PlanTooSmall, Throttled, UnexpectedType, VendorFault
from tradelog.ingest.run import IngestionRun

KEPT = ("date", "etag", "last-modified", "content-type", "retry-after", "x-request-id")


def get(
    run: IngestionRun,
    url: str,
    *,
    params: Mapping[str, str],
    headers: Mapping[str, str],
    timeout_seconds: float,
) -> str:
    """The body of a GET that answered 200, as text; the call is logged in the run, without secrets.

    Raises VendorFault, NotAuthorised, PlanTooSmall or Throttled. Redirects are not followed: one can
    lead keys elsewhere.
    """
    began = time.monotonic()
    facts: dict[str, Any] = {"params": dict(params)}
    try:
        with httpx.Client(timeout=timeout_seconds, follow_redirects=False, trust_env=False) as client:
            response = client.get(url, params=dict(params), headers=dict(headers))
            body = response.text
    except httpx.HTTPError as error:
        run.api_call(url, **facts, error=f"{type(error).__name__}: {error}", seconds=_since(began))
        raise VendorFault(
            f"{url} could not be reached: {error or type(error).__name__}", hint="try again later"
        ) from error
    facts |= {
        "status": response.status_code,
        "bytes": len(response.content),
        "seconds": _since(began),
        "headers": {name: response.headers[name] for name in KEPT if name in response.headers},
    }
    facts["rate_limit_left"] = response.headers.get("x-ratelimit-remaining")
    run.api_call(url, **facts)
    if response.status_code == 200:
        return body
    raise _distrust(url, response, body)


def rows(url: str, body: str) -> None:
    """Raise UnexpectedType where a body is HTML or no JSON at all, VendorFault for a JSON text."""
    start = body.lstrip()[:1]
    if start == "<":
        raise UnexpectedType(f"{url} answered with HTML where JSON is normal", hint="try again later")
    if start == '"':
        raise VendorFault(f"{url} answered with a text instead of rows: {body.strip()[:200]}")
    if start != "[":
        raise UnexpectedType(f"{url} answered with no JSON array", hint="try again later")


def _distrust(url: str, response: httpx.Response, body: str) -> Exception:
    status, said = response.status_code, _said(body)
    if status == 401:
        return NotAuthorised(f"{url} refuses the key: {said}", hint="check QUIVER_API_KEY")
    if status == 403:
        if "<" in body[:50]:
            return VendorFault(f"{url} blocked the request (HTTP 403, HTML)", hint="try again later")
        return PlanTooSmall(f"{url}: {said}", hint="this data set needs a larger plan, or use --file PATH")
    if status == 429:
        wait = retry_after(response.headers.get("retry-after"))
        text = "" if wait is None else f"; it asks to wait {wait:g} s"
        return Throttled(f"{url} is throttling us{text}", wait_seconds=wait, hint="try again after that")
    if 300 <= status < 400:
        return VendorFault(f"{url} redirects to {response.headers.get('location')}; not followed")
    return VendorFault(f"{url} failed with HTTP {status}: {said}", hint="try again later")


def retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date; None where it is neither."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - clock.now()).total_seconds())
    except (ValueError, TypeError):
        return None


def _said(body: str) -> str:
    try:
        answer = json.loads(body)
    except ValueError:
        return "no JSON in the answer"
    if isinstance(answer, dict):
        answer = answer.get("detail") or answer.get("message") or answer
    return str(answer)[:200]


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
