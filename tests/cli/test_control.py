"""halt, resume, limits, approve, decline, decisions, failures and live trading, as somebody types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import disclosures as d
from tests.cli.terminal import show
from tests.cli.test_orders import decide, one_line, resting
from tests.conftest import Cli, scalar
from tests.execute.driving import ENVIRONMENT
from tests.fakes.alpaca import FakeAlpaca, Fault
from tradelog.config.load import load_config
from tradelog.config.parameters import PARAMETERS
from tradelog.config.risk import RiskConfig
from tradelog.errors import ConfigError
from tradelog.store.writer import Writer

DAY = '"2999-01-01 16:00"'


def ruled(home: Path, text: str) -> None:
    with (home / "tradelog.toml").open("a") as stream:
        stream.write(text)


def statuses(cli: Cli) -> dict[str, str]:
    result = json.loads(cli("decisions", "--json").out)["decisions"]
    return {row["decision_id"]: row["failure_code"] or row["status"] for row in result}


def test_halt_and_resume_with_the_simulated_broker(cli: Cli, home: Path, writer: Writer) -> None:
    ruled(home, "[worker]\nonce_seconds = 1\n")
    open_order = resting(cli)
    halted = cli("halt", "--why", "odd prices", "--cancel-open", "--json")
    assert halted.code == 0, halted.err
    told = json.loads(halted.out)
    assert [(row["decision_id"], row["result"]) for row in told["open_orders"]] == [(open_order, "cancelled")]
    later = decide(cli, "buy", "1", "AAPL")
    # A worker that starts later heeds it, says so, and is no failure.
    ended = cli("run-worker", "--once")
    assert ended.code == 0
    assert "halted: everything" in ended.err
    assert "halted: 1 decision;" in ended.err
    assert statuses(cli)[later] == "pending"
    assert "everything" in cli("status").out
    assert cli("halt", "--why", "again").err.count("was halted already") == 1
    assert one_line(cli("resume", "--why", "fine")) == "error: resuming needs a name"
    assert one_line(cli("resume", "--by", "ann")) == "error: the reason is missing"
    assert cli("resume", "--by", "ann", "--why", "x", "--symbol", "aapl").code == 3
    resumed = cli("resume", "--by", "ann", "--why", "fine")
    assert (resumed.code, resumed.out) == (0, "everything resumed by ann\n")
    assert cli("resume", "--by", "ann", "--why", "fine").code == 3
    assert cli("run-worker", "--once").code == 0
    assert statuses(cli)[later] == "executed"


def test_halts_of_a_strategy_and_a_symbol(cli: Cli, home: Path) -> None:
    assert cli("halt", "--strategy", "manual", "--why", "x").code == 0
    assert cli("halt", "--symbol", "aapl", "--why", "x").code == 0
    assert one_line(cli("halt", "--symbol", "A", "--strategy", "b", "--why", "x"))
    assert one_line(cli("halt", "--symbol", "  ", "--why", "x"))
    assert one_line(cli("halt")) == "error: the reason is missing"
    result = json.loads(cli("limits", "--json").out)["halts"]
    assert [(row["scope"], row["subject"]) for row in result] == [("strategy", "manual"), ("symbol", "AAPL")]
    decide(cli, "buy", "1", "AAPL")
    cli("run-worker", "--once")
    assert list(statuses(cli).values()) == ["pending"]
    left = cli("resume", "--strategy", "manual", "--by", "ann", "--why", "x")
    assert "still halted: symbol AAPL" in left.err


@pytest.mark.parametrize("trouble", ["unknown", "stuck", "silent"])
def test_an_open_order_that_is_not_known_to_be_gone_is_6(
    trouble: str, cli: Cli, alpaca: Path, fake: FakeAlpaca, writer: Writer
) -> None:
    fake.fills = False
    if trouble == "unknown":
        fake.faults += [Fault(drop=True), Fault("GET", status=500, path="by_client", times=50)]
        decide(cli, "buy", "1", "AAPL")
        assert cli("run-worker", "--once", **ENVIRONMENT).code == 6
    else:
        resting(cli, **ENVIRONMENT)
        fake.stuck_cancels = trouble == "stuck"
        if trouble == "silent":
            fake.faults.append(Fault("DELETE", status=503, times=99))
    ended = cli("halt", "--why", "x", "--cancel-open", **ENVIRONMENT)
    assert ended.code == 6, ended.err
    assert "not confirmed" in ended.out
    assert scalar(writer, "SELECT count(*) FROM halts") == 1
    assert scalar(writer, "SELECT count(*) FROM order_requests WHERE kind = 'cancel'") == 1
    assert fake.count("POST") == 1


def test_a_halt_commits_before_it_needs_the_broker(cli: Cli, alpaca: Path, fake: FakeAlpaca) -> None:
    """Without keys, without a network: what stops everything must not depend on either."""
    fake.fills = False
    resting(cli, **ENVIRONMENT)
    ended = cli("halt", "--why", "x", "--cancel-open")
    assert ended.code in (4, 6)
    assert json.loads(cli("limits", "--json").out)["halts"]


def test_limits_with_todays_use(cli: Cli, home: Path) -> None:
    decide(cli, "buy", "3", "AAPL")
    decide(cli, "buy", "20000", "AAPL")
    cli("run-worker", "--once")
    result = {row["name"]: row for row in json.loads(cli("limits", "--json").out)["limits"]}
    assert set(result) == set(RiskConfig.__dataclass_fields__)
    assert result["max_day_notional"]["used"] == "300"
    assert result["max_symbol_notional"]["used"] == "300 in AAPL"
    assert result["max_orders_per_day"]["used"] == "1"
    assert (result["max_order_notional"]["limit"], result["max_order_notional"]["refused"]) == ("1000000", 1)
    assert "max_order_notional" in cli("limits").out


def test_control_events_are_listed(cli: Cli, home: Path) -> None:
    cli("run-worker", "--once")
    assert cli("halt", "--why", "odd", "--strategy", "bott").err.count("is that its name?") == 1
    cli("resume", "--strategy", "bott", "--by", "ann", "--why", "typo")
    cli("limits", "set", "long_only", "off", "--until", "2999-01-01", "--why", "hedge", "--by", "bob")
    result = json.loads(cli("limits", "--history", "--json").out)
    told = [(row["kind"], row["subject"], row["actor"], row["reason"]) for row in result["events"][:3]]
    assert told == [
        ("limit.lifted", "long_only", "bob", "hedge"),
        ("resume", "strategy bott", "ann", "typo"),
        ("halt", "strategy bott", told[2][2], "odd"),
    ]
    assert [result["events"][0][name] for name in ("old_value", "new_value")] == ["on", "off"]
    # The home's file has no table of a strategy: what was noted are the limits.
    assert result["total"] == 3 + len(RiskConfig.__dataclass_fields__)
    assert "hedge" in cli("limits", "--history").out


def test_a_refused_replacement_is_a_refusal(cli: Cli, home: Path) -> None:
    ruled(home, "[worker]\nonce_seconds = 1\n[risk]\nmax_order_notional = 950\n")
    decision_id = resting(cli)
    assert cli("replace", decision_id, "--quantity", "11", "--why", "x").code == 1
    result = json.loads(cli("failures", "--json").out)["failures"]
    assert [(row["stage"], row["reason"], row["count"]) for row in result] == [
        ("risk", "replace: risk.order_notional", 1)
    ]
    assert "replace: risk.order_notional" in cli("failures").out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[strategies.bot]\naproval = true\n", "aproval"),
        ("[strategies.bot]\nmax_order_notional = 5\n", "max_order_notional"),
        ("[strategies.congress]\nmin_member = 5\n", "min_member"),
        ('[risk]\nrestricted_symbols = ["A PL"]\n', "restricted_symbols"),
        ('[risk]\nallowed_symbols = ["BTCUSD"]\n', "BTC/USD"),
        ("[risk]\nmax_age_seconds = 999999999999\n", "\\[risk\\] max_age_seconds"),
        ("[strategies.bot]\napproval_hours = 999999999999\n", "approval_hours"),
    ],
)
def test_an_unknown_key_of_a_strategy_is_an_error(text: str, message: str, home: Path) -> None:
    """What a typing error switches off in silence, nobody misses until it costs."""
    ruled(home, text)
    with pytest.raises(ConfigError, match=message):
        load_config(home / "tradelog.toml")


def test_the_parameters_of_our_strategies_are_known() -> None:
    from tradelog.decide.strategies import installed, load

    assert set(PARAMETERS) == {item.name for item in installed()}
    for name, kind in PARAMETERS.items():
        assert load(name).Parameters is kind


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('min_members = "three"', "[strategies.congress] min_members must be a whole number, not 'three'"),
        ("min_members = 0", "must be at least 1"),
        ('notional = "0"', "notional must be above 0"),
        ('exit = "never"', "exit = 'never' is not known"),
        ("min_member = 3", "unknown key 'min_member' in [strategies.congress]"),
    ],
)
def test_parameters_of_a_strategy_are_checked_as_the_file_is_read(home: Path, line: str, said: str) -> None:
    """By any command: not when the strategy runs, which may be tomorrow's cron."""
    ruled(home, f"[strategies.congress]\n{line}\n")
    ended = show(home, "status")
    assert ended.code == 4
    assert said in ended.err


