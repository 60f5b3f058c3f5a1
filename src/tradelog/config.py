"""tradelog.toml and the environment, as frozen dataclasses.

Looked up in this order: ``--config``, ``TRADELOG_CONFIG``, ``./tradelog.toml``, the user's
configuration directory. Paths in the file are relative to it, so cron needs no working directory.
Secrets come from the environment only, or from a file that only its owner can read.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, get_type_hints
from urllib.parse import urlsplit

from tradelog import clock, money
from tradelog.errors import ConfigError, CredentialsMissing, UsageError

FILE_NAME = "tradelog.toml"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoreConfig:
    url: str = "sqlite:///tradelog.db"


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """``base_url`` is https, or http on loopback for tests. ``cash`` starts a simulated account."""

    name: str = "simulated"
    environment: str = "paper"
    account: str = "default"
    account_number: str | None = None
    base_url: str | None = None
    cash: Decimal = Decimal(100_000)


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """All in seconds. A lease outlives the longest call by far, so that a live send keeps it."""

    drain_seconds: Decimal = Decimal("0.25")
    poll_seconds: Decimal = Decimal(2)
    connect_timeout_seconds: Decimal = Decimal(5)
    read_timeout_seconds: Decimal = Decimal(15)
    unknown_grace_seconds: Decimal = Decimal(30)
    lease_seconds: Decimal = Decimal(60)
    reconcile_seconds: Decimal = Decimal(900)
    once_seconds: Decimal = Decimal(10)


@dataclass(frozen=True, slots=True)
class AlertsConfig:
    """``command`` is run once for each new alert, without a shell; the alert is JSON on its input."""

    command: str | None = None


@dataclass(frozen=True, slots=True)
class MarketConfig:
    """``prices`` is a CSV of daily closes: symbol, date, close, volume."""

    prices: Path | None = None


@dataclass(frozen=True, slots=True)
class ReportConfig:
    timezone: str = clock.MARKET_ZONE


@dataclass(frozen=True, slots=True)
class QuiverConfig:
    base_url: str = "https://api.quiverquant.com"
    timeout_seconds: Decimal = Decimal(60)


@dataclass(frozen=True, slots=True)
class EdgarConfig:
    """``contact`` is what the SEC asks for in the User-Agent: a name and a mail address."""

    contact: str | None = None
    base_url: str = "https://www.sec.gov"
    data_url: str = "https://data.sec.gov"
    timeout_seconds: Decimal = Decimal(30)


@dataclass(frozen=True, slots=True)
class LegislatorsConfig:
    base_url: str = "https://unitedstates.github.io/congress-legislators"
    timeout_seconds: Decimal = Decimal(60)


# The source of each fetch command where none is configured; only that of congress needs a key.
DEFAULT_SOURCES = {"congress": "quiver", "insider": "sec-edgar", "committees": "congress-legislators"}
SOURCE_SECTIONS: Mapping[str, type[Any]] = {
    "quiver": QuiverConfig,
    "sec-edgar": EdgarConfig,
    "congress-legislators": LegislatorsConfig,
}


@dataclass(frozen=True, slots=True)
class SourcesConfig:
    """Which source each fetch command uses, and ``[sources.NAME]`` of each source as written."""

    use: Mapping[str, str]
    tables: Mapping[str, Mapping[str, Any]]
    base: Path

    def settings(self, name: str, cls: type[T]) -> T:
        """A source's own settings. Raises ConfigError for an unknown key, a wrong type or an unsafe URL."""
        found = section(cls, self.tables.get(name, {}), f"sources.{name}", self.base)
        for item in fields(cls):  # type: ignore[arg-type]
            if item.name.endswith("_url"):
                _check_url(getattr(found, item.name), f"[sources.{name}] {item.name}")
        return found


