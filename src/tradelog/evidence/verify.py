"""Verification: the chain, that it is complete, every row against it, the order of things, kept figures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tradelog.evidence import archives, chain, figures, order, rows, runs
from tradelog.evidence.chain import Head
from tradelog.evidence.finding import Finding
from tradelog.store import engine
from tradelog.store.reader import Reader

# Tables and triggers that are named where they are gone.
MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at, and what was found broken: nothing, where ``findings`` is empty."""

    head: Head
    entries: int
    rows: int
    records: int
    running: tuple[str, ...]
    archived_rows: int
    archives_checked: int
    archives_missing: tuple[str, ...]
    findings: tuple[Finding, ...]


def chain_only(reader: Reader) -> Verified:
    """Whether every entry of the journal follows from the one before."""
    with _one_moment(reader):
        findings: list[Finding] = []
        entries = sum(1 for _ in chain.entries(reader, findings))
        return Verified(chain.head(reader), entries, 0, 0, (), 0, 0, (), tuple(findings))


def verify(reader: Reader) -> Verified:
    """Everything, as of one moment: others go on writing meanwhile. Raises NotFound for an empty journal."""
    with _one_moment(reader):
        findings: list[Finding] = []
        told = rows.Told(reader)
        try:
            entries = 0
            for seq, body in chain.entries(reader, findings):
                told.take(seq, body, findings)
                entries += 1
                if entries % chain.BATCH == 0:
                    told.flush(findings)
            told.flush(findings)
            count = rows.check(reader, findings)
            records = runs.check(reader, told.runs, findings)
            order.check(reader, findings)
            figures.check(reader, findings)
            checked, missing = archives.check(reader, findings)
            _schema(reader, told.schema, findings)
        finally:
            told.close()
        return Verified(
            head=chain.head(reader),
            entries=entries,
            rows=count,
            records=records,
            running=_running(reader),
            archived_rows=archives.rows_away(reader),
            archives_checked=checked,
            archives_missing=missing,
            findings=tuple(findings),
        )


@contextmanager
def _one_moment(reader: Reader) -> Iterator[None]:
    with engine.faults(reader.path):
        # What is gathered may be larger than memory.
        reader.connection.execute("PRAGMA temp_store = FILE")
        reader.connection.execute("BEGIN")
        try:
            yield
        finally:
            reader.connection.execute("ROLLBACK")


def _running(reader: Reader) -> tuple[str, ...]:
    """Runs that go on: what they have brought so far, no entry covers yet."""
    found = reader.rows("SELECT run_id FROM data_ingestion_runs WHERE status = 'running' ORDER BY id")
    return tuple(row["run_id"] for row in found)


def _schema(reader: Reader, told: dict[tuple[str, str], str], findings: list[Finding]) -> None:
    """The tables and the triggers that close them are those that the last upgrade left."""
    here = {(kind, name): digest for kind, name, digest in engine.schema_digests(reader.connection)}
    if not told:
        findings.append(Finding("schema", "store.upgraded", "no entry says what the schema is"))
        return
    gone = [f"{kind} {name}" for kind, name in told if (kind, name) not in here]
    if gone:
        more = f" and {len(gone) - MOST_NAMED} more" if len(gone) > MOST_NAMED else ""
        text = f"not there any more: {', '.join(gone[:MOST_NAMED])}{more}"
        findings.append(Finding("schema", f"{len(gone)} of {len(told)}", text))
    for kind, name in sorted(here):
        if (kind, name) in told and here[kind, name] != told[kind, name]:
            findings.append(Finding("schema", f"{kind} {name}", "is not as the upgrade made it"))
        elif kind == "trigger" and (kind, name) not in told:
            findings.append(Finding("schema", f"{kind} {name}", "is none of tradelog's"))
