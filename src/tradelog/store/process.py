"""Who is running: boot id, and whether a process is the one that we mean."""

from __future__ import annotations

import os
import time
from functools import lru_cache
from pathlib import Path

from tradelog.domain.clock import from_text


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Changes at every start of the machine; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def is_alive(pid: int, *, since: str) -> bool:
    """Whether process ``pid`` exists and is not a later one that got the same number.

    ``since`` is a moment (store text) at which the process meant was already running.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    started = _started(pid)
    # Two seconds for the coarse ticks of the kernel against the wall clock.
    return started is None or started <= from_text(since).timestamp() + 2


def _started(pid: int) -> float | None:
    """When a process started, in seconds since the epoch; None where the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        state, _, rest = stat[stat.rindex(")") + 2 :].partition(" ")
        if state == "Z":
            return float("inf")
        ticks = int(rest.split()[18])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")
