"""SEC EDGAR: files in every form, and the live source against a stand-in that behaves like it."""

from __future__ import annotations

import json
import re
import time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests import filings as f
from tests.conftest import Cli
from tests.disclosures import write
from tradelog.config.load import load_config
from tradelog.config.schema import Config, EdgarConfig
from tradelog.errors import SchemaMismatch, SourceError, UnexpectedType
from tradelog.ingest.run import IngestionRun
from tradelog.ingest.sources import edgar as source
from tradelog.ingest.sources import listings, ownership
from tradelog.ingest.sources.base import Request as Asked
from tradelog.store.opening import open_writer
from tradelog.store.reader import Reader

ACCESSION = "0000000011-26-000001"
EVERYDAY = "0000000077-26-000001"


def rows(config: Config, kind: str = "insider_trade") -> list[dict[str, Any]]:
    with Reader(config.store_path) as reader:
        result = reader.rows(
            "SELECT v.* FROM record_versions v JOIN source_records r USING (record_id) WHERE r.kind = ?"
            " ORDER BY v.version_id",
            (kind,),
        )
    return [{**row, "flags": json.loads(row["flags"] or "[]")} for row in result]


def fetch(cli: Cli, path: Path, *more: str) -> dict[str, Any]:
    ended = cli("fetch", "insider", "--file", str(path), "--json", *more)
    assert ended.code == 0, ended.err
    result: dict[str, Any] = json.loads(ended.out)
    return result


def test_only_p_and_s_are_trades_on_the_open_market(cli: Cli, config: Config, tmp_path: Path) -> None:
    """Point 1: an award is never called a purchase, and costs nothing."""
    codes = "PSADFGMXOCEHWUKLVJIZ"
    document = f.ownership([f.line(code) for code in codes])
    assert fetch(cli, write(tmp_path / "a.txt", f.submission(document)))["records_created"] == len(codes) + 1
    result = {json.loads(row["payload"])["code"]: row for row in rows(config)}
    assert {code for code, row in result.items() if row["side"] == "purchase"} == {"P"}
    assert {code for code, row in result.items() if row["side"] == "sale"} == {"S"}
    assert result["A"]["side"] == "award"
    assert {code for code, row in result.items() if row["amount_low"] is not None} == {"P", "S"}
    assert (result["P"]["amount_low"], result["P"]["amount_high"]) == ("1025", "1025")
    assert json.loads(result["P"]["payload"])["notes"] == {"F1": "An average price."}


def test_a_purchase_of_an_option_is_no_trade_in_the_share(cli: Cli, config: Config, tmp_path: Path) -> None:
    document = f.ownership([], [f.line("P", derivative=True)])
    fetch(cli, write(tmp_path / "a.txt", f.submission(document)))
    assert rows(config) == []
    assert [row["side"] for row in rows(config, "insider_derivative")] == ["derivative purchase"]


def test_accession_table_and_line_make_the_identity(cli: Cli, config: Config, tmp_path: Path) -> None:
    """Point 1: the same in each form of the file; identical lines are two; owners are a list."""
    two = f.ownership([f.line(), f.line(), f.HOLDING], owners=[("11", "Doe Jane"), ("12", "Doe Trust")])
    assert fetch(cli, write(tmp_path / "a.txt", f.submission(two)))["records_created"] == 4
    for name, text in (("a.nc", f.pds(two)), (f"{ACCESSION}.xml", two)):
        again = fetch(cli, write(tmp_path / name, text))
        assert (again["records_created"], again["records_updated"], again["records_skipped"]) == (0, 0, 4)
    result = rows(config)
    assert [row["actor"] for row in result] == ["Doe Jane; Doe Trust"] * 2
    assert len(json.loads(result[0]["payload"])["owners"]) == 2
    assert "several_owners" in result[0]["flags"]
    assert len(rows(config, "insider_holding")) == 1
    assert {row["document"] for row in result} == {ACCESSION}


def test_acceptance_is_eastern_time_and_a_bare_date_the_end_of_its_day(
    cli: Cli, config: Config, tmp_path: Path
) -> None:
    fetch(cli, write(tmp_path / "a.txt", f.submission(f.ownership())))
    fetch(cli, write(tmp_path / "b.nc", f.pds(f.ownership(), "0000000011-26-000002")))
    fetch(cli, write(tmp_path / "c.xml", f.ownership(symbol="NYSE: XYZ")))
    one, two, three = rows(config)
    assert one["filed_at"] == "2026-11-20T23:30:57.000000Z"
    assert two["filed_at"] == "2026-11-21T05:00:00.000000Z"
    assert (three["filed_at"], three["symbol"]) == (None, "XYZ")
    assert {"no_accession", "no_filed_date"} <= set(three["flags"])


