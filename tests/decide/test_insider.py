"""The insider strategy: what counts as a purchase, who counts as how much, and what running it records."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import disclosures as d
from tests import filings as f
from tests.conftest import Cli
from tradelog.config.schema import Config
from tradelog.decide.strategies.base import Context, Disclosure, Portfolio, Signal
from tradelog.decide.strategies.insider import CorporateInsiderStrategy, InsiderParameters
from tradelog.errors import ConfigError
from tradelog.store.reader import Reader

DAY = date(2026, 3, 31)
HELD = Portfolio({"ABC": Decimal("7.5")}, Decimal(1), Decimal(1), "t", None)
SIDES = {"P": ("purchase", "A"), "S": ("sale", "D")}


def filed(
    version: int,
    cik: str,
    days_ago: int = 1,
    *,
    code: str = "P",
    roles: str = "officer",
    shares: str = "100",
    after: str = "",
    owners: Sequence[str] | None = None,
    flags: tuple[str, ...] = (),
    **fields: Any,
) -> Disclosure:
    side, direction = SIDES[code]
    payload = {
        "code": code,
        "acquired_disposed": direction,
        "plan_10b5_1": False,
        "shares": shares,
        "price": "10",
        "shares_after": after,
        "direct_or_indirect": "D",
        "nature": "",
        "owners": [
            {"cik": item, "name": f"Owner {item}"}
            | {f"is_{role}": role in roles.split() for role in ("officer", "director", "ten_percent_owner")}
            for item in owners or [cik]
        ],
    } | fields
    day = DAY - timedelta(days_ago)
    return Disclosure(
        *(version, "ABC", f"Owner {cik}", side, day, day.isoformat(), "1000", "1000", False),
        payload=json.dumps(payload),
        flags=flags,
    )


def quiver(version: int, name: str, **fields: Any) -> Disclosure:
    payload = {
        "TransactionCode": "P",
        "AcquiredDisposedCode": "A",
        "Name": name,
        "Shares": 100.0,
        "PricePerShare": 10.5,
        "SharesOwnedFollowing": 300.0,
        "isOfficer": True,
        "isDirector": "False",
    } | fields
    return Disclosure(
        *(version, "ABC", name, "purchase", DAY, DAY.isoformat(), "1050", "1050", False),
        payload=json.dumps(payload),
    )


def signals(
    *found: Disclosure, portfolio: Portfolio = HELD, as_of: date = DAY, **parameters: Any
) -> list[Signal]:
    strategy = CorporateInsiderStrategy(InsiderParameters(**parameters))
    return strategy.evaluate(Context(as_of, found, portfolio, ()))


def test_three_officers_buy() -> None:
    (signal,) = signals(
        filed(1, "11", 9), filed(2, "12", 5), filed(3, "13", 2, after="150"), filed(4, "13", 1)
    )
    assert (signal.symbol, signal.side, signal.notional) == ("ABC", "buy", Decimal(1000))
    assert signal.episode == DAY - timedelta(2)
    assert signal.inputs == (1, 2, 3, 4)
    found = signal.rationale["consensus_detected"]
    assert found["insiders"][2] == {
        "name": "Owner 13",
        "roles": ["officer"],
        "holding_share": "1",
        "weight": "2",
    }
    assert (found["weight"], found["required_weight"]) == ("4", "2")
    assert (signal.rationale["signal_strength"], signal.rationale["confidence_score"]) == ("1", "1")
    assert "when Owner 13 did on 2026-03-29: buy" in signal.rationale["trigger_event"]
    assert signal.rationale["source_data"][2]["held_before"] == "50"


THREE = (filed(1, "11"), filed(2, "12"))


@pytest.mark.parametrize(
    "third",
    [
        filed(3, "13", plan_10b5_1=True),
        filed(3, "13", flags=("10b5_1_plan",)),
        filed(3, "13", flags=("equity_swap",)),
        filed(3, "13", acquired_disposed="D"),
        filed(3, "13", code="S"),
        filed(3, "13", 30),
        filed(3, "13", -1),
        filed(3, "12"),
        filed(3, "13", owners=["12", "13"]),
        quiver(3, "12 OWNER"),
    ],
    ids=[
        "plan",
        "flag",
        "swap",
        "disposes",
        "sale",
        "early",
        "future",
        "same",
        "joint",
        "other-feed",
    ],
)
def test_what_is_no_third_insider_gives_no_signal(third: Disclosure) -> None:
    assert len(signals(*THREE, filed(9, "19"))) == 1
    assert signals(*THREE, third) == []


@pytest.mark.parametrize("code", ["A", "M", "F", "G", "X", "C", "J", "L", "W", ""])
def test_other_codes_never_count(code: str) -> None:
    """Also where a source calls such a line a purchase."""
    lines = []
    for number in range(1, 4):
        item = filed(number, f"1{number}")
        payload = json.loads(item.payload) | {"code": code}
        lines.append(
            Disclosure(
                1, "ABC", "x", "purchase", item.filed, None, None, None, False, payload=json.dumps(payload)
            )
        )
    assert signals(*lines, min_insiders=1, min_weight=Decimal("0.1")) == []


@pytest.mark.parametrize(
    ("roles", "after", "shares", "weight"),
    [
        ("officer", "", "100", "1"),
        ("director", "", "100", "0.75"),
        ("ten_percent_owner", "", "100", "0.5"),
        ("", "", "100", "0"),
        ("director officer ten_percent_owner", "", "100", "1"),
        ("director", "300", "100", "1.12"),
        ("officer", "100", "100", "2"),
        ("officer", "150", "100", "2"),
        ("officer", "1100", "100", "1.1"),
        ("officer", "50", "100", "1"),
        ("officer", "none given", "100", "1"),
        ("officer", "1100", "", "1"),
    ],
)
def test_weight_by_role_and_share_of_the_holding(roles: str, after: str, shares: str, weight: str) -> None:
    (signal,) = signals(
        filed(1, "11", roles=roles, after=after, shares=shares),
        filed(2, "99", roles="officer"),
        min_insiders=2,
        min_weight=Decimal("0.1"),
    )
    assert signal.rationale["consensus_detected"]["insiders"][0]["weight"] == weight


def test_lines_of_one_holding_add_up_and_holdings_are_kept_apart() -> None:
    def share(*lines: Disclosure) -> str:
        (signal,) = signals(*lines, min_insiders=1, min_weight=Decimal("0.1"))
        return str(signal.rationale["consensus_detected"]["insiders"][0]["holding_share"])

    assert share(filed(1, "11", after="1100"), filed(2, "11", after="1200")) == "0.2"
    assert share(filed(1, "11", after="1100"), filed(2, "11", after="200", direct_or_indirect="I")) == "0.18"
    sold = filed(1, "11", code="S", after="1000"), filed(2, "11", code="S", after="900")
    assert share(*sold) == "0.18"


def test_weight_and_number_are_both_needed() -> None:
    directors = [filed(n, f"1{n}", roles="ten_percent_owner") for n in range(1, 5)]
    assert signals(*directors[:3]) == []
    assert len(signals(*directors)) == 1
    assert signals(filed(1, "11", after="100"), filed(2, "12", after="100")) == []


def test_sales_exit_the_position() -> None:
    sold = [filed(n, f"1{n}", code="S") for n in range(1, 4)]
    (signal,) = signals(*sold)
    assert (signal.side, signal.quantity, signal.taken) == ("sell", Decimal("7.5"), True)
    (without,) = signals(*sold, portfolio=Portfolio({}, None, None, "t", None))
    assert without.reason == "no position to sell"
    assert signals(*sold, exit="none") == []


def test_a_row_of_quiver_counts_by_its_own_fields() -> None:
    rows = [quiver(n, f"DOE {name}") for n, name in enumerate(("ANN", "BO", "CY"))]
    (signal,) = signals(*rows)
    assert signal.rationale["source_data"][0]["plan_10b5_1"] is None
    assert signal.rationale["consensus_detected"]["insiders"][0]["holding_share"] == "0.5"
    assert signals(quiver(1, "A", TransactionCode="A"), *rows[:2]) == []


@given(st.lists(st.tuples(st.sampled_from("ABCDE"), st.integers(0, 60)), max_size=15), st.integers(0, 2**32))
def test_it_is_pure_and_blind_to_the_order_of_rows(rows: list[tuple[str, int]], seed: int) -> None:
    result = [filed(n, cik, ago) for n, (cik, ago) in enumerate(rows)]
    shuffled = random.Random(seed).sample(result, len(result))
    assert signals(*result) == signals(*shuffled)


@given(st.lists(st.lists(st.sampled_from("ABCDEFG"), min_size=1, max_size=3), min_size=1, max_size=8))
def test_insiders_are_the_groups_that_share_no_owner(groups: list[list[str]]) -> None:
    lines = [filed(n, owners[0], owners=owners) for n, owners in enumerate(groups)]
    (signal,) = signals(*lines, min_insiders=1, min_weight=Decimal("0.1"))
    expected: list[set[str]] = []
    for owners in groups:
        joined = set(owners).union(*(item for item in expected if item & set(owners)))
        expected = [item for item in expected if not item & joined] + [joined]
    assert len(signal.rationale["consensus_detected"]["insiders"]) == len(expected)


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_insiders": 0},
        {"window_days": 0},
        {"min_weight": Decimal(0)},
        {"director_weight": Decimal(-1)},
        {"notional": Decimal(0)},
        {"exit": "x"},
    ],
)
def test_parameters_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        InsiderParameters(**wrong)


# From filings in the store.


def fetch(cli: Cli, home: Path, number: int, body: str, *, accepted: str | None = None) -> None:
    stamp = accepted or f"{d.today() - timedelta(days=1):%Y%m%d}183057"
    text = f.submission(body, f"0000000011-26-{number:06d}", stamp)
    ended = cli("fetch", "insider", "--file", str(d.write(home / f"{number}.txt", text)))
    assert ended.code == 0, ended.err


def yesterday() -> str:
    return (d.today() - timedelta(days=1)).isoformat()


def form(owner: str, *lines: str, **fields: Any) -> str:
    line = f.line(day=yesterday())
    return f.ownership(lines or (line,), owners=((owner.zfill(10), f"Doe {owner}"),), **fields)


def ran(cli: Cli, *arguments: str) -> list[dict[str, Any]]:
    ended = cli("run-strategy", "insider", "--json", *arguments)
    assert ended.code == 0, ended.err
    return json.loads(ended.out)["signals"]


def three(cli: Cli, home: Path) -> None:
    for number in (1, 2, 3):
        fetch(cli, home, number, form(str(number)))


def test_filings_become_one_decision_that_replays(cli: Cli, home: Path, config: Config) -> None:
    three(cli, home)
    (signal,) = ran(cli)
    assert (signal["verdict"], signal["side"], signal["symbol"]) == ("decided", "buy", "ABC")
    assert [item["verdict"] for item in ran(cli)] == ["already decided"]
    replayed = cli("replay", signal["decision_id"])
    assert (replayed.code, "same" in replayed.out) == (0, True)
    with Reader(config.store_path) as reader:
        assert reader.value("SELECT count(*) FROM decision_inputs") == 3


def test_a_plan_and_derivatives_of_a_filing_do_not_count(cli: Cli, home: Path) -> None:
    fetch(cli, home, 1, form("1"))
    fetch(cli, home, 2, form("2"))
    fetch(cli, home, 3, form("3", plan="1"))
    fetch(cli, home, 4, form("4", f.line("A", day=yesterday()), derivative=(f.line(derivative=True),)))
    assert ran(cli, "--dry-run") == []


def amendment(owner: str, *lines: str, original: str | None = None, **fields: Any) -> str:
    return form(owner, *lines, form="4/A", original=original or yesterday(), **fields)


def now() -> str:
    return f"{d.today():%Y%m%d}000100"


def test_an_amendment_takes_the_place_of_its_own_form(cli: Cli, home: Path) -> None:
    """Corrected to an award, the third purchase is none; what was decided before replays."""
    three(cli, home)
    (signal,) = ran(cli)
    fetch(cli, home, 4, amendment("3", f.line("A", day=yesterday())), accepted=now())
    assert ran(cli, "--dry-run") == []
    assert cli("replay", signal["decision_id"]).code == 0
    changed = cli("replay", signal["decision_id"], "--as-of-now")
    assert (changed.code, "buy ABC" in changed.out) == (1, True)


def test_what_an_amendment_says_counts_once_on_the_day_of_its_original(cli: Cli, home: Path) -> None:
    three(cli, home)
    fetch(cli, home, 4, amendment("3", f.line(day=yesterday(), shares="<value>200</value>")), accepted=now())
    (signal,) = ran(cli)
    assert (signal["people"], signal["since"]) == (3, yesterday())
    shown = json.loads(cli("show", signal["decision_id"], "--json").out)
    source = shown["decision"]["decision_rationale"]["source_data"]
    assert [(item["shares"], item["amendment"]) for item in source] == [
        ("100", False),
        ("100", False),
        ("200", True),
    ]
    assert cli("replay", signal["decision_id"]).code == 0


def test_an_amendment_of_an_old_form_is_no_news(cli: Cli, home: Path) -> None:
    fetch(cli, home, 1, form("1"))
    fetch(cli, home, 2, form("2"))
    old = (d.today() - timedelta(days=200)).isoformat()
    fetch(cli, home, 3, amendment("3", original=old), accepted=now())
    fetch(cli, home, 4, amendment("4", original="last year"), accepted=now())
    assert ran(cli, "--dry-run") == []


@pytest.mark.parametrize(
    "other",
    [
        {"owner": "2"},
        {"owner": "3", "form": "3/A"},
        {"owner": "3", "original": "2020-01-02"},
    ],
    ids=["owner", "form", "day"],
)
def test_an_amendment_leaves_what_is_not_its_own(cli: Cli, home: Path, other: dict[str, Any]) -> None:
    """Of another owner, form or day: the third purchase still counts."""
    three(cli, home)
    fields = {"form": "4/A", "original": yesterday()} | other
    owner = fields.pop("owner")
    fetch(cli, home, 4, form(owner, f.line(day=yesterday()), **fields), accepted=now())
    assert len(ran(cli, "--dry-run")) == 1


def test_of_two_forms_of_a_day_the_period_tells_which_is_amended(cli: Cli, home: Path) -> None:
    three(cli, home)
    fetch(cli, home, 4, form("3", f.line("A", day=yesterday()), period="2026-11-18"))
    fetch(cli, home, 5, amendment("3", f.line("A", day=yesterday()), period="2026-11-18"), accepted=now())
    assert len(ran(cli, "--dry-run")) == 1
    fetch(cli, home, 6, amendment("3", f.line("A", day=yesterday())), accepted=now())
    assert ran(cli, "--dry-run") == []


def test_an_amendment_of_an_amendment_is_the_last_word(cli: Cli, home: Path) -> None:
    three(cli, home)
    fetch(cli, home, 4, amendment("3", f.line("A", day=yesterday())), accepted=now())
    fetch(cli, home, 5, amendment("3"), accepted=f"{d.today():%Y%m%d}000200")
    (signal,) = ran(cli, "--dry-run")
    assert signal["people"] == 3
