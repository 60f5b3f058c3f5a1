"""Committees, seats and politicians from congress-legislators (CC0), by BioGuide id.

github.com/unitedstates/congress-legislators, as JSON, YAML or CSV. A seat has no dates and no id: it
is known by committee and person. Codes have four letters, a subcommittee two digits more. ``party`` of
a seat means majority or minority.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, ClassVar

from tradelog.config.schema import LegislatorsConfig
from tradelog.domain import clock
from tradelog.errors import SchemaMismatch, ShrunkenAnswer, UnexpectedType
from tradelog.ingest import http, people
from tradelog.ingest.identity import BadRow, Record
from tradelog.ingest.run import MAX_SHRINK, IngestionRun
from tradelog.ingest.sources import files
from tradelog.ingest.sources.base import Request, Source
from tradelog.ingest.sources.files import TextFile

FEED = people.FEED
SEAT, COMMITTEE, POLITICIAN = "committee_seat", "committee", people.KIND
EXPECTED = "committee membership, committees, legislators (JSON, YAML or CSV) of congress-legislators"

# In the order in which they are fetched, with the kind of which each is a part.
FILES = (
    ("committee-membership-current.json", SEAT),
    ("committees-current.json", COMMITTEE),
    ("legislators-current.json", POLITICIAN),
    ("legislators-historical.json", POLITICIAN),
)
FEW = 10
_CSV_NEEDS = {"last_name", "first_name", "bioguide_id", "type"}


def read_file(run: IngestionRun, path: Path) -> None:
    """Read a file of congress-legislators into the run.

    Raises NotFound, UnexpectedType or SchemaMismatch; nothing of the file is then visible.
    """
    file = files.begin(run, path, EXPECTED)
    if file is None:
        return
    run.recognised(FEED)
    if file.first == files.ZIP or file.first == "<":
        raise SchemaMismatch(f"{path} is no known form", hint=f"expected one of: {EXPECTED}")
    if path.suffix.lower() in (".yaml", ".yml"):
        value = _yaml(file)
    elif file.first in "[{":
        value = files.json_value(file.read(), path)
    else:
        value = _csv(file)
    files.add_all(run, read(run, value, path))


def fetch(run: IngestionRun, request: Request) -> None:
    """All four files; one that has not changed since the last run is not sent again (ETag)."""
    settings = request.settings
    run.recognised(FEED)
    urls = [(f"{settings.base_url.rstrip('/')}/{name}", kind) for name, kind in FILES]
    validators = _validators(run)
    request.progress.expect(len(urls))
    answers = []
    with http.Client(
        run, headers={"Accept": "application/json"}, timeout_seconds=float(settings.timeout_seconds)
    ) as client:
        for url, _ in urls:
            answers.append(client.get(url, since=validators.get(url)))
            request.progress.advance()
        for kind in dict.fromkeys(kind for _, kind in urls):
            mine = [number for number, (_, part) in enumerate(urls) if part == kind]
            run.lists_all(kind)
            if all(answers[number].text is None for number in mine):
                run.confirm_all(kind)
                continue
            # A kind in two files is listed completely only by both together.
            for number in mine:
                if answers[number].text is None:
                    answers[number] = client.get(urls[number][0])
    position = 0
    for answer, (url, kind) in zip(answers, urls, strict=True):
        if answer.text is None:
            _note(run, url, _listed_before(run, url))
            continue
        rows = list(read(run, files.json_value(http.no_html(answer, "JSON"), url), url, position))
        _refuse_other(run, url, kind, rows)
        _note(run, url, len(rows))
        for row in rows:
            run.add(row)
            position = row.position


def _refuse_other(run: IngestionRun, url: str, kind: str, rows: list[Record | BadRow]) -> None:
    """Raise SchemaMismatch for another file's content, ShrunkenAnswer where this file lost many rows."""
    if any(isinstance(row, Record) and row.kind != kind for row in rows):
        raise SchemaMismatch(f"{url} does not hold {kind.replace('_', ' ')} records", hint="try again later")
    before = _listed_before(run, url)
    # A file of a handful of rows has no share to speak of.
    if before >= FEW and 0 < len(rows) < before * (1 - MAX_SHRINK) and not run.allow_shrink:
        raise ShrunkenAnswer(
            f"{url} listed {before} records, and now only {len(rows)}",
            hint="look at the source; accept it with --allow-shrink, and the rest is marked gone",
        )