@pytest.mark.parametrize(
    ("price", "flag"),
    [
        ("<footnoteId id='F1'/>", "price_in_footnote"),
        ("<value></value>", "unknown_amount"),
        ("<value>0</value>", "unknown_amount"),
        ("<value>n/a</value>", "unknown_amount"),
        ("", "unknown_amount"),
    ],
)
def test_a_price_that_is_not_there_is_not_made_up(
    cli: Cli, config: Config, tmp_path: Path, price: str, flag: str
) -> None:
    fetch(cli, write(tmp_path / "a.txt", f.submission(f.ownership([f.line(price=price)]))))
    (row,) = rows(config)
    assert row["amount_low"] is None
    assert flag in row["flags"]


@pytest.mark.parametrize(("told", "is_plan"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_a_trade_under_a_plan_is_marked(
    cli: Cli, config: Config, tmp_path: Path, told: str, is_plan: bool
) -> None:
    fetch(cli, write(tmp_path / "a.txt", f.submission(f.ownership(plan=told))))
    assert ("10b5_1_plan" in rows(config)[0]["flags"]) == is_plan


def test_an_amendment_leads_to_what_it_amends(cli: Cli, config: Config, tmp_path: Path) -> None:
    """Point 3: by issuer, owners and the day of the original, which is what the filing says."""
    first = f.submission(f.ownership(), accepted="20261118120000")
    other = f.submission(f.ownership(owners=[("13", "Poe Edgar")]), "0000000013-26-000009", "20261118120000")
    amended = f.ownership([f.line(shares="<value>90</value>")], form="4/A", original="2026-11-18")
    for name, text in (("a", first), ("b", other), ("c", f.submission(amended, "0000000011-26-000007"))):
        fetch(cli, write(tmp_path / name, text))
    known = json.loads(cli("known", "ABC", "--json").out)["versions"]
    by_document = {row["document"]: row for row in known if row["side"] == "purchase"}
    assert by_document["0000000011-26-000007"]["amends"] == [ACCESSION]
    assert by_document[ACCESSION]["amended_by"] == ["0000000011-26-000007"]
    assert by_document["0000000013-26-000009"]["amended_by"] == []
    assert f"amends {ACCESSION}" in cli("known", "ABC").out


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<html><body>busy</body></html>", SchemaMismatch),
        ("<ownershipDocument><documentType>4</documentType></ownershipDocument>", SchemaMismatch),
        (f.ownership()[:-40], UnexpectedType),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><ownershipDocument>&a;</ownershipDocument>", UnexpectedType),
    ],
)
def test_what_is_no_filing_is_refused(text: str, kind: type[SourceError]) -> None:
    with pytest.raises(kind):
        list(ownership.read_many(text, "x.xml"))


def test_each_form_of_an_index_lists_each_filing_once(cli: Cli, config: Config, tmp_path: Path) -> None:
    """Facts: a filing is listed for every entity in it; type 4 also matches 424B2 and 40-APP."""
    listed = [
        ("4", "ABC Corp", "99", ACCESSION),
        ("4", "Doe Jane", "11", ACCESSION),
        ("4/A", "ABC Corp", "99", "0000000011-26-000002"),
        ("424B2", "A Bank", "7", "0000000007-26-000001"),
        ("40-APP", "A Fund", "8", "0000000008-26-000001"),
        ("SC 13D/A", "36Kr Holdings Inc.", "9", "0000000009-26-000001"),
    ]
    by_form = f.form_index(listed)
    by_company = by_form.replace("by Form Type", "by Company Name").splitlines()
    by_company[4:] = [
        f"{name:<61} {form:<11} {cik:<11} 20261120    edgar/data/{cik}/{accession}.txt"
        for form, name, cik, accession in listed
    ]
    master = by_form.replace("by Form Type", "by CIK").splitlines()
    master[4:] = [f"{cik}|{name}|{form}|20261120|edgar/data/{cik}/{a}.txt" for form, name, cik, a in listed]
    assert fetch(cli, write(tmp_path / "form.idx", by_form))["records_created"] == 2
    for lines in (by_company, master):
        again = fetch(cli, write(tmp_path / "x.idx", "\n".join(lines) + "\n"))
        assert (again["records_created"], again["records_updated"], again["records_skipped"]) == (0, 0, 2)
    row = next(row for row in rows(config, "insider_filing_listing") if row["document"] == ACCESSION)
    assert row["actor"] == "ABC Corp; Doe Jane"
    assert row["filed_at"] == "2026-11-21T05:00:00.000000Z"


