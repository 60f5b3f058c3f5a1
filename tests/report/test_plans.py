"""No report reads a whole table: what SQLite says it will do for every statement of every report."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.report import made_up
from tradelog.config.load import load_config
from tradelog.domain import clock
from tradelog.prices import Bar, Prices
from tradelog.report import (
    decisions,
    digest,
    drivers,
    failures,
    known,
    limits,
    lots,
    people,
    period,
    positions,
    quality,
    runs,
    status,
    strategies,
    symbol,
    trades,
    trail,
)
from tradelog.store.reader import Reader

ACCOUNT = made_up.ACCOUNTS[0]
YEAR = period.of(2025, None, None, "America/New_York")
ALWAYS = period.of(None, None, None, "America/New_York")
PRICES = Prices({"AAPL": (Bar(date(2025, 1, 2), Decimal(1), None),)})
CONFIG = load_config(Path(__file__).parents[2] / "tradelog.toml")
# Indexes of the few rows that something is the matter with: to read all of one is to read little. Of breaks
# and alerts as well, there are few.
FEW = (
    *("ix_runs_unfinished", "ix_requests_refused", "uq_breaks_open", "uq_alerts_open", "uq_halts_open"),
    *("ix_executions_unsettled", "ix_executions_open", "uq_requests_open", "ix_decisions_waiting"),
    *("ix_decisions_due", "ix_decisions_executing", "ix_executions_owed"),
)
# What is asked about all that an account ever did, by its nature: what is held, and which lots are open.
WHOLE = ("fills", "position_entries", "account_activities", "workers", "breaks", "halts", "reconcile_marks")
# Rows that a statement has found already, or was given; and what there is one of a process, of an act of a
# person, or of a member's name.
FOUND = re.compile(
    r"SCAN (halts|control_events|workers|n\b|CONSTANT ROW|\(subquery-\d+\)|json_each|value|t\b)"
)
ACCOUNT_ALONE = re.compile(r"SEARCH (\w+) .*\(broker=\? AND environment=\? AND account=\?\)$")

Ask = Callable[[Reader], Any]
REPORTS: dict[str, Ask] = {
    "report": lambda r: symbol.report(r, "AAPL", ACCOUNT, YEAR),
    "report, always": lambda r: symbol.report(r, "AAPL", ACCOUNT, ALWAYS),
    "trades": lambda r: trades.trades(r, ACCOUNT, YEAR),
    "trades of a symbol": lambda r: trades.trades(r, ACCOUNT, YEAR, symbol="AAPL"),
    "trades of a strategy": lambda r: trades.trades(r, ACCOUNT, YEAR, strategy="congress"),
    "failures": lambda r: failures.failures(r, ACCOUNT, YEAR),
    "failures of a strategy": lambda r: failures.failures(r, ACCOUNT, YEAR, strategy="congress"),
    "strategies": lambda r: strategies.strategies(r, ACCOUNT, YEAR),
    "quality": lambda r: quality.quality(r, ACCOUNT, YEAR, PRICES),
    "decisions": lambda r: decisions.decisions(r, ACCOUNT, decisions.Selection(YEAR)),
    "decisions of a symbol": lambda r: decisions.decisions(r, ACCOUNT, decisions.Selection(YEAR, "AAPL")),
    "decisions that wait": lambda r: decisions.decisions(
        r, ACCOUNT, decisions.Selection(YEAR, waiting=("congress",))
    ),
    "signals not taken": lambda r: decisions.not_taken(r, ACCOUNT, decisions.Selection(YEAR)),
    "signals of a symbol": lambda r: decisions.not_taken(r, ACCOUNT, decisions.Selection(YEAR, "AAPL")),
    "runs": lambda r: runs.runs(r, runs.Selection(YEAR)),
    "runs of a task": lambda r: runs.runs(r, runs.Selection(YEAR, task="data_fetch:congress")),
    "digest": lambda r: digest.digest(
        r, ACCOUNT, period.of(None, date(2025, 1, 2), date(2025, 1, 2), "America/New_York")
    ),
    "lots": lambda r: lots.lots(r, ACCOUNT, YEAR),
    "lots of a symbol": lambda r: lots.lots(r, ACCOUNT, YEAR, symbol="AAPL"),
    "by member": lambda r: drivers.drivers(r, ACCOUNT, YEAR, "member"),
    "by trigger": lambda r: drivers.drivers(r, ACCOUNT, YEAR, "trigger"),
    "show": lambda r: trail.decision(r, r.value("SELECT min(decision_id) FROM trade_decisions")),
    "known": lambda r: known.known(r, "AAPL", clock.from_text("2025-01-02T00:00:00Z")),
    "positions": lambda r: positions.positions(r, ACCOUNT),
    "limits": lambda r: limits.limits(r, CONFIG),
    "people": lambda r: people.people(r, None),
    "a run": lambda r: runs.run(r, "run_0001"),
    "the last run of sources": lambda r: runs.last_of(r, ["quiver-congress"]),
    "a signal": lambda r: trail.signal(r, r.value("SELECT min(signal_id) FROM signals")),
    "a strategy's run": lambda r: trail.strategy_run(
        r, r.value("SELECT min(strategy_run_id) FROM strategy_runs")
    ),
    "status": lambda r: status.status(r, CONFIG),
}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("made") / "log.db"
    made_up.Maker(path, 3, 60)
    with Reader(path) as opened:
        yield opened


@pytest.mark.parametrize("name", REPORTS)
def test_no_report_reads_a_whole_table(reader: Reader, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any]] = []
    for method in ("rows", "one", "value"):
        original = getattr(Reader, method)

        def spy(self: Reader, sql: str, parameters: Any = (), original: Any = original) -> Any:
            asked.append((sql, parameters))
            return original(self, sql, parameters)

        monkeypatch.setattr(Reader, method, spy)
    REPORTS[name](reader)
    assert asked
    for sql, parameters in asked:
        plan = reader.connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)
        for step in (row["detail"] for row in plan):
            if step.startswith("SCAN"):
                assert FOUND.match(step) or any(index in step for index in FEW), (sql, step)
            alone = ACCOUNT_ALONE.match(step)
            if alone and not any(index in step for index in FEW):
                assert _table(sql, alone[1]) in WHOLE, (sql, step)


def _table(sql: str, alias: str) -> str:
    """The table that a name in a plan stands for."""
    result = re.search(rf"(?:FROM|JOIN) (\w+) (?:AS )?{alias}\b", sql)
    return result[1] if result else alias
