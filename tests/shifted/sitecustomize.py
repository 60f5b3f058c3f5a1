"""Python runs this at its start where the tests' clock is shifted: see ``tests/wall_clock.py``."""

import os
from datetime import UTC, datetime, timedelta

from tradelog.domain import clock

_shift = timedelta(seconds=float(os.environ["TEST_CLOCK_SHIFT_SECONDS"]))
clock.now = lambda: datetime.now(UTC) + _shift
