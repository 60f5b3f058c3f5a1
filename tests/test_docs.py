"""Every command, option and key is documented, and every name in the documents exists."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tradelog.cli.app import COMMANDS, _load, app
from tradelog.config import schema
from tradelog.config.parameters import PARAMETERS
from tradelog.config.risk import ControlConfig, RiskConfig
from tradelog.ingest.sources.edgar import SOURCE as EDGAR

DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "docs/*.md",
    "examples/**/README.md",
)
ROOMS = {path.name for path in (ROOT / "src" / "tradelog").iterdir() if path.is_dir()}
REFERENCE = ROOT / "docs" / "commands.md"
TABLES: dict[str, Any] = {
    "store": schema.StoreConfig,
    "broker": schema.BrokerConfig,
    "worker": schema.WorkerConfig,
    "risk": RiskConfig,
    "alerts": schema.AlertsConfig,
    "client": schema.ClientConfig,
    "maintenance": schema.MaintenanceConfig,
    "retention": schema.RetentionConfig,
    "market": schema.MarketConfig,
    "report": schema.ReportConfig,
    **{f"sources.{name}": kind for name, kind in schema.SOURCE_SECTIONS.items()},
    **{f"strategies.{name}": kind for name, kind in PARAMETERS.items()},
}
# Settings of the program that are no option of one command.
VARIABLES = {
    *("TRADELOG_CONFIG", "TRADELOG_DEBUG", "TRADELOG_ALERT_", "PAGER", "NO_COLOR", "GOLDEN", "TEST_CLOCK"),
    *("APCA_API_KEY_ID", "APCA_API_SECRET_KEY", "QUIVER_API_KEY"),
}


def documents() -> Iterator[tuple[str, str]]:
    for pattern in DOCUMENTS:
        for path in sorted(ROOT.glob(pattern)):
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def parameters(name: str) -> list[Any]:
    return [item for item in _load(name).params if item.name != "help"]


def option_names(name: str) -> set[str]:
    return {option for item in parameters(name) for option in item.opts if option.startswith("-")}


def reference() -> str:
    """The reference of the command line, as its own help has it."""
    lines = [
        "# Commands",
        "",
        "Written from the program's own help (`GOLDEN=write pytest tests/test_docs.py`).",
        "Options of the program, before or behind the command:",
        "`--config PATH`, `--debug`, `--version`, `--help`.",
    ]
    for name in COMMANDS:
        command = _load(name)
        arguments = [item for item in parameters(name) if item.param_type_name == "argument"]
        options = [item for item in parameters(name) if item.param_type_name == "option"]
        metavars = " ".join(item.make_metavar(_context(command)) for item in arguments)
        lines += ["", f"## {name}", "", f"`tradelog {name} [OPTIONS] {metavars}".rstrip() + "`", ""]
        lines += [line.strip() for line in (command.help or "").strip().splitlines()]
        rows = [(item.make_metavar(_context(command)), item.help) for item in arguments]
        rows += [(_option(item, command), item.help) for item in options]
        if rows:
            lines += ["", "| | |", "| --- | --- |"]
            lines += [f"| `{left}` | {_cell(right or '')} |" for left, right in rows]
    return "\n".join(lines) + "\n"


def _context(command: Any) -> Any:
    from typer._click import Context

    return Context(command)


def _option(item: Any, command: Any) -> str:
    names = ", ".join(item.opts)
    return names if item.is_flag else f"{names} {item.make_metavar(_context(command))}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def test_the_reference_of_commands_is_that_of_the_program() -> None:
    if os.environ.get("GOLDEN") == "write":
        REFERENCE.write_text(reference(), encoding="utf-8")
    assert REFERENCE.read_text(encoding="utf-8") == reference(), "GOLDEN=write pytest tests/test_docs.py"


def test_every_argument_and_option_has_its_help() -> None:
    for name in COMMANDS:
        assert _load(name).help
        assert not [item.name for item in parameters(name) if not item.help], name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name: str) -> None:
    assert re.search(rf"`(tradelog )?{name}\b|^tradelog {name}\b", (ROOT / "README.md").read_text(), re.M)


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_in_the_template(table: str) -> None:
    """Set or commented out with its default: what a key does stands beside it."""
    lines = (ROOT / "tradelog.toml").read_text().splitlines()
    section, keys = "", set()
    for line in lines:
        text = line.removeprefix("# ").strip()
        if result := re.fullmatch(r"\[([\w.-]+)\].*", text):
            section = result[1]
        elif section == table and (result := re.match(r"([a-z_]+) = ", text)):
            keys.add(result[1])
    expected = {item.name for item in fields(TABLES[table])}
    if table == "strategies.congress":  # the keys of every strategy stand there, and say so
        expected |= {item.name for item in fields(ControlConfig)}
    assert expected - keys == set(), table


def test_every_command_line_in_a_document_is_one_of_the_program() -> None:
    for name, text in documents():
        for command, rest in re.findall(r"(?:`|\$ |    )tradelog ([a-z][a-z-]+)([^`\n]*)", _code(text)):
            assert command in COMMANDS, f"{name}: tradelog {command}"
            known = option_names(command) | {"--config", "--debug", "--help", "--version"}
            try:
                words = shlex.split(rest.split("|")[0].split("#")[0])
            except ValueError:
                words = rest.split()
            used = {word.split("=")[0] for word in words if re.fullmatch(r"--[a-z][a-z-]+(=.*)?", word)}
            assert used <= known, f"{name}: tradelog {command} {used - known}"


def test_every_option_in_a_document_exists() -> None:
    known = set().union(*map(option_names, COMMANDS)) | {"--config", "--debug", "--help", "--version"}
    for name, text in documents():
        used = set(re.findall(r"`(--[a-z][a-z-]+)", text))
        assert used <= known, f"{name}: {used - known}"


def test_every_module_in_a_document_exists() -> None:
    """But in the changelog, which names what was."""
    for name, text in documents():
        if name == "CHANGELOG.md":
            continue
        for dotted in set(re.findall(r"`(tradelog(?:\.\w+)+)`", text)) - {
            "tradelog.toml",
            "tradelog.sources",
            "tradelog.strategies",
        }:
            assert _exists(dotted), f"{name}: {dotted}"


def test_every_new_name_in_the_changelog_exists() -> None:
    """The right-hand column of its table of renames."""
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert len(rows) > 10
    for _, right in rows:
        package = ""
        for dotted in re.findall(r"`(?:tradelog\.)?([a-z_]+(?:\.\w+)+|[a-z_]+)`", right):
            if dotted.split(".")[0] in ROOMS:
                package = dotted.split(".")[0]
            names = [dotted, f"{package}.{dotted}"]
            names += [
                f"{package}.{room}.{dotted}" for room in ("account", "amend", "outbox", "risk", "track")
            ]
            assert any(_exists(f"tradelog.{item}") for item in names) or dotted == "open_log", dotted


def test_every_file_in_a_document_exists() -> None:
    """Paths with a folder, of the checkout or below the package."""
    for name, text in documents():
        for path in set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", text)) | set(
            re.findall(r"\]\(([\w./-]+)\)", text)
        ):
            places = (ROOT / path, ROOT / "docs" / path, *(ROOT / "src/tradelog").glob(f"**/{path}"))
            assert any(place.exists() for place in places) or (ROOT / "src/tradelog" / path).exists(), (
                name,
                path,
            )


def test_every_make_target_in_a_document_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for name, text in documents():
        used = set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text, re.M))
        assert used <= targets, f"{name}: {used - targets}"


def test_every_key_in_a_document_exists() -> None:
    """``[table] key``, as messages and documents name one."""
    for name, text in documents():
        for table, key in re.findall(r"`\[([a-z.-]+)\]`? `?([a-z_]+)`", text):
            if table in TABLES:
                assert key in {item.name for item in fields(TABLES[table])}, f"{name}: [{table}] {key}"


def test_every_variable_in_a_document_is_read() -> None:
    for name, text in documents():
        used = set(re.findall(r"`([A-Z][A-Z]+_[A-Z_]+)(?:=\w+)?`", text))
        source = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
        missing = {item for item in used if item not in VARIABLES and item not in source}
        assert not missing, f"{name}: {missing}"


def test_the_reference_names_the_source_s_options() -> None:
    """What a fetch can be bounded by is an option of the command."""
    options = {f"--{option}" for names in EDGAR.options.values() for option in names}
    assert options <= option_names("fetch")


def test_the_project_says_nothing_that_it_does_not_know() -> None:
    """No invented names, addresses or URLs in the metadata."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "MIT"
    assert not {"authors", "maintainers", "urls"} & set(project)
    assert "the tradelog authors" in (ROOT / "LICENSE").read_text()


def _code(text: str) -> str:
    """Fenced blocks indented, as inline code stays: prose may begin a line with the program's name."""
    blocks = re.split(r"^```.*$", text, flags=re.M)
    return "\n".join(
        re.sub(r"^(?=tradelog )", "    ", block, flags=re.M) if number % 2 else block
        for number, block in enumerate(blocks)
    )


def _exists(dotted: str) -> bool:
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(value, part) and part not in getattr(value, "__dataclass_fields__", {}):
                return False
            value = getattr(value, part, None)
        return True
    return False


def test_the_program_has_the_commands_of_its_table() -> None:
    assert app.info.help
    assert all(Path(ROOT / f"src/tradelog/cli/{module}.py").is_file() for module, _ in COMMANDS.values())
