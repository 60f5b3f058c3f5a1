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
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tradelog.config.parameters import PARAMETERS
from tradelog.config.risk import ControlConfig, RiskConfig, check_duration, check_risk
from tradelog.config.schema import (
    DEFAULT_SOURCES,
    SOURCE_SECTIONS,
    AlertsConfig,
    BrokerConfig,
    ClientConfig,
    Config,
    MaintenanceConfig,
    MarketConfig,
    ReportConfig,
    RetentionConfig,
    SourcesConfig,
    StoreConfig,
    Task,
    WorkerConfig,
)
from tradelog.config.values import check_keys, check_url, coerce, from_table, one_of
from tradelog.domain import clock
from tradelog.errors import ConfigError, CredentialsMissing, UsageError

FILE_NAME = "tradelog.toml"


SECTIONS = (
    "store",
    "broker",
    "worker",
    "risk",
    "alerts",
    "client",
    "maintenance",
    "retention",
    "market",
    "report",
    "sources",
    "strategies",
    "schedule",
)


def find_config(explicit: Path | None = None) -> Path:
    """The configuration file. Raises ConfigError where there is none."""
    explicit_path = explicit or (
        Path(os.environ["TRADELOG_CONFIG"]) if os.environ.get("TRADELOG_CONFIG") else None
    )
    if explicit_path is not None:
        if not explicit_path.is_file():
            raise ConfigError(f"no configuration file at {explicit_path}", hint="create it: tradelog init")
        return explicit_path.resolve()
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


