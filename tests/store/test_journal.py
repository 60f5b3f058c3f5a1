"""The journal: one chain over every change, written in the transaction of the change."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
import rfc8785
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from tests import disclosures as d
from tests.conftest import Cli, scalar
from tests.journaled import check_chain, check_complete
from tradelog.config.schema import Config
from tradelog.decide import record
from tradelog.domain.account import AccountKey
from tradelog.store import journal
from tradelog.store.audited import row_text
from tradelog.store.opening import open_writer
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer

ACCOUNT = AccountKey("simulated", "paper", "default")
VALUES = {"strategy": "manual", "symbol": "AAPL", "side": "buy", "quantity": 1, "rationale": {"why": "x"}}


def test_the_whole_chain_of_work_is_in_the_journal(cli: Cli, tmp_path: Path, config: Config) -> None:
    """Invariant 6, through the CLI: fetch, failed fetch, strategy, manual decision, worker."""
    rows = [d.house_row(f"Member {n}", "AAPL", d.today()) for n in range(3)] + [
        d.house_row(f"Member {n}", "ZZZ", d.today(), kind="sale_full") for n in range(3)
    ]
    d.write(tmp_path / "h.csv", d.house_csv(rows))
    assert cli("fetch", "congress", "--file", "h.csv").code == 0
    assert cli("fetch", "congress", "--file", "h.csv").code == 0
    assert cli("fetch", "congress", "--file", "tradelog.toml").code == 1
    assert cli("run-strategy", "congress").code == 0
    assert cli("decide", "buy", "1", "MSFT", "--why", "x").code == 0
    assert cli("decide", "buy", "1", "NOPRICE", "--why", "x").code == 0
    assert cli("run-worker", "--once").code == 0
    with Reader(config.store_path) as reader:
        check_complete(reader)
        events = {body["event"] for body in check_chain(reader)}
    assert {
        *("store.upgraded", "run.started", "run.completed", "run.failed", "strategy.run"),
        *("signal.recorded", "decision.recorded", "execution.claimed", "order.submit"),
        *("fill.recorded", "execution.refused", "account.bound", "snapshot.taken"),
    } <= events


def test_an_unjournaled_change_cannot_be_committed(writer: Writer) -> None:
    with pytest.raises(AssertionError, match="not journaled"), writer.transaction() as tx:
        tx.insert("alerts", {"kind": "k", "subject": "s", "message": "m", "created_at": tx.now})
    assert scalar(writer, "SELECT count(*) FROM alerts") == 0


def test_a_failed_transaction_leaves_neither_row_nor_entry(writer: Writer) -> None:
    before = scalar(writer, "SELECT count(*) FROM journal")
    with pytest.raises(ZeroDivisionError), writer.transaction() as tx:
        record.record_in(tx, ACCOUNT, record.parse(VALUES), actor="test")
        _ = 1 // 0
    assert scalar(writer, "SELECT count(*) FROM journal") == before
    assert scalar(writer, "SELECT count(*) FROM trade_decisions") == 0


def test_time_never_goes_back_in_the_store(config: Config) -> None:
    """Invariant 9: a clock that is set back does not put a later entry before an earlier one."""
    writer = open_writer(config.store_path)
    with freeze_time("2030-01-01T12:00:00Z"):
        record.record(writer, ACCOUNT, record.parse(VALUES))
    with freeze_time("2029-01-01T12:00:00Z"):
        record.record(writer, ACCOUNT, record.parse(VALUES))
    times = writer.connection.execute("SELECT created_at FROM trade_decisions ORDER BY id").fetchall()
    assert times == [("2030-01-01T12:00:00.000000Z",)] * 2
    writer.close()


def test_no_clock_is_read_in_sql() -> None:
    """Invariant 9: time comes from clock.py, which a test can hold still."""
    source = Path(journal.__file__).parents[1]
    for path in source.rglob("*.py"):
        text = path.read_text()
        assert "datetime('now" not in text, path
        assert "CURRENT_TIMESTAMP" not in text, path
        if path.name != "clock.py":
            assert "datetime.now(" not in text, path
            assert "utcnow(" not in text, path


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(json_values)
def test_canonical_text_is_one_text_whatever_the_order(value: object) -> None:
    text = journal.canonical(value)
    assert journal.canonical(json.loads(text)) == text


@given(json_values)
def test_canonical_text_is_that_of_rfc_8785(value: object) -> None:
    """What we hash is the standard's text, by a stranger's hand."""
    assert journal.canonical(value).encode() == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(st.lists(st.text() | st.integers(-(2**53) + 1, 2**53 - 1) | st.none(), max_size=8))
def test_sqlite_writes_a_row_as_the_journal_does(values: list[object]) -> None:
    connection = sqlite3.connect(":memory:")
    marks = ", ".join("?" * len(values))
    written = connection.execute(f"SELECT json_array({marks})", values).fetchone()[0]
    connection.close()
    assert written == row_text(values) == journal.canonical(values)


@given(st.floats())
def test_a_float_has_no_canonical_form(number: float) -> None:
    with pytest.raises((TypeError, ValueError)):
        journal.canonical({"n": [number]})
