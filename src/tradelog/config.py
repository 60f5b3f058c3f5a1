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
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, get_type_hints
from urllib.parse import urlsplit

from tradelog import clock, money, symbols
from tradelog.errors import ConfigError, CredentialsMissing, UsageError

FILE_NAME = "tradelog.toml"
T = TypeVar("T")


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


MARKET_HOURS = ("queue", "wait", "refuse")


@dataclass(frozen=True, slots=True)
class RiskConfig:
    """Limits that hold right before sending. None is off; what is on by default cannot surprise.

    Amounts are dollars, ``duplicate_window_seconds`` and the ages seconds. A day is the market's.
    """

    max_order_notional: Decimal | None = Decimal(1_000_000)
    max_order_quantity: Decimal | None = None
    max_symbol_notional: Decimal | None = None
    max_day_notional: Decimal | None = None
    max_gross_exposure: Decimal | None = None
    max_orders_per_minute: int | None = None
    max_orders_per_day: int | None = None
    duplicate_window_seconds: Decimal | None = None
    restricted_symbols: tuple[str, ...] | None = None
    allowed_symbols: tuple[str, ...] | None = None
    long_only: bool = True
    price_collar_percent: Decimal | None = None
    buying_power: bool = False
    tradable_assets: bool = False
    market_hours: str = "queue"
    max_snapshot_seconds: Decimal = Decimal(60)
    max_age_seconds: Decimal | None = Decimal(3600)
    throttle_orders: int | None = None
    throttle_minutes: Decimal = Decimal(60)


# The parameters of the strategies that come with tradelog; the programs of others keep theirs elsewhere.
PARAMETERS = {"congress": ("min_members", "window_days", "notional", "exit")}


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """What holds for one strategy, whoever runs it: beside its own parameters in ``[strategies.NAME]``."""

    approval: bool = False
    approval_hours: Decimal = Decimal(24)
    max_age_seconds: Decimal | None = Decimal(3600)


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
    risk: RiskConfig
    alerts: AlertsConfig
    market: MarketConfig
    report: ReportConfig
    sources: SourcesConfig
    strategies: Mapping[str, Mapping[str, Any]]
    controls: Mapping[str, ControlConfig]
    # The limits that the file does not name.
    unwritten: frozenset[str] = frozenset()

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


SECTIONS = ("store", "broker", "worker", "risk", "alerts", "market", "report", "sources", "strategies")


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
        unwritten=frozenset(item.name for item in fields(RiskConfig)) - set(table.get("risk", {})),
    )
    _check(config)
    check_risk(risk)
    if config.broker.environment == "live":
        _check_live(config, table.get("risk", {}))
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


def _strategies(
    tables: Mapping[str, dict[str, Any]], risk: RiskConfig, base: Path
) -> tuple[dict[str, dict[str, Any]], dict[str, ControlConfig]]:
    """Each strategy's own parameters, and what holds for it whatever it is."""
    ours = {item.name for item in fields(ControlConfig)}
    parameters, controls = {}, {}
    for name, table in tables.items():
        _check_strategy(name, table, ours)
        parameters[name] = {key: value for key, value in table.items() if key not in ours}
        given = {key: value for key, value in table.items() if key in ours}
        found = section(ControlConfig, given, f"strategies.{name}", base)
        if "max_age_seconds" in given:
            _check_duration(found.max_age_seconds, f"[strategies.{name}] max_age_seconds")
        else:
            found = replace(found, max_age_seconds=risk.max_age_seconds)
        _check_duration(found.approval_hours, f"[strategies.{name}] approval_hours")
        controls[name] = found
    return parameters, controls


def _check_strategy(name: str, table: Mapping[str, Any], ours: set[str]) -> None:
    """A key that nobody reads is a gate that somebody thinks is there. Raises ConfigError."""
    limits = {item.name for item in fields(RiskConfig)} - ours
    wrong = next((key for key in table if key in limits), None)
    if wrong is not None:
        raise ConfigError(
            f"{wrong!r} in [strategies.{name}] holds for all strategies", hint="move it to [risk]"
        )
    _known(table, (*PARAMETERS.get(name, ()), *sorted(ours)), f"[strategies.{name}]")


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


