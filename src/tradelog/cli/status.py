"""tradelog status"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tradelog.cli.context import load_config, open_reader
from tradelog.cli.halt import scope_label, unhalted
from tradelog.cli.limits import APPROVAL
from tradelog.cli.render import Column, as_json, heading, line, pairs, table
from tradelog.cli.resolve import BREAKS, UNKNOWN
from tradelog.domain import clock
from tradelog.domain.text import counted
from tradelog.errors import NeedsAttention

OPEN = (
    Column("decision_id", "decision", style="id"),
    Column("side", "side"),
    Column("symbol", "symbol"),
    Column("size", "size", right=True),
    Column("limit_price", "limit", right=True),
    Column("filled_quantity", "filled", right=True),
    Column("broker_status", "broker's status", style="status"),
    Column("age", "for", right=True),
    Column("strategy_name", "strategy", flex=True),
)
REQUESTS = (
    Column("request_id", "request", style="id"),
    Column("kind", "request"),
    Column("decision_id", "decision", style="id"),
    Column("status", "status", style="status"),
    Column("age", "since", right=True),
    Column("tries", "tries", right=True),
    Column("message", "message", flex=True),
)
ALERTS = (
    Column("alert_id", "alert", right=True),
    Column("kind", "kind"),
    Column("age", "since", right=True),
    Column("message", "what", flex=True),
    Column("tell_error", "command", flex=True),
)


def command(
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the queue, open orders, unknown outcomes, workers, breaks and alerts of the account.

    Exits 6 when something needs a person, 0 otherwise.
    """
    from tradelog.report import status as report

    config = load_config()
    with open_reader(config) as reader:
        state = report.status(reader, config)
    if output_json:
        as_json(state)
    else:
        _print(state, config.report.timezone)
    if state["attention"]:
        raise NeedsAttention(
            "; ".join(state["attention"]),
            hint="tradelog resolve for outcomes and breaks, tradelog approve or decline for approvals;"
            " tradelog alerts --ack all acknowledges",
        )


def _beat(worker: dict[str, Any]) -> str:
    text = f"process {worker['pid']} on {worker['host']}, last heartbeat {worker['silent_seconds']} s ago"
    if worker["clock_offset_ms"] is not None:
        text += f", clock {worker['clock_offset_ms'] / 1000:+.1f} s from the broker's"
    return text


def _print(state: dict[str, Any], zone: str) -> None:
    from tradelog.report.status import age

    account = state["account"]
    heading(f"account {account['account']} ({account['broker']}, {account['environment']})")
    queue, workers = state["queue"], state["workers"]
    oldest = f", the oldest for {age(queue['oldest'])}" if queue["oldest"] else ""
    alive = [row for row in workers if row["alive"]]
    beat = [_beat(row) for row in alive]
    last = workers[0] if workers else None
    no_worker = f"none; the last heartbeat was {age(last['heartbeat_at'])} ago" if last else "none yet"
    halted = ", ".join(scope_label(row["scope"], row["subject"]) for row in state["halts"])
    bots = unhalted(state["bots"], state["bot_strategies"])
    pairs(
        [
            ("halted", halted or None),
            ("waiting", f"{counted(queue['pending'], 'decision')}{oldest}; {queue['due']} of them due"),
            ("worker", "; ".join(beat) or no_worker),
            ("bots", bots),
            ("open orders", len(state["open_orders"])),
            ("unknown", len(state["unknown"])),
            ("reconciled", clock.local(state["reconciled_at"], zone) or "never"),
        ]
    )
    for title, columns, key, since in (
        ("Waiting for approval", APPROVAL, "approval", "created_at"),
        ("Unknown outcome", UNKNOWN, "unknown", "since"),
        ("Needs attention", UNKNOWN, "needs_attention", None),
        ("Open orders", OPEN, "open_orders", "since"),
        ("Requests", REQUESTS, "requests", "since"),
        ("Breaks", BREAKS, "breaks", "found_at"),
        ("Alerts", ALERTS, "alerts", "created_at"),
    ):
        rows = state[key]
        if not rows:
            continue
        line()
        heading(title)
        for row in rows:
            row["age"] = age(row[since]) if since else ""
            if row.get("until"):
                row["until"] = clock.local(row["until"], zone)
            row["size"] = f"${row['notional']}" if row.get("notional") else row.get("quantity")
        table(columns, rows)
