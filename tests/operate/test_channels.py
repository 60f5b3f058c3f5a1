"""Apprise on the wire: Slack, mail, ntfy and a web hook, with servers that answer, refuse and hang."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from apprise.plugins.email.base import NotifyEmail
from apprise.plugins.slack import NotifySlack
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.conftest import Cli, scalar
from tests.operate.conftest import Hands
from tradelog.config.schema import AlertsConfig
from tradelog.operate import channels
from tradelog.operate.channels import AppriseChannel, BrokenChannel, Channel, Message
from tradelog.store.writer import Writer

MESSAGE = Message(
    7, "urgent", "halted", "everything", "", 1, "tradelog: 1 × halted", "- by ann", "", "3 ab", is_again=False
)


def made(url: str) -> Channel:
    (channel,) = channels.configured(AlertsConfig(urls=(url,)))
    return channel


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apprise waits before it sends, so that a service is not asked too often."""
    for service in (NotifySlack, NotifyEmail):
        monkeypatch.setattr(service, "request_rate_per_sec", 0)


class _Mail(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server: Any = self.server
        self._say("220 loopback")
        in_data, lines = False, []
        for line in self.rfile:
            text = line.decode().rstrip("\r\n")
            if in_data:
                if text == ".":
                    in_data = False
                    server.mails.append("\n".join(lines))
                    self._say("250 ok")
                lines.append(text)
            elif text.upper().startswith("DATA"):
                in_data = True
                self._say("354 go on")
            elif text.upper().startswith("QUIT"):
                self._say("221 bye")
                return
            elif text.upper().startswith("EHLO"):
                self._say("250 loopback")
            elif text.upper().startswith("RCPT") and server.refuses:
                self._say("550 no such user")
            else:
                self._say("250 ok")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class MailServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    refuses = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Mail)
        self.mails: list[str] = []


