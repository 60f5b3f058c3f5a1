"""Frozen dataclasses from TOML tables: types are checked, and an unknown key is an error."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, get_type_hints
from urllib.parse import urlsplit

from tradelog.domain import money, symbols
from tradelog.errors import ConfigError

T = TypeVar("T")
# Parts of the names of keys that hold secrets.
_SECRET = ("api_key", "apikey", "key_id", "secret", "password", "token")
_KINDS = {str: "a text", int: "a whole number", bool: "true or false", Path: "a path"}


def from_table(cls: type[T], table: Any, where: str, base: Path) -> T:
    """A dataclass from a TOML table; raises ConfigError for an unknown key or a wrong type."""
    if not isinstance(table, dict):
        raise ConfigError(f"[{where}] must be a table")
    names = [item.name for item in fields(cls)]  # type: ignore[arg-type]
    check_keys(table, names, f"[{where}]")
    hints = get_type_hints(cls)
    return cls(
        **{name: coerce(value, hints[name], f"[{where}] {name}", base) for name, value in table.items()}
    )


def check_keys(table: Mapping[str, Any], names: Any, where: str) -> None:
    """Raise ConfigError for a key that is not one of ``names``, with the nearest one."""
    for key in table:
        if key not in names:
            if any(word in key.lower() for word in _SECRET):
                raise ConfigError(
                    f"{key!r} in {where}: no secret belongs into tradelog.toml",
                    hint="secrets come from the environment: APCA_API_KEY_ID, APCA_API_SECRET_KEY,"
                    " QUIVER_API_KEY, or from a 0600 file that NAME_FILE names",
                )
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.0)
            raise ConfigError(
                f"unknown key {key!r} in {where}", hint=f"did you mean {near[0]!r}?" if near else None
            )


def coerce(value: Any, kind: Any, where: str, base: Path) -> Any:
    """A TOML value as a field's type. Raises ConfigError that names ``where``."""
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
    if kind == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
            raise ConfigError(f"{where} must be a list of texts")  # which may hold secrets
        return tuple(item.strip() for item in value)
    plain_kind = next(item for item in getattr(kind, "__args__", (kind,)) if item is not type(None))
    if plain_kind is Decimal:
        try:
            # A TOML float has been through binary; its shortest text is what was written.
            number = money.parse(repr(value) if isinstance(value, float) else value)
        except ValueError as error:
            raise ConfigError(f"{where} must be a number: {error}") from error
        if number < 0:
            raise ConfigError(f"{where} must not be negative")
        return number
    if plain_kind is Path and isinstance(value, str) and value:
        return base / Path(value).expanduser()
    if plain_kind in (int, str, bool) and type(value) is plain_kind and value != "":
        if plain_kind is int and value < 0:
            raise ConfigError(f"{where} must not be negative")
        return value
    raise ConfigError(f"{where} must be {_KINDS.get(plain_kind, 'given')}, not {value!r}")


def one_of(value: str, allowed: tuple[str, ...], where: str) -> None:
    """Raise ConfigError for a value that is not allowed."""
    if value not in allowed:
        raise ConfigError(
            f"{where} = {value!r} is not known", hint=f"one of: {', '.join(map(repr, allowed))}"
        )


def check_url(url: str, where: str) -> None:
    """Raise ConfigError unless it is https, or http on loopback, without user and password."""
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
