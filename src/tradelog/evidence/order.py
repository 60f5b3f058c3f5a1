"""What must come before what: inputs, decision, attempt, request, fill. By the chain, not by clocks alone.

These hold whoever wrote the rows: a chain that was computed anew around invented ones does not pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from hashlib import sha256
from typing import Any

from tradelog.domain import ids, money
from tradelog.evidence.finding import Finding
from tradelog.store import decisions
from tradelog.store.reader import Reader

# What was sent, against what was decided: the key in the body, and the decision's column.
_SENT = {
    "symbol": "symbol",
    "side": "side",
    "type": "order_type",
    "qty": "quantity",
    "notional": "notional",
    "limit_price": "limit_price",
    "stop_price": "stop_price",
    "trail_price": "trail_price",
    "trail_percent": "trail_percent",
    "time_in_force": "time_in_force",
}


def check(reader: Reader, findings: list[Finding]) -> None:
    """All of them. The tables of `rows.Told` say which entry first told of a row."""
    for subject, text in (
        *_inputs(reader),
        *_intents(reader),
        *_attempts(reader),
        *_requests(reader),
        *_fills(reader),
        *_sums(reader),
    ):
        findings.append(Finding("order", subject, text))


def _inputs(reader: Reader) -> Iterator[tuple[str, str]]:
    """A decision cites versions of completed runs only, which ended before its basis (invariant 7)."""
    for row in reader.rows(
        "SELECT d.decision_id, d.basis, d.created_at, i.version_id, v.first_seen_at, r.status, r.run_id,"
        " k.last AS ended"
        " FROM decision_inputs i JOIN trade_decisions d ON d.id = i.decision"
        " LEFT JOIN record_versions v ON v.version_id = i.version_id"
        " LEFT JOIN data_ingestion_runs r ON r.id = v.run"
        " LEFT JOIN temp.told_data_ingestion_runs k ON k.key = r.run_id"
        " WHERE v.version_id IS NULL OR v.first_seen_at > d.created_at OR r.status IS NOT 'completed'"
        " OR k.last > d.basis ORDER BY d.id, i.version_id"
    ):
        version = f"its input, record version {row['version_id']},"
        if row["first_seen_at"] is None:
            yield row["decision_id"], f"{version} is not there"
        elif row["status"] != "completed":
            yield row["decision_id"], f"{version} is of {row['run_id']}, which is {row['status']}"
        elif row["first_seen_at"] > row["created_at"]:
            yield row["decision_id"], f"{version} was first seen at {row['first_seen_at']}, after it was made"
        else:
            yield (
                row["decision_id"],
                f"{version} is of {row['run_id']}, which ended with entry {row['ended']}, after its basis,"
                f" entry {row['basis']}",
            )


def _intents(reader: Reader) -> Iterator[tuple[str, str]]:
    """A decision's hash is of what it says, and its client order id carries the hash."""
    cursor = reader.connection.cursor()
    cursor.row_factory = None
    for number, decision_id, hash_, client_order_id, is_theirs, basis, recorded, meant in cursor.execute(
        # A bot that sends its orders itself may have ids of its own, also one of an earlier order of ours.
        "SELECT d.id, d.decision_id, d.decision_hash, d.client_order_id,"
        " d.adopted OR (d.recorded AND instr(d.client_order_id, substr(d.decision_id, 5)) = 0),"
        " d.basis, k.first,"
        f" {decisions.MEANT} FROM trade_decisions d"
        " LEFT JOIN temp.told_trade_decisions k ON k.key = d.decision_id ORDER BY d.id"
    ):
        if sha256(meant).hexdigest() != hash_ and hash_now(reader, number) != hash_:
            yield decision_id, "what it says does not give its decision hash"
        ours = ids.client_order_id(decision_id, hash_, 1)
        if not is_theirs and client_order_id != ours:
            yield decision_id, f"its client order id should be {ours}"
        if recorded is not None and recorded <= basis:
            yield decision_id, "it was recorded before the entry that it is based on"


def hash_now(reader: Reader, number: int) -> str:
    """The hash that a decision, by its row number, has as it is now."""
    row = reader.one("SELECT * FROM trade_decisions WHERE id = ?", (number,))
    assert row is not None
    inputs = reader.rows(
        "SELECT version_id FROM decision_inputs WHERE decision = ? ORDER BY version_id", (number,)
    )
    return decisions.hash_of(row, [item["version_id"] for item in inputs])


def _attempts(reader: Reader) -> Iterator[tuple[str, str]]:
    """An attempt comes after its decision, unless somebody else placed the order."""
    for row in reader.rows(
        "SELECT e.execution_id, e.started_at, d.decision_id, d.created_at, k.first AS claimed,"
        " m.first AS recorded FROM trade_executions e"
        " JOIN trade_decisions d ON d.decision_id = e.decision_id"
        " LEFT JOIN temp.told_trade_executions k ON k.key = e.execution_id"
        " LEFT JOIN temp.told_trade_decisions m ON m.key = d.decision_id"
        " WHERE d.adopted = 0 AND (e.started_at < d.created_at OR k.first <= m.first)"
    ):
        yield (
            row["execution_id"],
            f"it began at {row['started_at']}, entry {row['claimed']}, and its decision {row['decision_id']}"
            f" is of {row['created_at']}, entry {row['recorded']}",
        )


