"""The command line: parse, call, render. A command's module is imported when it runs, not before."""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def main() -> NoReturn:
    """The ``tradelog`` program. Exit codes are in `tradelog.errors`; 130 is an interrupt."""
    # As for Ctrl-C: a run that is stopped ends as `aborted`.
    signal.signal(signal.SIGTERM, _interrupted)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding does not have is shown escaped, not refused.
            stream.reconfigure(errors="backslashreplace")
    os.environ.setdefault("TYPER_USE_RICH", "0")
    from tradelog.cli.app import run

    sys.exit(run(sys.argv[1:]))


def _interrupted(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
