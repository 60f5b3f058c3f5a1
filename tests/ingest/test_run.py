"""The ingestion run: on record before the first byte, and never silent about its end."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tradelog
from tests import disclosures as d
from tests.conftest import Cli, process_environment, scalar
from tests.journaled import check_complete
from tradelog.config.schema import Config
from tradelog.errors import EmptyAnswer, RunInProgress
from tradelog.ingest import pairing
from tradelog.ingest import run as run_module
from tradelog.ingest.identity import BadRow, Record
from tradelog.ingest.run import IngestionRun
from tradelog.ingest.staging import Staging
from tradelog.report import runs as report
from tradelog.store import run_digest
from tradelog.store.opening import open_writer
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer


def record(number: int = 1, **changes: object) -> Record:
    values: dict[str, object] = {
        "kind": "thing",
        "position": number,
        "identity": (str(number),),
        "content": (str(number),),
        "payload": json.dumps({"n": number}),
        "symbol": "AAPL",
        "event_date": "2026-01-05",
    }
    return Record(**{**values, **changes})  # type: ignore[arg-type]


def status(config: Config, run: IngestionRun) -> str:
    with Reader(config.store_path) as reader:
        return str(report.run(reader, run.run_id)["status"])


def test_the_row_is_committed_before_the_body_runs(config: Config, writer: Writer) -> None:
    """Invariant 10, and point 4: readers see a running run before anything is read."""
    with IngestionRun(writer, "data_fetch:x", "x", {"page": 1}) as run:
        assert status(config, run) == "running"
        run.add(record())
    assert status(config, run) == "completed"


def test_records_are_visible_only_once_the_run_has_completed(config: Config, writer: Writer) -> None:
    with IngestionRun(writer, "data_fetch:x", "x") as run:
        run.add(record())
        with Reader(config.store_path) as reader:
            assert report.run(reader, run.run_id)["records"] == []
    with Reader(config.store_path) as reader:
        assert len(report.run(reader, run.run_id)["records"]) == 1


def test_counts_dates_and_calls_say_what_came(config: Config, writer: Writer) -> None:
    with IngestionRun(writer, "data_fetch:x", "x") as run:
        run.api_call("https://example.org/x", status=200)
        run.add(record(1, event_date="2025-02-01"))
        run.add(record(2, event_date="2024-12-31"))
        run.add(BadRow(3, "unreadable", "{"))
    with IngestionRun(writer, "data_fetch:x", "x") as again:
        again.add(record(1, event_date="2025-02-01"))
        again.add(record(2, content=("2", "changed")))
        again.add(record(4))
    with Reader(config.store_path) as reader:
        first, second = report.run(reader, run.run_id), report.run(reader, again.run_id)
    assert (first["data_date_start"], first["data_date_end"]) == ("2024-12-31", "2025-02-01")
    assert first["api_calls"][0]["endpoint"] == "https://example.org/x"
    names = (
        "records_fetched",
        "records_created",
        "records_updated",
        "records_skipped",
        "records_quarantined",
    )
    assert [first[name] for name in names] == [3, 2, 0, 0, 1]
    assert [second[name] for name in names] == [3, 1, 1, 1, 0]
    assert sorted(row["outcome"] for row in second["records"]) == ["created", "updated"]
    same = next(row["version_id"] for row in first["records"] if row["event_date"] == "2025-02-01")
    assert second["unchanged_versions"] == str(same)


def test_an_exception_is_a_failed_run_and_goes_on(config: Config, writer: Writer) -> None:
    with pytest.raises(ZeroDivisionError), IngestionRun(writer, "data_fetch:x", "x") as run:
        run.add(record())
        _ = 1 // 0
    with Reader(config.store_path) as reader:
        result = report.run(reader, run.run_id)
    assert (result["status"], result["error_details"]["class"]) == ("failed", "ZeroDivisionError")
    assert "division" in result["error_message"]
    assert any("test_run.py" in text for text in result["error_details"]["backtrace"])
    assert scalar(writer, "SELECT count(*) FROM record_versions") == 0


def test_an_interrupt_is_an_aborted_run(config: Config, writer: Writer) -> None:
    with pytest.raises(KeyboardInterrupt), IngestionRun(writer, "data_fetch:x", "x") as run:
        raise KeyboardInterrupt
    assert status(config, run) == "aborted"


def test_nothing_where_rows_are_normal_is_a_failure(config: Config, writer: Writer) -> None:
    with pytest.raises(EmptyAnswer), IngestionRun(writer, "data_fetch:x", "x") as run:
        pass
    assert status(config, run) == "failed"
    with IngestionRun(writer, "data_fetch:x", "x", empty_is_normal=True) as run:
        pass
    assert status(config, run) == "completed"


def test_a_second_run_of_a_task_is_refused_while_the_first_is_alive(writer: Writer) -> None:
    with IngestionRun(writer, "data_fetch:x", "x") as run:
        run.add(record())
        with pytest.raises(RunInProgress, match=run.run_id), IngestionRun(writer, "data_fetch:x", "x"):
            pytest.fail("must not start")
        with IngestionRun(writer, "data_fetch:y", "y") as other:
            other.add(record())


KILLED = """
import sys, tradelog
from tradelog.ingest.identity import Record
log = tradelog.open_log()
with log.ingestion_run("data_fetch:x", "x") as run:
    run.add(Record("thing", 1, ("1",), ("1",), "{}"))
    print(run.run_id, flush=True)
    sys.stdin.read()