def _listed_before(run: IngestionRun, url: str) -> int:
    """How many rows the file had in the last completed run that fetched it."""
    previous = run.last_asking(url)
    calls = [] if previous is None else [call for call in previous.api_calls if call["endpoint"] == url]
    return int(calls[-1].get("records") or 0) if calls else 0


def _note(run: IngestionRun, url: str, records: int) -> None:
    next(call for call in reversed(run.api_calls) if call["endpoint"] == url)["records"] = records


def _validators(run: IngestionRun) -> dict[str, dict[str, str]]:
    """The response of the feed's last run for each file: it is what the store holds."""
    last = run.last_of_feed()
    # A row that could not be read is looked at again, and what it may have hidden is not confirmed.
    return (
        {}
        if last is None or last.quarantined
        else {call["endpoint"]: http.validators(call) for call in last.api_calls}
    )


def data_age(run: IngestionRun) -> timedelta | None:
    """How old the seats are by the source's own date; None where it gives none."""
    for call in run.api_calls:
        if call["endpoint"].endswith(FILES[0][0]):
            try:
                modified = parsedate_to_datetime((call.get("headers") or {}).get("last-modified") or "")
            except (ValueError, TypeError):
                return None
            return clock.now() - modified if modified.tzinfo is not None else None
    return None


def read(run: IngestionRun, value: Any, where: object, start: int = 0) -> Iterator[Record | BadRow]:
    """The records of one file. Raises SchemaMismatch for a shape that is none of them."""
    if isinstance(value, dict) and (not value or any(isinstance(seats, list) for seats in value.values())):
        if not value:
            run.lists_all(SEAT)
        return _seats(value, start)
    items = [item for item in value[:50] if isinstance(item, dict)] if isinstance(value, list) else []
    if any("id" in item or item.keys() >= _CSV_NEEDS for item in items):
        return _politicians(value, start)
    if any("thomas_id" in item for item in items):
        return _committees(value, start)
    raise SchemaMismatch(f"{where} is no known form", hint=f"expected one of: {EXPECTED}")


def _seats(value: dict[str, Any], position: int) -> Iterator[Record | BadRow]:
    for code, seats in value.items():
        if not isinstance(code, str) or not isinstance(seats, list):
            position += 1
            text = json.dumps({str(code): seats}, ensure_ascii=False, default=str)
            yield BadRow(position, f"{code} is no committee with a list of seats", text)
            continue
        for seat in seats:
            position += 1
            payload = json.dumps({"committee": code, "seat": seat}, ensure_ascii=False)
            if not isinstance(seat, Mapping) or not seat.get("bioguide") or not seat.get("name"):
                yield BadRow(position, f"a seat of {code} without name or bioguide", payload)
                continue
            yield Record(
                kind=SEAT,
                position=position,
                identity=(code, str(seat["bioguide"])),
                content=tuple(_text(seat.get(key)) for key in ("name", "party", "rank", "title", "chamber")),
                payload=payload,
                actor=str(seat["name"]),
                person=str(seat["bioguide"]),
            )


def _committees(value: list[Any], position: int) -> Iterator[Record | BadRow]:
    for committee in value:
        position += 1
        payload = json.dumps(committee, ensure_ascii=False)
        if not isinstance(committee, Mapping) or not committee.get("thomas_id") or not committee.get("name"):
            yield BadRow(position, "a committee without thomas_id or name", payload)
            continue
        code = str(committee["thomas_id"])
        alone = {key: item for key, item in committee.items() if key != "subcommittees"}
        yield _committee(position, code, "", alone)
        parts = committee.get("subcommittees") or []
        if not isinstance(parts, list):
            position += 1
            yield BadRow(position, f"the subcommittees of {code} are no list", payload)
            continue
        for part in parts:
            position += 1
            if not isinstance(part, Mapping) or not part.get("thomas_id") or not part.get("name"):
                text = json.dumps(part, ensure_ascii=False)
                yield BadRow(position, f"a subcommittee of {code} without thomas_id or name", text)
                continue
            yield _committee(position, code + str(part["thomas_id"]), code, part)