def test_the_latest_feed_and_one_entitys_submissions(cli: Cli, config: Config, tmp_path: Path) -> None:
    entry = (
        "<entry><title>{form} - {name} ({cik}) ({role})</title>"
        "<summary type='html'>&lt;b&gt;Filed:&lt;/b&gt; 2026-11-20</summary>"
        "<updated>2026-11-20T18:02:43-05:00</updated><category term='{form}'/>"
        "<id>urn:tag:sec.gov,2008:accession-number={accession}</id></entry>"
    )
    told = [
        ("4", "Doe Jane", "0000000011", "Reporting"),
        ("4", "ABC (Holdings) Corp", "0000000099", "Issuer"),
    ]
    body = "".join(
        entry.format(form=form, name=name, cik=cik, role=role, accession=ACCESSION)
        for form, name, cik, role in [*told, ("424B2", "A Bank", "0000000007", "Filer")]
    )
    atom = f"<feed xmlns='http://www.w3.org/2005/Atom'>{body}</feed>"
    assert fetch(cli, write(tmp_path / "feed.xml", atom))["records_created"] == 1
    table = "page,form,accession,filed,updated,role,cik,name,index_url\n" + "".join(
        f"0,{form},{ACCESSION},2026-11-20,2026-11-20T18:02:43-05:00,{role},{cik},{name},x\n"
        for form, name, cik, role in told
    )
    assert fetch(cli, write(tmp_path / "feed.csv", table))["records_skipped"] == 1
    answer = f.submissions([(ACCESSION, "4", "2026-11-20", "2026-11-20T23:02:43.000Z")])
    assert fetch(cli, write(tmp_path / "s.json", json.dumps(answer)))["records_created"] == 1
    result = rows(config, "insider_filing_listing")
    assert [row["filed_at"] for row in result] == ["2026-11-20T23:02:43.000000Z"] * 2
    with pytest.raises(SchemaMismatch):
        listings.read_submissions({"filings": {"recent": {"form": ["4"]}}}, "x")


@given(st.text(max_size=40))
def test_any_symbol_of_a_filing_is_a_ticker_or_none(text: str) -> None:
    result = ownership.symbol(text)
    assert result is None or (result == result.strip().upper() and " " not in result)


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ("abc", "ABC"),
        ("NYSE:X", "X"),
        ("NONE", None),
        ("N/A", None),
        ("GOOG, GOOGL", None),
        ("BRK.B", "BRK.B"),
    ],
)
def test_symbols_as_issuers_write_them(given_: str, wanted: str | None) -> None:
    assert ownership.symbol(given_) == wanted


class Edgar:
    """A stand-in for sec.gov and data.sec.gov that counts what it is asked."""

    def __init__(self, server: HTTPServer) -> None:
        self.server = server
        self.indexes: dict[str, str] = {}
        self.documents: dict[str, str] = {}
        self.answers: dict[str, tuple[int, str]] = {}
        self.asked: list[str] = []
        self.times: list[float] = []
        self.agents: set[str] = set()
        # Whether days without an index of their own have one that lists a filing of every day.
        self.everyday = False
        self.validators = False
        server.expect_request(re.compile(".*")).respond_with_handler(self.answer)

    def answer(self, request: Request) -> Response:
        self.asked.append(request.path)
        self.times.append(time.monotonic())
        self.agents.add(request.headers.get("User-Agent", ""))
        if request.path in self.answers:
            status, body = self.answers[request.path]
            return Response(body, status, content_type="text/html")
        if "/daily-index/" in request.path:
            day = request.path[-12:-4]
            if day not in self.indexes and self.everyday:
                self.documents[f"/Archives/edgar/data/99/{EVERYDAY}.txt"] = f.submission(
                    f.ownership(), EVERYDAY
                )
                return Response(f.form_index([("4", "ABC Corp", "99", EVERYDAY)], day))
            if day not in self.indexes:
                return Response("<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", 403)
            response = Response(self.indexes[day])
            if self.validators:
                response.set_etag(day + str(len(self.indexes[day])))
                return response.make_conditional(request)
            return response
        result = self.documents.get(request.path)
        return Response("Not Found", 404) if result is None else Response(result)

    def documents_asked(self) -> list[str]:
        documents = [path for path in self.asked if path.startswith("/Archives/edgar/data/")]
        return [path for path in documents if EVERYDAY not in path]


