"""Restore: a copy takes the place of the store, after it has proved itself; what it replaces is kept.

The copy is behind the broker: it knows nothing of what was submitted after it was made. So it is halted
for every account until a reconciliation of that account has run.
"""

from __future__ import annotations

import glob
import os
import socket
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.domain.account import AccountKey
from tradelog.errors import EvidenceBroken, StoreError, StoreLocked, StoreUnwritable, UsageError
from tradelog.evidence import chain, verify
from tradelog.evidence.chain import Head
from tradelog.execute.risk import controls
from tradelog.store import engine, head_file
from tradelog.store.opening import open_writer
from tradelog.store.process import boot_id, is_alive
from tradelog.store.reader import Reader
from tradelog.upkeep.backup import head_path

# A writer that is just at work is waited for.
BUSY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Old:
    """Of the store that is replaced: its head, and the halts that people have set."""

    head: Head | None = None
    halts: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did. ``kept`` is where the store is that it replaced."""

    source: Path
    head: Head
    kept: Path | None
    kept_head: Head | None


def restore(config: Config, source: Path) -> Restored:
    """Put a verified copy in the place of the store.

    Raises UsageError, EvidenceBroken for a copy that does not verify or is not the one that its head names,
    StoreLocked where a process works on the store, StoreError. Nothing is changed then.
    """
    # Where it is, and not a link to it.
    store = config.store_path.resolve()
    if not source.is_file():
        raise UsageError(f"{source} is no file", hint="name a copy that tradelog backup made")
    _require_store(source)
    if store.exists() and source.samefile(store):
        raise UsageError("that is the store itself", hint="name a copy that tradelog backup made")
    store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    incoming = store.with_name(f"{store.name}.restoring")
    _remove(incoming)
    try:
        head = _proved(source, incoming)
        old = _settle(store) if store.exists() else _Old()
        kept = _kept_name(store) if store.exists() else None
        _mark(incoming, config, source, head, kept, old)
        _replace(store, incoming, kept)
    finally:
        _remove(incoming)
    return Restored(source, head, kept, old.head)


def _require_store(source: Path) -> None:
    """Raise UsageError for what is no copy of a store."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)) as opened:
            found = engine.schema_of(opened)
    except sqlite3.Error:
        found = None
    if found is None:
        raise UsageError(
            f"{source} is no copy of a tradelog store", hint="name one that tradelog backup made"
        )
    engine.refuse_newer(source, found)


def _proved(source: Path, incoming: Path) -> Head:
    """A private copy of the copy, upgraded where it is older, which has verified."""
    os.close(os.open(incoming, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with engine.faults(source):
        opened = sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)
        target = sqlite3.connect(incoming)
        try:
            opened.backup(target)
        finally:
            opened.close()
            target.close()
    open_writer(incoming).close()
    with Reader(incoming) as copy:
        found = verify.verify(copy).findings
        if found:
            raise EvidenceBroken(
                f"{source} does not verify: {found[0].subject}: {found[0].message}",
                hint="restore another copy; nothing was changed",
            )
        beside = head_path(source)
        broken = chain.since(copy, chain.read_heads(beside)) if beside.exists() else []
        if broken:
            raise EvidenceBroken(
                f"{source} is not the copy that {beside.name} was written for: {broken[0].message}",
                hint="restore another copy; nothing was changed",
            )
        return chain.head(copy)


def _settle(store: Path) -> _Old:
    """Write all of the old store to its file, and see that nobody works on it.

    One that cannot be read is kept as it is: that is what restoring is for.
    """
    try:
        with Reader(store) as reader:
            _refuse_busy(reader)
            sql = "SELECT * FROM halts WHERE ended_at IS NULL AND actor <> 'tradelog' ORDER BY halt_id"
            old = _Old(chain.head(reader), tuple(reader.rows(sql)))
        with closing(engine.connect_writer(store, busy_seconds=BUSY_SECONDS)) as connection:
            _leave_wal(store, connection)
    except StoreLocked:
        raise
    except (StoreError, sqlite3.Error):
        return _Old()
    return old


def _leave_wal(store: Path, connection: sqlite3.Connection) -> None:
    """Write all to the one file, which SQLite does only where nobody else has it open, idle or not."""
    try:
        mode = connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
    except sqlite3.OperationalError:
        mode = "wal"
    if mode != "delete":
        raise StoreLocked(
            f"another process has {store} open", hint="stop the worker and the bots, and try again"
        )


def _refuse_busy(reader: Reader) -> None:
    rows = reader.rows(
        "SELECT role, pid, boot_id, started_at FROM workers WHERE stopped_at IS NULL AND host = ?",
        (socket.gethostname(),),
    )
    rows += reader.rows(
        "SELECT task_name AS role, pid, boot_id, started_at FROM data_ingestion_runs"
        " WHERE status = 'running' AND host = ?",
        (socket.gethostname(),),
    )
    for row in rows:
        is_ours = row["pid"] == os.getpid()
        if not is_ours and row["boot_id"] == boot_id() and is_alive(row["pid"], since=row["started_at"]):
            raise StoreLocked(
                f"process {row['pid']} ({row['role']}) works on the store", hint="stop it, and try again"
            )


def _kept_name(store: Path) -> Path:
    stamp = clock.now().strftime("%Y%m%dT%H%M%S%fZ")
    return store.with_name(f"{store.stem}.before-restore-{stamp}{store.suffix}")


def _mark(incoming: Path, config: Config, source: Path, head: Head, kept: Path | None, old: _Old) -> None:
    """Write into the copy that it is one, and halt it until it has been reconciled."""
    writer = open_writer(incoming)
    try:
        with writer.transaction() as tx:
            accounts = tx.query("SELECT DISTINCT broker, environment, account FROM trade_decisions")
            for account in sorted({config.account, *(AccountKey(*row) for row in accounts)}):
                controls.halt_restored(tx, account, f"restored from {source.name}")
            for row in old.halts:
                # What a person has halted since the copy was made stays so.
                account = AccountKey(row["broker"], row["environment"], row["account"])
                controls.halt(tx, row["scope"], row["subject"], row["actor"], row["reason"], account)
            tx.insert(
                "restores",
                {
                    "source": str(source),
                    "copy_seq": head.seq,
                    "copy_hash": head.hash,
                    "replaced": None if kept is None else str(kept),
                    "replaced_seq": None if old.head is None else old.head.seq,
                    "replaced_hash": None if old.head is None else old.head.hash,
                    "actor": writer.actor,
                    "restored_at": tx.now,
                },
            )
            tx.journal("store.restored", source.name)
        writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        writer.close()


def _replace(store: Path, incoming: Path, kept: Path | None) -> None:
    """The old store gets a second name first, so that there is a store at every moment."""
    descriptor = os.open(incoming, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    aside = kept or _kept_name(store)
    try:
        if kept is not None:
            os.link(store, kept)
        for end in ("-wal", "-shm"):  # of a store that could not be read, or is gone
            if Path(f"{store}{end}").exists():
                Path(f"{store}{end}").replace(f"{aside}{end}")
        incoming.replace(store)
    except OSError as error:
        raise StoreUnwritable(f"{store} cannot be replaced: {error.strerror}") from error
    head_file.set_aside(store)
    folder = os.open(store.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _remove(path: Path) -> None:
    # An older copy was upgraded, after a copy of it.
    for left in path.parent.glob(f"{glob.escape(path.stem)}.before-*{path.suffix}"):
        left.unlink()
    for end in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{end}").unlink(missing_ok=True)
