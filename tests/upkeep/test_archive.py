"""The archive: what goes, what stays, that it verifies with and without its files, and comes back."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli, findings
from tests.execute.driving import ENVIRONMENT
from tests.fakes.desk import Desk
from tests.upkeep.years import MOMENT, Fund, _time, live
from tradelog.config.load import load_config
from tradelog.errors import EvidenceBroken
from tradelog.evidence import bundle, standalone
from tradelog.store.opening import open_writer
from tradelog.store.reader import Reader
from tradelog.upkeep import archive

__all__ = ["_time"]
REPORTS = (
    ("report", "S1", "--json"),
    ("report", "S1", "--year", "2023", "--json"),
    ("report", "HOLD", "--json"),
    ("trades", "--json"),
    ("decisions", "--json"),
    ("failures", "--json"),
    ("strategies", "--json"),
    ("lots", "--json"),
    ("positions", "--json"),
    ("digest", "--date", "2023-06-01", "--json"),
    ("runs", "--json"),
    ("known", "S1", "--at", "2023-06-01", "--json"),
)
_built: dict[str, tuple[bytes, dict[str, str], Any]] = {}


@pytest.fixture
def fund(home: Path) -> Iterator[Fund]:
    """Built once a process, and copied."""
    desk = Desk()
    if not _built:
        made = live(home, desk)
        values = {"insider_decision": made.insider_decision, "held_decision": made.held_decision}
        books = (desk.orders, desk.activities, desk._spent, desk._ids, desk.cash)
        _built["fund"] = (made.store.read_bytes(), {**values, "now": MOMENT[0].isoformat()}, books)
    content, values, books = _built["fund"]
    copied = Fund(home, desk, values["insider_decision"], values["held_decision"])
    MOMENT[0] = MOMENT[0].fromisoformat(values["now"])
    desk.orders, desk.activities, desk._spent, desk._ids, desk.cash = books
    (home / "store").mkdir(exist_ok=True)
    copied.store.write_bytes(content)
    text = f'[store]\nurl = "sqlite:///store/log.db"\n[broker]\nname = "alpaca"\nbase_url = "{desk.url}"\n'
    (home / "tradelog.toml").write_text(text)
    yield copied
    desk.close()


def told(cli: Cli) -> list[Any]:
    """All reports, without what tells of the archive itself."""
    answers = []
    for line in REPORTS:
        ended = cli(*line, **ENVIRONMENT)
        assert ended.code == 0, (line, ended.err)
        value = json.loads(ended.out)
        for version in value.get("versions", ()) if line[0] == "known" else ():
            del version["archived"]
        answers.append((line, value))
    return answers


def counts(store: Path) -> dict[str, int]:
    with Reader(store) as reader:
        tables = [row["name"] for row in reader.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: reader.value(f"SELECT count(*) FROM {name}") for name in tables if name[:6] != "sqlite"}


def test_three_years(fund: Fund, cli: Cli) -> None:
    """Much smaller, the same reports, and it verifies with and without the files."""
    before, reports, rows = fund.store.stat().st_size, told(cli), counts(fund.store)
    moves = json.loads(cli("archive", "--dry-run", "--json").out)["moves"]
    ended = cli("archive")
    assert ended.code == 0, ended.err
    files = sorted((fund.home / "store" / "archive").iterdir())
    assert [path.name.split("-")[1] for path in files] == ["exchanges", "rows"]
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600, 0o600]
    after = fund.store.stat().st_size
    assert before - after > 0.8 * sum(item["size"] for item in moves), (before, after)
    assert sum(path.stat().st_size for path in files) < 0.3 * (before - after)
    assert told(cli) == reports
    assert findings(fund.store) == ()
    verified = json.loads(cli("verify", "--json").out)
    assert (verified["archives_checked"], verified["archives_missing"]) == (2, [])
    assert verified["archived_rows"] > 100
    now = counts(fund.store)
    moved = {name for name in rows if now[name] < rows[name]}
    assert moved == {"broker_calls"}
    shutil.move(fund.home / "store" / "archive", fund.home / "away")
    assert told(cli) == reports
    verified = json.loads(cli("verify", "--json").out)
    assert (verified["archives_checked"], len(verified["archives_missing"])) == (0, 2)


def test_a_dry_run_says_what_goes(fund: Fund, cli: Cli) -> None:
    before = fund.store.read_bytes()
    plan = json.loads(cli("archive", "--dry-run", "--json").out)
    assert [item["what"] for item in plan["moves"]] == [
        "exchanges with the broker",
        "rows as the sources sent them",
    ]
    assert plan["kept_lots"] >= 1
    assert "exchanges with the broker" in cli("archive", "--dry-run").out
    assert fund.store.read_bytes() == before
    done = json.loads(cli("archive", "--json").out)["files"]
    assert [item["rows"] for item in done] == [item["rows"] for item in plan["moves"]]
    assert json.loads(cli("archive", "--dry-run", "--json").out)["moves"] == []
    assert cli("archive").out == "nothing is old enough\n"


def test_nothing_younger_goes(fund: Fund, cli: Cli) -> None:
    cli("archive")
    before = archive.cutoff(load_config(fund.home / "tradelog.toml"))
    with Reader(fund.store) as reader:
        assert reader.value("SELECT count(*) FROM broker_calls WHERE started_at >= ?", (before,)) > 50
        young = "SELECT count(*) FROM record_versions WHERE first_seen_at >= ? AND payload = ''"
        assert reader.value(young, (before,)) == 0
        old = (
            "SELECT count(*) FROM record_versions v JOIN source_records r ON r.record_id = v.record_id"
            " WHERE first_seen_at < ? AND payload <> '' AND r.kind = 'congress_trade'"
        )
        assert reader.value(old, (before,)) == 0


def calls_of(store: Path, decision_id: str) -> int:
    with Reader(store) as reader:
        return int(
            reader.value(
                "SELECT count(*) FROM broker_calls c JOIN trade_executions e"
                " ON e.execution_id = c.execution_id WHERE e.decision_id = ?",
                (decision_id,),
            )
        )


def test_an_open_lot_stays_whole(fund: Fund, cli: Cli) -> None:
    had = calls_of(fund.store, fund.held_decision)
    cli("archive")
    assert calls_of(fund.store, fund.held_decision) == had > 0
    # Once it is sold it goes.
    assert cli("decide", "sell", "3", "HOLD", "--why", "x", **ENVIRONMENT).code == 0
    assert cli("run-worker", "--once", **ENVIRONMENT).code == 0
    assert cli("archive").code == 0
    assert calls_of(fund.store, fund.held_decision) == 0


@pytest.mark.parametrize("by", ["symbol", "decision"])
def test_what_is_on_hold_stays_whole(fund: Fund, cli: Cli, by: str) -> None:
    with Reader(fund.store) as reader:
        row = reader.one("SELECT decision_id FROM trade_decisions WHERE symbol = 'S1' ORDER BY id LIMIT 1")
    assert row is not None
    hold = "S1" if by == "symbol" else row["decision_id"]
    with (fund.home / "tradelog.toml").open("a") as stream:
        stream.write(f'[retention]\nhold = ["{hold}"]\n')
    had = calls_of(fund.store, row["decision_id"])
    assert json.loads(cli("archive", "--dry-run", "--json").out)["kept_held"] >= 1
    assert cli("archive").code == 0
    assert calls_of(fund.store, row["decision_id"]) == had > 0
    with Reader(fund.store) as reader:
        held = reader.value(
            "SELECT count(*) FROM archived_payloads p JOIN record_versions v USING (version_id)"
            " WHERE v.symbol = 'S1'"
        )
    assert (held == 0) is (by == "symbol")


def test_what_needs_a_person_stays_whole(fund: Fund, cli: Cli) -> None:
    """An open alert about it: here every refused one has its own."""
    with Reader(fund.store) as reader:
        (first, *_) = reader.rows(
            "SELECT a.subject FROM alerts a JOIN trade_decisions d ON d.decision_id = a.subject"
            " WHERE a.acknowledged_at IS NULL AND d.symbol = 'NOPE' ORDER BY a.alert_id"
        )
    had = calls_of(fund.store, first["subject"])
    cli("archive")
    assert calls_of(fund.store, first["subject"]) == had > 0


def archived_decision(store: Path) -> str:
    with Reader(store) as reader:
        return str(
            reader.value(
                "SELECT e.decision_id FROM archived_calls a JOIN trade_executions e"
                " ON e.execution_id = a.subject ORDER BY e.id LIMIT 1"
            )
        )


def test_show_says_so_and_reads_it(fund: Fund, cli: Cli) -> None:
    with Reader(fund.store) as reader:
        first = str(reader.value("SELECT decision_id FROM trade_decisions WHERE symbol = 'S0' ORDER BY id"))
    before = json.loads(cli("show", first, "--json").out)["decision"]["executions"][0]
    cli("archive")
    after = json.loads(cli("show", first, "--json").out)["decision"]["executions"][0]
    assert after["archived"]["is_there"] is True
    assert after.pop("archived") is not None
    assert before.pop("archived") is None
    assert [call for call in after["calls"] if not call["shared"]] == [
        call for call in before["calls"] if not call["shared"]
    ]
    assert after["api_request"] == before["api_request"]
    shown = cli("show", first).out
    assert "archived\t" in shown
    shutil.rmtree(fund.home / "store" / "archive")
    assert ", which is not there" in cli("show", first).out


def test_known_says_so(fund: Fund, cli: Cli) -> None:
    cli("archive")
    ended = cli("known", "S1", "--at", "2023-06-01")
    assert "the source's row is in archive/log-rows-" in ended.out
    now = json.loads(cli("known", "S1", "--json").out)["versions"]
    assert {row["archived"] is None for row in now} == {True, False}


def test_replay_reads_it_or_says_so(fund: Fund, cli: Cli) -> None:
    assert "same" in cli("replay", fund.insider_decision).out
    cli("archive")
    with Reader(fund.store) as reader:
        away = reader.value(
            "SELECT count(*) FROM archived_payloads p JOIN record_versions v USING (version_id)"
            " JOIN source_records r ON r.record_id = v.record_id WHERE r.kind = 'insider_trade'"
        )
    assert away >= 3
    assert "same" in cli("replay", fund.insider_decision).out
    shutil.move(fund.home / "store" / "archive", fund.home / "away")
    replayed = cli("replay", fund.insider_decision)
    assert "what it saw is archived" in replayed.out
    assert "is not there" in replayed.out


def test_a_strategy_of_an_old_day_reads_it_or_says_so(fund: Fund, cli: Cli) -> None:
    line = ("run-strategy", "insider", "--as-of", "2023-05-02", "--dry-run", "--json")
    before = json.loads(cli(*line, **ENVIRONMENT).out)["signals"]
    assert before
    cli("archive")
    assert json.loads(cli(*line, **ENVIRONMENT).out)["signals"] == before
    today = cli("run-strategy", "insider", "--dry-run", "--json", **ENVIRONMENT)
    shutil.move(fund.home / "store" / "archive", fund.home / "away")
    ended = cli(*line, **ENVIRONMENT)
    assert (ended.code, "is not there" in ended.err) == (5, True)
    assert cli("run-strategy", "insider", "--dry-run", "--json", **ENVIRONMENT) == today


def test_a_bundle_has_it_or_says_so(fund: Fund, cli: Cli, tmp_path: Path) -> None:
    cli("archive")
    with Reader(fund.store) as reader:
        first = archived_decision(fund.store)
        bundle.write(reader, tmp_path / "with.zip", "all", [first, fund.insider_decision])
    files = standalone.read(tmp_path / "with.zip")
    assert list(standalone.check(files)) == []
    assert json.loads(files["manifest.json"])["archived"] == []
    assert b'"purpose": "submit"' in files["rows/broker_calls.jsonl"]
    assert all(json.loads(line)["values"].get("payload", "x") for line in files["records.jsonl"].splitlines())
    shutil.move(fund.home / "store" / "archive", fund.home / "away")
    with Reader(fund.store) as reader:
        bundle.write(reader, tmp_path / "without.zip", "all", [first, fund.insider_decision])
    files = standalone.read(tmp_path / "without.zip")
    assert list(standalone.check(files)) == []
    assert len(json.loads(files["manifest.json"])["archived"]) >= 4
    with zipfile.ZipFile(tmp_path / "without.zip") as opened:
        assert b"exchanges are archived in" in opened.read("index.html")


def test_it_comes_back(fund: Fund, cli: Cli) -> None:
    rows, reports = counts(fund.store), told(cli)
    with Reader(fund.store) as reader:
        calls = reader.rows("SELECT * FROM broker_calls ORDER BY call_id")
        texts = reader.rows("SELECT version_id, payload FROM record_versions ORDER BY version_id")
    cli("archive")
    listed = json.loads(cli("archive", "list", "--json").out)["files"]
    assert [(item["is_there"], item["is_back"]) for item in listed] == [(True, False)] * 2
    for item in listed:
        ended = cli("archive", "restore", item["path"])
        assert ended.code == 0, ended.err
    with Reader(fund.store) as reader:
        assert reader.rows("SELECT * FROM broker_calls ORDER BY call_id") == calls
        assert reader.rows("SELECT version_id, payload FROM record_versions ORDER BY version_id") == texts
    assert findings(fund.store) == ()
    assert told(cli) == reports
    assert counts(fund.store)["broker_calls"] == rows["broker_calls"]
    again = cli("archive", "restore", listed[0]["path"])
    assert (again.code, "is back already" in again.err) == (2, True)
    assert "back in the store" in cli("archive", "list").out
    # What was wanted back stays.
    assert cli("archive").code == 0
    assert findings(fund.store) == ()
    with Reader(fund.store) as reader:
        kept = "SELECT count(*) FROM broker_calls WHERE execution_id IN (SELECT subject FROM archived_calls)"
        assert reader.value(kept) > 0


@pytest.mark.tampered
@pytest.mark.parametrize("damage", ["cut", "changed", "other"])
def test_a_damaged_file_is_no_archive(fund: Fund, cli: Cli, damage: str) -> None:
    cli("archive")
    path, other = sorted((fund.home / "store" / "archive").iterdir())
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        path.write_bytes(content[:-20] + b"\0" * 20)
    else:
        shutil.copy(other, path)
    ended = cli("verify")
    assert (ended.code, "is not the file that was written" in ended.out) == (5, True)
    before = counts(fund.store)
    assert cli("archive", "restore", path.name).code == 5
    assert counts(fund.store) == before
    shown = cli("show", archived_decision(fund.store))
    assert shown.code == 5


def test_what_is_no_archive(fund: Fund, cli: Cli) -> None:
    assert cli("archive", "restore", "x.gz").code == 3
    for line in (("restore",), ("list", "x"), ("list", "--dry-run"), ("burn",)):
        assert cli("archive", *line).code == 2, line


@pytest.mark.tampered
def test_a_store_that_does_not_verify_keeps_all(fund: Fund, cli: Cli) -> None:
    """What was changed must not leave as if it had always been so."""
    writer = open_writer(fund.store)
    writer.connection.execute("DROP TRIGGER broker_calls_update")
    writer.connection.execute("UPDATE broker_calls SET response_body = '{}' WHERE call_id = 2")
    writer.close()
    ended = cli("archive")
    assert (ended.code, "nothing was moved" in ended.err) == (5, True)
    assert not (fund.home / "store" / "archive").exists()


class Killed(BaseException):
    """Ends it as SIGKILL does: nothing more is done."""


@pytest.mark.parametrize("at", range(8))
def test_interrupted_at_any_commit_each_row_is_in_one_place(
    fund: Fund, cli: Cli, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Before a file, between a file and its commit, and after; then it is run again."""
    monkeypatch.setattr(archive, "CHUNK", 100)
    config = load_config(fund.home / "tradelog.toml")
    reports = told(cli)
    left = [at]

    def reached(*_: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    real = archive.archive_files.write

    def write(path: Path, rows: Any) -> str:
        reached()
        digest = real(path, rows)
        reached()
        return digest

    with monkeypatch.context() as patch:
        patch.setattr(archive.archive_files, "write", write)
        writer = open_writer(fund.store)
        with pytest.raises(Killed):
            archive.archive(config, writer)
        writer.connection.close()
    assert findings(fund.store) == ()
    assert told(cli) == reports
    assert cli("archive").code == 0
    assert findings(fund.store) == ()
    assert told(cli) == reports
    assert json.loads(cli("archive", "--dry-run", "--json").out)["moves"] == []


def test_a_folder_that_cannot_be_written(fund: Fund, cli: Cli) -> None:
    (fund.home / "store" / "archive").write_text("a file")
    before = counts(fund.store)
    ended = cli("archive")
    assert (ended.code, "[retention] folder" in ended.err) == (5, True)
    assert counts(fund.store) == before


def test_maintenance_archives_a_month_s_worth(fund: Fund) -> None:
    config = load_config(fund.home / "tradelog.toml")
    with Reader(fund.store) as reader:
        assert archive.is_due(config, reader)
    writer = open_writer(fund.store)
    archive.archive(config, writer)
    writer.close()
    with Reader(fund.store) as reader:
        assert not archive.is_due(config, reader)


def test_the_same_rows_give_the_same_file(tmp_path: Path) -> None:
    rows = [("broker_calls", {"call_id": n, "body": "é" * n}) for n in range(50)]
    digests = {archive.archive_files.write(tmp_path / name, iter(rows)) for name in ("a.gz", "b.gz")}
    assert len(digests) == 1
    assert list(archive.archive_files.read(tmp_path / "a.gz")) == rows


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_an_attempt_is_in_one_file_however_small_they_are(
    fund: Fund, cli: Cli, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    with open_copy(fund) as writer, writer.transaction() as tx:
        # One attempt has a look-up long after its submission.
        sql = "SELECT execution_id FROM trade_executions WHERE symbol = 'S0' ORDER BY id LIMIT 1"
        attempt = tx.one(sql)[0]
        row = tx.dicts("SELECT * FROM broker_calls WHERE execution_id = ?", (attempt,))[0]
        del row["call_id"]
        tx.insert("broker_calls", {**row, "purpose": "lookup"})
        tx.journal("test", "look-up")
    with Reader(fund.store) as reader:
        owner = reader.value("SELECT decision_id FROM trade_executions WHERE execution_id = ?", (attempt,))
    monkeypatch.setattr(archive, "CHUNK", chunk)
    reports = told(cli)
    before = json.loads(cli("show", owner, "--json").out)["decision"]["executions"][0]["calls"]
    assert cli("archive").code == 0
    after = json.loads(cli("show", owner, "--json").out)["decision"]["executions"][0]["calls"]
    assert [call["call_id"] for call in after] == [call["call_id"] for call in before if not call["shared"]]
    assert told(cli) == reports


def test_one_archive_at_a_time(fund: Fund, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(fund.home / "tradelog.toml")
    with archive._alone(config.store_path):
        ended = cli("archive")
        assert (ended.code, "another process archives" in ended.err) == (5, True)
    assert cli("archive").code == 0


def test_the_file_of_another_store_is_never_overwritten(fund: Fund, cli: Cli) -> None:
    """Two stores of one name with one folder."""
    with (fund.home / "tradelog.toml").open("a") as stream:
        stream.write(f'[retention]\nfolder = "{fund.home}/shared"\n')
    (fund.home / "shared").mkdir()
    assert cli("archive").code == 0
    for path in (fund.home / "shared").iterdir():
        path.write_bytes(path.read_bytes()[:-30])
    content = {path: path.read_bytes() for path in (fund.home / "shared").iterdir()}
    fund.store.write_bytes(_built["fund"][0])
    for end in ("-wal", "-shm"):
        fund.store.with_name(f"log.db{end}").unlink(missing_ok=True)
    ended = cli("archive")
    assert (ended.code, "holds other rows" in ended.err) == (5, True)
    assert {path: path.read_bytes() for path in (fund.home / "shared").iterdir()} == content


@pytest.mark.tampered
@pytest.mark.parametrize("how", ["forged", "held", "other file", "after return"])
def test_a_row_that_is_taken_away_behind_its_back_shows(fund: Fund, cli: Cli, how: str) -> None:
    """A digest in the store's own table proves nothing without the journal's word for the file."""
    from hashlib import sha256

    with (fund.home / "tradelog.toml").open("a") as stream:
        stream.write('[retention]\nhold = ["S1"]\n')
    assert cli("archive").code == 0
    listed = [item["path"] for item in json.loads(cli("archive", "list", "--json").out)["files"]]
    if how == "after return":
        assert cli("archive", "restore", listed[1]).code == 0
    writer = open_writer(fund.store)
    for name in ("record_versions_update", "archived_payloads_update", "archived_payloads_replace_0"):
        writer.connection.execute(f"DROP TRIGGER {name}")
    symbol = "S1" if how == "held" else "S2"
    row = writer.rows(
        "SELECT version_id, payload FROM record_versions WHERE symbol = ? ORDER BY version_id", (symbol,)
    )[0 if how in ("held", "after return", "other file") else -1]
    if how != "other file":
        writer.connection.execute(
            "UPDATE record_versions SET payload = '' WHERE version_id = ?", (row["version_id"],)
        )
    known = (row["version_id"], sha256(row["payload"].encode()).digest())
    if how in ("forged", "held"):
        writer.connection.execute("INSERT INTO archived_payloads VALUES (?, ?, ?)", (*known, listed[1]))
    if how == "other file":
        writer.connection.execute(
            "UPDATE archived_payloads SET path = 'archive/x.gz' WHERE version_id = ?", known[:1]
        )
    writer.close()
    ended = cli("verify")
    assert ended.code == 5
    assert "archive" in ended.out or "record version" in ended.out


def test_every_flipped_byte_of_a_file_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    archive.archive_files.write(path, [("broker_calls", {"call_id": n}) for n in range(20)])
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            list(archive.archive_files.read(path))
        except EvidenceBroken:
            continue
        # Of gzip's own head and tail: no content, and the whole file has a digest besides.
        assert place < 10 or place >= len(content) - 12, place


def test_a_word_that_holds_nothing_is_an_error(fund: Fund, cli: Cli) -> None:
    with (fund.home / "tradelog.toml").open("a") as stream:
        stream.write('[retention]\nhold = ["s1"]\n')
    for line in (("archive",), ("archive", "--dry-run")):
        ended = cli(*line)
        assert (ended.code, "'s1' is no symbol and no decision" in ended.err) == (4, True)


def open_copy(fund: Fund) -> Any:
    from contextlib import closing

    return closing(open_writer(fund.store))
