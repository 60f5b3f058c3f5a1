"""Paging of output that is longer than the screen."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from tradelog.cli.render import is_terminal


class _Screen(io.StringIO):
    """A buffer in place of the terminal, until the length of the output is known."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@contextmanager
def paged() -> Iterator[None]:
    """On a terminal, give what is printed to a pager where it is longer than the screen."""
    if not is_terminal():
        yield
        return
    screen = _Screen()
    with redirect_stdout(screen):
        yield
    text = screen.getvalue()
    import shutil

    if text.count("\n") < shutil.get_terminal_size().lines or not sys.stdin.isatty():
        sys.stdout.write(text)
        return
    _page(text)


def _page(text: str) -> None:
    import shlex
    import subprocess

    program = shlex.split(os.environ.get("PAGER") or "less")
    # R: colours as they are; F: end where it fits after all; X: leave the screen as it is.
    environment = {**os.environ, "LESS": os.environ.get("LESS", "RFX")}
    try:
        subprocess.run(program, input=text, text=True, env=environment, check=False)  # noqa: S603
    except OSError:
        sys.stdout.write(text)
