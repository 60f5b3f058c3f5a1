"""tradelog decide"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tradelog.cli.context import load_config
from tradelog.cli.render import as_json, line
from tradelog.domain.order import OrderType
from tradelog.errors import InvalidDecision, NotFound, TradelogError, UsageError

if TYPE_CHECKING:
    from tradelog.decide.record import Recorded


def command(
    side: Annotated[str | None, typer.Argument(help="buy or sell.")] = None,
    quantity: Annotated[str | None, typer.Argument(help="How many shares; not with --notional.")] = None,
    symbol: Annotated[str | None, typer.Argument(help="The symbol, such as AAPL.")] = None,
    why: Annotated[str | None, typer.Option(help="The reason; recorded with the decision.")] = None,
    strategy: Annotated[str, typer.Option(help="Whose decision it is.")] = "manual",
    key: Annotated[
        str | None, typer.Option(help="Your own name for it: given again, it is not recorded twice.")
    ] = None,
    notional: Annotated[str | None, typer.Option(help="Dollars instead of shares.")] = None,
    order_type: Annotated[
        str | None,
        typer.Option("--type", help="market, limit, stop, stop_limit or trailing_stop; else by the prices."),
    ] = None,
    limit: Annotated[str | None, typer.Option(help="Limit price.")] = None,
    stop: Annotated[str | None, typer.Option(help="Stop price.")] = None,
    trail: Annotated[
        str | None, typer.Option(help="How far a trailing stop stays behind: dollars, or 5% of the price.")
    ] = None,
    tif: Annotated[str, typer.Option(help="Time in force: day, gtc, opg, cls, ioc, fok.")] = "day",
    extended_hours: Annotated[
        bool, typer.Option("--extended-hours", help="Also outside the session.")
    ] = False,
    expires: Annotated[str | None, typer.Option(help="Submit it by this time or not at all.")] = None,
    source: Annotated[
        str | None, typer.Option("--input", metavar="FILE", help="Decisions as NDJSON; - reads stdin.")
    ] = None,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Record a decision by hand, or decisions from a program as NDJSON.

    tradelog decide buy 10 AAPL --why "..."
    """
    if source is not None and side is not None:
        raise UsageError("give a decision or --input, not both")
    if source is not None:
        raise typer.Exit(_from_lines(source))
    if notional is not None and quantity is not None and symbol is None:
        quantity, symbol = None, quantity
    if side is None or symbol is None:
        raise UsageError(
            "side, quantity and symbol are needed", hint='tradelog decide buy 10 AAPL --why "..."'
        )
    if not why or not why.strip():
        raise UsageError("a decision needs its reason", hint='add --why "..."')
    terms = {"symbol": symbol, "side": side.lower(), "quantity": quantity, "notional": notional}
    terms |= {"order_type": _implied_type(limit, stop, trail) if order_type is None else order_type}
    terms |= {"limit_price": limit, "stop_price": stop, **_trail(trail)}
    _record(
        {
            **terms,
            "time_in_force": tif,
            "extended_hours": extended_hours,
            "expires_at": expires,
            "rationale": {"why": why},
            "strategy": strategy,
            "key": key,
        },
        output_json,
    )


def _implied_type(limit: str | None, stop: str | None, trail: str | None) -> OrderType:
    """The order type that the given prices imply."""
    if trail:
        return OrderType.TRAILING_STOP
    if limit and stop:
        return OrderType.STOP_LIMIT
    return OrderType.LIMIT if limit else OrderType.STOP if stop else OrderType.MARKET


def _trail(trail: str | None) -> dict[str, str | None]:
    """Dollars, or a percentage with its sign, as the two terms of a trailing stop."""
    if trail and trail.endswith("%"):
        return {"trail_price": None, "trail_percent": trail.removesuffix("%")}
    return {"trail_price": trail, "trail_percent": None}


def _record(values: dict[str, Any], output_json: bool) -> None:
    from tradelog.decide import record
    from tradelog.store.opening import open_writer

    decision = record.parse(values)
    config = load_config()
    writer = open_writer(config.store_path)
    try:
        recorded = record.record(writer, config.account, decision)
    finally:
        writer.close()
    _print(recorded, output_json, waits=config.control(decision.strategy).approval)


def _print(recorded: Recorded, output_json: bool, *, waits: bool) -> None:
    """Print the id. Raises TradelogError where that cannot be printed."""
    decision_id = recorded.decision_id
    try:
        if output_json:
            as_json(asdict(recorded))
        elif recorded.is_repeat:
            line(f"{decision_id} has this key already; nothing new was recorded")
        else:
            then = (
                f"it waits for tradelog approve {decision_id}" if waits else "tradelog run-worker submits it"
            )
            line(f"{decision_id} recorded; {then}")
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, AttributeError) as error:
        # A caller that takes this for a failure and tries again would order twice.
        raise TradelogError(
            f"{decision_id} IS recorded, but this could not be printed: {error}",
            hint="do not decide it again",
        ) from error


def _from_lines(source: str) -> int:
    """Record each line on its own, print its id or its error; returns 1 where one failed."""
    from tradelog.decide import record
    from tradelog.store.opening import open_writer

    config = load_config()
    writer = open_writer(config.store_path)
    failed = False
    try:
        for number, text in _lines(source):
            answer: dict[str, Any] = {"line": number}
            try:
                decision = record.parse(_object(text))
                recorded = record.record(writer, config.account, decision)
                answer["decision_id"] = recorded.decision_id
                if recorded.is_repeat:
                    answer["is_repeat"] = True
            except InvalidDecision as error:
                failed = True
                answer |= {"error": error.message, "field": error.field}
                if error.hint:
                    answer["hint"] = error.hint
            print(json.dumps(answer, ensure_ascii=False), flush=True)
    finally:
        writer.close()
    return int(failed)


def _lines(source: str) -> Iterator[tuple[int, str]]:
    if source == "-":
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
        yield from ((number, text) for number, text in enumerate(sys.stdin, 1) if text.strip())
        return
    try:
        with Path(source).open(encoding="utf-8", errors="surrogateescape") as stream:
            yield from ((number, text) for number, text in enumerate(stream, 1) if text.strip())
    except FileNotFoundError:
        raise NotFound(f"no file at {source}", hint="check the path") from None
    except OSError as error:
        raise UsageError(f"cannot read {source}: {error.strerror}") from error


def _object(text: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) != len(pairs):
            raise InvalidDecision("line", "a key is given twice")
        return values

    try:
        text.encode()
        # Numbers keep the digits that were written: a price is never a float.
        value = json.loads(text, parse_float=_Digits, parse_constant=_Digits, object_pairs_hook=unique)
    except UnicodeEncodeError as error:
        raise InvalidDecision("line", "is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise InvalidDecision("line", f"is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidDecision("line", "is no JSON object")
    if "rationale" in value:
        # A rationale is no order: its numbers stay numbers.
        value["rationale"] = json.loads(text)["rationale"]
    return value


class _Digits(str):
    """A JSON number with decimals, as it was written."""