@pytest.fixture
def edgar(home: Path, httpserver: HTTPServer) -> Edgar:
    with (home / "tradelog.toml").open("a") as stream:
        stream.write(
            '[sources.sec-edgar]\ncontact = "Test t@example.org"\ntimeout_seconds = 5\n'
            f'base_url = "{httpserver.url_for("")}"\ndata_url = "{httpserver.url_for("")}"\n'
        )
    return Edgar(httpserver)


def fetch_live(config: Config, symbol: str | None = None) -> int:
    """How much a plain fetch creates, in this process, whose clock a test can hold."""
    settings = load_config(config.path).sources.settings("sec-edgar", EdgarConfig)
    writer = open_writer(config.store_path)
    total = 0
    for part in source.parts(writer, Asked("insider", settings, symbol=symbol)):
        params = {"symbol": symbol} if symbol else {"until": str(part.until), "goes_on": part.goes_on}
        with IngestionRun(writer, "data_fetch:insider", "sec-edgar", params) as run:
            source.fetch(run, part)
        total += run.counts.created
    writer.close()
    return total


def listed_day(edgar: Edgar, day: str, count: int) -> None:
    told = []
    for number in range(count):
        accession = f"0000000011-26-{day[4:]}{number:02d}"
        told += [("4", "ABC Corp", "99", accession), ("4", "Doe Jane", "11", accession)]
        edgar.documents[f"/Archives/edgar/data/99/{accession}.txt"] = f.submission(f.ownership(), accession)
    edgar.indexes[day] = f.form_index(told, day)


def call(edgar_cli: Cli, *arguments: str) -> dict[str, Any]:
    ended = edgar_cli("fetch", "insider", "--json", *arguments)
    assert ended.code == 0, ended.err
    result: dict[str, Any] = json.loads(ended.out)
    return result


def test_a_second_fetch_makes_index_calls_only(cli: Cli, edgar: Edgar) -> None:
    """Point 6: what is held is not downloaded again."""
    listed_day(edgar, "20261119", 2)
    listed_day(edgar, "20261120", 1)
    first = call(cli, "--since", "2026-11-19", "--until", "2026-11-22")
    assert first["records_created"] == 6
    assert len(edgar.documents_asked()) == 3
    assert edgar.agents == {"Test t@example.org"}
    edgar.asked.clear()
    again = call(cli, "--since", "2026-11-19", "--until", "2026-11-22")
    assert (again["records_created"], again["records_skipped"]) == (0, 3)
    assert edgar.asked == [f"/Archives/edgar/daily-index/2026/QTR4/form.202611{day}.idx" for day in (19, 20)]
    run = json.loads(cli("runs", "--json").out)["runs"][0]
    assert run["params"] == {"source": "sec-edgar", "since": "2026-11-19", "until": "2026-11-20"}
    assert [item["records"] for item in run["api_calls"]] == [2, 1]


def test_ten_requests_a_second_at_most(cli: Cli, edgar: Edgar) -> None:
    listed_day(edgar, "20261120", 13)
    call(cli, "--since", "2026-11-20", "--until", "2026-11-20")
    assert len(edgar.times) == 14
    assert all(later - first >= 1.0 for first, later in zip(edgar.times, edgar.times[10:], strict=False)), (
        edgar.times
    )


def test_a_failed_document_is_fetched_again_next_time(cli: Cli, edgar: Edgar) -> None:
    listed_day(edgar, "20261120", 3)
    paths = sorted(edgar.documents)
    lost = edgar.documents.pop(paths[0])
    broken, edgar.documents[paths[1]] = edgar.documents[paths[1]], f.submission("<XML>?</XML>")
    first = call(cli, "--since", "2026-11-20", "--until", "2026-11-20")
    assert (first["records_created"], first["records_quarantined"]) == (2, 2)
    assert "not there" in cli("show", first["run_id"]).out or "404" in cli("show", first["run_id"]).out
    edgar.documents[paths[0]], edgar.documents[paths[1]] = lost, broken
    edgar.asked.clear()
    again = call(cli, "--since", "2026-11-20", "--until", "2026-11-20")
    assert again["records_created"] == 4
    assert edgar.documents_asked() == paths[:2]


