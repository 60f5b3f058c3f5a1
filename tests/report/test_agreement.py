"""Every report against a slow and obvious one, with the figures of closed days and without them."""

from __future__ import annotations

import random
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time

from tests.report import made_up
from tests.report.made_up import ACCOUNTS, DAYS, START, STRATEGIES, SYMBOLS, Tables
from tests.report.obvious import Obvious
from tradelog.prices import Bar, Prices
from tradelog.report import (
    decisions,
    drivers,
    failures,
    lots,
    period,
    quality,
    strategies,
    symbol,
    trades,
)
from tradelog.store import figures
from tradelog.store.opening import open_writer
from tradelog.store.reader import Reader

NEW_YORK = "America/New_York"
DECISIONS = 260


@pytest.fixture(scope="module", params=[1, 2])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tables]:
    # Not in the test's own directory: rows that no writer wrote are in no journal.
    path = tmp_path_factory.mktemp("made") / "log.db"
    made_up.Maker(path, request.param, DECISIONS)
    return path, made_up.tables(path)


@pytest.fixture(params=["counted", "remembered"])
def store(request: pytest.FixtureRequest, made: tuple[Path, Tables]) -> tuple[Path, Tables]:
    path, _ = made
    writer = open_writer(path)
    writer.connection.execute("DELETE FROM report_figures")
    if request.param == "remembered":
        with freeze_time(START + timedelta(days=DAYS - 7, hours=5), tick=True):
            for account in ACCOUNTS:
                assert figures.remember(writer, account, NEW_YORK, seconds=60)
        assert writer.rows("SELECT count(*) AS n FROM report_figures")[0]["n"] > 2 * (DAYS - 9)
    writer.close()
    return made


def spans(seed: int) -> list[tuple[date, date, str]]:
    """Years, days around the changes of the clocks and of the year, and any others."""
    result = [
        (date(2024, 1, 1), date(2024, 12, 31), NEW_YORK),
        (date(2025, 1, 1), date(2025, 12, 31), NEW_YORK),
        (date(2025, 1, 1), date(2025, 12, 31), "UTC"),
        (date(2024, 12, 31), date(2024, 12, 31), NEW_YORK),
        (date(2024, 11, 3), date(2024, 11, 3), NEW_YORK),
        (date(2025, 3, 9), date(2025, 3, 9), NEW_YORK),
        (date(2024, 11, 1), date(2025, 3, 31), "Asia/Kolkata"),
        (date(2020, 1, 1), date(2020, 12, 31), NEW_YORK),
    ]
    chance = random.Random(seed)
    for _ in range(6):
        first = START.date() + timedelta(days=chance.randrange(DAYS))
        result.append((first, first + timedelta(days=chance.randrange(60)), NEW_YORK))
    return result


def each(tables: Tables) -> list[tuple[period.Period, Obvious, made_up.Row]]:
    return [
        (
            period.of(None, first, last, zone),
            Obvious(tables, account, first, last, zone),
            {"account": account},
        )
        for first, last, zone in spans(3)
        for account in ACCOUNTS
    ]


def test_symbols(store: tuple[Path, Tables]) -> None:
    path, tables = store
    with Reader(path) as reader:
        for days, plain, asked in each(tables):
            for name in SYMBOLS:
                result = symbol.report(reader, name, asked["account"], days, limit=-1)
                seen, outside, traded = plain.data(name)
                assert sorted(row["version_id"] for row in result.data) == seen
                assert sorted(row["version_id"] for row in result.seen_outside) == outside
                assert (result.data_first_seen, result.data_traded) == (len(seen), traded)
                mine = [row for row in plain.decided() if row["symbol"] == name]
                assert [row["decision_id"] for row in result.decisions] == [
                    row["decision_id"] for row in reversed(mine)
                ]
                fills = [row["fill_id"] for row in plain.fills() if row["symbol"] == name]
                assert sorted(row["fill_id"] for row in result.trades) == sorted(fills)
                # Filled in part and then canceled, it is a trade as well.
                for row in result.trades:
                    assert row["status"] == plain.execution_by_id[row["execution_id"]]["status"]
                states = Counter(row["status"] for row in mine)
                text = result.summary
                assert (text.decisions, text.trades, text.signals) == (
                    *(len(mine), len(fills)),
                    plain.signals(name),
                )
                assert (text.executed, text.failed, text.cancelled) == tuple(
                    states[state] for state in ("executed", "failed", "cancelled")
                )
                assert text.pending == states["pending"] + states["executing"]
                assert text.bought == plain.shares(name, bought=True)
                assert text.sold == plain.shares(name, bought=False)
                few = symbol.report(reader, name, asked["account"], days, limit=3)
                assert few.summary == text
                for short, long in (
                    (few.data, result.data),
                    (few.seen_outside, result.seen_outside),
                    (few.decisions, result.decisions),
                    (few.trades, result.trades),
                ):
                    assert short == long[:3]


