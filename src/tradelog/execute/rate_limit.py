"""The broker's rate limit, by the headers of its responses."""

from __future__ import annotations

import random

from tradelog.domain import clock
from tradelog.execute.brokers.base import Exchange

# After a 429 that names no wait.
THROTTLED_SECONDS = 60.0
# No requested wait is longer: a wrong header must not park an order for years.
MAX_REQUESTED_WAIT_SECONDS = 300.0
# Requests that are left for orders: polling waits for the limit to reset rather than use them up.
RESERVED_REQUESTS = 20


class RateLimit:
    """What is left of the limit, from ``X-RateLimit-Remaining`` and ``X-RateLimit-Reset``."""

    def __init__(self) -> None:
        self._remaining: int | None = None
        self._resets_at = 0.0

    def observe(self, exchange: Exchange) -> None:
        """Take over the limit that a response's headers state."""
        remaining = _whole_number(exchange.headers.get("x-ratelimit-remaining"))
        reset = _whole_number(exchange.headers.get("x-ratelimit-reset"))
        if remaining is not None and reset is not None:
            self._remaining = int(remaining)
            self._resets_at = min(reset, clock.now().timestamp() + MAX_REQUESTED_WAIT_SECONDS)

    def allows_request(self, *, keep_reserve: bool = False) -> bool:
        """Whether a request is left; with ``keep_reserve`` one beside those reserved for orders."""
        reserved = RESERVED_REQUESTS if keep_reserve else 0
        is_used_up = self._remaining is not None and self._remaining <= reserved
        return not is_used_up or clock.now().timestamp() > self._resets_at


def requested_wait(exchange: Exchange) -> float:
    """The wait that the broker requests, in seconds: Retry-After, else until its limit resets."""
    after = _whole_number(exchange.headers.get("retry-after"))
    if after is not None:
        return min(after, MAX_REQUESTED_WAIT_SECONDS)
    reset = _whole_number(exchange.headers.get("x-ratelimit-reset"))
    if reset is not None:
        # A second more, with jitter (the broker's own advice; docs.alpaca.markets, rate limits).
        wait = max(reset - clock.now().timestamp(), 0.0) + random.uniform(1.0, 1.5)  # noqa: S311
        return min(wait, MAX_REQUESTED_WAIT_SECONDS)
    return THROTTLED_SECONDS


def _whole_number(text: str | None) -> float | None:
    """A header's whole number; None for anything else, and for one that no wait can have."""
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 12:
        return None
    return float(text)
