"""Record mode: the bot gets what alpaca-py gives, and the log has what was sent, before and after."""

from __future__ import annotations

import json
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient as SdkTradingClient
from alpaca.trading.enums import OrderClass, OrderSide, TimeInForce
from alpaca.trading.requests import (
    ClosePositionRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    OptionLegRequest,
    ReplaceOrderRequest,
    StopLossRequest,
    TakeProfitRequest,
)

import tradelog
from tests.adopt.conftest import Make
from tests.conftest import scalar
from tests.execute import driving
from tests.fakes.alpaca import Fault
from tests.fakes.desk import Desk, bodies
from tradelog.adopt.recording import Unrecorded
from tradelog.alpaca import TradingClient
from tradelog.config.schema import Config
from tradelog.errors import InvalidDecision, StoreError, StoreLocked, StoreUnwritable
from tradelog.execute import recorded
from tradelog.execute.track import orders
from tradelog.execute.track.orders import Owner
from tradelog.execute.worker import Worker
from tradelog.store.writer import Writer


def market(quantity: float = 1, symbol: str = "AAPL", **more: Any) -> MarketOrderRequest:
    values = {"symbol": symbol, "qty": quantity, "side": OrderSide.BUY, "time_in_force": TimeInForce.DAY}
    return MarketOrderRequest(**(values | more))


def limit(price: float = 90, **more: Any) -> LimitOrderRequest:
    values = {"symbol": "AAPL", "qty": 2, "side": OrderSide.BUY, "time_in_force": TimeInForce.GTC}
    return LimitOrderRequest(limit_price=price, **(values | more))


def decisions(writer: Writer) -> list[dict[str, Any]]:
    return writer.rows("SELECT * FROM trade_decisions ORDER BY id")


def attempts(writer: Writer) -> list[dict[str, Any]]:
    return writer.rows("SELECT * FROM trade_executions ORDER BY id")


def commands(writer: Writer) -> list[dict[str, Any]]:
    return writer.rows("SELECT * FROM client_commands ORDER BY id")


def exchanges(writer: Writer) -> list[tuple[str, int | None, str | None]]:
    rows = writer.rows("SELECT purpose, status, proves FROM broker_calls ORDER BY call_id")
    return [(row["purpose"], row["status"], row["proves"]) for row in rows]


def alerts(writer: Writer) -> list[str]:
    rows = writer.rows("SELECT kind FROM alerts WHERE acknowledged_at IS NULL ORDER BY alert_id")
    return [row["kind"] for row in rows]


# The same script, with and without.


def script(client: SdkTradingClient, desk: Desk) -> list[str]:
    """What a bot does in a day, and all that it gets; what is random is numbered as it comes."""
    seen: list[str] = []

    def tell(value: object) -> None:
        seen.append(f"{type(value).__module__}.{type(value).__name__} {value!r}")

    def attempt(call: Any) -> None:
        try:
            tell(call())
        except Exception as error:
            tell(error)
            for name in ("code", "message", "status_code"):
                tell(_read(error, name))

    desk.fills = False
    attempt(lambda: client.submit_order(limit()))
    order = next(iter(desk.orders.values()))
    attempt(lambda: client.get_order_by_id(order["id"]))
    attempt(lambda: client.replace_order_by_id(order["id"], ReplaceOrderRequest(qty=3)))
    attempt(lambda: client.get_orders(GetOrdersRequest(limit=5)))
    attempt(client.cancel_orders)
    for item in list(desk.orders.values()):
        if item["status"] == "pending_cancel":
            desk.end(item["id"], "canceled")
    attempt(lambda: client.cancel_order_by_id(order["id"]))
    desk.fills = True
    attempt(lambda: client.submit_order(market(5, client_order_id="mine-1")))
    attempt(lambda: client.submit_order(market(5, client_order_id="mine-1")))
    attempt(lambda: client.submit_order(market(10**6)))
    attempt(lambda: client.submit_order(market(1, "NOPE")))
    attempt(lambda: client.close_position("AAPL", ClosePositionRequest(qty="2")))
    attempt(lambda: client.close_position("MSFT"))
    attempt(lambda: client.close_all_positions(cancel_orders=True))
    attempt(client.get_all_positions)
    attempt(lambda: client.exercise_options_position("AAPL261218C00100000"))
    desk.faults.append(Fault(status=500, body=b"<html>oops</html>"))
    with pytest.raises(json.JSONDecodeError):
        # The SDK's own trouble with an answer that is no JSON.
        try:
            client.submit_order(market())
        except APIError as error:
            _ = error.code
    desk.faults.append(Fault(status=429, body=b"{}", times=9))
    attempt(lambda: client.submit_order(market()))
    desk.faults.clear()
    desk.faults.append(Fault(drop=True))
    attempt(lambda: client.submit_order(market()))
    return [_numbered(item) for item in seen]


