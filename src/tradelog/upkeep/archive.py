"""The archive: the bulk of what is old moves to compressed files; what reports and proofs need stays.

    moves   exchanges with the broker, and what the sources said row by row
    stays   runs, versions with their digests, decisions, attempts, orders, fills, alerts, the journal: every
            key and id that makes a repeat a no-op, and every figure

Nothing moves that is open, of an open lot, an input of such a decision, or under ``[retention] hold``. A
file is whole on disk before its rows leave in one commit: whatever is interrupted, each row is in one of the
two. What was brought back once stays.
"""

from __future__ import annotations

import fcntl
import json
import socket
import sqlite3
from bisect import bisect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.domain.account import AccountKey
from tradelog.errors import ConfigError, EvidenceBroken, NotFound, StoreLocked, StoreUnwritable, UsageError
from tradelog.evidence import verify
from tradelog.report import lots
from tradelog.store import archive_files
from tradelog.store.process import boot_id, is_alive
from tradelog.store.reader import Reader
from tradelog.store.writer import Transaction, Writer

# Rows of a file, and of the commit that moves them.
CHUNK = 5000
# The strategies read no other rows; filings are read for their form, and profiles for names.
KINDS = ("congress_trade", "insider_trade")
# How much older than that the oldest must be before the maintenance begins: a file a month, not a day.
DUE_DAYS = 31

_CLOSED = """
CREATE TEMP TABLE closed AS
SELECT d.decision_id, d.id, d.symbol FROM trade_decisions d
WHERE d.status IN ('executed', 'failed', 'cancelled') AND d.needs_attention IS NULL
  AND d.created_at < :before AND coalesce(d.executed_at, d.failed_at) < :before
  AND d.symbol NOT IN (SELECT value FROM json_each(:hold))
  AND d.decision_id NOT IN (SELECT value FROM json_each(:hold))
  AND d.decision_id NOT IN (SELECT value FROM json_each(:lots))
  AND coalesce(d.parent, '') NOT IN (SELECT value FROM json_each(:hold))
  AND NOT EXISTS (SELECT 1 FROM trade_executions e WHERE e.decision_id = d.decision_id
                  AND e.status IN ('sending', 'unknown', 'accepted', 'partially_filled'))
  AND NOT EXISTS (SELECT 1 FROM order_requests r WHERE r.decision_id = d.decision_id AND r.ended_at IS NULL)
  AND NOT EXISTS (SELECT 1 FROM alerts a WHERE a.subject = d.decision_id AND a.acknowledged_at IS NULL)
  AND NOT EXISTS (SELECT 1 FROM trade_executions e JOIN broker_calls c ON c.execution_id = e.execution_id
                  WHERE e.decision_id = d.decision_id AND c.started_at >= :before)
"""
# Commands of bots whose orders are all closed.
_COMMANDS = """
CREATE TEMP TABLE closed_commands AS
SELECT m.command_id FROM client_commands m
WHERE m.started_at < :before AND m.status NOT IN ('sending', 'unknown')
  AND NOT EXISTS (SELECT 1 FROM trade_decisions d WHERE d.parent = m.command_id
                  AND d.decision_id NOT IN (SELECT decision_id FROM closed))
"""
# Pages of many orders are evidence of each of them.
_SHOWN = """
CREATE TEMP TABLE shown_calls AS
SELECT DISTINCT v.call_id FROM order_events v
JOIN alpaca_orders o ON o.broker_order_id = v.broker_order_id
JOIN trade_executions x ON x.execution_id = o.execution_id
WHERE v.call_id IS NOT NULL AND x.decision_id NOT IN (SELECT decision_id FROM closed)
"""
_CALLS = """
CREATE TEMP TABLE leaving AS
SELECT c.call_id, coalesce(c.execution_id, c.command_id) AS subject, c.started_at FROM broker_calls c
LEFT JOIN trade_executions e ON e.execution_id = c.execution_id
WHERE c.started_at < :before
  AND (c.execution_id IS NULL OR e.decision_id IN (SELECT decision_id FROM closed))
  AND (c.command_id IS NULL OR c.command_id IN (SELECT command_id FROM closed_commands))
  AND c.call_id NOT IN (SELECT call_id FROM shown_calls)
  AND NOT EXISTS (SELECT 1 FROM archived_calls a WHERE a.subject IN (c.execution_id, c.command_id))
"""
# All of an attempt in one file, as near to the order of time as that goes.
_LEAVING = """
SELECT first, call_id FROM (
    SELECT call_id, min(call_id) OVER (PARTITION BY coalesce(subject, call_id)) AS first FROM leaving)
ORDER BY first, call_id
"""
_PAYLOADS = """
CREATE TEMP TABLE leaving_payloads AS
SELECT v.version_id, v.first_seen_at, length(v.payload) AS bytes FROM record_versions v
JOIN source_records r ON r.record_id = v.record_id AND r.kind IN (SELECT value FROM json_each(:kinds))
JOIN data_ingestion_runs d ON d.id = v.run AND d.status <> 'running'
WHERE v.first_seen_at < :before AND v.payload <> ''
  AND NOT EXISTS (SELECT 1 FROM archived_payloads p WHERE p.version_id = v.version_id)
  AND coalesce(v.symbol, '') NOT IN (SELECT value FROM json_each(:hold))
  -- What an earlier release brought is proved by its rows alone.
  AND EXISTS (SELECT 1 FROM run_row_digests g WHERE g.run = v.run AND g.part = 'payloads')
  AND NOT EXISTS (SELECT 1 FROM decision_inputs i JOIN trade_decisions t ON t.id = i.decision
                  WHERE i.version_id = v.version_id AND i.decision NOT IN (SELECT id FROM closed))
"""
_LEFT = "SELECT count(*) AS rows, min({at}) AS first, max({at}) AS last FROM {table}"


