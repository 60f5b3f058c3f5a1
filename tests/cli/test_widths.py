"""A terminal of any width shows every number, date and id whole."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests import disclosures as d
from tests.cli.terminal import show
from tests.conftest import furnished
from tradelog.cli import render
from tradelog.cli.render import Column
from tradelog.domain import clock

LISTS = (
    *(("report", "AAPL"), ("trades",), ("failures",), ("strategies",), ("strategies", "--by", "trigger")),
    *(("lots",), ("digest",), ("decisions",), ("decisions", "--not-taken"), ("positions",), ("runs",)),
    *(("alerts",), ("known", "AAPL"), ("people",), ("sources",), ("limits",), ("limits", "--history")),
    *(("status",), ("resolve",)),
)
# Ids, days and times, and numbers with their thousands, decimals, units and signs.
TOKEN = re.compile(
    r"[a-z]{3}_[0-9a-z]{16}|\d\d/\d\d/\d{4}|\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d"
    r"|\$?-?[0-9][0-9,]*(?:\.[0-9]+)?"
)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, decisions of all sizes, fills, refusals, lots with many digits, a signal that was not taken."""
    home = furnished(tmp_path_factory.mktemp("busy"))
    (home / "prices.csv").write_text(
        "symbol,date,close,volume\nAAPL,2026-01-05,123.4567,1000\nMSFT,2026-01-05,200,1000\n"
    )
    rows = [d.house_row(f"Member {n}", "AAPL", d.today()) for n in range(4)]
    d.write(home / "house.csv", d.house_csv(rows))
    assert show(home, "fetch", "congress", "--file", str(home / "house.csv")).code == 0
    show(home, "run-strategy", "congress", "--as-of", str(d.today()))
    for line in (
        ("buy", "10", "AAPL"),
        ("buy", "--notional", "12345.67", "AAPL"),
        ("buy", "5000000", "AAPL"),
        ("sell", "4.123456789", "AAPL"),
        ("sell", "3", "MSFT"),
        ("buy", "1234", "MSFT", "--limit", "187.25"),
        ("buy", "1", "NOPRICE"),
    ):
        assert (
            show(home, "decide", *line, "--why", "a reason of several words in dec_0000000000000000").code
            == 0
        )
        show(home, "run-worker", "--once")
    show(home, "reconcile")
    return home


def tokens(text: str) -> set[str]:
    """What stands whole in a text, numbers in one spelling."""
    return {_plain(token) for token in TOKEN.findall(text)}


def _plain(token: str) -> str:
    if not re.fullmatch(r"\$?-?[0-9][0-9,]*(?:\.[0-9]+)?", token):
        return token
    return str(Decimal(token.replace(",", "").removeprefix("$")).normalize())


@settings(deadline=None, max_examples=12)
@given(columns=st.integers(30, 200))
@example(30)
@example(60)
@example(80)
@example(200)
def test_every_number_date_and_id_is_whole_at_any_width(busy: Path, columns: int) -> None:
    moment = clock.now()
    with pytest.MonkeyPatch.context() as patch:
        # Ages and "now" are the same in both.
        patch.setattr(clock, "now", lambda: moment)
        for arguments in LISTS:
            piped, shown = show(busy, *arguments), show(busy, *arguments, columns=columns)
            assert piped.code == shown.code, (arguments, shown.err)
            there = tokens(shown.out)
            missing = {item for item in tokens(piped.out) if item not in there}
            if arguments == ("lots",):
                # The totals are to the cent for people; --json has all their digits.
                missing = {item for item in missing if not (_is_number(item) and _cents(item) in there)}
            assert not missing, (arguments, columns, missing, shown.out)


def _cents(number: str) -> str:
    return _plain(str(round(Decimal(number), 2)))


def _is_number(token: str) -> bool:
    return re.fullmatch(r"-?[0-9.E+]+", token) is not None


@settings(deadline=None)
@given(
    columns=st.integers(30, 200),
    rows=st.lists(
        st.tuples(
            st.decimals(
                allow_nan=False, allow_infinity=False, places=9, min_value=-(10**12), max_value=10**12
            ),
            st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=28),
            st.lists(st.text("abc0123456789", min_size=1, max_size=28), max_size=8),
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_no_table_cuts_a_word(columns: int, rows: list[tuple[Decimal, str, list[str]]]) -> None:
    """Whatever a row holds: each cell is there, words and numbers unbroken where the width can hold one."""
    import io
    from contextlib import redirect_stdout

    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    listed = [
        {"number": number, "id": name, "words": " ".join(words), "day": "2026-11-28"}
        for number, name, words in rows
    ]
    screen = Terminal()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(screen):
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("NO_COLOR", "1")
        render.table(
            [
                Column("number", "number", right=True),
                Column("id", "id"),
                Column("words", "words", flex=True),
                Column("day", "day"),
            ],
            listed,
        )
    shown = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    for row in listed:
        for value in row.values():
            for word in render._shown(value).split():
                assert word in shown.split(), (row, shown)
    assert all(len(line.rstrip()) <= columns for line in shown.splitlines()), shown