def test_pending_documents_are_fetched_after_their_day(config: Config, edgar: Edgar) -> None:
    """A filing that was not there for days is not forgotten when its index is no longer asked for."""
    listed_day(edgar, "20261110", 1)
    (path,) = edgar.documents
    lost = edgar.documents.pop(path)
    edgar.everyday = True
    for day, created in ((11, 2), (17, 0), (20, 0), (23, 2)):
        if day == 23:
            edgar.documents[path] = lost
        with freeze_time(f"2026-11-{day}T15:00:00Z"):
            assert fetch_live(config) == created
    with freeze_time("2026-11-24T15:00:00Z"):
        edgar.asked.clear()
        fetch_live(config)
    assert edgar.documents_asked() == []


def test_a_row_of_documents_that_cannot_be_had_is_no_accident(cli: Cli, edgar: Edgar) -> None:
    listed_day(edgar, "20261120", 8)
    for path in edgar.documents:
        edgar.answers[path] = (200, "<html>maintenance</html>")
    ended = cli("fetch", "insider", "--since", "2026-11-20", "--until", "2026-11-20")
    assert ended.code == 1
    assert len(edgar.documents_asked()) == 5
    run = json.loads(cli("runs", "--json").out)["runs"][0]
    assert run["error_details"]["class"] == "UnexpectedType"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"filings": None}, SchemaMismatch),
        ({"filings": []}, SchemaMismatch),
        ({"filings": {"recent": {"form": "4"}}}, SchemaMismatch),
    ],
)
def test_submissions_of_another_shape_are_refused(change: dict[str, Any], kind: type[SourceError]) -> None:
    with pytest.raises(kind):
        listings.submissions({**f.submissions([]), **change}, "x")


@pytest.mark.parametrize(
    "row",
    [
        (None, "4", "2026-11-20", "2026-11-20T23:30:57.000Z"),
        (ACCESSION, ["4"], "2026-11-20", "2026-11-20T23:30:57.000Z"),
        ("garbage", "4", "2026-11-20", "2026-11-20T23:30:57.000Z"),
        (ACCESSION, "4", "9999-12-31", "9999-12-31T23:30:57.000Z"),
        (ACCESSION, "4", "0001-01-01", ""),
        (ACCESSION, "4", "", ""),
    ],
)
def test_a_submission_that_is_none_costs_itself(cli: Cli, tmp_path: Path, row: Any) -> None:
    good = ("0000000011-26-000002", "4", "2026-11-20", "2026-11-20T23:30:57.000Z")
    result = fetch(cli, write(tmp_path / "s.json", json.dumps(f.submissions([row, good]))))
    assert (result["records_created"], result["records_quarantined"]) == (1, 1)


@pytest.mark.parametrize("cut", [1, 3, 20, 60])
def test_a_list_that_was_cut_is_not_whole(cli: Cli, tmp_path: Path, cut: int) -> None:
    index = f.form_index([("4", "ABC Corp", "99", ACCESSION)] * 2)
    ended = cli("fetch", "insider", "--file", str(write(tmp_path / "form.idx", index[:-cut])))
    assert (ended.code, "truncated" in ended.err) == (1, True)
    table = (
        "form,accession,filed,updated,cik,name\n"
        + f"4,{ACCESSION},2026-11-20,x,99,ABC Corp of Longname\n" * 2
    )
    ended = cli("fetch", "insider", "--file", str(write(tmp_path / "feed.csv", table[: -1 - cut])))
    # Without its last row, the table ends as a whole one does.
    assert ended.code == (0 if cut == 60 else 1), ended.err


