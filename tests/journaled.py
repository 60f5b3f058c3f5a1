"""The journal checked by the design's words alone, apart from `tradelog.evidence`."""

from __future__ import annotations

import json
from hashlib import sha256

from tradelog.store import journal, run_digest
from tradelog.store.audited import AUDITED, row_digest, row_text
from tradelog.store.reader import Reader


def check_chain(reader: Reader) -> list[dict[str, object]]:
    """Recompute the chain from its stored bytes; returns the bodies."""
    previous, bodies = journal.GENESIS, []
    for number, row in enumerate(reader.rows("SELECT * FROM journal ORDER BY seq"), 1):
        assert row["seq"] == number
        assert row["body_hash"] == sha256(row["body"].encode()).digest()
        assert row["hash"] == sha256(previous + number.to_bytes(8, "big") + row["body_hash"]).digest()
        previous = row["hash"]
        bodies.append(json.loads(row["body"]))
    return bodies


def check_complete(reader: Reader) -> None:
    """Every audited row is in the journal, and is as it was last journaled (invariant 6)."""
    last: dict[tuple[str, str], tuple[int, str]] = {}
    runs: dict[str, object] = {}
    for body in check_chain(reader):
        for table, key, version, digest in body["rows"]:  # type: ignore[attr-defined]
            last[table, key] = version, digest
        if "records" in body:
            runs[str(body["subject"])] = body["records"]
    for table, audited in AUDITED.items():
        if table == "decision_inputs":
            continue
        for row in reader.rows(f"SELECT {', '.join(audited.columns)} FROM {table}"):
            version, digest = last[table, str(row[audited.key])]
            columns = audited.of(version)
            values = [row[name] for name in columns]
            assert audited.digest(values, version) == digest, (table, row)
    for (table, decision_id), (_, digest) in last.items():
        if table == "decision_inputs":
            rows = reader.rows(
                "SELECT version_id FROM decision_inputs i JOIN trade_decisions d ON d.id = i.decision"
                " WHERE d.decision_id = ? ORDER BY version_id",
                (decision_id,),
            )
            assert row_digest([row["version_id"] for row in rows]) == digest
    for run in reader.rows("SELECT id, run_id, status FROM data_ingestion_runs WHERE status <> 'running'"):
        assert runs[run["run_id"]] == _run_digest(reader, run["id"])


def _run_digest(reader: Reader, run: int) -> list[object]:
    """Computed anew, row by row, as run_digest says it: digests of rows, of parts, of the run."""
    parts = []
    for part, rule in run_digest.PARTS.items():
        rows = reader.rows(rule.values("t.run = ?"), (run,))
        texts = [row["payload"] if part == "payloads" else row_text([*row.values()]) for row in rows]
        digests = [sha256(text.encode()).digest() for text in texts]
        parts.append([part, len(rows), sha256(b"".join(digests)).hexdigest()])
        kept = reader.value("SELECT digests FROM run_row_digests WHERE run = ? AND part = ?", (run, part))
        assert (kept or b"") == b"".join(digest[:8] for digest in digests)
    return [3, sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()]
