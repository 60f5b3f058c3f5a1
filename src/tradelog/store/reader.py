"""The one read door: plain SQL on a read-only connection, rows by name.

A reader never writes, never blocks the worker, and sees only what is committed. Records are
visible once their run has completed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tradelog.domain.clock import from_text, now
from tradelog.errors import NotFound, UsageError
from tradelog.store import engine
from tradelog.store.process import boot_id, is_alive

# What an id names: type -> (table, column).
NAMED = {
    "run": ("data_ingestion_runs", "run_id"),
    "dec": ("trade_decisions", "decision_id"),
    "exe": ("trade_executions", "execution_id"),
    "sig": ("signals", "signal_id"),
    "srn": ("strategy_runs", "strategy_run_id"),
    "req": ("order_requests", "request_id"),
    "brk": ("breaks", "break_id"),
    "cmd": ("client_commands", "command_id"),
    "mnt": ("maintenance_runs", "maintenance_id"),
}

# The command that lists the ids of a kind.
LISTED = {
    "run": "tradelog runs",
    "dec": "tradelog decisions",
    "exe": "tradelog trades",
    "sig": "tradelog decisions --not-taken",
    "req": "tradelog status",
    "brk": "tradelog positions",
}

# A run on another machine counts as dead when its heartbeat is this old.
SILENT_SECONDS = 3600

Row = dict[str, Any]


class Reader:
    def __init__(self, path: Path) -> None:
        """Raises StoreMissing, StoreOlder, StoreNewer, StoreLocked."""
        self.path = path
        self.connection = engine.connect_reader(path)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """All rows of a query, by column name."""
        with engine.faults(self.path, "read"):
            return [dict(row) for row in self.connection.execute(sql, parameters)]

    def one(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Row | None:
        """The first row of a query, None without one."""
        with engine.faults(self.path, "read"):
            row = self.connection.execute(sql, parameters).fetchone()
        return None if row is None else dict(row)

    def value(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """The first column of the first row, or None."""
        with engine.faults(self.path, "read"):
            row = self.connection.execute(sql, parameters).fetchone()
        return None if row is None else row[0]

    def resolve(self, text: str, kinds: Sequence[str] = tuple(NAMED)) -> tuple[str, str]:
        """(kind, full id) for a unique prefix of an id, with or without its type.

        Raises NotFound, or UsageError where the prefix fits several.
        """
        wanted = text.strip().lower()
        head, _, tail = wanted.partition("_")
        if tail or wanted.endswith("_"):
            candidates = [(head, wanted)] if head in kinds else []
        else:
            candidates = [(kind, f"{kind}_{wanted}") for kind in kinds]
        found: list[tuple[str, str]] = []
        for kind, prefix in candidates:
            table, column = NAMED[kind]
            # "~" sorts after every character of an id, so this is a range on the index.
            rows = self.rows(
                f"SELECT {column} AS id FROM {table} WHERE {column} >= ? AND {column} < ? LIMIT 3",
                (prefix, prefix + "~"),
            )
            found += [(kind, row["id"]) for row in rows]
        if not found:
            listed = LISTED.get(head, "tradelog decisions and tradelog runs")
            verb = "lists" if head in LISTED else "list"
            raise NotFound(f"no id is, or begins with, {text!r}", hint=f"{listed} {verb} ids")
        if len(found) > 1:
            raise UsageError(
                f"{text!r} fits several ids: {', '.join(id_ for _, id_ in found[:3])}",
                hint="write more of it",
            )
        return found[0]


def effective_status(run: Row) -> str:
    """The status of a run as it is now: a ``running`` one whose process died is ``abandoned``."""
    if run["status"] != "running":
        return str(run["status"])
    import socket

    if run["host"] != socket.gethostname():
        silent = (now() - from_text(run["heartbeat_at"])).total_seconds()
        return "abandoned" if silent > SILENT_SECONDS else "running"
    if run["boot_id"] != boot_id() or not is_alive(run["pid"], since=run["started_at"]):
        return "abandoned"
    return "running"
