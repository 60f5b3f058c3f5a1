"""What a strategy looks at: read from the store, written down with its run, and read back for a replay."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from tradelog.decide import amendments
from tradelog.decide.strategies.base import Context, Disclosure, Episode, Portfolio, Strategy
from tradelog.domain import clock, money
from tradelog.domain.account import AccountKey
from tradelog.store import archive_files

_COLUMNS = (
    "v.version_id, v.symbol, v.actor, v.side, v.filed_at, v.event_date, v.amount_low, v.amount_high,"
    " v.backfill, r.feed, v.person, v.payload, v.flags, v.document"
)

# Current versions (of completed runs, not gone) of records whose symbol has a filing in the window.
# An amendment repeats its whole report, often a year later: to act on one would be to act on old news. Those
# of ownership filings say what they amend, and stand in its place.
_DISCLOSURES = f"""
SELECT {_COLUMNS}
FROM record_versions v
JOIN source_records r ON r.record_id = v.record_id AND r.kind = :kind
JOIN data_ingestion_runs d ON d.id = v.run AND d.status = 'completed'
WHERE v.symbol IN (
    SELECT w.symbol FROM record_versions w
    WHERE w.filed_at > :since AND w.filed_at <= :until AND w.symbol IS NOT NULL)
  AND v.side IN ('purchase', 'sale') AND v.filed_at <= :until AND v.backfill <= :backfill
  AND v.event_date IS NOT NULL AND v.actor IS NOT NULL AND v.gone = 0
  AND (r.kind = :amended OR v.flags IS NULL OR instr(v.flags, '"amendment"') = 0)
  AND NOT EXISTS (
    SELECT 1 FROM record_versions n
    JOIN data_ingestion_runs e ON e.id = n.run AND e.status = 'completed'
    WHERE n.record_id = v.record_id AND n.version_id > v.version_id)
ORDER BY v.version_id
"""

# Who each name is: the newest resolution of it by a completed run.
_PEOPLE = """
SELECT n.feed, n.name, n.person, n.version_id FROM name_resolutions n
WHERE n.resolution_id = (
    SELECT max(m.resolution_id) FROM name_resolutions m
    JOIN data_ingestion_runs e ON e.id = m.run AND e.status = 'completed'
    WHERE m.feed = n.feed AND m.name = n.name)
"""
_NOBODY = (None, None)
# Of a day so far back what the sources sent is read from the archive; a strategy sees no more of older ones.
LOOKED_BACK_DAYS = 300


@dataclass(frozen=True, slots=True)
class Recalled:
    """A context as it was recorded; ``missing`` are record versions that are not in the store any more."""

    context: Context
    markets: Mapping[str, dict[str, Any]]
    missing: tuple[int, ...]


def current(
    connection: sqlite3.Connection, strategy: Strategy, account: AccountKey, day: date, *, backfill: bool
) -> Context:
    """Everything that is known now, with the window ending at ``day``."""
    return Context(
        as_of=day,
        disclosures=disclosures(connection, strategy, day, backfill=backfill),
        portfolio=_portfolio(connection, account),
        earlier=_earlier(connection, strategy, account),
    )


def disclosures(
    connection: sqlite3.Connection, strategy: Strategy, day: date, *, backfill: bool
) -> tuple[Disclosure, ...]:
    """The disclosures of a window, as they are known now."""
    people = {(row[0], row[1]): (row[2], row[3]) for row in _rows(connection, _PEOPLE)}
    until = clock.end_of_day(day)
    rows = _rows(
        connection,
        _DISCLOSURES,
        {
            "kind": strategy.kind,
            "amended": amendments.KIND,
            # A filing of a bare date counts from the end of its day: exclusive below, inclusive above.
            "since": clock.end_of_day(day - timedelta(days=strategy.window_days)),
            "until": until,
            "backfill": int(backfill),
        },
    )
    found = [_disclosure(row, people.get((row[9], row[2]), _NOBODY)) for row in rows]
    found = _with_archived(connection, found, day - timedelta(days=LOOKED_BACK_DAYS))
    if strategy.kind == amendments.KIND:
        found = list(amendments.applied(connection, found, until, backfill=backfill))
    return tuple(found)


def newest_day(connection: sqlite3.Connection, strategy: Strategy) -> date | None:
    """The day of the newest disclosure of a strategy's kind, imported history included."""
    row = connection.execute(
        "SELECT v.filed_at FROM record_versions v JOIN source_records r ON r.record_id = v.record_id"
        " JOIN data_ingestion_runs d ON d.id = v.run WHERE r.kind = ? AND d.status = 'completed'"
        " AND v.symbol IS NOT NULL AND v.filed_at IS NOT NULL ORDER BY v.filed_at DESC LIMIT 1",
        (strategy.kind,),
    ).fetchone()
    return None if row is None else _market_day(row[0])


