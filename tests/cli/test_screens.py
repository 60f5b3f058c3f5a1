"""Reports as a terminal shows them, narrow and wide; and names from outside, which stay in their cells."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.cli.screens import screen
from tests.conftest import Cli, cli_in, furnished
from tradelog.cli import render

EVIL = "[red]x[/red]\x1b[31m\u202e=1+1"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Decisions with a hostile reason: filled, refused, sold again."""
    home = furnished(tmp_path_factory.mktemp("worked"))
    cli = cli_in(home)
    for symbol, side, quantity in (("AAPL", "buy", "10"), ("AAPL", "buy", "5000"), ("AAPL", "sell", "4")):
        line = {
            **{"strategy": "a strategy of a long name [bold]", "symbol": symbol, "side": side},
            **{"quantity": quantity, "rationale": {"trigger": EVIL, "trigger_event": EVIL}},
        }
        (home / "line.json").write_text(json.dumps(line))
        assert cli("decide", "--input", "line.json").code == 0
        assert cli("run-worker", "--once").code == 0
    return home


@pytest.fixture
def worked(made: Path, home: Path) -> Path:
    """That store, to do with as a test likes."""
    shutil.copytree(made, home, dirs_exist_ok=True)
    return home


REPORTS = (
    *(("report", "AAPL"), ("trades",), ("failures",), ("strategies",), ("strategies", "--by", "trigger")),
    *(("lots",), ("digest",), ("decisions",), ("positions",)),
)


@pytest.mark.parametrize("columns", [80, 160])
def test_nothing_is_wider_than_the_screen_or_leaves_its_cell(worked: Path, columns: int) -> None:
    for arguments in REPORTS:
        shown = screen(worked, *arguments, columns=columns)
        codes = set(ANSI.findall(shown))
        # What colours there are, are ours: red is for what failed.
        assert "\x1b" not in ANSI.sub("", shown), arguments
        assert "\u202e" not in shown
        plain = ANSI.sub("", shown)
        wide = [line for line in plain.splitlines() if cell_len(line) > columns]
        assert not wide, (arguments, wide)
        if "x[/red]" in plain:
            assert "[red]x[/red]" in plain.replace("\n", "")
        assert codes, arguments


def test_colours_say_what_words_say(worked: Path) -> None:
    shown = screen(worked, "decisions", columns=160)
    assert re.search(r"\x1b\[31mfailed", shown)
    assert re.search(r"\x1b\[32mexecuted", shown)
    for arguments in (("decisions",), ("digest",), ("strategies",)):
        codes = ANSI.findall(screen(worked, *arguments, columns=160, NO_COLOR="1"))
        assert not [code for code in codes if re.search(r"\[(3|4|9)[0-7]m", code)], arguments


def test_no_cell_of_a_csv_is_a_formula_or_a_colour(worked: Path, cli: Cli, home: Path) -> None:
    (home / "line.json").write_text(
        json.dumps(
            {
                "strategy": "manual",
                "symbol": "AAPL",
                "side": "sell",
                "quantity": "1",
                "rationale": {"why": "=cmd()"},
            }
        )
    )
    assert cli("decide", "--input", "line.json").code == 0
    assert cli("run-worker", "--once").code == 0
    for arguments in (("strategies", "--by", "trigger"), ("trades",)):
        text = cli(*arguments, "--csv").out
        assert "\x1b" not in text
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        assert "'=cmd()" in cells
        assert not [cell for cell in cells if cell[:1] in "=+@" and cell]
        assert "\x1b" not in cli(*arguments).out


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        *((None, "—"), (0, "0ms"), (999, "999ms"), (1200, "1.2s"), (59_000, "59s"), (60_000, "1.0m")),
        *((3_600_000, "1.0h"), (23 * 3_600_000, "23h"), (86_400_000, "1.0d"), (864_000_000, "10d")),
    ],
)
def test_durations(milliseconds: int | None, said: str) -> None:
    assert render.duration(milliseconds) == said


@pytest.mark.parametrize(
    ("share", "said"), [(None, ""), ("0", ""), ("1", "████████"), ("0.5", "████"), ("0.07", "▌")]
)
def test_a_bar(share: str | None, said: str) -> None:
    assert render.bar(None if share is None else render.Decimal(share)) == said
