"""What a source changes, drops and brings back: nothing of it is ever lost here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import disclosures as d
from tests.conftest import Cli
from tests.ingest.test_run import record
from tests.journaled import check_complete
from tradelog.config.schema import Config
from tradelog.errors import ShrunkenAnswer
from tradelog.ingest.identity import BadRow
from tradelog.ingest.run import IngestionRun
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer


def load(writer: Writer, *numbers: int, complete: bool = True, **more: bool) -> IngestionRun:
    with IngestionRun(writer, "data_fetch:x", "x", complete=complete, **more) as run:
        for number in numbers:
            run.add(record(number))
    return run


def test_what_a_complete_listing_lacks_is_gone_and_stays_queryable(writer: Writer, config: Config) -> None:
    load(writer, *range(20))
    second = load(writer, *range(19))
    assert (second.counts.gone, len(second.counts.unchanged)) == (1, 19)
    third = load(writer, *range(19))
    assert third.counts.gone == 0
    with Reader(config.store_path) as reader:
        rows = reader.rows(
            "SELECT gone, payload FROM record_versions WHERE record_id = 20 ORDER BY version_id"
        )
        link = reader.rows("SELECT run, outcome FROM ingestion_records WHERE outcome = 'gone'")
        check_complete(reader)
    assert sum(row["gone"] for row in rows) <= 1
    assert len(link) == 1


def test_a_partial_listing_marks_nothing(writer: Writer) -> None:
    load(writer, *range(20))
    assert load(writer, 1, complete=False).counts.gone == 0


def test_one_that_comes_back_is_a_new_version_of_the_same_record(writer: Writer, config: Config) -> None:
    load(writer, *range(20))
    load(writer, *range(19))
    back = load(writer, *range(20))
    assert (back.counts.created, back.counts.updated, back.counts.gone) == (0, 1, 0)
    with Reader(config.store_path) as reader:
        assert reader.value("SELECT count(*) FROM source_records") == 20
        gone = reader.rows(
            "SELECT gone FROM record_versions WHERE record_id = (SELECT record_id FROM ingestion_records"
            " WHERE outcome = 'gone') ORDER BY version_id"
        )
    assert [row["gone"] for row in gone] == [0, 1, 0]


def test_a_row_that_could_not_be_read_is_not_taken_for_gone(writer: Writer) -> None:
    load(writer, *range(20))
    with IngestionRun(writer, "data_fetch:x", "x", complete=True) as run:
        for number in range(19):
            run.add(record(number))
        run.add(BadRow(20, "unreadable", ""))
    assert run.counts.gone == 0


def test_a_listing_that_shrank_too_far_is_refused_until_it_is_accepted(writer: Writer) -> None:
    load(writer, *range(20))
    with pytest.raises(ShrunkenAnswer, match="20 thing records, and now only 17"):
        load(writer, *range(17))
    assert load(writer, *range(17), allow_shrink=True).counts.gone == 3


def test_gone_records_are_no_reason_to_trade(cli: Cli, tmp_path: Path) -> None:
    rows = [d.house_row(f"Member {n}", "AAPL", d.today()) for n in range(3)]
    rows += [d.house_row(f"Other {n}", f"T{n}", d.today()) for n in range(30)]
    full = d.write(tmp_path / "full.csv", d.house_csv(rows))
    less = d.write(tmp_path / "less.csv", d.house_csv(rows[1:]))
    assert cli("fetch", "congress", "--file", str(full), "--complete").code == 0
    ended = cli("fetch", "congress", "--file", str(less), "--complete")
    assert "1 gone" in ended.out
    result = json.loads(cli("run-strategy", "congress", "--dry-run", "--json").out)
    assert result["signals"] == []
    shown = json.loads(cli("known", "AAPL", "--json").out)["versions"]
    assert sorted(row["gone"] for row in shown) == [0, 0, 1]


def test_quiet_prints_nothing_and_complete_needs_a_file(cli: Cli, tmp_path: Path) -> None:
    path = d.write(tmp_path / "q.csv", d.quiver_csv())
    ended = cli("fetch", "congress", "--file", str(path), "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert cli("fetch", "congress", "--complete").code == 2
