"""EDGAR's lists of filings: daily indexes, the latest-filings feed, one entity's submissions.

They name a filing once for every entity in it: an accession is one filing here, with its entities as
a list. Asking EDGAR for type 4 matches by prefix, so forms that merely begin alike are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from tradelog.domain import clock
from tradelog.errors import SchemaMismatch
from tradelog.ingest import fields, xml
from tradelog.ingest.identity import BadRow, Record
from tradelog.ingest.sources.forms import Given
from tradelog.ingest.sources.ownership import accession_in, iso_day

KIND = "insider_filing_listing"
FORMS = frozenset({"4", "4/A"})
INDEX, LATEST, SUBMISSIONS = "edgar-index", "edgar-latest", "edgar-submissions"

_TAIL = re.compile(r"^(.+?)\s+(\d{1,10})\s+(\d{8}|\d{4}-\d{2}-\d{2})\s+(edgar/data/\S+)\s*$")
_ATOM = "{http://www.w3.org/2005/Atom}"
_TITLE = re.compile(r"^(?P<form>\S+) - (?P<name>.*) \((?P<cik>\d{10})\) \((?P<role>[^)]*)\)$", re.DOTALL)
_FILED = re.compile(r"Filed:</b>\s*(\d{4}-\d{2}-\d{2})")
_COLUMNS = ("accessionNumber", "form", "filingDate", "acceptanceDateTime", "primaryDocument")


@dataclass(frozen=True, slots=True)
class Entity:
    role: str
    cik: str
    name: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A filing as a list names it. ``filed_at`` is store text (UTC), None where no such day can be.

    ``path`` is where the filing is: under /Archives/, or under the entity's folder there.
    """

    accession: str
    form: str
    filed_day: str
    filed_at: str | None
    filed_as_given: str
    path: str
    entities: tuple[Entity, ...]


def index(text: str, where: object) -> list[Listed | BadRow]:
    """A daily index in any of its orders: by form, by company, or separated by bars.

    Raises SchemaMismatch where there is no list in it.
    """
    head, rule, body = text.partition("\n---")
    if not rule:
        raise SchemaMismatch(
            f"{where} is no EDGAR index", hint="form.*.idx, company.*.idx and master.*.idx are"
        )
    is_by_form = "by Form Type" in head
    return list(
        merged(
            _index_line(number, line, is_by_form)
            for number, line in enumerate(body.splitlines()[1:], 1)
            if line.strip()
        )
    )


def _index_line(number: int, line: str, is_by_form: bool) -> Listed | BadRow | None:
    if line.count("|") == 4:
        cik, name, form, day, path = (part.strip() for part in line.split("|"))
    elif match := _TAIL.match(line):
        label, cik, day, path = match.groups()
        form, name = _form_and_name(label, is_by_form)
    else:
        return BadRow(number, "no line of an index", line)
    if form not in FORMS:
        return None
    entity = Entity("", cik.zfill(10), name)
    return _listed(number, line, path, form, iso_day(day), entity, path=path)


def _form_and_name(label: str, is_by_form: bool) -> tuple[str, str]:
    """The two columns in front, separated by two or more spaces."""
    parts = re.split(r"\s{2,}", label.strip())
    if len(parts) < 2:
        return "", label
    return (parts[0], " ".join(parts[1:])) if is_by_form else (parts[-1], " ".join(parts[:-1]))


def read_index(text: str, where: object) -> Iterator[Record | BadRow]:
    """The filings of a daily index as records. Raises SchemaMismatch."""
    return records(index(text, where))


def read_atom(text: str, where: object) -> Iterator[Record | BadRow]:
    """A page of the latest-filings feed. Raises UnexpectedType, SchemaMismatch."""
    root = xml.parse(text, where)
    if root.tag != f"{_ATOM}feed":
        raise SchemaMismatch(
            f"{where} is no feed of EDGAR: its root is <{root.tag}>", hint="see tradelog fetch insider --help"
        )
    return records(merged(_entry(n, entry) for n, entry in enumerate(root.iter(f"{_ATOM}entry"), 1)))


def _entry(number: int, entry: Any) -> Listed | BadRow | None:
    def listed_values(tag: str) -> str:
        return (entry.findtext(f"{_ATOM}{tag}") or "").strip()

    category = entry.find(f"{_ATOM}category")
    title = _TITLE.match(listed_values("title"))
    text = json.dumps(
        {tag: listed_values(tag) for tag in ("title", "id", "updated", "summary")}, ensure_ascii=False
    )
    form = "" if category is None else category.get("term", "").strip()
    if title is None or title["form"] != form:
        return BadRow(number, "an entry whose title lacks form, entity or role", text)
    if form not in FORMS:
        return None
    day = _FILED.search(listed_values("summary"))
    entity = Entity(title["role"], title["cik"], title["name"])
    filed = "" if day is None else day[1]
    return _listed(number, text, listed_values("id"), form, filed, entity, moment=listed_values("updated"))


