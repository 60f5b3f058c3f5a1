"""tradelog runs"""

from __future__ import annotations

from typing import Annotated

import typer

from tradelog.cli import options
from tradelog.cli.context import covered, load_config, open_reader
from tradelog.cli.paging import paged
from tradelog.cli.render import Column, as_csv, as_json, line, note, table
from tradelog.domain import clock
from tradelog.errors import NotFound, UsageError

STATES = ("running", "completed", "failed", "aborted", "abandoned")
COLUMNS = (
    Column("run_id", "run", style="id"),
    Column("task_name", "task", flex=True),
    Column("data_source", "source", flex=True),
    Column("status", "status", style="status"),
    Column("started", "started"),
    Column("records_fetched", "fetched", right=True),
    Column("records_created", "created", right=True),
    Column("records_updated", "updated", right=True),
    Column("records_skipped", "unchanged", right=True),
    Column("records_quarantined", "bad", right=True),
    Column("dates", "dates"),
    Column("error_message", "error", flex=True),
)


def command(
    task: Annotated[str | None, typer.Option(help="Only this task, such as data_fetch:congress.")] = None,
    source: Annotated[str | None, typer.Option(help="Only this source, as the list names it.")] = None,
    status: Annotated[str | None, typer.Option(help=f"Only {', '.join(STATES)}.")] = None,
    year: options.Year = None,
    first: options.First = None,
    last: options.Last = None,
    zone: options.Zone = None,
    limit: options.Limit = None,
    show_all: options.All = False,
    output_json: options.Json = False,
    output_csv: options.Csv = False,
) -> None:
    """List the ingestion runs, newest first."""
    from tradelog.report import runs as report

    if status is not None and status not in STATES:
        raise UsageError(f"no run is {status!r}", hint=f"one of: {', '.join(STATES)}")
    options.one_form(output_json, output_csv)
    most = options.rows(limit, show_all, is_for_programs=output_json or output_csv)
    config = load_config()
    days = covered(config, year, first, last, zone)
    with open_reader(config) as reader:
        rows, total = report.runs(reader, report.Selection(days, task, source, status), limit=most)
    if not rows and (task is not None or source is not None):
        subject = f"the task {task!r}" if task is not None else f"the source {source!r}"
        raise NotFound(f"no run of {subject}", hint="tradelog runs lists all; data_fetch:congress is one")
    if output_json:
        as_json({"period": str(days), "total": total, "runs": rows})
        return
    for row in rows:
        row["started"] = clock.local(row["started_at"], days.zone)
        row["dates"] = f"{row['data_date_start']} to {row['data_date_end']}" if row["data_date_start"] else ""
    if output_csv:
        as_csv(COLUMNS, rows)
        return
    if not rows:
        line("no runs; tradelog fetch congress makes one")
        return
    with paged():
        table(COLUMNS, rows)
    note(f"{len(rows)} of {total} runs; {days}")
