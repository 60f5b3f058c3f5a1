"""Alerts: a row a subject until it is acknowledged, and the command that is told of it.

Raising and clearing are steps inside a transaction of the caller, whose entry journals them. The
command of ``[alerts]`` runs beside the worker, one at a time, and is looked after without waiting.
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

# What nobody has to acknowledge once the reason for it has gone.
PASSING = ("outcome_unknown", "broker_not_sent", "broker_not_accepted", "needs_attention")
COMMAND_SECONDS = 30.0
# Left to the command when the worker ends.
CLOSING_SECONDS = 5.0
# Characters of a message, so that all of it fits a pipe.
MAX_MESSAGE_CHARACTERS = 2000
# A command that fails is tried this often an alert; the row stays either way.
MAX_DELIVERY_TRIES = 3
ITSELF = "tradelog"
_TOLD = ("alert_id", "kind", "subject", "message", "created_at", "head")


def raise_alert(tx: Transaction, kind: str, subject: str, message: str, *, once: bool = False) -> None:
    """One row a kind and subject until somebody has acknowledged it. The caller's entry journals it.

    ``once`` is for what will be seen again and again: acknowledged, it is not told a second time.
    """
    known = tx.one(
        "SELECT 1 FROM alerts WHERE kind = ? AND subject = ? AND (? OR acknowledged_at IS NULL)",
        (kind, subject, once),
    )
    if known is None:
        tx.insert("alerts", {"kind": kind, "subject": subject, "message": message, "created_at": tx.now})


def clear(tx: Transaction, subject: str, kinds: tuple[str, ...] = PASSING, *, by: str = ITSELF) -> int:
    """Acknowledge what is open about a subject; returns how many. The caller's entry journals it."""
    marks = ", ".join("?" * len(kinds))
    rows = tx.query(
        f"SELECT alert_id FROM alerts WHERE kind IN ({marks}) AND subject = ? AND acknowledged_at IS NULL",
        (*kinds, subject),
    )
    for (alert_id,) in rows:
        tx.update("alerts", alert_id, {"acknowledged_at": tx.now, "acknowledged_by": by})
    return len(rows)


class Messenger:
    """Hands new alerts to the command: as JSON on its input, and as TRADELOG_ALERT_* in its environment."""

    def __init__(self, writer: Writer, command: str | None) -> None:
        self._writer = writer
        self._command = shlex.split(command) if command else []
        self._running: subprocess.Popen[bytes] | None = None
        self._alert_id = 0
        self._until = 0.0

    def tick(self) -> None:
        """Look after the command that runs, or start the next one. Never waits."""
        if not self._command:
            return
        if self._running is not None and not self._is_over(self._running):
            return
        self._running = None
        with self._writer.reading() as connection:
            row = connection.execute(
                "SELECT alert_id, kind, subject, message, created_at,"
                # The head of the journal leaves the machine with it: what was written by then is held.
                " (SELECT seq || ' ' || lower(hex(hash)) FROM journal ORDER BY seq DESC LIMIT 1) FROM alerts"
                " WHERE told_at IS NULL AND acknowledged_at IS NULL AND tell_tries < ?"
                " ORDER BY alert_id LIMIT 1",
                (MAX_DELIVERY_TRIES,),
            ).fetchone()
        if row is not None:
            self._start(dict(zip(_TOLD, row, strict=True)))

    def close(self) -> None:
        """Tell what is left for a few seconds. What runs on after that is left to end by itself."""
        end = time.monotonic() + CLOSING_SECONDS
        self.tick()
        while self._running is not None and time.monotonic() < end:
            time.sleep(0.02)
            self.tick()
        if self._running is not None:
            self._write("told_at = :now, tell_error = :error", error="it ran on when the worker ended")
            # Its own session outlives ours; killed, it would be told again, and killed again.
            self._running.returncode = 0
            self._running = None

    def _start(self, alert: dict[str, Any]) -> None:
        self._alert_id = int(alert["alert_id"])
        self._until = time.monotonic() + COMMAND_SECONDS
        # Counted before it runs: a command that kills its worker is not tried for ever.
        self._write("tell_tries = tell_tries + 1")
        named = {f"TRADELOG_ALERT_{key.upper()}": str(value) for key, value in alert.items()}
        try:
            self._running = subprocess.Popen(  # noqa: S603 the owner's own configuration
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**{key: value for key, value in os.environ.items() if not _is_secret(key)}, **named},
                start_new_session=True,
            )
            assert self._running.stdin is not None
            # So little fits the pipe's buffer, whether or not anybody reads it.
            alert["message"] = alert["message"][:MAX_MESSAGE_CHARACTERS]
            self._running.stdin.write(json.dumps(alert).encode())
            self._running.stdin.close()
        except BrokenPipeError:
            return  # it does not read its input, which is its right
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
    """Keys of the broker and the sources are none of the command's business."""
    return name.startswith(("APCA_", "QUIVER_"))
