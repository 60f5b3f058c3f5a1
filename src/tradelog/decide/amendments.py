"""Ownership filings that amend others: a 4/A stands in the place of its own Form 4, and of nothing else.

EDGAR links the two by no number. An amendment says the day on which its original was filed; issuer, owners
and the form are the same. Of several such originals it is the one of the same period of report.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date

from tradelog.decide.strategies.base import Disclosure

KIND = "insider_trade"

# The filings that amendments are of, and the amendments: those of completed runs, current, filed by then.
_FILINGS = """
SELECT v.document, coalesce(v.amends, v.reference) AS key, v.amends IS NOT NULL, v.event_date,
       substr(v.payload, instr(v.payload, '<documentType>'), 40)
FROM record_versions v
JOIN source_records r ON r.record_id = v.record_id AND r.kind = 'insider_filing'
JOIN data_ingestion_runs d ON d.id = v.run AND d.status = 'completed'
WHERE (v.amends IS NOT NULL
       OR v.reference IN (SELECT a.amends FROM record_versions a WHERE a.amends IS NOT NULL))
  AND v.filed_at <= :until AND v.backfill <= :backfill AND v.gone = 0
  AND NOT EXISTS (
    SELECT 1 FROM record_versions n
    JOIN data_ingestion_runs e ON e.id = n.run AND e.status = 'completed'
    WHERE n.record_id = v.record_id AND n.version_id > v.version_id)
ORDER BY v.filed_at, v.version_id
"""


@dataclass(frozen=True, slots=True)
class _Filing:
    document: str
    form: str
    period: str | None


def applied(
    connection: sqlite3.Connection, disclosures: Iterable[Disclosure], until: str, *, backfill: bool
) -> Iterator[Disclosure]:
    """The disclosures that stand on a day (``until``: its end, store text).

    Without what was amended, and with amendments dated by their original. An amendment that does not
    say what it amends is left out: it could be news of any age.
    """
    superseded, originals = _standing(connection, until, backfill=backfill)
    for item in disclosures:
        if item.document in superseded:
            continue
        if "amendment" not in item.flags:
            yield item
        elif item.document in originals:
            yield replace(item, filed=originals[item.document], amendment=True)


def _standing(
    connection: sqlite3.Connection, until: str, *, backfill: bool
) -> tuple[set[str], dict[str, date]]:
    """(documents that another one has taken the place of, the original's filing day by amendment)."""
    cursor = connection.cursor()
    cursor.row_factory = None
    current: dict[str, list[_Filing]] = {}
    superseded: set[str] = set()
    originals: dict[str, date] = {}
    rows = cursor.execute(_FILINGS, {"until": until, "backfill": int(backfill)}).fetchall()
    # Originals first: an amendment that was accepted within the same second may come before its own.
    for document, key, is_amendment, period, head in sorted(rows, key=lambda row: row[2]):
        filing = _Filing(document, _form(head), period)
        standing = current.setdefault(key, [])
        if is_amendment:
            try:
                originals[document] = date.fromisoformat(key.rsplit(" ", 1)[1])
            except ValueError:  # the day is as the filer wrote it
                continue
            for replaced in _own(filing, standing):
                standing.remove(replaced)
                superseded.add(replaced.document)
        standing.append(filing)
    return superseded, originals


def _own(amendment: _Filing, standing: list[_Filing]) -> list[_Filing]:
    """What an amendment takes the place of: where the period does not distinguish them, all that it may."""
    alike = [item for item in standing if item.form == amendment.form]
    same = [item for item in alike if item.period == amendment.period]
    return same if len(alike) > 1 and same else alike


def _form(head: str) -> str:
    """3, 4 or 5, of the form or its amendment."""
    match = re.match(r"<documentType>\s*([345])", head)
    return match[1] if match else ""