@pytest.mark.parametrize(
    ("line", "is_bad"),
    [
        (
            "4                 ABC Corp       99          2022100X    edgar/data/99/0000000011-26-000002.txt",
            True,
        ),
        (
            "4                 ABC Corp       99          20229999    edgar/data/99/0000000011-26-000002.txt",
            True,
        ),
        (
            "4                 ABC Corp       99          99991231    edgar/data/99/0000000011-26-000002.txt",
            True,
        ),
        (
            "8-K               ABC Corp       99          20261120    edgar/data/99/0000000011-26-000002.txt",
            False,
        ),
        ("what is this", True),
    ],
)
def test_a_line_of_an_index_that_is_none_is_kept_apart(
    cli: Cli, tmp_path: Path, line: str, is_bad: bool
) -> None:
    index = f.form_index([("4", "ABC Corp", "99", ACCESSION)]) + line + "\n"
    result = fetch(cli, write(tmp_path / "form.idx", index))
    assert (result["records_created"], result["records_quarantined"]) == (1, int(is_bad))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("<rptOwnerCik>0000000011</rptOwnerCik>", "", "does not name"),
        ("<issuerCik>0000000099</issuerCik>", "", "does not name"),
        ("<rptOwnerName>Doe Jane</rptOwnerName>", "", "does not name"),
        ("<documentType>4</documentType>", "<documentType>13D</documentType>", "no Form 3, 4 or 5"),
        ("</XML>", "", "has no end"),
    ],
)
def test_a_filing_that_does_not_name_its_people_is_refused(
    cli: Cli, tmp_path: Path, before: str, after: str, said: str
) -> None:
    text = f.submission(f.ownership())
    assert before in text
    ended = cli("fetch", "insider", "--file", str(write(tmp_path / "a.txt", text.replace(before, after))))
    assert ended.code == 1
    assert said in ended.err


def test_a_second_table_of_a_kind_is_read_on(cli: Cli, config: Config, tmp_path: Path) -> None:
    text = f.ownership([f.line()]).replace(
        "<derivativeTable>", f"<nonDerivativeTable>{f.line('S')}</nonDerivativeTable><derivativeTable>"
    )
    fetch(cli, write(tmp_path / "a.txt", f.submission(text)))
    assert [row["side"] for row in rows(config)] == ["purchase", "sale"]


@pytest.mark.parametrize(
    "name", [f"{ACCESSION}.xml", "000000001126000001.xml", "000000001126000001/form4.xml"]
)
def test_a_bare_document_is_known_by_its_path(cli: Cli, tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    fetch(cli, write(tmp_path / name, f.ownership()))
    # The submission adds what the document alone does not say: when it was filed.
    again = fetch(cli, write(tmp_path / "a.txt", f.submission(f.ownership())))
    assert (again["records_created"], again["records_updated"]) == (0, 2)
    assert "2026-11-20" in cli("known", "ABC", "--as-filed").out
    assert fetch(cli, write(tmp_path / "b.nc", f.pds(f.ownership())))["records_skipped"] == 2


@pytest.mark.parametrize("stamp", ["20260299120000", "99991231235959", "00010101000000"])
def test_an_impossible_time_of_acceptance_leaves_the_day(
    cli: Cli, config: Config, tmp_path: Path, stamp: str
) -> None:
    text = f.submission(f.ownership()).replace("20261120183057", stamp)
    fetch(cli, write(tmp_path / "a.txt", text))
    assert rows(config)[0]["filed_at"] == "2026-11-21T05:00:00.000000Z"


@pytest.mark.parametrize(
    ("shares", "price"),
    [("-10", "5"), ("10", "-5"), ("1e18", "1e18"), ("x", "1"), ("", "")],
)
def test_no_sum_is_made_of_what_is_none(shares: str, price: str) -> None:
    assert ownership.product(shares, price) is None


@given(
    st.decimals(min_value=0, max_value=10**8, places=9, allow_nan=False),
    st.decimals(min_value=0, max_value=10**6, places=9, allow_nan=False),
)
def test_a_sum_is_exact(shares: Decimal, price: Decimal) -> None:
    result = ownership.product(f"{shares:f}", f"{price:f}")
    assert result is None or Fraction(result) == Fraction(shares) * Fraction(price)


def test_one_tickers_submissions(cli: Cli, edgar: Edgar, config: Config) -> None:
    edgar.documents["/files/company_tickers.json"] = json.dumps(
        {"0": {"cik_str": 99, "ticker": "ABC", "title": "ABC Corp"}}
    )
    answer = f.submissions(
        [
            (ACCESSION, "4", "2026-11-20", "2026-11-20T23:30:57.000Z"),
            ("0000000011-26-000002", "8-K", "2026-11-19", "2026-11-19T23:30:57.000Z"),
            ("0000000011-26-000003", "4", "2026-11-01", "2026-11-01T23:30:57.000Z"),
        ]
    )
    edgar.documents["/submissions/CIK0000000099.json"] = json.dumps(answer)
    for accession in (ACCESSION, "0000000011-26-000003"):
        path = f"/Archives/edgar/data/99/{accession.replace('-', '')}/doc.xml"
        edgar.documents[path] = f.ownership()
    assert call(cli, "--symbol", "abc", "--since", "2026-11-10")["records_created"] == 2
    assert rows(config)[0]["filed_at"] == "2026-11-20T23:30:57.000000Z"
    assert call(cli, "--symbol", "ABC")["records_created"] == 2
    assert len(edgar.documents_asked()) == 2
    ended = cli("fetch", "insider", "--symbol", "NOPE")
    assert ended.code == 3
    assert "no company with the ticker NOPE" in ended.err


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "said"),
    [
        (403, "<html>Request Rate Threshold Exceeded</html>", "Throttled", 1, "ten minutes"),
        (403, "<html>Undeclared Automated Tool</html>", "NotAuthorised", 4, "contact"),
        (200, "<html>maintenance</html>", "UnexpectedType", 1, "HTML"),
        (200, "nothing here", "SchemaMismatch", 1, "no EDGAR index"),
        (200, f.form_index([("8-K", "ABC", "9", ACCESSION)]), "EmptyAnswer", 1, "no Form 4"),
    ],
)
def test_an_index_not_to_be_trusted_fails_the_run(
    cli: Cli, edgar: Edgar, status: int, body: str, kind: str, code: int, said: str
) -> None:
    edgar.answers["/Archives/edgar/daily-index/2026/QTR4/form.20261120.idx"] = (status, body)
    ended = cli("fetch", "insider", "--since", "2026-11-20", "--until", "2026-11-20")
    assert (ended.code, said in ended.err) == (code, True), ended.err
    run = json.loads(cli("runs", "--json").out)["runs"][0]
    assert (run["status"], run["error_details"]["class"]) == ("failed", kind)
    assert len(run["api_calls"]) == 1


