#!/usr/bin/env python3
"""Check a bundle of tradelog with nothing but Python's own library, and no tradelog:

    python3 -I verify.py [BUNDLE.zip]        a zip file, or the directory that this file lies in

Whoever gave you the bundle could have changed this file as well: take it from elsewhere if that matters.
The last line printed is the head of the journal. Compare it with one that left their machine earlier.
"""

import hashlib
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Files = dict[str, bytes]
NEVER = 1 << 62


def sha(data: bytes) -> str:
    """SHA-256 as hex."""
    return hashlib.sha256(data).hexdigest()


def text(value: Any, **more: Any) -> bytes:
    """Bytes as text."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, **more).encode()


def read(place: Path) -> Files:
    """The members of a bundle by name."""
    if place.is_dir():
        return {p.relative_to(place).as_posix(): p.read_bytes() for p in place.rglob("*") if p.is_file()}
    with zipfile.ZipFile(place) as opened:
        if len(set(opened.namelist())) != len(opened.namelist()):
            raise ValueError("a file is in it twice")
        return {name: opened.read(name) for name in opened.namelist()}


def lines(files: Files, name: str) -> list[Any]:
    """The JSON lines of a member."""
    return [json.loads(line) for line in files[name].decode().split("\n") if line]


def whole(files: Files, manifest: Any) -> Iterator[str]:
    """Every file is the one that the manifest names, and no other is there."""
    if files["manifest.sha256"].decode() != f"{sha(files['manifest.json'])}  manifest.json\n":
        yield "manifest.json or manifest.sha256 was changed"
    listed = {*manifest["files"], "manifest.json", "manifest.sha256"}
    for name in sorted(listed ^ files.keys()):
        yield f"{name} is {'missing' if name in listed else 'not of this bundle'}"
    for name, digest in manifest["files"].items():
        if name in files and sha(files[name]) != digest:
            yield f"{name} was changed"


def chained(files: Files, manifest: Any, entries: dict[int, str]) -> Iterator[str]:
    """Each hash is of the one before, the number, and the hash of the entry's text; they lead to the head."""
    seq, hash_ = manifest["chain"]["first"] - 1, bytes.fromhex(manifest["chain"]["before"])
    for body_hash in files["chain.txt"].decode().split():
        seq += 1
        hash_ = hashlib.sha256(hash_ + seq.to_bytes(8, "big") + bytes.fromhex(body_hash)).digest()
        if seq in entries and sha(entries[seq].encode()) != body_hash:
            yield f"entry {seq} of the journal is not the one that the chain holds"
    is_all = manifest["chain"]["first"] <= min(entries) and max(entries) <= seq
    if not is_all or [seq, hash_.hex()] != [manifest["head"]["seq"], manifest["head"]["hash"]]:
        yield "the entries do not lead to the head"


def brought(files: Files, runs: dict[str, Any]) -> Iterator[str]:
    """A run's digest is over those of its parts, and a part's over those of its rows, shown or not."""
    parts = {name[5:-5]: json.loads(files[name])["parts"] for name in files if name.startswith("runs/")}
    for run, digests in parts.items():
        told = [[part, len(found) // 64, sha(bytes.fromhex(found))] for part, found in digests.items()]
        if runs.get(run, [None])[0] != [3, sha(text(told))]:
            yield f"runs/{run}.json is not what the run's entry was taken over"
    for row in lines(files, "records.jsonl"):
        at, values = 64 * row["at"], row["values"]
        is_raw = row["part"] == "payloads"  # digested as it is, and not as JSON of its columns
        digest = sha(values["payload"].encode() if is_raw else text([*values.values()]))
        if parts[row["run"]][row["part"]][at : at + 64] != digest:
            yield f"{row['part']} of {row['run']}, row {row['at'] + 1}, is not what the run brought"


def ordered(
    manifest: Any, rows: dict[Any, Any], first: dict[Any, int], ended: dict[int, int]
) -> Iterator[str]:
    """Inputs before the decision, the decision before the attempt, the attempt before the order."""
    covered = manifest["decision_hash"]
    for (table, key), row in rows.items():
        told = first.get((table, key), 0)
        if table == "trade_decisions":
            inputs = rows.get(("decision_inputs", key), [])
            meant = {name: row[name] for name in covered["always"]}
            meant |= {name: row[name] for name in covered["where_set"] if row.get(name)}
            if sha(text({**meant, "inputs": inputs}, sort_keys=True)) != row["decision_hash"]:
                yield f"{key}: what it says does not give its decision hash"
            # Who sends orders past the worker may have ids of their own.
            is_theirs = row["adopted"] or (row["recorded"] and key[4:] not in row["client_order_id"])
            if not is_theirs and row["decision_hash"][:12] != row["client_order_id"].split("-")[2]:
                yield f"{key}: its client order id does not carry its hash"
            if told <= row["basis"] or any(ended.get(version, NEVER) > row["basis"] for version in inputs):
                yield f"{key}: not all that it is based on was there before it"
        elif table == "trade_executions":
            decision = ("trade_decisions", row["decision_id"])
            if not rows[decision]["adopted"] and told <= first.get(decision, NEVER):
                yield f"{key}: the attempt was begun before its decision was recorded"
        elif table == "broker_calls" and row["purpose"] == "submit":
            if told <= first.get(("trade_executions", row["execution_id"]), NEVER):
                yield f"exchange {key}: the order was sent before its attempt was written down"


def check(files: Files) -> Iterator[str]:
    """What is wrong."""
    manifest = json.loads(files["manifest.json"])
    entries = {entry["seq"]: entry["body"] for entry in lines(files, "journal.jsonl")}
    yield from whole(files, manifest)
    yield from chained(files, manifest, entries)
    first: dict[Any, int] = {}
    last: dict[Any, list[Any]] = {}
    runs: dict[str, Any] = {}
    for seq in sorted(entries):
        said = json.loads(entries[seq])
        for table, key, version, digest in said["rows"]:
            first.setdefault((table, key), seq)
            if digest is not None:  # what was archived is shown as it was
                last[table, key] = [version, digest]
        if "records" in said:
            runs[said["subject"]] = (said["records"], seq)
    rows = {}
    for name in sorted(files):
        for row in lines(files, name) if name.startswith("rows/") else ():
            values = rows[name[5:-6], row["key"]] = row["values"]
            told = [row["version"], sha(text(values if isinstance(values, list) else [*values.values()]))]
            if last.get((name[5:-6], row["key"])) != told:
                yield f"{name[5:-6]} {row['key']} is not what the journal says"
    yield from brought(files, runs)
    names = ["records.jsonl", *(name for name in files if name == "unproved.jsonl")]
    ended = {
        row["values"]["version_id"]: runs.get(row["run"], (None, NEVER))[1]
        for name in names
        for row in lines(files, name)
        if row["part"] == "record_versions"
    }
    yield from ordered(manifest, rows, first, ended)


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    try:
        found = read(place)
        wrong = list(check(found))
        head = json.loads(found["manifest.json"])["head"]
    except Exception as error:  # a bundle that cannot be read is none that agrees
        sys.exit(f"BROKEN: it cannot be read: {type(error).__name__}: {error}")
    for line in wrong:
        print(f"BROKEN: {line}")
    if "unproved.jsonl" in found:
        print("unproved.jsonl: from runs before schema 0005, whose rows cannot be shown one by one")
    print(f"{len(found)} files: {'BROKEN' if wrong else 'everything agrees'}")
    print(f"head: {head['seq']} {head['hash']} {head['count']} {head['at']}")
    sys.exit(bool(wrong))
