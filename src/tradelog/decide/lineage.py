"""Which record versions a decision may cite, and the runs that they come from.

A decision cites versions of completed runs only, seen before it was made: what a strategy could
not have known can never become an input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tradelog.errors import InvalidDecision
from tradelog.store.writer import Transaction


def check(tx: Transaction, version_ids: Sequence[int]) -> list[dict[str, Any]]:
    """The runs of exactly these versions; raises InvalidDecision for one that cannot be cited."""
    runs: dict[str, dict[str, Any]] = {}
    for version in version_ids:
        row = tx.one(
            "SELECT d.run_id, d.status, d.data_source, d.completed_at, v.first_seen_at, v.backfill"
            " FROM record_versions v JOIN data_ingestion_runs d ON d.id = v.run WHERE v.version_id = ?",
            (version,),
        )
        if row is None:
            raise InvalidDecision("inputs", f"there is no record version {version}")
        run_id, status, source, completed_at, first_seen_at, backfill = row
        if status != "completed":
            raise InvalidDecision("inputs", f"record version {version} is of {run_id}, which is {status}")
        if first_seen_at > tx.now:
            raise InvalidDecision("inputs", f"record version {version} was first seen later than now")
        run = runs.setdefault(
            run_id,
            {"run_id": run_id, "data_source": source, "completed_at": completed_at, "versions": []},
        )
        run["versions"].append(version)
        if backfill:
            run["backfill"] = True
    return list(runs.values())
