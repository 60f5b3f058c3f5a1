"""Restore: a copy takes the place of the store, after it has proved itself; what it replaces is kept.

The copy is behind the broker: it knows nothing of what was submitted after it was made. So it is halted
for every account until a reconciliation of that account has run.
"""

from __future__ import annotations

import os
import socket
import sqlite3
from dataclasses import dataclass
from pathlib import Path

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
    store = config.store_path
    if not source.is_file():
        raise UsageError(f"{source} is no file", hint="name a copy that tradelog backup made")
    if store.exists() and source.samefile(store):
        raise UsageError("that is the store itself", hint="name a copy that tradelog backup made")
    store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    incoming = store.with_name(f"{store.name}.restoring")
    _remove(incoming)
    try:
        head = _proved(source, incoming)
        old_head = _settle(store) if store.exists() else None
        kept = _kept_name(store) if store.exists() else None
        _mark(incoming, config, source, head, kept, old_head)
        _replace(store, incoming, kept)
    finally:
        _remove(incoming)
    return Restored(source, head, kept, old_head)


def _proved(source: Path, incoming: Path) -> Head:
    """A private copy of the copy, upgraded where it is older, which has verified."""
    os.close(os.open(incoming, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with engine.faults(source):
        opened = sqlite3.connect(f"file:{source.as_posix()}?mode=ro", uri=True)
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


def _settle(store: Path) -> Head | None:
    """Write all of the old store to its file, and see that nobody works on it; returns its head.

    One that cannot be read is kept as it is: that is what restoring is for.
    """
    try:
        with Reader(store) as reader:
            _refuse_busy(reader)
            head = chain.head(reader)
        connection = engine.connect_writer(store)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
    except StoreLocked:
        raise
    except (StoreError, sqlite3.Error):
        return None
    wal = Path(f"{store}-wal")
    if wal.exists() and wal.stat().st_size:
        raise StoreLocked(
            f"another process has {store} open", hint="stop the worker and the bots, and try again"
        )
    return head


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
    stamp = clock.now().strftime("%Y%m%dT%H%M%SZ")
    return store.with_name(f"{store.stem}.before-restore-{stamp}{store.suffix}")


def _mark(
    incoming: Path, config: Config, source: Path, head: Head, kept: Path | None, old: Head | None
) -> None:
    """Write into the copy that it is one, and halt it until it has been reconciled."""
    writer = open_writer(incoming)
    try:
        with writer.transaction() as tx:
            accounts = tx.query("SELECT DISTINCT broker, environment, account FROM trade_decisions")
            for account in sorted({config.account, *(AccountKey(*row) for row in accounts)}):
                controls.halt_restored(tx, account, f"restored from {source.name}")
            tx.insert(
                "restores",
                {
                    "source": str(source),
                    "copy_seq": head.seq,
                    "copy_hash": head.hash,
                    "replaced": None if kept is None else str(kept),
                    "replaced_seq": None if old is None else old.seq,
                    "replaced_hash": None if old is None else old.hash,
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
    for end in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{end}").unlink(missing_ok=True)
