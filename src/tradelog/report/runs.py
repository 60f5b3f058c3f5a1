"""The ingestion runs: what each one brought, and how it ended."""

from __future__ import annotations

import json
import zlib
from typing import Any

from tradelog.store.reader import Reader, Row, effective_status

NEWEST = 50
RECORDS = 50

_RUNS = (
    "SELECT * FROM data_ingestion_runs WHERE :task IS NULL OR task_name = :task ORDER BY id DESC LIMIT :limit"
)
_RECORDS = """
SELECT v.version_id, v.record_id, i.outcome, v.position, v.symbol, v.actor AS member, v.side, v.event_date,
       v.filed_as_given, v.flags
FROM record_versions v JOIN ingestion_records i ON i.record_id = v.record_id AND i.run = v.run
WHERE v.run = ? ORDER BY v.version_id LIMIT ?
"""


def runs(reader: Reader, *, task: str | None = None, limit: int = NEWEST) -> tuple[list[Row], int]:
    """(runs, newest first, how many there are in all); limit -1 gives all."""
    found = [_plain(row) for row in reader.rows(_RUNS, {"task": task, "limit": limit})]
    total = reader.value(
        "SELECT count(*) FROM data_ingestion_runs WHERE ? IS NULL OR task_name = ?", (task, task)
    )
    return found, int(total)


def last_of(reader: Reader, feeds: list[str]) -> dict[str, Any] | None:
    """The newest run of any of these feeds, however it ended; None where there is none."""
    marks = ", ".join("?" * len(feeds))
    row = reader.one(
        f"SELECT * FROM data_ingestion_runs WHERE data_source IN ({marks}) ORDER BY id DESC LIMIT 1", feeds
    )
    if row is None:
        return None
    return {"run_id": row["run_id"], "status": effective_status(row), "started_at": row["started_at"]}


def run(reader: Reader, run_id: str, *, limit: int = RECORDS) -> dict[str, Any]:
    """One run with its first records; those of a run that did not complete are not records of it."""
    row = reader.one("SELECT * FROM data_ingestion_runs WHERE run_id = ?", (run_id,))
    assert row is not None
    found = _plain(row)
    visible = found["status"] == "completed"
    found["records"] = reader.rows(_RECORDS, (row["id"], limit)) if visible else []
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
