"""The wall clock of the tests: the machine's, or shifted by a constant, to run the suite on another day.

``TEST_CLOCK`` names the moment at which the suite begins (ISO 8601 with a zone); `make test-clocks` sets it.
The shift applies to `tradelog.domain.clock.now` in this process and, through
``tests/shifted/sitecustomize.py``, in every process that a test starts. Elapsed time (CLOCK_BOOTTIME) is
never shifted. Tests and stand-ins read the time here or through ``tradelog.domain.clock``, nowhere else.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tradelog.domain import clock

# In a tuple, where freezegun does not replace it.
_REAL = (datetime,)
_SHIFT = "TEST_CLOCK_SHIFT_SECONDS"


def now() -> datetime:
    """This moment, aware, UTC; under freezegun the frozen one."""
    moment = datetime.now(UTC)
    return moment + shift() if datetime is _REAL[0] else moment


def shift() -> timedelta:
    return timedelta(seconds=float(os.environ.get(_SHIFT, "0")))


def begin() -> None:
    """Apply ``TEST_CLOCK`` to this process and those it starts. Does nothing where it is not set."""
    begins_at = os.environ.get("TEST_CLOCK")
    if not begins_at:
        return
    if _SHIFT not in os.environ:
        ahead = datetime.fromisoformat(begins_at) - datetime.now(UTC)
        os.environ[_SHIFT] = str(ahead.total_seconds())
        os.environ["PYTHONPATH"] = str(Path(__file__).parent / "shifted")
    install()


def install() -> None:
    clock.now = now


def environment() -> dict[str, str]:
    """What a process needs to have the same clock."""
    return {name: os.environ[name] for name in (_SHIFT, "PYTHONPATH") if name in os.environ}
