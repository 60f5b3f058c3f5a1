"""What did we know at 09:30: one exact answer."""

from __future__ import annotations

import json

import pytest
from freezegun import freeze_time

from tests.conftest import Cli
from tests.ingest.test_run import record
from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.ingest.run import IngestionRun
from tradelog.report.known import known
from tradelog.store.opening import open_writer
from tradelog.store.reader import Reader
from tradelog.store.run_digest import RunDigest


@pytest.fixture
def history(config: Config) -> Config:
    """A record seen on the 10th, restated on the 20th, and another first seen on the 20th."""
    with freeze_time("2025-12-01T00:00:00Z"):
        writer = open_writer(config.store_path)
    filed = clock.to_text(clock.parse_moment("2025-12-05 23:00", "America/New_York"))
    first = record(1, event_date="2025-12-01", filed_at=filed, actor="Ann", side="purchase")
    changed = record(1, content=("1", "x"), event_date="2025-12-01", filed_at=filed, actor="Ann", side="sale")
    late = record(2, event_date="2025-12-02", filed_at=None, filed_as_given="x", actor="Bo", side="sale")
    for moment, rows in (("2025-12-10T14:30:00Z", [first]), ("2025-12-20T14:30:00Z", [changed, late])):
        with freeze_time(moment), IngestionRun(writer, "data_fetch:x", "x") as run:
            for row in rows:
                run.add(row)
    writer.close()
    return config


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2025-12-10 09:29:59", []),
        ("2025-12-10 09:30", [("Ann", "purchase")]),
        ("2025-12-20T14:29:59Z", [("Ann", "purchase")]),
        ("2025-12-20T14:30:00Z", [("Ann", "sale"), ("Bo", "sale")]),
    ],
)
def test_exactly_the_versions_seen_by_then(history: Config, at: str, expected: list[tuple[str, str]]) -> None:
    with Reader(history.store_path) as reader:
        result = known(reader, "AAPL", clock.parse_moment(at, "America/New_York"))
    assert sorted((row["member"], row["side"]) for row in result.versions) == expected
    assert result.total == len(expected)


def test_the_answer_of_then_is_the_same_bytes_after_a_restatement(history: Config, cli: Cli) -> None:
    before = cli("known", "AAPL", "--at", "2025-12-15", "--json").out
    writer = open_writer(history.store_path)
    with IngestionRun(writer, "data_fetch:x", "x") as run:
        run.add(record(1, content=("1", "y"), actor="Ann", side="exchange"))
    writer.close()
    assert cli("known", "AAPL", "--at", "2025-12-15", "--json").out == before


def test_as_filed_is_named_in_the_output(history: Config, cli: Cli) -> None:
    result = json.loads(cli("known", "AAPL", "--at", "2025-12-06", "--as-filed", "--json").out)
    assert result["by"] == "filing time of the source"
    assert [(row["member"], row["side"]) for row in result["versions"]] == [("Ann", "sale")]
    assert json.loads(cli("known", "AAPL", "--at", "2025-12-06", "--json").out)["versions"] == []
    assert "FILED by then, whenever we saw it" in cli("known", "AAPL", "--as-filed").out


def test_run_zone_lag_and_backfill_are_shown(history: Config, cli: Cli) -> None:
    text = cli("known", "AAPL", "--at", "2025-12-24 09:30").out
    assert "2025-12-24 09:30:00 (America/New_York)" in text
    row = json.loads(cli("known", "AAPL", "--json").out)["versions"][-1]
    assert row["run_id"].startswith("run_")
    ann = next(
        row for row in json.loads(cli("known", "AAPL", "--json").out)["versions"] if row["member"] == "Ann"
    )
    assert ann["disclosure_lag_days"] == 4
    assert ann["known_since"] == "2025-12-20T14:30:00.000000Z"


def test_what_a_run_has_not_finished_is_not_known(config: Config) -> None:
    writer = open_writer(config.store_path)
    with pytest.raises(KeyboardInterrupt), IngestionRun(writer, "data_fetch:x", "x") as run:
        run.add(record(1))
        run._staging.apply(writer, run._id, "x", "", RunDigest(run._writer.connection))
        with Reader(config.store_path) as reader:
            assert known(reader, "AAPL", clock.now()).versions == []
        raise KeyboardInterrupt
    with Reader(config.store_path) as reader:
        assert known(reader, "AAPL", clock.now()).versions == []
    writer.close()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("NOPE",), 3),
        (("AAPL", "--at", "noon"), 2),
        (("AAPL", "--at", ""), 2),
        (("AAPL", "--at", "0001-01-01"), 2),
        (("AAPL", "--at", "9999-12-31"), 2),
    ],
)
def test_wrong_questions(history: Config, cli: Cli, arguments: tuple[str, ...], code: int) -> None:
    ended = cli("known", *arguments)
    assert ended.code == code
    assert "hint:" in ended.err
