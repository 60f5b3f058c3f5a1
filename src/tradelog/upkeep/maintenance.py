"""Maintenance: what a log needs once a day, as one audited run.

Each step is the command of its name in a process of its own, so that one that fails, hangs or dies stops no
other. What a step said stands in the run, which begins on record before the first of them.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import time as clock_time
from enum import StrEnum
from pathlib import Path
from typing import Any

from tradelog.config.schema import Config
from tradelog.domain import clock, ids
from tradelog.domain.status import MaintenanceStatus
from tradelog.domain.text import counted
from tradelog.errors import EvidenceBroken, TradelogError
from tradelog.execute.brokers import connect
from tradelog.execute.worker import Worker
from tradelog.operate.alerts import clear, raise_alert
from tradelog.store.process import boot_id, is_alive
from tradelog.store.reader import Reader
from tradelog.store.writer import Transaction, Writer
from tradelog.upkeep import archive

STEP_SECONDS = 3600.0
# Characters of what a step said that are kept.
MAX_SAID = 300
DIGEST = "digest"
_DAY = "SELECT * FROM maintenance_runs WHERE day = ? ORDER BY id DESC LIMIT 1"


class Outcome(StrEnum):
    """How a step ended; ``skipped`` where the configuration does not ask for it."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Step:
    """A step and what it does: a command line of tradelog, or a function; neither where it is skipped."""

    name: str
    arguments: tuple[str, ...] | None = None
    function: Callable[[Config, Writer], str] | None = None
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What came of a step. ``code`` is the exit code of its process."""

    name: str
    outcome: Outcome
    said: str
    seconds: float = 0.0
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Maintenance:
    """A day's run; ``is_new`` is False where it had run, or was running, already."""

    maintenance_id: str
    day: str
    status: MaintenanceStatus
    steps: tuple[StepResult, ...]
    is_new: bool

    @property
    def failed(self) -> list[str]:
        """The steps that failed."""
        return [step.name for step in self.steps if step.outcome is Outcome.FAILED]


def is_due(config: Config) -> bool:
    """Whether the time of the day's maintenance has come, in the market's zone."""
    now = clock.now().astimezone(clock.zone(clock.MARKET_ZONE))
    return now.time() >= clock_time.fromisoformat(config.maintenance.at)


def run(config: Config, writer: Writer) -> Maintenance:
    """Run the day's maintenance, unless it has run. Raises StoreError where that cannot be recorded."""
    day = clock.market_today().isoformat()
    with writer.transaction() as tx:
        earlier = _earlier(tx, day)
        maintenance_id = ids.new(ids.MAINTENANCE)
        if earlier is None:
            _begin(tx, maintenance_id, day, writer.actor)
    if earlier is not None:
        return earlier
    results: list[StepResult] = []
    for step in steps_of(config):
        result = _run_step(config, writer, step)
        results.append(result)
        with writer.transaction() as tx:
            _note(tx, maintenance_id, result, results)
    has_failed = any(result.outcome is Outcome.FAILED for result in results)
    status = MaintenanceStatus.FAILED if has_failed else MaintenanceStatus.COMPLETED
    with writer.transaction() as tx:
        tx.update("maintenance_runs", maintenance_id, {"status": status, "ended_at": tx.now})
        tx.journal("maintenance.ended", maintenance_id)
    return Maintenance(maintenance_id, day, status, tuple(results), is_new=True)


def steps_of(config: Config) -> list[Step]:
    """The steps of a day, in their order."""
    settings = config.maintenance
    steps = [Step(f"fetch {name}", ("fetch", name, "--quiet")) for name in settings.fetch]
    steps += [Step("reconcile", ("reconcile",)), Step("expire", function=_expire)]
    steps.append(Step("verify", ("verify", *_heads_kept(config))))
    if settings.heads is None:
        steps.append(Step("head", skipped="[maintenance] heads names no place"))
    else:
        steps.append(Step("head", ("verify", "--head", "--to", settings.heads)))
    if settings.backup is None:
        steps.append(Step("backup", skipped="[maintenance] backup names no place"))
    else:
        steps.append(Step("backup", _backup_line(settings.backup, settings.keep)))
    return [*steps, Step("archive", function=_archive), Step(DIGEST, ("digest",))]


def _heads_kept(config: Config) -> tuple[str, ...]:
    """The heads that left the machine before are held against the journal, where they can be read."""
    heads = config.maintenance.heads
    if heads is None or heads.lstrip().startswith("|") or not Path(heads).expanduser().exists():
        return ()
    return ("--since-head", heads)


def line_of(config: Config, name: str) -> str:
    """The command that does a step by hand."""
    step = next(step for step in steps_of(config) if step.name == name)
    return (
        f"tradelog {shlex.join(step.arguments or (name,))}" if step.function is None else "the worker does it"
    )


