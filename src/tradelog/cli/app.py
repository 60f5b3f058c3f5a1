"""The table of commands, and what happens to an error."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer
from typer import _click
from typer._click.exceptions import ClickException, NoArgsIsHelpError
from typer.core import TyperCommand, TyperGroup

from tradelog.errors import TradelogError

# Command -> (module in tradelog.cli, one-line help). Help imports none of the modules.
COMMANDS = {
    "init": ("init", "Write a commented tradelog.toml."),
    "demo": ("demo", "Run the whole chain on bundled data in a fresh store."),
    "fetch": ("fetch", "Fetch disclosures under an ingestion run."),
    "run-strategy": ("run_strategy", "Run a strategy and record its decisions."),
    "decide": ("decide", "Record decisions, by hand or from a program."),
    "run-worker": ("run_worker", "Submit decisions to the broker, and track their orders."),
    "approve": ("approve", "Approve a decision that waits for a person."),
    "decline": ("decline", "Decline a decision that waits for a person."),
    "halt": ("halt", "Halt submission: of everything, a strategy or a symbol."),
    "resume": ("resume", "Resume submission after a halt."),
    "limits": ("limits", "Show the limits with today's usage, or lift one for a while."),
    "cancel": ("cancel", "Cancel a decision, submitted or not."),
    "replace": ("replace", "Replace an order at the broker by one with other terms."),
    "resolve": ("resolve", "Resolve an unknown outcome or a break."),
    "reconcile": ("reconcile", "Compare orders, fills and positions with the broker's books."),
    "compare": ("compare", "Show where the broker's orders and the log differ."),
    "status": ("status", "Show queue, open orders, alerts; exits 6 for a person."),
    "positions": ("positions", "Show what is held, with open orders and breaks."),
    "alerts": ("alerts", "List alerts, and acknowledge them."),
    "report": ("report", "Show all activity in a symbol: data, decisions, trades."),
    "trades": ("trades", "List executions, with price and reason."),
    "decisions": ("decisions", "List decisions, or signals not taken."),
    "strategies": ("strategies", "Compare strategies: outcomes, slippage, signal quality."),
    "lots": ("lots", "List closed lots, first in first out."),
    "digest": ("digest", "Show a day in one page."),
    "failures": ("failures", "Count what was not executed, by stage and reason."),
    "known": ("known", "Show what was known about a symbol at a moment."),
    "runs": ("runs", "List the ingestion runs."),
    "show": ("show", "Show a decision, run, signal, request or break in full."),
    "verify": ("verify", "Verify that no record was changed since it was written."),
    "replay": ("replay", "Replay a decision: its strategy on the same data."),
    "export": ("export", "Write a bundle of evidence that verifies itself."),
    "sources": ("sources", "List the sources: origin, terms, key needed, last run."),
    "people": ("people", "Show which member each name resolves to."),
    "maintenance": ("maintenance", "Do what a log needs once a day."),
    "backup": ("backup", "Copy the store while others work on it, and verify the copy."),
    "restore": ("restore", "Put a verified copy in the place of the store."),
    "archive": ("archive", "Move the bulk of what is old to compressed files."),
    "upgrade": ("upgrade", "Upgrade the store to this version's schema."),
}


class LazyGroup(TyperGroup):
    """A group that imports a command's module when the command runs or shows its help."""

    def list_commands(self, ctx: _click.Context) -> list[str]:  # noqa: ARG002
        """The names of all commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: _click.Context, cmd_name: str) -> _click.Command | None:  # noqa: ARG002
        """A stand-in with the one-line help: nothing is imported for a list of commands."""
        if cmd_name not in COMMANDS:
            return None
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name][1], rich_markup_mode=None)

    def resolve_command(
        self, ctx: _click.Context, args: list[str]
    ) -> tuple[str | None, _click.Command | None, list[str]]:
        """Import the command that is to run; a wrong name gets the nearest ones."""
        if args and args[0] in COMMANDS:
            return args[0], _load(args[0]), args[1:]
        self.commands = dict.fromkeys(COMMANDS, TyperCommand("known"))  # names, for "Did you mean"
        return super().resolve_command(ctx, args)


def _load(name: str) -> _click.Command:
    module_name, summary = COMMANDS[name]
    module = import_module(f"tradelog.cli.{module_name}")
    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    single.command(name, help=module.command.__doc__ or summary, context_settings=HELP)(module.command)
    loaded: Any = typer.main.get_command(single)
    return loaded  # type: ignore[no-any-return]


# typer has --help alone by default.
HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    cls=LazyGroup,
    context_settings=HELP,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Trade outbox and audit trail between a strategy and its broker.",
)


def _version(is_given: bool) -> None:
    if is_given:
        from importlib.metadata import version

        print(f"tradelog {version('tradelog')}")
        raise typer.Exit


@app.callback()
def options(
    config: str = typer.Option(None, "--config", metavar="PATH", help="Configuration file to use."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
    version: bool = typer.Option(  # noqa: ARG001
        False, "--version", help="Show the version and exit.", callback=_version, is_eager=True
    ),
) -> None:
    """Trade outbox and audit trail between a strategy and its broker."""
    if config:
        os.environ["TRADELOG_CONFIG"] = config
    if debug:
        os.environ["TRADELOG_DEBUG"] = "1"


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code. Errors become one line and a hint on stderr."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None:
        # Before anything is done: a decision that cannot be answered would be made twice.
        return _report(None, "standard output is closed", "redirect it to a file, or to /dev/null", 1)
    try:
        code = app(args=_options_first(arguments), prog_name="tradelog", standalone_mode=False)
        sys.stdout.flush()
    except NoArgsIsHelpError as error:
        error.show()
        return 2
    except ClickException as error:
        return _report(error, *_usage(error), 2)
    except TradelogError as error:
        return _report(error, error.message, error.hint, error.exit_code)
    except (KeyboardInterrupt, typer.Abort) as error:
        return _report(error, "interrupted", None, 130)
    except BrokenPipeError:
        # The reader of our output has gone; what would have come after it was not done.
        _give_up_output()
        return 1
    except OSError as error:
        if error.filename is None:
            _give_up_output()
        what = f"{error.filename}: " if error.filename is not None else "cannot write the output: "
        return _report(
            error, f"{what}{error.strerror or error}", "check the path, free space, permissions", 1
        )
    except Exception as error:
        hint = "this is a bug in tradelog; run it again with --debug and report the output"
        return _report(error, f"{type(error).__name__}: {error}", hint, 1)
    if code == 130:  # how typer ends what a signal interrupted
        return _report(None, "interrupted", None, 130)
    return code if isinstance(code, int) else 0


def _options_first(arguments: Sequence[str]) -> list[str]:
    """The options of the program may also stand behind the command: ``tradelog status --config PATH``."""
    first: list[str] = []
    rest = list(arguments)
    end = rest.index("--") if "--" in rest else len(rest)
    for position in range(end - 1, -1, -1):
        if rest[position] == "--debug" or rest[position].startswith("--config="):
            first.insert(0, rest.pop(position))
        elif rest[position] == "--config" and position + 1 < len(rest):
            first[:0] = rest[position : position + 2]
            del rest[position : position + 2]
    return first + rest


def _usage(error: ClickException) -> tuple[str, str | None]:
    """The message of a wrong command line, and the command that lists its options."""
    message = error.format_message().strip().rstrip(".")
    context = getattr(error, "ctx", None)
    path = "tradelog" if context is None else context.command_path
    return message[:1].lower() + message[1:], f"{path} --help"


def _give_up_output() -> None:
    """Send what is left of the output to nowhere: Python must not try to print it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: BaseException | None, message: str, hint: str | None, code: int) -> int:
    from tradelog.domain.text import escape_controls

    if error is not None and os.environ.get("TRADELOG_DEBUG"):
        import traceback

        traceback.print_exception(error)
    print(f"error: {escape_controls(message)}", file=sys.stderr)
    if hint:
        print(f"hint: {escape_controls(hint)}", file=sys.stderr)
    return code