def test_each_simulated_account_has_a_book_of_its_own(cli: Cli, home: Path) -> None:
    decide(cli, "buy", "5", "AAPL")
    cli("run-worker", "--once")
    ruled(home, '[broker]\naccount = "other"\n')
    sold = decide(cli, "sell", "5", "AAPL")
    cli("run-worker", "--once")
    assert statuses(cli) == {sold: "risk.long_only"}


def test_a_halt_of_one_strategy_cancels_its_orders_only(cli: Cli, home: Path, writer: Writer) -> None:
    ruled(home, "[worker]\nonce_seconds = 1\n")
    order = {
        "strategy": "manual",
        "symbol": "AAPL",
        "side": "buy",
        "quantity": "1",
        "rationale": "x",
        "order_type": "limit",
        "limit_price": "90",
    }
    text = "\n".join(json.dumps({**order, "time_in_force": "gtc", "strategy": name}) for name in "ab")
    first, second = (
        json.loads(line)["decision_id"] for line in cli("decide", "--input", "-", stdin=text).out.splitlines()
    )
    assert cli("run-worker", "--once").code == 0
    ended = cli("halt", "--strategy", "a", "--why", "x", "--cancel-open", "--json")
    told = json.loads(ended.out)["open_orders"]
    assert [(row["decision_id"], row["result"]) for row in told] == [(first, "cancelled")]
    assert statuses(cli)[second] == "executing"
    assert statuses(cli)[first] == "cancelled_on_request"


