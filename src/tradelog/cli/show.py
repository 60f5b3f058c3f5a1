"""tradelog show"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from tradelog.cli import render
from tradelog.cli.context import load_config, open_reader
from tradelog.cli.render import Column
from tradelog.domain import clock
from tradelog.domain.text import counted
from tradelog.report import runs, trail

# An EDGAR run makes a thousand of them.
MAX_CALLS = 20
CALLS = (
    Column("at", "at"),
    Column("answer", "answer"),
    Column("size", "bytes", right=True),
    Column("records", "rows", right=True),
    Column("seconds", "seconds", right=True),
    Column("endpoint", "request", flex=True),
)
RECORDS = (
    Column("version_id", "version", right=True),
    Column("outcome", "outcome"),
    Column("position", "row", right=True),
    Column("symbol", "symbol"),
    Column("member", "member", flex=True),
    Column("side", "type"),
    Column("event_date", "traded"),
    Column("filed_as_given", "disclosed"),
    Column("remarks", "remarks", flex=True),
)
CHECKS = (
    Column("check", "check"),
    Column("observed", "observed", flex=True),
    Column("limit", "limit", flex=True),
    Column("verdict", "verdict", style="status"),
    Column("note", "note", flex=True),
)
CHILDREN = (
    Column("decision_id", "decision", style="id"),
    Column("side", "side"),
    Column("symbol", "symbol"),
    Column("quantity", "quantity", right=True),
    Column("notional", "notional", right=True),
    Column("status", "status", style="status"),
)
INPUTS = (
    Column("version_id", "version", right=True),
    Column("run_id", "run", style="id"),
    Column("seen", "first seen by us"),
    Column("member", "member", flex=True),
    Column("side", "type"),
    Column("event_date", "traded"),
    Column("filed_as_given", "disclosed"),
)


def command(
    id_prefix: Annotated[str, typer.Argument(metavar="ID", help="An id, or a unique beginning of one.")],
    show_all: Annotated[bool, typer.Option("--all", help="All records of a run, not the first 50.")] = False,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show one run, decision, execution, signal or command of a bot in full."""
    config = load_config()
    zone = config.report.timezone
    with open_reader(config) as reader:
        kind, full_id = reader.resolve(id_prefix)
        decision_id = trail.decision_of(reader, kind, full_id) if kind in ("exe", "sig", "req") else None
        if kind == "run":
            name, result = (
                "run",
                runs.run(reader, full_id, limit=-1 if show_all or output_json else runs.RECORDS),
            )
        elif kind == "srn":
            name, result = "strategy_run", trail.strategy_run(reader, full_id)
        elif kind == "brk":
            name, result = "break", trail.break_(reader, full_id)
        elif kind == "mnt":
            name, result = "maintenance", trail.maintenance(reader, full_id)
        elif kind == "cmd":
            name, result = "command", trail.command(reader, full_id)
        elif kind == "sig" and decision_id is None:
            name, result = "signal", trail.signal(reader, full_id)
        else:
            name, result = "decision", trail.decision(reader, decision_id or full_id)
    if output_json:
        render.as_json({name: result})
    elif name == "run":
        _run(result, zone)
    elif name == "decision":
        _decision(result, zone)
    elif name == "command":
        _command(result, zone)
    else:
        _fields(result)


def _run(run: dict[str, Any], zone: str) -> None:
    render.heading(f"Run {run['run_id']}  {run['status']}")
    render.pairs(
        [
            ("task", run["task_name"]),
            ("source", run["data_source"]),
            ("by", f"{run['actor']}, process {run['pid']} on {run['host']}"),
            ("started", f"{clock.local(run['started_at'], zone)} ({zone})"),
            ("completed", clock.local(run["completed_at"], zone)),
            ("failed", clock.local(run["failed_at"], zone)),
            ("parameters", json.dumps(run["params"], ensure_ascii=False)),
            ("fetched", run["records_fetched"]),
            ("created", run["records_created"]),
            ("updated", run["records_updated"]),
            ("unchanged", run["records_skipped"]),
            ("quarantined", run["records_quarantined"]),
            ("gone", run["records_gone"]),
            ("trades dated", f"{run['data_date_start'] or '—'} to {run['data_date_end'] or '—'}"),
            ("our clock", "; ".join(_clock(row) for row in run["clock_offsets"])),
            ("error", run["error_message"]),
            ("error class", (run["error_details"] or {}).get("class")),
        ]
    )
    _calls(run["api_calls"], zone)
    for record in run["records"]:
        record["remarks"] = ", ".join(flag.replace("_", " ") for flag in record["flags"])
    if run["records"]:
        render.line()
        render.heading("Records created, updated or gone")
        render.table(RECORDS, run["records"])
        total = run["records_created"] + run["records_updated"] + run["records_gone"]
        if len(run["records"]) < total:
            render.note(f"  the first {len(run['records'])} of {total}; --all shows all")
    if run["unchanged_versions"]:
        render.line(f"  seen unchanged: record versions {run['unchanged_versions'][:200]}")
    if run["quarantined"]:
        render.line()
        render.heading("Quarantined rows")
        for row in run["quarantined"]:
            render.line(f"  row {row['position']}: {row['reason']}: {row['payload']}")


