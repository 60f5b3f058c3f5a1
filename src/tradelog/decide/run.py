"""Running a strategy: context from the store, signals from the strategy, decisions into the outbox."""

from __future__ import annotations

import inspect
import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from tradelog import clock, ids, money
from tradelog.config import Config
from tradelog.decide import order, record, strategies
from tradelog.decide.strategies.base import Context, Disclosure, Episode, Portfolio, Signal, Strategy
from tradelog.errors import InvalidDecision
from tradelog.prices import Prices
from tradelog.settings import section
from tradelog.store.writer import Transaction, Writer

Account = tuple[str, str, str]

# Current versions (of completed runs, not gone) of records whose symbol has a filing in the window.
# An amendment repeats its whole report, often a year later: to act on one would be to act on old news.
_DISCLOSURES = """
SELECT v.version_id, v.symbol, v.actor, v.side, v.filed_at, v.event_date, v.amount_low, v.amount_high,
       v.backfill, r.feed, v.person
FROM record_versions v
JOIN source_records r ON r.record_id = v.record_id AND r.kind = :kind
JOIN data_ingestion_runs d ON d.id = v.run AND d.status = 'completed'
WHERE v.symbol IN (
    SELECT w.symbol FROM record_versions w
    WHERE w.filed_at > :since AND w.filed_at <= :until AND w.symbol IS NOT NULL)
  AND v.side IN ('purchase', 'sale') AND v.filed_at <= :until AND v.backfill <= :backfill
  AND v.event_date IS NOT NULL AND v.actor IS NOT NULL AND v.gone = 0
  AND (v.flags IS NULL OR instr(v.flags, '"amendment"') = 0)
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a signal: ``decided``, ``already decided``, ``not taken``, or ``would decide``."""

    signal: Signal
    verdict: str
    decision_id: str | None = None
    market: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StrategyRunResult:
    strategy_run_id: str | None
    as_of: date
    includes_backfill: bool
    considered: int
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class _Run:
    strategy: Strategy
    parameters: Any
    context: Context
    account: Account
    basis: int
    as_of: date | None
    markets: dict[str, dict[str, Any]]


def run_strategy(
    connection: sqlite3.Connection,
    writer: Writer | None,
    config: Config,
    name: str,
    prices: Prices,
    *,
    as_of: date | None = None,
) -> StrategyRunResult:
    """Evaluate a strategy on what is known now; record signals and decisions unless ``writer`` is None.

    ``as_of`` ends the window at that day and lets backfilled history count. Raises NotFound,
    ConfigError, InvalidDecision (nothing recorded), StoreError.
    """
    kind = strategies.load(name)
    parameters = section(
        kind.Parameters, config.strategies.get(name, {}), f"strategies.{name}", config.path.parent
    )
    strategy = kind(parameters)
    day = as_of or clock.market_today()
    account = config.account
    connection.execute("BEGIN")
    try:
        basis = int(connection.execute("SELECT coalesce(max(seq), 0) FROM journal").fetchone()[0])
        context = Context(
            as_of=day,
            disclosures=_disclosures(connection, strategy, day, backfill=as_of is not None),
            portfolio=_portfolio(connection, account),
            earlier=_earlier(connection, strategy, account),
        )
    finally:
        connection.execute("COMMIT")
    signals = [_orderable(signal) for signal in strategy.evaluate(context)]
    markets = {signal.symbol: prices.context(signal.symbol, day) for signal in signals}
    if writer is None:
        known = {(item.symbol, item.side, item.started) for item in context.earlier}
        outcomes = [_preview(signal, known, markets[signal.symbol]) for signal in signals]
        return StrategyRunResult(None, day, as_of is not None, len(context.disclosures), tuple(outcomes))
    run = _Run(strategy, parameters, context, account, basis, as_of, markets)
    with writer.transaction() as tx:
        run_id = _insert_run(tx, run)
        outcomes = [_record_signal(tx, writer.actor, run, run_id, signal) for signal in signals]
    return StrategyRunResult(run_id, day, as_of is not None, len(context.disclosures), tuple(outcomes))


def _orderable(signal: Signal) -> Signal:
    """The signal, not taken where no order can be made of it: a ticker of a filing is anybody's text."""
    if not signal.taken:
        return signal
    try:
        _order(signal)
    except InvalidDecision as error:
        return replace(signal, reason=f"no order can be made of it: {error.message}")
    return signal


def _order(signal: Signal) -> order.Order:
    return order.parse(
        {
            "symbol": signal.symbol,
            "side": signal.side,
            "quantity": signal.quantity,
            "notional": signal.notional,
        }
    )


def code_hash(strategy: Strategy) -> str:
    """SHA-256 of the strategy's source file, as hex."""
    return sha256(Path(inspect.getfile(type(strategy))).read_bytes()).hexdigest()


def _disclosures(
    connection: sqlite3.Connection, strategy: Strategy, day: date, *, backfill: bool
) -> tuple[Disclosure, ...]:
    people = {(row[0], row[1]): (row[2], row[3]) for row in connection.execute(_PEOPLE)}
    found = connection.execute(
        _DISCLOSURES,
        {
            "kind": strategy.kind,
            # A filing of a bare date counts from the end of its day: exclusive below, inclusive above.
            "since": clock.end_of_day(day - timedelta(days=strategy.window_days)),
            "until": clock.end_of_day(day),
            "backfill": int(backfill),
        },
    )
    return tuple(
        Disclosure(
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
        )
        for row in found
        for person, resolved_by in [(row[10], None) if row[10] else people.get((row[9], row[2]), _NOBODY)]
    )


_NOBODY = (None, None)


def _market_day(filed_at: str) -> date:
    moment = clock.from_text(filed_at) - timedelta(microseconds=1)
    return moment.astimezone(clock.zone(clock.MARKET_ZONE)).date()