def test_until_is_in_the_market_s_time(cli: Cli, home: Path, writer: Writer) -> None:
    cli("limits", "set", "long_only", "off", "--until", "2999-01-01 16:00", "--why", "x")
    until = scalar(writer, "SELECT until FROM control_events WHERE kind = 'limit.lifted'")
    assert until == "2999-01-01T21:00:00.000000Z"


def test_a_limit_is_lifted_for_a_while(cli: Cli, home: Path, writer: Writer) -> None:
    lifted = cli("limits", "set", "max_order_notional", "200", "--until", "2999-01-01", "--why", "careful")
    assert lifted.code == 0, lifted.err
    assert "1000000 → 200" in lifted.out
    small, big = decide(cli, "buy", "2", "AAPL"), decide(cli, "buy", "2.01", "AAPL")
    ended = cli("run-worker", "--once")
    assert "max_order_notional 200" in ended.err
    assert statuses(cli) == {small: "executed", big: "risk.order_notional"}
    shown = {row["name"]: row for row in json.loads(cli("limits", "--json").out)["limits"]}
    assert shown["max_order_notional"]["lifted_why"] == "careful"
    back = cli("limits", "set", "max_order_notional", "configured", "--why", "done")
    assert "200 → 1000000" in back.out
    again = decide(cli, "buy", "2.01", "AAPL")
    cli("run-worker", "--once")
    assert statuses(cli)[again] == "executed"


