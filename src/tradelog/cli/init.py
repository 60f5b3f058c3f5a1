"""tradelog init"""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from tradelog.cli.render import line
from tradelog.errors import UsageError


def command(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("tradelog.toml"),
    congress: Annotated[str, typer.Option(help="Source of congress trades: quiver.")] = "quiver",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented tradelog.toml and choose the sources."""
    if congress != "quiver":
        raise UsageError(f"no source of congress trades is named {congress!r}", hint="known: quiver")
    text = template().replace('use = "quiver"', f'use = "{congress}"')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UsageError(f"{path} is there already", hint="keep it, or replace it with --force") from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    line(f"wrote {path}")
    has_key = bool(os.environ.get("QUIVER_API_KEY") or os.environ.get("QUIVER_API_KEY_FILE"))
    key = "QUIVER_API_KEY is set" if has_key else "needs QUIVER_API_KEY; without it, use --file PATH"
    line(f"congress trades: {congress} ({key})")
    line("insider trades: sec-edgar (no key; set contact in [sources.sec-edgar])")
    line("committees and members: congress-legislators (no key)")
    line("broker: simulated, paper; change [broker] to send orders to Alpaca's paper account")
    line("next: tradelog fetch congress")


def template() -> str:
    """The commented configuration, every key at its default."""
    return (files("tradelog") / "template.toml").read_text(encoding="utf-8")