def read_feed_rows(rows: Iterable[Given]) -> Iterator[Record | BadRow]:
    """The latest-filings feed, written out as a table: form, accession, filed, updated, role, cik, name."""
    return records(merged(_feed_row(row) for row in rows))


def _feed_row(given: Given) -> Listed | BadRow | None:
    if given.reason:
        return BadRow(given.position, given.reason, given.payload)
    row = given.row
    if row["form"].strip() not in FORMS:
        return None
    entity = Entity(row.get("role", ""), row["cik"].zfill(10), row["name"])
    return _listed(
        *(given.position, given.payload, row["accession"], row["form"].strip(), row["filed"], entity),
        moment=row["updated"],
    )


def submissions(answer: Mapping[str, Any], where: object) -> list[Listed | BadRow]:
    """The recent filings of one entity: a submissions file, or one of its older parts.

    ``acceptanceDateTime`` is UTC, and ``primaryDocument`` the rendering of the XML, one folder down.
    Raises SchemaMismatch.
    """
    filings = answer.get("filings", {"recent": answer})
    columns = filings.get("recent") if isinstance(filings, dict) else None
    if not isinstance(columns, dict) or not all(isinstance(columns.get(name), list) for name in _COLUMNS):
        raise SchemaMismatch(f"{where} holds no list of submissions", hint="see data.sec.gov/submissions")
    if len({len(columns[name]) for name in _COLUMNS}) > 1:
        raise SchemaMismatch(f"{where} has columns of different lengths", hint="get it again")
    entity = Entity("", str(answer.get("cik", "")).zfill(10), str(answer.get("name", "")))
    rows = zip(*(columns[name] for name in _COLUMNS), strict=True)
    return list(merged(_submission(number, row, entity) for number, row in enumerate(rows, 1)))


def _submission(number: int, row: tuple[Any, ...], entity: Entity) -> Listed | BadRow | None:
    text = json.dumps(dict(zip(_COLUMNS, row, strict=True)), ensure_ascii=False)
    if not all(isinstance(value, str) for value in row):
        return BadRow(number, "a submission with a field that is no text", text)
    accession, form, day, accepted, document = row
    if form not in FORMS:
        return None
    path = f"{accession.replace('-', '')}/{document.rpartition('/')[2]}"
    return _listed(number, text, accession, form, day, entity, path=path, moment=accepted)


def read_submissions(answer: Mapping[str, Any], where: object) -> Iterator[Record | BadRow]:
    """The filings of one entity as records. Raises SchemaMismatch."""
    return records(submissions(answer, where))


def merged(items: Iterable[Listed | BadRow | None]) -> Iterator[Listed | BadRow]:
    """Each accession once, with all its entities, in the order in which they were first named."""
    by_accession: dict[str, Listed] = {}
    for item in items:
        if isinstance(item, BadRow):
            yield item
        elif item is not None:
            first = by_accession.setdefault(item.accession, item)
            if item.entities[0] not in first.entities:
                by_accession[item.accession] = replace(first, entities=first.entities + item.entities)
    yield from by_accession.values()


def records(items: Iterable[Listed | BadRow]) -> Iterator[Record | BadRow]:
    """The filings of a list as records of their own: that they were listed, not their content."""
    for position, item in enumerate(items, 1):
        if isinstance(item, BadRow):
            yield item
            continue
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
            filed_as_given=item.filed_as_given or None,
            actor="; ".join(dict.fromkeys(entity.name for entity in item.entities)),
            flags=() if item.filed_at else ("no_filed_date",),
            document=item.accession,
        )


def as_text(item: Listed) -> str:
    """A filing to be fetched again, as JSON."""
    return json.dumps({"listed": asdict(item)}, ensure_ascii=False)


def from_text(text: str) -> Listed | None:
    """The inverse of `as_text`; None for any other text."""
    try:
        listed = json.loads(text)["listed"]
        entities = tuple(Entity(**entity) for entity in listed["entities"])
        return Listed(**{**listed, "entities": entities})
    except (ValueError, TypeError, KeyError):
        return None


def _listed(
    number: int,
    text: str,
    accession: str,
    form: str,
    day: str,
    entity: Entity,
    *,
    path: str = "",
    moment: str = "",
) -> Listed | BadRow:
    """A filing: at the moment that the list names, or at the end of the day, for a bare date."""
    accession_found = accession_in(accession)
    if accession_found is None:
        return BadRow(number, f"no accession number in {accession!r}", text)
    latest = clock.market_today()
    at = clock.read_moment(moment)
    if at is not None and fields.day(at[:10], clock.now().date()) is not None:
        return Listed(accession_found, form, day, at, moment, path, (entity,))
    if (filed := fields.day(day, latest)) is None:
        return BadRow(number, f"no filing date but {day!r}", text)
    return Listed(accession_found, form, day, clock.end_of_day(filed), day, path, (entity,))