def limit_from(name: str, value: Any, where: str) -> Any:
    """One limit of `RiskConfig` from a TOML value, ``off`` for None. Raises ConfigError."""
    return _coerce(value, get_type_hints(RiskConfig)[name], where, Path())


def with_lifts(configured: RiskConfig, lifted: Mapping[str, Any]) -> RiskConfig:
    """The limits, some of them with another value, as in TOML. Raises ConfigError."""
    if not lifted:
        return configured
    return replace(configured, **{name: limit_from(name, value, name) for name, value in lifted.items()})


def as_toml(value: Any) -> Any:
    """A limit as it would be written in tradelog.toml: ``off`` for None."""
    if value is None:
        return "off"
    if isinstance(value, Decimal):
        return money.to_text(value)
    return list(value) if isinstance(value, tuple) else value


def as_text(value: Any) -> str:
    """A limit in words."""
    written = as_toml(value)
    if isinstance(written, bool):
        return "on" if written else "off"
    return ", ".join(written) or "none" if isinstance(written, list) else str(written)


def _coerce(value: Any, kind: Any, where: str, base: Path) -> Any:
    is_optional = type(None) in getattr(kind, "__args__", ())
    if is_optional and value == "off" and str not in kind.__args__ and Path not in kind.__args__:
        return None
    if is_optional and tuple[str, ...] in kind.__args__:
        if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
            raise ConfigError(f"{where} must be a list of texts, not {value!r}")
        try:
            return tuple(symbols.parse(item) for item in value)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error
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
        if wanted is int and value < 0:
            raise ConfigError(f"{where} must not be negative")
        return value
    raise ConfigError(f"{where} must be {_KINDS.get(wanted, 'given')}, not {value!r}")


_KINDS = {str: "a text", int: "a whole number", bool: "true or false", Path: "a path"}


def _check(config: Config) -> None:
    broker = config.broker
    _one_of(broker.name, ("simulated", "alpaca"), "[broker] name")
    _one_of(broker.environment, ("paper", "live"), "[broker] environment")
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
    try:
        if config.alerts.command is not None and not shlex.split(config.alerts.command):
            raise ConfigError("[alerts] command names no program")
    except ValueError as error:
        raise ConfigError(f"[alerts] command cannot be read: {error}") from error
    try:
        clock.zone(config.report.timezone)
    except UsageError as error:
        raise ConfigError(f"[report] timezone: {error.message}", hint=error.hint) from error


# More than ten years of seconds is no age that anybody means.
_MOST_SECONDS = 315_360_000
_DURATIONS = ("duplicate_window_seconds", "max_snapshot_seconds", "max_age_seconds", "throttle_minutes")


def _check_duration(value: Decimal | None, where: str) -> None:
    if value is not None and value > _MOST_SECONDS:
        raise ConfigError(
            f"{where} is more than ten years", hint='"off" is no limit, where there may be none'
        )


def check_risk(risk: RiskConfig) -> None:
    """Raises ConfigError for a limit that cannot be meant."""
    _one_of(risk.market_hours, MARKET_HOURS, "[risk] market_hours")
    for name in ("max_snapshot_seconds", "throttle_minutes"):
        if not getattr(risk, name):
            raise ConfigError(f"[risk] {name} must be above 0")
    for name in _DURATIONS:
        _check_duration(getattr(risk, name), f"[risk] {name}")
    if risk.throttle_orders == 0:
        raise ConfigError("[risk] throttle_orders must be above 0", hint='"off" is no throttle')


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


def _one_of(value: str, allowed: tuple[str, ...], where: str) -> None:
    if value not in allowed:
        raise ConfigError(
            f"{where} = {value!r} is not known", hint=f"one of: {', '.join(map(repr, allowed))}"
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
