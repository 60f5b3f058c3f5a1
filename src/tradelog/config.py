"""tradelog.toml and the environment, as frozen dataclasses.

Looked up in this order: ``--config``, ``TRADELOG_CONFIG``, ``./tradelog.toml``, the user's
configuration directory. Paths in the file are relative to it, so cron needs no working directory.
Secrets come from the environment only, or from a file that only its owner can read.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tradelog.domain import clock
from tradelog.errors import ConfigError, CredentialsMissing, UsageError
from tradelog.limits import ControlConfig, RiskConfig, check_duration, check_risk
from tradelog.parameters import PARAMETERS
from tradelog.settings import T, coerce, known, one_of, section

FILE_NAME = "tradelog.toml"


@dataclass(frozen=True, slots=True)
class StoreConfig:
    url: str = "sqlite:///tradelog.db"


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """``base_url`` is https, or http on loopback for tests. ``cash`` starts a simulated account.

    ``data_url`` is where quotes are asked for: by default Alpaca's, or ``base_url`` where that is loopback.
    """

    name: str = "simulated"
    environment: str = "paper"
    account: str = "default"
    account_number: str | None = None
    base_url: str | None = None
    data_url: str | None = None
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
class Task:
    """What a running worker starts once a day: ``tradelog RUN`` at ``at`` (HH:MM) in the market's time."""

    name: str
    at: str
    run: str


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
    risk: RiskConfig
    alerts: AlertsConfig
    market: MarketConfig
    report: ReportConfig
    sources: SourcesConfig
    strategies: Mapping[str, Mapping[str, Any]]
    controls: Mapping[str, ControlConfig]
    schedule: tuple[Task, ...] = ()

    def control(self, strategy: str) -> ControlConfig:
        """What holds for a strategy, named in the file or not."""
        return self.controls.get(strategy) or ControlConfig(max_age_seconds=self.risk.max_age_seconds)

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


SECTIONS = (
    "store",
    "broker",
    "worker",
    "risk",
    "alerts",
    "market",
    "report",
    "sources",
    "strategies",
    "schedule",
)


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

    try:
        home = user_config_path("tradelog") / FILE_NAME
    except RuntimeError:
        raise ConfigError(
            f"no {FILE_NAME} here, and this user has no home directory",
            hint="create one: tradelog init, or name one: --config PATH",
        ) from None
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
    known(table, SECTIONS, str(path))
    risk = section(RiskConfig, table.get("risk", {}), "risk", path.parent)
    strategies, controls = _strategies(_tables(table.get("strategies", {}), "strategies"), risk, path.parent)
    config = Config(
        path=path,
        store=section(StoreConfig, table.get("store", {}), "store", path.parent),
        broker=section(BrokerConfig, table.get("broker", {}), "broker", path.parent),
        worker=section(WorkerConfig, table.get("worker", {}), "worker", path.parent),
        alerts=section(AlertsConfig, table.get("alerts", {}), "alerts", path.parent),
        market=section(MarketConfig, table.get("market", {}), "market", path.parent),
        report=section(ReportConfig, table.get("report", {}), "report", path.parent),
        sources=_sources(table.get("sources", {}), path.parent),
        risk=risk,
        strategies=strategies,
        controls=controls,
        schedule=_schedule(_tables(table.get("schedule", {}), "schedule"), path.parent),
    )
    _check(config)
    check_risk(risk)
    if config.broker.environment == "live":
        _check_live(config, table.get("risk", {}))
    return config


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
        known(given, ("use",), f"[sources.{command}]")
        use[command] = str(coerce(given.get("use", default), str, f"[sources.{command}] use", base))
    found = SourcesConfig(use=use, tables=tables, base=base)
    for name, cls in SOURCE_SECTIONS.items():
        found.settings(name, cls)
    return found