def _read(error: Exception, name: str) -> object:
    """An attribute of an exception; alpaca-py parses the body when asked, and raises what that raises."""
    try:
        return getattr(error, name, None)
    except Exception as trouble:
        return repr(trouble)


def _numbered(text: str) -> str:
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|tl-[0-9a-z-]+", "ID", text)
    text = re.sub(r"datetime\.datetime\([^)]*\)|\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME", text)
    return re.sub(r"0x[0-9a-f]+|127.0.0.1', port=\d+", "X", text)


def _on_wire(desk: Desk) -> list[tuple[str, str, bytes]]:
    """Requests as they came, but for the client order ids that were filled in."""
    return [
        (
            item.method,
            re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", item.path),
            re.sub(rb', "client_order_id": "tl-[0-9a-z-]+"', b"", item.body),
        )
        for item in desk.seen
    ]


@pytest.mark.parametrize("mode", ["off", "record"])
@pytest.mark.parametrize("raw", [False, True])
def test_a_bot_sees_no_difference(config: Config, desk: Desk, mode: str, raw: bool) -> None:
    """Wire bytes, answers and exceptions of the whole script are those of alpaca-py."""
    from tests.fakes.alpaca import KEYS

    first, second = Desk(), Desk()
    try:
        plain = SdkTradingClient(*KEYS, url_override=first.url, raw_data=raw)
        config.path.write_text(config.path.read_text().replace(desk.url, second.url))
        ours = TradingClient(*KEYS, url_override=second.url, raw_data=raw, mode=mode, config=config.path)
        plain._retry_wait = ours._retry_wait = 0
        assert isinstance(ours, SdkTradingClient)
        assert script(ours, second) == script(plain, first)
        assert _on_wire(second) == _on_wire(first)
    finally:
        first.close()
        second.close()


def test_the_log_of_that_script(client: TradingClient, desk: Desk, writer: Writer) -> None:
    script(client, desk)
    assert [(row["status"], row["failure_code"]) for row in decisions(writer)] == [
        ("executing", None),
        ("executing", None),
        ("failed", "duplicate_client_order_id"),
        ("failed", "insufficient_buying_power"),
        ("failed", "not_tradable"),
        ("executing", None),  # closed by two
        ("executing", None),  # and by all
        ("executing", None),  # HTML
        ("failed", "not_placed"),  # throttled to the end
        ("executing", None),  # dropped
    ]
    assert [(row["kind"], row["status"]) for row in commands(writer)] == [
        ("replace", "done"),
        ("cancel_all", "done"),
        ("cancel", "refused"),
        ("close", "done"),
        ("close", "refused"),
        ("close_all", "done"),
        ("exercise", "done"),
    ]
    assert [row["status"] for row in attempts(writer)] == [
        *("accepted", "accepted", "accepted", "rejected", "rejected", "rejected", "accepted", "accepted"),
        *("unknown", "not_accepted", "unknown"),
    ]
    posts = sum(item.method == "POST" and item.path == "/v2/orders" for item in desk.seen)
    assert scalar(writer, "SELECT count(*) FROM broker_calls WHERE purpose = 'submit'") == posts


def test_an_order_is_on_record_before_it_leaves(
    client: TradingClient, desk: Desk, writer: Writer, config: Config
) -> None:
    """Invariant 1: seen from the broker's side, the decision and its attempt are committed."""
    found: list[Any] = []

    def look() -> None:
        with sqlite3.connect(config.store_path) as reader:
            found.append(reader.execute("SELECT status, client_order_id FROM trade_executions").fetchall())
        reader.close()

    desk.asked = look
    order = client.submit_order(market())
    assert found == [[("sending", order.client_order_id)]]
    (decision,) = decisions(writer)
    assert (decision["recorded"], decision["adopted"], decision["strategy_name"]) == (1, 0, "my-bot")
    assert order.client_order_id.startswith(f"tl-{decision['decision_id'][4:]}")


