"""Crash before and after every statement and every call, restart, and check. Invariant 14.

Every ninth point here, from another start in each scenario; every one by ``make soak``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from tests.crash.matrix import Life, crash_everywhere
from tests.execute.driving import go
from tests.fakes.books import Books
from tests.fakes.direct import Fault
from tradelog.config.load import load_config
from tradelog.config.schema import Config

LIMIT = {"order_type": "limit", "limit_price": "100", "time_in_force": "gtc"}
STEP = 1 if os.environ.get("TRADELOG_SOAK") else 9


@pytest.fixture
def config(home: Path) -> Config:
    (home / "tradelog.toml").write_text(
        '[store]\nurl = "sqlite:///store/log.db"\n[broker]\nname = "alpaca"\n'
        "[worker]\nunknown_grace_seconds = 4\n"
    )
    (home / "store").mkdir(mode=0o700)
    return load_config(home / "tradelog.toml")


def resting() -> Books:
    books = Books()
    books.fills = False
    return books


def with_strangers() -> Books:
    """Orders and shares that tradelog has nothing to do with."""
    books = Books()
    books.given = {"MSFT": Decimal(7)}
    for symbol in ("TSLA", "NVDA", "TSLA"):
        books.place({"symbol": symbol, "side": "buy", "qty": "3", "type": "market", "time_in_force": "day"})
    return books


def decide_three(life: Life) -> None:
    life.decide()
    life.decide(symbol="MSFT", quantity="0.5")
    life.decide(symbol="AAPL", quantity="2")


def send_one(life: Life) -> None:
    life.decide(**LIMIT)
    life.worker.drain()


def send_and_fill_a_part(life: Life) -> None:
    send_one(life)
    life.books.fill(next(iter(life.books.orders)), "4", "100")


def send(life: Life) -> None:
    life.worker.start()
    life.work()
    life.work()


def cancel(life: Life) -> None:
    life.cancel(life.decision())
    life.work()
    life.work()


def cancel_and_wait(life: Life) -> None:
    """Nobody polls meanwhile: what came of it is asked for before it is said again."""
    life.cancel(life.decision())
    for _ in range(3):
        life.worker.drain()
        go(10)


def replace(life: Life) -> None:
    life.replace(life.decision(), limit_price=Decimal(101))
    life.work()
    life.work()


def replace_and_cancel(life: Life) -> None:
    replace(life)
    cancel(life)


def reconcile(life: Life) -> None:
    life.worker.reconcile()


SCENARIOS: dict[
    str, tuple[Callable[[Life], None], Callable[[Life], None], list[Fault], type | Callable[[], Books]]
] = {
    "send": (decide_three, send, [], Books),
    "send, accepted without an answer": (decide_three, send, [Fault("POST", accept=True)], Books),
    "send, lost": (decide_three, send, [Fault("POST", status=504)], Books),
    "cancel": (send_one, cancel, [], resting),
    "cancel, accepted without an answer": (send_one, cancel, [Fault("DELETE", accept=True)], resting),
    "cancel, lost": (send_one, cancel_and_wait, [Fault("DELETE", status=502)] * 2, resting),
    "cancel, arrived": (send_one, cancel_and_wait, [Fault("DELETE", accept=True, status=500)], resting),
    "cancel after a part": (send_and_fill_a_part, cancel, [], resting),
    "replace": (send_one, replace, [], resting),
    "replace after a part": (send_and_fill_a_part, replace, [], resting),
    "replace, accepted without an answer": (send_one, replace, [Fault("PATCH", accept=True)], resting),
    "replace, lost": (send_one, replace, [Fault("PATCH", status=502)], resting),
    "replace, then cancel": (send_and_fill_a_part, replace_and_cancel, [], resting),
    "reconcile": (decide_three, reconcile, [], with_strangers),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_crash_anywhere_ends_the_same(name: str, tmp_path: Path, config: Config) -> None:
    prepare, act, faults, books = SCENARIOS[name]
    start = 1 + list(SCENARIOS).index(name) % STEP
    points = crash_everywhere(
        tmp_path,
        config,
        prepare,
        act,
        lambda: [Fault(item.method, item.accept, item.status) for item in faults],
        books,
        step=STEP,
        start=start,
    )
    print(f"{name}: {points} points, every {STEP}th from {start}")
