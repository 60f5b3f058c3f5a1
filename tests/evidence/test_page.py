"""The page of a bundle in a real browser: text of others stays text, and nothing is loaded or run."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.evidence.conftest import run
from tests.evidence.test_bundle import unpack

pytestmark = pytest.mark.browser


class Watched(HTTPServer):
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Watched

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[Watched]:
    server = Watched(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def in_browser(page: Path, profile: Path, *options: str) -> str:
    """What Chromium makes of a page: its DOM as text, after everything has run that runs."""
    ended = subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(
                f"--user-data-dir={profile}",
                "--virtual-time-budget=2000",
                "--dump-dom",
                *options,
                page.as_uri(),
            ),
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )
    return ended.stdout.decode()


def test_text_of_others_stays_text(home: Path, tmp_path: Path, elsewhere: Watched) -> None:
    host = f"http://127.0.0.1:{elsewhere.server_port}"
    hostile = (
        f"<script>document.title='owned';fetch('{host}/fetch')</script><img src='{host}/img' onerror=alert()>"
        f"<style>@import '{host}/style'</style></pre></table>\u202e\x1b[31m &amp; \"quoted\""
    )
    assert run(home, "decide", "buy", "1", "MSFT", "--why", hostile).code == 0
    assert run(home, "export", "bundle", "--symbol", "MSFT", "-o", "x.zip").code == 0
    page = unpack(home / "x.zip") / "index.html"
    dom = in_browser(page, tmp_path / "profile")
    assert "<title>MSFT, all time (America/New_York), account simulated, paper, default</title>" in dom
    assert "&lt;script&gt;document.title='owned'" in dom
    assert "<script" not in dom
    assert "<img" not in dom
    assert dom.count("<style>") == 1
    assert "\u202e" not in dom
    assert elsewhere.asked == []


def test_it_fits_a_narrow_and_a_wide_window(home: Path, tmp_path: Path) -> None:
    """No line is wider than the window, so that a phone shows all of it."""
    assert run(home, "export", "bundle", "--symbol", "AAPL", "-o", "x.zip").code == 0
    page = unpack(home / "x.zip") / "index.html"
    # The page's own rules forbid scripts; a frame around it may measure it.
    frame = tmp_path / "frame.html"
    for width in (360, 1280):
        frame.write_text(
            f"<iframe id=f src='{page.as_uri()}' style='width:{width}px;height:900px;border:0'></iframe>"
            "<script>onload = () => { const e = document.getElementById('f').contentDocument.documentElement;"
            " document.title = e.scrollWidth + ' of ' + e.clientWidth }</script>"
        )
        dom = in_browser(frame, tmp_path / f"profile{width}", "--allow-file-access-from-files")
        title = dom.partition("<title>")[2].partition("</title>")[0]
        needed, _, there = title.partition(" of ")
        assert int(needed) <= int(there), title
