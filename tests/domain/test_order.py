"""Every order type that Alpaca takes for equities, from flags and from NDJSON; and what none can be."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli, scalar
from tests.fakes.books import Books
from tests.fakes.direct import DirectBroker
from tradelog import prices
from tradelog.config.schema import Config
from tradelog.decide import record
from tradelog.domain.order import TimeInForce, parse_terms
from tradelog.errors import InvalidDecision
from tradelog.execute.brokers.base import WireOrder
from tradelog.execute.brokers.simulated import SimulatedBroker
from tradelog.prices import Prices
from tradelog.store.writer import Writer

# What is typed, and the body that goes out for it.
ORDERS: list[tuple[list[str], dict[str, Any], dict[str, Any]]] = [
    (["buy", "10", "AAPL"], {"quantity": "10"}, {"type": "market", "qty": "10"}),
    (
        ["buy", "10", "AAPL", "--limit", "99.5", "--tif", "gtc"],
        {"quantity": "10", "order_type": "limit", "limit_price": "99.5", "time_in_force": "gtc"},
        {"type": "limit", "qty": "10", "limit_price": "99.5", "time_in_force": "gtc"},
    ),
    (
        ["sell", "10", "AAPL", "--stop", "90"],
        {"side": "sell", "quantity": "10", "order_type": "stop", "stop_price": "90"},
        {"type": "stop", "qty": "10", "stop_price": "90", "side": "sell"},
    ),
    (
        ["buy", "10", "AAPL", "--stop", "110", "--limit", "111"],
        {"quantity": "10", "order_type": "stop_limit", "stop_price": "110", "limit_price": "111"},
        {"type": "stop_limit", "qty": "10", "stop_price": "110", "limit_price": "111"},
    ),
    (
        ["sell", "10", "AAPL", "--trail", "2.5", "--tif", "gtc"],
        {
            **{"side": "sell", "quantity": "10", "order_type": "trailing_stop"},
            **{"trail_price": "2.5", "time_in_force": "gtc"},
        },
        {"type": "trailing_stop", "qty": "10", "trail_price": "2.5", "time_in_force": "gtc", "side": "sell"},
    ),
    (
        ["sell", "10", "AAPL", "--trail", "5%"],
        {"side": "sell", "quantity": "10", "order_type": "trailing_stop", "trail_percent": "5"},
        {"type": "trailing_stop", "qty": "10", "trail_percent": "5", "side": "sell"},
    ),
    (["buy", "0.123456789", "AAPL"], {"quantity": "0.123456789"}, {"type": "market", "qty": "0.123456789"}),
    (["buy", "--notional", "50.25", "AAPL"], {"notional": "50.25"}, {"type": "market", "notional": "50.25"}),
    (
        ["buy", "--notional", "50", "AAPL", "--limit", "100"],
        {"notional": "50", "order_type": "limit", "limit_price": "100"},
        {"type": "limit", "notional": "50", "limit_price": "100"},
    ),
    (
        ["buy", "10", "AAPL", "--limit", "100", "--extended-hours"],
        {"quantity": "10", "order_type": "limit", "limit_price": "100", "extended_hours": True},
        {"type": "limit", "qty": "10", "limit_price": "100", "extended_hours": True},
    ),
    (
        ["buy", "10", "AAPL", "--tif", "opg"],
        {"quantity": "10", "time_in_force": "opg"},
        {"type": "market", "qty": "10", "time_in_force": "opg"},
    ),
]


@pytest.mark.parametrize(("flags", "line", "body"), ORDERS)
def test_an_order_by_flags_and_by_ndjson_is_the_same(
    flags: list[str], line: dict[str, Any], body: dict[str, Any], cli: Cli, writer: Writer
) -> None:
    from tradelog.execute.outbox.claims import wire_order

    assert cli("decide", *flags, "--why", "x").code == 0
    text = json.dumps({"strategy": "bot", "rationale": "x", "symbol": "AAPL", "side": "buy"} | line)
    assert cli("decide", "--input", "-", stdin=text).code == 0
    rows = writer.rows("SELECT * FROM trade_decisions ORDER BY id")
    bodies = [wire_order(row).body() for row in rows]
    for sent in bodies:
        del sent["client_order_id"]
    expected = {"symbol": "AAPL", "side": "buy", "time_in_force": "day"} | body
    assert bodies == [expected, expected]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"order_type": "trailing_stop"}, "trail_price"),
        ({"order_type": "trailing_stop", "trail_price": "1", "trail_percent": "1"}, "trail_price"),
        ({"order_type": "trailing_stop", "trail_price": "0"}, "trail_price"),
        ({"order_type": "trailing_stop", "trail_price": "1.005"}, "trail_price"),
        ({"order_type": "trailing_stop", "trail_percent": "100"}, "trail_percent"),
        ({"order_type": "trailing_stop", "trail_percent": "1.005"}, "trail_percent"),
        ({"order_type": "trailing_stop", "trail_percent": "5", "quantity": "1.5"}, "quantity"),
        ({"order_type": "trailing_stop", "trail_percent": "5", "time_in_force": "ioc"}, "time_in_force"),
        ({"order_type": "trailing_stop", "trail_percent": "5", "extended_hours": True}, "extended_hours"),
        ({"trail_price": "1"}, "trail_price"),
        ({"order_type": "stop", "stop_price": "1", "trail_percent": "5"}, "trail_percent"),
        ({"order_type": "stop", "stop_price": "1", "time_in_force": "opg"}, "time_in_force"),
        ({"order_type": "bracket"}, "order_type"),
        ({"quantity": "NaN"}, "quantity"),
        ({"quantity": "-1"}, "quantity"),
        ({"quantity": None}, "quantity"),
        ({"notional": "5"}, "quantity"),
        ({"quantity": None, "notional": "5.001"}, "notional"),
        ({"quantity": "0.0000000001"}, "quantity"),
        ({"symbol": "A APL"}, "symbol"),
        ({"symbol": "$AAPL"}, "symbol"),
        ({"side": "hold"}, "side"),
        ({"order_type": "limit"}, "limit_price"),
        ({"order_type": "limit", "limit_price": "1.001"}, "limit_price"),
        ({"time_in_force": "forever"}, "time_in_force"),
        ({"quantity": "1.5", "time_in_force": "gtc"}, "time_in_force"),
    ],
)
def test_what_cannot_be_an_order_names_its_field(values: dict[str, Any], field: str) -> None:
    given = {"symbol": "AAPL", "side": "buy", "quantity": "10"} | values
    with pytest.raises(InvalidDecision) as caught:
        parse_terms(given)
    assert caught.value.field == field


@pytest.mark.parametrize("symbol", ["BRK.B", "BTC/USD", "brk.b", "A", "PBR-A"])
def test_symbols_with_dots_and_slashes_are_fine(symbol: str) -> None:
    assert parse_terms({"symbol": symbol, "side": "buy", "quantity": "1"}).symbol == symbol.upper()


def wire(**changes: Any) -> WireOrder:
    values: dict[str, Any] = {
        **{"client_order_id": "x", "symbol": "AAPL", "side": "sell", "quantity": Decimal(10)},
        **{"notional": None, "order_type": "trailing_stop", "limit_price": None, "stop_price": None},
        **{"time_in_force": "gtc", "extended_hours": False},
    }
    return WireOrder(**(values | changes))


def at(home: Path, price: str, day: str) -> Prices:
    path = home / "seen.csv"
    path.write_text(f"symbol,date,close,volume\nAAPL,{day},{price},\n")
    return prices.load(path)


@pytest.mark.parametrize(
    ("side", "trail", "path", "filled_at"),
    [
        ("sell", {"trail_price": Decimal(5)}, ["100", "110", "106", "105"], "105"),
        ("sell", {"trail_percent": Decimal(10)}, ["100", "120", "109", "108"], "108"),
        ("sell", {"trail_percent": Decimal(10)}, ["100", "91", "95"], None),
        ("buy", {"trail_price": Decimal(5)}, ["100", "90", "94", "95"], "95"),
        ("buy", {"trail_percent": Decimal(10)}, ["100", "104", "109"], None),
    ],
)
def test_a_simulated_trailing_stop_follows_the_best_price(
    side: str, trail: dict[str, Any], path: list[str], filled_at: str | None, home: Path
) -> None:
    """It rests where it is placed, and fills at the first price seen that is back by its trail."""
    broker = SimulatedBroker(home / "b.db", at(home, "100", "2026-01-01"), cash=Decimal(50_000))
    bought = wire(client_order_id="first", side="buy", quantity=Decimal(20), order_type="market")
    assert broker.submit(bought).status == 200
    placed = broker.submit(wire(side=side, **trail)).json()
    assert placed["status"] == "new"
    broker.close()
    result = placed
    for number, price in enumerate(path, 2):
        assert result["status"] == "new", (price, result)
        broker = SimulatedBroker(home / "b.db", at(home, price, f"2026-01-0{number}"), cash=Decimal(1))
        result = broker.order(placed["id"]).json()
        broker.close()
    assert result["status"] == ("filled" if filled_at else "new")
    assert result["filled_avg_price"] == filled_at


def test_both_brokers_take_what_was_decided_or_refuse_it_clearly(home: Path) -> None:
    simulated = SimulatedBroker(home / "b.db", at(home, "100", "2026-01-01"), cash=Decimal(50_000))
    refused = simulated.submit(wire(side="buy", order_type="market", time_in_force="opg"))
    assert (refused.status, "takes no opg" in refused.text()[0]) == (422, True)
    books = DirectBroker(Books())
    sent = books.submit(wire(side="buy", trail_percent=Decimal(5)))
    assert sent.status == 200
    assert json.loads(sent.request_body or "")["trail_percent"] == "5"


def test_nothing_is_recorded_of_what_cannot_be(cli: Cli, writer: Writer) -> None:
    ended = cli("decide", "sell", "1.5", "AAPL", "--trail", "5%", "--why", "x")
    assert ended.code == 2
    assert "quantity" in ended.err
    assert cli("decide", "buy", "1", "AAPL", "--type", "market", "--limit", "5", "--why", "x").code == 2
    assert scalar(writer, "SELECT count(*) FROM trade_decisions") == 0


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"symbol": None}, "symbol", "symbol: is missing"),
        ({"symbol": 5}, "symbol", "symbol: is missing"),
        ({"symbol": "  "}, "symbol", "symbol: is missing"),
        ({"side": None}, "side", "side: is missing"),
        ({"side": "long"}, "side", "side: 'long' is not known"),
    ],
)
def test_missing_and_wrong_fields_have_different_messages(
    values: dict[str, object], field: str, message: str
) -> None:
    with pytest.raises(InvalidDecision) as refused:
        parse_terms({"symbol": "AAPL", "side": "buy", "quantity": "1"} | values)
    assert (refused.value.field, refused.value.message) == (field, message)


@pytest.mark.parametrize(
    ("percent", "is_one"), [("99.99", True), ("0.01", True), ("100", False), ("5.001", False)]
)
def test_a_trail_in_percent_is_below_a_hundred_with_two_decimals(percent: str, is_one: bool) -> None:
    values = {"symbol": "AAPL", "side": "sell", "quantity": "1", "order_type": "trailing_stop"}
    if is_one:
        assert str(parse_terms(values | {"trail_percent": percent}).trail_percent) == percent
    else:
        with pytest.raises(InvalidDecision, match="below 100, with two decimals"):
            parse_terms(values | {"trail_percent": percent})


ORDER = {"strategy": "bot", "rationale": "x", "symbol": "AAPL", "side": "buy", "quantity": "1"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("strategy", value) for value in (None, 5, "", "   ", "a\nb", "\x1b[31m", ["bot"])),
        *(("inputs", value) for value in (5, "12", {1: 2}, [0], [-1], [2**63], ["1"], [1.5], [True], [None])),
        *(("rationale", value) for value in (5, ["x"], None, "", "  ", {})),
        *(("key", value) for value in (5, "", " ", "a\nb", "x" * 129)),
    ],
)
def test_what_a_decision_cannot_hold(name: str, value: object) -> None:
    with pytest.raises(InvalidDecision) as refused:
        record.parse({**ORDER, name: value})
    assert refused.value.field == name


def test_inputs_are_kept_once_and_in_order() -> None:
    values = ORDER | {"inputs": (3, 1, 3, 2**63 - 1)}
    assert record.parse(values).inputs == (1, 3, 2**63 - 1)
    assert record.parse(values | {"strategy": " bot "}).strategy == "bot"
    assert record.parse(values | {"rationale": "a text"}).rationale == {"why": "a text"}


def test_a_given_data_lineage_is_replaced_by_the_true_one(writer: Writer, config: Config) -> None:
    """A caller's own ``data_lineage`` is replaced by the runs of exactly the versions that are linked."""
    forged = {"why": "x", "data_lineage": {"ingestion_runs": ["run_of_somebody_else"]}}
    recorded = record.record(writer, config.account, record.parse(ORDER | {"rationale": forged}))
    text = scalar(
        writer, "SELECT decision_rationale FROM trade_decisions WHERE decision_id = ?", recorded.decision_id
    )
    assert json.loads(text) == {"why": "x", "data_lineage": {"ingestion_runs": []}}


