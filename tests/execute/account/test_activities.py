"""What happens to an account beside its orders: fees and splits, fetched once, kept as told."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.conftest import scalar
from tests.execute.driving import go, settle
from tests.fakes import books
from tests.fakes.alpaca import FakeAlpaca, Fault
from tests.journaled import check_complete
from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.execute.account import activities
from tradelog.execute.worker import Worker
from tradelog.report import lots, period
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer

Decide = Callable[..., str]
ALWAYS = period.of(None, None, None, "America/New_York")


def activity(number: int, kind: str, **more: Any) -> dict[str, Any]:
    """As Alpaca's specification has them: numbers as text, the day apart from when it was made."""
    today = clock.market_today().isoformat()
    return {
        "id": f"{number:017d}::{number:08d}-0000-0000-0000-000000000000",
        "activity_type": kind,
        "date": today,
        "created_at": clock.now_text(),
        "status": "executed",
        **more,
    }


def test_fees_are_kept_once_and_are_in_the_lots(
    worker: Worker, writer: Writer, fake: FakeAlpaca, decide: Decide, config: Config
) -> None:
    settle(worker, writer, decide(quantity="2"))
    fake.other_activities = [
        activity(1, "FEE", activity_sub_type="TAF", net_amount="-0.01", description="TAF fee"),
        activity(2, "FEE", activity_sub_type="CAT", net_amount="-0.02"),
        activity(3, "FEE", net_amount="-9", status="canceled"),
        activity(4, "DIV", activity_sub_type="CDIV", net_amount="1.02", symbol="T", qty="2"),
    ]
    assert worker.reconcile().activities == 4
    for _ in range(3):
        go(100_000)
        assert worker.reconcile().activities == 0
    rows = writer.rows("SELECT kind, sub_kind, net_amount, symbol, raw FROM account_activities")
    assert [(row["kind"], row["sub_kind"], row["net_amount"]) for row in rows] == [
        *(("FEE", "TAF", "-0.01"), ("FEE", "CAT", "-0.02"), ("FEE", None, "-9"), ("DIV", "CDIV", "1.02")),
    ]
    assert json.loads(rows[0]["raw"])["description"] == "TAF fee"
    with Reader(config.store_path) as reader:
        _, fees, total = lots.lots(reader, config.account, ALWAYS)
        check_complete(reader)
    assert (len(fees), total.fees) == (2, Decimal("0.03"))


@pytest.mark.parametrize(
    "told",
    [
        [{"qty": "30"}],
        [{"qty": "-10"}, {"qty": "40"}],
        [{"qty": "10", "old_qty": "10", "new_qty": "40"}],
    ],
)
def test_a_split_is_no_break_and_keeps_the_basis(
    worker: Worker,
    writer: Writer,
    fake: FakeAlpaca,
    decide: Decide,
    config: Config,
    told: list[dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten bought, split four for one, forty sold: however the broker writes a split down."""
    monkeypatch.setattr(books, "stamp", clock.now_text)
    fake.price = "400"
    settle(worker, writer, decide(quantity="10"))
    # The day after, before the market opens.
    go(2 * 86_400)
    fake.given = {"AAPL": Decimal(30)}
    fake.other_activities = [activity(n, "SPLIT", symbol="AAPL", **more) for n, more in enumerate(told)]
    worker.reconcile()
    assert scalar(writer, "SELECT count(*) FROM breaks") == 0
    go(86_400)
    fake.price = "110"
    settle(worker, writer, decide(quantity="40", side="sell"))
    worker.reconcile()
    assert scalar(writer, "SELECT count(*) FROM breaks") == 0
    with Reader(config.store_path) as reader:
        rows, _, total = lots.lots(reader, config.account, ALWAYS)
    assert [(row["quantity"], row["proceeds"], row["basis"], row["gain"]) for row in rows] == [
        ("40", "4400", "4000", "400")
    ]
    assert total.gain == 400


def test_pagination_reads_every_page(worker: Worker, writer: Writer, fake: FakeAlpaca) -> None:
    fake.other_activities = [activity(number, "FEE", net_amount="-0.01") for number in range(230)]
    assert worker.reconcile().activities == 230
    assert fake.count("GET", "/v2/account/activities?category=non_trade_activity") >= 3


def test_an_unreadable_activity_raises_an_alert_and_others_are_recorded(
    worker: Worker, writer: Writer, fake: FakeAlpaca
) -> None:
    fake.other_activities = [
        activity(1, "FEE", net_amount="-0.01", date="one day"),
        activity(2, "FEE", net_amount="a cent"),
    ]
    assert worker.reconcile().activities == 1
    assert scalar(writer, "SELECT net_amount FROM account_activities") is None
    assert scalar(writer, "SELECT kind FROM alerts") == "activity_unreadable"


def test_a_reconciliation_without_them_is_not_complete(worker: Worker, fake: FakeAlpaca) -> None:
    fake.faults.append(Fault("GET", path="/account/activities?category"))
    assert worker.reconcile().missing == "the activities of the account"
    go(60)
    worker.session.paused_until = 0.0
    assert worker.reconcile().missing is None


@pytest.mark.parametrize(
    "item", [None, [], {}, {"id": "1", "activity_type": "FEE"}, {"id": 1, "date": "2025-01-01"}]
)
def test_what_is_no_activity(item: Any) -> None:
    assert activities.parse_activity(item) is None