def test_days_without_an_index_are_normal_a_week_of_them_is_not(cli: Cli, edgar: Edgar) -> None:
    assert call(cli, "--since", "2026-11-21", "--until", "2026-11-22")["records_fetched"] == 0
    assert call(cli, "--since", "2026-11-20", "--until", "2026-11-20")["records_fetched"] == 0
    ended = cli("fetch", "insider", "--since", "2026-11-09", "--until", "2026-11-13")
    assert ended.code == 1
    assert "no daily index for 3 working days" in ended.err


def test_a_completed_week_stays_when_the_next_fails(cli: Cli, edgar: Edgar) -> None:
    """A long fetch is a run a week: one that fails, or is stopped, takes no other along."""
    edgar.everyday = True
    for day in ("20261105", "20261112", "20261119"):
        listed_day(edgar, day, 1)
    edgar.answers["/Archives/edgar/daily-index/2026/QTR4/form.20261112.idx"] = (200, "<html>busy</html>")
    arguments = ("fetch", "insider", "--since", "2026-11-02", "--until", "2026-11-20")
    ended = cli(*arguments)
    assert ended.code == 1
    assert "4 created" in ended.out
    edgar.answers.clear()
    edgar.asked.clear()
    result = json.loads(cli(*arguments, "--json").out)["runs"]
    assert [run["records_created"] for run in result] == [0, 2, 2]
    assert len(edgar.documents_asked()) == 2
    listed = json.loads(cli("runs", "--json").out)["runs"]
    assert [run["status"] for run in listed] == ["completed"] * 3 + ["failed", "completed"]
    assert listed[0]["params"] == {"source": "sec-edgar", "since": "2026-11-16", "until": "2026-11-20"}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (403, "<html>Access Denied</html>", "VendorFault"),
        (404, "<html>Not Found</html>", "EmptyAnswer"),
        (200, f.form_index([]) + "nothing that is a line\n" * 5, "SchemaMismatch"),
    ],
)
def test_a_source_without_any_index_is_no_quiet_week(
    cli: Cli, edgar: Edgar, status: int, body: str, kind: str
) -> None:
    """Point 2: a plain fetch, as cron makes it, against an address that is wrong or blocks us."""
    edgar.answer = lambda request: Response(body, status, content_type="text/html")  # type: ignore[method-assign]
    edgar.server.clear()
    edgar.server.expect_request(re.compile(".*")).respond_with_handler(edgar.answer)
    assert cli("fetch", "insider", "--quiet").code == 1
    run = json.loads(cli("runs", "--json").out)["runs"][0]
    assert (run["status"], run["error_details"]["class"]) == ("failed", kind)


@pytest.mark.parametrize("body", ["<html>Access Denied</html>", "<other/>"])
def test_nothing_of_several_filings_is_no_success(cli: Cli, edgar: Edgar, body: str) -> None:
    listed_day(edgar, "20261120", 3)
    for path in edgar.documents:
        edgar.answers[path] = (200, body)
    assert cli("fetch", "insider", "--since", "2026-11-20", "--until", "2026-11-20").code == 1