# Repetitions of the SDK.


@pytest.mark.parametrize("own", [None, "mine-7"])
def test_a_repetition_of_an_order_that_had_landed_is_one_order(
    client: TradingClient, plain: SdkTradingClient, desk: Desk, writer: Writer, own: str | None
) -> None:
    """The two-orders case: 504 after accepting. Without the client it is two orders."""
    desk.faults.append(Fault(accept=True, status=504, body=b"{}"))
    if own is None:
        plain.submit_order(market())
        assert len(desk.orders) == 2
        desk.orders.clear()
        desk.faults.append(Fault(accept=True, status=504, body=b"{}"))
    order = client.submit_order(market(client_order_id=own))
    assert list(desk.orders) == [str(order.id)]
    assert exchanges(writer) == [
        ("submit", 504, "unknown"),
        ("submit", 422, "duplicate"),
        ("lookup", 200, "order"),
    ]
    (attempt,) = attempts(writer)
    assert (attempt["status"], attempt["alpaca_order_id"]) == ("filled", str(order.id))
    assert decisions(writer)[0]["status"] == "executed"
    assert alerts(writer) == []


def test_every_attempt_of_the_sdk_is_kept(client: TradingClient, desk: Desk, writer: Writer) -> None:
    desk.faults.append(Fault(status=429, body=b'{"message": "slow down"}', times=2))
    client.submit_order(market())
    assert exchanges(writer) == [("submit", 429, "throttled")] * 2 + [("submit", 200, "order")]
    (attempt,) = attempts(writer)
    assert attempt["resent_at"] is not None
    assert len({row["client_order_id"] for row in bodies(desk)}) == 1


@pytest.mark.parametrize(
    ("fault", "attempt", "code"),
    [
        (Fault(status=429, body=b'{"message": "x"}', times=4), "not_accepted", "not_placed"),
        (Fault(status=401, body=b'{"message": "x"}'), "not_accepted", "not_placed"),
        (Fault(status=403, body=b'{"message": "forbidden."}'), "not_accepted", "not_placed"),
        (
            Fault(status=403, body=b'{"message": "insufficient buying power"}'),
            "rejected",
            "insufficient_buying_power",
        ),
        (Fault(status=422, body=b'{"message": "odd"}'), "rejected", "invalid_order"),
    ],
)
def test_a_refusal_ends_it(
    client: TradingClient, desk: Desk, writer: Writer, fault: Fault, attempt: str, code: str
) -> None:
    desk.faults.append(fault)
    with pytest.raises(APIError):
        client.submit_order(market())
    assert attempts(writer)[0]["status"] == attempt
    assert (decisions(writer)[0]["status"], decisions(writer)[0]["failure_code"]) == ("failed", code)
    assert alerts(writer) == ["trade_failed"]


def test_a_refusal_after_an_unclear_answer_proves_nothing(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker
) -> None:
    """The first may have landed and taken the buying power: it is looked up."""
    desk.faults.append(Fault(accept=True, status=504, body=b"{}"))
    desk.faults.append(Fault(status=403, body=b'{"message": "insufficient buying power"}'))
    with pytest.raises(APIError):
        client.submit_order(market())
    (decision,) = decisions(writer)
    assert attempts(writer)[0]["status"] == "unknown"
    assert driving.settle(worker, writer, decision["decision_id"])[0] == "executed"
    assert alerts(writer) == []


def test_what_never_left_is_not_placed(make: Make, desk: Desk, writer: Writer) -> None:
    client = make()
    desk.close()
    with pytest.raises(requests.ConnectionError):
        client.submit_order(market())
    assert attempts(writer)[0]["status"] == "not_sent"
    assert decisions(writer)[0]["failure_code"] == "not_placed"


# Beside a worker.


@pytest.mark.parametrize("accept", [True, False])
def test_an_unknown_outcome_is_looked_up_and_never_submitted(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker, accept: bool
) -> None:
    desk.faults.append(Fault(accept=accept, drop=True))
    with pytest.raises(requests.ConnectionError):
        client.submit_order(market())
    (decision,) = decisions(writer)
    assert (attempts(writer)[0]["status"], alerts(writer)) == ("unknown", ["outcome_unknown"])
    expected = ("executed", "filled", None) if accept else ("failed", "not_accepted", "not_placed")
    assert driving.settle(worker, writer, decision["decision_id"]) == expected
    assert desk.count("POST") == 1
    assert alerts(writer) == ([] if accept else ["trade_failed"])


