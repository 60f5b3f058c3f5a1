"""What holds the store from outside: heads of the chain kept elsewhere, and the broker's own list of orders.

Whoever can write the file can write the whole chain anew. A head that has left the machine, and the part of
each decision's hash that the broker keeps in the client order id, cannot be written anew with it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tradelog.config.schema import Config
from tradelog.domain import money
from tradelog.errors import EvidenceBroken, TradelogError, UsageError
from tradelog.evidence import chain
from tradelog.evidence.chain import Head
from tradelog.evidence.finding import Finding
from tradelog.evidence.order import hash_now
from tradelog.store.reader import Reader, Row

COMMAND_SECONDS = 60.0
# In the broker's words.
_ENDED = ("filled", "canceled", "expired", "rejected", "replaced")
MOST_PAGES = 10_000
_OURS = re.compile(r"tl-([0-9a-z]{16})-([0-9a-f]{12})-([0-9]+)")


def send(reader: Reader, head: Head, to: str) -> None:
    """Append a head to a file, or give it to the input of a command, written as ``| COMMAND``.

    Raises EvidenceBroken, and appends nothing, where the heads in the file are not in the chain any more;
    TradelogError where the command fails.
    """
    target = to.strip()
    if target.startswith("|"):
        _pipe(head, target[1:].strip())
        return
    if not target:
        raise UsageError("--to is empty", hint="name a file elsewhere, or '| COMMAND'")
    path = Path(target).expanduser()
    if path.exists() and path.stat().st_size:
        broken = chain.since(reader, chain.read_heads(path))
        if broken:
            raise EvidenceBroken(
                f"{path}: {broken[0].subject}: {broken[0].message}",
                hint="nothing was appended; keep that file, and run tradelog verify --since-head with it",
            )
    try:
        with path.open("a") as stream:
            stream.write(head.line() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise TradelogError(
            f"the head could not be written to {path}: {error.strerror}", hint="name a place that is there"
        ) from error


def _pipe(head: Head, command: str) -> None:
    try:
        words = shlex.split(command)
        ended = subprocess.run(  # noqa: S603 the owner's own command
            words, input=head.line() + "\n", text=True, timeout=COMMAND_SECONDS, check=False
        )
    except (OSError, ValueError, IndexError) as error:
        raise UsageError(f"cannot run {command!r}: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise TradelogError(f"{words[0]} did not take the head within {COMMAND_SECONDS:g} s") from error
    if ended.returncode:
        raise TradelogError(f"{words[0]} did not take the head: it ended with {ended.returncode}")


def at_broker(reader: Reader, config: Config) -> tuple[int, list[Finding]]:
    """(orders of ours that the broker lists, what does not agree with them). Asks, and writes nothing.

    Raises TradelogError where the broker does not list all of its orders.
    """
    # Ours first: what is placed meanwhile is in the broker's list, and not missed in it.
    placed = reader.rows(
        "SELECT execution_id, alpaca_order_id FROM trade_executions WHERE alpaca_order_id IS NOT NULL"
        " AND broker = ? AND environment = ? AND account = ? ORDER BY id",
        config.account,
    )
    listed = {order["id"]: order for order in _all_orders(config)}
    findings = [Finding("broker", *found) for found in _compare(reader, placed, listed)]
    return sum(_OURS.fullmatch(order["client_order_id"]) is not None for order in listed.values()), findings


def _all_orders(config: Config) -> Iterator[dict[str, Any]]:
    from tradelog.execute.brokers import connect
    from tradelog.execute.brokers.base import ORDERS_PAGE
    from tradelog.execute.outbox import responses
    from tradelog.execute.track.tracker import next_page_after

    broker = connect(config)
    after: str | None = None
    seen: set[str] = set()
    for _ in range(MOST_PAGES):
        exchange = broker.orders("all", after)
        page = exchange.json()
        if exchange.status != 200 or not isinstance(page, list):
            said = exchange.error or f"HTTP {exchange.status}"
            raise TradelogError(f"{broker.name} did not list its orders: {said}", hint="try again later")
        read = [order for item in page if (order := responses.parse_order(item)) is not None]
        fresh = [order for order in read if order["id"] not in seen]
        seen |= {order["id"] for order in read}
        yield from fresh
        after = next_page_after(read)
        if len(page) < ORDERS_PAGE or after is None:
            return
        if not fresh:
            break
    raise TradelogError(f"{broker.name} lists more orders of one moment than can be read")


def _compare(
    reader: Reader, placed: list[Row], listed: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, str]]:
    for order in listed.values():
        ours = _OURS.fullmatch(order["client_order_id"])
        if ours is not None:
            yield from _against_decision(reader, order, f"dec_{ours[1]}", ours[2])
    for row in placed:
        if row["alpaca_order_id"] not in listed:
            yield row["execution_id"], f"the broker does not list its order {row['alpaca_order_id']}"


def _against_decision(
    reader: Reader, order: dict[str, Any], decision_id: str, carried: str
) -> Iterator[tuple[str, str]]:
    subject = f"order {order['id']}"
    known = reader.one("SELECT * FROM trade_decisions WHERE decision_id = ?", (decision_id,))
    if known is None:
        # Of another log, and recorded as such; else it was ours, and was taken out.
        if not reader.value(
            "SELECT 1 FROM trade_decisions WHERE client_order_id = ? AND adopted = 1",
            (order["client_order_id"],),
        ):
            yield subject, f"it was sent for {decision_id}, which is not there"
        return
    here = hash_now(reader, known["id"])
    if not here.startswith(carried):
        yield (
            decision_id,
            f"its hash is {here[:12]} now, and the broker was sent {carried}: it was changed since",
        )
    for name in ("symbol", "side"):
        if order.get(name) != known[name]:
            yield decision_id, f"{name} is {known[name]}, and the broker's order has {order.get(name)}"
    kept = reader.one(
        "SELECT status, filled_quantity FROM alpaca_orders WHERE broker_order_id = ?", (order["id"],)
    )
    if kept is None:
        return
    filled = order.get("filled_qty")
    # One that goes on may have filled more since.
    if kept["status"] == order["status"] in _ENDED and filled is not None:
        told = money.parse(filled)
        if told != money.parse(kept["filled_quantity"]):
            yield subject, f"{kept['filled_quantity']} of it are filled here, and {filled} at the broker"
