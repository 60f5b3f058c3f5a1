"""Alerts: one row per kind and subject until it is acknowledged, and their delivery to a command.

Raising and clearing are steps inside a transaction of the caller, whose entry journals them. The
command of ``[alerts]`` runs beside the worker, one at a time, and is supervised without waiting.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

from tradelog.store.writer import Transaction, Writer

# Alerts that end by themselves once their cause has gone.
ENDED_BY_CAUSE = ("outcome_unknown", "broker_not_sent", "broker_not_accepted", "needs_attention")
COMMAND_SECONDS = 30.0
# Left to the command when the worker ends.
CLOSING_SECONDS = 5.0
# Characters of a message, so that all of it fits a pipe.
MAX_MESSAGE_CHARACTERS = 2000
# A command that fails is tried this often an alert; the row stays either way.
MAX_DELIVERY_TRIES = 3
TRADELOG = "tradelog"
_DELIVERED = ("alert_id", "kind", "subject", "message", "created_at", "head")


def raise_alert(tx: Transaction, kind: str, subject: str, message: str, *, once: bool = False) -> None:
    """Raise an alert unless one of this kind and subject is open. The caller's entry journals it.

    ``once`` is for what will be seen again and again: once acknowledged, it is not raised again.
    """
    existing = tx.one(
        "SELECT 1 FROM alerts WHERE kind = ? AND subject = ? AND (? OR acknowledged_at IS NULL)",
        (kind, subject, once),
    )
    if existing is None:
        tx.insert("alerts", {"kind": kind, "subject": subject, "message": message, "created_at": tx.now})


def clear(
    tx: Transaction, subject: str, kinds: tuple[str, ...] = ENDED_BY_CAUSE, *, by: str = TRADELOG
) -> int:
    """Acknowledge the open alerts of a subject; returns how many. The caller's entry journals it."""
    marks = ", ".join("?" * len(kinds))
    rows = tx.query(
        f"SELECT alert_id FROM alerts WHERE kind IN ({marks}) AND subject = ? AND acknowledged_at IS NULL",
        (*kinds, subject),
    )
    for (alert_id,) in rows:
        tx.update("alerts", alert_id, {"acknowledged_at": tx.now, "acknowledged_by": by})
    return len(rows)


def acknowledge(tx: Transaction, alert_id: int | None, *, by: str) -> list[int]:
    """Acknowledge one open alert, or all for None; returns their numbers. Journals where there were any."""
    rows = tx.query(
        "SELECT alert_id FROM alerts WHERE acknowledged_at IS NULL AND alert_id = coalesce(?, alert_id)",
        (alert_id,),
    )
    for (number,) in rows:
        tx.update("alerts", number, {"acknowledged_at": tx.now, "acknowledged_by": by})
    if rows:
        tx.journal("alerts.acknowledged", "all" if alert_id is None else str(alert_id))
    return [number for (number,) in rows]


class Messenger:
    """Delivers new alerts to the command: JSON on its input, TRADELOG_ALERT_* in its environment."""

    def __init__(self, writer: Writer, command: str | None) -> None:
        self._writer = writer
        self._command = shlex.split(command) if command else []
        self._running: subprocess.Popen[bytes] | None = None
        self._alert_id = 0
        self._until = 0.0

    def tick(self) -> None:
        """Supervise the running command, or start the next one. Never waits."""
        if not self._command:
            return
        if self._running is not None and not self._is_over(self._running):
            return
        self._running = None
        with self._writer.reading() as connection:
            row = connection.execute(
                "SELECT alert_id, kind, subject, message, created_at,"
                # The head of the journal leaves the machine with it, as evidence of what was written by then.
                " (SELECT seq || ' ' || lower(hex(hash)) FROM journal ORDER BY seq DESC LIMIT 1) FROM alerts"
                " WHERE told_at IS NULL AND acknowledged_at IS NULL AND tell_tries < ?"
                " ORDER BY alert_id LIMIT 1",
                (MAX_DELIVERY_TRIES,),
            ).fetchone()
        if row is not None:
            self._start(dict(zip(_DELIVERED, row, strict=True)))

    def close(self) -> None:
        """Deliver what is left for a few seconds. A command that runs on after that ends by itself."""
        end = time.monotonic() + CLOSING_SECONDS
        self.tick()
        while self._running is not None and time.monotonic() < end:
            time.sleep(0.02)
            self.tick()
        if self._running is not None:
            self._write("told_at = :now, tell_error = :error", error="it ran on when the worker ended")
            # Its own session outlives ours; killed, it would be delivered again, and killed again.
            self._running.returncode = 0
            self._running = None

    def _start(self, alert: dict[str, Any]) -> None:
        self._alert_id = int(alert["alert_id"])
        self._until = time.monotonic() + COMMAND_SECONDS
        # Counted before it runs: a command that kills its worker is not tried for ever.
        self._write("tell_tries = tell_tries + 1")
        variables = {f"TRADELOG_ALERT_{key.upper()}": str(value) for key, value in alert.items()}
        try:
            self._running = subprocess.Popen(  # noqa: S603 the owner's own configuration
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**{key: value for key, value in os.environ.items() if not _is_secret(key)}, **variables},
                start_new_session=True,
            )
            assert self._running.stdin is not None
            # So little fits the pipe's buffer, whether or not it is read.
            alert["message"] = alert["message"][:MAX_MESSAGE_CHARACTERS]
            self._running.stdin.write(json.dumps(alert).encode())
            self._running.stdin.close()
        except BrokenPipeError:
            return  # the command does not read its input
        except (OSError, ValueError) as error:
            self._failed(f"{type(error).__name__}: {error}")

    def _is_over(self, process: subprocess.Popen[bytes]) -> bool:
        code = process.poll()
        if code is None and time.monotonic() < self._until:
            return False
        if code is None:
            # With all that it has started: it leads a session of its own.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._failed(f"not done within {COMMAND_SECONDS:g} s")
        elif code:
            self._failed(f"it ended with {code}")
        else:
            self._write("told_at = :now, tell_error = NULL")
        return True

    def _failed(self, error: str) -> None:
        print(f"the [alerts] command failed for alert {self._alert_id}: {error}", file=sys.stderr)
        self._write("tell_error = :error", error=error)

    def _write(self, sets: str, **values: str) -> None:
        with self._writer.transaction() as tx:
            tx.unaudited(
                f"UPDATE alerts SET {sets} WHERE alert_id = :id",
                {"now": tx.now, "id": self._alert_id, "error": None, **values},
            )


def _is_secret(name: str) -> bool:
    """Whether a variable holds a key of the broker or a source, which the command need not have."""
    return name.startswith(("APCA_", "QUIVER_"))