def test_an_absent_order_that_turns_up_counts(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker
) -> None:
    desk.faults.append(Fault(drop=True))
    with pytest.raises(requests.ConnectionError):
        client.submit_order(market(client_order_id="late"))
    (decision,) = decisions(writer)
    assert driving.settle(worker, writer, decision["decision_id"])[0] == "failed"
    desk.place(
        {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}
        | {"client_order_id": "late"}
    )
    worker.reconcile()
    assert driving.state(writer, decision["decision_id"]) == ("executed", "filled", None)
    assert len(decisions(writer)) == 1
    assert alerts(writer) == []


def test_a_worker_that_was_faster_than_the_answer(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker
) -> None:
    """It reconciles while the bot waits: the older answer comes after, and is no step back."""

    def reconcile() -> None:
        reconciled = worker.reconcile()
        assert reconciled.missing is None

    desk.placed = reconcile
    writer.connection.close()
    from tradelog.store.opening import open_writer

    shared = open_writer(client._log.config.store_path, check_same_thread=False)  # type: ignore[union-attr]
    writer.connection = shared.connection
    client.submit_order(market())
    assert [row["status"] for row in attempts(writer)] == ["filled"]
    assert alerts(writer) == []
    assert (len(decisions(writer)), decisions(writer)[0]["status"]) == (1, "executed")


@pytest.mark.parametrize(
    ("known", "answered", "is_applied"),
    [
        ("2026-03-06T15:00:01Z", "2026-03-06T15:00:00Z", False),
        ("2026-03-06T15:00:00Z", "2026-03-06T15:00:00Z", False),
        ("2026-03-06T15:00:00Z", "2026-03-06T15:00:01Z", True),
        ("2026-03-06T15:00:00Z", None, True),
        (None, "2026-03-06T15:00:00Z", True),
    ],
)
def test_an_answer_counts_unless_a_later_one_was_there(
    client: TradingClient, writer: Writer, known: str | None, answered: str | None, is_applied: bool
) -> None:
    client.submit_order(market())
    (attempt,) = attempts(writer)
    order = json.loads(scalar(writer, "SELECT raw FROM alpaca_orders"))
    owner = Owner(attempt["execution_id"], attempt["decision_id"])
    account = client._log.account  # type: ignore[union-attr]
    with writer.transaction() as tx:
        orders.apply_order(tx, account, owner, order | {"updated_at": known, "status": "new"}, "poll", None)
        tx.journal_rest("test", "known")
    with writer.transaction() as tx:
        recorded._apply(tx, account, owner, order | {"updated_at": answered, "status": "held"}, 1)
        tx.journal_rest("test", "answered")
    assert scalar(writer, "SELECT status FROM alpaca_orders") == ("held" if is_applied else "new")


def test_an_order_without_terms_among_the_children_is_kept_as_foreign(
    make: Make, desk: Desk, writer: Writer
) -> None:
    """It is no simple order: it is known, and nobody's."""
    client = make(raw_data=True)
    client.submit_order(market(5))
    desk.reply_changes = {"side": None}
    client.close_position("AAPL")
    assert [(row["kind"], row["status"]) for row in commands(writer)] == [("close", "done")]
    assert [row["parent"] for row in decisions(writer)] == [None]
    assert scalar(writer, "SELECT count(*) FROM alpaca_orders WHERE execution_id IS NULL") == 1


def test_a_command_keeps_the_broker_s_word_where_it_refused(
    client: TradingClient, desk: Desk, writer: Writer
) -> None:
    desk.fills = False
    order = client.submit_order(limit())
    client.cancel_order_by_id(order.id)  # type: ignore[union-attr]
    with pytest.raises(APIError):
        client.close_position("MSFT")
    assert [(row["status"], row["message"]) for row in commands(writer)] == [
        ("done", None),
        ("refused", "position does not exist"),
    ]


