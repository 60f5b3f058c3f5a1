"""Every kind of tampering, with what ``tradelog verify`` says of it.

The triggers are dropped first and put back afterwards, as somebody would who owns the file.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from hashlib import sha256
from pathlib import Path

import pytest

from tests.conftest import findings
from tests.evidence.conftest import Change, run
from tradelog.decide import record
from tradelog.domain import ids
from tradelog.domain.account import AccountKey
from tradelog.store import decisions, journal
from tradelog.store.audited import AUDITED
from tradelog.store.opening import open_writer

pytestmark = pytest.mark.tampered

_INPUT = "(SELECT min(version_id) FROM decision_inputs)"
_OF_INPUT = f"WHERE version_id = {_INPUT}"
_RUN = "(SELECT run FROM record_versions WHERE version_id = 1)"

# What was done, in SQL; what is said of which row.
CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "one byte in a payload": (
        (f"UPDATE record_versions SET payload = replace(payload, '2021', '2022') {_OF_INPUT}",),
        ("version\trecord version {input}\twhat the source said is not what run_",),
    ),
    "who traded": (
        (f"UPDATE record_versions SET actor = 'Somebody Else' WHERE version_id = {_INPUT}",),
        ("record version {input}\twhat is recorded of it", "actor is 'Somebody Else' and was '"),
    ),
    "when we first knew": (
        (f"UPDATE record_versions SET first_seen_at = '2021-11-01T00:00:00.000000Z' {_OF_INPUT}",),
        ("record version {input}\t", "first_seen_at is '2021-11-01T00:00:00.000000Z' and was '20"),
    ),
    "which feed a record is of": (
        ("UPDATE source_records SET feed = 'other' WHERE record_id = 3",),
        ("record version 3\twhat is recorded of it", "feed is 'other' and was 'house-stock-watcher'"),
    ),
    "a status": (
        ("UPDATE trade_decisions SET status = 'executed' WHERE symbol = 'NOPRICE'",),
        ("row\ttrade_decisions dec_", "status is 'executed' and was 'failed'"),
    ),
    "a reason": (
        ("UPDATE trade_decisions SET decision_rationale = '{}' WHERE symbol = 'LMT'",),
        ("row\ttrade_decisions dec_", "what it says does not give its decision hash"),
    ),
    "a number of the intent": (
        ("UPDATE trade_decisions SET notional = '2000' WHERE symbol = 'LMT'",),
        ("notional is '2000' and was '1000'", "notional was sent as 1000"),
    ),
    "a number of the outcome": (
        ("UPDATE trade_executions SET filled_avg_price = '300' WHERE symbol = 'LMT'",),
        ("row\ttrade_executions exe_", "filled_avg_price is '300' and was '353.6'"),
    ),
    "the price of a fill": (
        ("UPDATE fills SET price = '1' WHERE symbol = 'LMT'",),
        ("row\tfills ", "price is '1'"),
    ),
    "the sum of an attempt's fills": (
        ("UPDATE trade_executions SET fills_quantity = '99' WHERE symbol = 'LMT'",),
        ("order\texe_", "and it sums them up to 99"),
    ),
    "a timestamp": (
        ("UPDATE trade_decisions SET created_at = '2021-11-16T00:00:00.000000Z' WHERE symbol = 'LMT'",),
        ("created_at is '2021-11-16T00:00:00.000000Z' and was '20",),
    ),
    "what the broker answered": (
        (
            "UPDATE broker_calls SET response_body = '{}' WHERE purpose = 'submit' AND call_id ="
            " (SELECT min(call_id) FROM broker_calls WHERE purpose = 'submit')",
        ),
        ("row\tbroker_calls ", "differs from what entry"),
    ),
    "what a strategy looked at": (
        ("UPDATE strategy_runs SET context = replace(context, 'AAPL', 'AAPM')",),
        ("row\tstrategy_runs srn_", "differs"),
    ),
    "back to an earlier state": (
        (
            "UPDATE trade_decisions SET status = 'pending', failed_at = NULL, failure_code = NULL,"
            " failure_message = NULL WHERE symbol = 'NOPRICE'",
        ),
        ("it is as entry ", " left it, before that"),
    ),
    "a removed refusal": (
        ("DELETE FROM trade_executions WHERE symbol = 'NOPRICE'",),
        ("row\ttrade_executions exe_", "is not there, and entry "),
    ),
    "a removed decision with all that is its own": (
        (
            "DELETE FROM trade_executions WHERE symbol = 'NOPRICE'",
            "DELETE FROM trade_decisions WHERE symbol = 'NOPRICE'",
        ),
        ("row\ttrade_decisions dec_", "is not there, and entry "),
    ),
    "a removed disclosure": (
        (
            "DELETE FROM record_versions WHERE version_id = 9",
            "DELETE FROM ingestion_records WHERE record_id = 9",
            "DELETE FROM source_records WHERE record_id = 9",
        ),
        ("1 of its 273 record_versions are not there, at [9]",),
    ),
    "how a disclosure came": (
        ("UPDATE ingestion_records SET outcome = 'updated' WHERE record_id = 9",),
        ("record version 9\t", "outcome is 'updated' and was 'created'"),
    ),
    "a removed link": (
        ("DELETE FROM ingestion_records WHERE record_id = 9",),
        ("record version 9\t", "outcome is empty and was 'created'"),
    ),
    "a removed record of a feed": (
        ("DELETE FROM source_records WHERE record_id = 9",),
        ("record version 9\twhat is recorded of it is not what run_",),
    ),
    "a removed run": (
        (f"DELETE FROM data_ingestion_runs WHERE id = {_RUN}",),
        ("row\tdata_ingestion_runs run_", "273 rows are of run number 1, which is not there"),
    ),
    "the account's number": (
        ("UPDATE broker_accounts SET account_number = 'PA000'",),
        ("row\tbroker_accounts default\tis in no entry", "is not there, and entry"),
    ),
    "the account's number removed": (
        ("DELETE FROM broker_accounts",),
        ("row\tbroker_accounts ", "is not there, and entry"),
    ),
    "a removed input": (
        (f"DELETE FROM decision_inputs WHERE version_id = {_INPUT}",),
        ("row\tdecision_inputs dec_", "its inputs are now ["),
    ),
    "all inputs of a decision removed": (
        ("DELETE FROM decision_inputs WHERE decision = (SELECT min(decision) FROM decision_inputs)",),
        ("row\tdecision_inputs dec_", "is not there, and entry "),
    ),
    "an added input": (
        ("INSERT INTO decision_inputs SELECT max(d.id), 1 FROM trade_decisions d",),
        ("row\tdecision_inputs dec_", "is in no entry of the journal"),
    ),
    "an input of a decision that is not there": (
        ("INSERT INTO decision_inputs VALUES (9999, 1)",),
        ("decision_inputs of no decision, 9999\tis in no entry",),
    ),
    "a fill added by hand": (
        (
            "INSERT INTO fills SELECT 'f-by-hand', broker_order_id, execution_id, broker, environment,"
            " account, symbol, side, quantity, price, price_basis, transaction_time, seen_at FROM fills"
            " LIMIT 1",
        ),
        ("row\tfills f-by-hand\tis in no entry of the journal: it was added by hand", "its fills come to"),
    ),
    "a disclosure added by hand": (
        (
            "INSERT INTO source_records SELECT 9001, feed, kind, x'00', 1 FROM source_records"
            " WHERE record_id = 1",
            "INSERT INTO record_versions SELECT 9001, 9001, run, first_seen_at, position, event_date,"
            " filed_at, filed_as_given, symbol, actor, side, amount_low, amount_high, flags, backfill, gone,"
            " content_hash, payload, document, reference, amends, person FROM record_versions"
            " WHERE version_id = 1",
        ),
        ("record version 9001\trun_", "did not bring it: it was added by hand"),
    ),
    "a link added by hand": (
        ("INSERT INTO ingestion_records SELECT 1, max(id), 'updated' FROM data_ingestion_runs",),
        ("it links records of which it wrote no version: added by hand",),
    ),
    "two disclosures swapped": (
        (
            "UPDATE record_versions SET version_id = -version_id WHERE version_id IN (1, 2)",
            "UPDATE record_versions SET version_id = 3 + version_id WHERE version_id < 0",
        ),
        ("record version 1\twhat is recorded", "version_id is 1 and was 2", "payloads are in another order"),
    ),
    "two decisions swapped": (
        (
            "UPDATE trade_decisions SET symbol = CASE symbol WHEN 'LMT' THEN 'V' ELSE 'LMT' END"
            " WHERE symbol IN ('LMT', 'V')",
        ),
        ("symbol is 'V' and was 'LMT'", "symbol is 'LMT' and was 'V'", "symbol was sent as"),
    ),
    "an entry's text over another's": (
        ("UPDATE journal SET body = (SELECT o.body FROM journal o WHERE o.seq = 13) WHERE seq = 12",),
        ("chain\tentry 12\tits text is not",),
    ),
    "two entries swapped": (
        (
            "UPDATE journal SET seq = -seq WHERE seq IN (12, 13)",
            "UPDATE journal SET seq = 25 + seq WHERE seq < 0",
        ),
        ("chain\tentry 12\tits hash does not follow", "chain\tentry 13\tits hash does not follow"),
    ),
    "a byte in an entry": (
        (
            "UPDATE journal SET body = replace(body, 'run.completed', 'run.complete!') WHERE seq IN"
            " (SELECT min(seq) FROM journal WHERE body LIKE '%run.completed%')",
        ),
        ("its text is not the one that was hashed",),
    ),
    "an entry that is no JSON any more": (
        ("UPDATE journal SET body = 'x' WHERE seq = 12",),
        ("chain\tentry 12\tits text is not", "what it says cannot be read"),
    ),
    "an entry removed": (
        ("DELETE FROM journal WHERE seq = 12",),
        ("chain\tentry 13\tbefore it, 12 should be, and is not", "chain\tentry 13\tits hash does not follow"),
    ),
    "the tail of the journal removed": (
        ("DELETE FROM journal WHERE seq > (SELECT max(seq) - 3 FROM journal)",),
        ("row\t", "is in no entry of the journal|differs from what entry"),
    ),
    "the tell-tales of a run": (
        (f"UPDATE run_row_digests SET digests = zeroblob(length(digests)) WHERE run = {_RUN}",),
        ("run_row_digests do not fit",),
    ),
    "a trigger of somebody else's": (
        (
            "INSERT INTO alerts (kind, subject, message, created_at) SELECT 'k', 's', 'm', at FROM"
            " (SELECT started_at AS at FROM data_ingestion_runs LIMIT 1)",
            "CREATE TRIGGER helpful AFTER INSERT ON alerts BEGIN SELECT 1; END",
        ),
        ("row\talerts ", "schema\ttrigger helpful\tis none of tradelog's"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_found_and_named(name: str, store: Path, change: Change) -> None:
    statements, said = CASES[name]
    connection = sqlite3.connect(store)
    first_input = connection.execute(f"SELECT {_INPUT}").fetchone()[0]
    connection.close()
    for statement in statements:
        if statement.startswith("CREATE"):
            continue
        change(statement)
    connection = sqlite3.connect(store)
    for statement in statements:
        if statement.startswith("CREATE"):
            connection.execute(statement)
    connection.close()
    result = "\n".join(f"{item.check}\t{item.subject}\t{item.message}" for item in findings(store))
    for text in said:
        expected = text.format(input=first_input) if "{input}" in text else text
        assert any(one in result for one in expected.split("|")), (expected, result)


def test_each_finding_is_a_line_and_the_command_exits_5(home: Path, change: Change) -> None:
    change("UPDATE fills SET price = '1' WHERE symbol = 'LMT'", "DELETE FROM journal WHERE seq = 12")
    ended = run(home, "verify")
    assert ended.code == 5
    assert "findings: this store is not what was written" in ended.err
    assert "hint: keep the file as it is" in ended.err
    lines = [line.split("\t") for line in ended.out.splitlines()]
    assert ["check", "subject", "message"] in lines
    head = lines.index(["check", "subject", "message"])
    assert {"chain", "row"} <= {line[0] for line in lines[head + 1 :]}


def test_an_untouched_store_verifies(home: Path, store: Path) -> None:
    ended = run(home, "verify", "--broker")
    assert ended.code == 0, ended
    assert ended.out.endswith("everything agrees\n")
    assert findings(store) == ()


def test_triggers_dropped_first_are_missed(home: Path, change: Change) -> None:
    change("UPDATE trade_decisions SET status = 'executed' WHERE symbol = 'NOPRICE'", keep_dropped=True)
    ended = run(home, "verify", "--json")
    assert ended.code == 5
    result = {item["check"] for item in json.loads(ended.out)["findings"]}
    assert result == {"row", "schema"}
    assert "not there any more: trigger account_activities_delete" in ended.out


def test_a_cut_that_takes_rows_and_entries_shows_by_a_head_alone(
    home: Path, store: Path, tmp_path: Path
) -> None:
    """An older copy in place of the store is whole in itself: what was kept elsewhere tells."""
    shutil.copy(store, tmp_path / "older")
    assert run(home, "decide", "buy", "1", "AAPL", "--why", "later").code == 0
    heads = tmp_path / "heads"
    assert run(home, "verify", "--head", "--to", str(heads)).code == 0
    for path in store.parent.glob("tradelog.db*"):
        path.unlink()
    shutil.copy(tmp_path / "older", store)
    assert run(home, "verify").code == 0
    ended = run(home, "verify", "--since-head", str(heads))
    assert ended.code == 5
    assert "cut or replaced" in ended.out
    # Nor can a head of the cut chain be put after the one that was kept.
    ended = run(home, "verify", "--head", "--to", str(heads))
    assert ended.code == 5
    assert len(heads.read_text().splitlines()) == 1


def test_another_store_in_its_place_shows_by_a_head(home: Path, store: Path, tmp_path: Path) -> None:
    heads = tmp_path / "heads"
    assert run(home, "verify", "--head", "--to", str(heads)).code == 0
    for path in store.parent.glob("tradelog.db*"):
        path.unlink()
    writer = open_writer(store)
    for _ in range(60):
        values = {
            "strategy": "manual",
            "symbol": "AAPL",
            "side": "buy",
            "quantity": 1,
            "rationale": {"why": "x"},
        }
        record.record(writer, AccountKey("simulated", "paper", "default"), record.parse(values))
    writer.close()
    assert run(home, "verify").code == 0
    ended = run(home, "verify", "--since-head", str(heads), "--chain")
    assert ended.code == 5
    assert "history was rewritten" in ended.out


def rewrite(store: Path) -> None:
    """All that the owner of the file can do: another reason, and hashes that fit it, to the last entry."""
    connection = sqlite3.connect(store, isolation_level=None)
    connection.row_factory = sqlite3.Row
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    row = dict(connection.execute("SELECT * FROM trade_decisions WHERE symbol = 'LMT'").fetchone())
    row["decision_rationale"] = '{"why": "something nicer"}'
    inputs = [
        result[0]
        for result in connection.execute(
            "SELECT version_id FROM decision_inputs WHERE decision = ? ORDER BY version_id", (row["id"],)
        )
    ]
    row["decision_hash"] = decisions.hash_of(row, inputs)
    row["client_order_id"] = ids.client_order_id(row["decision_id"], row["decision_hash"], 1)
    for name in ("decision_rationale", "decision_hash", "client_order_id"):
        connection.execute(f"UPDATE trade_decisions SET {name} = ? WHERE id = ?", (row[name], row["id"]))
    new = row["client_order_id"]
    old = connection.execute("SELECT client_order_id FROM trade_executions WHERE symbol = 'LMT'").fetchone()[
        0
    ]
    for table, columns in (
        ("trade_executions", ("client_order_id",)),
        ("risk_checks", ("client_order_id",)),
        ("alpaca_orders", ("client_order_id", "raw")),
        ("broker_calls", ("request_body", "response_body")),
    ):
        for name in columns:
            connection.execute(f"UPDATE {table} SET {name} = replace({name}, ?, ?)", (old, new))
    digests = {}
    for table, audited in AUDITED.items():
        if table != "decision_inputs":
            for result in connection.execute(f"SELECT {', '.join(audited.columns)} FROM {table}").fetchall():
                digests[table, str(result[audited.key])] = audited.digest(list(result))
    previous = journal.GENESIS
    for seq, body in connection.execute("SELECT seq, body FROM journal ORDER BY seq").fetchall():
        said = json.loads(body)
        for entry in said["rows"]:
            entry[3] = digests.get((entry[0], entry[1]), entry[3])
        text = journal.canonical(said)
        body_hash = sha256(text.encode()).digest()
        previous = journal.link(previous, seq, body_hash)
        connection.execute(
            "UPDATE journal SET body = ?, body_hash = ?, hash = ? WHERE seq = ?",
            (text, body_hash, previous, seq),
        )
    connection.close()


def test_a_chain_written_anew_shows_by_a_head_and_at_the_broker(
    home: Path, store: Path, tmp_path: Path
) -> None:
    untouched = tmp_path / "triggers.db"
    shutil.copy(store, untouched)
    heads = tmp_path / "heads"
    assert run(home, "verify", "--head", "--to", str(heads)).code == 0
    rewrite(store)
    with sqlite3.connect(untouched) as old, sqlite3.connect(store) as new:
        for (sql,) in old.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'"):
            new.execute(sql)
    old.close()
    new.close()
    # By itself the file is whole: this is what a chain alone cannot show.
    assert run(home, "verify").code == 0
    ended = run(home, "verify", "--since-head", str(heads))
    assert ended.code == 5
    assert "history was rewritten" in ended.out
    ended = run(home, "verify", "--broker")
    assert ended.code == 5
    assert "and the broker was sent" in ended.out