"""


def start_run(home: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=process_environment(home),
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_killed_run_is_abandoned_to_readers_and_then_in_the_store(
    home: Path, cli: Cli, config: Config
) -> None:
    """Invariant 10: readers derive it, the next writer stores it, and the task is free again."""
    process, run_id = start_run(home)
    try:
        assert json.loads(cli("show", run_id, "--json").out)["run"]["status"] == "running"
    finally:
        end(process)
    assert json.loads(cli("show", run_id, "--json").out)["run"]["status"] == "abandoned"
    with sqlite3.connect(config.store_path) as connection:
        assert connection.execute("SELECT status FROM data_ingestion_runs").fetchone()[0] == "running"
    connection.close()
    writer = open_writer(config.store_path)
    with IngestionRun(writer, "data_fetch:x", "x") as run:
        run.add(record())
    result = writer.connection.execute("SELECT status FROM data_ingestion_runs ORDER BY id").fetchall()
    assert result == [("abandoned",), ("completed",)]
    assert run.counts.created == 1
    writer.close()


def test_sigterm_ends_a_fetch_as_aborted(home: Path, cli: Cli, tmp_path: Path) -> None:
    fifo = tmp_path / "slow.csv"
    os.mkfifo(fifo)
    process = subprocess.Popen(
        [sys.executable, "-m", "tradelog", "fetch", "congress", "--file", str(fifo)],
        env=process_environment(home),
        stderr=subprocess.PIPE,
        text=True,
    )
    # Opening waits for the fetch to open its end, by which time its run is on record.
    with fifo.open("w"):
        process.send_signal(signal.SIGTERM)
        _, text = process.communicate(timeout=30)
    assert process.returncode == 130, text
    assert text == "error: interrupted\n"
    assert json.loads(cli("runs", "--json").out)["runs"][0]["status"] == "aborted"


def test_many_rows_are_written_in_several_short_transactions(writer: Writer) -> None:
    with IngestionRun(writer, "data_fetch:x", "x") as run:
        for number in range(9000):
            run.add(record(number))
    assert run.counts.created == 9000
    assert scalar(writer, "SELECT count(DISTINCT first_seen_at) FROM record_versions") >= 3
    seen = writer.connection.execute(
        "SELECT first_seen_at FROM record_versions ORDER BY version_id"
    ).fetchall()
    assert seen == sorted(seen)


def test_what_was_filed_long_ago_is_backfill_and_its_correction_stays_so(
    cli: Cli, tmp_path: Path, config: Config
) -> None:
    rows = [d.house_row("A B", "OLD", "10/04/2021"), d.house_row("A B", "NEW", d.today())]
    assert cli("fetch", "congress", "--file", str(d.write(tmp_path / "h.csv", d.house_csv(rows)))).code == 0
    changed = [row | {"cap_gains_over_200_usd": "True"} for row in rows]
    assert (
        cli("fetch", "congress", "--file", str(d.write(tmp_path / "h.csv", d.house_csv(changed)))).code == 0
    )
    with Reader(config.store_path) as reader:
        result = reader.rows("SELECT symbol, backfill FROM record_versions ORDER BY version_id")
    assert [(row["symbol"], row["backfill"]) for row in result].count(("OLD", 1)) == 2
    assert [(row["symbol"], row["backfill"]) for row in result].count(("NEW", 0)) == 2


def test_library_users_call_the_same_run(home: Path) -> None:
    with (
        tradelog.open_log(home / "tradelog.toml", actor="bot") as log,
        log.ingestion_run("data_fetch:mine", "my-feed", {"page": 1}) as run,
    ):
        run.add(record())
    assert (run.data_source, run.counts.created) == ("my-feed", 1)


KILLED_AT = """
import os, sys
import tradelog
from tradelog.ingest import staging
from tradelog.store.writer import Writer
from tests.ingest.test_run import record
left = int(sys.argv[1])
begin = Writer.transaction
def counted(self):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
    return begin(self)
