"""What was known of a symbol at a moment: the versions that we had by then, and no others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from tradelog.domain import clock
from tradelog.domain.symbols import normalise_ticker
from tradelog.errors import NotFound
from tradelog.store.reader import Reader, Row

NEWEST = 50

# Per record the newest version that was visible by then: a run's records are, once it has completed.
_BY_US = """
SELECT max(w.version_id) FROM record_versions w JOIN data_ingestion_runs r ON r.id = w.run
WHERE w.record_id = t.record_id AND r.status = 'completed' AND r.completed_at <= :at
"""
# Per record the newest version of all whose filing was public by then, whenever we saw it.
_AS_FILED = """
SELECT max(w.version_id) FROM record_versions w JOIN data_ingestion_runs r ON r.id = w.run
WHERE w.record_id = t.record_id AND r.status = 'completed' AND w.filed_at <= :at
"""
_KNOWN = """
FROM (SELECT DISTINCT record_id FROM record_versions WHERE symbol = :symbol) t
JOIN record_versions v ON v.version_id = ({newest})
JOIN data_ingestion_runs d ON d.id = v.run
JOIN source_records s ON s.record_id = v.record_id
WHERE v.symbol = :symbol
"""
_COLUMNS = """
SELECT v.version_id, v.record_id, s.kind, d.run_id, d.data_source, d.completed_at AS known_since,
       v.first_seen_at, v.actor AS member, coalesce(v.person, (
           SELECT n.person FROM name_resolutions n JOIN data_ingestion_runs e ON e.id = n.run
           WHERE n.feed = s.feed AND n.name = v.actor
             AND e.status = 'completed' AND e.completed_at <= :linked
           ORDER BY n.resolution_id DESC LIMIT 1)) AS person,
       v.side, v.event_date, v.filed_at, v.filed_as_given, v.amount_low, v.amount_high,
       v.flags, v.backfill, v.gone, (SELECT p.path FROM archived_payloads p
           WHERE p.version_id = v.version_id AND v.payload = '') AS archived,
       -- A version from before schema 0002 has its document in the payload only.
       coalesce(v.document, CASE WHEN s.feed = 'senate-efd' AND v.payload <> ''
                                 THEN json_extract(v.payload, '$.report_id') END) AS document
"""
# A filing is found by its document; an amendment of it says in ``amends`` what the other has as
# ``reference``. Two reports of a member and a day share one: then it amends one of several. Both are
# taken as they were last known by then.
_LINKED = """
SELECT DISTINCT o.document FROM record_versions f JOIN record_versions o ON o.{other} = f.{own}
WHERE f.document = :document AND f.{own} IS NOT NULL AND o.{other} IS NOT NULL
  AND f.gone = 0 AND f.version_id = ({newest_f}) AND o.gone = 0 AND o.version_id = ({newest_o})
ORDER BY o.document
"""
_NEWEST_OF = """
SELECT max(w.version_id) FROM record_versions w JOIN data_ingestion_runs r ON r.id = w.run
WHERE w.record_id = {row}.record_id AND r.status = 'completed' AND r.completed_at <= :linked"""


@dataclass(frozen=True, slots=True)
class Known:
    """``at`` is store text (UTC). ``as_filed`` answers by the source's filing time, not by ours."""

    symbol: str
    at: str
    as_filed: bool
    versions: list[Row]
    total: int


def known(reader: Reader, symbol: str, at: datetime, *, as_filed: bool = False, limit: int = NEWEST) -> Known:
    """Newest first, at most ``limit`` rows (-1: all). Raises NotFound for a symbol never seen at all."""
    params = {
        "symbol": normalise_ticker(symbol),
        "at": clock.to_text(at),
        # Who a name is and what amends what: as we knew it then, or where that does not matter, now.
        "linked": clock.now_text() if as_filed else clock.to_text(at),
        "limit": limit,
    }
    chosen = _KNOWN.format(newest=_AS_FILED if as_filed else _BY_US)
    rows = reader.rows(f"{_COLUMNS} {chosen} ORDER BY v.version_id DESC LIMIT :limit", params)
    if not rows and not reader.value("SELECT 1 FROM record_versions WHERE symbol = :symbol LIMIT 1", params):
        raise NotFound(
            f"nothing is known about {params['symbol']}", hint="tradelog runs lists what was fetched"
        )
    # Once a filing: it may have a thousand lines.
    links = {document: _links(reader, document, params) for document in {row["document"] for row in rows}}
    for row in rows:
        row["flags"] = json.loads(row["flags"]) if row["flags"] else []
        row["amends"], row["amended_by"] = links[row["document"]]
        row["disclosure_lag_days"] = _lag(row["event_date"], row["filed_at"])
    total = reader.value(f"SELECT count(*) {chosen}", params)
    return Known(str(params["symbol"]), str(params["at"]), as_filed, rows, int(total))


def _links(reader: Reader, document: str | None, params: Row) -> tuple[list[str], list[str]]:
    """(the documents that a filing amends, those that amend it)."""
    if document is None:
        return [], []
    newest = {f"newest_{row}": _NEWEST_OF.format(row=row) for row in ("f", "o")}
    amends, amended_by = (
        reader.rows(
            _LINKED.format(own=own, other=other, **newest),
            {"document": document, "linked": params["linked"]},
        )
        for own, other in (("amends", "reference"), ("reference", "amends"))
    )
    return [str(row["document"]) for row in amends], [str(row["document"]) for row in amended_by]


def _lag(event_date: str | None, filed_at: str | None) -> int | None:
    """Days from the trade to its filing, both as days of the market; None where one is unknown."""
    if event_date is None or filed_at is None:
        return None
    # A filing of a bare date counts to the end of its day: the moment before is still that day.
    filed = clock.from_text(filed_at) - timedelta(microseconds=1)
    return (filed.astimezone(clock.zone(clock.MARKET_ZONE)).date() - date.fromisoformat(event_date)).days