@pytest.fixture
def mail() -> Iterator[MailServer]:
    server = MailServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_ntfy(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/", method="POST").respond_with_json({"id": "1"})
    assert made(f"ntfy://127.0.0.1:{httpserver.port}/my-topic").send(MESSAGE) is None
    (request, _) = httpserver.log[0]
    told = request.json
    assert (told["topic"], told["title"], told["message"]) == ("my-topic", MESSAGE.title, MESSAGE.body)


def test_slack(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NotifySlack, "webhook_url", httpserver.url_for("/services"))
    httpserver.expect_request("/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ").respond_with_data(
        "ok"
    )
    url = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#alerts"
    assert made(url).send(MESSAGE) is None
    (request, _) = httpserver.log[0]
    assert request.json["attachments"][0]["title"] == MESSAGE.title


def test_mail(mail: MailServer) -> None:
    port = mail.server_address[1]
    channel = made(f"mailto://127.0.0.1:{port}?from=log@example.org&to=ann@example.org")
    assert channel.send(MESSAGE) is None
    assert "To: ann@example.org" in mail.mails[0]
    mail.refuses = True
    error = channel.send(MESSAGE)
    assert error is not None
    assert len(mail.mails) == 1


def test_a_repeat_says_so(httpserver: HTTPServer) -> None:
    from dataclasses import replace

    httpserver.expect_request("/", method="POST").respond_with_data("")
    made(f"json://127.0.0.1:{httpserver.port}").send(replace(MESSAGE, is_again=True))
    assert httpserver.log[0][0].json["title"] == "tradelog: 1 × halted (again)"


@pytest.mark.parametrize("status", [429, 500, 403])
def test_a_refusal_is_one_try(httpserver: HTTPServer, status: int) -> None:
    httpserver.expect_request("/", method="POST").respond_with_data("no", status=status)
    error = made(f"json://127.0.0.1:{httpserver.port}").send(MESSAGE)
    assert str(status) in str(error)
    assert len(httpserver.log) == 1


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "onnection error" in str(made(f"json://127.0.0.1:{port}").send(MESSAGE))


def test_one_that_sleeps_is_left(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its own time-out nor the answer is waited for."""
    monkeypatch.setattr(channels, "SEND_SECONDS", 0.3)
    answered = threading.Event()

    def sleep(_: Request) -> Response:
        answered.wait(20)
        return Response("")

    httpserver.expect_request("/", method="POST").respond_with_handler(sleep)
    started = time.monotonic()
    try:
        assert made(f"json://127.0.0.1:{httpserver.port}").send(MESSAGE) == "not done within 0.3 s"
        assert time.monotonic() - started < 3
    finally:
        answered.set()


@pytest.mark.parametrize("url", ["nonsense://x", "no url at all", "slack://", "mailto://"])
def test_what_is_no_service(url: str) -> None:
    channel = made(url)
    assert isinstance(channel, BrokenChannel)
    assert channel.label == "[alerts] urls, number 1"
    assert channel.send(MESSAGE) == "it is no URL of a service that Apprise knows"


def test_apprise_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "apprise", None)
    channel = made("json://127.0.0.1:1")
    assert isinstance(channel, BrokenChannel)
    assert channel.error.startswith("[alerts] urls need Apprise, which is not installed: pip install")


# Secrets.

CANARY = "s3cr3t/with:odd@characters"


@pytest.fixture
def secret_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{CANARY}\n")
    path.chmod(0o600)
    monkeypatch.setenv("HOOK_PASSWORD_FILE", str(path))
    return path


def test_a_part_of_a_url_is_quoted(httpserver: HTTPServer, secret_file: Path) -> None:
    httpserver.expect_request("/", method="POST").respond_with_data("")
    channel = made(f"json://me:{{HOOK_PASSWORD}}@127.0.0.1:{httpserver.port}")
    assert channel.send(MESSAGE) is None
    authorization = httpserver.log[0][0].authorization
    assert authorization is not None
    assert (authorization.username, authorization.password) == ("me", CANARY)


def test_a_whole_url_may_be_secret(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    httpserver.expect_request("/x", method="POST").respond_with_data("")
    monkeypatch.setenv("HOOK_URL", f"json://127.0.0.1:{httpserver.port}/x")
    assert made("{HOOK_URL}").send(MESSAGE) is None


def test_a_secret_shows_nowhere(
    httpserver: HTTPServer,
    secret_file: Path,
    home: Path,
    cli: Cli,
    hands: Hands,
    writer: Writer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not in what is printed, logged or stored, also where the service fails."""
    httpserver.expect_request("/", method="POST").respond_with_data(CANARY, status=500)
    url = f"json://me:{{HOOK_PASSWORD}}@127.0.0.1:{httpserver.port}"
    configure(home, url)
    hands.raise_("halted", "everything")
    lines = (("test",), ("send",), (), ("--json",))
    said = [cli("alerts", *line, HOOK_PASSWORD_FILE=str(secret_file)) for line in lines]
    stored = "\n".join(writer.connection.iterdump())
    for text in (*(part for ended in said for part in (ended.out, ended.err)), stored, caplog.text):
        for form in (CANARY, CANARY.replace("/", "%2F").replace(":", "%3A").replace("@", "%40")):
            assert form not in text
    assert [ended.code for ended in said[:2]] == [1, 1]
    assert "json://me:{HOOK_PASSWORD}@127.0.0.1" in said[0].out


@pytest.mark.parametrize(
    ("prepare", "error"),
    [
        (lambda _: None, "MISSING is not set"),
        (lambda path: path.chmod(0o644), "can be read by others"),
        (lambda path: path.unlink(), "cannot read"),
    ],
)
def test_a_secret_that_is_not_there(secret_file: Path, prepare: Callable[[Path], None], error: str) -> None:
    prepare(secret_file)
    name = "MISSING" if error.startswith("MISSING") else "HOOK_PASSWORD"
    channel = made(f"json://me:{{{name}}}@127.0.0.1:1")
    assert isinstance(channel, BrokenChannel)
    assert error in channel.error


# As somebody types them.


def configure(home: Path, *urls: str) -> None:
    with (home / "tradelog.toml").open("a") as stream:
        stream.write(f"\n[alerts]\nurls = {json.dumps(urls)}\n")


def test_alerts_test(httpserver: HTTPServer, home: Path, cli: Cli, writer: Writer) -> None:
    httpserver.expect_request("/good", method="POST").respond_with_data("")
    httpserver.expect_request("/bad", method="POST").respond_with_data("", status=500)
    base = f"json://127.0.0.1:{httpserver.port}"
    configure(home, f"{base}/good", f"{base}/bad", "nonsense://x")
    ended = cli("alerts", "test")
    assert ended.code == 4
    assert f"{base}/good\tdelivered" in ended.out
    assert "500" in ended.out
    assert f"error: 2 channels did not deliver: {base}/bad, [alerts] urls, number 3" in ended.err
    told = json.loads(cli("alerts", "test", "--json").out)["channels"]
    assert [item["error"] is None for item in told] == [True, False, False]
    assert scalar(writer, "SELECT count(*) FROM alert_messages") == 0


def test_alerts_test_without_channels(cli: Cli) -> None:
    ended = cli("alerts", "test")
    assert (ended.code, ended.err.splitlines()[0]) == (4, "error: no channel is configured")


def test_a_message_by_apprise_end_to_end(
    httpserver: HTTPServer, home: Path, cli: Cli, hands: Hands, writer: Writer
) -> None:
    httpserver.expect_request("/", method="POST").respond_with_data("")
    configure(home, f"json://127.0.0.1:{httpserver.port}")
    hands.raise_("position_break", "brk_1", message="AAPL: 5 expected, 3 held")
    assert cli("alerts", "send").out == "1 message delivered\n"
    assert cli("alerts", "send").out == "0 messages delivered\n"
    told = httpserver.log[0][0].json
    assert told["title"] == "tradelog: 1 × position break"
    assert told["message"].startswith("- AAPL: 5 expected, 3 held (brk_1)")
    channel = scalar(writer, "SELECT channel FROM alert_deliveries")
    assert channel == f"json://127.0.0.1:{httpserver.port}"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('urls = "x"', "must be a list of texts"),
        ("urls = [1]", "must be a list of texts"),
        ('digest_at = "25:00"', "is no time of day"),
        ("window_seconds = 0", "window_seconds must be above 0"),
        ("repeat_hours = 0", "repeat_hours must be above 0"),
    ],
)
def test_wrong_configuration(home: Path, cli: Cli, line: str, error: str) -> None:
    with (home / "tradelog.toml").open("a") as stream:
        stream.write(f"\n[alerts]\n{line}\n")
    ended = cli("alerts")
    assert ended.code == 4
    assert error in ended.err


