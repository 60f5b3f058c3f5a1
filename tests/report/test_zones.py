"""Which day a fill belongs to: the market's, wherever UTC, the machine or its locale are."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.report import made_up
from tradelog.report import lots, period, strategies, symbol, trades
from tradelog.store.reader import Reader

NEW_YORK = "America/New_York"
ACCOUNT = made_up.ACCOUNTS[0]
# Moments (UTC) and their days in New York.
CASES = {
    "2024-12-31T23:59:59": date(2024, 12, 31),  # New Year in London
    "2025-01-01T00:30:00": date(2024, 12, 31),  # after hours on New Year's Eve, next year in UTC
    "2025-01-01T04:59:59": date(2024, 12, 31),  # its last second
    "2025-01-01T05:00:00": date(2025, 1, 1),  # the first of the year
    "2025-03-09T04:59:59": date(2025, 3, 8),
    "2025-03-09T05:00:00": date(2025, 3, 9),  # 23 hours long: the clocks go forward at 07:00 UTC
    "2025-03-10T03:59:59": date(2025, 3, 9),
    "2025-03-10T04:00:00": date(2025, 3, 10),
    "2025-07-02T00:30:00": date(2025, 7, 1),  # 20:30 in New York, tomorrow in UTC
    "2025-11-02T03:59:59": date(2025, 11, 1),
    "2025-11-02T04:00:00": date(2025, 11, 2),  # 25 hours long: the clocks go back at 06:00 UTC
    "2025-11-03T04:59:59": date(2025, 11, 2),
    "2025-11-03T05:00:00": date(2025, 11, 3),
}


class Filled(made_up.Maker):
    """A decision and its fill at each of the moments, and nothing else."""

    def __init__(self, path: Path, moments: list[str]) -> None:
        self.moments = moments
        super().__init__(path, 1, 0)

    def data(self) -> None:
        for number, moment in enumerate(self.moments, 1):
            self.now = made_up.datetime.fromisoformat(f"{moment}+00:00")
            ours = ACCOUNT.as_columns()
            row = {
                **{"decision_id": f"dec_{number}", "strategy_name": "manual", "actor": "me", **ours},
                **{"symbol": "AAPL", "side": "sell" if number % 2 == 0 else "buy", "quantity": "1"},
                **{"order_type": "market", "time_in_force": "day", "extended_hours": 0, "basis": 1},
                **{"decision_rationale": "{}", "decision_hash": "x", "client_order_id": f"c{number}"},
                **{"created_at": self.text(), "status": "executed", "retry_count": 0, "lease_token": 0},
            }
            self.add("trade_decisions", **row)
            self.add(
                "trade_executions",
                **{"execution_id": f"exe_{number}", "decision_id": row["decision_id"], **ours},
                attempt_number=1,
                client_order_id=f"c{number}",
                symbol="AAPL",
                status="filled",
                filled_quantity="1",
                filled_avg_price="10",
                started_at=self.text(),
                fills_quantity="1",
            )
            self.add(
                "fills",
                **{"fill_id": f"fill-{number}", "broker_order_id": f"o{number}", **ours},
                execution_id=f"exe_{number}",
                symbol="AAPL",
                side=row["side"],
                quantity="1",
                price="10",
                price_basis="broker",
                transaction_time=self.text(),
                seen_at=self.text(),
            )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = tmp_path_factory.mktemp("zones") / "log.db"
    Filled(result, list(CASES))
    return result


def on(reader: Reader, first: date, last: date, zone: str = NEW_YORK) -> set[str]:
    """The moments of the fills of some days, about which every report agrees."""
    days = period.of(None, first, last, zone)
    listed, total = trades.trades(reader, ACCOUNT, days, limit=-1)
    result = symbol.report(reader, "AAPL", ACCOUNT, days, limit=-1)
    assert total == result.summary.trades == result.summary.decisions == len(listed)
    assert [row["fill_id"] for row in result.trades] == [row["fill_id"] for row in listed]
    counted = strategies.strategies(reader, ACCOUNT, days)
    assert sum(row["executed"] for row in counted) == total
    # Bought and sold in turn: every second fill closes a lot.
    closed, _, _ = lots.lots(reader, ACCOUNT, days)
    assert len(closed) == sum(row["side"] == "sell" for row in listed)
    return {row["transaction_time"][:19] for row in listed}


@pytest.mark.parametrize("moment", CASES)
def test_a_fill_belongs_to_the_markets_day(path: Path, moment: str) -> None:
    day = CASES[moment]
    with Reader(path) as reader:
        assert on(reader, day, day) == {item for item, its in CASES.items() if its == day}
        for other in (day - timedelta(days=1), day + timedelta(days=1)):
            assert moment not in on(reader, other, other)


def test_years_and_open_ends(path: Path) -> None:
    with Reader(path) as reader:
        for year in (2024, 2025):
            expected = {item for item, day in CASES.items() if day.year == year}
            assert on(reader, date(year, 1, 1), date(year, 12, 31)) == expected
        in_utc = {item for item in CASES if item.startswith("2025")}
        assert on(reader, date(2025, 1, 1), date(2025, 12, 31), "UTC") == in_utc


@pytest.mark.parametrize(
    "environment",
    [
        {"TZ": "Pacific/Kiritimati"},
        {"TZ": "America/Los_Angeles", "LC_ALL": "C"},
        {"TZ": "UTC", "LC_ALL": "C.UTF-8"},
        {"LC_ALL": "de_DE.UTF-8", "LANG": "ar_EG.UTF-8"},
    ],
)
def test_the_machine_has_no_say(path: Path, cli: Cli, home: Path, environment: dict[str, str]) -> None:
    (home / "tradelog.toml").write_text(f'[store]\nurl = "sqlite:///{path}"\n[broker]\nname = "alpaca"\n')
    result = json.loads(cli("report", "AAPL", "--year", "2024", "--json", **environment).out)
    assert [row["transaction_time"][:19] for row in result["trades"]] == [
        *("2025-01-01T04:59:59", "2025-01-01T00:30:00", "2024-12-31T23:59:59"),
    ]
    told = cli("trades", "--from", "2025-07-01", "--to", "2025-07-01", **environment)
    assert "2025-07-01 20:30:00" in told.out
    assert "account default (alpaca, paper)" in told.out


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        (date(2025, 1, 1), date(2025, 12, 31), "2025 (UTC)"),
        (date(2025, 3, 9), date(2025, 3, 9), "2025-03-09 (UTC)"),
        (date(2025, 1, 1), date(2025, 12, 30), "2025-01-01 to 2025-12-30 (UTC)"),
        (date(2024, 1, 1), date(2025, 12, 31), "2024-01-01 to 2025-12-31 (UTC)"),
        (None, date(2025, 12, 31), "the beginning to 2025-12-31 (UTC)"),
        (None, None, "all time (UTC)"),
    ],
)
def test_headers_name_years_and_days(first: date | None, last: date | None, said: str) -> None:
    assert period.of(None, first, last, "UTC").title == said
