"""QuiverQuant's API on loopback: its real shapes, and every reason not to trust an answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from tests.conftest import Cli
from tests.ingest.test_forms import d

PATH = "/beta/live/congresstrading"
ROW = {
    **{"Representative": "Ann Example", "BioGuideID": "E000001", "ReportDate": "2025-02-10"},
    **{"TransactionDate": "2025-01-21", "Ticker": "ORCL", "Transaction": "Sale", "Amount": "1001.0"},
    **{"Range": "$1,001 - $15,000", "House": "Representatives", "Party": "D", "Description": None},
    **{"ExcessReturn": -5.22, "PriceChange": -12.5, "SPYChange": -7.3},
}


@pytest.fixture
def quiver(home: Path, httpserver: HTTPServer) -> HTTPServer:
    with (home / "tradelog.toml").open("a") as stream:
        stream.write(f'[sources.quiver]\nbase_url = "{httpserver.url_for("")}"\ntimeout_seconds = 2\n')
    return httpserver


def last_run(cli: Cli) -> dict[str, object]:
    found: dict[str, object] = json.loads(cli("runs", "--json").out)["runs"][0]
    return found


def test_fetches_with_the_key_and_logs_the_call_without_it(cli: Cli, quiver: HTTPServer) -> None:
    quiver.expect_oneshot_request(
        PATH, headers={"Authorization": "Bearer s3cret", "Accept": "application/json"}
    ).respond_with_json([ROW], headers={"Date": "Wed, 25 Nov 2026 06:00:00 GMT"})
    ended = cli("fetch", "congress", QUIVER_API_KEY="s3cret")
    assert ended.code == 0, ended.err
    run = last_run(cli)
    assert (run["status"], run["records_created"], run["data_date_end"]) == ("completed", 1, "2025-01-21")
    call = run["api_calls"][0]  # type: ignore[index]
    assert (call["status"], call["records"], call["headers"]["date"][:3]) == (200, 1, "Wed")
    assert "s3cret" not in json.dumps(run)
    payload = cli("report", "ORCL", "--json").out
    assert "2025-01-21" in payload


def test_without_a_key_there_are_two_ways_on(cli: Cli) -> None:
    ended = cli("fetch", "congress")
    assert ended.code == 4
    assert "QUIVER_API_KEY" in ended.err
    assert "--file" in ended.err


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "said"),
    [
        (401, '{"detail":"Invalid token."}', "NotAuthorised", 4, "Invalid token"),
        (403, '{"detail":"Upgrade your subscription plan"}', "PlanTooSmall", 4, "Upgrade"),
        (403, '"Upgrade your subscription plan"', "PlanTooSmall", 4, "Upgrade"),
        (403, "<html>Request Rate Threshold Exceeded</html>", "VendorFault", 1, "blocked"),
        (429, "{}", "Throttled", 1, "wait 7 s"),
        (500, '"unsupported operand type(s)"', "VendorFault", 1, "unsupported operand"),
        (404, "<html>no</html>", "VendorFault", 1, "404"),
        (302, "", "VendorFault", 1, "redirects"),
        (200, "<html>maintenance</html>", "UnexpectedType", 1, "HTML"),
        (200, '"unsupported operand"', "VendorFault", 1, "text instead of rows"),
        (200, '{"detail":"x"}', "UnexpectedType", 1, "no JSON array"),
        (200, '[{"Representative": "x"', "UnexpectedType", 1, "truncated"),
        (200, '[{"Name": "x", "Other": 1}]', "SchemaMismatch", 1, "no known form"),
        (200, "[]", "EmptyAnswer", 1, "no rows"),
    ],
)
def test_an_answer_not_to_be_trusted_fails_the_run(
    cli: Cli, quiver: HTTPServer, status: int, body: str, kind: str, code: int, said: str
) -> None:
    """Invariant 10: each reason has a class of its own, and none of them is zero records of success."""
    quiver.expect_request(PATH).respond_with_data(
        body, status=status, headers={"Retry-After": "7", "Location": "https://elsewhere.example"}
    )
    ended = cli("fetch", "congress", QUIVER_API_KEY="s3cret")
    assert ended.code == code
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert "s3cret" not in ended.err
    run = last_run(cli)
    assert run["status"] == "failed"
    assert run["error_details"]["class"] == kind  # type: ignore[index]
    assert run["api_calls"][0]["status"] == status  # type: ignore[index]


def test_a_source_that_cannot_be_reached_is_a_vendor_fault(cli: Cli, home: Path) -> None:
    with (home / "tradelog.toml").open("a") as stream:
        stream.write('[sources.quiver]\nbase_url = "http://127.0.0.1:9"\n')
    ended = cli("fetch", "congress", QUIVER_API_KEY="s3cret")
    assert ended.code == 1
    assert last_run(cli)["error_details"]["class"] == "VendorFault"  # type: ignore[index]


def test_a_key_file_must_be_private(cli: Cli, tmp_path: Path, quiver: HTTPServer) -> None:
    key = d.write(tmp_path / "key", "s3cret\n")
    key.chmod(0o644)
    assert cli("fetch", "congress", QUIVER_API_KEY_FILE=str(key)).code == 4
    key.chmod(0o600)
    quiver.expect_request(PATH, headers={"Authorization": "Bearer s3cret"}).respond_with_json([ROW])
    assert cli("fetch", "congress", QUIVER_API_KEY_FILE=str(key)).code == 0