@dataclass(frozen=True, slots=True)
class Bulk:
    """Rows of a kind that move: how many, from when to when (store text), their characters."""

    what: str
    rows: int
    first: str | None
    last: str | None
    size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What would move. ``before`` is the day from which on everything stays."""

    before: str
    moves: tuple[Bulk, ...]
    decisions: int
    kept_open: int
    kept_lots: int
    kept_held: int


@dataclass(frozen=True, slots=True)
class Done:
    """The files that were written, with their rows; ``freed`` is whether the store's file shrank."""

    files: tuple[tuple[Path, int], ...]
    freed: bool


def cutoff(config: Config) -> str:
    """The start of the day so many years ago, as store text."""
    today = clock.market_today()
    years = today.year - config.retention.hot_years
    day = date(years, today.month, min(today.day, 28))
    return clock.start_of_day(day)


def is_due(config: Config, reader: Reader) -> bool:
    """Whether there is a month's worth to move."""
    before = clock.later(cutoff(config), -timedelta(days=DUE_DAYS).total_seconds())
    return bool(plan(config, reader, before).moves)


def plan(config: Config, reader: Reader, before: str | None = None) -> Plan:
    """What would move now. Nothing is written."""
    before = before or cutoff(config)
    _check_hold(reader, config.retention.hold)
    held = _open_lots(reader)
    _gather(reader, config, before, held)
    try:
        sizes = {
            "leaving": "SELECT coalesce(sum(length(coalesce(c.request_body, ''))"
            " + length(coalesce(c.response_body, ''))), 0)"
            " FROM leaving l JOIN broker_calls c USING (call_id)",
            "leaving_payloads": "SELECT coalesce(sum(bytes), 0) FROM leaving_payloads",
        }
        moves = []
        for what, table, at in (
            ("exchanges with the broker", "leaving", "started_at"),
            ("rows as the sources sent them", "leaving_payloads", "first_seen_at"),
        ):
            row = reader.one(_LEFT.format(table=table, at=at))
            assert row is not None
            if row["rows"]:
                moves.append(Bulk(what, row["rows"], row["first"], row["last"], reader.value(sizes[table])))
        old = "created_at < ? AND decision_id NOT IN (SELECT decision_id FROM closed)"
        return Plan(
            before=before,
            moves=tuple(moves),
            decisions=reader.value("SELECT count(*) FROM closed"),
            kept_open=reader.value(
                f"SELECT count(*) FROM trade_decisions WHERE {old} AND status IN ('pending', 'executing')",
                (before,),
            ),
            kept_lots=_count(reader, before, held),
            kept_held=_count_held(reader, before, config.retention.hold),
        )
    finally:
        _forget(reader)