def test_the_lease_of_an_answered_order_ends_and_that_of_another_stays(
    client: TradingClient, desk: Desk, writer: Writer
) -> None:
    with writer.transaction() as tx:
        recorded.insert(
            tx,
            client._log.account,  # type: ignore[union-attr]
            recorded.Reason("x", {"why": "y"}),
            {"symbol": "MSFT", "side": "buy", "qty": "1", "type": "market", "time_in_force": "day"},
            actor="t",
            worker_id="wrk_x",
            lease=timedelta(seconds=60),
        )
    client.submit_order(market())
    owners = {row["symbol"]: row["lease_owner"] for row in decisions(writer)}
    assert owners == {"MSFT": "wrk_x", "AAPL": None}


def test_a_worker_tracks_a_recorded_order_to_its_end(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker
) -> None:
    desk.fills = False
    order = client.submit_order(limit())
    worker.drain()
    worker.reconcile()
    assert desk.count("POST") == 1
    desk.fill(str(order.id), None, "90")
    worker.poll()
    (decision,) = decisions(writer)
    assert driving.state(writer, decision["decision_id"]) == ("executed", "filled", None)
    assert scalar(writer, "SELECT count(*) FROM fills WHERE execution_id IS NOT NULL") == 1
    assert alerts(writer) == []


# Commands.


def test_a_cancel_by_the_bot_is_no_failure(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker
) -> None:
    desk.fills = False
    first, second = client.submit_order(limit()), client.submit_order(limit(80))
    assert client.cancel_order_by_id(first.id) is None
    client.cancel_orders()
    for order in (first, second):
        desk.end(str(order.id), "canceled")
    worker.poll()
    assert [(row["status"], row["failure_code"]) for row in decisions(writer)] == [
        ("cancelled", "cancelled_on_request")
    ] * 2
    assert [(row["kind"], row["target"], row["status"]) for row in commands(writer)] == [
        ("cancel", str(first.id), "done"),
        ("cancel_all", None, "done"),
    ]
    assert alerts(writer) == []


def test_what_others_cancel_is_a_failure_as_before(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker
) -> None:
    desk.fills = False
    kept, other = client.submit_order(limit()), client.submit_order(limit(80))
    client.cancel_order_by_id(other.id)
    desk.end(str(kept.id), "canceled")
    worker.poll()
    assert decisions(writer)[0]["failure_code"] == "canceled_at_broker"


def test_a_replace_continues_the_decision(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker
) -> None:
    desk.fills = False
    order = client.submit_order(limit())
    replaced = client.replace_order_by_id(order.id, ReplaceOrderRequest(qty=3, limit_price=91))
    worker.reconcile()
    (decision,) = decisions(writer)
    old, new = attempts(writer)
    assert (old["status"], new["replaces"], new["quantity"]) == ("replaced", old["execution_id"], "3")
    assert new["alpaca_order_id"] == str(replaced.id)
    assert (decision["status"], alerts(writer)) == ("executing", [])


def test_a_replacement_whose_answer_was_lost_is_no_alarm(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker
) -> None:
    desk.fills = False
    order = client.submit_order(limit())
    desk.faults.append(Fault("PATCH", accept=True, drop=True))
    with pytest.raises(requests.ConnectionError):
        client.replace_order_by_id(order.id, ReplaceOrderRequest(qty=3))
    worker.reconcile()
    assert [row["status"] for row in commands(writer)] == ["unknown"]
    assert [row["status"] for row in attempts(writer)] == ["replaced", "accepted"]
    assert alerts(writer) == []


def test_a_closed_position_is_a_command_with_its_orders_as_children(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker
) -> None:
    for symbol in ("AAPL", "MSFT"):
        client.submit_order(market(5, symbol))
    worker.reconcile()
    with tradelog.because("stop loss"):
        client.close_position("AAPL")
    client.close_all_positions()
    worker.reconcile()
    first, second = commands(writer)
    assert (first["kind"], first["target"], second["kind"]) == ("close", "AAPL", "close_all")
    assert json.loads(first["reason"])["why"] == "stop loss"
    children = decisions(writer)[2:]
    assert [(row["parent"], row["symbol"], row["side"]) for row in children] == [
        (first["command_id"], "AAPL", "sell"),
        (second["command_id"], "MSFT", "sell"),
    ]
    assert json.loads(children[0]["decision_rationale"])["why"] == "stop loss"
    assert {row["status"] for row in children} == {"executed"}
    assert alerts(writer) == []
    calls = writer.rows("SELECT command_id FROM broker_calls WHERE purpose = 'command' ORDER BY call_id")
    assert [row["command_id"] for row in calls] == [first["command_id"], second["command_id"]]


