"""alpaca-py's TradingClient on the record: change one import, and keep the bot.

    from tradelog.alpaca import TradingClient

docs/adopt.md shows the way from there to the outbox, and back.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from tradelog.errors import ConfigError

# The minor version whose methods are overridden; see pyproject.toml.
SUPPORTED = ("0.44", "0.45")

try:
    _installed = version("alpaca-py")
except PackageNotFoundError as error:  # pragma: no cover -- a dependency
    raise ConfigError(
        "alpaca-py is not installed", hint=f"alpaca-py>={SUPPORTED[0]},<{SUPPORTED[1]}"
    ) from error
if tuple(_installed.split(".")[:2]) != tuple(SUPPORTED[0].split(".")):
    raise ConfigError(
        f"alpaca-py is {_installed}, and tradelog.alpaca knows >={SUPPORTED[0]},<{SUPPORTED[1]}",
        hint=f"pip install 'alpaca-py>={SUPPORTED[0]},<{SUPPORTED[1]}'",
    )

from tradelog.adopt.client import TradingClient  # noqa: E402 -- only with the version that it knows

__all__ = ["TradingClient"]
