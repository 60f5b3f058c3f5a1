"""A decision once more: the same strategy on just what it had then. Nothing is written.

Three questions: does the code of then say the same again; what does today's code say of what was known then;
and what would be decided with today's restatements of the same filings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from tradelog.config.schema import Config
from tradelog.config.values import from_table
from tradelog.decide import context, run, strategies
from tradelog.decide.strategies.base import Signal, Strategy
from tradelog.domain import money
from tradelog.domain.account import AccountKey
from tradelog.errors import ArchiveMissing, ConfigError, NotFound
from tradelog.store.reader import Reader, Row

SAME = "same"
DIFFERENT = "different"
NOT_REPLAYABLE = "not replayable"


@dataclass(frozen=True, slots=True)
class Difference:
    """What was said then and what is said now; None where there was or is nothing."""

    what: str
    then: Any
    now: Any


@dataclass(frozen=True, slots=True)
class Replayed:
    """``why`` says what stands in the way of a replay, or under which question the verdict stands."""

    subject: str
    verdict: str
    why: str | None
    strategy: str
    differences: tuple[Difference, ...] = ()


class _Refused(Exception):
    """What stands in the way; never leaves this module."""


def replay(
    reader: Reader, config: Config, signal_id: str, *, current_code: bool = False, as_of_now: bool = False
) -> Replayed:
    """Evaluate the strategy of a signal, taken or not, once more."""
    row = reader.one("SELECT * FROM signals WHERE signal_id = ?", (signal_id,))
    assert row is not None
    ran = reader.one("SELECT * FROM strategy_runs WHERE strategy_run_id = ?", (row["strategy_run_id"],))
    assert ran is not None  # a foreign key
    decision = reader.one("SELECT * FROM trade_decisions WHERE signal_id = ?", (signal_id,))
    subject = str(decision["decision_id"] if decision else signal_id)
    name = f"{row['strategy_name']} {ran['strategy_version']}"
    try:
        strategy, parameters = _load(ran, config, current_code=current_code)
        again = _again(reader, ran, strategy, parameters, as_of_now=as_of_now)
        found = tuple(_differences(again, row, decision))
    except _Refused as refused:
        return Replayed(subject, NOT_REPLAYABLE, str(refused), name)
    asked = [f"by today's code, version {strategy.version}"] if current_code else []
    asked += ["on what is known today of the same filings"] if as_of_now else []
    return Replayed(subject, DIFFERENT if found else SAME, ", ".join(asked) or None, name, found)


def without_code(reader: Reader, decision_id: str) -> Replayed:
    """The answer for a decision that no strategy of tradelog's made: there is no code to run."""
    row = reader.one(
        "SELECT strategy_name, adopted FROM trade_decisions WHERE decision_id = ?", (decision_id,)
    )
    assert row is not None
    if row["adopted"]:
        why = "it was recorded after the fact, from an order that tradelog did not send"
    else:
        why = f"{row['strategy_name']} recorded it by itself: tradelog has its rationale, not its code"
    return Replayed(decision_id, NOT_REPLAYABLE, why, str(row["strategy_name"]))


def _load(ran: Row, config: Config, *, current_code: bool) -> tuple[Strategy, Any]:
    try:
        kind = strategies.load(ran["strategy_name"])
        given = json.loads(ran["parameters"])
        parameters = from_table(
            kind.Parameters, given, f"strategies.{ran['strategy_name']}", config.path.parent
        )
        strategy = kind(parameters)
    except (NotFound, ConfigError) as error:
        raise _Refused(error.message) from error
    if current_code:
        return strategy, parameters
    if strategy.version != ran["strategy_version"]:
        raise _Refused(
            f"it was version {ran['strategy_version']}, and this is version {strategy.version}:"
            " --with-current-code asks what that says"
        )
    here = run.code_hash(strategy)
    if here != ran["code_hash"]:
        raise _Refused(
            f"its code was {ran['code_hash'][:12]}, and is {here[:12]} now:"
            " --with-current-code asks what that says"
        )
    return strategy, parameters


@dataclass(frozen=True, slots=True)
class _Again:
    run: run.Run
    run_id: str
    signals: list[Signal]


def _again(reader: Reader, ran: Row, strategy: Strategy, parameters: Any, *, as_of_now: bool) -> _Again:
    try:
        recalled = context.recall(reader.connection, json.loads(ran["context"]))
    except ArchiveMissing as error:
        raise _Refused(f"what it saw is archived: {error.message}") from error
    if recalled.missing:
        some = ", ".join(map(str, recalled.missing[:5]))
        raise _Refused(f"{len(recalled.missing)} of its record versions are not in the store: {some}")
    seen = recalled.context
    if as_of_now:
        # Restatements of old filings are history by now, whatever the run itself could see.
        known = context.disclosures(reader.connection, strategy, seen.as_of, backfill=True)
        seen = replace(seen, disclosures=known)
    as_of = date.fromisoformat(ran["as_of"]) if ran["as_of"] else None
    account = AccountKey(ran["broker"], ran["environment"], ran["account"])
    made = run.Run(strategy, parameters, seen, account, ran["basis"], as_of, dict(recalled.markets))
    return _Again(made, ran["strategy_run_id"], run.evaluate(strategy, seen))


def _differences(again: _Again, row: Row, decision: Row | None) -> Iterator[Difference]:
    """Between what was recorded and what the same symbol and side give now."""
    alike = [item for item in again.signals if (item.symbol, item.side) == (row["symbol"], row["side"])]
    now = next((item for item in alike if item.episode.isoformat() == row["episode"]), None)
    now = now or (alike[0] if alike else None)
    if now is None:
        yield Difference("signal", f"{row['side']} {row['symbol']}", None)
        return
    yield from _between("episode", row["episode"], now.episode.isoformat())
    yield from _between("taken", bool(row["taken"]), now.taken)
    yield from _between("reason", row["reason"], now.reason)
    if decision is None or not now.taken:
        yield from _between("", json.loads(row["detail"]), _plain(run.detail(now)))
        return
    wanted = run.terms_of(now)
    for name in ("quantity", "notional", "limit_price", "stop_price"):
        value = getattr(wanted, name)
        yield from _between(name, decision[name], None if value is None else money.to_text(value))
    for name in ("order_type", "time_in_force"):
        yield from _between(name, decision[name], getattr(wanted, name))
    yield from _between("inputs", json.loads(row["detail"])["inputs"], list(now.inputs))
    then = json.loads(decision["decision_rationale"])
    then.pop("data_lineage", None)
    if now.symbol not in again.run.markets:
        again.run.markets[now.symbol] = then.get("market_context")
    yield from _between("", then, _plain(run.rationale_of(again.run, again.run_id, now)))


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, ensure_ascii=False))


def _between(path: str, then: Any, now: Any) -> Iterator[Difference]:
    """The leaves that differ, each by its path."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys((*then, *now)):
            yield from _between(f"{path}.{key}".lstrip("."), then.get(key), now.get(key))
    elif then != now:
        yield Difference(path, then, now)