@pytest.mark.parametrize("kind", [OrderClass.BRACKET, OrderClass.OTO])
def test_legs_are_children_of_their_order(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker, kind: OrderClass
) -> None:
    profit = TakeProfitRequest(limit_price=120) if kind is OrderClass.BRACKET else None
    client.submit_order(
        market(2, order_class=kind, take_profit=profit, stop_loss=StopLossRequest(stop_price=80))
    )
    worker.reconcile()
    parent, *legs = decisions(writer)
    assert [row["parent"] for row in legs] == [parent["decision_id"]] * (1 + (profit is not None))
    assert {(row["side"], row["status"], row["recorded"]) for row in legs} == {("sell", "executing", 1)}
    request = json.loads(parent["decision_rationale"])["client"]["request"]
    assert request["stop_loss"] == {"stop_price": "80.0"}
    assert bodies(desk)[0]["order_class"] == kind
    assert alerts(writer) == []


def test_an_order_of_several_legs_is_a_command(client: TradingClient, desk: Desk, writer: Writer) -> None:
    legs = [
        OptionLegRequest(symbol=name, side=side, ratio_qty=1)
        for name, side in (("AAPL261218C00100000", OrderSide.BUY), ("AAPL261218C00110000", OrderSide.SELL))
    ]
    client.submit_order(
        LimitOrderRequest(
            qty=1, limit_price=1, order_class=OrderClass.MLEG, legs=legs, time_in_force=TimeInForce.DAY
        )
    )
    (command,) = commands(writer)
    assert (command["kind"], command["status"]) == ("order", "done")
    assert [(row["symbol"], row["parent"]) for row in decisions(writer)] == [
        (leg.symbol, command["command_id"]) for leg in legs
    ]


# Reasons.


def test_a_reason_and_its_inputs(client: TradingClient, writer: Writer) -> None:
    from tests.ingest.test_run import record as row
    from tradelog.ingest.run import IngestionRun

    with IngestionRun(writer, "data_fetch:x", "x") as run:
        run.add(row())
    version = scalar(writer, "SELECT version_id FROM record_versions")
    with tradelog.because("breakout", inputs=[version]):
        client.submit_order(market())
        with tradelog.because({"signal": "cross", "z": "2.1"}):
            client.submit_order(market())
    client.submit_order(market())
    rationales = [json.loads(item["decision_rationale"]) for item in decisions(writer)]
    assert [item.get("why") for item in rationales] == ["breakout", None, "not given"]
    assert rationales[1]["z"] == "2.1"
    assert [item["run_id"] for item in rationales[0]["data_lineage"]["ingestion_runs"]] == [
        scalar(writer, "SELECT run_id FROM data_ingestion_runs")
    ]
    assert scalar(writer, "SELECT count(*) FROM decision_inputs") == 1


def test_an_input_that_is_not_on_record_stops_the_order(
    client: TradingClient, desk: Desk, writer: Writer
) -> None:
    with tradelog.because("x", inputs=[99]), pytest.raises(InvalidDecision, match="no record version"):
        client.submit_order(market())
    with pytest.raises(InvalidDecision), tradelog.because(" "):
        pass
    assert (desk.seen, decisions(writer)) == ([], [])


def test_floats_are_marked_and_kept_as_sent(client: TradingClient, desk: Desk, writer: Writer) -> None:
    client.submit_order(market(0.1 + 0.2))
    (decision,) = decisions(writer)
    assert decision["quantity"] == "0.30000000000000004"
    assert json.loads(decision["decision_rationale"])["client"]["floats"] == ["qty"]
    assert b'"qty": 0.30000000000000004' in desk.seen[0].body
    assert '"qty": 0.30000000000000004' in scalar(writer, "SELECT request_body FROM broker_calls")


# Threads, forks, and a store that is not there.


def test_200_orders_over_eight_threads(client: TradingClient, desk: Desk, writer: Writer) -> None:
    def submit(number: int) -> str:
        with tradelog.because(f"order {number}"):
            return str(client.submit_order(market(1, f"S{number}")).client_order_id)

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(submit, range(200)))
    rows = decisions(writer)
    assert len(set(ids)) == len(rows) == len(desk.orders) == 200
    for row in rows:
        assert json.loads(row["decision_rationale"])["why"] == f"order {row['symbol'][1:]}"
    assert {row["status"] for row in attempts(writer)} == {"accepted"}
    assert scalar(writer, "SELECT count(*) FROM broker_calls") == 200


