"""The journal as a chain: its head, and whether every entry follows from the one before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tradelog.errors import NotFound, UsageError
from tradelog.evidence.finding import Finding
from tradelog.store.journal import GENESIS
from tradelog.store.reader import Reader

# Read at once, so that other work of the same connection may come in between.
BATCH = 5000


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry: its sequence, its hash as hex, how many entries there are, its time (UTC)."""

    seq: int
    hash: str
    count: int
    at: str

    def line(self) -> str:
        """One line of text, as it is kept elsewhere."""
        return f"{self.seq} {self.hash} {self.count} {self.at}"


def head(reader: Reader) -> Head:
    """The head of the chain, as the store says it. Raises NotFound for an empty journal."""
    row = reader.one("SELECT seq, hash, body FROM journal ORDER BY seq DESC LIMIT 1")
    if row is None:
        raise NotFound(f"the journal of {reader.path} is empty")
    count = int(reader.value("SELECT count(*) FROM journal"))
    at = str(json.loads(row["body"])["at"]) if row["body"] else ""
    return Head(row["seq"], row["hash"].hex(), count, at)


def entries(reader: Reader, findings: list[Finding]) -> Iterator[tuple[int, bytes]]:
    """(sequence, body) of each entry in order, checked on the way; an archived body is empty."""
    previous, expected = GENESIS, 1
    archived = archived_bodies(reader)
    for batch in _batches(reader):
        for seq, body, body_hash, hash_ in batch:
            if seq != expected:
                gone = str(expected) if seq - expected == 1 else f"{expected} to {seq - 1}"
                findings.append(Finding("chain", f"entry {seq}", f"before it, {gone} should be, and is not"))
                expected = seq
            if sha256(body).digest() != body_hash and not (body == b"" and _covers(archived, seq)):
                findings.append(Finding("chain", f"entry {seq}", "its text is not the one that was hashed"))
            # As `journal.link` has it, without a call an entry: this is what verifying takes longest at.
            if sha256(previous + seq.to_bytes(8, "big") + body_hash).digest() != hash_:
                findings.append(
                    Finding("chain", f"entry {seq}", "its hash does not follow from the entry before it")
                )
            previous = hash_
            expected += 1
            yield seq, body


def _batches(reader: Reader) -> Iterator[list[tuple[int, bytes, bytes, bytes]]]:
    last = 0
    while True:
        cursor = reader.connection.cursor()
        cursor.row_factory = None
        batch = cursor.execute(
            "SELECT seq, CAST(body AS BLOB), body_hash, hash FROM journal WHERE seq > ? ORDER BY seq LIMIT ?",
            (last, BATCH),
        ).fetchall()
        if not batch:
            return
        yield batch
        last = batch[-1][0]


def archived_bodies(reader: Reader) -> list[tuple[int, int]]:
    """Ranges of entries whose texts were moved into a file; their hashes are still here."""
    rows = reader.rows("SELECT first_key, last_key FROM archived_ranges WHERE table_name = 'journal'")
    return [(row["first_key"], row["last_key"]) for row in rows]


def _covers(ranges: list[tuple[int, int]], seq: int) -> bool:
    return any(first <= seq <= last for first, last in ranges)


def read_heads(path: Path) -> list[Head]:
    """Heads that were kept elsewhere: a line each, as printed or as JSON. Raises UsageError."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        if text.lstrip().startswith("{") and len(lines) > 1 and not lines[0].rstrip().endswith("}"):
            found = [_head_of(json.loads(text))]  # one document over several lines
        else:
            found = [_head_of(json.loads(line)) if line.startswith("{") else _split(line) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} holds no heads: {error}", hint="a line each, as tradelog verify --head prints it"
        ) from error
    if not found:
        raise UsageError(f"{path} holds no head", hint="tradelog verify --head prints one")
    return found


def _head_of(value: dict[str, Any]) -> Head:
    value = value.get("head", value)
    return _checked(Head(int(value["seq"]), str(value["hash"]), int(value["count"]), str(value["at"])))


def _split(line: str) -> Head:
    seq, hash_, count, at = line.split()
    return _checked(Head(int(seq), hash_, int(count), at))


def _checked(found: Head) -> Head:
    if len(bytes.fromhex(found.hash)) != len(GENESIS):
        raise ValueError(f"{found.hash!r} is no SHA-256")
    return found


def since(reader: Reader, heads: list[Head]) -> list[Finding]:
    """Whether heads that were kept elsewhere are still part of the chain: rewriting and cutting show."""
    findings = []
    last = reader.value("SELECT max(seq) FROM journal") or 0
    for kept in heads:
        subject = f"entry {kept.seq}"
        found = reader.value("SELECT hash FROM journal WHERE seq = ?", (kept.seq,))
        if found is None and kept.seq > last:
            text = (
                f"the head of {kept.at} is not there: the journal ends at {last}, so it was cut or replaced"
            )
            findings.append(Finding("head", subject, text))
        elif found is None:
            findings.append(Finding("head", subject, f"the head of {kept.at} is not there any more"))
        elif found.hex() != kept.hash.lower():
            text = f"the head of {kept.at} was {kept.hash}; now it is {found.hex()}: history was rewritten"
            findings.append(Finding("head", subject, text))
    return findings


def as_json(found: Head) -> dict[str, Any]:
    """The head as a JSON object."""
    return asdict(found)
