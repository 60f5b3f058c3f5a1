"""The store as a bot's process has it open: one writer a process, also after a fork."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from tradelog.adopt.because import current
from tradelog.config.load import load_config
from tradelog.config.schema import ClientConfig, Config
from tradelog.config.values import one_of
from tradelog.domain import ids
from tradelog.errors import ConfigError, StoreMissing
from tradelog.execute.brokers.alpaca import HOSTS
from tradelog.execute.recorded import Reason
from tradelog.store import workers
from tradelog.store.opening import open_writer
from tradelog.store.writer import Writer

# A connection must not be closed by a process that inherited it: it stays referred to.
_inherited: list[Writer] = []


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    writer: Writer
    worker_id: str
    file: tuple[int, int] | None


class ClientLog:
    """The configuration and the open store of one client. Threads may share it."""

    def __init__(self, config: Config, settings: ClientConfig) -> None:
        self.config = config
        self.settings = settings
        self.account = config.account
        self.lease = timedelta(seconds=float(config.worker.lease_seconds))
        self._turn = threading.Lock()
        self._process: _Process | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy, which have a connection of their own."""
        return {"config": self.config, "settings": self.settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["config"], state["settings"])  # type: ignore[misc]

    @property
    def writer(self) -> Writer:
        """This process's writer. Raises StoreError where the store cannot be opened."""
        return self._opened().writer

    @property
    def worker_id(self) -> str:
        """The id under which this process holds leases."""
        return self._opened().worker_id

    def reason(self) -> Reason:
        """Why the bot acts here and now, under its name."""
        given = current()
        return Reason(self.settings.strategy, given.rationale, given.inputs)

    def _opened(self) -> _Process:
        with self._turn:
            held = self._process
            if held is not None and held.pid == os.getpid() and held.file == _file(self.config.store_path):
                return held
            if held is not None:
                _inherited.append(held.writer)
                if _file(self.config.store_path) is None:
                    # What would be written now is in a file that nobody finds again.
                    raise StoreMissing(
                        f"{self.config.store_path} is gone", hint="put it back: tradelog restore"
                    )
            self._process = self._open()
            return self._process

    def _open(self) -> _Process:
        writer = open_writer(self.config.store_path, check_same_thread=False)
        worker_id = ids.new(ids.WORKER)
        role = workers.OUTBOX_CLIENT if self.settings.mode == "outbox" else workers.RECORDING_CLIENT
        with writer.transaction() as tx:
            workers.register(tx, worker_id, self.account, role)
        return _Process(os.getpid(), writer, worker_id, _file(self.config.store_path))


def _file(path: Path) -> tuple[int, int] | None:
    """Which file stands at a path: one that was put in its place is another one."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return (found.st_dev, found.st_ino)


def configured(path: Path | str | None, *, paper: bool, host: str, given: dict[str, Any]) -> ClientLog:
    """The log for a client, from tradelog.toml and the arguments that were given, which win.

    Raises ConfigError for a configuration of another broker or environment, or a wrong argument.
    """
    config = load_config(None if path is None else Path(path))
    settings = replace(config.client, **{name: value for name, value in given.items() if value is not None})
    one_of(settings.mode, ("off", "record", "outbox"), "mode")
    one_of(settings.on_error, ("refuse", "send"), "on_error")
    if not settings.strategy.strip() or not settings.strategy.isprintable():
        raise ConfigError("strategy must be a name", hint='[client] strategy = "my-bot"')
    try:
        is_wait = float(settings.wait_seconds) >= 0
    except ValueError:
        is_wait = False
    if not is_wait:
        raise ConfigError(f"wait = {settings.wait_seconds!r} is no number of seconds")
    environment = "paper" if paper else "live"
    if settings.mode != "off" and (config.broker.name, config.broker.environment) != ("alpaca", environment):
        raise ConfigError(
            f"the client trades on alpaca, {environment}, and {config.path} is for"
            f" {config.broker.name}, {config.broker.environment}",
            hint=f'[broker] name = "alpaca", environment = "{environment}"',
        )
    expected = config.broker.base_url or HOSTS[environment]
    if settings.mode != "off" and host.rstrip("/") != expected.rstrip("/"):
        raise ConfigError(
            f"the client asks {host}, and the broker of {config.path} is at {expected}",
            hint="a worker would look for its orders there: [broker] base_url, or url_override",
        )
    return ClientLog(config, settings)
