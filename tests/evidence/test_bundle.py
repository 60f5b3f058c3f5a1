"""Bundles: what is in one, what is not, and that any change shows to a bare Python."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from tests.conftest import Ended, findings
from tests.evidence.conftest import Change, run
from tests.evidence.test_replay import decision, one
from tradelog.evidence import standalone
from tradelog.ingest.run import IngestionRun
from tradelog.store import run_digest


def check(place: Path) -> Ended:
    """The bundle's own ``verify.py``, by a Python that has no package of anybody's."""
    ended = subprocess.run(
        [sys.executable, "-I", "-S", str(place / "verify.py")], capture_output=True, timeout=60, check=False
    )
    return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def unpack(path: Path) -> Path:
    place = path.with_suffix("")
    with zipfile.ZipFile(path) as opened:
        opened.extractall(place)
    return place


@pytest.fixture
def bundle(home: Path, store: Path) -> Path:
    """All of AAPL: decided by the strategy and by hand."""
    ended = run(home, "export", "bundle", "--symbol", "AAPL", "-o", "aapl.zip")
    assert ended.code == 0, ended
    return unpack(home / "aapl.zip")


def everything(place: Path) -> dict[str, bytes]:
    return {
        path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()
    }


def test_a_stranger_can_check_it_alone(bundle: Path, home: Path) -> None:
    ended = check(bundle)
    assert (ended.code, ended.err) == (0, "")
    head = run(home, "verify", "--head").out.strip()
    assert ended.out.splitlines() == [f"{len(everything(bundle))} files: everything agrees", f"head: {head}"]
    zipped = subprocess.run(
        [sys.executable, "-I", "-S", str(bundle / "verify.py"), str(home / "aapl.zip")], check=False
    )
    assert zipped.returncode == 0


def test_everything_that_concerns_the_symbol_is_in_it(bundle: Path, home: Path, store: Path) -> None:
    rows = {name: content.decode().splitlines() for name, content in everything(bundle).items()}
    for table, count in (
        ("trade_decisions", 2),
        ("trade_executions", 2),
        ("decision_inputs", 1),
        ("signals", 1),
        ("strategy_runs", 1),
        ("risk_checks", 2),
        ("broker_calls", 2),
        ("alpaca_orders", 2),
        ("fills", 2),
        ("data_ingestion_runs", 1),
    ):
        assert len(rows[f"rows/{table}.jsonl"]) == count, table
    records = [json.loads(line) for line in rows["records.jsonl"]]
    payloads = {
        item["values"]["version_id"]: item["values"]["payload"]
        for item in records
        if item["part"] == "payloads"
    }
    expected = one(store, "SELECT count(*) FROM record_versions WHERE symbol = 'AAPL'")
    assert len(payloads) == expected
    assert all("AAPL" in payload for payload in payloads.values())
    call = json.loads(rows["rows/broker_calls.jsonl"][0])["values"]
    assert json.loads(call["request_body"])["symbol"] == "AAPL"
    page = (bundle / "index.html").read_text()
    assert "3 members disclosed a purchase within 30 days" in page
    assert "by hand" in page


def test_nothing_of_other_symbols_is_in_it(bundle: Path, store: Path) -> None:
    result = b"\n".join(everything(bundle).values()).decode()
    others = json.loads(
        one(
            store,
            "SELECT json_group_array(DISTINCT symbol) FROM record_versions WHERE symbol <> 'AAPL'"
            " AND length(symbol) > 2 AND symbol GLOB '[A-Z]*'",
        )
    )
    assert len(others) > 50
    ids = json.loads(
        one(
            store,
            "SELECT json_group_array(decision_id) FROM trade_decisions WHERE symbol <> 'AAPL'",
        )
    )
    assert len(ids) == 3
    words = set(result.replace('"', " ").replace("\\", " ").replace(",", " ").split())
    assert not words & {*others, "NOPRICE", *ids}


def test_what_a_strategy_looked_at_is_there_by_its_digest_alone(bundle: Path, store: Path) -> None:
    row = json.loads((bundle / "rows" / "strategy_runs.jsonl").read_text())
    context = one(store, "SELECT context FROM strategy_runs")
    assert "LMT" in context
    assert row["sealed"] == ["context"]
    assert row["values"]["context"] == sha256(context.encode()).hexdigest()


def test_changing_any_file_breaks_it(bundle: Path) -> None:
    files = everything(bundle)
    assert len(files) > 15
    for name, content in files.items():
        for changed in (content[:-1], content + b"\n", bytes([content[0] ^ 1]) + content[1:], b"", None):
            there = {**files, name: changed} if changed is not None else {**files}
            if changed is None:
                del there[name]
            try:
                wrong = list(standalone.check(there))  # type: ignore[arg-type]
            except (ValueError, KeyError, IndexError):
                continue  # which its last lines call broken as well
            assert wrong, (name, changed)
    assert list(standalone.check(files)) == []
    assert list(standalone.check({**files, "more.txt": b"x"})) == ["more.txt is not of this bundle"]


@pytest.mark.parametrize(
    "name", ["index.html", "manifest.json", "manifest.sha256", "journal.jsonl", "rows/fills.jsonl"]
)
def test_its_own_program_says_so(bundle: Path, name: str) -> None:
    path = bundle / name
    path.write_bytes(path.read_bytes()[:-1])
    ended = check(bundle)
    assert ended.code == 1
    assert "BROKEN" in ended.out + ended.err


def forge(place: Path, name: str, change: Callable[[str], str]) -> Ended:
    """Change a file, and the manifest with it: what is left to show it are the digests of the journal."""
    path = place / name
    before = path.read_text()
    after = change(before)
    assert after != before
    path.write_text(after)
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["files"][name] = sha256(after.encode()).hexdigest()
    text = json.dumps(manifest)
    (place / "manifest.json").write_text(text)
    (place / "manifest.sha256").write_text(f"{sha256(text.encode()).hexdigest()}  manifest.json\n")
    return check(place)


# A file, a text in it that becomes another, and what is said then.
FORGED = [
    ("rows/trade_decisions.jsonl", '"executed"', '"failed"', "trade_decisions dec_"),
    ("rows/fills.jsonl", '"156"', '"150"', "fills "),
    ("rows/broker_calls.jsonl", "AAPL", "AAPM", "broker_calls "),
    ("rows/data_ingestion_runs.jsonl", "273", "274", "data_ingestion_runs run_"),
    ("rows/strategy_runs.jsonl", '"version": 2', '"version": 1', "strategy_runs srn_"),
    ("rows/decision_inputs.jsonl", "[", "[1, ", "decision_inputs dec_"),
    ("records.jsonl", "purchase", "sale", "is not what the run brought"),
    ("records.jsonl", '"at": ', '"at": 1', "is not what the run brought"),
    ("journal.jsonl", "run.completed", "run.complete!", "is not the one that the chain holds"),
    ("runs/", "0", "1", "is not what the run's entry was taken over"),
]


@pytest.mark.parametrize(("name", "old", "new", "said"), FORGED)
def test_a_forgery_with_its_manifest_breaks_on_the_journal(
    bundle: Path, name: str, old: str, new: str, said: str
) -> None:
    name = next(result for result in everything(bundle) if result.startswith(name))
    ended = forge(bundle, name, lambda text: text.replace(old, new, 1))
    assert ended.code == 1
    assert said in ended.out


@pytest.mark.parametrize("cut", [slice(64, None), slice(65, None), slice(None, -65)])
def test_a_chain_that_was_cut_leads_to_no_head(bundle: Path, cut: slice) -> None:
    ended = forge(bundle, "chain.txt", lambda text: text[cut])
    assert "the entries do not lead to the head" in ended.out


def test_decisions_by_id(home: Path, store: Path) -> None:
    ended = run(
        home, "export", "bundle", decision(store, "LMT"), decision(store, "V"), "-o", "two.zip", "--json"
    )
    assert ended.code == 0, ended
    told = json.loads(ended.out)
    assert (told["decisions"], told["path"]) == (2, "two.zip")
    place = unpack(home / "two.zip")
    assert sha256((place / "manifest.json").read_bytes()).hexdigest() == told["manifest_sha256"]
    assert check(place).code == 0
    text = (place / "rows" / "trade_decisions.jsonl").read_text()
    assert "LMT" in text
    assert "AAPL" not in text


def test_a_decision_without_inputs_or_runs(home: Path, store: Path) -> None:
    by_hand = str(one(store, "SELECT decision_id FROM trade_decisions WHERE symbol = 'NOPRICE'"))
    assert run(home, "export", "bundle", by_hand, "-o", "x.zip").code == 0
    ended = check(unpack(home / "x.zip"))
    assert ended.code == 0, ended


def test_the_year_bounds_what_is_in_it(home: Path) -> None:
    assert run(home, "export", "bundle", "--symbol", "AAPL", "--year", "2021", "-o", "y.zip").code == 0
    place = unpack(home / "y.zip")
    assert check(place).code == 0
    assert not (place / "rows" / "trade_decisions.jsonl").exists()
    assert (place / "records.jsonl").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("bundle", "-o", "x.zip"), 2, "name decisions, or --symbol"),
        (("bundle", "dec_zz9", "--symbol", "AAPL", "-o", "x.zip"), 2, "name decisions, or --symbol"),
        (("bundle", "--symbol", "AAPL"), 2, "-o FILE.zip is missing"),
        (("bundle", "dec_zzzzzzz", "-o", "x.zip"), 3, "no id is, or begins with"),
        (("bundle", "--symbol", "NOSUCH", "-o", "x.zip"), 3, "nothing of NOSUCH"),
        (("bundle", "--symbol", "AAPL", "--year", "1999", "-o", "x.zip"), 3, "nothing of AAPL in 1999-01-01"),
        (("bundle", "--symbol", "AAPL", "-o", "again.csv"), 2, "again.csv is there already"),
        (("bundle", "--symbol", "AAPL", "-o", "no/such/x.zip"), 2, "cannot be written"),
        (("csv", "--symbol", "AAPL", "-o", "x.zip"), 2, "'csv' cannot be exported"),
    ],
)
def test_what_cannot_be_exported(home: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    before = {path.name for path in home.iterdir()}
    ended = run(home, "export", *arguments)
    assert ended.code == code, ended
    assert said in ended.err
    assert {path.name for path in home.iterdir()} == before


@pytest.mark.tampered
def test_a_row_that_the_journal_does_not_know_is_not_exported(
    home: Path, store: Path, change: Change
) -> None:
    change(
        "INSERT INTO fills SELECT 'f-by-hand', broker_order_id, execution_id, broker, environment, account,"
        " symbol, side, quantity, price, price_basis, transaction_time, seen_at FROM fills"
        " WHERE symbol = 'AAPL' LIMIT 1"
    )
    ended = run(home, "export", "bundle", "--symbol", "AAPL", "-o", "x.zip")
    assert ended.code == 5
    assert "the journal does not tell of fills f-by-hand" in ended.err


def test_runs_of_an_earlier_rule_are_shown_and_said_to_be_unproved(
    home: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tradelog.ingest.sources.congress import read_file
    from tradelog.store.opening import open_writer

    def second(self: run_digest.RunDigest, tx: object, number: int) -> object:
        return run_digest.by_rule(self._connection, number, 2)

    monkeypatch.setattr(run_digest.RunDigest, "keep", second)
    writer = open_writer(store)
    lines = (home / "again.csv").read_text().splitlines()
    (home / "old.csv").write_text("\n".join([lines[0], lines[1].replace("2021", "2020")]) + "\n")
    with IngestionRun(writer, "data_fetch:congress", "house-stock-watcher") as going:
        read_file(going, home / "old.csv")
    writer.close()
    assert findings(store) == ()
    symbol = str(one(store, "SELECT symbol FROM record_versions ORDER BY version_id DESC"))
    assert run(home, "export", "bundle", "--symbol", symbol, "-o", "x.zip").code == 0
    place = unpack(home / "x.zip")
    ended = check(place)
    assert ended.code == 0, ended
    assert "cannot be shown one by one" in ended.out
    assert (place / "unproved.jsonl").read_text()
