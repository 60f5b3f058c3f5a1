"""Filings of Congress: the House Clerk's index in three forms, Senate reports and their amendments."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests import disclosures as d
from tests.conftest import Cli
from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.ingest.identity import Record
from tradelog.ingest.run import IngestionRun
from tradelog.report.known import known
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer

INDEX = [
    ("Hon.", "Sample", "Ann", "", "P", "XX01", "2021", "2/22/2021", "20018000"),
    ("", "Example", "Bo", "Jr", "P", "XX02", "2021", "5/14/2021", "8217000"),
    ("", "(Everett", "Cy", "", "C", "XX03", "2021", "", "10039551"),
    ("", "Twin", "Di", "", "A", "XX04", "2021", "6/1/2021", "10027462"),
    ("", "Twin", "Di", "", "A", "XX04", "2021", "6/1/2021", "10027462"),
]
NAMES = ("Prefix", "Last", "First", "Suffix", "FilingType", "StateDst", "Year", "FilingDate", "DocID")


def as_xml(rows: list[tuple[str, ...]] = INDEX) -> bytes:
    members = "".join(
        "<Member>"
        + "".join(f"<{n}>{v}</{n}>" if v else f"<{n} />" for n, v in zip(NAMES, row, strict=True))
        + "</Member>"
        for row in rows
    )
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<FinancialDisclosure>{members}</FinancialDisclosure>'
    return b"\xef\xbb\xbf" + text.encode()


def as_txt(rows: list[tuple[str, ...]] = INDEX) -> bytes:
    return "\r\n".join("\t".join(row) for row in [NAMES, *rows]).encode() + b"\r\n"


def as_zip(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, body in members.items():
            archive.writestr(name.replace("_", "."), body)
    return data.getvalue()


def fetch(cli: Cli, path: Path, *more: str, code: int = 0) -> dict[str, Any]:
    ended = cli("fetch", "congress", "--file", str(path), "--json", *more)
    assert ended.code == code, ended.err
    return json.loads(ended.out) if code == 0 else {"error": ended.err}


def test_the_index_is_one_feed_in_each_of_its_forms(cli: Cli, config: Config, tmp_path: Path) -> None:
    first = fetch(cli, d.write(tmp_path / "2021FD.xml", as_xml()))
    assert (first["data_source"], first["records_created"]) == ("house-clerk", 5)
    archive = as_zip(**{"2021FD_txt": as_txt(), "2021FD_xml": as_xml()})
    for name, data in (("2021FD.txt", as_txt()), ("2021FD.ZIP", archive)):
        again = fetch(cli, d.write(tmp_path / name, data))
        assert (again["records_created"], again["records_updated"], again["records_skipped"]) == (0, 0, 5)
    with Reader(config.store_path) as reader:
        result = {row["document"]: row for row in reader.rows("SELECT * FROM record_versions")}
    assert (result["20018000"]["actor"], result["20018000"]["filed_at"]) == (
        "Hon. Ann Sample",
        "2021-02-23T05:00:00.000000Z",
    )
    flags = {document: json.loads(row["flags"] or "[]") for document, row in result.items()}
    assert (flags["20018000"], flags["8217000"]) == (["electronic"], ["scanned"])
    assert flags["10039551"] == ["no_filed_date"]


def test_an_archive_of_several_years_is_read_whole(cli: Cli, tmp_path: Path) -> None:
    later = [(*row[:6], "2022", row[7], row[8]) for row in INDEX]
    archive = as_zip(
        **{"2021FD_xml": as_xml(), "2022FD_txt": as_txt(later), "readme_txt": b"x"},
        **{"__MACOSX/2021FD_xml": b"junk"},
    )
    assert fetch(cli, d.write(tmp_path / "both.zip", archive))["records_created"] == 10


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (as_xml()[:-30], "truncated"),
        (as_zip(x_pdf=b"%PDF"), "holds no yearly index"),
        (as_zip(**{"2021FD_xml": as_xml()})[:-30], "truncated"),
        (as_txt()[:-3], "truncated"),
        (as_zip(**{"2021FD_txt": as_txt()[:-3]}), "truncated"),
        (as_zip(**{"2021FD_txt": b"a\tb\n1\t2\n"}), "no known form"),
        (b"<other/>", "no known form"),
        (b"<FinancialDisclosure></FinancialDisclosure>", "no rows"),
        (as_txt([("a", "b")]), "none of 1 rows"),
        (as_xml([("", "", "", "", "", "", "", "", "")]), "none of 1 rows"),
    ],
)
def test_an_index_that_is_none_is_refused(cli: Cli, tmp_path: Path, data: bytes, said: str) -> None:
    assert said in fetch(cli, d.write(tmp_path / "x", data), code=1)["error"]


ORIGINAL = "0068462f-0000-4000-8000-000000000001"
AMENDED = "0068462f-0000-4000-8000-000000000002"
SECOND = "0068462f-0000-4000-8000-000000000003"
TITLE = "Periodic Transaction Report for 05/03/2017"


def amendment(number: int, report: str, **changes: Any) -> dict[str, Any]:
    return d.efd_report(
        1, report_id=report, title=f"{TITLE} (Amendment {number})", **{"filed-date": "06/01/2018"} | changes
    )


def links(cli: Cli) -> dict[str, tuple[list[str], list[str]]]:
    found = json.loads(cli("known", "IBM", "--json").out)["versions"]
    return {row["document"]: (row["amends"], row["amended_by"]) for row in found}


@pytest.mark.parametrize("amendment_first", [False, True])
def test_an_amendment_leads_to_its_original_in_either_order(
    cli: Cli, tmp_path: Path, amendment_first: bool
) -> None:
    """Point 3: amendments link to what they amend where the source says so, by title and filer."""
    other = d.efd_report(1, report_id="other", filer="Somebody Else")
    files = [[d.efd_report(1), other], [amendment(1, AMENDED)]]
    for number, reports in enumerate(reversed(files) if amendment_first else files):
        fetch(cli, d.write(tmp_path / f"{number}.json", d.as_json(reports)))
    assert links(cli) == {
        ORIGINAL: ([], [AMENDED]),
        AMENDED: ([ORIGINAL], []),
        "other": ([], []),
    }


def test_where_two_reports_could_be_meant_both_are_named(cli: Cli, tmp_path: Path) -> None:
    reports = [d.efd_report(1), d.efd_report(1, report_id=SECOND), amendment(2, AMENDED)]
    fetch(cli, d.write(tmp_path / "r.json", d.as_json(reports)))
    assert links(cli)[AMENDED] == ([ORIGINAL, SECOND], [])
    assert "amends one of" in cli("known", "IBM").out


def test_what_was_amended_later_was_not_known_before(cli: Cli, tmp_path: Path, config: Config) -> None:
    """Point 5: also a link is known only since its run."""
    fetch(cli, d.write(tmp_path / "a.json", d.as_json([d.efd_report(1)])))
    with Reader(config.store_path) as reader:
        then = reader.value("SELECT completed_at FROM data_ingestion_runs")
    fetch(cli, d.write(tmp_path / "b.json", d.as_json([amendment(1, AMENDED)])))
    result = json.loads(cli("known", "IBM", "--at", then, "--json").out)["versions"]
    assert [row["amended_by"] for row in result] == [[]]
    assert links(cli)[ORIGINAL] == ([], [AMENDED])


def test_no_strategy_acts_on_an_amendment(cli: Cli, tmp_path: Path) -> None:
    """It repeats its whole report, often a year later: old news with a new date."""
    day = d.today().strftime("%m/%d/%Y")
    reports = [
        d.efd_report(1, report_id=str(n), filer=f"Member {n} Sample", title=title, **{"filed-date": day})
        for title in (TITLE, f"{TITLE} (Amendment 1)")
        for n in range(3)
    ]
    fetch(cli, d.write(tmp_path / "r.json", d.as_json(reports[3:])))
    assert "no signals" in cli("run-strategy", "congress").out
    fetch(
        cli,
        d.write(
            tmp_path / "r.json", d.as_json([{**r, "report_id": "x" + r["report_id"]} for r in reports[:3]])
        ),
    )
    assert "decided" in cli("run-strategy", "congress").out


def test_a_stock_watcher_row_names_the_filing_behind_it(cli: Cli, tmp_path: Path) -> None:
    row = d.house_row("A B", "IBM", "10/04/2021")
    row["ptr_link"] = "https://disclosures-clerk.house.gov/public_disc/ptr-pdfs/2021/20019557.pdf"
    fetch(cli, d.write(tmp_path / "h.csv", d.house_csv([row])))
    assert list(links(cli)) == ["20019557"]


def test_a_link_is_as_it_was_known_then_and_ends_with_what_is_gone(writer: Writer, config: Config) -> None:
    """No later version, no run that failed and nothing withdrawn makes an amendment."""

    def load(*rows: Record, fail: bool = False) -> str:
        with (
            contextlib.suppress(ZeroDivisionError),
            IngestionRun(writer, "data_fetch:x", "x", complete=True, allow_shrink=True) as run,
        ):
            for row in rows:
                run.add(row)
            if fail:
                _ = 1 // 0
        return clock.now_text()

    def filing(document: str, content: str, **link: str) -> Record:
        return Record("filing", 1, (document,), (content,), "{}", document=document, symbol="ABC", **link)

    original = filing("O", "o", reference="key")
    first = load(original, filing("M", "1"))
    load(original, filing("M", "2", amends="key"), fail=True)
    second = load(original, filing("M", "3", amends="key"))
    third = load(original, filing("M", "4"))
    fourth = load(original, filing("M", "5", amends="key"))
    fifth = load(original)

    def links(at: str) -> tuple[list[str], list[str]]:
        with Reader(config.store_path) as reader:
            result = {row["document"]: row for row in known(reader, "ABC", clock.from_text(at)).versions}
        return result["O"]["amended_by"], result["M"]["amends"]

    assert [links(at) for at in (first, second, third, fourth)] == [
        ([], []),
        (["M"], ["O"]),
        ([], []),
        (["M"], ["O"]),
    ]
    assert links(fifth)[0] == []


def test_as_filed_asks_what_amends_what_whenever_we_learned_it(cli: Cli, tmp_path: Path) -> None:
    fetch(cli, d.write(tmp_path / "r.json", d.as_json([d.efd_report(1), amendment(1, AMENDED)])))
    result = json.loads(cli("known", "IBM", "--as-filed", "--at", "2018-12-31", "--json").out)["versions"]
    assert {row["document"]: row["amended_by"] for row in result} == {ORIGINAL: [AMENDED], AMENDED: []}


def test_a_later_and_richer_form_adds_what_the_first_lacked(cli: Cli, tmp_path: Path) -> None:
    """The Senate JSON has no filing dates and the CSV has: that is a new version, and settles."""
    row = d.senate_row(ticker="IBM")
    plain = {key: value for key, value in row.items() if key != "disclosure_date"}
    for name, text, counts in (
        ("a.json", d.as_json([plain]), (1, 0, 0)),
        ("b.csv", d.senate_csv([row]), (0, 1, 0)),
        ("c.json", d.as_json([plain]) + " ", (0, 0, 1)),
        ("d.csv", d.senate_csv([row]) + "\n", (0, 0, 1)),
    ):
        result = fetch(cli, d.write(tmp_path / name, text))
        assert tuple(result[f"records_{key}"] for key in ("created", "updated", "skipped")) == counts, name
    result = json.loads(cli("known", "IBM", "--as-filed", "--json").out)["versions"]
    assert [row["filed_as_given"] for row in result] == ["04/20/2022"]


def test_a_class_of_shares_has_one_symbol(cli: Cli, tmp_path: Path) -> None:
    rows = [d.house_row("A B", "BRK-B", "10/04/2021"), d.house_row("C D", "BRK.B", "10/04/2021")]
    fetch(cli, d.write(tmp_path / "h.csv", d.house_csv(rows)))
    for spelling in ("BRK.B", "brk-b"):
        assert json.loads(cli("known", spelling, "--json").out)["total"] == 2
        assert json.loads(cli("report", spelling, "--json").out)["symbol"] == "BRK.B"


def test_the_links_of_a_filing_are_queried_once(
    cli: Cli, tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filing may have a thousand lines; two questions find what amends it, not two a line."""
    fetch(cli, d.write(tmp_path / "r.json", d.as_json([d.efd_report(30)])))
    asked = 0
    rows = Reader.rows

    def counted(self: Reader, *arguments: Any) -> Any:
        nonlocal asked
        asked += 1
        return rows(self, *arguments)

    monkeypatch.setattr(Reader, "rows", counted)
    with Reader(config.store_path) as reader:
        assert known(reader, "IBM", clock.now()).total == 30
    assert asked == 3
