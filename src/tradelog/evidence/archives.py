"""The files of the archive, where they are at hand: each is the one whose digest the journal holds."""

from __future__ import annotations

from tradelog.evidence.finding import Finding
from tradelog.store import archive_files
from tradelog.store.reader import Reader

# What is in the store again counts as rows there.
_AWAY = "NOT EXISTS (SELECT 1 FROM archive_returns r WHERE r.path = a.path)"


def check(reader: Reader, findings: list[Finding]) -> tuple[int, tuple[str, ...]]:
    """(files that were checked, those that are not here to check)."""
    checked, missing = 0, []
    for row in reader.rows(
        f"SELECT DISTINCT path, digest FROM archived_ranges a WHERE {_AWAY} AND path <> '' ORDER BY path"
    ):
        path = archive_files.place(reader.path, row["path"])
        if not path.exists():
            missing.append(row["path"])
            continue
        checked += 1
        if archive_files.file_digest(path) != row["digest"]:
            findings.append(Finding("archive", row["path"], "is not the file that was written"))
    for row in reader.rows(
        "SELECT a.path, a.row_count, (SELECT count(*) FROM archived_payloads p WHERE p.path = a.path) AS rows"
        " FROM archived_ranges a WHERE a.table_name = 'payloads'"
    ):
        if row["rows"] != row["row_count"]:
            text = f"has {row['row_count']} rows, and {row['rows']} versions are said to be in it"
            findings.append(Finding("archive", row["path"], text))
    return checked, tuple(missing)


def rows_away(reader: Reader) -> int:
    """How many rows are in files, and not in the store."""
    return int(reader.value(f"SELECT coalesce(sum(row_count), 0) FROM archived_ranges a WHERE {_AWAY}"))
