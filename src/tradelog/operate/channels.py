"""Channels: the ways by which a message reaches people. Each sends one message, or says why not.

``[alerts] urls`` are Apprise's (github.com/caronc/apprise, wiki), one a service; what is secret stands
in them as ``{NAME}`` and comes from the environment or the file that ``NAME_FILE`` names.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import signal
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from urllib.parse import quote

from tradelog.config.load import secret
from tradelog.config.schema import AlertsConfig
from tradelog.errors import ConfigError, CredentialsMissing

# What a channel may take for a message. Apprise waits before each: 5.5 s for mail.
SEND_SECONDS = 30.0
# Characters of a message to the command, so that all of it fits a pipe.
MAX_CHARACTERS = 2000
COMMAND = "command"
_PASSWORD = re.compile(r"(//[^/@{}]*:)[^/@{}]+@")
_NAME = re.compile(r"\{([A-Z][A-Z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it is stored. Times are store text (UTC); ``head`` is the journal's."""

    message_id: int
    reason: str
    kind: str
    subject: str
    account: str
    count: int
    title: str
    body: str
    created_at: str
    head: str
    is_again: bool


class Channel(Protocol):
    """``label`` names it for people, without its secrets."""

    @property
    def label(self) -> str:
        """Its name, which is the same from run to run."""
        ...

    def send(self, message: Message) -> str | None:
        """Send a message; returns what went wrong, None where nothing did."""
        ...


@dataclass(frozen=True, slots=True)
class BrokenChannel:
    """A channel that the configuration names and that cannot be used."""

    label: str
    error: str

    def send(self, message: Message) -> str | None:  # noqa: ARG002
        """Send nothing."""
        return self.error


@dataclass(frozen=True, slots=True)
class CommandChannel:
    """The command of the owner: the message is JSON on its input, and TRADELOG_ALERT_* in its environment."""

    words: tuple[str, ...]
    label: str = COMMAND

    def send(self, message: Message) -> str | None:
        """Run the command once."""
        told = {
            "alert_id": message.message_id,
            "kind": message.kind,
            "subject": message.subject[:MAX_CHARACTERS].replace("\0", ""),
            "message": f"{message.title}\n{message.body}"[:MAX_CHARACTERS],
            "created_at": message.created_at,
            "head": message.head,
            "reason": message.reason,
            "account": message.account,
            "count": message.count,
            "again": message.is_again,
        }
        variables = {f"TRADELOG_ALERT_{key.upper()}": str(value) for key, value in told.items()}
        try:
            process = subprocess.Popen(  # noqa: S603 the owner's own configuration
                self.words,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**{key: value for key, value in os.environ.items() if not _is_secret(key)}, **variables},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        try:
            process.communicate(json.dumps(told).encode(), timeout=SEND_SECONDS)
        except subprocess.TimeoutExpired:
            # With all that it has started: it leads a session of its own.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"not done within {SEND_SECONDS:g} s"
        return f"it ended with {process.returncode}" if process.returncode else None


@dataclass(frozen=True, slots=True)
class AppriseChannel:
    """One URL of Apprise."""

    label: str
    apprise: Any
    secrets: tuple[str, ...] = field(repr=False)

    def send(self, message: Message) -> str | None:
        """Hand the message to Apprise, and wait for it so long and no longer."""
        said: list[str] = []
        log = logging.getLogger("apprise")
        handler = _Kept(said)
        log.addHandler(handler)
        result: list[Any] = []
        title = f"{message.title} (again)" if message.is_again else message.title

        def notify() -> None:
            result.append(self.apprise.notify(title=title, body=message.body, body_format="text"))

        # A service that hangs must not hold up the others; the thread ends with this process.
        thread = threading.Thread(target=notify, daemon=True)
        thread.start()
        thread.join(SEND_SECONDS)
        log.removeHandler(handler)
        if thread.is_alive():
            return f"not done within {SEND_SECONDS:g} s"
        if result and result[0]:
            return None
        error = "; ".join(said) or "Apprise did not deliver it"
        for value in self.secrets:
            error = error.replace(value, "…")
        return error


class _Kept(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())


def configured(config: AlertsConfig) -> list[Channel]:
    """The channels of a configuration, those that cannot be used among them."""
    channels: list[Channel] = []
    if config.command is not None:
        channels.append(CommandChannel(tuple(shlex.split(config.command))))
    for number, url in enumerate(config.urls, start=1):
        channel = _of_url(url, f"[alerts] urls, number {number}")
        taken = sum(item.label.partition(" (")[0] == channel.label for item in channels)
        channels.append(replace(channel, label=f"{channel.label} ({taken + 1})") if taken else channel)
    return channels


def require_apprise() -> Any:
    """Apprise, of the extra ``alerts``. Raises ConfigError where it is not installed."""
    try:
        import apprise
    except ImportError as error:
        raise ConfigError(
            "[alerts] urls need Apprise, which is not installed", hint="pip install 'tradelog[alerts]'"
        ) from error
    return apprise


def _of_url(url: str, where: str) -> BrokenChannel | AppriseChannel:
    secrets: list[str] = []
    # As it is written, with its secrets' names: the same from run to run, whoever has the secrets.
    written = _PASSWORD.sub(r"\1…@", url).partition("?")[0] if _NAME.search(url) else None

    def value_of(match: re.Match[str]) -> str:
        value = secret(match[1])
        if value is None:
            raise CredentialsMissing(f"{match[1]} is not set", hint=f"set it, or {match[1]}_FILE")
        secrets.append(value)
        # A whole URL may be secret; a part of one is quoted as such.
        return value if match[0] == url else quote(value, safe="")

    try:
        filled = _NAME.sub(value_of, url)
        apprise = require_apprise().Apprise()
    except ConfigError as error:
        said = f"{error.message}: {error.hint}" if error.hint else error.message
        return BrokenChannel(written or where, said)
    if not apprise.add(filled):
        return BrokenChannel(written or where, "it is no URL of a service that Apprise knows")
    label = written or str(apprise[0].url(privacy=True)).partition("?")[0].rstrip("/")
    return AppriseChannel(label, apprise, (*secrets, *(quote(value, safe="") for value in secrets)))


def _is_secret(name: str) -> bool:
    """Whether a variable holds a key of the broker or a source, which the command need not have."""
    return name.startswith(("APCA_", "QUIVER_"))