def _requests(reader: Reader) -> Iterator[tuple[str, str]]:
    """An order is sent after its attempt is on disk (invariant 1), and says what was decided."""
    alike = " AND ".join(
        f"json_extract(c.request_body, '$.{sent}') IS d.{column}" for sent, column in _SENT.items()
    )
    for row in reader.rows(
        "SELECT c.call_id, c.method, c.request_body, e.execution_id,"
        " e.client_order_id AS ours, k.first AS told, m.first AS claimed, d.*, e.quantity AS new_quantity,"
        " e.limit_price AS new_limit_price, e.stop_price AS new_stop_price,"
        " e.time_in_force AS new_time_in_force"
        " FROM broker_calls c LEFT JOIN trade_executions e ON e.execution_id = c.execution_id"
        " LEFT JOIN trade_decisions d ON d.decision_id = e.decision_id"
        " LEFT JOIN temp.told_broker_calls k ON k.key = c.call_id"
        " LEFT JOIN temp.told_trade_executions m ON m.key = e.execution_id"
        # Without a body nothing left: the worker that was to send it had slept past its lease.
        " WHERE c.purpose = 'submit' AND c.request_body IS NOT NULL AND NOT coalesce("
        " k.first > m.first AND CASE WHEN json_valid(c.request_body)"
        f" THEN json_extract(c.request_body, '$.client_order_id') IS e.client_order_id AND {alike}"
        " AND coalesce(json_extract(c.request_body, '$.extended_hours'), 0) = d.extended_hours END, 0)"
    ):
        call = f"exchange {row['call_id']}"
        if row["execution_id"] is None:
            yield call, "an order was sent for no attempt that is there"
            continue
        is_known = row["told"] is not None and row["claimed"] is not None
        # Not by the times of the exchange: a clock that was set back is no order out of order.
        if is_known and row["told"] <= row["claimed"]:
            yield call, f"its order was sent before the attempt {row['execution_id']} was written down"
        for text in _unlike(row):
            yield call, text


def _unlike(row: dict[str, Any]) -> Iterator[str]:
    """What the request says that the decision does not; a replacement says what it changes, of itself."""
    try:
        body = json.loads(row["request_body"] or "", parse_float=Decimal)
        sent = {name: body.get(name) for name in (*_SENT, "client_order_id")}
    except (ValueError, AttributeError):
        yield "what was sent is no order"
        return
    if sent.pop("client_order_id") != row["ours"]:
        yield f"it was sent under another client order id than {row['ours']}"
    is_change = row["method"] == "PATCH"
    if not is_change and bool(body.get("extended_hours")) != bool(row["extended_hours"]):
        yield f"extended_hours was sent as {body.get('extended_hours')}"
    for name, value in sent.items():
        wanted = row.get(f"new_{_SENT[name]}") if is_change else row[_SENT[name]]
        if is_change and value is None:
            continue
        if value != wanted and not _equal(value, wanted):
            yield f"{name} was sent as {value}, and {row['decision_id']} says {wanted}"


def _equal(one: Any, other: Any) -> bool:
    try:
        return money.parse(one) == money.parse(other)
    except ValueError:
        return False


def _fills(reader: Reader) -> Iterator[tuple[str, str]]:
    """Fills are of the symbol and side of their order, and come to no more than it says.

    One of an order that the broker has not shown us is the business of reconciliation.
    """
    for row in reader.rows(
        "SELECT f.fill_id, f.broker_order_id, f.symbol, f.side, o.symbol AS ordered, d.side AS wanted"
        " FROM fills f JOIN alpaca_orders o ON o.broker_order_id = f.broker_order_id"
        " LEFT JOIN trade_decisions d ON d.decision_id = o.decision_id"
        " WHERE f.symbol <> o.symbol OR instr(f.side, d.side) <> 1"
    ):
        said = f"a {row['side']} of {row['symbol']}"
        wanted = f"a {row['wanted']} of {row['ordered']}"
        yield f"fill {row['fill_id']}", f"it is {said}, and its order {row['broker_order_id']} {wanted}"
    for row in reader.rows(
        "SELECT o.broker_order_id, o.filled_quantity, json_group_array(f.quantity) AS quantities"
        " FROM fills f JOIN alpaca_orders o ON o.broker_order_id = f.broker_order_id"
        " GROUP BY o.broker_order_id HAVING count(*) > 1 OR max(f.quantity) <> o.filled_quantity"
    ):
        order = row["broker_order_id"]
        total = sum(map(money.parse, json.loads(row["quantities"])), money.ZERO)
        # A broker may take a fill back: what it said at most is what fills may come to.
        told = [row["filled_quantity"]] + [
            event["filled_quantity"]
            for event in reader.rows(
                "SELECT filled_quantity FROM order_events WHERE broker_order_id = ?", (order,)
            )
        ]
        most = max(map(money.parse, told))
        if total > most:
            text = f"its fills come to {money.to_text(total)}, and it says {money.to_text(most)}"
            yield f"order {order}", text


def _sums(reader: Reader) -> Iterator[tuple[str, str]]:
    """What an attempt says that its fills come to: positions go by it, and no digest covers it."""
    for row in reader.rows(
        "SELECT e.execution_id, e.fills_quantity, json_group_array(f.quantity) AS quantities"
        # By the order: its fills may have been there before anybody knew whose it is.
        " FROM trade_executions e LEFT JOIN fills f ON f.broker_order_id = e.alpaca_order_id"
        " GROUP BY e.execution_id"
        " HAVING count(f.fill_id) > 1 OR coalesce(max(f.quantity), '0') <> e.fills_quantity"
    ):
        total = sum((money.parse(each) for each in json.loads(row["quantities"]) if each), money.ZERO)
        if total != money.parse(row["fills_quantity"]):
            text = f"its fills come to {money.to_text(total)}, and it sums them up to {row['fills_quantity']}"
            yield row["execution_id"], text