def _backup_line(target: str, keep: int) -> tuple[str, ...]:
    line = ("backup", target)
    return line if target.lstrip().startswith("|") else (*line, "--keep", str(keep))


def _earlier(tx: Transaction, day: str) -> Maintenance | None:
    """The day's run, unless its process died before the end: then it is begun anew."""
    rows = tx.dicts(_DAY, (day,))
    if not rows:
        return None
    row = rows[0]
    status = MaintenanceStatus(row["status"])
    is_here = row["host"] == socket.gethostname()
    alive = row["boot_id"] == boot_id() and is_alive(row["pid"], since=row["started_at"])
    if status is MaintenanceStatus.RUNNING and is_here and not alive:
        ended = {"status": MaintenanceStatus.ABANDONED, "ended_at": tx.now}
        tx.update("maintenance_runs", row["maintenance_id"], ended)
        tx.journal("maintenance.abandoned", row["maintenance_id"])
        return None
    if status is MaintenanceStatus.ABANDONED:
        return None
    steps = tuple(
        StepResult(**{**item, "outcome": Outcome(item["outcome"])}) for item in json.loads(row["steps"])
    )
    return Maintenance(row["maintenance_id"], day, status, steps, is_new=False)


def _begin(tx: Transaction, maintenance_id: str, day: str, actor: str) -> None:
    tx.insert(
        "maintenance_runs",
        {
            "maintenance_id": maintenance_id,
            "day": day,
            "actor": actor,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "boot_id": boot_id(),
            "started_at": tx.now,
            "ended_at": None,
            "status": MaintenanceStatus.RUNNING,
            "steps": "[]",
        },
    )
    tx.journal("maintenance.begun", maintenance_id)


def _note(tx: Transaction, maintenance_id: str, result: StepResult, results: Sequence[StepResult]) -> None:
    """Record a step, and raise or end the alert about it."""
    said = json.dumps([asdict(item) for item in results], ensure_ascii=False)
    tx.update("maintenance_runs", maintenance_id, {"steps": said})
    subject = f"maintenance: {result.name}"
    if result.outcome is Outcome.FAILED:
        is_proof = result.name == "verify" and result.code == EvidenceBroken.exit_code
        kind = "evidence_broken" if is_proof else "task_failed"
        raise_alert(tx, kind, subject, f"{subject}: {result.said}")
    elif result.outcome is Outcome.DONE:
        clear(tx, subject, ("task_failed", "evidence_broken"))
    tx.journal("maintenance.step", maintenance_id, step=result.name)


def _run_step(config: Config, writer: Writer, step: Step) -> StepResult:
    began = time.monotonic()
    if step.function is not None:
        try:
            outcome, said, code = Outcome.DONE, step.function(config, writer), None
        except TradelogError as error:
            outcome, said, code = Outcome.FAILED, error.message, error.exit_code
        except Exception as error:  # whatever it is, the other steps go on, and the run says so
            outcome, said, code = Outcome.FAILED, f"{type(error).__name__}: {error}", None
        return StepResult(step.name, outcome, said[:MAX_SAID], _since(began), code)
    if step.arguments is None:
        return StepResult(step.name, Outcome.SKIPPED, step.skipped)
    process = subprocess.Popen(  # noqa: S603 our own program, by the owner's own configuration
        [sys.executable, "-m", "tradelog", *step.arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "TRADELOG_CONFIG": str(config.path)},
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=STEP_SECONDS)
    except subprocess.TimeoutExpired:
        # With all that it has started: it leads a session of its own.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        said = f"not done within {STEP_SECONDS:g} s"
        return StepResult(step.name, Outcome.FAILED, said, _since(began))
    outcome = Outcome.FAILED if process.returncode else Outcome.DONE
    said = _said(errors if process.returncode else "" if step.name == DIGEST else output)
    return StepResult(step.name, outcome, said, _since(began), process.returncode)


def _said(output: str) -> str:
    """The line that tells most: the error where there is one, else the last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines[-1:] or [""])[0][:MAX_SAID]


def _since(began: float) -> float:
    return round(time.monotonic() - began, 1)


def _expire(config: Config, writer: Writer) -> str:
    """End what waits for longer than it may; a worker does so too, but there may be none."""
    worker = Worker(writer, connect(config), config, "maintenance")
    worker.register()
    try:
        expired = worker.expire()
    finally:
        worker.session.deregister()
    return f"{counted(expired, 'decision')} expired"


def _archive(config: Config, writer: Writer) -> str:
    """Move what is old, where there is a month's worth of it."""
    with Reader(config.store_path) as reader:
        if not archive.is_due(config, reader):
            return "not due"
    done = archive.archive(config, writer)
    return f"{counted(len(done.files), 'file')}, {counted(sum(rows for _, rows in done.files), 'row')}"


def rows_of(maintenance: Maintenance) -> list[dict[str, Any]]:
    """The steps as rows of a table."""
    return [asdict(step) for step in maintenance.steps]
