"""Commands in this process, before a terminal of any width that is none."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tradelog.cli.app import run


@dataclass(frozen=True)
class Shown:
    code: int
    out: str
    err: str


class _Stream(io.StringIO):
    encoding = "utf-8"

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def show(home: Path, *arguments: str, columns: int | None = None, config: str | None = None) -> Shown:
    """What a command prints: on a terminal so wide, or, without ``columns``, into a pipe."""
    out, err = (_Stream(is_terminal=columns is not None) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRADELOG_CONFIG", str(home / "tradelog.toml") if config is None else config)
        patch.setenv("NO_COLOR", "1")
        patch.setenv("COLUMNS", str(columns or 80))
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.setattr(sys, "stdin", io.StringIO())
        code = run(arguments)
    return Shown(code, out.getvalue(), err.getvalue())