@pytest.mark.parametrize(
    ("trail", "other"), [("trail_price", "trail_percent"), ("trail_percent", "trail_price")]
)
def test_a_trail_is_part_of_what_was_meant(writer: Writer, config: Config, trail: str, other: str) -> None:
    values = ORDER | {"order_type": "trailing_stop", trail: "5"}
    recorded = record.record(writer, config.account, record.parse(values))
    (row,) = writer.rows("SELECT * FROM trade_decisions WHERE decision_id = ?", (recorded.decision_id,))
    assert (row[trail], row[other]) == ("5", None)


@pytest.mark.parametrize(
    ("values", "is_one"),
    [
        ({"quantity": "0.123456789"}, True),
        ({"quantity": "0.1234567891"}, False),
        ({"notional": "1.25"}, True),
        ({"notional": "1.255"}, False),
    ],
)
def test_a_size_has_nine_decimals_of_a_share_or_cents(values: dict[str, str], is_one: bool) -> None:
    given = {"symbol": "AAPL", "side": "buy"} | values
    if is_one:
        assert parse_terms(given)
    else:
        with pytest.raises(InvalidDecision, match=r"nine decimals|parts of a cent"):
            parse_terms(given)


@pytest.mark.parametrize("order_type", ["market", "limit"])
@pytest.mark.parametrize("time_in_force", tuple(TimeInForce))
def test_extended_hours_take_limit_orders_for_the_day_or_until_cancelled(
    order_type: str, time_in_force: str
) -> None:
    given = {"symbol": "AAPL", "side": "buy", "quantity": "1", "extended_hours": True}
    given |= {"order_type": order_type, "time_in_force": time_in_force}
    given |= {"limit_price": "100"} if order_type == "limit" else {}
    if order_type == "limit" and time_in_force in ("day", "gtc"):
        assert parse_terms(given).extended_hours
    else:
        with pytest.raises(InvalidDecision) as refused:
            parse_terms(given)
        assert refused.value.field == "extended_hours"
