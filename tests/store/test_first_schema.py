"""A store that the first release made: upgraded with its data, read on, and still provable."""

from __future__ import annotations

import json
import shutil
import sqlite3
from hashlib import sha256
from pathlib import Path

import pytest

from tests import disclosures as d
from tests import filings as f
from tests.conftest import Cli
from tests.journaled import check_chain
from tradelog.config.schema import Config
from tradelog.ingest.identity import digest
from tradelog.store import engine, run_digest, upgrade
from tradelog.store.audited import row_text
from tradelog.store.reader import Reader

# Its run is written here by hand, as the first release wrote it, without the journal of then.
pytestmark = pytest.mark.tampered

RUN = """
INSERT INTO data_ingestion_runs (id, run_id, task_name, data_source, actor, host, pid, boot_id, heartbeat_at,
  started_at, completed_at, status, params, records_fetched, records_created, records_updated,
  records_skipped, records_quarantined, records_gone, api_calls)
VALUES (1, 'run_0000000000000000', 'data_fetch:congress', ?, 'a', 'h', 1, 'b', :at, :at, :at, 'completed',
  '{}', 2, 2, 0, 0, 0, 0, '[]')
""".replace("?", ":feed")
AT = "2026-01-02T03:04:05.000000Z"
REPORT = d.efd_report(1)
PAYLOAD = json.dumps(
    {key: REPORT[key] for key in ("report_id", "title", "filer", "filed-date", "filed-time")}
    | {"line": 1, **REPORT["data"][0]["rows"][0]}
)


@pytest.fixture
def old(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store of schema 0001 with one Senate trade; returns the digest that its journal has of the run."""
    folder = tmp_path / "first"
    shutil.copytree(
        upgrade.MIGRATIONS, folder, ignore=shutil.ignore_patterns("000[2-9]*", "001*", "__pycache__")
    )
    upgrade.upgrade(config.store_path, migrations=folder)
    connection = engine.connect_writer(config.store_path)
    identity = (REPORT["report_id"], "1")
    told = ("ticker", "asset-name", "asset-type", "type", "amount", "comment", "owner")
    row = REPORT["data"][0]["rows"][0]
    content = (row["transaction-date"], REPORT["filed-date"], REPORT["filer"], *(row[key] for key in told))
    version = (
        *(1, 1, 1, AT, 1, "2017-04-24", "2017-05-03T15:15:00.000000Z", "05/03/2017", "IBM", REPORT["filer"]),
        *("purchase", "50001", "100000", None, 1, 0, digest(identity + content), PAYLOAD),
    )
    link = (1, 1, "created")
    connection.execute(RUN, {"feed": "senate-efd", "at": AT})
    connection.execute(
        "INSERT INTO source_records VALUES (1, 'senate-efd', 'congress_trade', ?, 1)", (digest(identity),)
    )
    connection.execute(f"INSERT INTO record_versions VALUES ({', '.join('?' * 18)})", version)
    connection.execute("INSERT INTO ingestion_records VALUES (?, ?, ?)", link)
    lines = "".join(row_text(row) + "\n" for row in (version, link))
    connection.close()
    return sha256(lines.encode()).hexdigest()


def test_what_the_first_release_wrote_is_provable_by_its_own_rule(
    old: str, cli: Cli, config: Config, tmp_path: Path
) -> None:
    result = cli(
        "fetch", "congress", "--file", str(d.write(tmp_path / "r.json", d.as_json([REPORT]))), "--json"
    )
    assert result.code == 0, result.err
    counts = json.loads(result.out)
    # The report is a record of its own now; the trade is the one that was there.
    assert (counts["records_created"], counts["records_updated"], counts["records_skipped"]) == (1, 0, 1)
    with sqlite3.connect(config.store_path) as connection:
        assert engine.schema_of(connection) == engine.SCHEMA
        assert run_digest.by_rule(connection, 1, 1) == old
    connection.close()
    with Reader(config.store_path) as reader:
        check_chain(reader)
    assert list(config.store_path.parent.glob("*.before-0002.db"))


def test_amendments_and_people_reach_what_was_there(old: str, cli: Cli, tmp_path: Path) -> None:
    amended = d.efd_report(
        1, report_id="x2", title=f"{REPORT['title']} (Amendment 1)", **{"filed-date": "06/01/2018"}
    )
    path = d.write(tmp_path / "r.json", d.as_json([REPORT, amended]))
    assert cli("fetch", "congress", "--file", str(path)).code == 0
    result = json.loads(cli("known", "IBM", "--json").out)["versions"]
    assert {row["document"]: row["amended_by"] for row in result} == {REPORT["report_id"]: ["x2"], "x2": []}
    people = f.as_json([f.legislator("S000001", "Max", "Sample", kind="sen")])
    assert cli("fetch", "committees", "--file", str(d.write(tmp_path / "p.json", people))).code == 0
    result = json.loads(cli("known", "IBM", "--json").out)["versions"]
    assert {row["person"] for row in result} == {"S000001"}


def test_people_find_the_names_of_an_upgraded_store(old: str, cli: Cli, tmp_path: Path) -> None:
    people = f.as_json([f.legislator("S000001", "Max", "Sample", kind="sen")])
    assert cli("fetch", "committees", "--file", str(d.write(tmp_path / "p.json", people))).code == 0
    result = json.loads(cli("people", "--json").out)["names"]
    assert [(row["name"], row["person"]) for row in result] == [(REPORT["filer"], "S000001")]
