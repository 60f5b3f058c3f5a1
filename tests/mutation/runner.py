"""Runs mutants: see ``__main__``."""

from __future__ import annotations

import ast
import gc
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import coverage
import pytest
from _pytest.runner import runtestprotocol

from tests.mutation.operators import Mutant, mutants

# Each module with the files that hold its rules: their tests run first.
MODULES = {
    "execute.risk.pretrade": ("test_pretrade_rules", "test_pretrade"),
    "execute.risk.market_data": ("test_pretrade_rules", "test_pretrade"),
    "execute.risk.expiry": ("test_expiry", "test_pretrade_rules"),
    "execute.risk.checks": ("test_checks",),
    "execute.risk.usage": ("test_usage",),
    "execute.recorded": ("test_record",),
    "operate.messages": ("test_messages",),
    "operate.delivery": ("test_delivery",),
    "execute.outbox.claims": ("test_claims",),
    "execute.submission": ("test_submission",),
    "execute.outbox.responses": ("test_responses",),
    "execute.outbox.transitions": ("test_transitions",),
    "execute.outbox.exchanges": ("test_claims", "test_transitions"),
    "execute.track.tracker": ("test_tracker",),
    "execute.amend.cancel_replace": ("test_cancel_replace_rules", "test_cancel_replace"),
    "execute.amend.order_requests": ("test_cancel_replace_rules", "test_cancel_replace"),
    "execute.session": ("test_session",),
    "execute.rate_limit": ("test_session",),
    "execute.backoff": ("test_session",),
    "execute.account.positions": ("test_positions",),
    "execute.track.orders": ("test_tracker",),
    "decide.record": ("test_order", "test_decide"),
    "domain.order": ("test_order",),
    "domain.money": ("test_money",),
    "report.fifo": ("test_fifo",),
    "store.audited": ("test_golden", "test_journal"),
    "store.journal": ("test_golden", "test_journal"),
}
# What a test loads only when it gets there, and every fork would load again.
PRELOADED = (
    "tradelog.execute.brokers.alpaca",
    "tradelog.store.upgrade",
    "tradelog.evidence.bundle",
    "alembic",
)
# A test that takes longer is no test of one line.
MAX_SECONDS = 3.0
# A mutant that runs this much longer than its tests take goes in circles.
PATIENCE = 4.0
# Of 100 mutants that are not equivalent, so many must be killed.
MIN_SHARE = 95
EQUIVALENT = Path(__file__).with_name("equivalent.toml")


@dataclass(slots=True)
class Covered:
    """A test: how long it takes, and which lines of each module it executes."""

    seconds: float
    lines: dict[str, set[int]]


@dataclass(slots=True)
class Result:
    killed: int = 0
    survived: list[Mutant] = field(default_factory=list)
    equivalent: list[tuple[Mutant, str]] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)


