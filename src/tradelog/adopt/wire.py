"""One attempt of alpaca-py as it was on the wire: taken from its session, whatever the SDK makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests

from tradelog.domain import clock
from tradelog.execute.brokers.alpaca import never_left
from tradelog.execute.brokers.base import KEPT_HEADERS, Exchange


class Capture:
    """Sees the answer to one request, by a hook of requests, and gives the exchange that it was."""

    def __init__(self, method: str, url: str) -> None:
        self._method = method
        self._url = url
        self._started = clock.now_text()
        self._response: requests.Response | None = None
        self._body: bytes = b""

    def hooks(self, session: requests.Session) -> dict[str, list[Callable[..., Any]]]:
        """The hooks of a request: those of the session, and ours after them."""
        theirs = session.hooks.get("response") or []
        return {"response": [*([theirs] if callable(theirs) else theirs), self._see]}

    def _see(self, response: requests.Response, *_: Any, **__: Any) -> None:
        # Read here: a body that breaks off raises just as it does without us.
        self._body = response.content
        self._response = response

    def exchange(self, error: BaseException | None) -> Exchange:
        """What was on the wire; ``error`` is what the attempt raised."""
        response = self._response
        failed = error if isinstance(error, requests.RequestException) else None
        request = response.request if response is not None else getattr(failed, "request", None)
        body = getattr(request, "body", None)
        common: dict[str, Any] = {
            "method": self._method,
            "url": str(getattr(request, "url", None) or self._url),
            "request_body": body.decode() if isinstance(body, bytes) else body,
            "started_at": self._started,
            "ended_at": clock.now_text(),
        }
        if response is not None:
            headers = response.headers
            kept = {name: headers[name] for name in KEPT_HEADERS if name in headers}
            return Exchange(**common, status=response.status_code, headers=kept, body=self._body)
        # What raised before there was an answer may have left, unless it provably did not.
        left = failed is None or not never_left(failed)
        return Exchange(**common, error=f"{type(error).__name__}: {error}", left_host=left)
