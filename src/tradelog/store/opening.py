"""Opening the store for writing: created where it is missing, upgraded where it is older."""

from __future__ import annotations

from pathlib import Path

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