class Runner:
    """A pytest plugin whose test loop runs every mutant instead of every test."""

    def __init__(self, *, modules: Sequence[str], match: str, seconds: float, jobs: int) -> None:
        self._names = modules
        self._match = match
        self._seconds = seconds
        self._jobs = jobs
        self.exit_code = 0

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out the tests that run the program as processes."""
        items[:] = [item for item in items if not item.get_closest_marker("process")]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        # Not before pytest has begun, which rewrites what it imports itself.
        import hypothesis

        from tests.conftest import make_empty_store

        hypothesis.settings.register_profile("mutation", database=None, derandomize=True, deadline=None)
        hypothesis.settings.load_profile("mutation")
        for name in PRELOADED:
            importlib.import_module(name)
        make_empty_store()
        targets = {name: Target(name) for name in self._names}
        began = time.monotonic()
        tests = self._cover(session, targets)
        print(f"{len(tests)} tests, {time.monotonic() - began:.0f} s under coverage", flush=True)
        known = _equivalents()
        jobs = Jobs(self._jobs)
        killed = survived = stale = 0
        for name, target in targets.items():
            result = Result()
            for mutant in target.mutants:
                if self._match in mutant.key:
                    self._start(jobs, tests, session, target, mutant, result, known)
            jobs.finish()
            keys = {mutant.key for mutant in target.mutants}
            result.stale = [key for module, key in known if module == name and key not in keys]
            self._control(jobs, session, tests, target)
            _report(name, result)
            killed += result.killed
            survived += len(result.survived)
            stale += len(result.stale)
        share = 100 * killed / (killed + survived) if killed + survived else 100.0
        seconds = time.monotonic() - began
        print(f"{killed} of {killed + survived} killed ({share:.1f} %) in {seconds:.0f} s")
        self.exit_code = int(share < MIN_SHARE or stale > 0)
        return True

    def _start(
        self,
        jobs: Jobs,
        tests: dict[str, Covered],
        session: pytest.Session,
        target: Target,
        mutant: Mutant,
        result: Result,
        known: Mapping[tuple[str, str], str],
    ) -> None:
        why = known.get((target.name, mutant.key))
        if why is not None:
            result.equivalent.append((mutant, why))
            return
        chosen = self._choose(session, tests, target, mutant)
        jobs.start(
            lambda: _try(target, mutant, chosen, tests),
            _limit(chosen, tests),
            lambda is_killed: _note(result, mutant, is_killed=is_killed),
        )

    def _control(
        self, jobs: Jobs, session: pytest.Session, tests: dict[str, Covered], target: Target
    ) -> None:
        """Without any mutant the tests pass: or what ails the forks would be taken for kills."""
        chosen = self._choose(session, tests, target, target.mutants[0])
        ended: list[bool] = []
        jobs.start(lambda: _try(target, None, chosen, tests), _limit(chosen, tests), ended.append)
        jobs.finish()
        if ended != [False]:
            raise SystemExit(f"{target.name}: its tests fail in a fork without any mutant")

    def _cover(self, session: pytest.Session, targets: dict[str, Target]) -> dict[str, Covered]:
        """Run each test once, in a fork under coverage, so that nothing of it stays behind here."""
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    _quiet()
                    Path(file.name).write_text(json.dumps(_covered(session.items, targets)))
                    code = 0
                finally:
                    os._exit(code)
            _, status = os.waitpid(child, 0)
            if status:
                raise SystemExit("the tests could not be run under coverage")
            told = json.loads(Path(file.name).read_text())
        for name, item in told.items():
            if item["failed"]:
                print(f"left out, it fails without any mutant: {name}: {item['failed']}")
        return {
            name: Covered(item["seconds"], {key: set(lines) for key, lines in item["lines"].items()})
            for name, item in told.items()
            if not item["failed"] and item["seconds"] < MAX_SECONDS
        }

    def _choose(
        self, session: pytest.Session, tests: dict[str, Covered], target: Target, mutant: Mutant
    ) -> list[pytest.Item]:
        """The tests that execute the mutant's statement, as many as there is time for.

        Those of the module's own files come first, and of each the quickest.
        """
        lines = target.lines_of(mutant)
        fitting = [
            item
            for item in session.items
            if item.nodeid in tests and lines & tests[item.nodeid].lines.get(target.name, set())
        ]
        own = MODULES[target.name]
        fitting.sort(key=lambda item: (item.path.stem not in own, tests[item.nodeid].seconds))
        chosen, seconds = [], 0.0
        for item in fitting:
            seconds += tests[item.nodeid].seconds
            if chosen and seconds > self._seconds:
                break
            chosen.append(item)
        return chosen


class Target:
    """A module under test: its mutants, and its live functions, to exchange the code of."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.module = importlib.import_module(f"tradelog.{name}")
        assert self.module.__file__ is not None
        self.path = self.module.__file__
        self.source = Path(self.path).read_bytes()
        self.mutants = mutants(self.source)
        self._tree = ast.parse(self.source)
        self._functions = [
            item
            for item in gc.get_objects()
            if isinstance(item, FunctionType) and item.__code__.co_filename == self.path
        ]

    def lines_of(self, mutant: Mutant) -> set[int]:
        """The lines whose execution shows that a test gets to the mutant: those of its statement.

        Of a constant of the module, those of the functions that name it.
        """
        functions = [node for node in ast.walk(self._tree) if isinstance(node, ast.FunctionDef)]
        around = [
            node
            for node in ast.walk(self._tree)
            if isinstance(node, ast.stmt) and node.lineno <= mutant.line <= (node.end_lineno or 0)
        ]
        inner = [node for node in around if isinstance(node, ast.FunctionDef)]
        if inner:
            innermost = max(around, key=lambda node: (node.lineno, -(node.end_lineno or 0)))
            end = innermost.end_lineno or innermost.lineno
            body = getattr(innermost, "body", None)
            if body:
                end = max(body[0].lineno - 1, innermost.lineno)
            return set(range(innermost.lineno, end + 1))
        names = {
            item.id
            for node in around
            for item in ast.walk(node)
            if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store)
        }
        # A constant that is made of it counts as well.
        for node in self._tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and names & _loaded(node):
                names |= {
                    item.id
                    for item in ast.walk(node)
                    if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store)
                }
        users = [node for node in functions if names & _loaded(node)] or functions
        return {line for node in users for line in range(node.body[0].lineno, (node.end_lineno or 0) + 1)}

    def install(self, mutant: Mutant) -> None:
        """Put the mutant in the place of the module's code, wherever its functions are held by now."""
        old = compile(self.source, self.path, "exec")
        new = compile(mutant.apply(self.source), self.path, "exec")
        pairs = dict(_pairs(old, new))
        for function in self._functions:
            code = function.__code__
            other = pairs.get((code.co_qualname, code.co_firstlineno))
            if other is not None:
                function.__code__ = other
        scratch = ModuleType(self.module.__name__)
        scratch.__file__ = self.path
        kept = sys.modules[self.module.__name__]
        sys.modules[self.module.__name__] = scratch
        try:
            exec(new, scratch.__dict__)
        finally:
            sys.modules[self.module.__name__] = kept
        for name, value in vars(scratch).items():
            before = vars(self.module).get(name)
            if isinstance(value, str | tuple | frozenset | int | float | dict) and value != before:
                for module in list(sys.modules.values()):
                    if (
                        getattr(module, "__name__", "").startswith("tradelog")
                        and vars(module).get(name) is before
                    ):
                        setattr(module, name, value)