def archive(config: Config, writer: Writer) -> Done:
    """Move what is old to files. Raises EvidenceBroken where the store does not verify: what was changed must
    not leave as if it had been so; StoreError where a file cannot be written."""
    with _alone(config.store_path):
        return _archive(config, writer)


def _archive(config: Config, writer: Writer) -> Done:
    with Reader(config.store_path) as reader:
        found = verify.verify(reader).findings
        if found:
            raise EvidenceBroken(
                f"the store does not verify: {found[0].subject}: {found[0].message}",
                hint="nothing was moved; run tradelog verify",
            )
        _check_hold(reader, config.retention.hold)
        _gather(reader, config, cutoff(config), _open_lots(reader))
        try:
            calls = [(row["first"], row["call_id"]) for row in reader.rows(_LEAVING)]
            sql = "SELECT version_id FROM leaving_payloads ORDER BY version_id"
            versions = [row["version_id"] for row in reader.rows(sql)]
        finally:
            _forget(reader)
    folder = config.store_path.parent / config.retention.folder
    try:
        if calls or versions:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = [_move_calls(writer, folder, chunk) for chunk in _whole(calls)]
        files += [_move_payloads(writer, folder, chunk) for chunk in _chunks(versions)]
    except OSError as error:
        raise StoreUnwritable(
            f"the archive cannot be written to {folder}: {error.strerror}", hint="see [retention] folder"
        ) from error
    return Done(tuple(files), bool(files) and _shrink(writer))


def bring_back(writer: Writer, name: str) -> int:
    """Put the rows of a file into the store again; returns how many. One commit.

    Raises NotFound for a file that is none of this store's, UsageError for one that is back already;
    ArchiveMissing, EvidenceBroken.
    """
    store = writer.path
    known = writer.rows(
        "SELECT a.path, a.digest, EXISTS (SELECT 1 FROM archive_returns r WHERE r.path = a.path) AS is_back"
        " FROM archived_ranges a WHERE a.path <> '' AND (a.path = ?1 OR ?1 LIKE '%/' || a.path"
        " OR substr(a.path, -length('/' || ?1)) = '/' || ?1) LIMIT 1",
        (name,),
    )
    if not known:
        raise NotFound(f"{name} is no archive of this store", hint="tradelog archive list names them")
    if known[0]["is_back"]:
        raise UsageError(f"{name} is back already")
    path = archive_files.place(store, known[0]["path"])
    rows = list(archive_files.read(path))
    if archive_files.file_digest(path) != known[0]["digest"]:
        raise EvidenceBroken(f"{path} is not the file that was written", hint="take another copy of it")
    with _without_keys(writer), writer.transaction() as tx:
        tx.insert(
            "archive_returns",
            {"path": known[0]["path"], "seq": tx.seq + 1, "actor": writer.actor, "returned_at": tx.now},
        )
        for table, row in rows:
            if table == "payloads":
                tx.unaudited(
                    "UPDATE record_versions SET payload = ? WHERE version_id = ?",
                    (row["payload"], row["version_id"]),
                )
            else:
                tx.insert(table, row)
        tx.journal("archive.returned", path.name)
    return len(rows)


def files_of(reader: Reader) -> list[dict[str, Any]]:
    """The files of the archive: rows, when, whether each is there, and whether it was brought back."""
    rows = reader.rows(
        "SELECT path, sum(row_count) AS rows, min(archived_at) AS archived_at, EXISTS (SELECT 1 FROM"
        " archive_returns r WHERE r.path = a.path) AS is_back FROM archived_ranges a WHERE path <> ''"
        " GROUP BY path ORDER BY min(range_id)"
    )
    for row in rows:
        row["is_back"] = bool(row["is_back"])
        row["is_there"] = archive_files.place(reader.path, row["path"]).exists()
    return rows


