"""Running a strategy: context from the store, signals from the strategy, decisions into the outbox."""

from __future__ import annotations

import inspect
import json
import sqlite3
import sys
from dataclasses import asdict, dataclass, replace
from datetime import date
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

from tradelog.config.schema import Config
from tradelog.config.values import from_table
from tradelog.decide import context, record, strategies
from tradelog.decide.strategies.base import Context, Signal, Strategy
from tradelog.domain import clock, ids, money
from tradelog.domain.account import AccountKey
from tradelog.domain.order import OrderTerms, parse_terms
from tradelog.errors import ConfigError, InvalidDecision, StrategyFailed
from tradelog.prices import Prices
from tradelog.store.writer import Transaction, Writer


class SignalOutcome(StrEnum):
    DECIDED = "decided"
    ALREADY_DECIDED = "already decided"
    NOT_TAKEN = "not taken"
    WOULD_DECIDE = "would decide"  # of a dry run


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a signal."""

    signal: Signal
    outcome: SignalOutcome
    decision_id: str | None = None
    market: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StrategyRunResult:
    """``newest`` is the day of the newest disclosure on record, given where a run of today had no signal."""

    strategy_run_id: str | None
    as_of: date
    includes_backfill: bool
    considered: int
    outcomes: tuple[Outcome, ...]
    newest: date | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A strategy with its parameters, what it looks at, and what is known of the market's prices."""

    strategy: Strategy
    parameters: Any
    context: Context
    account: AccountKey
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
    try:
        parameters = from_table(
            kind.Parameters, config.strategies.get(name, {}), f"strategies.{name}", config.path.parent
        )
    except ValueError as error:  # how a plugin's dataclass refuses a value
        raise ConfigError(f"[strategies.{name}]: {error}") from error
    strategy = kind(parameters)
    day = as_of or clock.market_today()
    account = config.account
    connection.execute("BEGIN")
    try:
        basis = int(connection.execute("SELECT coalesce(max(seq), 0) FROM journal").fetchone()[0])
        strategy_context = context.current(connection, strategy, account, day, backfill=as_of is not None)
    finally:
        connection.execute("COMMIT")
    signals = evaluate(strategy, strategy_context)
    newest = context.newest_day(connection, strategy) if as_of is None and not signals else None
    markets = {signal.symbol: prices.context(signal.symbol, day) for signal in signals}
    if writer is None:
        decided = {(item.symbol, item.side, item.started) for item in strategy_context.earlier}
        outcomes = [_preview(signal, decided, markets[signal.symbol]) for signal in signals]
        return StrategyRunResult(
            None, day, as_of is not None, len(strategy_context.disclosures), tuple(outcomes), newest
        )
    run = Run(strategy, parameters, strategy_context, account, basis, as_of, markets)
    with writer.transaction() as tx:
        run_id = _insert_run(tx, run)
        outcomes = [_record_signal(tx, writer.actor, run, run_id, signal) for signal in signals]
    return StrategyRunResult(
        run_id, day, as_of is not None, len(strategy_context.disclosures), tuple(outcomes), newest
    )


def evaluate(strategy: Strategy, strategy_context: Context) -> list[Signal]:
    """The signals of a strategy for a context; one that no order can be made of is not taken."""
    try:
        signals = strategy.evaluate(strategy_context)
    except Exception as error:  # whatever a plugin raises is named as the plugin's
        raise StrategyFailed(
            f"the strategy {strategy.name!r} failed: {type(error).__name__}: {error}",
            hint="nothing was recorded; --debug shows where",
        ) from error
    if not isinstance(signals, list) or not all(isinstance(item, Signal) for item in signals):
        raise StrategyFailed(f"the strategy {strategy.name!r} returned what is no list of signals")
    return [_orderable(signal) for signal in signals]


def _orderable(signal: Signal) -> Signal:
    """The signal, not taken where no order can be made of it: a ticker in a filing is free text."""
    if not signal.taken:
        return signal
    try:
        terms_of(signal)
    except InvalidDecision as error:
        return replace(signal, reason=f"no order can be made of it: {error.message}")
    return signal


def terms_of(signal: Signal) -> OrderTerms:
    """The order terms of a signal. Raises InvalidDecision."""
    return parse_terms(
        {
            "symbol": signal.symbol,
            "side": signal.side,
            "quantity": signal.quantity,
            "notional": signal.notional,
        }
    )


