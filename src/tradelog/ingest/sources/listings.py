"""EDGAR's lists of filings: daily indexes, the latest-filings feed, one entity's submissions.

They name a filing once for every entity in it: an accession is one record here, with its entities as
a list. Asking EDGAR for type 4 matches by prefix, so forms that merely begin alike are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from tradelog import clock
from tradelog.errors import SchemaMismatch
from tradelog.ingest import xml
from tradelog.ingest.identity import Record
from tradelog.ingest.sources.ownership import accession_in, iso_day

KIND = "insider_filing_listing"
FORMS = frozenset({"4", "4/A"})
INDEX, LATEST, SUBMISSIONS = "edgar-index", "edgar-latest", "edgar-submissions"

_TAIL = re.compile(r"^(.+?)\s+(\d{1,10})\s+(\d{8}|\d{4}-\d{2}-\d{2})\s+(edgar/data/\S+)\s*$")
_ATOM = "{http://www.w3.org/2005/Atom}"
_TITLE = re.compile(r"^(?P<form>\S+) - (?P<name>.*) \((?P<cik>\d{10})\) \((?P<role>[^)]*)\)$", re.DOTALL)
_FILED = re.compile(r"Filed:</b>\s*(\d{4}-\d{2}-\d{2})")


@dataclass(frozen=True, slots=True)
class Entity:
    role: str
    cik: str
    name: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A filing as a list names it. ``filed_at`` is store text (UTC); ``path`` is under /Archives/."""

    accession: str
    form: str
    filed_day: str
    filed_at: str
    filed_as_given: str
    path: str
    entities: tuple[Entity, ...]


def read_index(text: str, where: object) -> list[Listed]:
    """A daily index in any of its orders: by form, by company, or separated by bars.

    Raises SchemaMismatch where there is no list in it.
    """
    head, rule, body = text.partition("\n---")
    if not rule:
        raise SchemaMismatch(
            f"{where} is no EDGAR index", hint="form.*.idx, company.*.idx and master.*.idx are"
        )
    is_by_form = "by Form Type" in head
    found = []
    for line in body.splitlines()[1:]:
        if "|" in line:
            cik, name, form, day, path = [*line.split("|"), *[""] * 5][:5]
        elif match := _TAIL.match(line):
            label, cik, day, path = match.groups()
            form, name = _form_and_name(label, is_by_form)
        else:
            continue
        if form in FORMS and (accession := accession_in(path)):
            found.append(
                _listed(accession, form, iso_day(day), path.strip(), Entity("", cik.zfill(10), name))
            )
    return merged(found)


def _form_and_name(label: str, is_by_form: bool) -> tuple[str, str]:
    """The two columns in front, told apart by the two or more spaces between them."""
    parts = re.split(r"\s{2,}", label.strip())
    if len(parts) < 2:
        return "", label
    return (parts[0], " ".join(parts[1:])) if is_by_form else (parts[-1], " ".join(parts[:-1]))


def read_atom(text: str, where: object) -> list[Listed]:
    """A page of the latest-filings feed. Raises UnexpectedType, SchemaMismatch."""
    root = xml.parse(text, where)
    if root.tag != f"{_ATOM}feed":
        raise SchemaMismatch(f"{where} is no feed of EDGAR but <{root.tag}>")
    found = []
    for entry in root.iter(f"{_ATOM}entry"):
        title = _TITLE.match((entry.findtext(f"{_ATOM}title") or "").strip())
        accession = accession_in(entry.findtext(f"{_ATOM}id") or "")
        category = entry.find(f"{_ATOM}category")
        form = "" if category is None else category.get("term", "")
        if title is None or accession is None or form not in FORMS:
            continue
        day = _FILED.search(entry.findtext(f"{_ATOM}summary") or "")
        updated = (entry.findtext(f"{_ATOM}updated") or "").strip()
        entity = Entity(title["role"], title["cik"], title["name"])
        listed = _listed(accession, form, "" if day is None else day[1], "", entity)
        found.append(_updated(listed, updated))
    return merged(found)


