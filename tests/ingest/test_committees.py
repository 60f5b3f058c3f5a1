"""Committees, seats and politicians: three forms of file, a live source with ETags, and its bad days."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests import filings as f
from tests.conftest import Cli, scalar
from tests.disclosures import write
from tests.journaled import check_complete
from tradelog.config.schema import Config
from tradelog.ingest import people as people_
from tradelog.ingest.identity import Record
from tradelog.ingest.run import IngestionRun
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer

PEOPLE = [
    f.legislator("F000472", "C.", "Franklin", middle="Scott", official_full="Scott Franklin"),
    f.legislator("F000001", "Gwen", "Franklin", kind="sen"),
]
OLD = [
    f.legislator("S000001", "Adam", "Smith", end="2015-01-03"),
    f.legislator("S000002", "Abe", "Smith", end="1899-01-03"),
]


def fetch(cli: Cli, path: Path, *more: str, code: int = 0) -> dict[str, Any]:
    ended = cli("fetch", "committees", "--file", str(path), "--json", *more)
    assert ended.code == code, ended.err
    return json.loads(ended.out) if code == 0 else {"error": ended.err}


def counts(found: dict[str, Any]) -> tuple[int, ...]:
    return tuple(found[f"records_{name}"] for name in ("created", "updated", "skipped", "gone"))


def seats_now(config: Config) -> int:
    with Reader(config.store_path) as reader:
        return int(
            reader.value(
                "SELECT count(*) FROM source_records r WHERE kind = 'committee_seat' AND (SELECT gone FROM"
                " record_versions v WHERE v.record_id = r.record_id ORDER BY version_id DESC LIMIT 1) = 0"
            )
        )


@pytest.mark.parametrize(
    ("value", "number"),
    [(f.seats(["HSTE", "HSTE15"], 3), 6), (f.COMMITTEES, 3), (PEOPLE, 2)],
)
def test_json_and_yaml_are_one_feed(cli: Cli, tmp_path: Path, value: Any, number: int) -> None:
    assert counts(fetch(cli, write(tmp_path / "a.json", f.as_json(value)))) == (number, 0, 0, 0)
    assert counts(fetch(cli, write(tmp_path / "a.yaml", f.as_yaml(value)))) == (0, 0, number, 0)


def test_a_subcommittee_is_a_body_of_its_own(cli: Cli, config: Config, tmp_path: Path) -> None:
    fetch(cli, write(tmp_path / "c.json", f.as_json(f.COMMITTEES)))
    with Reader(config.store_path) as reader:
        result = [json.loads(row["payload"]) for row in reader.rows("SELECT payload FROM record_versions")]
    assert sorted((row["code"], row["parent"]) for row in result) == [
        ("HSTE", ""),
        ("HSTE15", "HSTE"),
        ("HSTE22", "HSTE"),
    ]


def test_legislators_come_as_a_table_too(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", f.legislators_csv(PEOPLE))
    assert counts(fetch(cli, path)) == (2, 0, 0, 0)
    assert counts(fetch(cli, path)) == (0, 0, 2, 0)
    write(path, path.read_text()[:-15])
    assert "truncated" in fetch(cli, path, code=1)["error"]


def test_an_empty_and_a_half_filled_membership(cli: Cli, config: Config, tmp_path: Path) -> None:
    """Facts: the source served {} for 14 days, then half the House. Nothing ends by mistake."""
    whole = f.seats(["HSTE", "SSTE", "JSTE"], 10)
    path = tmp_path / "m.yaml"
    assert counts(fetch(cli, write(path, f.as_yaml(whole)), "--complete")) == (30, 0, 0, 0)
    for text, said in (("{}\n", "no rows"), (f.as_yaml(f.seats(["HSTE", "SSTE"], 10)), "30 committee seat")):
        error = fetch(cli, write(path, text), "--complete", code=1)["error"]
        assert said in error
        assert seats_now(config) == 30
    assert "no rows" in fetch(cli, write(path, "{}\n"), "--complete", "--allow-shrink", code=1)["error"]
    write(path, f.as_yaml(f.seats(["HSTE"], 10)))
    assert counts(fetch(cli, path, "--complete", "--allow-shrink")) == (0, 0, 10, 20)
    assert seats_now(config) == 10
    back = f.seats(["HSTE", "SSTE", "JSTE"], 10, first_rank=2)
    assert counts(fetch(cli, write(path, f.as_yaml(back)), "--complete")) == (0, 30, 0, 0)
    with Reader(config.store_path) as reader:
        assert reader.value("SELECT count(*) FROM record_versions") == 80
        check_complete(reader)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "no known form"),
        ("[1, 2]", "no known form"),
        ('{"HSTE": {"name": "x"}}', "no known form"),
        ('{"HSTE": [{"name": "x"}]}', "none of 1 rows"),
        ('[{"id": {"bioguide": "X000001"}}]', "none of 1 rows"),
        ('{"HSTE": [', "truncated"),
        ("<html>", "no known form"),
        ("a,b\n1,2\n", "no known form"),
    ],
)
def test_what_is_none_of_the_forms_is_refused(cli: Cli, tmp_path: Path, text: str, said: str) -> None:
    assert said in fetch(cli, write(tmp_path / "x.json", text), code=1)["error"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("HSTE:\n- name: [\n", "truncated"),
        ("HSTE:\n- bioguide: F0", "its last line has no end"),
        ("HSTE: []\nHSTE: []\n", "twice"),
        ("just text\n", "no known form"),
        ("a: &a [1]\nb: *a\n", "alias"),
        ("a: !!python/object:os.system x\n", "alias or a tag"),
        ("a: !!timestamp x\n", "alias or a tag"),
        ("? [1]\n: 2\n", "truncated"),
    ],
)
def test_yaml_that_is_none_is_refused(cli: Cli, tmp_path: Path, text: str, said: str) -> None:
    error = fetch(cli, write(tmp_path / "x.yaml", text), code=1)["error"]
    assert said in error
    assert "fault of tradelog" not in error


@pytest.mark.parametrize(
    "bad",
    [
        {"terms": {"a": 1}},
        {"terms": ["x"]},
        {"terms": 5},
        {"bio": "x"},
        {"name": "x"},
        {"id": None},
    ],
)
def test_a_legislator_that_is_none_costs_itself(cli: Cli, tmp_path: Path, bad: dict[str, Any]) -> None:
    rows = [PEOPLE[0] | bad, None, PEOPLE[1]]
    result = fetch(cli, write(tmp_path / "l.json", f.as_json(rows)))
    assert (result["records_created"], result["records_quarantined"]) == (1, 2)


@pytest.mark.parametrize(
    ("value", "good", "bad"),
    [
        ({"HSTE": None, "SSTE": f.seats(["SSTE"], 2)["SSTE"]}, 2, 1),
        ([{**f.COMMITTEES[0], "subcommittees": 5}, None], 1, 2),
        ({"HSTE": [{"name": "\ud800", "bioguide": "M000001"}]}, 1, 0),
    ],
)
def test_odd_committees_cost_themselves(cli: Cli, tmp_path: Path, value: Any, good: int, bad: int) -> None:
    result = fetch(cli, write(tmp_path / "c.json", f.as_json(value)))
    assert (result["records_created"], result["records_quarantined"]) == (good, bad)


def test_a_key_that_is_there_twice_is_no_list_of_seats(cli: Cli, tmp_path: Path) -> None:
    seat = f.as_json(f.seats(["HSTE"], 1)["HSTE"])
    error = fetch(cli, write(tmp_path / "c.json", f'{{"HSTE": {seat}, "HSTE": {seat}}}'), code=1)["error"]
    assert "'HSTE' twice" in error


def test_a_bad_row_of_a_table_of_legislators_costs_itself(cli: Cli, tmp_path: Path) -> None:
    text = f.legislators_csv(PEOPLE) + "short,row\n"
    result = fetch(cli, write(tmp_path / "l.csv", text))
    assert (result["records_created"], result["records_quarantined"]) == (2, 1)


class Pages:
    """unitedstates.github.io on loopback: ETags that it honours, and files to be changed."""

    def __init__(self, server: HTTPServer) -> None:
        self.files = {
            "committee-membership-current.json": f.as_json(f.seats(["HSTE", "SSTE"], 10)),
            "committees-current.json": f.as_json(f.COMMITTEES),
            "legislators-current.json": f.as_json(PEOPLE),
            "legislators-historical.json": f.as_json(OLD),
        }
        self.answered: list[tuple[str, int]] = []
        server.expect_request(re.compile("/data/.*")).respond_with_handler(self.answer)

    def answer(self, request: Request) -> Response:
        name = request.path.rpartition("/")[2]
        body = self.files[name]
        response = Response(body, content_type="application/json")
        response.set_etag(str(hash(body)))
        response.headers["Last-Modified"] = "Sun, 15 Nov 2026 10:00:00 GMT"
        response = response.make_conditional(request)
        self.answered.append((name, response.status_code))
        return response


@pytest.fixture
def pages(home: Path, httpserver: HTTPServer) -> Pages:
    with (home / "tradelog.toml").open("a") as stream:
        stream.write(f'[sources.congress-legislators]\nbase_url = "{httpserver.url_for("/data")}"\n')
    return Pages(httpserver)


def live(cli: Cli, *more: str) -> dict[str, Any]:
    ended = cli("fetch", "committees", "--json", *more)
    assert ended.code == 0, ended.err
    result: dict[str, Any] = json.loads(ended.out)
    return result


def test_what_has_not_changed_is_not_sent_again(cli: Cli, pages: Pages, config: Config) -> None:
    """Point 6: ETag. Seen unchanged costs bytes, not rows; the age of the data is told."""
    assert counts(live(cli)) == (27, 0, 0, 0)
    assert counts(live(cli)) == (0, 0, 27, 0)
    assert [status for _, status in pages.answered[4:]] == [304] * 4
    pages.files["committee-membership-current.json"] = f.as_json(f.seats(["HSTE", "SSTE"], 9))
    assert counts(live(cli)) == (0, 0, 25, 2)
    assert [status for _, status in pages.answered[8:]] == [200, 304, 304, 304]
    ended = cli("fetch", "committees")
    assert "days ago" in ended.err
    assert counts(live(cli)) == (0, 0, 25, 0)
    with Reader(config.store_path) as reader:
        assert reader.value("SELECT count(*) FROM record_versions") == 29
        check_complete(reader)


def test_a_kind_in_two_files_is_fetched_as_a_whole(cli: Cli, pages: Pages) -> None:
    """A politician who leaves office moves from file to file, and is not gone."""
    live(cli)
    pages.files["legislators-current.json"] = f.as_json(PEOPLE[:1])
    pages.files["legislators-historical.json"] = f.as_json([*OLD, PEOPLE[1]])
    assert counts(live(cli)) == (0, 0, 27, 0)
    pages.files["legislators-historical.json"] = f.as_json(OLD)
    assert counts(live(cli, "--allow-shrink")) == (0, 0, 26, 1)
    assert pages.answered[-5:] == [
        ("committee-membership-current.json", 304),
        ("committees-current.json", 304),
        ("legislators-current.json", 304),
        ("legislators-historical.json", 200),
        ("legislators-current.json", 200),
    ]


def test_an_unreadable_file_is_fetched_again(cli: Cli, pages: Pages) -> None:
    """A row that was unreadable may have hidden a change: nothing is confirmed until it is gone."""
    live(cli)
    bad = [*PEOPLE[:1], {"id": {}}]
    pages.files["legislators-current.json"] = f.as_json(bad)
    first = live(cli)
    assert (first["records_quarantined"], first["records_gone"]) == (1, 0)
    assert "nothing was marked gone" in cli("fetch", "committees").err
    again = live(cli)
    assert (again["records_quarantined"], again["records_gone"]) == (1, 0)
    pages.files["legislators-current.json"] = f.as_json(PEOPLE[:1])
    assert live(cli, "--allow-shrink")["records_gone"] == 1


def test_a_file_that_collapsed_is_not_hidden_by_the_other(cli: Cli, pages: Pages) -> None:
    """The members of today are few beside those of all time: each file is measured by itself."""
    many = [f.legislator(f"N{n:06d}", "Old", f"Name{n}", end="2015-01-03") for n in range(600)]
    today = [f.legislator(f"T{n:06d}", "New", f"Name{n}") for n in range(40)]
    pages.files["legislators-historical.json"] = f.as_json(many)
    pages.files["legislators-current.json"] = f.as_json(today)
    live(cli)
    live(cli)
    pages.files["legislators-current.json"] = f.as_json(today[:5])
    ended = cli("fetch", "committees")
    assert ended.code == 1
    assert "legislators-current.json listed 40 records, and now only 5" in ended.err
    pages.files["legislators-current.json"] = f.as_json(f.COMMITTEES)
    assert "does not hold politician records" in cli("fetch", "committees").err


def test_table_and_json_of_the_same_people_settle(cli: Cli, tmp_path: Path) -> None:
    """Invariant 12: the table has no dates of a term, and that is no change."""
    table, text = f.legislators_csv(PEOPLE), f.as_json(PEOPLE)
    assert counts(fetch(cli, write(tmp_path / "a.csv", table))) == (2, 0, 0, 0)
    for number in range(2):
        assert counts(fetch(cli, write(tmp_path / "a.json", text + " " * number)))[2:] == (2, 0)
        assert counts(fetch(cli, write(tmp_path / "a.csv", table + "\n" * number)))[2:] == (2, 0)


def test_a_file_between_two_fetches_makes_the_etag_worthless(cli: Cli, pages: Pages, tmp_path: Path) -> None:
    live(cli)
    fetch(cli, write(tmp_path / "m.json", f.as_json(f.seats(["HSTE"], 20))))
    assert counts(live(cli, "--allow-shrink")) == (0, 0, 27, 10)
    assert [status for _, status in pages.answered[4:]] == [200] * 4


@pytest.mark.parametrize(
    ("name", "body", "kind"),
    [
        ("committee-membership-current.json", "{}", "EmptyAnswer"),
        ("committee-membership-current.json", f.as_json(f.seats(["HSTE"], 10)), "ShrunkenAnswer"),
        ("committees-current.json", "<html>Access Denied</html>", "UnexpectedType"),
        ("committees-current.json", "[]", "SchemaMismatch"),
        ("legislators-historical.json", '[{"id"', "UnexpectedType"),
    ],
)
def test_one_bad_file_fails_the_whole_fetch(
    cli: Cli, pages: Pages, config: Config, name: str, body: str, kind: str
) -> None:
    live(cli)
    pages.files[name] = body
    assert cli("fetch", "committees").code == 1
    run = json.loads(cli("runs", "--json").out)["runs"][0]
    assert (run["status"], run["error_details"]["class"]) == ("failed", kind)
    with Reader(config.store_path) as reader:
        assert reader.value("SELECT count(*) FROM record_versions") == 27


def house(cli: Cli, tmp_path: Path, names: list[str]) -> str:
    from tests import disclosures as d

    rows = [
        d.house_row(name, "AAPL", d.today(), traded=f"2026-01-{n + 1:02d}") for n, name in enumerate(names)
    ]
    ended = cli("fetch", "congress", "--file", str(d.write(tmp_path / "h.csv", d.house_csv(rows))))
    assert ended.code == 0, ended.err
    return ended.err


def people(cli: Cli, *more: str) -> dict[str, str | None]:
    return {row["name"]: row["person"] for row in json.loads(cli("people", "--json", *more).out)["names"]}


@pytest.mark.parametrize("politicians_first", [True, False])
def test_one_member_under_several_spellings(cli: Cli, tmp_path: Path, politicians_first: bool) -> None:
    """Point 4, in whatever order the two come."""
    names = ["Scott Mr Franklin", "C. Scott Franklin", "Hon. Scott  Franklin", "Franklin"]
    politicians = write(tmp_path / "l.json", f.as_json(PEOPLE))
    steps: list[Callable[[], Any]] = [lambda: fetch(cli, politicians), lambda: house(cli, tmp_path, names)]
    for step in steps if politicians_first else reversed(steps):
        step()
    assert people(cli) == {**dict.fromkeys(names[:3], "F000472"), "Franklin": None}
    assert people(cli, "--unresolved") == {"Franklin": None}
    assert people(cli, "F000472") == dict.fromkeys(names[:3], "F000472")
    known = json.loads(cli("known", "AAPL", "--json").out)["versions"]
    assert sorted(str(row["person"]) for row in known) == ["F000472"] * 3 + ["None"]


def test_a_fetch_counts_unresolved_names(cli: Cli, tmp_path: Path) -> None:
    assert "2 names of members not resolved" in house(cli, tmp_path, ["A B", "C D"])
    assert "unresolved" in cli("people").err
    assert cli("people", "nosuch").code == 3


def test_a_person_counts_once_in_a_consensus(cli: Cli, tmp_path: Path, config: Config) -> None:
    """Three spellings of one member are no three members; who they are is part of the lineage."""
    fetch(cli, write(tmp_path / "l.json", f.as_json([*PEOPLE, f.legislator("G000001", "Ann", "Green")])))
    house(cli, tmp_path, ["Scott Mr Franklin", "C. Scott Franklin", "Scott Franklin", "Ann Green"])
    assert cli("run-strategy", "congress").out == "no signals\n"
    with (config.path).open("a") as stream:
        stream.write("[strategies.congress]\nmin_members = 2\n")
    assert "decided" in cli("run-strategy", "congress").out
    with Reader(config.store_path) as reader:
        kinds = reader.rows(
            "SELECT r.kind, count(*) AS n FROM decision_inputs i JOIN record_versions v USING (version_id)"
            " JOIN source_records r USING (record_id) GROUP BY 1 ORDER BY 1"
        )
    assert [(row["kind"], row["n"]) for row in kinds] == [("congress_trade", 4), ("politician", 2)]


def test_names_and_people_fetched_side_by_side_find_each_other(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that was looked up while the people were on their way is looked up again."""
    politician = {"kind": "politician", "identity": ("E000001",), "content": ("x",), "person": "E000001"}
    payload = f.as_json(f.legislator("E000001", "Ann", "Example"))
    trade = {"kind": "congress_trade", "identity": ("1",), "content": ("1",), "actor": "Ann Example"}

    def person() -> Any:
        return scalar(writer, "SELECT person FROM name_resolutions ORDER BY resolution_id DESC LIMIT 1")

    members = IngestionRun(writer, "data_fetch:committees", "congress-legislators")
    members.__enter__()
    members.add(Record(position=1, payload=payload, **politician))  # type: ignore[arg-type]
    resolve = people_.resolve

    def side_by_side(*arguments: Any, **named: Any) -> list[str]:
        monkeypatch.setattr(people_, "resolve", resolve)
        result = resolve(*arguments, **named)
        members.__exit__(None, None, None)
        return result

    monkeypatch.setattr(people_, "resolve", side_by_side)
    with IngestionRun(writer, "data_fetch:congress", "quiver-congress") as run:
        run.add(Record(position=1, payload="{}", **trade))  # type: ignore[arg-type]
    assert (run.unresolved, person()) == (["Ann Example"], None)
    with IngestionRun(writer, "data_fetch:congress", "quiver-congress") as again:
        again.add(Record(position=1, payload="{}", **trade))  # type: ignore[arg-type]
    assert (again.unresolved, person()) == ([], "E000001")
