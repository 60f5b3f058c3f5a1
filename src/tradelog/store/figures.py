"""What reports count of decisions and signals, and the memory of it for days that are over.

`count` is what the figures are: read from the rows, of any span of time. Counting a million decisions takes
a minute, so what was counted of a closed day or month is kept, and `of` adds those up and counts only what
none of them covers. A trigger forgets a span when a decision of it changes. With or without the memory the
answer is the same; `remember` makes it, and only a writer does.

Decisions and signals are in the order of their numbers in time: both are written with the time of their
transaction, which never goes back. So a span of time is a range of the primary key.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tradelog.domain import clock, money
from tradelog.domain.account import AccountKey

if TYPE_CHECKING:
    from tradelog.store.writer import Writer

Rows = Callable[[str, Sequence[Any]], list[dict[str, Any]]]
# The steps of a decision that take time: each from the one before, and all of them from first to last.
STEPS = ("sent", "acknowledged", "filled", "in all")
OVER = ("executed", "failed", "cancelled")

_OURS = "broker = ?1 AND environment = ?2 AND account = ?3"
_DECISIONS = f"""
SELECT d.id, d.strategy_name, d.adopted, d.status, d.side, d.quantity, d.notional, d.created_at,
       d.decision_rationale -> '$.market_context.price' AS price,
       coalesce(e.quantity, d.quantity) AS ordered, e.status AS execution, e.filled_quantity,
       e.filled_avg_price,
       coalesce((SELECT min(c.started_at) FROM broker_calls c
        WHERE c.execution_id = e.execution_id AND c.purpose = 'submit'),
        (SELECT a.sent_at FROM archived_calls a WHERE a.subject = e.execution_id)) AS sent_at,
       coalesce((SELECT min(c.ended_at) FROM broker_calls c WHERE c.execution_id = e.execution_id
        AND c.purpose IN ('submit', 'lookup') AND c.status = 200),
        (SELECT a.acknowledged_at FROM archived_calls a WHERE a.subject = e.execution_id)) AS acknowledged_at,
       (SELECT max(f.transaction_time) FROM fills f WHERE f.execution_id = e.execution_id) AS filled_at
