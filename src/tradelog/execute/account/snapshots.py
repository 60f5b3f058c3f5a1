"""Snapshots of account, positions, quotes, assets and market hours, for decisions and pre-trade checks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tradelog.domain import clock, money
from tradelog.domain.account import AccountKey
from tradelog.execute.account.positions import Held, parse_positions
from tradelog.execute.brokers.base import Broker, Exchange
from tradelog.store.writer import Transaction, Writer


def refresh_snapshots(writer: Writer, broker: Broker, account: AccountKey) -> bool:
    """Store account and positions where they differ from the last ones; False without an answer."""
    answers = {"account": broker.account(), "position": broker.positions()}
    for kind, exchange in answers.items():
        answer = exchange.json()
        is_one = isinstance(answer, dict) if kind == "account" else parse_positions(answer) is not None
        if exchange.status != 200 or not is_one:
            return False
    with writer.transaction() as tx:
        for kind, exchange in answers.items():
            value, _ = exchange.text()
            last = tx.one(
                "SELECT value FROM broker_snapshots WHERE broker = ? AND environment = ? AND account = ?"
                " AND kind = ? AND subject = '' ORDER BY snapshot_id DESC LIMIT 1",
                (*account, kind),
            )
            if last is not None and last[0] == value:
                continue
            row = account.as_columns()
            tx.insert(
                "broker_snapshots",
                {**row, "kind": kind, "subject": "", "value": value, "as_of": exchange.started_at},
            )
            tx.journal("snapshot.taken", kind)
    return True


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A response of the broker; where there is none, ``value`` is None and ``missing`` says why.

    ``as_of`` is when it was requested (store text), ``taken`` the same of `clock.running_seconds`, and
    ``seen`` the newest attempt and order event of the store then: more certain than any clock about what the
    broker may not have known yet.
    """

    snapshot_id: int | None
    value: Any
    as_of: str
    taken: float
    seen: tuple[int, int]
    missing: str | None = None

    def age(self) -> float:
        """Seconds since it was taken."""
        return clock.running_seconds() - self.taken


class Snapshots:
    """The last snapshot of each kind and subject, fetched outside any transaction."""

    def __init__(self, writer: Writer, broker: Broker, account: AccountKey) -> None:
        self._writer = writer
        self._broker = broker
        self._account = account
        self._known: dict[tuple[str, str], Snapshot] = {}

    def get(self, kind: str, subject: str) -> Snapshot | None:
        """The last snapshot of a kind and subject; None before the first."""
        return self._known.get((kind, subject))

    def fetch(self, kind: str, subject: str) -> tuple[Exchange, bool]:
        """Make one request; returns the exchange, and whether it holds a usable answer.

        A proxy's page, a rate limit and a time-out are no answer.
        """
        taken, seen = clock.running_seconds(), self._seen()
        exchange = _QUESTIONS[kind](self._broker, subject)
        answer = exchange.json()
        number, missing = None, None
        if exchange.status == 200 and _is_readable(kind, answer, subject):
            number = self._keep(kind, subject, exchange)
        elif exchange.status == 200 and kind == "quote" and _is_without(answer):
            missing = "the broker has none"
        elif exchange.status in (400, 403, 404, 422) and isinstance(answer, dict) and "message" in answer:
            missing = f"the broker has none: {str(answer['message'])[:100]}"
        else:
            return exchange, False
        value = answer if missing is None else None
        self._known[kind, subject] = Snapshot(number, value, exchange.started_at, taken, seen, missing)
        return exchange, True

    def mark_unavailable(self, kind: str, subject: str, why: str) -> None:
        """Remember that no answer is available now."""
        moment, taken = clock.now_text(), clock.running_seconds()
        self._known[kind, subject] = Snapshot(None, None, moment, taken, (0, 0), why)

    def _seen(self) -> tuple[int, int]:
        row = self._writer.rows(
            "SELECT (SELECT coalesce(max(id), 0) FROM trade_executions) AS execution,"
            " (SELECT coalesce(max(event_id), 0) FROM order_events) AS event"
        )[0]
        return row["execution"], row["event"]

    def _keep(self, kind: str, subject: str, exchange: Exchange) -> int:
        value, _ = exchange.text()
        with self._writer.transaction() as tx:
            last = tx.one(
                "SELECT value, snapshot_id FROM broker_snapshots WHERE broker = ? AND environment = ?"
                " AND account = ? AND kind = ? AND subject = ? ORDER BY snapshot_id DESC LIMIT 1",
                (*self._account, kind, subject),
            )
            if last is not None and _comparable(kind, last[0]) == _comparable(kind, value):
                return int(last[1])
            row = self._account.as_columns()
            number = tx.insert(
                "broker_snapshots",
                {**row, "kind": kind, "subject": subject, "value": value, "as_of": exchange.started_at},
            )
            tx.journal("snapshot.taken", f"{kind} {subject}".rstrip())
        return number