def _clock(offset: dict[str, Any]) -> str:
    seconds, doubt = offset["offset_ms"] / 1000, offset["uncertainty_ms"] / 1000
    return f"{seconds:+.1f} s from that of {offset['source']}, give or take {doubt:.1f} s"


def _calls(calls: list[dict[str, Any]], zone: str) -> None:
    """The first requests of a run, and how many there were."""
    if not calls:
        return
    render.line()
    render.heading("Requests and files")
    for call in calls[:MAX_CALLS]:
        call["at"] = clock.local(call["timestamp"], zone)
        call["answer"] = call.get("error") or call.get("status")
        call["size"] = call.get("bytes", call.get("size"))
    render.table(CALLS, calls[:MAX_CALLS])
    if len(calls) > MAX_CALLS:
        render.note(f"  the first {MAX_CALLS} of {len(calls)}; --json shows all, with their bodies")


def _decision(result: dict[str, Any], zone: str) -> None:
    render.heading(f"Decision {result['decision_id']}  {result['status']}")
    size = f"${result['notional']} of" if result["notional"] else result["quantity"]
    render.pairs(
        [
            ("order", f"{result['side']} {size} {result['symbol']}, {render.terms(result)}"),
            ("strategy", f"{result['strategy_name']} {result['strategy_version'] or ''}".strip()),
            ("account", f"{result['account']} ({result['broker']}, {result['environment']})"),
            ("decided", f"{clock.local(result['created_at'], zone)} ({zone}) by {result['actor']}"),
            ("client order id", result["client_order_id"]),
            ("decision hash", result["decision_hash"]),
            ("known then", f"journal up to {result['basis']}"),
            ("executed", clock.local(result["executed_at"], zone)),
            ("failed", clock.local(result["failed_at"], zone)),
            ("failure", ": ".join(filter(None, (result["failure_code"], result["failure_message"])))),
            ("needs attention", result["needs_attention"]),
            ("approval", f"{result['approval']} by {result['approval_by']}" if result["approval"] else None),
            ("waits for the open", clock.local(result["held_until"], zone)),
            ("recorded", _recorded(result)),
            ("came of", result["parent"]),
            ("filled in all", _filled(result["order"])),
            ("orders", " → ".join(result["order"]["chain"]) if len(result["order"]["chain"]) > 1 else None),
        ]
    )
    _requests(result, zone)
    _checks(result, zone)
    _related(result, zone)
    render.line()
    render.heading("Rationale")
    for text in json.dumps(result["decision_rationale"], ensure_ascii=False, indent=2).splitlines():
        render.line(f"  {text}")
    render.line()
    render.heading(f"Inputs: {len(result['inputs'])} record versions")
    for row in result["inputs"]:
        row["seen"] = clock.local(row["first_seen_at"], zone)
    if result["inputs"]:
        render.table(INPUTS, result["inputs"])
    for execution in result["executions"]:
        _execution(execution, zone)
    if not result["executions"]:
        render.line()
        render.line("Nothing was submitted yet.")


def _recorded(result: dict[str, Any]) -> str | None:
    """Who sent the order, where it was not tradelog."""
    if result["adopted"]:
        return "after the fact: tradelog did not send it"
    if result["recorded"]:
        return "the bot sent it, and its calls were recorded; no limit and no halt applied"
    return None


def _related(result: dict[str, Any], zone: str) -> None:
    """What a bot asked for about the order, and the orders that came of it."""
    for row in result.get("commands", ()):
        render.line(
            f"  {clock.local(row['started_at'], zone)} {row['command_id']} {row['kind']} by the bot"
            f" {row['strategy_name']}: {row['status']} {row['message'] or ''}".rstrip()
        )
    if result["children"]:
        render.line()
        render.heading("Orders that came of it")
        render.table(CHILDREN, result["children"])


