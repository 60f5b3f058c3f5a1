"""What a request of alpaca-py's trading client does: by its method and path, whichever call made it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from tradelog.domain.status import CommandKind

# Method and path of what can place, change or end an order (docs.alpaca.markets, Trading API).
_COMMANDS: tuple[tuple[str, str, CommandKind], ...] = (
    ("PATCH", r"/orders/([^/]+)", CommandKind.REPLACE),
    ("DELETE", r"/orders/([^/]+)", CommandKind.CANCEL),
    ("DELETE", r"/orders", CommandKind.CANCEL_ALL),
    ("DELETE", r"/positions/([^/]+)", CommandKind.CLOSE),
    ("DELETE", r"/positions", CommandKind.CLOSE_ALL),
    ("POST", r"/positions/([^/]+)/exercise", CommandKind.EXERCISE),
)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that trades. ``kind`` is None for a plain order, ``target`` the order or symbol it names."""

    kind: CommandKind | None
    target: str | None = None


def trading_call(method: str, path: str) -> Call | None:
    """What a request does; None where it neither places nor changes nor ends an order."""
    method = method.upper()
    if method == "POST" and path == "/orders":
        return Call(None)
    for verb, pattern, kind in _COMMANDS:
        match = re.fullmatch(pattern, path)
        if method == verb and match is not None:
            return Call(kind, unquote(match[1]) if match.groups() else None)
    return None


def exact(data: Any) -> Any:
    """The JSON of a request with the numbers as Decimal: what a float's shortest text says."""
    return json.loads(json.dumps(data), parse_float=Decimal)


def floats_in(data: Mapping[str, Any]) -> list[str]:
    """The fields that the bot gave as floats, which have been through binary."""
    return sorted(name for name, value in data.items() if isinstance(value, float))