def _portfolio(connection: sqlite3.Connection, account: Account) -> Portfolio:
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


def _earlier(connection: sqlite3.Connection, strategy: Strategy, account: Account) -> tuple[Episode, ...]:
    rows = connection.execute(
        "SELECT symbol, side, episode FROM signals WHERE strategy_name = ? AND broker = ?"
        " AND environment = ? AND account = ? AND taken = 1 ORDER BY id",
        (strategy.name, *account),
    )
    return tuple(Episode(row[0], row[1], date.fromisoformat(row[2])) for row in rows)


def _preview(signal: Signal, known: set[tuple[str, str, date]], market: dict[str, Any]) -> Outcome:
    if not signal.taken:
        return Outcome(signal, "not taken", None, market)
    if (signal.symbol, signal.side, signal.episode) in known:
        return Outcome(signal, "already decided", None, market)
    return Outcome(signal, "would decide", None, market)


def _insert_run(tx: Transaction, run: _Run) -> str:
    run_id = ids.new(ids.STRATEGY_RUN)
    context = run.context
    recorded = {
        "as_of": context.as_of.isoformat(),
        "records": [item.version_id for item in context.disclosures],
        "people": _people(context.disclosures),
        "portfolio": _portfolio_json(context.portfolio),
        "earlier": [[item.symbol, item.side, item.started.isoformat()] for item in context.earlier],
        "market": run.markets,
    }
    broker, environment, name = run.account
    tx.insert(
        "strategy_runs",
        {
            "strategy_run_id": run_id,
            "strategy_name": run.strategy.name,
            "strategy_version": run.strategy.version,
            "code_hash": code_hash(run.strategy),
            "parameters": json.dumps(asdict(run.parameters), default=str),
            "as_of": None if run.as_of is None else run.as_of.isoformat(),
            "includes_backfill": int(run.as_of is not None),
            "basis": run.basis,
            "context": json.dumps(recorded, ensure_ascii=False),
            "broker": broker,
            "environment": environment,
            "account": name,
            "started_at": tx.now,
        },
    )
    tx.journal("strategy.run", run_id)
    return run_id


def _people(disclosures: Iterable[Disclosure]) -> list[list[Any]]:
    """Each member's name with the person and the profile that it was resolved to then."""
    found = {(item.member, item.person, item.resolved_by) for item in disclosures if item.resolved_by}
    return [list(item) for item in sorted(found)]


def _record_signal(tx: Transaction, actor: str, run: _Run, run_id: str, signal: Signal) -> Outcome:
    market = run.markets[signal.symbol]
    known = tx.one(
        "SELECT s.signal_id, d.decision_id FROM signals s"
        " LEFT JOIN trade_decisions d ON d.signal_id = s.signal_id"
        " WHERE s.strategy_name = ? AND s.broker = ? AND s.environment = ? AND s.account = ?"
        " AND s.symbol = ? AND s.side = ? AND s.episode = ? AND s.taken = ? AND s.reason IS ?",
        (
            *(run.strategy.name, *run.account, signal.symbol, signal.side),
            *(signal.episode.isoformat(), int(signal.taken), signal.reason),
        ),
    )
    if known is not None:
        return Outcome(signal, "already decided" if signal.taken else "not taken", known[1], market)
    signal_id = _insert_signal(tx, run, run_id, signal)
    if not signal.taken:
        return Outcome(signal, "not taken", None, market)
    decided = record.record_in(
        tx,
        run.account,
        record.Decision(
            strategy=run.strategy.name,
            order=_order(signal),
            rationale=_rationale(run, run_id, signal),
            inputs=signal.inputs,
            strategy_version=run.strategy.version,
            signal_id=signal_id,
            basis=run.basis,
        ),
        actor=actor,
    )
    return Outcome(signal, "decided", decided.decision_id, market)


def _insert_signal(tx: Transaction, run: _Run, run_id: str, signal: Signal) -> str:
    signal_id = ids.new(ids.SIGNAL)
    broker, environment, name = run.account
    tx.insert(
        "signals",
        {
            "signal_id": signal_id,
            "strategy_run_id": run_id,
            "strategy_name": run.strategy.name,
            "broker": broker,
            "environment": environment,
            "account": name,
            "symbol": signal.symbol,
            "side": signal.side,
            "episode": signal.episode.isoformat(),
            "taken": int(signal.taken),
            "reason": signal.reason,
            "detail": json.dumps({**signal.rationale, "inputs": signal.inputs}, ensure_ascii=False),
            "created_at": tx.now,
        },
    )
    tx.journal("signal.recorded", signal_id)
    return signal_id


def _rationale(run: _Run, run_id: str, signal: Signal) -> dict[str, Any]:
    portfolio = run.context.portfolio
    position = portfolio.position(signal.symbol)
    return {
        **signal.rationale,
        "strategy_run": run_id,
        "as_of": run.context.as_of.isoformat(),
        "includes_backfill": run.as_of is not None,
        "market_context": run.markets[signal.symbol],
        "portfolio_context": {
            "position": None if position is None else money.to_text(position),
            **{key: value for key, value in _portfolio_json(portfolio).items() if key != "positions"},
        },
    }


def _portfolio_json(portfolio: Portfolio) -> dict[str, Any]:
    held = portfolio.positions
    return {
        "positions": None if held is None else {key: money.to_text(held[key]) for key in sorted(held)},
        "buying_power": None if portfolio.buying_power is None else money.to_text(portfolio.buying_power),
        "value": None if portfolio.value is None else money.to_text(portfolio.value),
        "as_of": portfolio.as_of,
        "unavailable": portfolio.unavailable,
    }
