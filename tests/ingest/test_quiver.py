"""QuiverQuant's API on loopback: its real shapes, and every reason not to trust an answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests import disclosures as d
from tests.conftest import Cli
from tradelog.domain import clock

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


def last_run(cli: Cli) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(cli("runs", "--json").out)["runs"][0]
    return result


def test_fetches_with_the_key_and_logs_the_call_without_it(cli: Cli, quiver: HTTPServer) -> None:
    quiver.expect_oneshot_request(
        PATH, headers={"Authorization": "Bearer s3cret", "Accept": "application/json"}
    ).respond_with_json([ROW])
    ended = cli("fetch", "congress", QUIVER_API_KEY="s3cret")
    assert ended.code == 0, ended.err
    run = last_run(cli)
    assert (run["status"], run["records_created"], run["data_date_end"]) == ("completed", 1, "2025-01-21")
    call = run["api_calls"][0]
    assert (call["status"], call["records"]) == (200, 1)
    assert call["headers"]["date"].endswith("GMT")
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
        (429, "{}", "Throttled", 1, "wait of 700 s"),
        (500, '"unsupported operand type(s)"', "VendorFault", 1, "unsupported operand"),
        (404, "<html>no</html>", "VendorFault", 1, "404"),
        (302, "", "VendorFault", 1, "redirects"),
        (200, "<html>maintenance</html>", "UnexpectedType", 1, "HTML"),
        (200, '"unsupported operand"', "VendorFault", 1, "text instead of rows"),
        (200, '{"detail":"x"}', "UnexpectedType", 1, "no JSON array"),
        (200, '[{"Representative": "x"', "UnexpectedType", 1, "truncated"),
        (200, '[{"Name": "x", "Other": 1}]', "SchemaMismatch", 1, "no known form"),
        (200, "[]", "EmptyAnswer", 1, "no rows"),
        (200, json.dumps([ROW | {"ReportDate": None}] * 12), "SchemaMismatch", 1, "no ReportDate in any"),
    ],
)
def test_an_answer_not_to_be_trusted_fails_the_run(
    cli: Cli, quiver: HTTPServer, status: int, body: str, kind: str, code: int, said: str
) -> None:
    """Invariant 10: each reason has a class of its own, and none of them is zero records of success."""
    quiver.expect_request(PATH).respond_with_data(
        body, status=status, headers={"Retry-After": "700", "Location": "https://elsewhere.example"}
    )
    ended = cli("fetch", "congress", QUIVER_API_KEY="s3cret")
    assert ended.code == code
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert "s3cret" not in ended.err
    run = last_run(cli)
    assert run["status"] == "failed"
    assert run["error_details"]["class"] == kind
    # Nothing of this may pass, or only in longer than anybody waits.
    assert [call["status"] for call in run["api_calls"]] == [status]


def test_a_source_that_cannot_be_reached_is_a_vendor_fault(cli: Cli, home: Path) -> None:
    with (home / "tradelog.toml").open("a") as stream:
        stream.write('[sources.quiver]\nbase_url = "http://127.0.0.1:9"\n')
    ended = cli("fetch", "congress", QUIVER_API_KEY="s3cret")
    assert ended.code == 1
    assert last_run(cli)["error_details"]["class"] == "VendorFault"


def test_a_key_file_must_be_private(cli: Cli, tmp_path: Path, quiver: HTTPServer) -> None:
    key = d.write(tmp_path / "key", "s3cret\n")
    key.chmod(0o644)
    assert cli("fetch", "congress", QUIVER_API_KEY_FILE=str(key)).code == 4
    key.chmod(0o600)
    quiver.expect_request(PATH, headers={"Authorization": "Bearer s3cret"}).respond_with_json([ROW])
    assert cli("fetch", "congress", QUIVER_API_KEY_FILE=str(key)).code == 0


INSIDERS = "/beta/live/insiders"
ENTRY = {
    **{"Ticker": "NUS", "Date": "2026-11-10T00:00:00.000", "Name": "DOE JANE D", "AcquiredDisposedCode": "A"},
    **{"TransactionCode": "P", "Shares": 10.0, "PricePerShare": 10.35, "SharesOwnedFollowing": 42979.0},
    **{
        "fileDate": "2026-11-11T21:44:37.000",
        "officerTitle": "Chair",
        "isDirector": True,
        "isOfficer": False,
    },
    **{"isTenPercentOwner": False, "isOther": False, "directOrIndirectOwnership": "D"},
    **{"uploaded": "2026-11-11T21:45:26.820"},
}


def entry(number: int, **changes: Any) -> dict[str, Any]:
    return {**ENTRY, "Name": f"DOE NUMBER {number}", **changes}


class Insiders:
    """A paged list, newest first, that changes while it is read: ``moves`` run before each page."""

    def __init__(self, server: HTTPServer, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.moves: list[Callable[[], None]] = []
        self.asked: list[dict[str, str]] = []
        server.expect_request(INSIDERS).respond_with_handler(self.answer)

    def answer(self, request: Request) -> Response:
        self.asked.append(dict(request.args))
        if self.moves:
            self.moves.pop(0)()
        size, page = int(request.args["page_size"]), int(request.args["page"])
        return Response(
            json.dumps(self.rows[(page - 1) * size : page * size]), content_type="application/json"
        )

    def newest(self, row: dict[str, Any]) -> Callable[[], None]:
        return lambda: self.rows.insert(0, row)


def fetched(cli: Cli, *arguments: str) -> dict[str, Any]:
    ended = cli("fetch", *arguments, "--json", QUIVER_API_KEY="s3cret")
    assert ended.code == 0, ended.err
    result: dict[str, Any] = json.loads(ended.out)
    return result


@pytest.fixture
def by_quiver(quiver: HTTPServer, home: Path) -> HTTPServer:
    with (home / "tradelog.toml").open("a") as stream:
        stream.write('[sources.insider]\nuse = "quiver"\n')
    return quiver


def test_insiders_by_day_of_upload(cli: Cli, by_quiver: HTTPServer) -> None:
    """Point 6: parameters as sent, and what the source ignores of them is applied here."""
    rows = [ENTRY, entry(2, uploaded="2026-11-09T10:00:00.000"), entry(3, TransactionCode="A")]
    source = Insiders(by_quiver, rows)
    result = fetched(cli, "insider", "--since", "2026-11-10", "--until", "2026-11-11")
    assert (result["data_source"], result["records_created"]) == ("quiver-insiders", 2)
    assert {asked["uploaded"] for asked in source.asked} == {"20261110", "20261111"}
    calls = last_run(cli)["api_calls"]
    assert (calls[0]["params"]["uploaded"], calls[-1]["records"], calls[-1]["records_in_bounds"]) == (
        "20261110",
        6,
        2,
    )
    known = {row["member"]: row for row in json.loads(cli("known", "NUS", "--json").out)["versions"]}
    assert (known["DOE JANE D"]["side"], known["DOE JANE D"]["amount_low"]) == ("purchase", "103.5")
    assert (known["DOE NUMBER 3"]["side"], known["DOE NUMBER 3"]["amount_low"]) == ("award", None)
    assert known["DOE JANE D"]["filed_at"] == "2026-11-12T02:44:37.000000Z"
    assert "filed_zone_assumed" in known["DOE JANE D"]["flags"]
    again = fetched(cli, "insider", "--since", "2026-11-10", "--until", "2026-11-11")
    assert (again["records_created"], again["records_skipped"]) == (0, 2)


def test_two_insiders_of_a_ticker_day_and_side_are_two(
    cli: Cli, by_quiver: HTTPServer, tmp_path: Path
) -> None:
    """Facts, 4: a constant source id made the last one win. Titles and uploads make no versions."""
    Insiders(by_quiver, [entry(1), entry(2), entry(2)])
    assert fetched(cli, "insider", "--symbol", "nus")["records_created"] == 3
    changed = [entry(n, uploaded="2026-12-01T00:00:00", officerTitle="CFO") for n in (1, 2, 2)]
    path = d.write(tmp_path / "i.json", json.dumps(changed))
    assert fetched(cli, "insider", "--file", str(path))["records_skipped"] == 3


@pytest.mark.parametrize(
    "moves",
    [
        [],
        # A new row on top before the second page: the last of the first page comes again.
        [0, 1],
        [0, 1, 0, 0, 1],
        # It never stands still.
        [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    ],
)
def test_paging_over_a_list_that_moves(cli: Cli, by_quiver: HTTPServer, moves: list[int]) -> None:
    """Point 6: each row once, identical ones as often as they are there."""
    rows = [entry(n // 2) for n in range(1100)]
    source = Insiders(by_quiver, rows)
    source.moves = [source.newest(entry(9000 + n)) if move else lambda: None for n, move in enumerate(moves)]
    result = fetched(cli, "insider", "--symbol", "NUS")
    assert result["records_created"] >= 1100
    assert result["records_created"] <= len(source.rows)
    again = fetched(cli, "insider", "--symbol", "NUS")
    assert (again["records_created"], again["records_updated"]) == (
        len(source.rows) - result["records_created"],
        0,
    )
    assert again["records_skipped"] == result["records_created"]


def test_a_list_of_several_pages_is_read_twice_and_of_one_once(cli: Cli, by_quiver: HTTPServer) -> None:
    source = Insiders(by_quiver, [entry(n) for n in range(600)])
    fetched(cli, "insider", "--symbol", "NUS")
    assert [asked["page"] for asked in source.asked] == ["1", "2", "3"] * 2
    source.asked.clear()
    source.rows = source.rows[:10]
    fetched(cli, "insider", "--symbol", "NUS")
    assert [asked["page"] for asked in source.asked] == ["1", "2"]


def test_identical_rows_at_the_seam_of_two_pages_are_two(cli: Cli, by_quiver: HTTPServer) -> None:
    Insiders(by_quiver, [entry(n if n < 500 else n - 1) for n in range(601)])
    assert fetched(cli, "insider", "--symbol", "NUS")["records_created"] == 601


def test_a_row_that_leaves_behind_the_first_page_hides_no_other(cli: Cli, by_quiver: HTTPServer) -> None:
    source = Insiders(by_quiver, [entry(n) for n in range(1600)])
    source.moves = [lambda: None, lambda: None, lambda: source.rows.__delitem__(700)]
    assert fetched(cli, "insider", "--symbol", "NUS")["records_created"] == 1599


def test_a_source_may_make_its_pages_shorter(cli: Cli, by_quiver: HTTPServer) -> None:
    rows = [entry(n) for n in range(450)]

    def answer(request: Request) -> Response:
        page = int(request.args["page"])
        return Response(json.dumps(rows[(page - 1) * 100 : page * 100]), content_type="application/json")

    by_quiver.expect_request(INSIDERS).respond_with_handler(answer)
    assert fetched(cli, "insider", "--symbol", "NUS")["records_created"] == 450


def test_a_source_without_pages_is_fetched_once(cli: Cli, by_quiver: HTTPServer) -> None:
    by_quiver.expect_request(INSIDERS).respond_with_json([entry(n) for n in range(500)])
    assert fetched(cli, "insider", "--symbol", "NUS")["records_created"] == 500


def test_one_ticker_is_not_the_whole_history(cli: Cli, quiver: HTTPServer) -> None:
    ended = cli("fetch", "congress", "--symbol", "ORCL", "--history", QUIVER_API_KEY="k")
    assert ended.code == 2
    quiver.expect_request("/beta/historical/congresstrading/ZZZ").respond_with_json([])
    assert fetched(cli, "congress", "--symbol", "ZZZ")["records_fetched"] == 0


@pytest.mark.parametrize("key", ["two\nlines", "a b", "schlüssel"])
def test_what_is_no_key_is_not_sent(cli: Cli, quiver: HTTPServer, key: str) -> None:
    ended = cli("fetch", "congress", QUIVER_API_KEY=key)
    assert ended.code == 4
    assert key not in ended.err
    assert quiver.log == []


@pytest.mark.parametrize(
    "body",
    [
        '{"detail": "Invalid token s3cret \\ud800"}',
        '{"detail": ' + "[" * 100_000,
    ],
)
def test_a_key_that_the_vendor_repeats_is_not_kept(cli: Cli, quiver: HTTPServer, body: str) -> None:
    quiver.expect_request(PATH).respond_with_data(body, status=401, content_type="application/json")
    ended = cli("fetch", "congress", QUIVER_API_KEY="s3cret")
    assert ended.code == 4
    run = last_run(cli)
    assert (run["status"], run["error_details"]["class"]) == ("failed", "NotAuthorised")
    assert "s3cret" not in ended.err + json.dumps(run)


@pytest.mark.parametrize("charset", ["base64", "undefined", "nosuch", "utf-16"])
def test_any_charset_is_an_answer(cli: Cli, quiver: HTTPServer, charset: str) -> None:
    body = b"\xef\xbb\xbf" + json.dumps([ROW]).encode()
    quiver.expect_request(PATH).respond_with_data(body, content_type=f"application/json; charset={charset}")
    assert fetched(cli, "congress")["records_created"] == 1


def test_an_unconditional_304_is_a_vendor_fault(cli: Cli, quiver: HTTPServer) -> None:
    quiver.expect_request(PATH).respond_with_data("", status=304)
    assert "HTTP 304" in cli("fetch", "congress", QUIVER_API_KEY="k").err


V2 = {
    **{"Ticker": "ORCL", "Traded": "2025-01-21", "Transaction": "Sale", "Trade_Size_USD": "1001.0"},
    **{"Name": "Ann Example", "BioGuideID": "E000001", "Filed": "2025-02-10", "Party": "D"},
    **{
        "District": " XX04",
        "Chamber": "Representatives",
        "excess_return": "-3.37",
        "last_modified": "2025-02-11",
    },
}


def test_the_whole_history_is_one_feed_with_the_newest(cli: Cli, quiver: HTTPServer) -> None:
    """Point 3: bulk lists everything, so what it lacks is gone; its V2 rows are the V1 rows."""
    quiver.expect_request(PATH).respond_with_json([ROW, {**ROW, "Ticker": "IBM"}])
    assert fetched(cli, "congress")["records_created"] == 2
    handler = quiver.expect_oneshot_request(
        "/beta/bulk/congresstrading", query_string={"version": "V2", "nonstock": "true"}
    )
    handler.respond_with_json([V2])
    ended = cli("fetch", "congress", "--history", QUIVER_API_KEY="s3cret")
    assert ended.code == 1
    assert "listed 2 congress trade records, and now only 1" in ended.err
    quiver.expect_oneshot_request("/beta/bulk/congresstrading").respond_with_json([V2])
    result = fetched(cli, "congress", "--history", "--allow-shrink")
    assert [result[f"records_{name}"] for name in ("created", "updated", "skipped", "gone")] == [0, 0, 1, 1]
    known = json.loads(cli("known", "ORCL", "--json").out)["versions"]
    assert [row["person"] for row in known] == ["E000001"]


@pytest.mark.parametrize(
    ("bounds", "taken"),
    [
        ([], 3),
        (["--since", "2025-02-10"], 2),
        (["--until", "2025-02-10"], 2),
        (["--since", "2025-02-10", "--until", "2025-02-10"], 1),
        (["--since", "2026-01-01"], 0),
    ],
)
def test_bounds_each_alone_both_or_neither(
    cli: Cli, quiver: HTTPServer, bounds: list[str], taken: int
) -> None:
    rows = [
        {**ROW, "Ticker": f"T{n}", "ReportDate": day}
        for n, day in enumerate(("2025-02-09", "2025-02-10", "2025-03-01"))
    ]
    quiver.expect_request(PATH).respond_with_json(rows)
    assert fetched(cli, "congress", *bounds)["records_created"] == taken
    call = last_run(cli)["api_calls"][-1]
    assert (call["records"], call["records_in_bounds"]) == (3, taken)


def test_one_tickers_congress_trades(cli: Cli, quiver: HTTPServer) -> None:
    quiver.expect_oneshot_request("/beta/historical/congresstrading/ORCL").respond_with_json([ROW])
    assert fetched(cli, "congress", "--symbol", "orcl")["records_created"] == 1


def test_transient_failures_are_retried(cli: Cli, quiver: HTTPServer) -> None:
    """Point 6: through a library, Retry-After honoured, all attempts on record."""
    quiver.expect_ordered_request(PATH).respond_with_data("busy", status=503, headers={"Retry-After": "1"})
    quiver.expect_ordered_request(PATH).respond_with_data("{}", status=429, headers={"Retry-After": "1"})
    quiver.expect_ordered_request(PATH).respond_with_json([ROW])
    assert fetched(cli, "congress")["records_created"] == 1
    calls = last_run(cli)["api_calls"]
    assert [call["status"] for call in calls] == [503, 429, 200]
    for before, after in pairwise(calls):
        waited = clock.from_text(after["timestamp"]) - clock.from_text(before["timestamp"])
        assert waited.total_seconds() >= 1


def test_persistent_failures_are_tried_three_times(cli: Cli, quiver: HTTPServer) -> None:
    quiver.expect_request(PATH).respond_with_data('"unsupported operand"', status=500)
    assert cli("fetch", "congress", QUIVER_API_KEY="k").code == 1
    assert [call["status"] for call in last_run(cli)["api_calls"]] == [500] * 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Range": None, "Amount": None}, "no Range in any"),
        ({"Ticker": " "}, "no Ticker in any"),
        ({"TransactionDate": "garbage"}, "no day that can be read"),
    ],
)
def test_a_form_that_has_changed_is_seen_in_all_rows(
    cli: Cli, quiver: HTTPServer, change: dict[str, Any], said: str
) -> None:
    quiver.expect_request(PATH).respond_with_json([ROW | change] * 12)
    ended = cli("fetch", "congress", QUIVER_API_KEY="k")
    assert (ended.code, said in ended.err) == (1, True), ended.err


def test_rows_of_another_ticker_are_not_taken(cli: Cli, quiver: HTTPServer) -> None:
    """A parameter that a source does not know it ignores."""
    quiver.expect_request("/beta/historical/congresstrading/ORCL").respond_with_json(
        [ROW, ROW | {"Ticker": "IBM"}]
    )
    assert fetched(cli, "congress", "--symbol", "ORCL")["records_created"] == 1


def test_rows_that_the_vendor_moves_daily_make_no_versions(cli: Cli, quiver: HTTPServer) -> None:
    """Point 3: ExcessReturn, PriceChange, SPYChange and excess_return know the future."""
    for number in range(3):
        moved = {
            "ExcessReturn": number,
            "PriceChange": number,
            "SPYChange": number,
            "last_modified": str(number),
        }
        quiver.expect_oneshot_request(PATH).respond_with_json([ROW | moved])
        result = fetched(cli, "congress")
        assert (result["records_created"], result["records_updated"]) == (int(number == 0), 0)
    quiver.expect_oneshot_request(PATH).respond_with_json([ROW | {"Party": "R"}])
    assert fetched(cli, "congress")["records_updated"] == 1


@pytest.mark.parametrize(
    "body", ["1", "null", '[1, "x", null]', '[{"Representative": 5}]', "[[]]", '[{"a": 1}, 2]']
)
def test_odd_json_is_refused_and_not_a_fault(cli: Cli, quiver: HTTPServer, body: str) -> None:
    quiver.expect_request(PATH).respond_with_data(body, content_type="application/json")
    ended = cli("fetch", "congress", QUIVER_API_KEY="s3cret")
    assert ended.code == 1
    assert "fault of tradelog" not in ended.err
    assert last_run(cli)["status"] == "failed"
