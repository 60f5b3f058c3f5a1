"""A stateful stand-in for Alpaca's Trading API on loopback, with faults to order.

It keeps every raw request that it saw, so that a test can hold its view against our log. What it
does without a fault is what Alpaca does: client ids unique for ever, ``pending_new`` first and the
fill behind it, decimal text, nanosecond times, X-Request-ID and rate headers on every answer.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEYS = ("key", "secret")


@dataclass
class Seen:
    method: str
    path: str
    body: bytes


@dataclass
class Fault:
    """What to do to the next request of ``method``.

    ``accept`` places the order first; then, in this order: ``stall`` seconds, ``drop`` the connection,
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


class FakeAlpaca:
    """``fills`` False leaves orders resting; ``hidden`` look-ups by client id answer 404 first, and
    ``late_activities`` questions for activities nothing."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.orders: dict[str, dict[str, Any]] = {}
        self.activities: list[dict[str, Any]] = []
        self.faults: list[Fault] = []
        self.fills = True
        self.hidden = 0
        self.late_activities = 0
        self.account_number = "PA123456789"
        self.reply_changes: dict[str, Any] = {}
        self._lock = threading.RLock()
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

    def place(self, body: dict[str, Any]) -> tuple[int, Any]:
        with self._lock:
            client_id = body.get("client_order_id") or str(uuid.uuid4())
            if any(order["client_order_id"] == client_id for order in self.orders.values()):
                return 422, {"code": 40010001, "message": "client_order_id must be unique"}
            now = _now()
            order = {
                "id": str(uuid.uuid4()),
                "client_order_id": client_id,
                **{"created_at": now, "updated_at": now, "submitted_at": now, "filled_at": None},
                "symbol": body["symbol"],
                "asset_class": "us_equity",
                **{"notional": body.get("notional"), "qty": body.get("qty")},
                **{"filled_qty": "0", "filled_avg_price": None, "order_class": ""},
                **{"order_type": body["type"], "type": body["type"], "side": body["side"]},
                "time_in_force": body["time_in_force"],
                **{"limit_price": body.get("limit_price"), "stop_price": body.get("stop_price")},
                **{"status": "pending_new", "replaced_by": None, "replaces": None, "legs": None},
            }
            answer = dict(order)
            self.orders[order["id"]] = order
            if self.fills:
                self.fill(order["id"], order["qty"] or "1", "100.5")
            return 200, answer | self.reply_changes

    def fill(self, order_id: str, quantity: str, price: str, *, status: str = "filled") -> None:
        with self._lock:
            order = self.orders[order_id]
            order.update(
                status=status,
                filled_qty=quantity,
                filled_avg_price=price,
                filled_at=_now(),
                updated_at=_now(),
            )
            local = datetime.now(UTC) - timedelta(hours=5)
            self.activities.append(
                {
                    "activity_type": "FILL",
                    "id": f"{local:%Y%m%d%H%M%S}{local.microsecond // 1000:03d}::{uuid.uuid4()}",
                    "transaction_time": _now(),
                    **{"type": "fill", "price": price, "qty": quantity, "side": order["side"]},
                    **{"symbol": order["symbol"], "leaves_qty": "0", "cum_qty": quantity},
                    **{"order_id": order_id, "order_status": status},
                }
            )

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, Any]:
        parts = urlsplit(target)
        path, query = parts.path.removeprefix("/v2"), parse_qs(parts.query)
        with self._lock:
            if method == "POST" and path == "/orders":
                return self.place(json.loads(body))
            if path == "/orders:by_client_order_id":
                return self._by_client_id(query["client_order_id"][0])
            if path.startswith("/orders/"):
                found = self.orders.get(path.removeprefix("/orders/"))
                return (200, found) if found else _missing(f"order not found for {path}")
            if path == "/account":
                return 200, {
                    "account_number": self.account_number,
                    **{"status": "ACTIVE", "cash": "100000", "buying_power": "400000", "equity": "100000"},
                }
            if path == "/positions":
                return 200, []
            if path == "/account/activities/FILL":
                return 200, self._page(query)
        return _missing("not found")

    def _by_client_id(self, client_id: str) -> tuple[int, Any]:
        if self.hidden > 0:
            self.hidden -= 1
            return _missing("order not found")
        for order in self.orders.values():
            if order["client_order_id"] == client_id:
                return 200, order
        return _missing("order not found")

    def _page(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        if self.late_activities > 0:
            self.late_activities -= 1
            return []
        after = query.get("after", [""])[0]
        rows = [item for item in self.activities if item["transaction_time"] > after]
        if "page_token" in query:
            ids = [item["id"] for item in rows]
            rows = rows[ids.index(query["page_token"][0]) + 1 :]
        return rows[: int(query.get("page_size", ["100"])[0])]

    def wait(self, seconds: float) -> None:
        self._stopped.wait(seconds)


class _Handler(BaseHTTPRequestHandler):
    fake: FakeAlpaca
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fake = self.fake
        fake.seen.append(Seen(self.command, self.path, body))
        keys = (self.headers.get("APCA-API-KEY-ID"), self.headers.get("APCA-API-SECRET-KEY"))
        fault = next((item for item in fake.faults if item.method == self.command), None)
        if fault is not None:
            fake.faults.remove(fault)
            self._misbehave(fault, body)
        elif keys != KEYS:
            self._reply(401, {"code": 40110000, "message": "request is not authorized"})
        else:
            self._reply(*fake.answer(self.command, self.path, body))

    do_GET = do_POST = do_DELETE = do_PATCH = _serve

    def _misbehave(self, fault: Fault, body: bytes) -> None:
        if fault.accept:
            self.fake.place(json.loads(body))
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
        text = json.dumps(value).encode()
        self.send_response(status)
        self._headers({"Content-Type": "application/json"})
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _headers(self, more: dict[str, str]) -> None:
        headers = {
            "X-Request-ID": uuid.uuid4().hex,
            "X-Ratelimit-Limit": "200",
            "X-Ratelimit-Remaining": "199",
            "X-Ratelimit-Reset": str(int(time.time()) + 1),
        }
        for name, value in (headers | more).items():
            self.send_header(name, value)

    def log_message(self, *_: object) -> None:
        pass


def _missing(message: str) -> tuple[int, Any]:
    return 404, {"code": 40410000, "message": message}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "596Z"