def _unreachable(config: Config) -> None:
    config.store_path.parent.mkdir(exist_ok=True)
    config.store_path.write_bytes(b"no store at all, but long enough to look like one" * 30)


def test_without_a_store_no_order_leaves(make: Make, desk: Desk, config: Config) -> None:
    _unreachable(config)
    with pytest.raises(StoreError):
        make()
    assert desk.seen == []


def test_without_a_store_it_goes_on_loudly_where_it_should(
    make: Make, desk: Desk, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    _unreachable(config)
    with pytest.warns(Unrecorded, match="cannot be opened"):
        client = make(on_error="send")
    with pytest.warns(Unrecorded, match="leaves without a record"):
        order = client.submit_order(market())
    assert list(desk.orders) == [str(order.id)]
    assert "leaves without a record" in capsys.readouterr().err
    with pytest.warns(Unrecorded):
        client.cancel_orders()


def test_a_store_that_fills_up_in_between(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer cannot be recorded: the bot has it all the same, and the worker finds the order."""
    whole = Writer.transaction
    calls = iter(range(9))

    def full(self: Writer) -> Any:
        if next(calls) == 1:
            raise StoreUnwritable("the disk is full")
        return whole(self)

    monkeypatch.setattr(Writer, "transaction", full)
    with pytest.warns(Unrecorded, match="answer of the broker could not be recorded"):
        order = client.submit_order(market())
    monkeypatch.setattr(Writer, "transaction", whole)
    assert attempts(writer)[0]["status"] == "sending"
    driving.go(10)
    (decision,) = decisions(writer)
    assert driving.settle(worker, writer, decision["decision_id"])[0] == "executed"
    assert list(desk.orders) == [str(order.id)]
    assert desk.count("POST") == 1


def test_a_locked_store_stops_the_order_before_it_leaves(
    client: TradingClient, desk: Desk, writer: Writer, config: Config
) -> None:
    _hurry(client)
    other = sqlite3.connect(config.store_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreLocked):
        client.submit_order(market())
    other.execute("ROLLBACK")
    assert (desk.posts(), decisions(writer)) == ([], [])
    client.submit_order(market())
    other.close()


def test_a_store_that_is_locked_while_the_answer_comes(
    client: TradingClient, desk: Desk, writer: Writer, worker: Worker, config: Config
) -> None:
    """Somebody holds it for longer than is waited: the bot has its answer, and the worker finds the order."""
    _hurry(client)
    other = sqlite3.connect(config.store_path, isolation_level=None, check_same_thread=False)
    desk.asked = lambda: other.execute("BEGIN IMMEDIATE")
    with pytest.warns(Unrecorded):
        order = client.submit_order(market())
    other.execute("ROLLBACK")
    other.close()
    driving.go(10)
    (decision,) = decisions(writer)
    assert driving.settle(worker, writer, decision["decision_id"])[0] == "executed"
    assert list(desk.orders) == [str(order.id)]


def _hurry(client: TradingClient) -> None:
    """Wait for a locked store no longer than a test may."""
    assert client._log is not None
    client._log.writer.connection.execute("PRAGMA busy_timeout = 50")


def test_off_touches_nothing(make: Make, desk: Desk, config: Config) -> None:
    make(mode="off").submit_order(market())
    assert not config.store_path.exists()
    config.path.write_text(config.path.read_text() + 'mode = "off"\n')
    make().submit_order(market())
    assert not config.store_path.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"paper": False}, "trades on alpaca, live"),
        ({"mode": "both"}, "mode"),
        ({"on_error": "ignore"}, "on_error"),
        ({"strategy": " "}, "strategy must be a name"),
    ],
)
def test_wrong_arguments(make: Make, arguments: dict[str, Any], message: str) -> None:
    from tradelog.errors import ConfigError

    with pytest.raises(ConfigError, match=message):
        make(**arguments)


def test_an_order_at_another_broker_than_configured(home: Path, desk: Desk) -> None:
    from tests.fakes.alpaca import KEYS
    from tradelog.errors import ConfigError

    (home / "simulated.toml").write_text('[store]\nurl = "sqlite:///store/log.db"\n')
    with pytest.raises(ConfigError, match="simulated, paper"):
        TradingClient(*KEYS, url_override=desk.url, config=home / "simulated.toml")
