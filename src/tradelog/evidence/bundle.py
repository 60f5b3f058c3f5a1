"""A bundle: all that concerns some decisions or a symbol, in a file that a stranger can check alone.

    index.html        to read            verify.py         to check with a bare Python
    rows/TABLE.jsonl  audited rows       records.jsonl     what runs brought of it, with raw payloads
    runs/RUN.json     digests of all rows of a run: those that are not shown, by their digests alone
    journal.jsonl     the entries that tell of these rows
    chain.txt         the hash of each entry's text, from the first of them to the head
    manifest.json     what was asked for, the head, and the digest of each file; its own in manifest.sha256

Rows of other symbols are not in it, and where one text tells of others too (what a strategy looked at) its
digest stands for it. A page of the broker's list of orders is left out: each order is there by itself.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

from tradelog.domain import clock
from tradelog.domain.account import AccountKey
from tradelog.errors import ArchiveMissing, EvidenceBroken, NotFound, UsageError
from tradelog.evidence import chain, page
from tradelog.report import trail
from tradelog.report.period import Period
from tradelog.store import archive_files, decisions, run_digest
from tradelog.store.audited import AUDITED, seal
from tradelog.store.journal import GENESIS
from tradelog.store.reader import Reader
from tradelog.store.run_digest import PARTS, row_digests

SCHEMA = 1
MARKS = 500


@dataclass(slots=True)
class _Found:
    """What goes into a bundle, gathered."""

    decisions: list[str]
    versions: list[int] = field(default_factory=list)
    rows: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    earlier: list[str] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    # What is in files of the archive that are not here: where, and of what.
    archived: list[dict[str, Any]] = field(default_factory=list)

    def keys(self, table: str) -> list[str]:
        return list(self.rows.get(table, {}))


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was written: the digest of the manifest stands for all of it."""

    path: Path
    decisions: int
    records: int
    entries: int
    manifest_sha256: str
    head: chain.Head


def of_symbol(
    reader: Reader, account: AccountKey, symbol: str, period: Period
) -> tuple[list[str], list[int]]:
    """(decisions, record versions first seen or traded) of a symbol in a period."""
    found = reader.rows(
        "SELECT decision_id FROM trade_decisions WHERE symbol = ? AND broker = ? AND environment = ?"
        " AND account = ? AND created_at >= ? AND created_at < ? ORDER BY id",
        (symbol, *account, period.since, period.before),
    )
    versions = reader.rows(
        "SELECT v.version_id FROM record_versions v JOIN data_ingestion_runs d ON d.id = v.run"
        " AND d.status = 'completed' WHERE v.symbol = :symbol AND (v.first_seen_at >= :since AND"
        " v.first_seen_at < :before OR v.event_date >= :first AND v.event_date <= :last)",
        {
            "symbol": symbol,
            "since": period.since,
            "before": period.before,
            "first": period.first_day,
            "last": period.last_day,
        },
    )
    if not found and not versions:
        raise NotFound(f"nothing of {symbol} in {period}")
    return [row["decision_id"] for row in found], [row["version_id"] for row in versions]


