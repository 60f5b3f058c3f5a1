"""The example strategy, as a stranger takes it: copied, renamed, installed in a fresh environment, run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli, process_environment

pytestmark = [pytest.mark.slow, pytest.mark.process]


def make_environment(folder: Path) -> Path:
    """A fresh environment that has tradelog and a build backend; nothing comes from the network."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return folder / "bin" / "python"


@pytest.fixture
def stranger(tmp_path: Path, home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A copy of the example under another name, installed."""
    copy = tmp_path / "my-strategy"
    shutil.copytree(ROOT / "examples" / "strategy", copy)
    for path in copy.iterdir():
        text = path.read_text().replace("most-bought", "mine").replace("most_bought", "mine")
        path.write_text(text.replace("MostBought", "Mine"))
    (copy / "most_bought.py").rename(copy / "mine.py")
    python = make_environment(tmp_path / "environment")
    # pip keeps nothing outside of the test's folder.
    environment = {**process_environment(home), "PIP_NO_CACHE_DIR": "1", "HOME": str(tmp_path)}
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    command = [str(python), "-m", "pip", "install", "--quiet", *offline, str(copy)]
    subprocess.run(command, check=True, capture_output=True, env=environment | {"PATH": os.environ["PATH"]})

    def tradelog(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(python), "-m", "tradelog", *arguments],
            capture_output=True,
            text=True,
            cwd=home,
            env=process_environment(home),
            check=False,
        )

    return tradelog


def test_a_stranger_copies_the_example_and_runs_it(
    stranger: Callable[..., subprocess.CompletedProcess[str]], cli: Cli, home: Path
) -> None:
    assert cli("fetch", "congress", "--file", str(ROOT / "examples" / "house_2021_11.csv")).code == 0
    listed = json.loads(stranger("run-strategy", "--list", "--json").stdout)["strategies"]
    assert [(row["name"], row["error"]) for row in listed] == [
        ("congress", None),
        ("insider", None),
        ("mine", None),
    ]
    dry = stranger("run-strategy", "mine", "--as-of", "2021-11-26", "--dry-run", "--json")
    (signal,) = json.loads(dry.stdout)["signals"]
    assert (signal["verdict"], signal["side"], signal["size"]) == ("would decide", "buy", "$500")
    ran = stranger("run-strategy", "mine", "--as-of", "2021-11-26", "--json")
    decision_id = json.loads(ran.stdout)["signals"][0]["decision_id"]
    replayed = stranger("replay", decision_id)
    assert (replayed.returncode, "same" in replayed.stdout) == (0, True)
    with (home / "tradelog.toml").open("a") as stream:
        stream.write("[strategies.mine]\nmin_members = 0\n")
    wrong = stranger("run-strategy", "mine")
    assert (wrong.returncode, wrong.stderr.splitlines()[0]) == (
        4,
        "error: [strategies.mine]: window_days, min_members and notional must be above 0",
    )
