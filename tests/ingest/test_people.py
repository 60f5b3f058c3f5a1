"""Names: one person or openly nobody, never a guess by the last name alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import filings as f
from tradelog.ingest import people
from tradelog.ingest.people import NOBODY, match

MEMBERS = [
    f.legislator("F000472", "C.", "Franklin", middle="Scott", official_full="Scott Franklin"),
    f.legislator("S001195", "Jason", "Smith"),
    f.legislator("S000510", "Adam", "Smith"),
    f.legislator("S001172", "Adrian", "Smith"),
    f.legislator("P000593", "Ed", "Perlmutter"),
    f.legislator("S001214", "W.", "Steube", middle="Gregory"),
    f.legislator("C001098", "Ted", "Cruz", kind="sen", official_full="Ted Cruz"),
    f.legislator("D000230", "David", "Davis"),
    f.legislator("D000096", "Danny", "Davis", middle="K."),
    f.legislator("J000294", "Hank", "Johnson", suffix="Jr.", official_full='Henry C. "Hank" Johnson Jr.'),
    f.legislator("J000301", "Dusty", "Johnson"),
    f.legislator("C001120", "Dan", "Crenshaw"),
    f.legislator("M000001", "Debbie", "Mucarsel-Powell"),
    f.legislator("G000551", "Raúl", "Grijalva", middle="M."),
    f.legislator("K000379", "Joseph", "Kennedy", suffix="III"),
    f.legislator("K000107", "Joseph", "Kennedy", suffix="II"),
    f.legislator("V000137", "J.", "Vance", middle="D.", kind="sen", nickname="JD"),
    f.legislator("J000177", "Tim", "Johnston", kind="sen"),
    f.legislator("J000285", "Timothy", "Johnston", middle="V."),
    f.legislator("K000113", "Patrick", "Kennedy", middle="Joseph"),
    f.legislator("X000001", "Adam", "Ancient", end="1999-01-03"),
]


def politicians(rows: list[dict[str, Any]]) -> Any:
    result = [people._politician(n, row["id"]["bioguide"], row) for n, row in enumerate(rows, 1)]
    return people.index(item for item in result if item is not None)


KNOWN = politicians(MEMBERS)


@pytest.mark.parametrize(
    ("name", "person"),
    [
        *((name, "F000472") for name in ("Scott Mr Franklin", "C. Scott Franklin", "Scott Franklin")),
        *(
            (name, "F000472")
            for name in ("FRANKLIN, C. SCOTT", "Hon. Scott  Franklin", "None Scott Franklin")
        ),
        ("Greg Steube", "S001214"),
        ("W. Greg Steube", "S001214"),
        ("Jason Smith", "S001195"),
        ("Rafael Edward (Ted) Cruz", "C001098"),
        ("The Honorable Rafael E Cruz (Cruz, Ted)", "C001098"),
        ("Daniel Crenshaw", "C001120"),
        ("Henry C. Johnson, Jr.", "J000294"),
        ("Hank Johnson", "J000294"),
        ("Debbie Mucarsel-Powell", "M000001"),
        ("Debbie Mucarsel Powell", "M000001"),
        ("Raul M. Grijalva", "G000551"),
        ("Edwin G Perlmutter MD, FACS", None),
        ("Jr. Hank Johnson", "J000294"),
        # A short form is as good as a whole name, so two may be meant; fathers and sons differ by a suffix.
        ("Tim Johnston", None),
        ("Dusty Johnson III", None),
        ("Joseph P. Kennedy Jr.", None),
        ("Scott C. Franklin", "F000472"),
        ("C. Franklin", None),
        ("W. Steube", None),
        ("K. Davis", None),
        ("Ed Perlmutter MD, FACS", "P000593"),
        ("Joseph Kennedy III", "K000379"),
        ("J. D. Vance", "V000137"),
        # By the last name alone, an initial, somebody else's first name, or two who fit: nobody.
        ("Franklin", None),
        ("Mr. Franklin", None),
        ("S Franklin", None),
        ("A. Smith", None),
        ("Ad Smith", None),
        ("Peter Smith", None),
        ("Scott Smith", None),
        ("Ted Franklin", None),
        ("Joseph Kennedy", None),
        ("Da Davis", None),
        ("Adam Ancient", None),
        ("", None),
        ("???", None),
    ],
)
def test_a_name_resolves_to_one_person_or_none(name: str, person: str | None) -> None:
    result = match(name, KNOWN)
    assert (result.person, result.version_id is None) == (person, person is None)


def test_an_unresolved_name_lists_its_candidates() -> None:
    assert match("Joseph Kennedy", KNOWN).reason == "several members fit: K000107, K000379"
    assert match("Peter Smith", KNOWN).reason == NOBODY


def test_a_feed_of_one_chamber_helps() -> None:
    two = politicians(
        [f.legislator("A000001", "Ann", "Gray"), f.legislator("A000002", "Ann", "Gray", kind="sen")]
    )
    assert match("Ann Gray", two).person is None
    assert match("Ann Gray", two, "sen").person == "A000002"


def test_the_table_form_resolves_alike() -> None:
    rows = [
        dict(zip(f.legislators_csv(MEMBERS).splitlines()[0].split(","), line.split(","), strict=True))
        for line in f.legislators_csv(MEMBERS[:4]).splitlines()[1:]
    ]
    result = [people._politician(n, row["bioguide_id"], row) for n, row in enumerate(rows, 1)]
    known = people.index(item for item in result if item is not None)
    assert match("Scott Mr Franklin", known).person == "F000472"
    assert match("Adam Smith", known).person == "S000510"
    assert people._politician(1, "X", {**rows[0], "birthday": "1850-01-01"}) is None


@given(st.text(max_size=30))
def test_whatever_the_text_a_person_has_its_last_name(text: str) -> None:
    """The law: who is found has a last name that stands in the text, and the text says more than it."""
    result = match(text, KNOWN)
    if result.person is not None:
        last = next(row["name"]["last"] for row in MEMBERS if row["id"]["bioguide"] == result.person)
        assert people._words(text) != people._words(last)


@given(st.sampled_from(MEMBERS), st.sampled_from(MEMBERS))
def test_no_first_name_of_another_makes_a_member(one: dict[str, Any], other: dict[str, Any]) -> None:
    """The first name of one and the last of another is the other only where it is their own as well."""
    name = f"{one['name']['first']} {other['name']['last']}"
    result = match(name, KNOWN)
    if result.person is not None:
        row = next(row for row in MEMBERS if row["id"]["bioguide"] == result.person)
        given_ = json.dumps(row["name"]).casefold()
        assert row["name"]["last"] == other["name"]["last"]
        assert one["name"]["first"].casefold()[:1] in given_