@pytest.mark.parametrize(
    "arguments",
    [
        ("set", "max_order_notional", "5", "--why", "x"),
        ("set", "max_order_notional", "5", "--until", "2999-01-01"),
        ("set", "max_order_notional", "5", "--until", "2020-01-01", "--why", "x"),
        ("set", "max_order_notional", "5", "--until", "tomorrow", "--why", "x"),
        ("--until", "2999-01-01", "--why", "x", "--", "set", "max_order_notional", "-5"),
        ("set", "max_order_notional", "many", "--until", "2999-01-01", "--why", "x"),
        ("set", "max_order_notional", "configured", "--why", "x"),
        ("set", "max_orders_per_day", "1.5", "--until", "2999-01-01", "--why", "x"),
        ("set", "market_hours", "never", "--until", "2999-01-01", "--why", "x"),
        ("set", "long_only", "1", "--until", "2999-01-01", "--why", "x"),
        ("set", "duplicate_window_seconds", "99999999999", "--until", "2999-01-01", "--why", "x"),
        ("set", "max_order_notional", "9" * 5000, "--until", "2999-01-01", "--why", "x"),
        ("set", "max_order_notionl", "configured", "--why", "x"),
        ("set", "allowed_symbols", "AAPL", "--until", "2999-01-01", "--why", "x"),
        ("set", "max_age_seconds", "5", "--until", "2999-01-01", "--why", "x"),
        ("set", "nothing", "5", "--until", "2999-01-01", "--why", "x"),
        ("get", "max_order_notional"),
        ("set", "max_order_notional"),
    ],
)
def test_what_no_limit_can_be(arguments: tuple[str, ...], cli: Cli, home: Path, writer: Writer) -> None:
    ended = cli("limits", *arguments)
    assert ended.code in (2, 4)
    assert one_line(ended)
    assert scalar(writer, "SELECT count(*) FROM control_events") == 0


def test_an_approval_as_a_command(cli: Cli, home: Path, writer: Writer) -> None:
    ruled(home, "[strategies.bot]\napproval = true\n")
    line = {"strategy": "bot", "side": "buy", "quantity": "1", "rationale": "x"}
    text = "\n".join(json.dumps({**line, "symbol": name}) for name in ("AAPL", "MSFT"))
    answers = cli("decide", "--input", "-", stdin=text).out.splitlines()
    recorded = [json.loads(answer)["decision_id"] for answer in answers]
    ended = cli("run-worker", "--once")
    assert ended.code == 0
    assert "waiting for tradelog approve: 2 decisions" in ended.err
    waiting = json.loads(cli("decisions", "--waiting", "--json").out)
    assert [row["decision_id"] for row in waiting["decisions"]] == recorded[::-1]
    assert cli("status").code == 6
    assert cli("approve", recorded[0], "--by", "ann", "--why", "looks right").code == 0
    assert one_line(cli("decline", recorded[1])) == "error: the reason is missing"
    assert cli("decline", recorded[1], "--why", "no").code == 0
    assert "approved already" in one_line(cli("approve", recorded[0]))
    assert "declined already" in one_line(cli("approve", recorded[1]))
    assert "is too short" in one_line(cli("approve", "d"))
    assert cli("approve", "dec_0000000000000000").code == 3
    cli("run-worker", "--once")
    assert statuses(cli) == {recorded[0]: "executed", recorded[1]: "declined"}
    shown = cli("show", recorded[0]).out
    assert "approved by ann" in shown
    assert "looks right" in shown
    by_hand = decide(cli, "buy", "1", "AAPL")
    assert "need no approval" in one_line(cli("approve", by_hand))


