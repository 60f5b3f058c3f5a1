"""README's commands work in the order in which they stand, and it names every command."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, process_environment
from tradelog.cli.app import COMMANDS

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory as somebody has it who has cloned the project: with the examples, and nothing else yet."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = process_environment(folder, PATH=programs)
    del environment["TRADELOG_CONFIG"]
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def commands(text: str) -> list[str]:
    """The commands of a block, without comments; one that goes on in the next line is one."""
    lines = re.sub(r"\|\n\s+", "| ", text).splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip()]


def test_the_commands_of_the_readme_work_in_their_order(checkout: Path) -> None:
    ran = []
    for kind, text in BLOCKS:
        if kind == "python":
            (checkout / "bot.py").write_text(text)
            ran.append("python bot.py")
        else:
            ran += [line for line in commands(text) if not line.startswith(("make", "pip install"))]
    assert len(ran) > 15
    for line in ran:
        ended = shell(checkout, line)
        assert ended.returncode == 0, (line, ended.stderr)
        assert line.startswith(("sed", "python")) or ended.stdout.strip(), line
    # No answer on the way was an empty one.
    for key in ("trades", "decisions", "lots", "runs"):
        assert json.loads(shell(checkout, f"tradelog {key} --json").stdout)[key], key


def test_every_command_is_in_the_readme() -> None:
    named = set(re.findall(r"[`·] ?([a-z-]+)(?= [^`]*`|`)", README))
    assert set(COMMANDS) - named == set()


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets
