"""Files of every known form: recognised by their columns, loaded once, refused where they are not whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import disclosures as d
from tests.conftest import Cli


def fetch_json(cli: Cli, path: Path) -> dict[str, int | str]:
    ended = cli("fetch", "congress", "--file", str(path), "--json")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


@pytest.mark.parametrize(
    ("content", "feed", "count"),
    [
        (d.quiver_csv(), "quiver-congress", 5),
        (d.house_csv([d.house_row("Ann Example", "AAPL", "10/04/2021")]), "house-stock-watcher", 1),
        (d.senate_csv([d.senate_row()]), "senate-stock-watcher", 1),
        (d.as_json([d.efd_report(3)]), "senate-efd", 4),
    ],
)
def test_recognises_each_form_and_loads_it_once(
    cli: Cli, tmp_path: Path, content: str, feed: str, count: int
) -> None:
    """Points 3 and 5, invariant 12: the same file a second time creates and updates nothing."""
    path = d.write(tmp_path / "input", content)
    first = fetch_json(cli, path)
    assert (first["data_source"], first["records_created"]) == (feed, count)
    second = fetch_json(cli, path)
    assert (second["records_created"], second["records_updated"]) == (0, 0)
    assert second["records_skipped"] == count


def test_equal_rows_stay_two_and_so_do_purchase_and_sale(cli: Cli, tmp_path: Path) -> None:
    d.write(tmp_path / "q.csv", d.quiver_csv())
    fetch_json(cli, tmp_path / "q.csv")
    berkshire = json.loads(cli("report", "BRK.B", "--json").out)["data"]
    assert len(berkshire) == 2
    apple = json.loads(cli("report", "AAPL", "--json").out)["data"]
    assert sorted(row["side"] for row in apple) == ["purchase", "sale"]


def test_a_third_equal_row_is_one_more_record(cli: Cli, tmp_path: Path) -> None:
    d.write(tmp_path / "q.csv", d.quiver_csv())
    fetch_json(cli, tmp_path / "q.csv")
    d.write(tmp_path / "more.csv", d.quiver_csv([*d.QUIVER_ROWS, d.QUIVER_ROWS[3]]))
    again = fetch_json(cli, tmp_path / "more.csv")
    assert (again["records_created"], again["records_skipped"]) == (1, 5)


def test_a_changed_row_becomes_a_version_and_the_old_one_stays(cli: Cli, tmp_path: Path) -> None:
    d.write(tmp_path / "q.csv", d.quiver_csv())
    fetch_json(cli, tmp_path / "q.csv")
    changed = [d.QUIVER_ROWS[0].replace(",D,", ",R,"), *d.QUIVER_ROWS[1:]]
    again = fetch_json(cli, d.write(tmp_path / "q2.csv", d.quiver_csv(changed)))
    assert (again["records_created"], again["records_updated"]) == (0, 1)
    assert len(json.loads(cli("report", "AAPL", "--json").out)["data"]) == 3


def test_the_order_of_rows_does_not_matter(cli: Cli, tmp_path: Path) -> None:
    d.write(tmp_path / "q.csv", d.quiver_csv())
    fetch_json(cli, tmp_path / "q.csv")
    shuffled = fetch_json(cli, d.write(tmp_path / "r.csv", d.quiver_csv(d.QUIVER_ROWS[::-1])))
    assert shuffled["records_skipped"] == 5


def test_the_api_form_and_the_file_form_are_one_feed(cli: Cli, tmp_path: Path) -> None:
    d.write(tmp_path / "q.csv", d.quiver_csv(d.QUIVER_ROWS[:1]))
    fetch_json(cli, tmp_path / "q.csv")
    v1 = {
        **{"Representative": "Ann Example", "BioGuideID": "E000001", "ReportDate": "2023-04-03"},
        **{"TransactionDate": "2023-03-07", "Ticker": "AAPL", "Transaction": "Purchase"},
        **{"Range": "$1,001 - $15,000", "House": "Senate", "Amount": "1001.0", "Party": "D"},
        "ExcessReturn": -5.2,
    }
    v2 = {
        **{"Ticker": "AAPL", "Traded": "2023-03-07", "Transaction": "Purchase", "Trade_Size_USD": "1001.0"},
        **{"Name": "Ann Example", "Filed": "2023-04-03", "Party": "D", "Chamber": "Senate"},
        "excess_return": "9.9",
    }
    # Only the first adds something: the person, whom the file does not name.
    for number, rows in enumerate(([v1], [v2], [v1 | {"ExcessReturn": 7.1}])):
        result = fetch_json(cli, d.write(tmp_path / "api.json", d.as_json(rows)))
        assert (result["data_source"], result["records_created"]) == ("quiver-congress", 0)
        assert result["records_skipped"] == int(number > 0)


def test_one_byte_of_another_encoding_spoils_no_other_name(cli: Cli, tmp_path: Path) -> None:
    """Half of a file in UTF-8, half in cp1252, as two exports put together make it."""
    names = ("Raúl Example", "Linda Sánchez")
    rows = [d.QUIVER_ROWS[0].replace("Ann Example", name) for name in names]
    first, second = d.quiver_csv([rows[0]]).encode("cp1252"), (rows[1] + "\n").encode()
    fetch_json(cli, d.write(tmp_path / "mixed.csv", first + second))
    result = json.loads(cli("known", "AAPL", "--json").out)["versions"]
    assert {row["member"] for row in result} == set(names)


def test_cp1252_is_read(cli: Cli, tmp_path: Path) -> None:
    row = d.QUIVER_ROWS[0].replace("Ann Example", "Raúl Example")
    path = d.write(tmp_path / "latin.csv", d.quiver_csv([row], newline="\r\n").encode("cp1252"))
    fetch_json(cli, path)
    assert json.loads(cli("report", "AAPL", "--json").out)["data"][0]["member"] == "Raúl Example"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (d.quiver_csv().encode("utf-16"), "UTF-16"),
        (d.quiver_csv().encode("utf-16-le"), "NUL bytes"),
        (d.quiver_csv().encode().replace(b"AAPL", b"AA\0L"), "NUL bytes"),
        (b"", "is empty"),
        (b"a,b,c\n1,2,3\n", "no known form"),
        (b"<html>busy</html>", "no known form"),
        (b'{"detail": "x"}', "no JSON array"),
        (d.quiver_csv().encode()[:-12], "truncated"),
        (d.quiver_csv().encode()[: d.quiver_csv().index("Bo Sample")].rstrip(), "truncated"),
        (d.as_json([d.efd_report(3)]).encode()[:-20], "truncated"),
        (d.as_json([{"x": 1}]).encode(), "no known form"),
        ((d.QUIVER_HEADER + "\n").encode(), "no rows"),
        ((d.QUIVER_HEADER + "\n1,2\n3,4\n").encode(), "none of 2 rows could be read"),
    ],
)
def test_what_is_not_whole_is_refused_as_a_whole(
    cli: Cli, tmp_path: Path, content: bytes, expected: str
) -> None:
    """Bad input: exit 1, what was expected, the run failed, nothing of it visible (invariant 10)."""
    path = d.write(tmp_path / "bad", content)
    ended = cli("fetch", "congress", "--file", str(path))
    assert ended.code == 1
    assert expected in ended.err
    assert len(ended.err.strip().splitlines()) <= 2
    run = json.loads(cli("runs", "--json").out)["runs"][0]
    assert run["status"] == "failed"
    assert expected in run["error_message"]
    assert run["error_details"]["class"] in ("UnexpectedType", "SchemaMismatch", "EmptyAnswer")
    assert cli("report", "AAPL").code == 3


def test_a_missing_file_is_not_found(cli: Cli) -> None:
    ended = cli("fetch", "congress", "--file", "nowhere.csv")
    assert ended.code == 3
    assert json.loads(cli("runs", "--json").out)["runs"][0]["status"] == "failed"


def test_a_row_that_cannot_be_read_costs_itself(cli: Cli, tmp_path: Path) -> None:
    rows = [d.QUIVER_ROWS[0], "2023-04-03,only,three", d.QUIVER_ROWS[2].replace("Bo Sample", "  ")]
    result = fetch_json(cli, d.write(tmp_path / "q.csv", d.quiver_csv(rows)))
    assert (result["records_created"], result["records_quarantined"], result["records_fetched"]) == (1, 2, 3)
    run = json.loads(cli("show", str(result["run_id"]), "--json").out)["run"]
    assert [(row["position"], row["reason"]) for row in run["quarantined"]] == [
        (3, "3 fields where the header has 9"),
        (4, "no name in Representative"),
    ]


def test_impossible_dates_odd_tickers_and_hostile_names_are_kept(cli: Cli, tmp_path: Path) -> None:
    hostile = "[red]Eve[/red] \x1b[31mExample\x07"
    rows = [
        d.house_row("A B", "AAA", "08/09/2021", traded="0021-08-02"),
        d.house_row("A B", "BBB", "08/09/2021", traded="20222-07-18"),
        d.house_row(hostile, "DUK$A", "08/09/2021", traded="2021-08-01"),
        d.house_row("A B", "CCC", "08/09/2021", traded="2021-12-31"),
        d.house_row("A B", "--", "08/09/2021", traded="2021-08-01"),
    ]
    result = fetch_json(cli, d.write(tmp_path / "h.csv", d.house_csv(rows)))
    assert result["records_created"] == 5
    for symbol, flag in (("AAA", "impossible_event_date: 0021-08-02"), ("CCC", "traded_after_filed")):
        row = json.loads(cli("report", symbol, "--json").out)["data"][0]
        assert row["flags"] == [flag]
    assert json.loads(cli("report", "BBB", "--json").out)["data"][0]["event_date"] is None
    shown = cli("report", "DUK$A").out
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[red]Eve[/red]" in shown
    assert json.loads(cli("report", "DUK$A", "--json").out)["data"][0]["member"] == hostile


def test_json_oddities_cost_their_rows_only(cli: Cli, tmp_path: Path) -> None:
    row = {
        **{"Representative": "A\ud800", "ReportDate": "2023-01-01", "TransactionDate": "2023-01-01"},
        **{"Ticker": "AAPL", "Transaction": "Sale", "Range": "$1"},
    }
    text = json.dumps([row, row | {"Range": float("nan")}, row | {"Ticker": 10**30}, 5, [1], {"x": 1}])
    result = fetch_json(cli, d.write(tmp_path / "odd.json", text))
    assert (result["records_created"], result["records_quarantined"]) == (3, 3)
    assert "\ufffd" in cli("report", "AAPL").out


@pytest.mark.parametrize("newline", ["\r\n", "\r", "\n\n"])
def test_line_ends_and_a_byte_order_mark_do_not_matter(cli: Cli, tmp_path: Path, newline: str) -> None:
    text = "\ufeff" + d.quiver_csv(newline=newline)
    assert fetch_json(cli, d.write(tmp_path / "q.csv", text))["records_created"] == 5


def test_a_field_too_large_costs_its_row(cli: Cli, tmp_path: Path) -> None:
    rows = [d.QUIVER_ROWS[0].replace("Ann Example", "A" * 200_000), d.QUIVER_ROWS[2]]
    result = fetch_json(cli, d.write(tmp_path / "q.csv", d.quiver_csv(rows)))
    assert (result["records_created"], result["records_quarantined"]) == (1, 1)


@pytest.mark.parametrize("closed", [True, False])
def test_a_quote_left_open_swallows_no_rows(cli: Cli, tmp_path: Path, closed: bool) -> None:
    rows = [f"2023-04-03,2023-03-07,AAPL,Member {n},Sale,1,D,Senate,1" for n in range(4000)]
    rows[100] = rows[100].replace("Member", '"Member')
    if closed:
        rows[1300] = rows[1300].replace(",Sale", '",Sale')
    ended = cli("fetch", "congress", "--file", str(d.write(tmp_path / "q.csv", d.quiver_csv(rows))))
    assert ended.code == 1
    assert "quote opened on line 102" in ended.err


def test_a_column_named_twice_is_refused(cli: Cli, tmp_path: Path) -> None:
    text = d.QUIVER_HEADER + ",Ticker\n" + d.QUIVER_ROWS[2] + ",ZZZ\n"
    ended = cli("fetch", "congress", "--file", str(d.write(tmp_path / "q.csv", text)))
    assert (ended.code, "twice" in ended.err) == (1, True)


def test_reports_that_are_none_are_counted(cli: Cli, tmp_path: Path) -> None:
    odd = [d.efd_report(1), "lost", [1], 7, d.efd_report(data="x"), d.efd_report(data=None)]
    odd.append(d.efd_report(report_id="other", data=[{"rows": [None, 5]}]))
    odd += [d.efd_report(1), d.efd_report(1, report_id=None)]
    result = fetch_json(cli, d.write(tmp_path / "efd.json", d.as_json(odd)))
    assert (result["records_created"], result["records_quarantined"]) == (3, 9)


def test_an_absurd_amount_is_flagged(cli: Cli, tmp_path: Path) -> None:
    rows = [d.QUIVER_ROWS[2].replace("$1,001-$15,000", "$" + "9" * 30), d.QUIVER_ROWS[0]]
    result = fetch_json(cli, d.write(tmp_path / "q.csv", d.quiver_csv(rows)))
    assert result["records_created"] == 2
    assert json.loads(cli("report", "BRK.B", "--json").out)["data"][0]["flags"] == ["unknown_amount"]


@pytest.mark.parametrize("cut", range(1, 7))
def test_a_file_cut_inside_its_very_last_field_is_not_whole(cli: Cli, tmp_path: Path, cut: int) -> None:
    text = d.house_csv([d.house_row(f"Member {n}", "AAPL", "10/04/2021") for n in range(3)])
    path = d.write(tmp_path / "h.csv", text[:-cut])
    ended = cli("fetch", "congress", "--file", str(path))
    assert ended.code == (0 if cut == 1 else 1), ended.out + ended.err
