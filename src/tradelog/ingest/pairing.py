"""Which row of an answer is which record: rows and records of one identity, paired."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


class Row(NamedTuple):
    """A staged row, by its number in the temporary table."""

    number: int
    content_hash: bytes
    filed_at: str | None
    person: str | None
    amount_high: str | None


class Known(NamedTuple):
    """A record of the feed and its current version; ``version_id`` is None where a dead run left it."""

    record_id: int
    occurrence: int
    version_id: int | None
    content_hash: bytes | None
    gone: int | None
    backfill: int | None
    filed_at: str | None
    person: str | None
    amount_high: str | None


@dataclass(frozen=True, slots=True)
class Write:
    """A version to be written; ``known`` is None for a record that is new itself."""

    row: Row
    known: Known | None
    occurrence: int
    backfill: int

    @property
    def is_created(self) -> bool:
        """Whether the row starts a new record."""
        return self.known is None or self.known.version_id is None


@dataclass(slots=True)
class Counts:
    created: int = 0
    updated: int = 0
    quarantined: int = 0
    gone: int = 0
    unchanged: array[int] = field(default_factory=lambda: array("q"))

    @property
    def fetched(self) -> int:
        """Rows that were read, quarantined ones included."""
        return self.created + self.updated + len(self.unchanged) + self.quarantined

    def columns(self) -> dict[str, int]:
        """As the run's row has them."""
        return {
            "records_fetched": self.fetched,
            "records_created": self.created,
            "records_updated": self.updated,
            "records_skipped": len(self.unchanged),
            "records_quarantined": self.quarantined,
            "records_gone": self.gone,
        }

    def take(self, write: Write) -> None:
        """Count a version that is written."""
        if write.is_created:
            self.created += 1
        else:
            self.updated += 1


def pair(rows: list[Row], records: list[Known], backfill_before: str, counts: Counts) -> Iterator[Write]:
    """Pair the rows of one identity with its records, in three rounds.

    First what is equal; then what is equal but was gone or had fewer fields; what is left in order, records
    that are listed before those that are gone.
    """
    occurrence = max((item.occurrence for item in records), default=0)
    by_hash: dict[bytes | None, list[Known]] = {}
    for item in reversed(records):
        by_hash.setdefault(item.content_hash, []).append(item)
    taken: set[int] = set()
    second: list[Row] = []
    for row in rows:
        same = by_hash.get(row.content_hash, ())
        equal = next((item for item in reversed(same) if not item.gone and not adds(row, item)), None)
        if equal is None:
            second.append(row)
            continue
        by_hash[row.content_hash].remove(equal)
        taken.add(equal.record_id)
        assert equal.version_id is not None
        counts.unchanged.append(equal.version_id)
    third: list[Row] = []
    for row in second:
        alike = by_hash.get(row.content_hash)
        if alike:
            best = min(alike, key=lambda item: (bool(item.gone), item.occurrence))
            alike.remove(best)
            taken.add(best.record_id)
            yield _changed(row, best, backfill_before)
        else:
            third.append(row)
    left = [item for item in records if item.record_id not in taken]
    left.sort(key=lambda item: (bool(item.gone), item.occurrence))
    for row, item in itertools.zip_longest(third, left[: len(third)]):
        if item is None:
            occurrence += 1
            yield Write(row, None, occurrence, _is_backfill(row, backfill_before))
        else:
            yield _changed(row, item, backfill_before)


def _changed(row: Row, record: Known, backfill_before: str) -> Write:
    """A correction of history stays history."""
    is_backfill = _is_backfill(row, backfill_before) if record.backfill is None else record.backfill
    return Write(row, record, record.occurrence, is_backfill)


def _is_backfill(row: Row, backfill_before: str) -> int:
    """Whether a filing is older than the first fetch: history, not news."""
    return int(row.filed_at is None or row.filed_at < backfill_before)


def adds(row: Row, record: Known) -> bool:
    """Whether a row of the same content has more fields: one form of a feed has what another lacks.

    Never the other way round, so that two forms taken in turn end with the richer one.
    """
    is_earlier = row.filed_at is not None and (record.filed_at is None or row.filed_at < record.filed_at)
    is_named = row.person is not None and record.person is None
    is_bounded = row.amount_high is not None and record.amount_high is None
    return is_earlier or is_named or is_bounded