class Jobs:
    """At most so many forks at a time, each with its limit of time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._running: dict[int, tuple[float, Any]] = {}

    def start(self, work: Any, limit: float, done: Any) -> None:
        while len(self._running) >= self._most:
            self._reap()
        child = os.fork()
        if child == 0:
            code = 2
            try:
                os.setpgid(0, 0)
                code = 1 if work() else 0
            finally:
                os._exit(code)
        self._running[child] = (time.monotonic() + limit, done)

    def finish(self) -> None:
        while self._running:
            self._reap()

    def _reap(self) -> None:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            _, done = self._running.pop(child)
            done(status != 0)
            return
        for number, (limit, done) in list(self._running.items()):
            if time.monotonic() > limit:
                os.killpg(number, signal.SIGKILL)
                os.waitpid(number, 0)
                del self._running[number]
                done(True)
                return
        time.sleep(0.005)


def _try(
    target: Target, mutant: Mutant | None, chosen: list[pytest.Item], tests: Mapping[str, Covered]
) -> bool:
    """In a fork: whether a test sees the mutant."""
    _quiet()
    home = tempfile.mkdtemp(prefix="tradelog-mutant-")
    try:
        try:
            if mutant is not None:
                target.install(mutant)
        except Exception:
            return True
        _use(chosen, home)
        return any(_run(chosen, tests))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _report(name: str, result: Result) -> None:
    counted = result.killed + len(result.survived)
    share = f"{100 * result.killed / counted:.1f} %" if counted else "-"
    print(
        f"{name}: {result.killed} killed, {len(result.survived)} survived,"
        f" {len(result.equivalent)} equivalent ({share})"
    )
    for mutant in sorted(result.survived, key=lambda item: item.start):
        print(f"  survived, line {mutant.line}: {mutant.key}")
    for mutant, why in result.equivalent:
        print(f"  equivalent, line {mutant.line}: {mutant.key}\n    {why}")
    for key in result.stale:
        print(f"  listed as equivalent, and no mutant any more: {key}")
    sys.stdout.flush()


def _use(items: Sequence[pytest.Item], home: str) -> None:
    if items:
        factory = items[0].config._tmp_path_factory  # type: ignore[attr-defined]
        factory._basetemp = Path(home).resolve()


def _run(items: Sequence[pytest.Item], tests: Mapping[str, Covered]) -> Iterator[bool]:
    """Whether each test has failed. One that goes in circles ends the process, as it would end the suite."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for item, following in zip(items, [*items[1:], None], strict=True):
        signal.setitimer(signal.ITIMER_REAL, 3.0 + 20 * tests[item.nodeid].seconds)
        reports = runtestprotocol(item, nextitem=following, log=False)
        yield any(report.failed for report in reports)