def _check_hold(reader: Reader, hold: Sequence[str]) -> None:
    """Raise ConfigError for a word that holds nothing: its owner relies on it."""
    for word in hold:
        if reader.value(
            "SELECT EXISTS (SELECT 1 FROM trade_decisions WHERE symbol = ?1 OR decision_id = ?1)"
            " OR EXISTS (SELECT 1 FROM record_versions WHERE symbol = ?1)",
            (word,),
        ):
            continue
        raise ConfigError(
            f"[retention] hold: {word!r} is no symbol and no decision of this store",
            hint="a symbol as the store has it, such as AAPL, or a whole id",
        )


def _open_lots(reader: Reader) -> list[str]:
    accounts = reader.rows("SELECT DISTINCT broker, environment, account FROM trade_decisions")
    return sorted(
        {decision_id for row in accounts for decision_id in lots.open_decisions(reader, AccountKey(**row))}
    )


def _gather(reader: Reader, config: Config, before: str, held: Sequence[str]) -> None:
    """Temporary tables of what is closed, and of what leaves."""
    given = {
        "before": before,
        "hold": json.dumps(list(config.retention.hold)),
        "lots": json.dumps(list(held)),
        "kinds": json.dumps(KINDS),
    }
    _forget(reader)
    for sql in (_CLOSED, _COMMANDS, _SHOWN, _CALLS, _PAYLOADS):
        used = {name: value for name, value in given.items() if f":{name}" in sql}
        reader.connection.execute(sql, used)
        if sql is _CLOSED:
            reader.connection.execute("CREATE INDEX temp.ix_closed ON closed (decision_id)")
            reader.connection.execute("CREATE INDEX temp.ix_closed_number ON closed (id)")


def _forget(reader: Reader) -> None:
    for table in ("closed", "closed_commands", "shown_calls", "leaving", "leaving_payloads"):
        reader.connection.execute(f"DROP TABLE IF EXISTS temp.{table}")


def _count(reader: Reader, before: str, ids: Sequence[str]) -> int:
    sql = (
        "SELECT count(*) FROM trade_decisions WHERE created_at < ?"
        " AND decision_id IN (SELECT value FROM json_each(?))"
    )
    return int(reader.value(sql, (before, json.dumps(list(ids)))))


def _count_held(reader: Reader, before: str, hold: Sequence[str]) -> int:
    sql = (
        "SELECT count(*) FROM trade_decisions WHERE created_at < ?1 AND (symbol IN (SELECT value FROM"
        " json_each(?2)) OR decision_id IN (SELECT value FROM json_each(?2)))"
    )
    return int(reader.value(sql, (before, json.dumps(list(hold)))))


def _chunks(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(keys), CHUNK):
        yield keys[start : start + CHUNK]


def _whole(calls: Sequence[tuple[int, int]]) -> Iterator[Sequence[int]]:
    """Chunks of (first exchange of the attempt, exchange): an attempt is in one file."""
    chunk: list[int] = []
    for _, group in groupby(calls, key=lambda item: item[0]):
        chunk += [call_id for _, call_id in group]
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _file(writer: Writer, folder: Path, what: str, keys: Sequence[int]) -> tuple[Path, str]:
    """(where a file goes, its name in the store). One that an interrupted run left has the same rows."""
    path = folder / f"{writer.path.stem}-{what}-{min(keys)}-{max(keys)}.jsonl.gz"
    return path, _name(writer, path)