def load_config(explicit: Path | None = None) -> Config:
    """Read and check the configuration. Raises ConfigError that names the key."""
    path = find_config(explicit)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    check_keys(table, SECTIONS, str(path))
    risk = from_table(RiskConfig, table.get("risk", {}), "risk", path.parent)
    strategies, controls = _strategies(_tables(table.get("strategies", {}), "strategies"), risk, path.parent)
    config = Config(
        path=path,
        store=from_table(StoreConfig, table.get("store", {}), "store", path.parent),
        broker=from_table(BrokerConfig, table.get("broker", {}), "broker", path.parent),
        worker=from_table(WorkerConfig, table.get("worker", {}), "worker", path.parent),
        alerts=from_table(AlertsConfig, table.get("alerts", {}), "alerts", path.parent),
        market=from_table(MarketConfig, table.get("market", {}), "market", path.parent),
        report=from_table(ReportConfig, table.get("report", {}), "report", path.parent),
        sources=_sources(table.get("sources", {}), path.parent),
        risk=risk,
        strategies=strategies,
        controls=controls,
        schedule=_schedule(_tables(table.get("schedule", {}), "schedule"), path.parent),
        client=from_table(ClientConfig, table.get("client", {}), "client", path.parent),
        retention=from_table(RetentionConfig, table.get("retention", {}), "retention", path.parent),
        maintenance=from_table(MaintenanceConfig, table.get("maintenance", {}), "maintenance", path.parent),
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
        table_of_command = tables.get(command, {})
        check_keys(table_of_command, ("use",), f"[sources.{command}]")
        use[command] = str(
            coerce(table_of_command.get("use", default), str, f"[sources.{command}] use", base)
        )
    sources = SourcesConfig(use=use, tables=tables, base=base)
    for name, cls in SOURCE_SECTIONS.items():
        sources.settings(name, cls)
    return sources


def _strategies(
    tables: Mapping[str, dict[str, Any]], risk: RiskConfig, base: Path
) -> tuple[dict[str, dict[str, Any]], dict[str, ControlConfig]]:
    """Each strategy's own parameters, and what holds for it whatever it is."""
    ours = {item.name for item in fields(ControlConfig)}
    parameters, controls = {}, {}
    for name, table in tables.items():
        _check_strategy(name, table, ours, base)
        parameters[name] = {key: value for key, value in table.items() if key not in ours}
        own_keys = {key: value for key, value in table.items() if key in ours}
        rule = from_table(ControlConfig, own_keys, f"strategies.{name}", base)
        if "max_age_seconds" in own_keys:
            check_duration(rule.max_age_seconds, f"[strategies.{name}] max_age_seconds")
        else:
            rule = replace(rule, max_age_seconds=risk.max_age_seconds)
        check_duration(rule.approval_hours, f"[strategies.{name}] approval_hours")
        controls[name] = rule
    return parameters, controls


def _schedule(tables: Mapping[str, dict[str, Any]], base: Path) -> tuple[Task, ...]:
    tasks = []
    for name, table in tables.items():
        where = f"[schedule.{name}]"
        for key in ("at", "run"):
            if key not in table:
                raise ConfigError(f"{where} {key} is missing", hint='at = "17:30", run = "verify --head"')
        task = from_table(Task, {**table, "name": name}, f"schedule.{name}", base)
        _check_time(task.at, f"{where} at")
        _check_words(task.run, f"{where} run")
        tasks.append(task)
    return tuple(tasks)


def _check_time(text: str, where: str) -> None:
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise ConfigError(f"{where} = {text!r} is no time of day", hint='write "17:30"')


def _check_words(command: str, where: str) -> None:
    try:
        if not shlex.split(command):
            raise ConfigError(f"{where} names nothing")
    except ValueError as error:
        raise ConfigError(f"{where} cannot be read: {error}") from error


def _check_strategy(name: str, table: Mapping[str, Any], ours: set[str], base: Path) -> None:
    """Raise ConfigError for a key that has no effect: its owner would rely on it."""
    limits = {item.name for item in fields(RiskConfig)} - ours
    wrong = next((key for key in table if key in limits), None)
    if wrong is not None:
        raise ConfigError(
            f"{wrong!r} in [strategies.{name}] holds for all strategies", hint="move it to [risk]"
        )
    kind = PARAMETERS.get(name)
    names = () if kind is None else tuple(item.name for item in fields(kind))
    if kind is not None or not _is_plugin(name, set(table) - ours):
        check_keys(table, (*names, *sorted(ours)), f"[strategies.{name}]")
    if kind is not None:
        own = {key: value for key, value in table.items() if key not in ours}
        from_table(kind, own, f"strategies.{name}", base)


def _is_plugin(name: str, own_keys: set[str]) -> bool:
    """Whether an installed strategy has this name: it checks its own keys when it runs."""
    if not own_keys:
        return False
    # Slow, and only a table with keys of its own needs it.
    from importlib.metadata import entry_points

    return name in entry_points(group="tradelog.strategies").names


def _tables(table: Any, where: str) -> Mapping[str, dict[str, Any]]:
    if not isinstance(table, dict) or not all(isinstance(item, dict) for item in table.values()):
        raise ConfigError(f"[{where}] holds tables only, such as [{where}.congress]")
    return table


def _check(config: Config) -> None:
    broker = config.broker
    one_of(broker.name, ("simulated", "alpaca"), "[broker] name")
    one_of(broker.environment, ("paper", "live"), "[broker] environment")
    one_of(config.client.mode, ("off", "record", "outbox"), "[client] mode")
    one_of(config.client.on_error, ("refuse", "send"), "[client] on_error")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", broker.account):
        raise ConfigError(f"[broker] account = {broker.account!r}: letters, digits, '.', '_' and '-' only")
    for name in ("base_url", "data_url"):
        if getattr(broker, name) is not None:
            check_url(getattr(broker, name), f"[broker] {name}")
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
    _check_time(config.alerts.digest_at, "[alerts] digest_at")
    _check_time(config.maintenance.at, "[maintenance] at")
    if config.maintenance.at > "23:00":
        raise ConfigError("[maintenance] at must leave the day's last hour: at most 23:00")
    for name in config.maintenance.fetch:
        one_of(name, tuple(DEFAULT_SOURCES), "[maintenance] fetch")
    if not config.retention.hot_years:
        raise ConfigError("[retention] hot_years must be at least 1")
    if not config.maintenance.keep:
        raise ConfigError("[maintenance] keep must be above 0")
    for name in ("window_seconds", "repeat_hours"):
        if not getattr(config.alerts, name):
            raise ConfigError(f"[alerts] {name} must be above 0")
    try:
        clock.zone(config.report.timezone)
    except UsageError as error:
        raise ConfigError(f"[report] timezone: {error.message}", hint=error.hint) from error


def _check_live(config: Config, risk_table: Mapping[str, Any]) -> None:
    """Live trading takes a broker that has it, the number of the account, and a limit that is written."""
    if config.broker.name != "alpaca":
        raise ConfigError(f"the {config.broker.name} broker has no live environment")
    if config.broker.account_number is None:
        raise ConfigError(
            "live trading needs [broker] account_number",
            hint="write the number that the broker shows for this account",
        )
    if "max_order_notional" not in risk_table or config.risk.max_order_notional is None:
        raise ConfigError(
            "live trading needs [risk] max_order_notional written out",
            hint="the maximum value of one order, in dollars",
        )


def _check_bare(url: str, where: str) -> None:
    parts = urlsplit(url)
    if parts.path not in ("", "/") or parts.query or parts.fragment or url != url.strip():
        raise ConfigError(f"{where} = {url!r} must be scheme and host only")
