"""A clock that can be put forward, and channels that keep what they are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from tradelog.domain import clock
from tradelog.operate.alerts import clear, raise_alert
from tradelog.operate.channels import Message
from tradelog.store.writer import Writer


@dataclass
class Kept:
    """A channel that keeps its messages, and fails with ``error`` while there is one."""

    label: str = "kept"
    messages: list[Message] = field(default_factory=list)
    error: str | None = None
    tries: int = 0

    def send(self, message: Message) -> str | None:
        self.tries += 1
        if self.error is None:
            self.messages.append(message)
        return self.error

    @property
    def titles(self) -> list[str]:
        return [item.title.removeprefix("tradelog: ") for item in self.messages]


@dataclass
class Hands:
    """What is wrong, by hand."""

    writer: Writer

    def raise_(self, kind: str, *subjects: str, message: str = "AAPL: odd") -> None:
        with self.writer.transaction() as tx:
            for subject in subjects:
                raise_alert(tx, kind, subject, message)
            tx.journal("test", "raised")

    def clear(self, kind: str, *subjects: str, by: str = "tradelog") -> None:
        with self.writer.transaction() as tx:
            for subject in subjects:
                clear(tx, subject, (kind,), by=by)
            tx.journal("test", "cleared")


@pytest.fixture
def hands(writer: Writer) -> Hands:
    return Hands(writer)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the time, in UTC."""

    def at(moment: str) -> None:
        monkeypatch.setattr(clock, "now", lambda: datetime.fromisoformat(moment))

    return at
