"""The worker's side of delivery: it starts the process that sends, and never waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.store.writer import Writer

# New alerts are sent so soon after one another, and what is open is looked at so often.
GAP_SECONDS = 5.0
LOOK_SECONDS = 60.0
# A process that takes longer is ended: what it had begun is on record.
MAX_SECONDS = 600.0
_OPEN = """
SELECT EXISTS (SELECT 1 FROM alerts INDEXED BY ix_alerts_unsent
               WHERE message_id IS NULL AND acknowledged_at IS NULL)
    OR EXISTS (SELECT 1 FROM alert_deliveries WHERE next_at IS NOT NULL)
    OR EXISTS (SELECT 1 FROM alert_groups WHERE is_open = 1)
"""


class Courier:
    """Starts `tradelog alerts send` when there is something to send, one at a time."""

    def __init__(self, writer: Writer, config: Config) -> None:
        self._writer = writer
        self._config = config
        self._is_on = bool(config.alerts.command or config.alerts.urls)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = float("-inf")
        self._newest = 0

    def tick(self) -> None:
        """Start the process where it is due, and collect the one that has ended. Never waits."""
        if not self._is_on or self._is_running():
            return
        with self._writer.reading() as connection:
            newest = connection.execute("SELECT coalesce(max(alert_id), 0) FROM alerts").fetchone()[0]
            since = clock.running_seconds() - self._started
            if since < (GAP_SECONDS if newest > self._newest else LOOK_SECONDS):
                return
            is_due = connection.execute(_OPEN).fetchone()[0]
        self._newest = newest
        if is_due:
            self._start()

    def close(self) -> None:
        """Have what is left sent by a process that outlives this one."""
        self._started = float("-inf")
        self.tick()
        if self._process is not None:
            # Its session outlives ours: it is not waited for, and not reported as left behind.
            self._process.returncode = 0
            self._process = None

    def _start(self) -> None:
        self._started = clock.running_seconds()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tradelog", "alerts", "send"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "TRADELOG_CONFIG": str(self._config.path)},
                start_new_session=True,
            )
        except OSError as error:  # a machine without a process to spare: orders go on
            print(f"messages about alerts wait: {error}", file=sys.stderr)

    def _is_running(self) -> bool:
        process = self._process
        if process is None:
            return False
        if process.poll() is None:
            if clock.running_seconds() - self._started < MAX_SECONDS:
                return True
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._process = None
        return False