def test_every_refusal_is_in_failures(cli: Cli, alpaca: Path, fake: FakeAlpaca) -> None:
    """By our limits, the broker, the venue, time, a person; and what nobody knows."""
    ruled(
        alpaca,
        '[risk]\nrestricted_symbols = ["IBM"]\n[strategies.bot]\napproval = true\n'
        "[strategies.hasty]\nmax_age_seconds = 0\n",
    )
    reasons = {}
    reasons["risk.restricted_symbol"] = decide(cli, "buy", "1", "IBM")
    reasons["risk.long_only"] = decide(cli, "sell", "1", "MSFT")
    reasons["insufficient_buying_power"] = decide(cli, "buy", "9000", "AAPL")
    fake.rejects_later = True
    fake.fills = False
    reasons["rejected_by_venue"] = decide(cli, "buy", "1", "TSLA")
    for strategy, symbol, reason in (("hasty", "F", "expired_unsent"), ("bot", "GE", "declined")):
        line = json.dumps(
            {"strategy": strategy, "symbol": symbol, "side": "buy", "quantity": "1", "rationale": "x"}
        )
        reasons[reason] = json.loads(cli("decide", "--input", "-", stdin=line).out)["decision_id"]
    assert cli("decline", reasons["declined"], "--why", "no").code == 0
    cli("run-worker", "--once", **ENVIRONMENT)
    fake.faults += [Fault(drop=True), Fault("GET", status=500, path="by_client", times=9)]
    reasons["no known outcome"] = decide(cli, "buy", "1", "XOM")
    cli("run-worker", "--once", **ENVIRONMENT)
    result = json.loads(cli("failures", "--json").out)["failures"]
    assert {row["reason"]: row["examples"][0]["decision_id"] for row in result} == reasons
    stages = {row["reason"]: row["stage"] for row in result}
    assert stages == {
        "risk.restricted_symbol": "risk",
        "risk.long_only": "risk",
        "insufficient_buying_power": "broker",
        "rejected_by_venue": "venue",
        "expired_unsent": "expired",
        "declined": "person",
        "no known outcome": "unknown",
    }
    assert all(row["count"] == 1 == sum(row["months"].values()) for row in result)
    text = cli("failures").out
    assert "is on restricted_symbols" in text
    assert cli("failures", "--year", "2020").out.endswith("nothing failed\n")
    only = json.loads(cli("failures", "--strategy", "bot", "--json").out)["failures"]
    assert [row["reason"] for row in only] == ["declined"]


def test_signals_that_were_not_taken_are_listed(cli: Cli, home: Path) -> None:
    rows = [d.house_row(f"Member {n}", "AAPL", d.today(), kind="sale_full") for n in range(3)]
    d.write(home / "h.csv", d.house_csv(rows))
    assert cli("fetch", "congress", "--file", str(home / "h.csv")).code == 0
    assert cli("run-strategy", "congress").code == 0
    result = json.loads(cli("decisions", "--not-taken", "--json").out)
    assert [(row["symbol"], row["reason"]) for row in result["signals"]] == [("AAPL", "no position to sell")]
    assert "no position to sell" in cli("decisions", "--not-taken", "--symbol", "aapl").out
    assert "none" in cli("decisions", "--not-taken", "--symbol", "AAPL", "--year", "2020").out
    nothing = cli("decisions", "--not-taken", "--symbol", "MSFT")
    assert (nothing.code, nothing.err.splitlines()[0]) == (3, "error: nothing is on record of MSFT")
    assert one_line(cli("decisions", "--not-taken", "--status", "failed"))
    assert one_line(cli("decisions", "--status", "gone"))


def test_decisions_are_filtered(cli: Cli, home: Path) -> None:
    first, second = decide(cli, "buy", "1", "AAPL"), decide(cli, "sell", "1", "MSFT")
    cli("run-worker", "--once")

    def ids(*more: str) -> list[str]:
        return [row["decision_id"] for row in json.loads(cli("decisions", *more, "--json").out)["decisions"]]

    assert ids() == [second, first]
    assert ids("--status", "executed") == [first]
    assert ids("--symbol", "msft") == [second]
    assert ids("--strategy", "congress", "--year", "2020") == ids("--year", "2020") == []
    unknown = cli("decisions", "--strategy", "congres")
    assert (unknown.code, unknown.err) == (
        3,
        "error: no strategy is named 'congres'\nhint: did you mean 'congress'?\n",
    )
    assert "risk.long_only" in cli("decisions").out


LIVE = {
    "broker": 'name = "alpaca"\nenvironment = "live"\naccount_number = "PA1"\n',
    "risk": "max_order_notional = 500\n",
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"risk": ""}, "max_order_notional"),
        ({"risk": 'max_order_notional = "off"\n'}, "max_order_notional"),
        ({"broker": 'name = "alpaca"\nenvironment = "live"\n'}, "account_number"),
        ({"broker": 'environment = "live"\naccount_number = "PA1"\n'}, "simulated"),
    ],
)
def test_live_trading_takes_a_number_and_a_limit(
    changes: dict[str, str], message: str | None, home: Path
) -> None:
    text = "".join(f"[{name}]\n{body}" for name, body in (LIVE | changes).items())
    (home / "tradelog.toml").write_text(text)
    if message is None:
        assert load_config(home / "tradelog.toml").broker.environment == "live"
        return
    with pytest.raises(ConfigError, match=message):
        load_config(home / "tradelog.toml")


