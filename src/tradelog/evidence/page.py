"""The page of a bundle, for people: one file, no script, nothing from elsewhere, everything escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from tradelog.domain import clock
from tradelog.domain.text import escape_controls
from tradelog.evidence.chain import Head

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-top: 2px solid var(--line);
padding-top: 1rem } h3 { font-size: 1rem; margin-bottom: .3rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top;
padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--soft); overflow-wrap: anywhere }
th { font-weight: 600; white-space: nowrap } td.n { text-align: right; font-variant-numeric: tabular-nums }
pre { background: var(--soft); padding: .6rem; white-space: pre-wrap; overflow-wrap: anywhere;
font-size: 13px }
.wide { overflow-x: auto } .mono { font-family: ui-monospace, monospace; font-size: 13px }
@media print { body { max-width: none } pre { white-space: pre-wrap } h2 { break-before: auto } }
"""
# Nothing may be loaded or run, whatever text of others is in the page.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

INPUTS = (
    ("version_id", "version"),
    ("member", "member"),
    ("side", "type"),
    ("event_date", "traded"),
    ("filed_as_given", "disclosed"),
    ("first_seen_at", "first seen by us (UTC)"),
    ("run_id", "brought by"),
)
RECORDS = (
    ("version_id", "version"),
    ("symbol", "symbol"),
    ("actor", "who"),
    ("side", "type"),
    ("event_date", "traded"),
    ("filed_as_given", "disclosed"),
    ("first_seen_at", "first seen by us (UTC)"),
)
EVENTS = (
    ("seen_at", "seen (UTC)"),
    ("status", "order is"),
    ("filled_quantity", "filled"),
    ("source", "told by"),
)
FILLS = (
    ("transaction_time", "time (UTC)"),
    ("side", "side"),
    ("quantity", "quantity"),
    ("price", "price"),
    ("price_basis", "price of"),
    ("fill_id", "fill"),
)
CHECKS = (("check", "check"), ("observed", "observed"), ("limit", "limit"), ("passed", "passed"))
_NUMBERS = {"quantity", "price", "filled_quantity", "version_id"}


def render(
    asked: str, decisions: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]], head: Head, zone: str
) -> str:
    """The page. Times are UTC, with the market's beside them where a person decided something."""
    parts = [
        f"<h1>{_text(asked)}</h1>",
        _pairs(
            [
                ("Decisions", len(decisions)),
                ("Disclosures and other records", len(records)),
                ("Head of the journal", f"{head.seq} {head.hash}"),
                ("Written", head.at),
            ]
        ),
        "<p>Check this bundle with <code>python3 -I verify.py</code> in its directory: it needs Python and"
        " nothing else. It shows that these rows are those of the journal with this head. That the head is"
        " the one of that day, only a copy of it shows that was kept elsewhere.</p>",
    ]
    parts += [_decision(row, zone) for row in decisions]
    if records:
        parts.append(f"<h2>Records: {len(records)}</h2>{_table(RECORDS, records)}")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(asked)}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _decision(found: dict[str, Any], zone: str) -> str:
    size = f"${found['notional']} of" if found["notional"] else found["quantity"]
    order, inputs = found["order"], found["inputs"]
    rationale = found["decision_rationale"]
    why = json.dumps(rationale, ensure_ascii=False, indent=2)
    local = f"{found['created_at']} ({clock.local(found['created_at'], zone)} {zone})"
    parts = [
        f"<h2>{_text(found['side'])} {_text(size)} {_text(found['symbol'])}: {_text(found['status'])}</h2>",
        _pairs(
            [
                ("Decision", found["decision_id"]),
                ("Decided", local),
                ("By", found["actor"]),
                ("Strategy", f"{found['strategy_name']} {found['strategy_version'] or ''}"),
                ("Account", f"{found['account']} ({found['broker']}, {found['environment']})"),
                ("Order", f"{found['order_type']} {found['limit_price'] or ''} {found['time_in_force']}"),
                ("Client order id", found["client_order_id"]),
                ("Decision hash", found["decision_hash"]),
                ("Filled", f"{order['filled_quantity']} at {order['filled_avg_price'] or '—'}"),
                ("Failure", _joined(found["failure_code"], found["failure_message"])),
                ("Known then", f"journal up to entry {found['basis']}"),
                ("Recorded", "after the fact: tradelog did not send it" if found["adopted"] else None),
            ]
        ),
        f"<h3>Why</h3><p>{_text(rationale.get('trigger_event') or rationale.get('why'))}</p>",
        f"<details><summary>All of the rationale</summary><pre>{_text(why)}</pre></details>",
        f"<h3>What it was based on: {len(inputs)} record versions</h3>{_table(INPUTS, inputs)}",
    ]
    for row in found["risk_checks"]:
        said = f"{row['checked_at']}: {row['verdict']}"
        parts.append(f"<h3>Limits, {_text(said)}</h3>{_table(CHECKS, row['checks'])}")
    for row in [*found["requests"], *found["control_events"]]:
        parts.append(
            f"<p>{_text(row['created_at'])} {_text(row['kind'])} by {_text(row['actor'])}:"
            f" {_text(row['reason'])}</p>"
        )
    parts += [_execution(row) for row in found["executions"]]
    return "".join(parts)


def _execution(found: dict[str, Any]) -> str:
    parts = [
        f"<h3>Attempt {_text(found['attempt_number'])}: {_text(found['status'])}</h3>",
        _pairs(
            [
                ("Execution", found["execution_id"]),
                ("Begun", found["started_at"]),
                ("Broker's order", found["alpaca_order_id"]),
                ("Broker's status", found["broker_status"]),
                ("Filled", f"{found['filled_quantity']} at {found['filled_avg_price'] or '—'}"),
                ("Error", found["error_message"]),
            ]
        ),
    ]
    if found["archived"] is not None and not found["archived"]["is_there"]:
        archived = f"{found['archived']['calls']} exchanges are archived in {found['archived']['path']}"
        parts.append(f"<p>{_text(archived)}</p>")
    for call in found["calls"]:
        answer = call["error"] if call["status"] is None else f"HTTP {call['status']}"
        said = "a page of orders, this one among them" if call["shared"] else call["response_body"]
        said_when = f"{call['started_at']} {call['method']} {call['url']}: {answer}"
        parts.append(f"<p>{_text(said_when)}</p>")
        parts += [f"<pre>{_text(body)}</pre>" for body in (call["request_body"], said) if body]
    if found["order_events"]:
        parts.append(_table(EVENTS, found["order_events"]))
    if found["fills"]:
        parts.append(_table(FILLS, found["fills"]))
    return "".join(parts)


def _pairs(items: Iterable[tuple[str, Any]]) -> str:
    rows = "".join(
        f'<tr><th>{_text(name)}</th><td class="mono">{_text(value)}</td></tr>'
        for name, value in items
        if value not in (None, "")
    )
    return f"<table>{rows}</table>"


def _table(columns: Sequence[tuple[str, str]], rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "<p>none</p>"
    titles = "".join(f"<th>{_text(title)}</th>" for _, title in columns)
    lines = "".join(
        "<tr>"
        + "".join(f"<td{' class=n' if key in _NUMBERS else ''}>{_text(row[key])}</td>" for key, _ in columns)
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{titles}</tr>{lines}</table></div>'


def _joined(*texts: Any) -> str:
    return ": ".join(str(text) for text in texts if text)


def _text(value: Any) -> str:
    """Text as text: it can neither be markup nor turn the direction of what stands around it."""
    lines = [] if value is None else str(value).split("\n")
    return "\n".join(escape(escape_controls(line)) for line in lines)