FROM trade_decisions d LEFT JOIN trade_executions e ON e.decision_id = d.decision_id
WHERE d.id >= ?4 AND d.id < ?5 AND d.{_OURS.replace(" AND ", " AND d.")}
ORDER BY d.id, e.attempt_number
"""
_SIGNALS = f"""
SELECT strategy_name, sum(taken) AS taken, count(*) AS number FROM signals
WHERE id >= ?4 AND id < ?5 AND {_OURS} GROUP BY strategy_name
"""
_SPANS = f"""
SELECT since, before FROM report_figures WHERE {_OURS} AND before > ?4 AND before <= ?5 AND since >= ?4
ORDER BY since, before DESC
"""
_BODY = f"SELECT body FROM report_figures WHERE {_OURS} AND before = ?4 AND since = ?5"
_KNOWN = f"SELECT since, before FROM report_figures WHERE {_OURS}"
_FORGET = f"DELETE FROM report_figures WHERE {_OURS} AND since = ?4 AND before = ?5"
_INSERT = (
    "INSERT INTO report_figures (broker, environment, account, since, before, body)"
    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)


@dataclass(slots=True)
class Figures:
    """Of one strategy in one span of time, by when the decision or the signal was made.

    ``states`` counts its decisions by their status. What was recorded after the fact is in ``adopted`` alone:
    nobody decided it here.

    ``ended`` are the decisions that were sent and are over, ``filled`` the sum of the parts of each that
    were filled (1 is all of it). Of the ``priced`` ones both the decision's price and that of the fills are
    known: ``base`` is what they would have come to at the decision's price, ``cost`` what they came to
    beyond, to our disadvantage, both in dollars. ``times`` counts milliseconds by step, as `rounded`.
    """

    taken: int = 0
    not_taken: int = 0
    states: Counter[str] = field(default_factory=Counter)
    adopted: Counter[str] = field(default_factory=Counter)
    ended: int = 0
    filled: Decimal = money.ZERO
    priced: int = 0
    base: Decimal = money.ZERO
    cost: Decimal = money.ZERO
    times: dict[str, dict[int, int]] = field(default_factory=dict)

    def add(self, other: Figures) -> None:
        """Add the counts of another span."""
        self.taken += other.taken
        self.not_taken += other.not_taken
        self.states.update(other.states)
        self.adopted.update(other.adopted)
        self.ended += other.ended
        self.filled += other.filled
        self.priced += other.priced
        self.base += other.base
        self.cost += other.cost
        for step, counts in other.times.items():
            mine = self.times.setdefault(step, {})
            for value, number in counts.items():
                mine[value] = mine.get(value, 0) + number

    def written(self) -> dict[str, Any]:
        """As JSON has it; `read` is the inverse."""
        numbers = {"taken": self.taken, "not_taken": self.not_taken, "ended": self.ended}
        exact = {"filled": self.filled, "base": self.base, "cost": self.cost}
        return {
            **numbers,
            "priced": self.priced,
            "states": self.states,
            "adopted": self.adopted,
            **{name: money.to_text(value) for name, value in exact.items()},
            # Time, count, time, count: a list is read several times as fast as an object.
            "times": {
                step: [number for pair in counts.items() for number in pair]
                for step, counts in self.times.items()
            },
        }

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Figures:
        """The counts as they are stored."""
        return cls(
            taken=value["taken"],
            not_taken=value["not_taken"],
            states=Counter(value["states"]),
            adopted=Counter(value["adopted"]),
            ended=value["ended"],
            filled=Decimal(value["filled"]),
            priced=value["priced"],
            base=Decimal(value["base"]),
            cost=Decimal(value["cost"]),
            times={
                step: dict(zip(pairs[::2], pairs[1::2], strict=True))
                for step, pairs in value["times"].items()
            },
        )


ByStrategy = dict[str, Figures]


def rounded(milliseconds: int) -> int:
    """Up to two significant digits, so that a million times are a hundred numbers: 99, 100, 110, 1200."""
    step: int = 10 ** max(len(str(milliseconds)) - 2, 0)
    return -(-milliseconds // step) * step


def percentile(counts: Mapping[int, int], share: int) -> int | None:
    """The smallest number that ``share`` percent are not above; None of nothing."""
    left = -(-sum(counts.values()) * share // 100)
    for value in sorted(counts):
        left -= counts[value]
        if left <= 0:
            return value
    return None


def of(rows: Rows, account: AccountKey, since: str, before: str) -> ByStrategy:
    """The figures of a span of time (store text, ``before`` exclusive), by strategy."""
    found: ByStrategy = {}
    done = since
    for span in rows(_SPANS, (*account, since, before)):
        if span["since"] < done:  # a day of a month that was added already
            continue
        body = rows(_BODY, (*account, span["before"], span["since"]))
        if not body:  # forgotten just now: somebody has changed a decision of it
            continue
        if span["since"] > done:
            merge(found, count(rows, account, done, span["since"]))
        read = json.loads(body[0]["body"])
        merge(found, {name: Figures.read(value) for name, value in read.items()})
        done = span["before"]
    if done < before:
        merge(found, count(rows, account, done, before))
    return found


def merge(found: ByStrategy, more: ByStrategy) -> None:
    """Add the figures of another span to these."""
    for name, figures in more.items():
        found.setdefault(name, Figures()).add(figures)


def count(rows: Rows, account: AccountKey, since: str, before: str) -> ByStrategy:
    """The same, from the rows themselves."""
    found: ByStrategy = {}
    signals = between(rows, "signals", since, before)
    for row in rows(_SIGNALS, (*account, *signals)):
        figures = found.setdefault(row["strategy_name"], Figures())
        figures.taken, figures.not_taken = row["taken"], row["number"] - row["taken"]
    attempts: list[dict[str, Any]] = []
    for row in rows(_DECISIONS, (*account, *between(rows, "trade_decisions", since, before))):
        if attempts and attempts[0]["id"] != row["id"]:
            _decision(found.setdefault(attempts[0]["strategy_name"], Figures()), attempts)
            attempts = []
        attempts.append(row)
    if attempts:
        _decision(found.setdefault(attempts[0]["strategy_name"], Figures()), attempts)
    return found


def between(rows: Rows, table: str, since: str, before: str) -> tuple[int, int]:
    """The numbers of the rows of a span of time: from the first, up to before the second."""
    return _first(rows, table, since), _first(rows, table, before)


def _first(rows: Rows, table: str, moment: str) -> int:
    """The number of the first row that is not before a moment, or one beyond the last."""
    # Two questions: both in one would be answered by a look at every row.
    low = rows(f"SELECT coalesce(min(id), 1) AS id FROM {table}", ())[0]["id"]
    high = rows(f"SELECT coalesce(max(id), 0) + 1 AS id FROM {table}", ())[0]["id"]
    while low < high:
        middle = (low + high) // 2
        # Rows may have been moved out to an archive: the next one that is there.
        row = rows(f"SELECT id, created_at FROM {table} WHERE id >= ? ORDER BY id LIMIT 1", (middle,))[0]
        if row["created_at"] < moment:
            low = row["id"] + 1
        else:
            high = middle
    return int(low)


def _decision(figures: Figures, attempts: list[dict[str, Any]]) -> None:
    """One decision with all the attempts to have its order at the broker."""
    first, last = attempts[0], attempts[-1]
    if first["adopted"]:
        figures.adopted[first["status"]] += 1
        return
    figures.states[first["status"]] += 1
    quantity, value = money.ZERO, money.ZERO
    for row in attempts:
        if row["filled_quantity"] not in (None, "0") and row["filled_avg_price"] is not None:
            filled = Decimal(row["filled_quantity"])
            quantity += filled
            value += filled * Decimal(row["filled_avg_price"])
    acknowledged = min((row["acknowledged_at"] for row in attempts if row["acknowledged_at"]), default=None)
    if first["status"] in OVER and (acknowledged is not None or quantity):
        figures.ended += 1
        figures.filled += _part(last, quantity, value)
    price = _price(first["price"])
    if quantity and price is not None:
        base = price * quantity
        figures.priced += 1
        figures.base += base
        figures.cost += value - base if first["side"] == "buy" else base - value
    sent = min((row["sent_at"] for row in attempts if row["sent_at"]), default=None)
    ended = max((row["filled_at"] for row in attempts if row["filled_at"]), default=None)
    if first["status"] not in OVER:
        ended = None
    decided = first["created_at"]
    steps = ((decided, sent), (sent, acknowledged), (acknowledged, ended), (decided, ended))
    for step, (start, end) in zip(STEPS, steps, strict=True):
        if start is not None and end is not None:
            counts, took = figures.times.setdefault(step, {}), rounded(_milliseconds(start, end))
            counts[took] = counts.get(took, 0) + 1


def _part(last: Mapping[str, Any], quantity: Decimal, value: Decimal) -> Decimal:
    """How much of what was ordered was filled; of an order for dollars, by its worth."""
    if last["execution"] == "filled":
        return Decimal(1)
    if last["ordered"] is not None:
        part = money.average(quantity, Decimal(last["ordered"]))
    else:
        part = money.average(value, Decimal(last["notional"]))
    return min(part, Decimal(1))


def _price(text: str | None) -> Decimal | None:
    """A price that a rationale gives, which is JSON of whoever decided; None where it is none."""
    if text is None:
        return None
    try:
        price = money.parse(text.strip('"'))
    except ValueError:
        return None
    return price if price > 0 else None


def _milliseconds(start: str, end: str) -> int:
    """From one moment to another; where the broker's clock has it end before it began, it took no time."""
    took = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return max(took // timedelta(milliseconds=1), 0)


def remember(writer: Writer, account: AccountKey, zone: str, *, seconds: float) -> bool:
    """Keep the figures of what is over in a zone: years, months, days, the hours of today.

    Goes on for about ``seconds``; each span is written in a transaction of its own. Returns whether all of
    them are kept now.
    """
    end = clock.running_seconds() + seconds
    known = {(row["since"], row["before"]) for row in writer.rows(_KNOWN, account)}
    wanted = _closed(writer, zone)
    for span in wanted:
        if span in known:
            continue
        if clock.running_seconds() >= end or not _keep(writer, account, *span):
            return False
    # The hours of earlier days, and the days of another zone.
    if useless := known.difference(wanted):
        with writer.transaction() as tx:
            for since, before in useless:
                tx.unaudited(_FORGET, (*account, since, before))
    return True


def _keep(writer: Writer, account: AccountKey, since: str, before: str) -> bool:
    """Count a span and keep it, unless anything was written meanwhile: the count would be of before it."""
    seen = writer.rows("SELECT coalesce(max(seq), 0) AS seq FROM journal")[0]["seq"]
    figures = of(writer.rows, account, since, before)
    body = json.dumps(
        {name: item.written() for name, item in figures.items()}, ensure_ascii=False, separators=(",", ":")
    )
    with writer.transaction() as tx:
        if tx.seq != seen:
            return False
        tx.unaudited(_INSERT, (*account, since, before, body))
    return True


def _closed(writer: Writer, zone: str) -> list[tuple[str, str]]:
    """The spans that are over, from the first day that anything was decided on: days, and after them what
    they make up; last the hours of today."""
    firsts = [
        row["created_at"]
        for table in ("trade_decisions", "signals")
        for row in writer.rows(f"SELECT created_at FROM {table} ORDER BY id LIMIT 1")
    ]
    if not firsts:
        return []
    first = clock.from_text(min(firsts)).astimezone(clock.zone(zone)).date()
    today = clock.market_today(zone)
    days = [first + timedelta(days=number) for number in range((today - first).days)]
    spans = {(day, day + timedelta(days=1)): None for day in days}
    for longer in (_third, _month, _year):
        spans |= {span: None for day in days if (span := longer(day))[1] <= today}
    hours = []
    start, now = clock.start_of_day(today, zone), clock.now_text()
    while (after := clock.later(start, 3600)) <= now:
        hours.append((start, after))
        start = after
    return [(clock.start_of_day(a, zone), clock.start_of_day(b, zone)) for a, b in spans] + hours


def _third(day: date) -> tuple[date, date]:
    """The first ten days of a month, the second ten, or the rest."""
    number = min((day.day - 1) // 10, 2)
    start = day.replace(day=10 * number + 1)
    return start, day.replace(day=10 * number + 11) if number < 2 else _month(day)[1]


def _month(day: date) -> tuple[date, date]:
    start = day.replace(day=1)
    return start, (start + timedelta(days=31)).replace(day=1)


def _year(day: date) -> tuple[date, date]:
    return date(day.year, 1, 1), date(day.year + 1, 1, 1)