def recorded(context: Context, markets: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What is written down of a context: all of it, the disclosures by the numbers of their versions."""
    people = {
        (item.member, item.person, item.resolved_by, item.feed)
        for item in context.disclosures
        if item.resolved_by
    }
    amended = [[item.version_id, item.filed.isoformat()] for item in context.disclosures if item.amendment]
    return {
        "as_of": context.as_of.isoformat(),
        "records": [item.version_id for item in context.disclosures],
        # Each member's name with the person and the profile that it was resolved to then, by feed.
        "people": [list(item) for item in sorted(people)],
        # What amendments say, with the day of the original in whose place they stand.
        **({"amendments": amended} if amended else {}),
        "portfolio": portfolio_json(context.portfolio),
        "earlier": [[item.symbol, item.side, item.started.isoformat()] for item in context.earlier],
        "market": dict(markets),
    }


def recall(connection: sqlite3.Connection, record: Mapping[str, Any]) -> Recalled:
    """The context that `recorded` wrote down."""
    people = {(*item[3:], item[0]): (item[1], item[2]) for item in record["people"]}
    bases = {}
    for version in record["records"]:
        for row in _rows(
            connection,
            f"SELECT {_COLUMNS} FROM record_versions v JOIN source_records r ON r.record_id = v.record_id"
            " WHERE v.version_id = ?",
            (version,),
        ):
            # Before schema 0005 the feed of a name was not written down.
            person = people.get((row[9], row[2]), people.get((row[2],), _NOBODY))
            bases[version] = _disclosure(row, person)
    for version, filed in record.get("amendments", ()):
        if version in bases:
            bases[version] = replace(bases[version], filed=date.fromisoformat(filed), amendment=True)
    bases = {item.version_id: item for item in _with_archived(connection, bases.values(), None)}
    portfolio = record["portfolio"]
    held = portfolio["positions"]
    context = Context(
        as_of=date.fromisoformat(record["as_of"]),
        disclosures=tuple(bases[version] for version in record["records"] if version in bases),
        portfolio=Portfolio(
            positions=None if held is None else {key: money.parse(value) for key, value in held.items()},
            buying_power=_maybe(portfolio["buying_power"]),
            value=_maybe(portfolio["value"]),
            as_of=portfolio["as_of"],
            unavailable=portfolio["unavailable"],
        ),
        earlier=tuple(Episode(item[0], item[1], date.fromisoformat(item[2])) for item in record["earlier"]),
    )
    missing = tuple(version for version in record["records"] if version not in bases)
    return Recalled(context, record["market"], missing)


def _with_archived(
    connection: sqlite3.Connection, items: Iterable[Disclosure], since: date | None
) -> list[Disclosure]:
    """With what the sources sent, where that is archived, of the disclosures since a day.

    Raises ArchiveMissing where the file is not there.
    """
    given = list(items)
    empty = [item.version_id for item in given if not item.payload and (since is None or item.filed >= since)]
    texts = archive_files.payloads(connection, empty) if empty else {}
    return [
        replace(item, payload=texts[item.version_id]) if item.version_id in texts else item for item in given
    ]


def portfolio_json(portfolio: Portfolio) -> dict[str, Any]:
    """A portfolio as it is recorded with a strategy run."""
    held = portfolio.positions
    return {
        "positions": None if held is None else {key: money.to_text(held[key]) for key in sorted(held)},
        "buying_power": None if portfolio.buying_power is None else money.to_text(portfolio.buying_power),
        "value": None if portfolio.value is None else money.to_text(portfolio.value),
        "as_of": portfolio.as_of,
        "unavailable": portfolio.unavailable,
    }


def _disclosure(row: Sequence[Any], resolved: tuple[str | None, int | None]) -> Disclosure:
    person, resolved_by = (row[10], None) if row[10] else resolved
    return Disclosure(
        version_id=row[0],
        symbol=row[1],
        member=row[2],
        side=row[3],
        filed=_market_day(row[4]),
        event_date=row[5],
        amount_low=row[6],
        amount_high=row[7],
        backfill=bool(row[8]),
        person=person,
        resolved_by=resolved_by,
        feed=row[9],
        payload=row[11],
        flags=tuple(json.loads(row[12])) if row[12] else (),
        document=row[13],
    )


def _market_day(filed_at: str) -> date:
    moment = clock.from_text(filed_at) - timedelta(microseconds=1)
    return moment.astimezone(clock.zone(clock.MARKET_ZONE)).date()


def _portfolio(connection: sqlite3.Connection, account: AccountKey) -> Portfolio:
    newest = {}
    for kind in ("account", "position"):
        row = connection.execute(
            "SELECT value, as_of FROM broker_snapshots WHERE broker = ? AND environment = ? AND account = ?"
            " AND kind = ? AND subject = '' ORDER BY snapshot_id DESC LIMIT 1",
            (*account, kind),
        ).fetchone()
        if row is None:
            return Portfolio(None, None, None, None, "no snapshot of the account: no worker has run yet")
        newest[kind] = (json.loads(row[0], parse_float=Decimal), row[1])
    (owner, as_of), (held, _) = newest["account"], newest["position"]
    try:
        return Portfolio(
            positions={item["symbol"]: money.parse(item["qty"]) for item in held},
            buying_power=_maybe(owner.get("buying_power")),
            value=_maybe(owner.get("equity")),
            as_of=as_of,
            unavailable=None,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Portfolio(None, None, None, as_of, f"the snapshot of {as_of} cannot be read: {error!r}")


def _maybe(text: Any) -> Decimal | None:
    return None if text is None else money.parse(text)


def _earlier(connection: sqlite3.Connection, strategy: Strategy, account: AccountKey) -> tuple[Episode, ...]:
    rows = _rows(
        connection,
        "SELECT symbol, side, episode FROM signals WHERE strategy_name = ? AND broker = ?"
        " AND environment = ? AND account = ? AND taken = 1 ORDER BY id",
        (strategy.name, *account),
    )
    return tuple(Episode(row[0], row[1], date.fromisoformat(row[2])) for row in rows)


def _rows(connection: sqlite3.Connection, sql: str, parameters: Any = ()) -> Iterable[Sequence[Any]]:
    """Rows by position, whatever the connection gives by itself."""
    cursor = connection.cursor()
    cursor.row_factory = None
    return cursor.execute(sql, parameters)
