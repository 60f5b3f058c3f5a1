"""A stand-in for Alpaca's Trading API on loopback, with faults to order.

It keeps every raw request that it saw, so that a test can hold its view against our log; a GET of
``/test/requests`` tells them to another process. Behind it are `Books`.
"""

from __future__ import annotations

import base64
import json
import random
import socket
import struct
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests import wall_clock
from tests.fakes.books import Books

KEYS = ("key", "secret")


@dataclass
class Seen:
    method: str
    path: str
    body: bytes


@dataclass
class Fault:
    """What to do to the next request of ``method`` whose path holds ``path``, ``times`` times.

    ``accept`` carries it out first; then, in this order: ``stall`` seconds, ``drop`` the connection,
    ``drip`` a byte at a time for ever, or answer ``status`` with ``body`` and ``headers``.
    """

    method: str = "POST"
    accept: bool = False
    stall: float = 0.0
    drop: bool = False
    drip: bool = False
    status: int = 500
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    path: str = ""
    times: int = 1


class FakeAlpaca(Books):
    """``rate_limit`` requests a window of ``window`` seconds; the next one is answered 429."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        # How likely a fault that fits is taken: 1 meets the very next request.
        self.fault_chance = 1.0
        self._chance = random.Random(1)
        self.rate_limit: int | None = None
        # How far the broker's own clock is ahead of this machine's.
        self.ahead_seconds = 0.0
        self.window = 60.0
        self._window_ends = 0.0
        self._used = 0
        self._stopped = threading.Event()
        handler = type("Handler", (_Handler,), {"fake": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def posts(self) -> list[dict[str, Any]]:
        return [json.loads(item.body) for item in self.seen if item.method == "POST"]

    def count(self, method: str, path: str = "") -> int:
        return sum(item.method == method and path in item.path for item in self.seen)

    def wait(self, seconds: float) -> None:
        self._stopped.wait(seconds)

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            if self.fault_chance < 1.0 and self._chance.random() >= self.fault_chance:
                return None
            for fault in self.faults:
                if fault.method == method and fault.path in path:
                    fault.times -= 1
                    if fault.times <= 0:
                        self.faults.remove(fault)
                    return fault
        return None

    def limit(self) -> tuple[bool, dict[str, str]]:
        """Whether this request is one too many, and what the headers say of the limit."""
        with self.lock:
            if wall_clock.now().timestamp() >= self._window_ends:
                self._window_ends, self._used = wall_clock.now().timestamp() + self.window, 0
            self._used += 1
            most = self.rate_limit or 200
            left = 199 if self.rate_limit is None else max(0, most - self._used)
            headers = {
                "X-Ratelimit-Limit": str(most),
                "X-Ratelimit-Remaining": str(left),
                "X-Ratelimit-Reset": str(int(self._window_ends)),
            }
            return self.rate_limit is not None and self._used > most, headers


class _Handler(BaseHTTPRequestHandler):
    fake: FakeAlpaca
    protocol_version = "HTTP/1.1"
    # Headers and body leave in two writes, and a delayed acknowledgement between them costs 40 ms.
    disable_nagle_algorithm = True

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(wall_clock.now().timestamp() + self.fake.ahead_seconds)

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        fake = self.fake
        if len(body) < length:
            # Whoever was killed in the middle of it has asked for nothing.
            self.close_connection = True
            return
        if self.path == "/test/requests":
            listed = [[item.method, item.path, base64.b64encode(item.body).decode()] for item in fake.seen]
            self._reply(200, listed)
            return
        fake.seen.append(Seen(self.command, self.path, body))
        is_over, self._limits = fake.limit()
        keys = (self.headers.get("APCA-API-KEY-ID"), self.headers.get("APCA-API-SECRET-KEY"))
        fault = fake.take_fault(self.command, self.path)
        if fault is not None:
            self._misbehave(fault, body)
        elif is_over:
            self._reply(429, {"message": "rate limit exceeded"})
        elif keys != KEYS:
            self._reply(401, {"code": 40110000, "message": "request is not authorized"})
        else:
            self._reply(*fake.answer(self.command, self.path, body))

    do_GET = do_POST = do_DELETE = do_PATCH = _serve

    def _misbehave(self, fault: Fault, body: bytes) -> None:
        if fault.accept:
            self.fake.answer(self.command, self.path, body)
        if fault.stall:
            self.fake.wait(fault.stall)
        if fault.drop:
            # A reset instead of a polite end, as of a machine that went away.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        if fault.drip:
            self._drip()
            return
        self.send_response(fault.status)
        self._headers(fault.headers)
        self.send_header("Content-Length", str(len(fault.body)))
        self.end_headers()
        self.wfile.write(fault.body)

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.close_connection = True
        end = time.monotonic() + 30
        try:
            while time.monotonic() < end and not self.fake._stopped.is_set():
                self.wfile.write(b" ")
                self.wfile.flush()
                self.fake.wait(0.1)
        except OSError:
            return

    def _reply(self, status: int, value: Any) -> None:
        text = b"" if status == 204 else json.dumps(value).encode()
        self.send_response(status)
        self._headers({"Content-Type": "application/json"})
        if status != 204:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _headers(self, more: dict[str, str]) -> None:
        limits = getattr(self, "_limits", {})
        for name, value in ({"X-Request-ID": uuid.uuid4().hex} | limits | more).items():
            self.send_header(name, value)

    def log_message(self, *_: object) -> None:
        pass