def test_trades_and_decisions(store: tuple[Path, Tables]) -> None:
    path, tables = store
    with Reader(path) as reader:
        for days, plain, asked in each(tables):
            account = asked["account"]
            fills = plain.fills()
            result, total = trades.trades(reader, account, days, limit=-1)
            assert total == len(result) == len(fills)
            assert {row["fill_id"] for row in result} == {row["fill_id"] for row in fills}
            for strategy in (None, *STRATEGIES):
                for status in (None, "executed", "failed"):
                    for name in (None, "AAPL"):
                        expected = decisions.Selection(days, name, strategy, status)
                        mine = [
                            row["decision_id"]
                            for row in plain.decided()
                            if strategy in (None, row["strategy_name"])
                            and status in (None, row["status"])
                            and name in (None, row["symbol"])
                        ]
                        listed, number = decisions.decisions(reader, account, expected, limit=-1)
                        assert [row["decision_id"] for row in listed] == mine[::-1]
                        assert number == len(mine)
            signals = [
                row["signal_id"]
                for row in plain.ours("signals")
                if plain.within(row["created_at"]) and not row["taken"]
            ]
            listed, number = decisions.not_taken(reader, account, decisions.Selection(days), limit=-1)
            assert [row["signal_id"] for row in listed] == signals[::-1]
            assert number == len(signals)


def test_failures(store: tuple[Path, Tables]) -> None:
    path, tables = store
    with Reader(path) as reader:
        for days, plain, asked in each(tables):
            for strategy in (None, *STRATEGIES):
                result = failures.failures(reader, asked["account"], days, strategy=strategy)
                told = {row["reason"]: (row["count"], row["latest"], row["months"]) for row in result}
                assert told == plain.failures(strategy)
                assert all(row["examples"][0]["failed_at"] == row["latest"] for row in result)


def test_strategies(store: tuple[Path, Tables]) -> None:
    path, tables = store
    with Reader(path) as reader:
        for days, plain, asked in each(tables):
            result = strategies.strategies(reader, asked["account"], days)
            assert {row["strategy"] for row in result} == plain.strategies()
            for row in result:
                expected = plain.strategy(row["strategy"])
                assert {
                    key: value for key, value in row.items() if key in expected and not _is_rate(key)
                } == {key: value for key, value in expected.items() if not _is_rate(key)}
                for key in filter(_is_rate, expected):
                    assert _close(row[key], expected[key]), (key, row[key], expected[key])


def _is_rate(key: str) -> bool:
    return key in ("fill_rate", "slippage_bps")


def _close(ours: Decimal | None, theirs: Decimal | None) -> bool:
    """The same to ten places: rates are quotients, each rounded to twelve."""
    if ours is None or theirs is None:
        return ours is theirs
    return abs(ours - theirs) < Decimal("1e-9")


def test_lots(store: tuple[Path, Tables]) -> None:
    path, tables = store
    with Reader(path) as reader:
        for days, plain, asked in each(tables)[:4]:
            sums = Counter[str]()
            for name in SYMBOLS:
                rows, _, total = lots.lots(reader, asked["account"], days, symbol=name)
                expected: list[Any] = plain.lots(name)
                assert len(rows) == len(expected)
                ours = sorted(
                    (
                        *sorted((row["acquired"], row["sold"])),
                        *(Decimal(row[key]) for key in ("quantity", "proceeds", "basis")),
                    )
                    for row in rows
                )
                for mine, theirs in zip(ours, sorted(expected), strict=True):
                    assert mine[:2] == theirs[:2]
                    # The obvious one cuts shares to thousandths.
                    assert all(abs(a - b) < Decimal("0.2") for a, b in zip(mine[2:], theirs[2:], strict=True))
                assert total.proceeds == sum((Decimal(row["proceeds"]) for row in rows), Decimal(0))
                assert total.gain == total.proceeds - total.basis
                sums["proceeds"] += total.proceeds  # type: ignore[assignment]
            _, _, whole = lots.lots(reader, asked["account"], days)
            assert whole.proceeds == sums["proceeds"]


def test_quality(store: tuple[Path, Tables]) -> None:
    """Of a symbol with a close for every weekday but the last ones."""
    path, tables = store
    days = [START.date() + timedelta(days=number) for number in range(-5, DAYS - 20)]
    closes = {day: Decimal(100 + day.toordinal() % 13) for day in days if day.weekday() < 5}
    prices = Prices({"AAPL": tuple(Bar(day, close, None) for day, close in closes.items())})
    with Reader(path) as reader:
        for span, plain, asked in each(tables):
            result = quality.quality(reader, asked["account"], span, prices)
            for after in quality.AFTER:
                expected = plain.moves(closes, "AAPL", after)
                told = {key: item[after] for key, item in result.items() if item[after]["count"]}
                # Judged by a close of at most a week before: the file ends before the decisions do.
                assert set(told) == {key for key, moves in expected.items() if moves}
                for key, item in told.items():
                    moves = expected[key]
                    assert item["count"] == len(moves)
                    assert _close(item["move"], sum(moves, Decimal(0)) / len(moves))
                    right = Decimal(sum(move > 0 for move in moves)) / len(moves)
                    assert _close(item["right"], right)


@pytest.mark.parametrize("kind", ["trigger", "member", "source"])
def test_drivers(store: tuple[Path, Tables], kind: str) -> None:
    path, tables = store
    always = period.of(None, None, None, NEW_YORK)
    with Reader(path) as reader:
        for days, plain, asked in each(tables)[:8]:
            gains: dict[str, Decimal] = {}
            for row in lots.lots(reader, asked["account"], always)[0]:
                gains[row["opened_by"]] = gains.get(row["opened_by"], Decimal(0)) + Decimal(row["gain"])
            result = drivers.drivers(reader, asked["account"], days, kind)
            told = {
                row["name"]: (row["decisions"], row["executed"], row["closed"], row["realised"])
                for row in result
            }
            assert told == plain.drivers(kind, gains)