def write(
    reader: Reader,
    path: Path,
    asked: str,
    wanted: Sequence[str],
    versions: Sequence[int] = (),
    zone: str = clock.MARKET_ZONE,
) -> Bundle:
    """Write the bundle of some decisions, and of record versions beside their inputs.

    Raises UsageError where the file is there already, EvidenceBroken where the journal does not tell of what
    is to be shown: such a bundle could not be checked.
    """
    if path.exists():
        raise UsageError(f"{path} is there already", hint="name another file, or take it away")
    reader.connection.execute("BEGIN")
    try:
        found = _Found(list(wanted), sorted(versions))
        _gather(reader, found)
        entries = _entries(reader, found)
        head = chain.head(reader)
        files = _files(reader, found, entries, zone, asked, head)
        manifest = _manifest(reader, found, entries, asked, head, files)
    finally:
        reader.connection.execute("ROLLBACK")
    files["manifest.json"] = json.dumps(manifest, indent=1, ensure_ascii=False).encode()
    digest = sha256(files["manifest.json"]).hexdigest()
    files["manifest.sha256"] = f"{digest}  manifest.json\n".encode()
    partial = path.with_name(path.name + ".partial")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as out:
            for name, content in files.items():
                out.writestr(name, content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    return Bundle(path, len(found.decisions), len(found.versions), len(entries), digest, head)


def _gather(reader: Reader, found: _Found) -> None:
    _take(reader, found, "trade_decisions", "decision_id", found.decisions)
    numbers: dict[int, str] = {row["id"]: key for key, row in found.rows.get("trade_decisions", {}).items()}
    for row in _select(reader, "SELECT * FROM decision_inputs WHERE decision IN ({})", list(numbers)):
        inputs = found.rows.setdefault("decision_inputs", {}).setdefault(numbers[row["decision"]], {})
        inputs.setdefault("ids", []).append(row["version_id"])
    for inputs in found.rows.get("decision_inputs", {}).values():
        inputs["ids"].sort()
    cited = {version for row in found.rows.get("decision_inputs", {}).values() for version in row["ids"]}
    found.versions = sorted({*found.versions, *cited})
    signals = [row["signal_id"] for row in found.rows.get("trade_decisions", {}).values() if row["signal_id"]]
    _take(reader, found, "signals", "signal_id", signals)
    ran = [row["strategy_run_id"] for row in found.rows.get("signals", {}).values()]
    _take(reader, found, "strategy_runs", "strategy_run_id", ran)
    for table in ("trade_executions", "order_requests", "risk_checks", "alpaca_orders"):
        _take(reader, found, table, "decision_id", found.decisions)
    executions = found.keys("trade_executions")
    for table in ("broker_calls", "fills"):
        _take(reader, found, table, "execution_id", executions)
    parents = [row["parent"] for row in found.rows.get("trade_decisions", {}).values() if row["parent"]]
    _take(reader, found, "client_commands", "command_id", parents)
    _take(reader, found, "client_commands", "target", found.keys("alpaca_orders"))
    _take(reader, found, "broker_calls", "command_id", found.keys("client_commands"))
    for subject in (*executions, *found.keys("client_commands")):
        _take_archived(reader, found, subject)
    for table in ("order_events", "fills"):
        _take(reader, found, table, "broker_order_id", found.keys("alpaca_orders"))
    subjects = [*found.decisions, *executions, *found.keys("order_requests")]
    for table in ("control_events", "alerts"):
        _take(reader, found, table, "subject", subjects)
    runs = _select(
        reader,
        "SELECT DISTINCT d.id, d.run_id FROM record_versions v JOIN data_ingestion_runs d ON d.id = v.run"
        " WHERE v.version_id IN ({})",
        found.versions,
    )
    names = {row["id"]: row["run_id"] for row in runs}
    _take(reader, found, "data_ingestion_runs", "id", sorted(names))
    _take(reader, found, "clock_offsets", "subject", list(names.values()))
    for number, run_id in sorted(names.items()):
        _take_run(reader, found, number, run_id)


def _take(reader: Reader, found: _Found, table: str, column: str, values: Sequence[Any]) -> None:
    audited = AUDITED[table]
    sql = f"SELECT {', '.join(audited.columns)} FROM {table} WHERE {column} IN ({{}})"
    for row in _select(reader, sql, values):
        found.rows.setdefault(table, {})[str(row[audited.key])] = row


def _select(reader: Reader, sql: str, values: Sequence[Any]) -> Iterator[dict[str, Any]]:
    for start in range(0, len(values), MARKS):
        some = values[start : start + MARKS]
        yield from reader.rows(sql.format(", ".join("?" * len(some))), some)


def _take_archived(reader: Reader, found: _Found, subject: str) -> None:
    """The exchanges of an attempt or a command that are in a file, as the rows that they were."""
    archived, calls = trail.archived_calls(reader, subject)
    if archived is not None and not archived["is_there"]:
        found.archived.append({"of": subject, "exchanges": archived["calls"], "path": archived["path"]})
    for row in calls:
        columns = {name: row[name] for name in AUDITED["broker_calls"].columns}
        found.rows.setdefault("broker_calls", {})[str(row["call_id"])] = columns


def _with_archived(reader: Reader, found: _Found, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records with what the sources sent, without it where the file is not there."""
    empty = [
        row["values"]["version_id"]
        for row in records
        if row["part"] == "payloads" and not row["values"]["payload"]
    ]
    try:
        texts = archive_files.payloads(reader.connection, empty) if empty else {}
    except ArchiveMissing:
        away = reader.rows(
            "SELECT version_id, path FROM archived_payloads WHERE version_id IN"
            " (SELECT value FROM json_each(?)) ORDER BY version_id",
            (json.dumps(empty),),
        )
        found.archived += [{"of": f"version {row['version_id']}", "path": row["path"]} for row in away]
        gone = {row["version_id"] for row in away}
        return [
            row for row in records if row["part"] != "payloads" or row["values"]["version_id"] not in gone
        ]
    for row in records:
        if row["part"] == "payloads" and row["values"]["version_id"] in texts:
            row["values"]["payload"] = texts[row["values"]["version_id"]]
    return records


def _take_run(reader: Reader, found: _Found, number: int, run_id: str) -> None:
    """The digests of all that a run brought, and those of its rows that are shown."""
    wanted = set(found.versions)
    digests: dict[str, str] = {}
    cursor = reader.connection.cursor()
    cursor.row_factory = None
    for part in PARTS:
        found_digests = row_digests(reader.connection, part, "t.run = ?", (number,))
        digests[part] = "".join(digest.hex() for digest in found_digests)
    records: list[dict[str, Any]] = []
    for part in ("record_versions", "payloads"):
        names = list(PARTS[part].columns)
        for at, row in enumerate(cursor.execute(PARTS[part].values("t.run = ?"), (number,))):
            values = dict(zip(names, row, strict=True))
            if values["version_id"] in wanted:
                records.append({"run": run_id, "part": part, "at": at, "values": values})
    found.records += _with_archived(reader, found, records)
    found.runs[run_id] = {"parts": digests}


def _entries(reader: Reader, found: _Found) -> list[tuple[int, str]]:
    """The entries that tell of a row that is shown."""
    wanted = {(table, key) for table, rows in found.rows.items() for key in rows}
    entries = []
    seen: set[tuple[str, str]] = set()
    for seq, body in chain.entries(reader, []):
        said = json.loads(body) if body else {"rows": []}
        told = {(row[0], row[1]) for row in said["rows"]} & wanted
        if told:
            entries.append((seq, body.decode()))
            seen |= told
            if said.get("subject") in found.runs and "records" in said:
                _by_rule(found, said["subject"], said["records"])
    unknown = wanted - seen
    if unknown or not entries:
        table, key = min(unknown) if unknown else ("journal", "")
        raise EvidenceBroken(f"the journal does not tell of {table} {key}", hint="run tradelog verify")
    return entries


def _by_rule(found: _Found, run_id: str, told: Any) -> None:
    """What a run of an earlier release brought can be shown, and not be proved row by row."""
    if not isinstance(told, list) or told[0] != run_digest.VERSION:
        found.earlier.append(run_id)


def _files(
    reader: Reader,
    found: _Found,
    entries: list[tuple[int, str]],
    zone: str,
    asked: str,
    head: chain.Head,
) -> dict[str, bytes]:
    files: dict[str, bytes] = {
        "verify.py": resources.files(__package__).joinpath("standalone.py").read_bytes()
    }
    told = _versions(entries)
    for table, rows in sorted(found.rows.items()):
        lines = (_row(table, key, row, told[table, key]) for key, row in rows.items())
        files[f"rows/{table}.jsonl"] = _lines(lines)
    earlier = set(found.earlier)
    files["records.jsonl"] = _lines(row for row in found.records if row["run"] not in earlier)
    if earlier:
        files["unproved.jsonl"] = _lines(row for row in found.records if row["run"] in earlier)
    for run_id, digests in found.runs.items():
        if run_id not in earlier:
            files[f"runs/{run_id}.json"] = json.dumps(digests).encode()
    files["journal.jsonl"] = _lines({"seq": seq, "body": body} for seq, body in entries)
    hashes = reader.rows("SELECT body_hash FROM journal WHERE seq >= ? ORDER BY seq", (entries[0][0],))
    files["chain.txt"] = "".join(row["body_hash"].hex() + "\n" for row in hashes).encode()
    shown = [trail.decision(reader, decision_id) for decision_id in found.decisions]
    records = [row["values"] for row in found.records if row["part"] == "record_versions"]
    files["index.html"] = page.render(asked, shown, records, head, zone).encode()
    return files


def _versions(entries: list[tuple[int, str]]) -> dict[tuple[str, str], int]:
    """By which list of columns each row was last told of; the entry that archives one tells nothing of it."""
    return {
        (row[0], row[1]): row[2]
        for _, body in entries
        for row in json.loads(body)["rows"]
        if row[3] is not None
    }


def _row(table: str, key: str, row: dict[str, Any], version: int) -> dict[str, Any]:
    if table == "decision_inputs":
        return {"key": key, "version": version, "values": row["ids"]}
    audited = AUDITED[table]
    values = {name: _plain(row[name]) for name in audited.of(version)}
    sealed = [name for name, since in audited.sealed.items() if version >= since]
    values |= {name: seal(values[name]) for name in sealed}
    return {"key": key, "version": version, **({"sealed": sealed} if sealed else {}), "values": values}


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _lines(rows: Iterable[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _manifest(
    reader: Reader,
    found: _Found,
    entries: list[tuple[int, str]],
    asked: str,
    head: chain.Head,
    files: dict[str, bytes],
) -> dict[str, Any]:
    first = entries[0][0]
    before = reader.value("SELECT hash FROM journal WHERE seq = ?", (first - 1,))
    return {
        "bundle": SCHEMA,
        "asked": asked,
        "made_at": clock.now_text(),
        "decisions": found.decisions,
        "head": chain.as_json(head),
        "chain": {"first": first, "before": (before or GENESIS).hex()},
        "decision_hash": {"always": decisions.COVERED, "where_set": decisions.WHERE_SET},
        "runs_of_earlier_rules": found.earlier,
        "archived": found.archived,
        "files": {name: sha256(content).hexdigest() for name, content in sorted(files.items())},
    }
