"""Why a bot acts, said around its calls: ``with tradelog.because("breakout", inputs=[12]):``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from tradelog.errors import InvalidDecision

NOT_GIVEN = "not given"


@dataclass(frozen=True, slots=True)
class Because:
    """A reason, and the record versions that it rests on."""

    rationale: Mapping[str, Any]
    inputs: tuple[int, ...]


_current: ContextVar[Because | None] = ContextVar("because", default=None)


@contextmanager
def because(reason: str | Mapping[str, Any], inputs: Sequence[int] = ()) -> Iterator[None]:
    """Give the reason of every order and command in this block, on this thread or task.

    ``reason`` is a text or a JSON object; ``inputs`` are record versions, as `tradelog known` lists them.
    The innermost block counts. Raises InvalidDecision for an empty reason.
    """
    rationale = {"why": reason} if isinstance(reason, str) else dict(reason)
    if not rationale or (isinstance(reason, str) and not reason.strip()):
        raise InvalidDecision("reason", "is empty")
    token = _current.set(Because(rationale, tuple(sorted(set(inputs)))))
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Because:
    """The reason that holds here; one that says so where none was given."""
    return _current.get() or Because({"why": NOT_GIVEN}, ())
