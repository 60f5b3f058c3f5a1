"""tradelog demo"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tradelog.cli.init import template
from tradelog.cli.render import line
from tradelog.config.load import load_config
from tradelog.errors import NotFound, TradelogError

# The bundled disclosures end here; a decision on them is one of that day.
AS_OF = "2021-11-26"
SYMBOL = "AAPL"


def command(
    directory: Annotated[
        Path | None, typer.Option("--dir", help="An empty or new directory for the store.")
    ] = None,
) -> None:
    """Run the whole chain on bundled data in a fresh store."""
    examples = _examples()
    home = directory or Path(tempfile.mkdtemp(prefix="tradelog-demo-"))
    home.mkdir(parents=True, exist_ok=True)
    if any(home.iterdir()):
        raise TradelogError(f"{home} is not empty", hint="name a new directory with --dir")
    config = home / "tradelog.toml"
    prices = examples / "prices.csv"
    config.write_text(template().replace('# prices = "prices.csv"', f'prices = "{prices}"'), encoding="utf-8")
    line("Real public disclosures; illustrative prices; a simulated broker. Nothing leaves this machine.")
    _step(config, "fetch", "congress", "--file", str(examples / "house_2021_11.csv"))
    _step(config, "run-strategy", "congress", "--as-of", AS_OF)
    _step(config, "run-worker", "--once")
    _step(config, "report", SYMBOL)
    line()
    line("Next, on the same store:")
    program = _program()
    print(f"  export TRADELOG_CONFIG={shlex.quote(str(config.resolve()))}")
    for text in (
        f"{program} runs",
        f"{program} show {_decision(config)}",
        f'{program} decide buy 10 AAPL --why "my own reason" && {program} run-worker --once',
        f"{program} report {SYMBOL} --json",
        f"{program} strategies",
    ):
        print(f"  {text}")


def _program() -> str:
    """What runs this tradelog from a shell here: its name where that is found, otherwise its path."""
    ours = Path(sys.executable).parent / "tradelog"
    on_path = shutil.which("tradelog")
    if on_path is not None and Path(on_path).resolve() == ours.resolve():
        return "tradelog"
    if not ours.is_file():
        return f"{shlex.quote(sys.executable)} -m tradelog"
    here = Path.cwd()
    return shlex.quote(str(ours.relative_to(here) if ours.is_relative_to(here) else ours))


def _step(config: Path, *arguments: str) -> None:
    line()
    line("$ tradelog " + " ".join(arguments))
    sys.stdout.flush()
    # Our own program and arguments: nothing of it comes from outside.
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "tradelog", *arguments],
        env={**os.environ, "TRADELOG_CONFIG": str(config)},
        check=False,
    )
    if ended.returncode != 0:
        raise TradelogError(f"this step ended with {ended.returncode}; its store is in {config.parent}")


def _decision(config: Path) -> str:
    """The decision that the report has just shown."""
    from tradelog.report import trail
    from tradelog.store.reader import Reader

    with Reader(load_config(config).store_path) as reader:
        return trail.first_of_symbol(reader, SYMBOL)


def _examples() -> Path:
    """Beside the package in an installed tradelog, at the top of a checkout otherwise."""
    here = Path(__file__).resolve().parents[1]
    for place in (here / "_examples", here.parents[1] / "examples"):
        if (place / "prices.csv").is_file():
            return place
    raise NotFound("the bundled examples are missing", hint="install tradelog again")