def _command(result: dict[str, Any], zone: str) -> None:
    render.heading(f"Command {result['command_id']}  {result['status']}")
    render.pairs(
        [
            ("asked", f"{result['kind'].replace('_', ' ')} {result['target'] or ''}".strip()),
            ("strategy", result["strategy_name"]),
            ("account", f"{result['account']} ({result['broker']}, {result['environment']})"),
            ("sent", f"{clock.local(result['started_at'], zone)} ({zone}) by {result['actor']}"),
            ("ended", clock.local(result["ended_at"], zone)),
            ("message", result["message"]),
            ("reason", json.dumps(result["reason"], ensure_ascii=False)),
            ("archived", _archived(result)),
        ]
    )
    _exchanges(result["calls"], zone)
    _related(result, zone)


def _filled(order: dict[str, Any]) -> str | None:
    if order["filled_quantity"] == "0":
        return None
    of = f" of {order['quantity']}" if order["quantity"] else ""
    return f"{order['filled_quantity']}{of} at {order['filled_avg_price']}"


def _requests(result: dict[str, Any], zone: str) -> None:
    """The cancels and replaces of a decision, and how they ended."""
    if result["requests"] or result["control_events"]:
        render.line()
        render.heading("Requests")
    for row in result["requests"]:
        terms = ", ".join(f"{name} {value}" for name, value in row["terms"].items())
        why = f" because {row['reason']}" if row["reason"] else ""
        render.line(
            f"  {clock.local(row['created_at'], zone)} {row['kind']} {terms} by {row['actor']}{why}:"
            f" {row['status']} {row['message'] or ''}".rstrip()
        )
    for row in result["control_events"]:
        render.line(
            f"  {clock.local(row['created_at'], zone)} {row['kind']} by {row['actor']}: {row['reason']}"
        )


def _checks(result: dict[str, Any], zone: str) -> None:
    """The pre-trade checks right before submission."""
    for row in result["risk_checks"]:
        render.line()
        code = f" as {row['code']}" if row["code"] else ""
        render.heading(f"Limits at {clock.local(row['checked_at'], zone)}: {row['verdict']}{code}")
        for item in row["checks"]:
            item["verdict"] = "passed" if item["passed"] else "failed"
        if row["checks"]:
            render.table(CHECKS, row["checks"])
        else:
            render.line("  no limit concerns this order")


def _execution(execution: dict[str, Any], zone: str) -> None:
    render.line()
    render.heading(
        f"Attempt {execution['attempt_number']}  {execution['execution_id']}  {execution['status']}"
    )
    render.pairs(
        [
            ("started", clock.local(execution["started_at"], zone)),
            ("broker's order", execution["alpaca_order_id"]),
            ("broker's status", execution["broker_status"]),
            ("filled", f"{execution['filled_quantity']} at {execution['filled_avg_price'] or '—'}"),
            ("replaces", execution["replaces"]),
            ("error", execution["error_message"]),
            ("archived", _archived(execution)),
        ]
    )
    _exchanges(execution["calls"], zone)
    for event in execution["order_events"]:
        render.line(
            f"  {clock.local(event['seen_at'], zone)} order is {event['status']},"
            f" filled {event['filled_quantity']} (by {event['source']})"
        )
    for fill in execution["fills"]:
        render.line(
            f"  {clock.local(fill['transaction_time'], zone)} fill: {fill['side']} {fill['quantity']}"
            f" at {fill['price']} ({fill['price_basis']})"
        )


def _archived(result: dict[str, Any]) -> str | None:
    """Where the exchanges are, where they have left the store."""
    row = result["archived"]
    if row is None:
        return None
    calls = counted(row["calls"], "exchange")
    return f"{calls} in {row['path']}" + ("" if row["is_there"] else ", which is not there")


def _exchanges(calls: list[dict[str, Any]], zone: str) -> None:
    for call in calls:
        answer = call["error"] if call["status"] is None else f"HTTP {call['status']}"
        render.line(
            f"  {clock.local(call['started_at'], zone)} {call['purpose']}: {call['method']} {call['url']}"
        )
        if call["request_body"]:
            render.line(f"    sent      {call['request_body']}")
        body = "a page of orders, this one among them" if call["shared"] else call["response_body"] or ""
        render.line(f"    answered  {answer} {body}")


def _fields(result: dict[str, Any]) -> None:
    for name, value in result.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        render.pairs([(name, text)])
