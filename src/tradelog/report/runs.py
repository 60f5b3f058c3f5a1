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
_NEWEST_FIRST = " ORDER BY started_at DESC, id DESC LIMIT :limit"
_RECORDS = """
SELECT v.version_id, v.record_id, i.outcome, v.position, v.symbol, v.actor AS member, v.side, v.event_date,
       v.filed_as_given, v.flags
FROM record_versions v JOIN ingestion_records i ON i.record_id = v.record_id AND i.run = v.run
WHERE v.run = ? ORDER BY v.version_id LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which runs to list, by when they were started; None is any."""

    period: Period
    task: str | None = None
    source: str | None = None
    status: str | None = None


def runs(reader: Reader, selection: Selection, *, limit: int = NEWEST) -> tuple[list[Row], int]:
    """(runs, newest first, how many there are in all); limit -1 gives all."""
    params: dict[str, Any] = {
        "since": selection.period.since,
        "before": selection.period.before,
        "limit": limit,
    }
    more = ""
    for name, value in (("task_name", selection.task), ("data_source", selection.source)):
        if value is not None:
            params[name], more = value, f"{more} AND {name} = :{name}"
    if selection.status in UNSURE:
        # Which of these a run is depends on its process; they are few.
        rows = reader.rows(
            f"{_RUNS}{more} AND status IN ('running', 'abandoned'){_NEWEST_FIRST}", {**params, "limit": -1}
        )
        listed = [row for row in map(_plain, rows) if row["status"] == selection.status]
        return listed if limit < 0 else listed[:limit], len(listed)
    if selection.status is not None:
        params["status"], more = selection.status, f"{more} AND status = :status"
    listed = [_plain(row) for row in reader.rows(_RUNS + more + _NEWEST_FIRST, params)]
    return listed, int(reader.value(_COUNT + more, params))


def last_of(reader: Reader, feeds: list[str]) -> dict[str, Any] | None:
    """The newest run of any of these feeds, however it ended; None where there is none."""
    newest = (
        "SELECT * FROM data_ingestion_runs WHERE data_source = ? ORDER BY started_at DESC, id DESC LIMIT 1"
    )
    rows = [row for feed in feeds if (row := reader.one(newest, (feed,))) is not None]
    if not rows:
        return None
    row = max(rows, key=lambda run: int(run["id"]))
    return {"run_id": row["run_id"], "status": effective_status(row), "started_at": row["started_at"]}


def run(reader: Reader, run_id: str, *, limit: int = RECORDS) -> dict[str, Any]:
    """One run with its first records; those of a run that did not complete are not records of it."""
    row = reader.one("SELECT * FROM data_ingestion_runs WHERE run_id = ?", (run_id,))
    assert row is not None
    result = _plain(row)
    escape_controls = result["status"] == "completed"
    result["records"] = reader.rows(_RECORDS, (row["id"], limit)) if escape_controls else []
    for record in result["records"]:
        record["flags"] = json.loads(record["flags"]) if record["flags"] else []
    result["quarantined"] = reader.rows(
        "SELECT position, reason, payload FROM quarantined_rows WHERE run = ? ORDER BY position LIMIT ?",
        (row["id"], limit),
    )
    result["clock_offsets"] = reader.rows(
        "SELECT source, measured_at, remote_date, offset_ms, uncertainty_ms FROM clock_offsets"
        " WHERE subject = ? ORDER BY offset_id",
        (run_id,),
    )
    packed = row["unchanged_ids"]
    result["unchanged_versions"] = zlib.decompress(packed).decode() if packed else ""
    return result


def _plain(row: Row) -> Row:
    result = {key: value for key, value in row.items() if key not in ("id", "unchanged_ids")}
    result["status"] = effective_status(row)
    for key in ("params", "api_calls", "error_details"):
        result[key] = json.loads(row[key]) if row[key] else None
    return result
