"""What a terminal shows of a command."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.conftest import process_environment


def screen(
    home: Path, *arguments: str, columns: int = 100, lines: int = 1000, pager: str = "cat", **more: str
) -> str:
    """All of it, on one that is so wide and so high."""
    main, side = pty.openpty()
    environment = {**process_environment(home, **more), "TERM": "xterm-256color", "PAGER": pager}
    process = subprocess.Popen(
        [sys.executable, "-m", "tradelog", *arguments],
        stdin=side,
        stdout=side,
        stderr=subprocess.DEVNULL,
        cwd=home,
        env={**environment, "COLUMNS": str(columns), "LINES": str(lines)},
    )
    os.close(side)
    shown = b""
    while True:
        try:
            block = os.read(main, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not block:
            break
        shown += block
    os.close(main)
    assert process.wait(60) == 0
    return shown.decode().replace("\r\n", "\n")
