"""The program in this process: as ``python -m tradelog`` between pipes, in an environment of its own."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tradelog.cli.app import run


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


def run_program(
    home: Path, environment: Mapping[str, str], arguments: tuple[str, ...], stdin: bytes = b""
) -> Ended:
    """Run a command line; what belongs to the process is as it was afterwards."""
    with _process_state(home, environment), _streams(stdin) as (out, err):
        code = run(arguments)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    return Ended(code, out.getvalue().decode(), err.getvalue().decode())


@contextmanager
def _process_state(home: Path, environment: Mapping[str, str]) -> Iterator[None]:
    before, place = dict(os.environ), Path.cwd()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        os.environ.clear()
        os.environ.update({**environment, "TYPER_USE_RICH": environment.get("TYPER_USE_RICH", "0")})
        os.chdir(home)
        yield
    finally:
        os.chdir(place)
        os.environ.clear()
        os.environ.update(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def _streams(stdin: bytes) -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    before = sys.stdin, sys.stdout, sys.stderr
    out, err = io.BytesIO(), io.BytesIO()
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(out, encoding="utf-8", errors="backslashreplace")
    sys.stderr = io.TextIOWrapper(err, encoding="utf-8", errors="backslashreplace", line_buffering=True)
    try:
        yield out, err
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            stream.detach()
        sys.stdin, sys.stdout, sys.stderr = before