def _strategies(
    tables: Mapping[str, dict[str, Any]], risk: RiskConfig, base: Path
) -> tuple[dict[str, dict[str, Any]], dict[str, ControlConfig]]:
    """Each strategy's own parameters, and what holds for it whatever it is."""
    ours = {item.name for item in fields(ControlConfig)}
    parameters, controls = {}, {}
    for name, table in tables.items():
        _check_strategy(name, table, ours, base)
        parameters[name] = {key: value for key, value in table.items() if key not in ours}
        given = {key: value for key, value in table.items() if key in ours}
        found = section(ControlConfig, given, f"strategies.{name}", base)
        if "max_age_seconds" in given:
            check_duration(found.max_age_seconds, f"[strategies.{name}] max_age_seconds")
        else:
            found = replace(found, max_age_seconds=risk.max_age_seconds)
        check_duration(found.approval_hours, f"[strategies.{name}] approval_hours")
        controls[name] = found
    return parameters, controls


def _schedule(tables: Mapping[str, dict[str, Any]], base: Path) -> tuple[Task, ...]:
    tasks = []
    for name, table in tables.items():
        where = f"[schedule.{name}]"
        for key in ("at", "run"):
            if key not in table:
                raise ConfigError(f"{where} {key} is missing", hint='at = "17:30", run = "verify --head"')
        task = section(Task, {**table, "name": name}, f"schedule.{name}", base)
        if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", task.at):
            raise ConfigError(f"{where} at = {task.at!r} is no time of day", hint='write "17:30"')
        _check_words(task.run, f"{where} run")
        tasks.append(task)
    return tuple(tasks)


def _check_words(command: str, where: str) -> None:
    try:
        if not shlex.split(command):
            raise ConfigError(f"{where} names nothing")
    except ValueError as error:
        raise ConfigError(f"{where} cannot be read: {error}") from error


def _check_strategy(name: str, table: Mapping[str, Any], ours: set[str], base: Path) -> None:
    """A key that nobody reads is a gate that somebody thinks is there. Raises ConfigError."""
    limits = {item.name for item in fields(RiskConfig)} - ours
    wrong = next((key for key in table if key in limits), None)
    if wrong is not None:
        raise ConfigError(
            f"{wrong!r} in [strategies.{name}] holds for all strategies", hint="move it to [risk]"
        )
    kind = PARAMETERS.get(name)
    names = () if kind is None else tuple(item.name for item in fields(kind))
    known(table, (*names, *sorted(ours)), f"[strategies.{name}]")
    if kind is not None:
        own = {key: value for key, value in table.items() if key not in ours}
        section(kind, own, f"strategies.{name}", base)


def _tables(table: Any, where: str) -> Mapping[str, dict[str, Any]]:
    if not isinstance(table, dict) or not all(isinstance(item, dict) for item in table.values()):
        raise ConfigError(f"[{where}] holds tables only, such as [{where}.congress]")
    return table


def _check(config: Config) -> None:
    broker = config.broker
    one_of(broker.name, ("simulated", "alpaca"), "[broker] name")
    one_of(broker.environment, ("paper", "live"), "[broker] environment")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", broker.account):
        raise ConfigError(f"[broker] account = {broker.account!r}: letters, digits, '.', '_' and '-' only")
    for name in ("base_url", "data_url"):
        if getattr(broker, name) is not None:
            _check_url(getattr(broker, name), f"[broker] {name}")
            _check_bare(getattr(broker, name), f"[broker] {name}")
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
    if config.alerts.command is not None:
        _check_words(config.alerts.command, "[alerts] command")
    try:
        clock.zone(config.report.timezone)
    except UsageError as error:
        raise ConfigError(f"[report] timezone: {error.message}", hint=error.hint) from error


def _check_live(config: Config, given: Mapping[str, Any]) -> None:
    """Live trading takes a broker that has it, the number of the account, and a limit that is written."""
    if config.broker.name != "alpaca":
        raise ConfigError(f"the {config.broker.name} broker has no live environment")
    if config.broker.account_number is None:
        raise ConfigError(
            "live trading needs [broker] account_number",
            hint="write the number that the broker shows for the account that you mean",
        )
    if "max_order_notional" not in given or config.risk.max_order_notional is None:
        raise ConfigError(
            "live trading needs [risk] max_order_notional written out",
            hint="the most dollars that one order may be worth",
        )


def _check_bare(url: str, where: str) -> None:
    parts = urlsplit(url)
    if parts.path not in ("", "/") or parts.query or parts.fragment or url != url.strip():
        raise ConfigError(f"{where} = {url!r} must be scheme and host only")


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