def _committee(position: int, code: str, parent: str, row: Mapping[str, Any]) -> Record:
    return Record(
        kind=COMMITTEE,
        position=position,
        identity=(code,),
        content=(_text(row.get("name")), _text(row.get("type")), _text(row.get("jurisdiction")), parent),
        payload=json.dumps({"code": code, "parent": parent, **row}, ensure_ascii=False),
        actor=None,
    )


def _politicians(value: list[Any], position: int) -> Iterator[Record | BadRow]:
    for row in value:
        position += 1
        payload = json.dumps(row, ensure_ascii=False)
        person = _bioguide(row)
        if person is None:
            yield BadRow(position, "a legislator without a BioGuide id or a name", payload)
            continue
        try:
            name, term = (row["name"], (row.get("terms") or [{}])[-1]) if "name" in row else _from_csv(row)
            bio = row.get("bio") or row
            names = [_text(name.get(key)) for key in ("first", "middle", "last", "suffix", "nickname")]
            personal = [_text(bio.get(key)) for key in ("birthday", "gender")]
            # Only what all forms of the file have: the table has no dates of a term.
            personal += [_text(term.get(key)) for key in ("type", "state", "district", "party")]
        except (TypeError, AttributeError, KeyError):
            yield BadRow(position, f"the legislator {person} with a field of another type", payload)
            continue
        full = _text(name.get("official_full")) or f"{names[0]} {names[2]}"
        yield Record(
            kind=POLITICIAN,
            position=position,
            identity=(person,),
            content=(*names, *personal),
            payload=payload,
            actor=full,
            person=person,
        )


def _bioguide(row: Any) -> str | None:
    if not isinstance(row, Mapping):
        return None
    if "bioguide_id" in row:
        return str(row["bioguide_id"]) or None
    ids, name = row.get("id"), row.get("name")
    if not isinstance(ids, Mapping) or not isinstance(name, Mapping) or not name.get("last"):
        return None
    return str(ids.get("bioguide") or "") or None


def _from_csv(row: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """(name, last term) of a CSV row, which has no dates of the term."""
    name = {key: row.get(f"{key}_name") for key in ("first", "middle", "last")}
    return {
        **name,
        "suffix": row.get("suffix"),
        "nickname": row.get("nickname"),
        "official_full": row.get("full_name"),
    }, row


def _text(value: Any) -> str:
    """As text, the same from JSON and YAML."""
    return "" if value is None else str(value)


def _yaml(file: TextFile) -> Any:
    """Every scalar but null as text: YAML would make dates and numbers of some, and JSON has neither.

    Aliases and tags, which these files do not use, are refused: a few of them can fill any memory.
    """
    import yaml

    text = files.whole_lines(file)
    try:
        for token in yaml.scan(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(token, yaml.AliasToken | yaml.TagToken):
                raise UnexpectedType(
                    f"{file.path} has an alias or a tag on line {token.start_mark.line + 1}",
                    hint="these files have none; get it again",
                )
        return yaml.load(text, Loader=_loader(yaml))  # noqa: S506 -- a safe loader, below
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        raise files.truncated(file.path, " ".join(str(error).split())) from error


def _loader(yaml: Any) -> Any:
    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            mapping = super().construct_mapping(node, deep=deep)
            if len(mapping) < len(node.value):
                raise yaml.constructor.ConstructorError(None, None, "a key is there twice", node.start_mark)
            return mapping

    Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""])
    return Loader


def _csv(file: TextFile) -> list[Any]:
    with file.open() as stream:
        reader = csv.reader(stream, strict=True)
        try:
            header = next(reader, [])
        except csv.Error:
            header = []
        if not set(header) >= _CSV_NEEDS:
            raise SchemaMismatch(f"{file.path} is no known form", hint=f"expected one of: {EXPECTED}")
        # A row that is none stands as what it is, and is found to be no legislator.
        rows = list(files.whole_rows(file, header, reader))
    if not file.ends_in_newline:
        raise files.truncated(file.path, "its last line has no end")
    return [row.payload if row.reason else row.row for row in rows]


SOURCE = Source(
    name="congress-legislators",
    commands={"committees": FEED},
    origin="github.com/unitedstates/congress-legislators, kept by volunteers from official lists",
    terms="CC0 1.0, public domain",
    fetch=fetch,
    settings=LegislatorsConfig,
)
