"""The ingestion runs: counts, and how each ended."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any

from tradelog.report.period import Period
from tradelog.store.reader import Reader, Row, effective_status

NEWEST = 50
RECORDS = 50
# What a run of status ``running`` may be.
UNSURE = ("running", "abandoned")

_WHERE = "started_at >= :since AND started_at < :before"
_RUNS = f"SELECT * FROM data_ingestion_runs WHERE {_WHERE}"
_COUNT = f"SELECT count(*) FROM data_ingestion_runs WHERE {_WHERE}"
_LAST = "SELECT * FROM data_ingestion_runs WHERE data_source = ? ORDER BY started_at DESC, id DESC LIMIT 1"
_NEWEST_FIRST = " ORDER BY started_at DESC, id DESC LIMIT :limit"
_RECORDS = """
SELECT v.version_id, v.record_id, i.outcome, v.position, v.symbol, v.actor AS member, v.side, v.event_date,
       v.filed_as_given, v.flags
FROM record_versions v JOIN ingestion_records i ON i.record_id = v.record_id AND i.run = v.run
WHERE v.run = ? ORDER BY v.version_id LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs to list, by when they were started; None is any."""

    period: Period
    task: str | None = None
    source: str | None = None
    status: str | None = None


def runs(reader: Reader, wanted: Wanted, *, limit: int = NEWEST) -> tuple[list[Row], int]:
    """(runs, newest first, how many there are in all); limit -1 gives all."""
    asked: dict[str, Any] = {"since": wanted.period.since, "before": wanted.period.before, "limit": limit}
    more = ""
    for name, value in (("task_name", wanted.task), ("data_source", wanted.source)):
        if value is not None:
            asked[name], more = value, f"{more} AND {name} = :{name}"
    if wanted.status in UNSURE:
        # Which of these a run is depends on its process; they are few.
        rows = reader.rows(
            f"{_RUNS}{more} AND status IN ('running', 'abandoned'){_NEWEST_FIRST}", {**asked, "limit": -1}
        )
        found = [row for row in map(_plain, rows) if row["status"] == wanted.status]
        return found if limit < 0 else found[:limit], len(found)
    if wanted.status is not None:
        asked["status"], more = wanted.status, f"{more} AND status = :status"
    found = [_plain(row) for row in reader.rows(_RUNS + more + _NEWEST_FIRST, asked)]
    return found, int(reader.value(_COUNT + more, asked))


def last_of(reader: Reader, feeds: list[str]) -> dict[str, Any] | None:
    """The newest run of any of these feeds, however it ended; None where there is none."""
    newest = (
        "SELECT * FROM data_ingestion_runs WHERE data_source = ? ORDER BY started_at DESC, id DESC LIMIT 1"
    )
    found = [row for feed in feeds if (row := reader.one(newest, (feed,))) is not None]
    if not found:
        return None
    row = max(found, key=lambda run: int(run["id"]))
    return {"run_id": row["run_id"], "status": effective_status(row), "started_at": row["started_at"]}


def run(reader: Reader, run_id: str, *, limit: int = RECORDS) -> dict[str, Any]:
    """One run with its first records; those of a run that did not complete are not records of it."""
    row = reader.one("SELECT * FROM data_ingestion_runs WHERE run_id = ?", (run_id,))
    assert row is not None
    found = _plain(row)
    escape_controls = found["status"] == "completed"
    found["records"] = reader.rows(_RECORDS, (row["id"], limit)) if escape_controls else []
    for record in found["records"]:
        record["flags"] = json.loads(record["flags"]) if record["flags"] else []
    found["quarantined"] = reader.rows(
        "SELECT position, reason, payload FROM quarantined_rows WHERE run = ? ORDER BY position LIMIT ?",
        (row["id"], limit),
    )
    found["clock_offsets"] = reader.rows(
        "SELECT source, measured_at, remote_date, offset_ms, uncertainty_ms FROM clock_offsets"
        " WHERE subject = ? ORDER BY offset_id",
        (run_id,),
    )
    packed = row["unchanged_ids"]
    found["unchanged_versions"] = zlib.decompress(packed).decode() if packed else ""
    return found


def _plain(row: Row) -> Row:
    found = {key: value for key, value in row.items() if key not in ("id", "unchanged_ids")}
    found["status"] = effective_status(row)
    for key in ("params", "api_calls", "error_details"):
        found[key] = json.loads(row[key]) if row[key] else None
    return found