def test_one_filing_that_fails_for_good_stops_no_other(cli: Cli, edgar: Edgar) -> None:
    listed_day(edgar, "20261120", 4)
    last = sorted(edgar.documents)[-1]
    edgar.answers[last] = (503, "busy")
    result = call(cli, "--since", "2026-11-20", "--until", "2026-11-20")
    assert (result["records_created"], result["records_quarantined"]) == (6, 1)
    assert edgar.documents_asked().count(last) == 3


def test_an_index_that_has_not_changed_is_not_sent_again(cli: Cli, edgar: Edgar) -> None:
    """Point 6: ETag where it is offered, unless a filing of that day is still owed."""
    edgar.validators = True
    listed_day(edgar, "20261120", 2)
    arguments = ("--since", "2026-11-20", "--until", "2026-11-20")
    path = sorted(edgar.documents)[0]
    lost = edgar.documents.pop(path)
    assert call(cli, *arguments)["records_quarantined"] == 1
    edgar.documents[path] = lost
    assert call(cli, *arguments)["records_created"] == 2
    assert call(cli, *arguments)["records_fetched"] == 0
    assert json.loads(cli("runs", "--json").out)["runs"][0]["api_calls"][0]["status"] == 304


@pytest.mark.parametrize(
    ("bounds", "created"),
    [((), 2), (("--until", "2016-01-01"), 2), (("--since", "2015-01-01"), 4), (("--since", "2026-01-01"), 2)],
)
def test_older_parts_of_a_tickers_submissions(
    cli: Cli, edgar: Edgar, bounds: tuple[str, ...], created: int
) -> None:
    older = f.submissions([("0000000011-15-000009", "4", "2015-06-01", "2015-06-01T20:00:00.000Z")])
    whole = f.submissions([(ACCESSION, "4", "2026-11-20", "2026-11-20T23:30:57.000Z")])
    name = "CIK0000000099-submissions-001.json"
    whole["filings"]["files"] = [{"name": name, "filingFrom": "2010-01-01", "filingTo": "2016-12-31"}, 5]
    edgar.documents["/files/company_tickers.json"] = '{"0": {"cik_str": 99, "ticker": "ABC"}}'
    edgar.documents["/submissions/CIK0000000099.json"] = json.dumps(whole)
    edgar.documents[f"/submissions/{name}"] = json.dumps(older["filings"]["recent"])
    for accession in (ACCESSION, "0000000011-15-000009"):
        edgar.documents[f"/Archives/edgar/data/99/{accession.replace('-', '')}/doc.xml"] = f.ownership()
    assert call(cli, "--symbol", "ABC", *bounds)["records_created"] == created


def test_without_a_contact_no_request_is_made(cli: Cli, home: Path, httpserver: HTTPServer) -> None:
    text = f'[sources.sec-edgar]\nbase_url = "{httpserver.url_for("")}"\ncontact = "nobody"\n'
    with (home / "tradelog.toml").open("a") as stream:
        stream.write(text)
    ended = cli("fetch", "insider")
    assert ended.code == 4
    assert "contact" in ended.err
    assert httpserver.log == []


def test_a_fetch_goes_on_where_the_last_one_left_off(config: Config, edgar: Edgar) -> None:
    for day in ("20261110", "20261124"):
        listed_day(edgar, day, 1)

    def fetch_now(symbol: str | None = None) -> list[str]:
        edgar.asked.clear()
        fetch_live(config, symbol)
        return [path[-12:-4] for path in edgar.asked if "daily-index" in path]

    edgar.everyday = True
    edgar.documents["/files/company_tickers.json"] = '{"0": {"cik_str": 99, "ticker": "ABC"}}'
    edgar.documents["/submissions/CIK0000000099.json"] = json.dumps(f.submissions([]))
    with freeze_time("2026-11-12T15:00:00Z"):
        assert fetch_now() == ["20261109", "20261110", "20261111", "20261112"]
    with freeze_time("2026-11-24T15:00:00Z"):
        assert fetch_now("ABC") == []
    with freeze_time("2026-11-25T15:00:00Z"):
        days = (9, 10, 11, 12, 13, 16, 17, 18, 19, 20, 23, 24, 25)
        assert fetch_now() == [f"202611{day:02d}" for day in days]
