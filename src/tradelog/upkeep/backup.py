"""Backup: a consistent copy of the store while others work on it, opened and verified before it counts."""

from __future__ import annotations

import glob
import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tradelog.domain import clock
from tradelog.errors import EvidenceBroken, StoreUnwritable, TradelogError, UsageError
from tradelog.evidence import chain, verify
from tradelog.evidence.chain import Head
from tradelog.store import engine
from tradelog.store.reader import Reader
from tradelog.store.writer import Writer

SUFFIX = ".db"
# Less than a step of the maintenance may take.
COMMAND_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy: where it is (``path``, or the ``command`` that took it), its head, its size in bytes."""

    path: Path | None
    command: str | None
    head: Head
    size: int
    removed: tuple[Path, ...] = ()


def back_up(store: Path, target: str, keep: int | None = None) -> Backup:
    """Copy the store to a folder, a file, or the input of ``| COMMAND``.

    Of the copies in a folder the newest ``keep`` stay.

    Raises UsageError for a target that makes no sense, EvidenceBroken for a copy that does not verify (none
    is left then), StoreError, and TradelogError where the command fails.
    """
    text = target.strip()
    if not text:
        raise UsageError("the target is empty", hint="name a folder, a file, or '| COMMAND'")
    if keep is not None and (keep < 1 or text.startswith("|") or not _is_folder(text)):
        raise UsageError(
            "--keep needs a folder, and at least 1", hint="tradelog backup /mnt/elsewhere/ --keep 30"
        )
    if text.startswith("|"):
        return _to_command(store, text[1:].strip())
    path = _path_in(store, Path(text).expanduser()) if _is_folder(text) else Path(text).expanduser()
    if path.exists():
        raise UsageError(f"{path} is there already", hint="name a folder, or another file")
    if path.resolve() == store.resolve():
        raise UsageError("that is the store itself", hint="name a folder elsewhere")
    head = _copy(store, path)
    removed = _thin_out(store, path.parent, keep) if keep is not None else ()
    return Backup(path, None, head, path.stat().st_size, removed)


def head_path(copy: Path) -> Path:
    """Where the head of a copy stands: beside it."""
    return copy.with_name(f"{copy.name}.head")


def _is_folder(text: str) -> bool:
    return text.endswith("/") or Path(text).expanduser().is_dir()


def _path_in(store: Path, folder: Path) -> Path:
    """A name by the moment, so that the newest sorts last."""
    stamp = clock.now().strftime("%Y%m%dT%H%M%S%fZ")
    return folder / f"{store.stem}-{stamp}{SUFFIX}"


def _copy(store: Path, path: Path) -> Head:
    """A private copy that has verified, with its head beside it: both are there whole, or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        head = _copied(store, partial)
        with head_path(partial).open("w") as stream:
            stream.write(head.line() + "\n")
        for item in (partial, head_path(partial)):
            _sync(item)
        head_path(partial).replace(head_path(path))
        partial.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise StoreUnwritable(
            f"the copy cannot be written to {path}: {error.strerror}", hint="name a place that is there"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
        head_path(partial).unlink(missing_ok=True)
    return head


def _copied(store: Path, partial: Path) -> Head:
    with Reader(store) as reader, engine.faults(partial):
        # One read transaction: consistent, and in nobody's way.
        reader.connection.execute("VACUUM INTO ?", (str(partial),))
    with Reader(partial) as copy:
        found = verify.verify(copy).findings
        if found:
            raise EvidenceBroken(
                f"the copy does not verify: {found[0].subject}: {found[0].message}",
                hint="tradelog verify tells whether the store itself does; no copy was kept",
            )
        return chain.head(copy)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _thin_out(store: Path, folder: Path, keep: int) -> tuple[Path, ...]:
    """Remove the oldest copies of this store in a folder, all but the newest ``keep``."""
    stamped = "[0-9]" * 8 + "T" + "[0-9]" * 12 + "Z"
    copies = sorted(folder.glob(f"{glob.escape(store.stem)}-{stamped}{SUFFIX}"))
    with Reader(store) as reader:
        # Another store of that name may keep its copies there too.
        ours = [path for path in copies if _is_ours(reader, path)]
    removed = ours[: max(0, len(ours) - keep)]
    for path in removed:
        path.unlink()
        head_path(path).unlink(missing_ok=True)
    return tuple(removed)


def _is_ours(reader: Reader, copy: Path) -> bool:
    """Whether the head beside a copy is in the journal of this store."""
    try:
        return not chain.since(reader, chain.read_heads(head_path(copy)))
    except UsageError:
        return False


def _to_command(store: Path, command: str) -> Backup:
    """Give a verified copy to a command, with TRADELOG_BACKUP_NAME and _HEAD in its environment."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"cannot read {command!r}: {error}") from error
    if not words:
        raise UsageError("the command is empty", hint="tradelog backup '| restic backup --stdin'")
    path = _path_in(store, store.parent)
    head = _copy(store, path)
    size = path.stat().st_size
    more = {"TRADELOG_BACKUP_NAME": path.name, "TRADELOG_BACKUP_HEAD": head.line()}
    try:
        with path.open("rb") as stream:
            ended = subprocess.run(  # noqa: S603 the owner's own command
                words, stdin=stream, env={**os.environ, **more}, timeout=COMMAND_SECONDS, check=False
            )
    except OSError as error:
        raise UsageError(f"cannot run {command!r}: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise TradelogError(f"{words[0]} did not take the copy within {COMMAND_SECONDS:g} s") from error
    finally:
        path.unlink()
        head_path(path).unlink()
    if ended.returncode:
        raise TradelogError(
            f"{words[0]} did not take the copy: it ended with {ended.returncode}",
            hint="no shell runs it: where it needs one, '| sh -c \"...\"'",
        )
    return Backup(None, command, head, size)


def record(writer: Writer, made: Backup) -> None:
    """Journal that a copy was made, and up to which entry."""
    where = made.path.name if made.path is not None else shlex.split(str(made.command))[0]
    with writer.transaction() as tx:
        tx.journal("store.backed_up", where, copy_seq=made.head.seq, copy_hash=made.head.hash)