def test_the_label_is_the_same_from_run_to_run() -> None:
    first, second = (made("json://me:pass@127.0.0.1:1/x?+X=y") for _ in range(2))
    assert isinstance(first, AppriseChannel)
    assert first.label == second.label == "json://me:****@127.0.0.1:1/x"


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("ntfy://127.0.0.1:{port}/{{HOOK_PASSWORD}}", "ntfy://127.0.0.1:{port}/{{HOOK_PASSWORD}}"),
        (
            "json://127.0.0.1:{port}/hooks/{{HOOK_PASSWORD}}?x=1",
            "json://127.0.0.1:{port}/hooks/{{HOOK_PASSWORD}}",
        ),
        (
            "json://me:plain@127.0.0.1:{port}/{{HOOK_PASSWORD}}",
            "json://me:…@127.0.0.1:{port}/{{HOOK_PASSWORD}}",
        ),
    ],
)
def test_a_label_is_what_stands_in_the_file(
    secret_file: Path, httpserver: HTTPServer, url: str, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No secret is in it, and it is the same for who has the secret and who has not."""
    assert made(url.format(port=httpserver.port)).label == label.format(port=httpserver.port)
    monkeypatch.delenv("HOOK_PASSWORD_FILE")
    assert made(url.format(port=httpserver.port)).label == label.format(port=httpserver.port)


def test_a_sender_without_the_secret_drops_nothing(
    httpserver: HTTPServer, home: Path, cli: Cli, hands: Hands, writer: Writer, secret_file: Path
) -> None:
    httpserver.expect_request("/", method="POST").respond_with_data("")
    configure(home, f"json://me:{{HOOK_PASSWORD}}@127.0.0.1:{httpserver.port}")
    hands.raise_("halted", "everything")
    ended = cli("alerts", "send")
    assert (ended.code, "HOOK_PASSWORD is not set" in ended.err) == (1, True)
    writer.connection.execute("UPDATE alert_deliveries SET next_at = '2000-01-01T00:00:00.000000Z'")
    assert cli("alerts", "send", HOOK_PASSWORD_FILE=str(secret_file)).out.startswith("1 message delivered")


def test_two_channels_that_look_alike_are_two(httpserver: HTTPServer) -> None:
    base = f"json://127.0.0.1:{httpserver.port}"
    found = channels.configured(AlertsConfig(urls=(f"{base}/a?+X=1", f"{base}/a?+X=2")))
    assert [item.label for item in found] == [f"{base}/a", f"{base}/a (2)"]


def test_markup_of_a_broker_stays_text(mail: MailServer) -> None:
    from dataclasses import replace

    channel = made(f"mailto://127.0.0.1:{mail.server_address[1]}?from=log@example.org&to=ann@example.org")
    assert channel.send(replace(MESSAGE, body="<html>a < b</html>\nsecond")) is None
    assert "<html>a" not in mail.mails[0].partition("text/html")[2]