def _covered(items: Sequence[pytest.Item], targets: dict[str, Target]) -> dict[str, Any]:
    measured = coverage.Coverage(data_file=None, include=[target.path for target in targets.values()])
    home = tempfile.mkdtemp(prefix="tradelog-mutant-")
    _use(items, home)
    told: dict[str, Any] = {}
    measured.start()
    try:
        for item, following in zip(items, [*items[1:], None], strict=True):
            measured.switch_context(item.nodeid)
            began = time.perf_counter()
            reports = runtestprotocol(item, nextitem=following, log=False)
            seconds = time.perf_counter() - began
            failed = [report.longreprtext[-300:] for report in reports if report.failed]
            told[item.nodeid] = {"seconds": seconds, "failed": " ".join(failed), "lines": {}}
    finally:
        measured.stop()
        shutil.rmtree(home, ignore_errors=True)
    data = measured.get_data()
    for name, target in targets.items():
        for line, contexts in data.contexts_by_lineno(target.path).items():
            for context in contexts:
                if context in told:
                    told[context]["lines"].setdefault(name, []).append(line)
    return told


def _limit(chosen: Sequence[pytest.Item], tests: dict[str, Covered]) -> float:
    return 10.0 + PATIENCE * sum(tests[item.nodeid].seconds for item in chosen)


def _note(result: Result, mutant: Mutant, *, is_killed: bool) -> None:
    if is_killed:
        result.killed += 1
    else:
        result.survived.append(mutant)


def _quiet() -> None:
    """What a fork prints is nobody's business."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):
        os.dup2(nowhere, number)


def _pairs(old: CodeType, new: CodeType) -> Iterator[tuple[tuple[str, int], CodeType]]:
    """The code objects of two compilations of one shape, by name and line of the old one."""
    yield (old.co_qualname, old.co_firstlineno), new
    before = [item for item in old.co_consts if isinstance(item, CodeType)]
    after = [item for item in new.co_consts if isinstance(item, CodeType)]
    for one, other in zip(before, after, strict=True):
        yield from _pairs(one, other)


def _loaded(node: ast.AST) -> set[str]:
    return {
        item.id for item in ast.walk(node) if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Load)
    }


def _equivalents() -> dict[tuple[str, str], str]:
    if not EQUIVALENT.exists():
        return {}
    listed = tomllib.loads(EQUIVALENT.read_text())
    return {(item["module"], item["key"]): item["why"] for item in listed["mutant"]}
