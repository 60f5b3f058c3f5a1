"""Three simulated years of a fund: disclosures, decisions, orders at the stand-in broker, month by month.

In each month a feed brings trades, four positions are opened and those of the month before are closed, one
order is refused, and one decision is of three insiders' filings. One lot is bought at the start and held.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests import disclosures as d
from tests import filings as f
from tests import wall_clock
from tests.conftest import cli_in
from tests.execute.driving import ENVIRONMENT
from tests.fakes.alpaca import KEYS
from tests.fakes.desk import Desk
from tradelog.config.load import load_config
from tradelog.decide import record
from tradelog.domain import clock
from tradelog.execute.brokers.alpaca import AlpacaBroker
from tradelog.execute.worker import Worker
from tradelog.ingest.identity import Record
from tradelog.ingest.run import IngestionRun
from tradelog.store.opening import open_writer
from tradelog.store.writer import Writer

BEGAN = datetime(2023, 3, 1, 15, 0, tzinfo=UTC)
MONTHS = 36
MOMENT = [BEGAN]


@pytest.fixture(autouse=True)
def _time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the stand-in and of the program is where the story is."""
    MOMENT[0] = BEGAN
    monkeypatch.setattr(wall_clock, "now", lambda: MOMENT[0])
    monkeypatch.setattr(clock, "now", lambda: MOMENT[0])


@dataclass
class Fund:
    """The store of three years, and the stand-in that has its orders."""

    home: Path
    desk: Desk
    insider_decision: str = ""
    held_decision: str = ""

    @property
    def store(self) -> Path:
        return self.home / "store" / "log.db"


def live(home: Path, desk: Desk, *, months: int = MONTHS, trades: int = 20) -> Fund:
    """Live through so many months; ``trades`` are the rows that a feed brings in each."""
    (home / "tradelog.toml").write_text(
        '[store]\nurl = "sqlite:///store/log.db"\n'
        f'[broker]\nname = "alpaca"\nbase_url = "{desk.url}"\n'
        "[worker]\nconnect_timeout_seconds = 5\nread_timeout_seconds = 5\n"
    )
    fund = Fund(home, desk)
    desk.cash *= 10
    writer = open_writer(fund.store)
    config = load_config(home / "tradelog.toml")
    worker = Worker(writer, AlpacaBroker(desk.url, *KEYS, connect=5, read=5), config)
    cli = cli_in(home)

    def decide(symbol: str, side: str, quantity: str) -> str:
        values = {
            "symbol": symbol,
            "side": side,
            "quantity": quantity,
            "strategy": "monthly",
            "rationale": "r",
        }
        return record.record(writer, config.account, record.parse(values)).decision_id

    def work() -> None:
        for _ in range(3):
            MOMENT[0] += timedelta(seconds=5)
            worker.drain()
            worker.poll()

    worker.start()
    fund.held_decision = decide("HOLD", "buy", "3")
    work()
    for month in range(months):
        MOMENT[0] = max(MOMENT[0], BEGAN + timedelta(days=30 * month))
        _fetch(writer, month, trades)
        for number in range(4):
            decide(f"S{number}", "buy", "2")
            if month:
                decide(f"S{number}", "sell", "2")
        for symbol, quantity in _of_insiders(writer):
            decide(symbol, "sell", quantity)
        decide("NOPE", "buy", "1")
        work()
        if month % 6 == 2:
            for owner in ("1", "2", "3"):
                line = f.line(day=d.today().isoformat())
                body = f.ownership((line,), owners=((owner.zfill(10), f"Doe {owner}"),), symbol=f"I{month}")
                text = f.submission(
                    body, f"00000000{month:02d}-26-00000{owner}", f"{MOMENT[0]:%Y%m%d}{MOMENT[0]:%H%M%S}"
                )
                path = d.write(home / f"{month}-{owner}.txt", text)
                ended = cli("fetch", "insider", "--file", str(path))
                assert ended.code == 0, ended.err
            ended = cli("run-strategy", "insider", "--json", **ENVIRONMENT)
            made = [item for item in json.loads(ended.out)["signals"] if item["decision_id"]]
            fund.insider_decision = fund.insider_decision or made[0]["decision_id"]
            work()
        worker.reconcile()
    MOMENT[0] += timedelta(days=2)
    worker.heartbeat()
    worker.finish()
    writer.close()
    return fund


def _of_insiders(writer: Writer) -> list[tuple[str, str]]:
    """What was bought on filings, and not sold yet."""
    rows = writer.rows(
        "SELECT d.symbol, e.filled_quantity FROM trade_decisions d"
        " JOIN trade_executions e USING (decision_id) WHERE d.strategy_name = 'insider' AND d.side = 'buy'"
        " AND d.symbol NOT IN (SELECT symbol FROM trade_decisions WHERE side = 'sell')"
    )
    return [(row["symbol"], row["filled_quantity"]) for row in rows]


def _fetch(writer: Writer, month: int, trades: int) -> None:
    day = MOMENT[0].date().isoformat()
    with IngestionRun(writer, "data_fetch:congress", "quiver") as run:
        for number in range(trades):
            row = {
                "member": f"Member {number % 9}",
                "ticker": f"S{number % 5}",
                "note": "as the source says " * 20,
            }
            run.add(
                Record(
                    kind="congress_trade",
                    position=number,
                    identity=(str(month), str(number)),
                    content=(str(month), str(number)),
                    payload=json.dumps(row | {"row": number}),
                    symbol=row["ticker"],
                    actor=row["member"],
                    side="purchase" if number % 2 else "sale",
                    event_date=day,
                    filed_at=clock.now_text(),
                )
            )
