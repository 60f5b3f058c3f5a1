"""What each run of ingestion brought, against the digest in the entry that ended it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tradelog.evidence import difference
from tradelog.evidence.finding import Finding
from tradelog.store import run_digest
from tradelog.store.reader import Reader
from tradelog.store.run_digest import KEPT_BYTES, PARTS

# Rows of a part of a run that are named; more than that are counted.
MOST_NAMED = 20
# Tables that hold rows of runs, with how the number of the run is called there.
_TABLES = ("record_versions", "ingestion_records", "quarantined_rows", "name_resolutions")
_NAMES = {
    "record_versions": "record version",
    "payloads": "record version",
    "quarantined_rows": "quarantined row",
    "name_resolutions": "name resolution",
}


def check(reader: Reader, told: dict[str, tuple[int, Any]], findings: list[Finding]) -> int:
    """Every run that has ended, and rows that belong to no run; returns how many rows runs brought."""
    archived = {
        row["table_name"]
        for row in reader.rows("SELECT DISTINCT table_name FROM archived_ranges")
        if row["table_name"] in (*_TABLES, "source_records")
    }
    runs = reader.rows("SELECT id, run_id, status FROM data_ingestion_runs ORDER BY id")
    for run in runs:
        seq, digest = told.get(run["run_id"], (None, None))
        if digest is not None and not archived:
            _compare(reader, run, seq, digest, findings)
        elif digest is None and run["status"] != "running":
            text = f"it is {run['status']}, and no entry of the journal says what it brought"
            findings.append(Finding("run", run["run_id"], text))
    known = {run["id"] for run in runs}
    return sum(_of_no_run(reader, table, known, findings) for table in _TABLES)


def _compare(
    reader: Reader, run: dict[str, Any], seq: int | None, told: Any, findings: list[Finding]
) -> None:
    version = told[0] if isinstance(told, list) else 1
    if version == run_digest.VERSION:
        here = run_digest.of_run(reader.connection, run["id"])
        # A link to a record of which the run wrote no version is in no part.
        links = reader.value("SELECT count(*) FROM ingestion_records WHERE run = ?", (run["id"],))
        if links > len(here.rows["record_versions"]) // KEPT_BYTES:
            text = "it links records of which it wrote no version: added by hand"
            findings.append(Finding("run", run["run_id"], text))
        if here.entry() == told:
            _tell_tales(reader, run, here, findings)
            return
        before = len(findings)
        for part in PARTS:
            _locate(reader, run, part, bytes(here.rows[part]), findings)
        if len(findings) > before:
            return
    elif run_digest.by_rule(reader.connection, run["id"], version) == told:
        return
    text = f"what it brought is not what entry {seq} was taken over; which row it is cannot be told"
    findings.append(Finding("run", run["run_id"], text))


def _tell_tales(
    reader: Reader, run: dict[str, Any], here: run_digest.RunDigest, findings: list[Finding]
) -> None:
    """What is kept to tell where a change is must fit as well, or the next one could not be placed."""
    kept = {
        row["part"]: row["digests"]
        for row in reader.rows("SELECT part, digests FROM run_row_digests WHERE run = ?", (run["id"],))
    }
    if kept != {part: bytes(digests) for part, digests in here.rows.items() if digests}:
        text = "its run_row_digests do not fit what it brought, which is as it was"
        findings.append(Finding("run", run["run_id"], text))


def _locate(reader: Reader, run: dict[str, Any], part: str, here: bytes, findings: list[Finding]) -> None:
    """Name the rows of a part by the beginnings of their digests."""
    kept = reader.value("SELECT digests FROM run_row_digests WHERE run = ? AND part = ?", (run["id"], part))
    was, now = _split(kept or b""), _split(here)
    if was == now:
        return
    rows = reader.rows(PARTS[part].values("t.run = ?"), (run["id"],))
    left = Counter(was)
    left.subtract(now)
    changed = [row for row, digest in zip(rows, now, strict=True) if left[digest] < 0]
    missing = sum(count for count in left.values() if count > 0)
    gone = {digest for digest, count in left.items() if count > 0}
    what = "what the source said" if part == "payloads" else "what is recorded of it"
    for row in changed[:MOST_NAMED]:
        key = next(iter(row.values())) if part != "quarantined_rows" else row["position"]
        if len(now) > len(was):
            text = f"{run['run_id']} did not bring it: it was added by hand"
        else:
            column = None if part == "payloads" else difference.of_version(row, rows, gone)
            text = f"{what} is not what {run['run_id']} brought" + (f": {column}" if column else "")
        findings.append(Finding("version", f"{_NAMES[part]} {key}", text))
    if len(changed) > MOST_NAMED:
        text = f"and {len(changed) - MOST_NAMED} more of {part}"
        findings.append(Finding("run", run["run_id"], text))
    if missing > len(changed):
        places = [number for number, digest in enumerate(was, 1) if left[digest] > 0][:MOST_NAMED]
        text = f"{missing - len(changed)} of its {len(was)} {part} are not there, at {places}"
        findings.append(Finding("run", run["run_id"], text))
    if not changed and not missing:
        findings.append(Finding("run", run["run_id"], f"its {part} are in another order"))


def _split(digests: bytes) -> list[bytes]:
    return [digests[start : start + KEPT_BYTES] for start in range(0, len(digests), KEPT_BYTES)]


def _of_no_run(reader: Reader, table: str, known: set[int], findings: list[Finding]) -> int:
    count = 0
    for row in reader.rows(f"SELECT run, count(*) AS rows FROM {table} GROUP BY run"):
        count += row["rows"]
        if row["run"] not in known:
            text = f"{row['rows']} rows are of run number {row['run']}, which is not there"
            findings.append(Finding("run", table, text))
    return count