_QUESTIONS: dict[str, Callable[[Broker, str], Exchange]] = {
    "account": lambda broker, _: broker.account(),
    "position": lambda broker, _: broker.positions(),
    "quote": lambda broker, subject: broker.quote(subject),
    "asset": lambda broker, subject: broker.asset(subject),
    "clock": lambda broker, _: broker.clock(),
}


def _is_readable(kind: str, answer: object, subject: str) -> bool:
    if kind == "position":
        return parse_positions(answer) is not None
    if not isinstance(answer, dict):
        return False
    if kind == "quote":
        quotes = answer.get("quotes")
        return isinstance(quotes, dict) and isinstance(quotes.get(subject), dict)
    if kind == "clock":
        return isinstance(answer.get("is_open"), bool) and all(
            clock.read_moment(answer.get(name)) is not None for name in ("next_open", "next_close")
        )
    return True


def _is_without(answer: object) -> bool:
    """Whether a response is in the form of quotes, though it has none of the symbol."""
    return isinstance(answer, dict) and isinstance(answer.get("quotes"), dict)


def _comparable(kind: str, value: str) -> Any:
    """What must differ for a snapshot to be a new one: a clock's running time does not count."""
    if kind != "clock":
        return value
    return {key: item for key, item in json.loads(value).items() if key != "timestamp"}


def quote_price(value: Any, symbol: str, side: str) -> Decimal | None:
    """The price for a buyer (the ask) or a seller (the bid); None where that side has none.

    Without a bid a sell is valued at the ask: too high, never too low. A bid does not bound a buyer's price.
    """
    quote = value["quotes"][symbol]
    for name in ("ap",) if side == "buy" else ("bp", "ap"):
        try:
            price = money.parse(quote.get(name))
        except ValueError:
            continue
        if price > 0:
            return price
    return None


def quote_age(value: Any, symbol: str) -> float | None:
    """Seconds since the quote was made, by its own time; None where it has none."""
    quoted_at = clock.read_moment(value["quotes"][symbol].get("t"))
    return None if quoted_at is None else (clock.now() - clock.from_text(quoted_at)).total_seconds()


def keep_positions(tx: Transaction, account: AccountKey, held: Held, exchange: Exchange) -> None:
    """Keep the positions where the shares differ from the last ones kept: prices move all the time."""
    value, _ = exchange.text()
    last = tx.one(
        "SELECT value FROM broker_snapshots WHERE broker = ? AND environment = ? AND account = ?"
        " AND kind = 'position' AND subject = '' ORDER BY snapshot_id DESC LIMIT 1",
        account,
    )
    if last is not None and parse_positions(json.loads(last[0])) == held:
        return
    row = account.as_columns()
    tx.insert("broker_snapshots", {**row, "kind": "position", "subject": "", "value": value, "as_of": tx.now})
    tx.journal("snapshot.taken", "position")