staging.CHUNK_ROWS = staging.MIN_ROWS = 20
log = tradelog.open_log()
Writer.transaction = counted
with log.ingestion_run("data_fetch:x", "x", complete=True) as run:
    for number in range(100):
        run.add(record(number))
"""


@pytest.mark.parametrize("after", [0, 1, 2, 4, 6])
def test_killed_at_any_commit_the_next_run_records_everything_once(
    home: Path, config: Config, after: int
) -> None:
    """Invariants 10 and 14: what a dead run had written is invisible, and nothing is counted twice."""
    root = Path(__file__).resolve().parents[2]
    environment = process_environment(home, PYTHONPATH=str(root))
    for _ in range(2):
        ended = subprocess.run(
            [sys.executable, "-c", KILLED_AT, str(after)], env=environment, capture_output=True, check=False
        )
        assert ended.returncode == 9, ended.stderr.decode()
    writer = open_writer(config.store_path)
    with IngestionRun(writer, "data_fetch:x", "x", complete=True) as run:
        for number in range(100):
            run.add(record(number))
    assert (run.counts.created, run.counts.updated, run.counts.gone) == (100, 0, 0)
    assert scalar(writer, "SELECT count(*) FROM source_records") == 100
    statuses = {row[0] for row in writer.connection.execute("SELECT status FROM data_ingestion_runs")}
    assert statuses <= {"completed", "abandoned"}
    with Reader(config.store_path) as reader:
        check_complete(reader)
    with IngestionRun(writer, "data_fetch:x", "x", complete=True) as again:
        for number in range(100):
            again.add(record(number))
    assert len(again.counts.unchanged) == 100
    writer.close()


def test_an_error_with_a_text_that_no_store_can_keep_is_still_recorded(
    config: Config, writer: Writer
) -> None:
    """Invariant 10: half of a surrogate pair in an answer must not silence the end of the run."""
    run = IngestionRun(writer, "data_fetch:x", "x", {"file": "bad\udcff.csv"})
    with pytest.raises(ValueError, match="said"), run:
        run.api_call("https://x.example", error="\ud800")
        raise ValueError("it said \ud800")
    with Reader(config.store_path) as reader:
        result = report.run(reader, run.run_id)
    assert (result["status"], result["error_details"]["class"]) == ("failed", "ValueError")
    assert len(result["api_calls"]) == 1


def test_rows_with_such_a_text_are_kept_without_it(writer: Writer) -> None:
    with IngestionRun(writer, "data_fetch:x", "x") as run:
        run.add(record(1, actor="a\ud800", payload='"\ud800"'))
        run.add(BadRow(2, "bad \ud800", "\ud800"))
        run.add(BadRow(2, "again", ""))
    assert (run.counts.created, run.counts.quarantined) == (1, 2)
    assert scalar(writer, "SELECT actor FROM record_versions") == "a\ufffd"


def test_an_interrupt_at_any_statement_leaves_a_connection_that_works(
    config: Config, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is interrupted, the run says aborted and the next one runs."""
    for after in range(40):
        run = IngestionRun(writer, "data_fetch:x", "x", complete=True)
        left = after
        original = Staging._together

        def interrupted(self: Staging, change: Any, original: Any = original) -> None:
            nonlocal left
            left -= 1
            if left < 0:

                def stop() -> None:
                    change()
                    raise KeyboardInterrupt

                original(self, stop)
            original(self, change)

        monkeypatch.setattr(Staging, "_together", interrupted)
        ended = "completed"
        try:
            with run:
                for number in range(3):
                    run.add(record(number))
        except KeyboardInterrupt:
            ended = "aborted"
        monkeypatch.setattr(Staging, "_together", original)
        assert not writer.connection.in_transaction
        assert status(config, run) == ended
        if ended == "completed":
            assert after >= 2
            return
    pytest.fail("never completed")


