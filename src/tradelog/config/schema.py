"""The tables and keys of tradelog.toml, as frozen dataclasses with their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any

from tradelog.config.risk import ControlConfig, RiskConfig
from tradelog.config.values import T, check_url, from_table
from tradelog.domain import clock
from tradelog.domain.account import AccountKey
from tradelog.errors import ConfigError


@dataclass(frozen=True, slots=True)
class StoreConfig:
    url: str = "sqlite:///tradelog.db"


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """``base_url`` is https, or http on loopback for tests. ``cash`` starts a simulated account.

    ``data_url`` is the host of quotes: by default Alpaca's, or ``base_url`` where that is loopback.
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
    """How people are told of alerts: by ``urls`` of Apprise, by ``command``, or both.

    Urgent ones are sent at once, then in windows of ``window_seconds`` and longer a kind and account, and
    again every ``repeat_hours`` while they are open; the rest is one message a day at ``digest_at``, HH:MM of
    the market. ``command`` is run once a message, without a shell; the message is JSON on its input.
    """

    command: str | None = None
    urls: tuple[str, ...] = ()
    window_seconds: int = 300
    repeat_hours: int = 12
    digest_at: str = "17:30"


@dataclass(frozen=True, slots=True)
class MaintenanceConfig:
    """`tradelog maintenance`: not before ``at`` (HH:MM of the market), once a day.

    ``fetch`` are commands of `tradelog fetch`. ``heads`` is a file or '| COMMAND' for the head of the
    journal, ``backup`` a folder or '| COMMAND' for a copy of the store; a folder keeps the newest ``keep``.
    """

    at: str = "18:00"
    fetch: tuple[str, ...] = ("congress", "insider")
    heads: str | None = None
    backup: str | None = None
    keep: int = 30


@dataclass(frozen=True, slots=True)
class RetentionConfig:
    """What `tradelog archive` may move out: what is older than ``hot_years``, to ``folder``.

    ``folder`` is relative to that of the store. ``hold`` are symbols and ids of decisions that stay.
    """

    hot_years: int = 2
    folder: str = "archive"
    hold: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """`tradelog.alpaca.TradingClient`, alpaca-py's client for a bot that is recorded.

    ``mode`` is ``off`` (nothing is recorded), ``record`` (the bot sends, and each call is recorded) or
    ``outbox`` (an order is a decision, and the worker sends it). ``strategy`` is the bot's name.
    ``on_error`` is what becomes of an order that cannot be recorded: ``refuse`` or ``send``. In ``outbox``
    an order is waited for ``wait_seconds``.
    """

    mode: str = "record"
    strategy: str = "bot"
    on_error: str = "refuse"
    wait_seconds: Decimal = Decimal(0)


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
    """``contact`` is what the SEC requires in the User-Agent: a name and a mail address."""

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
        values = from_table(cls, self.tables.get(name, {}), f"sources.{name}", self.base)
        for item in fields(cls):  # type: ignore[arg-type]
            if item.name.endswith("_url"):
                check_url(getattr(values, item.name), f"[sources.{name}] {item.name}")
        return values


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
    client: ClientConfig = ClientConfig()
    maintenance: MaintenanceConfig = MaintenanceConfig()
    retention: RetentionConfig = RetentionConfig()

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
    def account(self) -> AccountKey:
        """(broker, environment, account): what a decision is fixed to, and a worker claims."""
        return AccountKey(self.broker.name, self.broker.environment, self.broker.account)
