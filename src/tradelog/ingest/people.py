"""Name resolution: one BioGuide id for all spellings of a member's name, or openly none.

The names are matched against the politicians of congress-legislators. A last name alone proves
nothing: every given name, initial or nickname must fit, and one person only may be left. The
result, or why there is none, is a row of ``name_resolutions`` under the run that made it.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tradelog.domain.text import normalise_name
from tradelog.store.run_digest import RunDigest
from tradelog.store.writer import Writer

KIND = "politician"
FEED = "congress-legislators"
NOBODY = "no member of that name is known"

# Electronic disclosure begins in 2012; whoever left office well before has never filed one.
SERVED_SINCE = "2008-01-01"
BORN_SINCE = "1915"
# Feeds of one chamber only.
CHAMBERS = {"house-stock-watcher": "rep", "senate-stock-watcher": "sen", "senate-efd": "sen"}
_SUFFIXES = frozenset({"jr", "sr", "ii", "iii", "iv"})
_TITLES = re.compile(r"\b(?:M\.?D|D\.?D\.?S|D\.?V\.?M|Ph\.?D|FACS|Esq)\b\.?", re.IGNORECASE)
_BRACKETS = re.compile(r"\(([^)]*)\)")
# Fewer letters are the beginning of too many names.
SHORT_FORM_LETTERS = 3

_CURRENT = """
SELECT n.feed, n.name, n.person, n.version_id, n.reason, r.started_at
FROM name_resolutions n JOIN data_ingestion_runs r ON r.id = n.run
WHERE n.resolution_id = (
    SELECT max(m.resolution_id) FROM name_resolutions m JOIN data_ingestion_runs d ON d.id = m.run
    WHERE m.feed = n.feed AND m.name = n.name AND d.status = 'completed')
"""
_NAMES = """
SELECT DISTINCT r.feed, v.actor FROM record_versions v JOIN source_records r USING (record_id)
JOIN data_ingestion_runs d ON d.id = v.run AND d.status = 'completed'
WHERE r.kind = 'congress_trade' AND v.actor IS NOT NULL AND v.person IS NULL
"""
# When the politicians last changed.
_NEWEST = """
SELECT max(completed_at) FROM data_ingestion_runs
WHERE data_source = ? AND status = 'completed' AND records_created + records_updated > 0
"""
_POLITICIANS = """
SELECT v.version_id, v.person, v.payload FROM source_records r
JOIN record_versions v ON v.version_id = (
    SELECT max(w.version_id) FROM record_versions w JOIN data_ingestion_runs d ON d.id = w.run
    WHERE w.record_id = r.record_id AND w.gone = 0 AND (d.status = 'completed' OR d.id = ?))
