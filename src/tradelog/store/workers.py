"""The row of a process that acts at the broker: others tell by it whether the owner of a lease is alive."""

from __future__ import annotations

import os
import socket

from tradelog.domain.account import AccountKey
from tradelog.store.process import boot_id
from tradelog.store.writer import Transaction

# The role of a bot's process that sends its orders itself, and records them.
RECORDING_CLIENT = "recording client"
OUTBOX_CLIENT = "outbox client"


def register(tx: Transaction, worker_id: str, account: AccountKey, role: str) -> None:
    """Record this process under an id of its own. ``role`` is ``worker``, a client, or a command."""
    tx.unaudited(
        "INSERT INTO workers (worker_id, host, pid, boot_id, broker, environment, account,"
        " started_at, heartbeat_at, role) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (worker_id, socket.gethostname(), os.getpid(), boot_id(), *account, tx.now, tx.now, role),
    )
