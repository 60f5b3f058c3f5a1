"""tradelog fetch"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tradelog.cli.context import load_config
from tradelog.cli.render import as_json, line
from tradelog.errors import ConfigError, UsageError

WHAT = ("congress",)


def command(
    what: Annotated[str, typer.Argument(help="What to fetch: congress.")],
    file: Annotated[Path | None, typer.Option(help="Read this file instead of asking the source.")] = None,
    complete: Annotated[
        bool, typer.Option("--complete", help="The file lists everything: what it lacks is marked gone.")
    ] = False,
    allow_shrink: Annotated[
        bool, typer.Option("--allow-shrink", help="Accept a complete listing that lost many rows.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing when all went well.")] = False,
    output_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON.")] = False,
) -> None:
    """Fetch disclosures under an ingestion run: tradelog fetch congress."""
    if what not in WHAT:
        raise UsageError(f"nothing to fetch is named {what!r}", hint=f"known: {', '.join(WHAT)}")
    if complete and file is None:
        raise UsageError("--complete goes with --file", hint="what a source lists is known of each source")
    config = load_config()
    if config.sources.congress != "quiver":
        raise ConfigError(
            f"[sources.congress] use = {config.sources.congress!r} is not known", hint="known: quiver"
        )
    from tradelog.ingest.run import IngestionRun
    from tradelog.ingest.sources import files
    from tradelog.store.opening import open_writer

    api_key = None
    if file is None:
        from tradelog.ingest.sources import quiver

        api_key = quiver.key()
    writer = open_writer(config.store_path)
    try:
        run = IngestionRun(
            writer,
            f"data_fetch:{what}",
            "quiver-congress" if file is None else "file",
            {"source": "quiver"} if file is None else {"file": str(file), "complete": complete},
            complete=complete,
            allow_shrink=allow_shrink,
        )
        with run:
            if file is not None:
                files.read_congress(run, file)
            else:
                assert api_key is not None
                quiver.fetch_congress(run, config.sources.quiver, api_key)
    finally:
        writer.close()
    counts = run.counts
    if output_json:
        as_json(
            {
                "run_id": run.run_id,
                "data_source": run.data_source,
                "records_fetched": counts.fetched,
                "records_created": counts.created,
                "records_updated": counts.updated,
                "records_skipped": len(counts.unchanged),
                "records_quarantined": counts.quarantined,
                "records_gone": counts.gone,
            }
        )
        return
    if not quiet:
        gone = f", {counts.gone} gone" if complete else ""
        line(
            f"{run.run_id} completed: {counts.fetched} fetched from {run.data_source}:"
            f" {counts.created} created, {counts.updated} updated, {len(counts.unchanged)} unchanged,"
            f" {counts.quarantined} quarantined{gone}"
        )
