"""One adapter a broker. All of them answer in Alpaca's form, so one reading fits all."""

from __future__ import annotations

from tradelog.config.schema import Config
from tradelog.execute.brokers.base import Broker


def connect(config: Config) -> Broker:
    """The broker of the configuration, which has checked what live trading needs. Raises ConfigError."""
    if config.broker.name == "simulated":
        from tradelog.execute.brokers.simulated import SimulatedBroker
        from tradelog.prices import load

        # A book of its own for each account; the first one's name is as it always was.
        account = "" if config.broker.account == "default" else f".{config.broker.account}"
        path = config.store_path.with_name(f"{config.store_path.stem}.simulated-broker{account}.db")
        return SimulatedBroker(path, load(config.market.prices), cash=config.broker.cash)
    from tradelog.execute.brokers.alpaca import AlpacaBroker

    return AlpacaBroker.from_config(config)
