"""Opening the store for writing: created where it is missing, upgraded where it is older."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tradelog.store import engine
from tradelog.store.writer import Writer, default_actor


def open_writer(
    path: Path,
    *,
    actor: str | None = None,
    busy_seconds: float = engine.BUSY_SECONDS,
    check_same_thread: bool = True,
) -> Writer:
    """Open the store for writing; create it, or upgrade an older one after a checked copy.

    ``check_same_thread=False`` is for an owner that sees to it itself that one thread uses it at a
    time. Raises StoreNewer, StoreLocked, StoreUnwritable, UpgradeFailed.
    """
    connection = engine.connect_writer(path, busy_seconds=busy_seconds, check_same_thread=check_same_thread)
    try:
        with engine.faults(path):
            found = engine.schema_of(connection)
            if found is None:
                engine.refuse_foreign(path, connection)
        if found is not None:
            engine.refuse_newer(path, found)
    except BaseException:
        connection.close()
        raise
    if found != engine.SCHEMA:
        # Alembic is slow to import, and only a new or an older store needs it.
        from tradelog.store import upgrade

        connection.close()
        upgrade.upgrade(path)
        connection = engine.connect_writer(
            path, busy_seconds=busy_seconds, check_same_thread=check_same_thread
        )
    return Writer(connection, path, actor or default_actor())


@contextmanager
def open_dry(path: Path) -> Iterator[Writer]:
    """The store for a dry run: read-only, or an empty one that passes where there is none yet.

    Raises StoreOlder, StoreNewer, StoreError.
    """
    if path.exists():
        connection = engine.connect_reader(path)
        connection.row_factory = None
        try:
            yield Writer(connection, path, default_actor())
        finally:
            connection.close()
        return
    with TemporaryDirectory(prefix="tradelog-dry-") as folder:
        writer = open_writer(Path(folder) / "dry.db")
        try:
            yield writer
        finally:
            writer.close()
