"""Heads: printed, kept elsewhere, and held against the chain."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.evidence.conftest import run


def test_the_head_is_one_line(home: Path) -> None:
    ended = run(home, "verify", "--head")
    assert ended.code == 0
    seq, digest, count, at = ended.out.split()
    assert seq == count
    assert len(bytes.fromhex(digest)) == 32
    assert at.endswith("Z")
    told = json.loads(run(home, "verify", "--head", "--json").out)["head"]
    assert told == {"seq": int(seq), "hash": digest, "count": int(count), "at": at}


@pytest.mark.parametrize("form", ["line", "json", "lines of json", "with a comment"])
def test_a_head_that_was_kept_is_part_of_the_chain_later(home: Path, tmp_path: Path, form: str) -> None:
    kept = tmp_path / "kept"
    line, document = run(home, "verify", "--head").out, run(home, "verify", "--head", "--json").out
    flat = json.dumps(json.loads(document)) + "\n"
    text = {"line": line, "json": document, "lines of json": flat * 2, "with a comment": f"# mine\n{line}\n"}
    kept.write_text(text[form])
    assert run(home, "decide", "buy", "1", "AAPL", "--why", "later").code == 0
    ended = run(home, "verify", "--since-head", str(kept))
    assert ended.code == 0, ended
    assert f"heads kept elsewhere\t{2 if form == 'lines of json' else 1}\n" in ended.out


@pytest.mark.parametrize(
    "text",
    ["", "hello\n", "1 2 3\n", "1 zz 1 2026\n", "{}\n", '{"seq": 1}\n', "[1]\n", "1 00 1 2026\n", "\ufffe"],
)
def test_a_file_that_holds_no_head(home: Path, tmp_path: Path, text: str) -> None:
    kept = tmp_path / "kept"
    kept.write_text(text)
    ended = run(home, "verify", "--since-head", str(kept))
    assert ended.code == 2
    assert "error:" in ended.err
    assert ended.out == ""
    # Nor is a head appended to a file of something else.
    if text:
        assert run(home, "verify", "--head", "--to", str(kept)).code == 2
        assert kept.read_text() == text


def test_a_missing_file_of_heads(home: Path) -> None:
    ended = run(home, "verify", "--since-head", "nowhere")
    assert ended.code == 2
    assert "cannot read nowhere" in ended.err


def test_heads_gather_in_a_file_elsewhere(home: Path, tmp_path: Path) -> None:
    kept = tmp_path / "heads"
    for number in (1, 2, 3):
        ended = run(home, "verify", "--head", "--to", str(kept))
        assert ended.code == 0, ended
        assert kept.read_text().splitlines()[-1] == ended.out.strip()
        assert len(kept.read_text().splitlines()) == number
        assert run(home, "decide", "buy", "1", "AAPL", "--why", "x").code == 0


def test_a_command_takes_the_head_on_its_input(home: Path, tmp_path: Path) -> None:
    script = tmp_path / "take.py"
    script.write_text("import sys; open(sys.argv[1], 'w').write(sys.stdin.read())")
    ended = run(home, "verify", "--head", "--to", f"| {sys.executable} {script} {tmp_path / 'taken'}")
    assert ended.code == 0, ended
    assert (tmp_path / "taken").read_text() == ended.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--head", "--to", "| false"), 1, "false did not take the head: it ended with 1"),
        (("--head", "--to", "| no-such-program"), 2, "cannot run 'no-such-program'"),
        (("--head", "--to", "|"), 2, "cannot run ''"),
        (("--head", "--to", " "), 2, "--to is empty"),
        (("--head", "--to", "no/such/place"), 1, "could not be written to no/such/place"),
        (("--to", "x"), 2, "--to goes with --head"),
        (("--head", "--broker"), 2, "--head prints the head and checks nothing"),
    ],
)
def test_where_a_head_cannot_go(home: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    ended = run(home, "verify", *arguments)
    assert ended.code == code, ended
    assert said in ended.err


def test_without_a_store_there_is_nothing_to_verify(home: Path, store: Path) -> None:
    store.unlink()
    ended = run(home, "verify")
    assert ended.code == 5
    assert "no store at" in ended.err


def test_an_alert_takes_the_head_along(home: Path, tmp_path: Path) -> None:
    script = tmp_path / "take.py"
    script.write_text(
        "import os, sys\nopen(sys.argv[1], 'a').write(sys.stdin.read() + os.environ['TRADELOG_ALERT_HEAD'])\n"
    )
    command = f'[alerts]\ncommand = "{sys.executable} {script} {tmp_path / "told"}"\n'
    text = (home / "tradelog.toml").read_text()
    (home / "tradelog.toml").write_text(text.replace("[alerts]\n", command))
    assert run(home, "decide", "buy", "9", "NOPRICE", "--why", "fails").code == 0
    assert run(home, "run-worker", "--once").code == 0
    assert run(home, "halt", "--why", "urgent").code == 0
    assert run(home, "alerts", "send").code == 0
    told = (tmp_path / "told").read_text()
    heads = tmp_path / "heads"
    seq, digest = told.rpartition("}")[2].split()
    assert f'"head": "{seq} {digest}"' in told
    heads.write_text(f"{seq} {digest} {seq} then\n")
    assert run(home, "verify", "--since-head", str(heads)).code == 0
