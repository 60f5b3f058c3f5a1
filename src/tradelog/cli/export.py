"""tradelog export"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tradelog.cli import render
from tradelog.cli.broker import require_id
from tradelog.cli.context import covered, load_config, open_reader
from tradelog.domain.text import counted
from tradelog.errors import UsageError
from tradelog.report import trail
from tradelog.store.reader import Reader

if TYPE_CHECKING:
    from tradelog.evidence.bundle import Bundle

USAGE = "tradelog export bundle dec_4kz -o trade.zip, or --symbol AAPL --year 2025 -o aapl.zip"


def command(
    what: Annotated[str, typer.Argument(help="bundle: evidence that verifies itself.")],
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Decisions.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The file to write.")] = None,
    symbol: Annotated[str | None, typer.Option(help="All of a symbol, instead of ids.")] = None,
    year: Annotated[int | None, typer.Option(help="With --symbol: one year.")] = None,
    first: Annotated[str | None, typer.Option("--from", metavar="DAY", help="First day.")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DAY", help="Last day, inclusive.")] = None,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a file for others: tradelog export bundle ID... | --symbol AAPL --year 2025 -o FILE.zip

    Runs, records with raw payloads, decisions, executions, exchanges, orders and fills, with the entries of
    the journal that cover them, a page to read, and a verify.py that needs nothing but Python.
    """
    from tradelog.domain.symbols import normalise_ticker
    from tradelog.evidence import bundle

    if what != "bundle":
        raise UsageError(f"{what!r} cannot be exported", hint=USAGE)
    if output is None:
        raise UsageError("-o FILE.zip is missing", hint=USAGE)
    if bool(ids) == (symbol is not None):
        raise UsageError("name decisions, or --symbol", hint=USAGE)
    if symbol is None and (year is not None or first or last):
        raise UsageError("--year, --from and --to go with --symbol", hint=USAGE)
    config = load_config()
    with open_reader(config) as reader:
        versions: list[int] = []
        if symbol is not None:
            ticker = normalise_ticker(symbol)
            period = covered(config, year, first, last)
            account = ", ".join(config.account)
            title = f"{ticker}, {period}, account {account}"
            decisions, versions = bundle.of_symbol(reader, config.account, ticker, period)
        else:
            decisions = _decisions(reader, ids or ())
            title = f"Decision {', '.join(decisions)}"
        written = bundle.write(reader, output, title, decisions, versions, zone=config.report.timezone)
    _print(written, output_json)


def _decisions(reader: Reader, ids: Sequence[str]) -> list[str]:
    """The decisions that ids of them, or of their attempts, name. Raises NotFound, UsageError."""
    decisions = []
    for text in ids:
        require_id(text)
        kind, full_id = reader.resolve(text, ("dec", "exe"))
        decisions.append(full_id if kind == "dec" else str(trail.decision_of(reader, kind, full_id)))
    return list(dict.fromkeys(decisions))


def _print(written: Bundle, output_json: bool) -> None:
    if output_json:
        render.as_json(
            {
                "path": str(written.path),
                "decisions": written.decisions,
                "records": written.records,
                "entries": written.entries,
                "manifest_sha256": written.manifest_sha256,
                "head": {"seq": written.head.seq, "hash": written.head.hash, "at": written.head.at},
            }
        )
        return
    render.line(
        f"{written.path}: {counted(written.decisions, 'decision')}, {counted(written.records, 'record')},"
        f" {written.entries} entries of the journal"
    )
    render.line(f"manifest {written.manifest_sha256}")
    render.line(f"head {written.head.line()}")
