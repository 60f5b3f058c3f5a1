"""tradelog verify"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from tradelog.cli import render
from tradelog.cli.context import load_config, open_reader
from tradelog.cli.render import Column
from tradelog.domain.text import counted
from tradelog.errors import EvidenceBroken, UsageError
from tradelog.store.reader import Reader

COLUMNS = (
    Column("check", "check"),
    Column("subject", "what", flex=True),
    Column("message", "what is wrong", flex=True),
)


def command(
    copy: Annotated[
        Path | None, typer.Argument(metavar="COPY", help="A copy of the store, in place of the store itself.")
    ] = None,
    head: Annotated[
        bool, typer.Option("--head", help="Print the head of the chain only: sequence, hash, count, time.")
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="With --head: append it to this file, or give it to '| COMMAND'."),
    ] = None,
    since_head: Annotated[
        Path | None,
        typer.Option(
            "--since-head", metavar="FILE", help="Check that heads kept elsewhere are still in the chain."
        ),
    ] = None,
    chain: Annotated[bool, typer.Option("--chain", help="Only the chain itself; not the rows.")] = False,
    broker: Annotated[
        bool,
        typer.Option("--broker", help="Also check the broker's orders, which carry our decisions' hashes."),
    ] = False,
    output_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check that nothing in the store was changed since it was written; exits 5 where something was."""
    from tradelog.evidence import anchors, verify
    from tradelog.evidence import chain as chains

    if to is not None and not head:
        raise UsageError("--to goes with --head", hint='tradelog verify --head --to "/mnt/elsewhere/heads"')
    if head and (chain or broker or since_head):
        raise UsageError("--head prints the head and checks nothing", hint="run one after the other")
    config = load_config()
    with open_reader(config) if copy is None else Reader(copy) as reader:
        if head:
            _print_head(reader, to, output_json)
            return
        heads = [] if since_head is None else chains.read_heads(since_head)
        verified = verify.chain_only(reader) if chain else verify.verify(reader)
        findings = [*verified.findings, *chains.since(reader, heads)]
        checked_orders = 0
        if broker:
            checked_orders, more = anchors.at_broker(reader, config)
            findings += more
    if output_json:
        render.as_json(
            {
                **asdict(verified),
                "findings": [asdict(item) for item in findings],
                "heads_checked": len(heads),
                "orders_checked": checked_orders if broker else None,
            }
        )
    else:
        _print(verified, findings, len(heads), checked_orders if broker else None, chain)
    if findings:
        raise EvidenceBroken(
            f"{counted(len(findings), 'finding')}: this store is not what was written",
            hint="keep the file as it is; compare it with a backup and with the heads kept elsewhere",
        )


def _print_head(reader: Reader, to: str | None, output_json: bool) -> None:
    """Print the head of the chain, after it was written to a file or given to a command."""
    from tradelog.evidence import anchors
    from tradelog.evidence import chain as chains

    head = chains.head(reader)
    if to is not None:
        anchors.send(reader, head, to)
    from tradelog.evidence import chain as chains

    if output_json:
        render.as_json({"head": chains.as_json(head)})
    else:
        render.line(head.line())


def _print(verified: Any, findings: list[Any], heads: int, checked_orders: int | None, chain: bool) -> None:
    head = verified.head
    items: list[tuple[str, Any]] = [("entries", verified.entries)]
    if not chain:
        items += [("rows against the journal", verified.rows), ("rows of runs", verified.records)]
        items += [("runs going on, not covered yet", ", ".join(verified.running) or None)]
        items += [("rows in the archive", verified.archived_rows or None)]
        items += [("files of it checked", verified.archives_checked or None)]
        items += [("files of it not here to check", ", ".join(verified.archives_missing) or None)]
    items += [("heads kept elsewhere", heads or None), ("orders at the broker", checked_orders)]
    items += [("head", f"{head.seq} {head.hash}"), ("of", head.at)]
    render.pairs(items)
    if findings:
        render.line()
        render.table(COLUMNS, [asdict(item) for item in findings])
    else:
        render.line("everything agrees" if not chain else "the chain is whole; its rows were not looked at")