@dataclass(frozen=True, slots=True)
class Config:
    """``path`` is the file all this came from; ``strategies`` is checked by each strategy itself."""

    path: Path
    store: StoreConfig
    broker: BrokerConfig
    worker: WorkerConfig
    alerts: AlertsConfig
    market: MarketConfig
    report: ReportConfig
    sources: SourcesConfig
    strategies: Mapping[str, Mapping[str, Any]]

    @property
    def store_path(self) -> Path:
        """Where the SQLite file is. Raises ConfigError for a URL that is none of SQLite."""
        prefix = "sqlite:///"
        if not self.store.url.startswith(prefix) or self.store.url == prefix:
            raise ConfigError(
                f"[store] url = {self.store.url!r} is not supported",
                hint='write url = "sqlite:///tradelog.db"; the path is relative to tradelog.toml',
            )
        return self.path.parent / self.store.url.removeprefix(prefix)

    @property
    def account(self) -> tuple[str, str, str]:
        """(broker, environment, account): what a decision is fixed to, and a worker claims."""
        return self.broker.name, self.broker.environment, self.broker.account


SECTIONS = ("store", "broker", "worker", "alerts", "market", "report", "sources", "strategies")


def find(explicit: Path | None = None) -> Path:
    """The configuration file. Raises ConfigError where there is none."""
    named = explicit or (Path(os.environ["TRADELOG_CONFIG"]) if os.environ.get("TRADELOG_CONFIG") else None)
    if named is not None:
        if not named.is_file():
            raise ConfigError(f"no configuration file at {named}", hint="create it: tradelog init")
        return named.resolve()
    here = Path(FILE_NAME)
    if here.is_file():
        return here.resolve()
    from platformdirs import user_config_path

    home = user_config_path("tradelog") / FILE_NAME
    if home.is_file():
        return home
    raise ConfigError(
        f"no {FILE_NAME} here or in {home.parent}",
        hint="create one: tradelog init, or name one: --config PATH",
    )


def load(explicit: Path | None = None) -> Config:
    """Read and check the configuration. Raises ConfigError that names the key."""
    path = find(explicit)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    _known(table, SECTIONS, str(path))
    config = Config(
        path=path,
        store=section(StoreConfig, table.get("store", {}), "store", path.parent),
        broker=section(BrokerConfig, table.get("broker", {}), "broker", path.parent),
        worker=section(WorkerConfig, table.get("worker", {}), "worker", path.parent),
        alerts=section(AlertsConfig, table.get("alerts", {}), "alerts", path.parent),
        market=section(MarketConfig, table.get("market", {}), "market", path.parent),
        report=section(ReportConfig, table.get("report", {}), "report", path.parent),
        sources=_sources(table.get("sources", {}), path.parent),
        strategies=_tables(table.get("strategies", {}), "strategies"),
    )
    _check(config)
    return config


def section(cls: type[T], table: Any, where: str, base: Path) -> T:
    """A dataclass from a TOML table; raises ConfigError for an unknown key or a wrong type."""
    if not isinstance(table, dict):
        raise ConfigError(f"[{where}] must be a table")
    names = [item.name for item in fields(cls)]  # type: ignore[arg-type]
    _known(table, names, f"[{where}]")
    hints = get_type_hints(cls)
    return cls(
        **{name: _coerce(value, hints[name], f"[{where}] {name}", base) for name, value in table.items()}
    )


def secret(name: str) -> str | None:
    """A secret from the environment, or from the file that ``NAME_FILE`` names (mode 0600)."""
    value = os.environ.get(name, "").strip()
    if value:
        return value
    file = os.environ.get(f"{name}_FILE", "").strip()
    if not file:
        return None
    path = Path(file)
    try:
        if path.stat().st_mode & 0o077:
            raise CredentialsMissing(f"{path} can be read by others", hint=f"chmod 600 {path}")
        return path.read_text(encoding="utf-8").strip() or None
    except OSError as error:
        raise CredentialsMissing(f"cannot read {path}, named by {name}_FILE: {error.strerror}") from error


