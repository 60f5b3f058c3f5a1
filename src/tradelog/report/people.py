"""Which member each name resolves to: the newest resolution of each spelling."""

from __future__ import annotations

from tradelog.store.reader import Reader, Row

# The newest resolution of each name by a completed run, with the member's name as the profile has it.
_NAMES = """
SELECT n.feed, n.name, n.person, v.actor AS member, n.reason, d.run_id, d.completed_at AS since
FROM name_resolutions n
JOIN data_ingestion_runs d ON d.id = n.run
LEFT JOIN record_versions v ON v.version_id = n.version_id
WHERE n.resolution_id = (
    SELECT max(m.resolution_id) FROM name_resolutions m
    JOIN data_ingestion_runs e ON e.id = m.run AND e.status = 'completed'
    WHERE m.feed = n.feed AND m.name = n.name)
  AND (:text IS NULL OR instr(lower(n.name), lower(:text)) > 0 OR n.person = upper(:text)
       OR instr(lower(coalesce(v.actor, '')), lower(:text)) > 0)
  AND (:unresolved = 0 OR n.person IS NULL)
ORDER BY n.person IS NOT NULL, n.person, n.name, n.feed
"""


def people(reader: Reader, text: str | None = None, *, unresolved: bool = False) -> list[Row]:
    """All names, unresolved ones first; ``text`` is part of a name or a BioGuide id."""
    return reader.rows(_NAMES, {"text": text, "unresolved": int(unresolved)})