@pytest.mark.parametrize(
    ("environment", "host"),
    [
        *(("paper", "https://api.alpaca.markets/"), ("live", "https://paper-api.alpaca.markets")),
        *(("paper", "https://API.alpaca.markets"), ("paper", "https://api.alpaca.markets.")),
        *(("paper", "https://api.alpaca.markets:443"), ("paper", "https://api.alpaca.markets/v2/..")),
        *(("paper", "https://api.alpaca.markets/?"), ("paper", " https://api.alpaca.markets")),
    ],
)
def test_the_host_of_the_other_environment_is_refused(
    environment: str, host: str, cli: Cli, home: Path
) -> None:
    (home / "tradelog.toml").write_text(
        '[store]\nurl = "sqlite:///store/log.db"\n'
        f'[broker]\nname = "alpaca"\nenvironment = "{environment}"\naccount_number = "PA1"\n'
        f'base_url = "{host}"\n[risk]\nmax_order_notional = 500\n'
    )
    ended = cli("run-worker", "--once", **ENVIRONMENT)
    assert ended.code == 4
    assert "base_url" in one_line(ended)


def test_live_means_the_account_of_that_number(cli: Cli, home: Path, fake: FakeAlpaca) -> None:
    def write(number: str) -> None:
        (home / "tradelog.toml").write_text(
            '[store]\nurl = "sqlite:///store/log.db"\n[broker]\nname = "alpaca"\nenvironment = "live"\n'
            f'account_number = "{number}"\nbase_url = "{fake.url}"\n[risk]\nmax_order_notional = 500\n'
            "[worker]\nonce_seconds = 2\n"
        )

    write("PA999")
    decision_id = decide(cli, "buy", "1", "AAPL")
    ended = cli("run-worker", "--once", **ENVIRONMENT)
    assert ended.code == 4
    assert "PA123456789" in one_line(ended)
    assert fake.posts() == []
    write("PA123456789")
    ended = cli("run-worker", "--once", **ENVIRONMENT)
    assert "environment live" in ended.err
    assert "max_order_notional 500" in ended.err
    assert statuses(cli) == {decision_id: "executed"}
    off = cli("limits", "set", "max_order_notional", "off", "--until", "2999-01-01", "--why", "x")
    assert "live trading keeps" in one_line(off)


def test_nothing_crosses_between_environments(cli: Cli, home: Path, fake: FakeAlpaca, writer: Writer) -> None:
    """One store, three accounts: each worker sends its own and nothing else, each list shows its own."""
    alpaca = (
        f'[broker]\nname = "alpaca"\nbase_url = "{fake.url}"\naccount_number = "PA123456789"\nenvironment = '
    )
    head = '[store]\nurl = "sqlite:///store/log.db"\n[market]\nprices = "prices.csv"\n'
    head += "[worker]\nonce_seconds = 1\n"
    tables = {
        "simulated": "",
        "paper": alpaca + '"paper"\n',
        "live": alpaca + '"live"\n[risk]\nmax_order_notional = 5000\n',
    }
    ids: dict[str, str] = {}
    for number, (name, table) in enumerate(tables.items(), 1):
        (home / "tradelog.toml").write_text(head + table)
        ids[name] = decide(cli, "buy", str(number), "AAPL")
    sent: dict[str, Any] = {}
    for name, table in tables.items():
        (home / "tradelog.toml").write_text(head + table)
        before = len(fake.posts())
        ended = cli("run-worker", "--once", **ENVIRONMENT)
        assert ended.code == 0, ended.err
        sent[name] = [body["qty"] for body in fake.posts()[before:]]
        assert list(statuses(cli)) == [ids[name]]
        assert statuses(cli)[ids[name]] == "executed"
        used = {row["name"]: row["used"] for row in json.loads(cli("limits", "--json").out)["limits"]}
        assert used["max_orders_per_day"] == "1"
    assert sent == {"simulated": [], "paper": ["2"], "live": ["3"]}
