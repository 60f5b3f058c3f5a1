"""cancel, replace, resolve, status, positions and alerts, as somebody types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Cli, Ended, scalar
from tests.execute.driving import ENVIRONMENT
from tests.fakes.alpaca import FakeAlpaca, Fault
from tradelog.store.writer import Writer


def decide(cli: Cli, *more: str) -> str:
    return str(json.loads(cli("decide", *more, "--why", "x", "--json").out)["decision_id"])


def resting(cli: Cli, **environment: str) -> str:
    decision_id = decide(cli, "buy", "10", "AAPL", "--limit", "90", "--tif", "gtc")
    assert cli("run-worker", "--once", **environment).code == 0
    return decision_id


def one_line(ended: Ended) -> str:
    lines = [item for item in ended.err.splitlines() if item.startswith("error:")]
    assert len(lines) == 1, ended.err
    assert "Traceback" not in ended.err
    return lines[0]


def test_a_day_with_the_simulated_broker(cli: Cli, home: Path) -> None:
    """No keys, no network: the same commands, the same words."""
    with (home / "tradelog.toml").open("a") as stream:
        stream.write("[worker]\nonce_seconds = 1\n")
    assert cli("status").code == 5
    decision_id = resting(cli)
    told = json.loads(cli("status", "--json").out)
    assert [row["decision_id"] for row in told["open_orders"]] == [decision_id]
    assert told["attention"] == []
    replaced = cli("replace", decision_id, "--limit", "95", "--why", "chase")
    assert (replaced.code, replaced.out) == (0, f"{decision_id} replaced; 0 filled\n"), replaced.err
    again = cli("replace", decision_id, "--limit", "95")
    assert again.code == 2
    assert "these terms already" in one_line(again)
    done = cli("cancel", decision_id, "--why", "enough", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["status"] == "done"
    shown = json.loads(cli("show", decision_id, "--json").out)["decision"]
    assert shown["status"] == "cancelled"
    assert [item["kind"] for item in shown["requests"]] == ["replace", "cancel"]
    assert len(shown["order"]["chain"]) == 2
    assert "chase" in cli("show", decision_id).out
    late = cli("cancel", decision_id)
    assert late.code == 2
    assert "cancelled already" in one_line(late)
    bought = decide(cli, "buy", "2", "AAPL")
    assert cli("run-worker", "--once").code == 0
    assert cli("reconcile").code == 0
    held = json.loads(cli("positions", "--json").out)["positions"]
    assert [(row["symbol"], row["expected"], row["broker"]) for row in held] == [("AAPL", "2", "2")]
    assert bought
    assert cli("status").code == 0


def test_a_request_is_found_by_its_own_id(cli: Cli, home: Path, writer: Writer) -> None:
    decision_id = decide(cli, "buy", "1", "AAPL")
    assert (
        cli("cancel", decision_id).out == f"{decision_id} cancelled, it never reached the broker; 0 filled\n"
    )
    request_id = scalar(writer, "SELECT request_id FROM order_requests")
    assert json.loads(cli("show", request_id, "--json").out)["decision"]["decision_id"] == decision_id


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["cancel", "dec_zzzz"], 3, "no id is, or begins with"),
        (["cancel"], 2, ""),
        (["cancel", ""], 2, "too short for an id"),
        (["cancel", "dec_"], 2, "too short for an id"),
        (["resolve", "", "--accept", "--why", "x"], 2, "too short for an id"),
        (["resolve", "ID", "--accept", "--why", "x"], 2, "is no break"),
        (["replace", "dec_zzzz", "--limit", "1"], 3, "no id is, or begins with"),
        (["replace", "ID"], 2, "nothing to change"),
        (["replace", "ID", "--limit", "abc"], 2, "--limit"),
        (["replace", "ID", "--quantity", "-1"], 2, "not above zero"),
        (["replace", "ID", "--tif", "week"], 2, "--tif"),
        (["replace", "ID", "--limit", "1"], 2, "no order at the broker"),
        (["resolve", "ID"], 2, "has no attempt with an unknown outcome"),
        (["resolve", "ID", "--not-placed"], 2, "reason"),
        (["resolve", "ID", "--not-placed", "--seen", "--why", "x"], 2, "one of"),
        (["resolve", "--seen", "--why", "x"], 2, "the id is missing"),
        (["resolve", "ID", "--seen", "--why", "x"], 2, "does not wait"),
        (["resolve", "brk_zzzz", "--accept", "--why", "x"], 3, "no id is, or begins with"),
        (["alerts", "--ack", "x"], 2, "no number"),
        (["alerts", "--ack", "77"], 3, "no open alert"),
    ],
)
def test_wrong_input_gets_one_clear_line(
    cli: Cli, home: Path, arguments: list[str], code: int, words: str
) -> None:
    decision_id = decide(cli, "buy", "1", "AAPL")
    ended = cli(*[decision_id if item == "ID" else item for item in arguments])
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    assert words in ended.err


def test_another_accounts_decision_is_not_touched(cli: Cli, home: Path) -> None:
    decision_id = decide(cli, "buy", "1", "AAPL")
    with (home / "tradelog.toml").open("a") as stream:
        stream.write('[broker]\naccount = "second"\n')
    ended = cli("cancel", decision_id)
    assert ended.code == 2
    assert "default" in one_line(ended)


def test_a_cancel_that_the_broker_does_not_confirm_is_6(cli: Cli, alpaca: Path, fake: FakeAlpaca) -> None:
    fake.fills = False
    fake.stuck_cancels = True
    decision_id = resting(cli, **ENVIRONMENT)
    ended = cli("cancel", decision_id, **ENVIRONMENT)
    assert ended.code == 6
    assert "its end not confirmed" in one_line(ended)
    told = json.loads(cli("status", "--json").out)
    assert [row["status"] for row in told["requests"]] == ["sent"]
    assert [row["broker_status"] for row in told["open_orders"]] == ["pending_cancel"]


def test_a_cancel_without_an_answering_broker_stays_recorded(
    cli: Cli, alpaca: Path, fake: FakeAlpaca
) -> None:
    fake.fills = False
    decision_id = resting(cli, **ENVIRONMENT)
    fake.close()
    ended = cli("cancel", decision_id, **ENVIRONMENT)
    assert ended.code == 6
    assert "req_" in ended.err
    keyless = cli("cancel", decision_id)
    assert keyless.code == 4
    assert json.loads(cli("status", "--json").out)["requests"]


def unknown(cli: Cli, fake: FakeAlpaca) -> str:
    """A decision whose send has no known outcome, though the broker has it."""
    fake.faults.append(Fault(accept=True, drop=True))
    fake.hidden = 10_000
    decision_id = decide(cli, "buy", "1", "AAPL")
    ended = cli("run-worker", "--once", **ENVIRONMENT)
    # Hidden from every look-up by its id; the list has it, but the start has looked at that before.
    assert ended.code == 6, ended.err
    return decision_id


def test_unknown_outcomes_are_listed_looked_up_and_resolved(
    cli: Cli, alpaca: Path, fake: FakeAlpaca, writer: Writer
) -> None:
    decision_id = unknown(cli, fake)
    status = cli("status")
    assert status.code == 6
    assert "1 submission with no known outcome" in one_line(status)
    listed = json.loads(cli("resolve", "--json").out)["unknown"]
    assert [(row["decision_id"], row["status"]) for row in listed] == [(decision_id, "unknown")]
    assert int(listed[0]["lookups"]) >= 1
    assert listed[0]["since"]
    still = cli("resolve", decision_id, **ENVIRONMENT)
    assert still.code == 6
    fake.hidden = 0
    result = cli("resolve", decision_id, "--json", **ENVIRONMENT)
    assert result.code == 0, result.err
    assert json.loads(result.out)["status"] == "executed"
    assert cli("resolve").out == "no unknown outcomes, no breaks\n"
    assert cli("status").code == 0
    assert len(fake.posts()) == 1


def test_manual_resolution_not_placed_ends_the_attempt(
    cli: Cli, alpaca: Path, fake: FakeAlpaca, writer: Writer
) -> None:
    decision_id = unknown(cli, fake)
    text = cli("resolve", decision_id, "--not-placed", "--why", "not on the broker's page")
    assert text.code == 0, text.err
    row = writer.connection.execute("SELECT status, failure_code FROM trade_decisions").fetchone()
    assert row == ("failed", "other")
    event = writer.connection.execute(
        "SELECT kind, reason, old_value FROM control_events WHERE kind LIKE 'resolve%'"
    ).fetchone()
    assert event == ("resolve.not_placed", "not on the broker's page", "unknown")
    assert "not on the broker's page" in cli("show", decision_id).out
    # The word was wrong: the order shows up, and is ours.
    fake.hidden = 0
    cli("reconcile", **ENVIRONMENT)
    assert scalar(writer, "SELECT status FROM trade_decisions") == "executed"
    assert scalar(writer, "SELECT count(*) FROM trade_decisions") == 1


def test_manual_resolution_by_order_id_adopts_it(
    cli: Cli, alpaca: Path, fake: FakeAlpaca, writer: Writer
) -> None:
    decision_id = unknown(cli, fake)
    wrong = cli("resolve", decision_id, "--order", "nonsense", "--why", "x", **ENVIRONMENT)
    assert wrong.code == 3
    path = cli("resolve", decision_id, "--order", "../account", "--why", "x", **ENVIRONMENT)
    assert path.code == 2
    other = fake.place(
        {"symbol": "TSLA", "side": "buy", "qty": "3", "type": "market", "time_in_force": "day"}
    )
    replacement_mismatch = cli("resolve", decision_id, "--order", other[1]["id"], "--why", "x", **ENVIRONMENT)
    assert replacement_mismatch.code == 2
    assert "symbol is TSLA" in one_line(replacement_mismatch)
    order_id = next(iter(fake.orders))
    text = cli("resolve", decision_id, "--order", order_id, "--why", "I see it there", **ENVIRONMENT)
    assert text.code == 0, text.err
    assert scalar(writer, "SELECT status FROM trade_decisions") == "executed"
    assert scalar(writer, "SELECT new_value FROM control_events WHERE kind LIKE 'resolve%'") == order_id
    assert (
        scalar(writer, "SELECT count(*) FROM trade_executions WHERE filled_quantity <> fills_quantity") == 0
    )


def test_an_alert_is_listed_until_it_is_acknowledged(cli: Cli, home: Path) -> None:
    decide(cli, "buy", "1", "NOPRICE")
    assert cli("run-worker", "--once").code == 0
    status = cli("status")
    assert status.code == 6
    assert "open alert" in one_line(status)
    listed = json.loads(cli("alerts", "--json").out)["alerts"]
    assert [row["kind"] for row in listed] == ["trade_failed"]
    assert cli("alerts", "--ack", str(listed[0]["alert_id"])).out == "1 acknowledged\n"
    assert cli("alerts").out == "no open alerts\n"
    assert cli("status").code == 0


def test_status_needs_attention_for_a_queue_without_a_worker(cli: Cli, home: Path, writer: Writer) -> None:
    decide(cli, "buy", "1", "AAPL")
    told = json.loads(cli("status", "--json").out)
    assert (told["queue"]["pending"], told["queue"]["due"], told["workers"]) == (1, 1, [])
    assert cli("status").code == 0
    assert "none yet" in cli("status").out


def test_status_needs_attention_for_a_worker_that_died(cli: Cli, home: Path, writer: Writer) -> None:
    decide(cli, "buy", "1", "AAPL")
    assert cli("run-worker", "--once").code == 0
    with writer.transaction() as tx:
        tx.unaudited("UPDATE workers SET stopped_at = NULL, pid = 999999")
    ended = cli("status")
    assert ended.code == 6
    assert "ended unexpectedly" in one_line(ended)


def test_status_needs_attention_for_an_overdue_reconciliation(cli: Cli, home: Path, writer: Writer) -> None:
    with (home / "tradelog.toml").open("a") as stream:
        stream.write("[worker]\nonce_seconds = 1\n")
    resting(cli)
    with writer.transaction() as tx:
        tx.unaudited("UPDATE reconcile_marks SET completed_at = '2020-01-01T00:00:00.000000Z'")
    ended = cli("status")
    assert ended.code == 6
    assert "the last reconciliation was" in one_line(ended)