WHERE r.feed = ? AND r.kind = ?
"""


@dataclass(frozen=True, slots=True)
class Politician:
    """Names normalised; ``given`` are the first name, the middle names and the nickname, word by word.

    ``leads`` are those of them with which the name may begin.

    ``exact`` are the first name alone, and with the middle names: initials there are the name itself.
    """

    person: str
    version_id: int
    last: tuple[str, ...]
    exact: frozenset[tuple[str, ...]]
    given: frozenset[str]
    leads: frozenset[str]
    has_middle: bool
    suffix: str
    chambers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Found:
    person: str | None
    version_id: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """``changed`` are (feed, name) with what is found now; ``unresolved`` names of the rows at hand."""

    changed: list[tuple[tuple[str, str], Found]]
    unresolved: list[str]


def resolve(
    writer: Writer,
    run: int,
    feed: str,
    found_names: Iterable[str],
    digest: RunDigest,
    *,
    everybody: bool,
) -> list[str]:
    """Resolve the names of a run's rows, or with ``everybody`` all that were ever seen.

    Returns those of this feed that stay unresolved. Rows are written only where something changed.
    """
    with writer.reading() as connection:
        changes = plan(connection, run, feed, found_names, everybody=everybody)
    if changes.changed:
        _write(writer, run, changes.changed, digest)
    return changes.unresolved


def plan(
    connection: sqlite3.Connection,
    run: int,
    feed: str,
    found_names: Iterable[str],
    *,
    everybody: bool = False,
) -> Plan:
    """What `resolve` would write.

    A name that is resolved is not looked at again until the politicians change; one that is not is,
    where they have changed since: the two may have been fetched side by side.
    """
    mine = set(found_names)
    current, since = {}, {}
    for row in connection.execute(_CURRENT).fetchall():
        current[row[0], row[1]] = Found(row[2], row[3], row[4])
        since[row[0], row[1]] = row[5]
    newest = connection.execute(_NEWEST, (FEED,)).fetchone()[0] or ""
    names = {
        (feed, name)
        for name in mine
        if (feed, name) not in current or (current[feed, name].person is None and since[feed, name] <= newest)
    }
    if everybody:
        # A store from before names were resolved has them in its records only.
        names |= current.keys() or {(row[0], row[1]) for row in connection.execute(_NAMES)}
    politicians = index(read(connection, run)) if names else {}
    changed = []
    for key in sorted(names):
        answer = match(key[1], politicians, CHAMBERS.get(key[0]))
        before = current.get(key)
        if before is None or before.person != answer.person or before.reason != answer.reason:
            changed.append((key, answer))
            current[key] = answer
    return Plan(changed, sorted(name for name in mine if current[feed, name].person is None))


def _write(writer: Writer, run: int, changed: list[tuple[tuple[str, str], Found]], digest: RunDigest) -> None:
    with writer.transaction() as tx:
        tx.bulk(
            "INSERT INTO name_resolutions (run, feed, name, person, version_id, reason)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [
                (run, *key, resolution.person, resolution.version_id, resolution.reason)
                for key, resolution in changed
            ],
        )
    digest.add("name_resolutions", "t.run = ?", (run,))


def read(connection: sqlite3.Connection, run: int) -> list[Politician]:
    """All politicians that can have filed a disclosure, by completed runs and this one."""
    rows = connection.execute(_POLITICIANS, (run, FEED, KIND))
    politicians = (_politician(row[0], row[1], json.loads(row[2])) for row in rows)
    return [item for item in politicians if item is not None]


def index(politicians: Iterable[Politician]) -> Mapping[str, list[Politician]]:
    """By the last word of the last name."""
    by_last: dict[str, list[Politician]] = {}
    for item in politicians:
        by_last.setdefault(item.last[-1], []).append(item)
    return by_last


def match(name: str, politicians: Mapping[str, list[Politician]], chamber: str | None = None) -> Found:
    """The one politician whom a name fits, or the reason why there is none.

    Where the source adds another form of the name in brackets, that one may fit instead. A short form
    counts as much as the whole name: Tim Johnson may be a Timothy V. Johnson.
    """
    resolution = Found(None, None, NOBODY)
    for words in _forms(name):
        suffix = next((word for word in words if word in _SUFFIXES), "")
        bare = [word for word in words if word not in _SUFFIXES]
        fitting = [
            item
            for item in (politicians.get(bare[-1], []) if bare else [])
            if (chamber is None or chamber in item.chambers) and _fits(bare, suffix, item)
        ]
        if len(fitting) == 1:
            return Found(fitting[0].person, fitting[0].version_id, "the name fits this member only")
        if fitting:
            several = ", ".join(sorted(item.person for item in fitting))
            resolution = Found(None, None, f"several members fit: {several}")
    return resolution


def _forms(name: str) -> list[list[str]]:
    """The normalised words of each form of a name: as it is, and as its brackets have it.

    "The Honorable Rafael E Cruz (Cruz, Ted)" and "Rafael Edward (Ted) Cruz" are both Ted Cruz as well.
    """
    plain = _words(_BRACKETS.sub(" ", name))
    forms = [plain]
    for inner in _BRACKETS.findall(name):
        words = _words(inner)
        if words and plain:
            forms.append(words if "," in inner else [*words, plain[-1]])
    return forms


def _words(name: str) -> list[str]:
    """The normalised words of a name, the given names first: "Last, First" is reversed."""
    last, _, first = _TITLES.sub(" ", name).strip(" ,").partition(",")
    behind = normalise_name(first).split()
    if behind and not set(behind) <= _SUFFIXES:
        return [*behind, *normalise_name(last).split()]
    return [*normalise_name(last).split(), *behind]


def _fits(words: list[str], suffix: str, politician: Politician) -> bool:
    """Every given word fits, the first one where a name begins, one of them being more than an initial.

    Jr. and III distinguish fathers and sons: a suffix fits only a member who has it.
    """
    size = len(politician.last)
    given_names = words[:-size]
    if tuple(words[-size:]) != politician.last or not given_names:
        return False
    if suffix and suffix != politician.suffix:
        return False
    if tuple(given_names) in politician.exact and (len(given_names) > 1 or len(given_names[0]) > 1):
        return True
    if not any(_is_like(given_names[0], other) for other in politician.leads):
        return False
    unknown = [word for word in given_names if not any(_is_like(word, other) for other in politician.given)]
    is_named = any(
        len(word) > 1 and any(len(other) > 1 and _is_like(word, other) for other in politician.given)
        for word in given_names
    )
    # A middle name is no contradiction where the politician's own is not known.
    return is_named and (not unknown or (len(unknown) == 1 and not politician.has_middle))


def _is_like(word: str, other: str) -> bool:
    """Equal, an initial, or a short form: Greg and Gregory, Dan and Daniel."""
    short, long = sorted((word, other), key=len)
    return _same(word, other) or (len(short) >= SHORT_FORM_LETTERS and long.startswith(short))


def _same(word: str, other: str) -> bool:
    """Equal, or the one an initial of the other."""
    return word == other or (1 in (len(word), len(other)) and word[0] == other[0])


def _politician(version_id: int, person: str, row: dict[str, Any]) -> Politician | None:
    """One from a version's payload, JSON or a row of the CSV; None for whom no disclosure can be of."""
    if "name" in row:
        name, terms = row["name"], [term for term in row.get("terms") or [] if isinstance(term, dict)]
        served = [term for term in terms if str(term.get("end") or "9") >= SERVED_SINCE]
        chambers = frozenset(str(term.get("type")) for term in served)
        middle, full = name.get("middle"), name.get("official_full")
    else:
        name = {key.removesuffix("_name"): value for key, value in row.items()}
        served = [row] if str(row.get("birthday") or "") >= BORN_SINCE else []
        # The table has the last term only, without earlier chambers.
        chambers = frozenset({"rep", "sen"})
        middle, full = row.get("middle_name"), row.get("full_name")
    last = tuple(normalise_name(str(name.get("last") or "")).split())
    if not served or not last:
        return None
    first = normalise_name(str(name.get("first") or "")).split()
    middles = normalise_name(str(middle or "")).split()
    nicknames = normalise_name(str(name.get("nickname") or "")).split()
    whole = [word for word in normalise_name(str(full or "")).split() if word not in _SUFFIXES]
    called = whole[: -len(last)] if tuple(whole[-len(last) :]) == last else []
    leads = {*first[:1], *nicknames, *called[:1]}
    if len("".join(first[:1])) == 1:  # C. Scott Franklin is called Scott
        leads |= {*middles, *called}
    return Politician(
        person=person,
        version_id=version_id,
        last=last,
        exact=frozenset({tuple(first), (*first, *middles)}),
        given=frozenset({*first, *middles, *nicknames, *called}),
        leads=frozenset(leads),
        has_middle=bool(middle),
        suffix=normalise_name(str(name.get("suffix") or "")),
        chambers=chambers,
    )