def code_hash(strategy: Strategy) -> str:
    """SHA-256 of the strategy's code, as hex.

    Of a plugin every module of its own package; of tradelog's own the module, and those beside it that
    it uses: a change of one strategy is none of another.
    """
    module = sys.modules[type(strategy).__module__]
    file = Path(inspect.getfile(module))
    package = module.__name__.partition(".")[0]
    if package == "tradelog":
        used = {value.__name__ for value in vars(module).values() if inspect.ismodule(value)}
        used |= {getattr(value, "__module__", None) or "" for value in vars(module).values()}
        beside = sorted(name for name in used if name.startswith("tradelog.decide.strategies."))
        files = [Path(inspect.getfile(sys.modules[name])) for name in {*beside, module.__name__}]
        root = file.parent
    elif (file.parent / "__init__.py").exists():
        root = next(folder for folder in file.parents if folder.name == package)
        files = list(root.rglob("*.py"))
    else:
        root, files = file.parent, [file]
    digest = sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _preview(signal: Signal, decided: set[tuple[str, str, date]], market: dict[str, Any]) -> Outcome:
    if not signal.taken:
        return Outcome(signal, SignalOutcome.NOT_TAKEN, None, market)
    if (signal.symbol, signal.side, signal.episode) in decided:
        return Outcome(signal, SignalOutcome.ALREADY_DECIDED, None, market)
    return Outcome(signal, SignalOutcome.WOULD_DECIDE, None, market)


def _insert_run(tx: Transaction, run: Run) -> str:
    run_id = ids.new(ids.STRATEGY_RUN)
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
            "context": json.dumps(context.recorded(run.context, run.markets), ensure_ascii=False),
            **run.account.as_columns(),
            "started_at": tx.now,
        },
    )
    tx.journal("strategy.run", run_id)
    return run_id


def _record_signal(tx: Transaction, actor: str, run: Run, run_id: str, signal: Signal) -> Outcome:
    market = run.markets[signal.symbol]
    existing = tx.one(
        "SELECT s.signal_id, d.decision_id FROM signals s"
        " LEFT JOIN trade_decisions d ON d.signal_id = s.signal_id"
        " WHERE s.strategy_name = ? AND s.broker = ? AND s.environment = ? AND s.account = ?"
        " AND s.symbol = ? AND s.side = ? AND s.episode = ? AND s.taken = ? AND s.reason IS ?",
        (
            *(run.strategy.name, *run.account, signal.symbol, signal.side),
            *(signal.episode.isoformat(), int(signal.taken), signal.reason),
        ),
    )
    if existing is not None:
        return Outcome(
            signal,
            SignalOutcome.ALREADY_DECIDED if signal.taken else SignalOutcome.NOT_TAKEN,
            existing[1],
            market,
        )
    signal_id = _insert_signal(tx, run, run_id, signal)
    if not signal.taken:
        return Outcome(signal, SignalOutcome.NOT_TAKEN, None, market)
    decided = record.record_in(
        tx,
        run.account,
        record.Decision(
            strategy=run.strategy.name,
            terms=terms_of(signal),
            rationale=rationale_of(run, run_id, signal),
            inputs=signal.inputs,
            strategy_version=run.strategy.version,
            signal_id=signal_id,
            basis=run.basis,
        ),
        actor=actor,
    )
    return Outcome(signal, SignalOutcome.DECIDED, decided.decision_id, market)


def detail(signal: Signal) -> dict[str, Any]:
    """What is recorded of a signal, taken or not."""
    return {**signal.rationale, "inputs": signal.inputs}


def _insert_signal(tx: Transaction, run: Run, run_id: str, signal: Signal) -> str:
    signal_id = ids.new(ids.SIGNAL)
    tx.insert(
        "signals",
        {
            "signal_id": signal_id,
            "strategy_run_id": run_id,
            "strategy_name": run.strategy.name,
            **run.account.as_columns(),
            "symbol": signal.symbol,
            "side": signal.side,
            "episode": signal.episode.isoformat(),
            "taken": int(signal.taken),
            "reason": signal.reason,
            "detail": json.dumps(detail(signal), ensure_ascii=False),
            "created_at": tx.now,
        },
    )
    tx.journal("signal.recorded", signal_id)
    return signal_id


def rationale_of(run: Run, run_id: str, signal: Signal) -> dict[str, Any]:
    """The full rationale: the strategy's own, with the market and portfolio context."""
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
            **{key: value for key, value in context.portfolio_json(portfolio).items() if key != "positions"},
        },
    }