def read_feed_rows(rows: Iterable[dict[str, str]]) -> list[Listed]:
    """The latest-filings feed, written out as a table: form, accession, filed, updated, role, cik, name."""
    found = []
    for row in rows:
        accession = accession_in(row["accession"])
        if row["form"] in FORMS and accession is not None:
            entity = Entity(row.get("role", ""), row["cik"].zfill(10), row["name"])
            found.append(_updated(_listed(accession, row["form"], row["filed"], "", entity), row["updated"]))
    return merged(found)


def read_submissions(answer: dict[str, Any], where: object) -> list[Listed]:
    """The recent filings of one entity; ``filings`` of a submissions file or one of its older parts.

    ``acceptanceDateTime`` is UTC, and ``primaryDocument`` the rendering of the XML, one folder down.
    Raises SchemaMismatch.
    """
    columns = answer.get("filings", {}).get("recent", answer) if "filings" in answer else answer
    names = ("accessionNumber", "form", "filingDate", "acceptanceDateTime", "primaryDocument")
    if not isinstance(columns, dict) or not all(isinstance(columns.get(name), list) for name in names):
        raise SchemaMismatch(f"{where} holds no list of submissions")
    if len({len(columns[name]) for name in names}) > 1:
        raise SchemaMismatch(f"{where} has columns of different lengths")
    entity = Entity("", str(answer.get("cik", "")).zfill(10), str(answer.get("name", "")))
    found = []
    for accession, form, day, accepted, document in zip(*(columns[name] for name in names), strict=True):
        if form in FORMS:
            raw = str(document).rpartition("/")[2]
            listed = _listed(accession, form, day, f"{accession.replace('-', '')}/{raw}", entity)
            found.append(_updated(listed, accepted))
    return merged(found)


def merged(found: Iterable[Listed]) -> list[Listed]:
    """Each accession once, with all its entities, in the order in which they were first named."""
    by_accession: dict[str, Listed] = {}
    for item in found:
        known = by_accession.get(item.accession)
        if known is None:
            by_accession[item.accession] = item
        elif item.entities[0] not in known.entities:
            by_accession[item.accession] = replace(known, entities=known.entities + item.entities)
    return list(by_accession.values())


def records(found: Iterable[Listed]) -> Iterator[Record]:
    """The filings of a list as records of their own: that they were listed, not what they say."""
    for position, item in enumerate(found, 1):
        entities = sorted((entity.role, entity.cik, entity.name) for entity in item.entities)
        yield Record(
            kind=KIND,
            position=position,
            identity=(item.accession,),
            # Not the entities: how many of them a page of the feed shows depends on where it ends.
            content=(item.form, item.filed_as_given),
            payload=json.dumps(
                {
                    "accession": item.accession,
                    "form": item.form,
                    "filed": item.filed_as_given,
                    "entities": [{"role": role, "cik": cik, "name": name} for role, cik, name in entities],
                },
                ensure_ascii=False,
            ),
            filed_at=item.filed_at,
            filed_as_given=item.filed_as_given,
            actor="; ".join(dict.fromkeys(entity.name for entity in item.entities)),
            document=item.accession,
        )


def _listed(accession: str, form: str, day: str, path: str, entity: Entity) -> Listed:
    """A filing with a bare date, which counts as the end of that day."""
    return Listed(accession, form, day, _end_of(day), day, path, (entity,))


def _updated(item: Listed, moment: str) -> Listed:
    """The same, filed at the moment that the list names."""
    at = clock.read_moment(moment)
    return item if at is None else replace(item, filed_at=at, filed_as_given=moment)


def _end_of(day: str) -> str:
    try:
        return clock.end_of_day(date.fromisoformat(day))
    except ValueError:
        return ""
