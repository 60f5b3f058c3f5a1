"""Tasks of ``[schedule]``: once a day at a time of the market, each a ``tradelog`` process of its own.

A running worker starts and supervises them without waiting. One that fails is an alert until it has
succeeded again. A time at which no worker ran is not made up for: where that matters, use cron.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from tradelog.config.schema import Task
from tradelog.domain import clock
from tradelog.errors import EvidenceBroken
from tradelog.operate.alerts import clear, raise_alert
from tradelog.store.writer import Writer

# Characters of a task's last output in the alert about it.
MAX_MESSAGE_CHARACTERS = 500


@dataclass(slots=True)
class _Running:
    process: subprocess.Popen[bytes]
    output: IO[bytes]


class Timetable:
    def __init__(self, writer: Writer, tasks: Sequence[Task], config: Path) -> None:
        self._writer = writer
        self._tasks = tasks
        self._config = config
        self._running: dict[str, _Running] = {}
        self._due = {task.name: _after(task, clock.now()) for task in tasks}

    def tick(self) -> None:
        """Start what is due, and collect what has ended. Never waits."""
        for task in self._tasks:
            running = self._running.get(task.name)
            if running is not None and running.process.poll() is not None:
                del self._running[task.name]
                self._ended(task, running)
            if clock.now() >= self._due[task.name]:
                self._due[task.name] = _after(task, clock.now())
                if task.name in self._running:
                    self._record_end(task, "it was due again before it had ended")
                else:
                    self._start(task)

    def _start(self, task: Task) -> None:
        output = tempfile.TemporaryFile()  # noqa: SIM115 it is read, and closed, when the process has ended
        process = subprocess.Popen(  # noqa: S603 our own program, by the owner's own configuration
            [sys.executable, "-m", "tradelog", *shlex.split(task.run)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            env={**os.environ, "TRADELOG_CONFIG": str(self._config)},
            start_new_session=True,
        )
        self._running[task.name] = _Running(process, output)

    def _ended(self, task: Task, running: _Running) -> None:
        running.output.seek(0)
        output = running.output.read().decode(errors="replace").strip()
        running.output.close()
        code = running.process.returncode
        if code:
            is_proof = shlex.split(task.run)[0] == "verify" and code == EvidenceBroken.exit_code
            kind = "evidence_broken" if is_proof else "task_failed"
            self._record_end(task, f"it ended with {code}: {output[-MAX_MESSAGE_CHARACTERS:]}", kind)
            return
        with self._writer.transaction() as tx:
            clear(tx, task.name, ("task_failed", "evidence_broken"))
            tx.journal_rest("task.done", task.name)

    def _record_end(self, task: Task, what: str, kind: str = "task_failed") -> None:
        text = f"[schedule.{task.name}] tradelog {task.run}: {what}"
        print(text, file=sys.stderr)
        with self._writer.transaction() as tx:
            raise_alert(tx, kind, task.name, text)
            tx.journal_rest("task.failed", task.name)


def _after(task: Task, moment: datetime) -> datetime:
    """When the task is due next."""
    from apscheduler.triggers.cron import CronTrigger

    hour, minute = task.at.split(":")
    trigger: Any = CronTrigger(hour=int(hour), minute=int(minute), timezone=clock.zone(clock.MARKET_ZONE))
    next_time: datetime = trigger.get_next_fire_time(moment, moment)
    return next_time
