"""Backoff: what fails is tried less and less often, each thing for itself."""

from __future__ import annotations

import random

from tradelog.domain import clock

# What fails is tried at least once in so many seconds.
MAX_BACKOFF_SECONDS = 60.0


class JitteredBackoff:
    """Waits under a doubling bound with full jitter, so that workers do not come back all at once."""

    def __init__(self) -> None:
        self._failures = 0

    def next_wait(self) -> float:
        """Seconds to wait after one more failure."""
        bound = min(MAX_BACKOFF_SECONDS, 2.0**self._failures)
        self._failures = min(self._failures + 1, 10)
        return random.uniform(0.5, bound)  # noqa: S311

    def reset(self) -> None:
        """Start over after a success."""
        self._failures = 0


class KeyedBackoff:
    """A backoff for each key, so that one failing symbol keeps no other waiting.

    No wait is longer than ``max_seconds``.
    """

    def __init__(self, max_seconds: float = MAX_BACKOFF_SECONDS) -> None:
        self._max_seconds = max_seconds
        # Key → (failures in a row, due again at, of `clock.running_seconds`).
        self._failed: dict[str, tuple[int, float]] = {}

    def is_due(self, key: str) -> bool:
        """Whether the key may be tried now."""
        return clock.running_seconds() >= self._failed.get(key, (0, 0.0))[1]

    def failures(self, key: str) -> int:
        """How often the key has failed in a row."""
        return self._failed.get(key, (0, 0.0))[0]

    def failed(self, key: str, wait: float | None = None) -> None:
        """Due again after ``wait`` seconds; by default twice as long as after the last failure."""
        failures = self.failures(key)
        if wait is None:
            wait = min(self._max_seconds, 2.0 ** min(failures, 20))
        self._failed[key] = (failures + 1, clock.running_seconds() + wait)

    def succeeded(self, key: str) -> None:
        """Forget the failures of a key."""
        self._failed.pop(key, None)

    def waiting(self) -> list[str]:
        """The keys that have failed and are not due yet."""
        return [key for key in self._failed if not self.is_due(key)]