def test_what_was_confirmed_and_sent_counts_once(writer: Writer) -> None:
    with IngestionRun(writer, "data_fetch:x", "x", complete=True) as run:
        run.add(record(1))
    with IngestionRun(writer, "data_fetch:x", "x", complete=True) as again:
        again.add(record(1))
        again.confirm("thing", again._staging.listed("x", "thing"))
    assert (again.counts.fetched, again.counts.gone) == (1, 0)


def test_what_is_gone_is_not_held(writer: Writer) -> None:
    with IngestionRun(writer, "data_fetch:x", "x", complete=True) as run:
        for number in range(20):
            run.add(record(number))
    with IngestionRun(writer, "data_fetch:x", "x", complete=True) as again:
        assert again.held("thing", ("5",)) is not None
        assert again.held("thing", ("99",)) is None
        for number in range(20):
            if number != 5:
                again.add(record(number))
    with IngestionRun(writer, "data_fetch:x", "x") as last:
        assert last.held("thing", ("5",)) is None
        last.add(record(5))
    assert (again.counts.gone, last.counts.updated) == (1, 1)


def test_a_heartbeat_that_finds_the_store_locked_is_no_end(
    config: Config, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "HEARTBEAT_SECONDS", 0.0)
    writer.connection.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(config.store_path, isolation_level=None)
    with IngestionRun(writer, "data_fetch:x", "x") as run:
        other.execute("BEGIN IMMEDIATE")
        run.add(record(1))
        other.execute("ROLLBACK")
    other.close()
    assert status(config, run) == "completed"


@pytest.mark.parametrize("part", ["record_versions", "payloads"])
def test_the_digest_of_a_run_is_taken_in_one_pass(writer: Writer, part: str) -> None:
    """A dead run's digest must not take the square of its rows: each link is found by its record."""
    plan = writer.connection.execute(
        "EXPLAIN QUERY PLAN " + run_digest.PARTS[part].texts("t.run = ?"), (1,)
    ).fetchall()
    steps = [row[3] for row in plan]
    assert not any(step.startswith("SCAN") for step in steps), steps


def test_many_rows_of_one_identity_are_paired_in_one_pass(writer: Writer) -> None:
    """Counted in comparisons, not in seconds: 2000 equal rows, the other way round, all unchanged."""
    rows = [record(n, identity=("same",), content=(str(n),)) for n in range(2000)]
    with IngestionRun(writer, "data_fetch:x", "x") as run:
        for row in rows:
            run.add(row)
    calls = 0
    original = pairing.adds

    def counted(row: Any, known: Any) -> bool:
        nonlocal calls
        calls += 1
        return original(row, known)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairing, "adds", counted)
        with IngestionRun(writer, "data_fetch:x", "x") as again:
            for row in reversed(rows):
                again.add(row)
    assert (len(again.counts.unchanged), again.counts.updated) == (2000, 0)
    assert calls == 2000
    assert run.counts.created == 2000


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_a_record_that_comes_back_is_itself_in_whatever_order(writer: Writer, order: Any) -> None:
    def load(*contents: str, **how: bool) -> IngestionRun:
        with IngestionRun(writer, "data_fetch:x", "x", complete=True, allow_shrink=True, **how) as run:
            for number, content in enumerate(contents):
                run.add(record(number, identity=("same",), content=(content,)))
        return run

    load("A", "B")
    load("A")
    dry = load(*(("C", "D", "B")[n] for n in order), dry=True).counts
    real = load(*(("C", "D", "B")[n] for n in order)).counts
    result = [(c.created, c.updated, len(c.unchanged), c.gone) for c in (dry, real)]
    assert result == [(1, 2, 0, 0)] * 2
    back = writer.connection.execute(
        "SELECT count(DISTINCT record_id) FROM record_versions"
        " WHERE content_hash = (SELECT content_hash FROM record_versions WHERE gone = 1)"
    ).fetchone()
    assert back == (1,), "B is the record that was gone"