def _sources(table: Any, base: Path) -> SourcesConfig:
    """Sources of other packages are known only once they are loaded: the fetch commands check those."""
    tables = _tables(table, "sources")
    use = {}
    for command, default in DEFAULT_SOURCES.items():
        given = tables.get(command, {})
        _known(given, ("use",), f"[sources.{command}]")
        use[command] = str(_coerce(given.get("use", default), str, f"[sources.{command}] use", base))
    found = SourcesConfig(use=use, tables=tables, base=base)
    for name, cls in SOURCE_SECTIONS.items():
        found.settings(name, cls)
    return found


def _tables(table: Any, where: str) -> Mapping[str, dict[str, Any]]:
    if not isinstance(table, dict) or not all(isinstance(item, dict) for item in table.values()):
        raise ConfigError(f"[{where}] holds tables only, such as [{where}.congress]")
    return table


def _known(table: Mapping[str, Any], names: Any, where: str) -> None:
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.0)
            raise ConfigError(
                f"unknown key {key!r} in {where}", hint=f"did you mean {near[0]!r}?" if near else None
            )


def _coerce(value: Any, kind: Any, where: str, base: Path) -> Any:
    wanted = next(item for item in getattr(kind, "__args__", (kind,)) if item is not type(None))
    if wanted is Decimal:
        try:
            # A TOML float has been through binary; its shortest text is what was written.
            number = money.parse(repr(value) if isinstance(value, float) else value)
        except ValueError as error:
            raise ConfigError(f"{where} must be a number: {error}") from error
        if number < 0:
            raise ConfigError(f"{where} must not be negative")
        return number
    if wanted is Path and isinstance(value, str) and value:
        return base / Path(value).expanduser()
    if wanted in (int, str, bool) and type(value) is wanted and value != "":
        return value
    raise ConfigError(f"{where} must be {_KINDS.get(wanted, 'given')}, not {value!r}")


_KINDS = {str: "a text", int: "a whole number", bool: "true or false", Path: "a path"}


def _check(config: Config) -> None:
    broker = config.broker
    _one_of(broker.name, ("simulated", "alpaca"), "[broker] name")
    _one_of(broker.environment, ("paper", "live"), "[broker] environment")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", broker.account):
        raise ConfigError(f"[broker] account = {broker.account!r}: letters, digits, '.', '_' and '-' only")
    if broker.base_url is not None:
        _check_url(broker.base_url, "[broker] base_url")
    longest = config.worker.connect_timeout_seconds + config.worker.read_timeout_seconds
    if config.worker.lease_seconds < 2 * longest:
        raise ConfigError(
            f"[worker] lease_seconds must be at least {2 * longest}: twice the two time-outs together"
        )
    for name in (
        "drain_seconds",
        "poll_seconds",
        "reconcile_seconds",
        "connect_timeout_seconds",
        "read_timeout_seconds",
    ):
        if not getattr(config.worker, name):
            raise ConfigError(f"[worker] {name} must be above 0")
    try:
        if config.alerts.command is not None and not shlex.split(config.alerts.command):
            raise ConfigError("[alerts] command names no program")
    except ValueError as error:
        raise ConfigError(f"[alerts] command cannot be read: {error}") from error
    try:
        clock.zone(config.report.timezone)
    except UsageError as error:
        raise ConfigError(f"[report] timezone: {error.message}", hint=error.hint) from error


def _one_of(value: str, allowed: tuple[str, ...], where: str) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(value, allowed, n=1, cutoff=0.0)
        raise ConfigError(f"{where} = {value!r} is not known", hint=f"did you mean {near[0]!r}?")


def _check_url(url: str, where: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"{where} = {url!r} is no URL: {error}") from error
    if parts.username or parts.password:
        raise ConfigError(f"{where} must hold no user or password: URLs are logged")
    loopback = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme == "https" or (parts.scheme == "http" and loopback):
        return
    raise ConfigError(f"{where} = {url!r} must be https: keys travel with every request")
