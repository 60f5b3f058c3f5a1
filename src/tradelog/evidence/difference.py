"""What differs in a row whose digest is no longer the one that the journal has.

A digest does not tell what it was taken over. But it proves a guess: each column in turn is set to what
it may have been - nothing, the time of the entry, what other rows have there, what the row itself or the
broker's answers hold elsewhere - and the one that gives the digest again was the one that was changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterable, Sequence
from hashlib import sha256
from typing import Any

from tradelog.store.audited import AUDITED, row_text
from tradelog.store.reader import Reader
from tradelog.store.run_digest import KEPT_BYTES

MOST_OTHERS = 200
MOST_WORDS = 500
_WORD = re.compile(r"[A-Za-z0-9_.:+-]+")


def of_row(reader: Reader, table: str, row: dict[str, Any], version: int, last: int, digest: str) -> str:
    """The column that was changed, with what it was; or that it cannot be told."""
    audited = AUDITED[table]
    earlier = _earlier_state(reader, table, str(row[audited.key]), audited.digest([*row.values()], version))
    if earlier is not None:
        return f"it is as entry {earlier} left it, before that"
    words = _words([*row.values(), *_exchanges(reader, row)])
    entry = reader.value("SELECT body FROM journal WHERE seq = ?", (last,))
    times = [str(json.loads(entry)["at"])] if entry else []
    # The states that a column may have, as its CHECK names them.
    form = reader.value("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,))
    states = re.findall(r"'(\w+)'", form)

    def others(column: str) -> list[Any]:
        sql = f"SELECT DISTINCT {column} AS value FROM {table} LIMIT {MOST_OTHERS}"
        return [found["value"] for found in reader.rows(sql)]

    return search(
        row, [*times, *states, *words], others, lambda values: audited.digest(values, version) == digest
    ) or ("what it was cannot be told from its digest")


def of_version(row: dict[str, Any], others: list[dict[str, Any]], missing: Container[bytes]) -> str | None:
    """The same of a row that a run brought, by the beginnings of digests that none of its rows has now."""

    def same_column(column: str) -> list[Any]:
        return list(dict.fromkeys(other[column] for other in others))[:MOST_OTHERS]

    def is_right(values: list[Any]) -> bool:
        return sha256(row_text(values).encode()).digest()[:KEPT_BYTES] in missing

    return search(row, _words(row.values()), same_column, is_right)


def search(
    row: dict[str, Any],
    words: Sequence[str],
    others: Callable[[str], list[Any]],
    is_right: Callable[[list[Any]], bool],
) -> str | None:
    """The one column that, set to something else that is known, makes the row right again."""
    values = list(row.values())
    for number, name in enumerate(row):
        here = values[number]
        for guess in (None, *_near(here, words), *others(name)):
            values[number] = guess
            if is_right(values):
                return f"{name} is {_shown(here)} and was {_shown(guess)}"
        values[number] = here
    return None


def _near(here: Any, words: Sequence[str]) -> Iterable[Any]:
    if not isinstance(here, int):
        return words
    numbers = (int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 19)
    return (0, 1, here - 1, here + 1, *numbers)


def _words(texts: Iterable[Any]) -> list[str]:
    """What texts hold, in pieces that a column may hold as a whole."""
    found: dict[str, None] = {}
    for text in texts:
        if isinstance(text, str):
            found |= dict.fromkeys(_WORD.findall(text))
    return list(found)[:MOST_WORDS]


def _exchanges(reader: Reader, row: dict[str, Any]) -> list[str]:
    """What was said with the broker about a decision or an attempt."""
    ids = [row[name] for name in ("decision_id", "execution_id") if row.get(name)]
    sql = (
        "SELECT request_body, response_body FROM broker_calls WHERE execution_id = ?1 OR execution_id IN"
        " (SELECT execution_id FROM trade_executions WHERE decision_id = ?1) LIMIT 20"
    )
    calls = [call for id_ in ids for call in reader.rows(sql, (id_,))]
    return [text for call in calls for text in call.values() if text]


def _earlier_state(reader: Reader, table: str, key: str, digest: str) -> int | None:
    """The entry that says of the row just what it is now, where an older one does."""
    wanted = json.dumps([table, key], ensure_ascii=False, separators=(",", ":"))[:-1]
    found = reader.value(
        "SELECT max(seq) FROM journal WHERE instr(body, ?) > 0 AND instr(body, ?) > 0", (wanted, digest)
    )
    return None if found is None else int(found)


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    text = str(value)
    return repr(text if len(text) <= 80 else text[:77] + "...") if isinstance(value, str) else text