def _name(writer: Writer, path: Path) -> str:
    folder = writer.path.parent
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _move_calls(writer: Writer, folder: Path, keys: Sequence[int]) -> tuple[Path, int]:
    path, name = _file(writer, folder, "exchanges", keys)
    listed = json.dumps(list(keys))
    rows = writer.rows(
        "SELECT * FROM broker_calls WHERE call_id IN (SELECT value FROM json_each(?)) ORDER BY call_id",
        (listed,),
    )
    digest = archive_files.write(path, (("broker_calls", row) for row in rows))
    with _without_keys(writer), writer.transaction() as tx:
        _keep_times(tx, listed, name)
        for first, last in _blocks(tx, keys):
            tx.archive("broker_calls", first, last, path=name, digest=digest)
        tx.journal("rows.archived", path.name)
    return path, len(rows)


def _keep_times(tx: Transaction, listed: str, name: str) -> None:
    """What reports need of the exchanges of each attempt, as `store.figures` takes it."""
    for row in tx.dicts(
        "SELECT coalesce(execution_id, command_id) AS subject, count(*) AS calls,"
        " min(CASE WHEN purpose = 'submit' THEN started_at END) AS sent_at,"
        " min(CASE WHEN purpose IN ('submit', 'lookup') AND status = 200 THEN ended_at END)"
        " AS acknowledged_at FROM broker_calls WHERE call_id IN (SELECT value FROM json_each(?))"
        " AND coalesce(execution_id, command_id) IS NOT NULL GROUP BY 1 ORDER BY 1",
        (listed,),
    ):
        if tx.one("SELECT 1 FROM archived_calls WHERE subject = ?", (row["subject"],)) is None:
            tx.insert("archived_calls", {**row, "path": name})


def _blocks(tx: Transaction, keys: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges of the keys between which no other row is."""
    ordered = sorted(keys)
    others = [
        row[0]
        for row in tx.query(
            "SELECT call_id FROM broker_calls WHERE call_id BETWEEN ? AND ?"
            " AND call_id NOT IN (SELECT value FROM json_each(?)) ORDER BY call_id",
            (ordered[0], ordered[-1], json.dumps(ordered)),
        )
    ]
    first = last = ordered[0]
    for key in ordered[1:]:
        if bisect(others, key) > bisect(others, last):
            yield first, last
            first = key
        last = key
    yield first, last


def _move_payloads(writer: Writer, folder: Path, keys: Sequence[int]) -> tuple[Path, int]:
    path, name = _file(writer, folder, "rows", keys)
    rows = writer.rows(
        "SELECT version_id, run, payload FROM record_versions WHERE version_id IN"
        " (SELECT value FROM json_each(?)) ORDER BY version_id",
        (json.dumps(list(keys)),),
    )
    digest = archive_files.write(path, (("payloads", row) for row in rows))
    with writer.transaction() as tx:
        for row in rows:
            known = (row["version_id"], sha256(row["payload"].encode()).digest(), name)
            tx.unaudited("INSERT INTO archived_payloads (version_id, digest, path) VALUES (?, ?, ?)", known)
        tx.note_archived("payloads", keys[0], keys[-1], len(rows), path=name, digest=digest)
        tx.unaudited(
            "UPDATE record_versions SET payload = '' WHERE version_id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(keys)),),
        )
        tx.journal("rows.archived", path.name)
    return path, len(rows)


@contextmanager
def _alone(store: Path) -> Iterator[None]:
    """One archive at a time. Raises StoreLocked."""
    with store.with_name(f"{store.name}.archiving").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreLocked("another process archives this store", hint="run it again later") from error
        yield


@contextmanager
def _without_keys(writer: Writer) -> Iterator[None]:
    """Foreign keys are off while exchanges leave or come back: events of orders name them, and stay."""
    writer.connection.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        writer.connection.execute("PRAGMA foreign_keys = ON")


def _shrink(writer: Writer) -> bool:
    """Give the room back to the disk, unless another process is at work: it would wait meanwhile."""
    rows = writer.rows(
        "SELECT pid, boot_id, started_at FROM workers WHERE stopped_at IS NULL AND host = ?",
        (socket.gethostname(),),
    )
    if any(row["boot_id"] == boot_id() and is_alive(row["pid"], since=row["started_at"]) for row in rows):
        return False
    try:
        writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writer.connection.execute("VACUUM")
    except sqlite3.OperationalError:
        return False
    return True
