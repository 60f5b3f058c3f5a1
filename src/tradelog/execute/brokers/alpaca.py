"""Alpaca through alpaca-py's REST client, with a transport of our own mounted.

What the SDK does on its own cannot be used for orders: it repeats a POST on 429 and 504, waits for
ever, turns decimals into floats and raises after orders that were placed. So: retries off, dict
bodies with decimals as text, environment proxies off, and every exchange taken from the wire by
the adapter below, whatever the SDK makes of it. tests/execute/brokers/test_alpaca_sdk.py
pins what this relies on.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import quote as quote_path
from urllib.parse import urlsplit

import requests
from alpaca.common.exceptions import APIError, RetryException
from alpaca.common.rest import RESTClient
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidHeader, InvalidJSONError, InvalidURL, MissingSchema
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

from tradelog.config.load import secret
from tradelog.config.schema import Config
from tradelog.domain import clock
from tradelog.errors import ConfigError, CredentialsMissing
from tradelog.execute.brokers.base import (
    FILLS_PAGE,
    KEPT_HEADERS,
    ORDERS_PAGE,
    Exchange,
    OrderChange,
    WireOrder,
)

HOSTS = {"paper": "https://paper-api.alpaca.markets", "live": "https://api.alpaca.markets"}
DATA = "https://data.alpaca.markets"


class AlpacaBroker:
    """``connect`` and ``read`` are seconds; no call takes longer than both together."""

    name: ClassVar[str] = "alpaca"
    rejects_duplicate_ids: ClassVar[bool] = True
    refuses_without_price: ClassVar[bool] = False

    def __init__(
        self,
        base_url: str,
        key: str,
        secret_key: str,
        *,
        connect: float,
        read: float,
        data_url: str | None = None,
    ) -> None:
        self._base_url = base_url
        self._data_url = data_url or base_url
        self._keys = (key, secret_key)
        self._connect = connect
        self._read = read
        self._open()

    def _open(self) -> None:
        """A session of its own, with our transport and without the SDK's retries."""
        self._wire = _Wire((self._connect, self._read))
        self._sdk = RESTClient(self._base_url, *self._keys)
        # The constructor ignores a 0, and its codes hold 504: a POST that landed would be sent again.
        self._sdk._retry = 0
        session = self._sdk._session
        session.trust_env = False
        session.mount("https://", self._wire)
        session.mount("http://", self._wire)

    @classmethod
    def from_config(cls, config: Config) -> AlpacaBroker:
        """Raises CredentialsMissing without both keys."""
        key, secret_key = secret("APCA_API_KEY_ID"), secret("APCA_API_SECRET_KEY")
        if not key or not secret_key:
            raise CredentialsMissing(
                "Alpaca needs APCA_API_KEY_ID and APCA_API_SECRET_KEY in the environment",
                hint='export both, or set [broker] name = "simulated"',
            )
        worker, broker = config.worker, config.broker
        host = HOSTS[broker.environment]
        base_url = (broker.base_url or host).rstrip("/")
        # Paper orders must not reach the live host, nor live ones pass for paper, however it is written.
        hostname = (urlsplit(base_url).hostname or "").rstrip(".")
        if hostname != urlsplit(host).hostname and hostname in {
            urlsplit(item).hostname for item in HOSTS.values()
        }:
            raise ConfigError(
                f"[broker] base_url is {broker.base_url}, but environment is {broker.environment}",
                hint=f"leave base_url out: {broker.environment} is {host}",
            )
        is_local = base_url.startswith("http://")
        return cls(
            base_url,
            key,
            secret_key,
            data_url=(broker.data_url or (base_url if is_local else DATA)).rstrip("/"),
            connect=float(worker.connect_timeout_seconds),
            read=float(worker.read_timeout_seconds),
        )

    def submit(self, order: WireOrder) -> Exchange:
        body = order.body()
        return self._call("POST", "/orders", lambda: self._sdk.post("/orders", body), json.dumps(body))

    def cancel(self, broker_order_id: str) -> Exchange:
        path = f"/orders/{broker_order_id}"
        return self._call("DELETE", path, lambda: self._sdk.delete(path), None)

    def replace(self, broker_order_id: str, change: OrderChange) -> Exchange:
        path, body = f"/orders/{broker_order_id}", change.body()
        return self._call("PATCH", path, lambda: self._sdk.patch(path, body), json.dumps(body))

    def find(self, client_order_id: str) -> Exchange:
        return self._get("/orders:by_client_order_id", {"client_order_id": client_order_id})

    def order(self, broker_order_id: str) -> Exchange:
        return self._get(f"/orders/{broker_order_id}")

    def orders(self, status: str, after: str | None) -> Exchange:
        query = {"status": status, "direction": "asc", "limit": str(ORDERS_PAGE), "nested": "false"}
        if after is not None:
            query["after"] = after
        return self._get("/orders", query)

    def fills(self, after: str, page_token: str | None, until: str | None = None) -> Exchange:
        query = {"after": after, "direction": "asc", "page_size": str(FILLS_PAGE)}
        if until is not None:
            query["until"] = until
        if page_token is not None:
            query["page_token"] = page_token
        return self._get("/account/activities/FILL", query)

    def activities(self, after: str, page_token: str | None) -> Exchange:
        query = {"category": "non_trade_activity", "after": after, "direction": "asc"}
        query["page_size"] = str(FILLS_PAGE)
        if page_token is not None:
            query["page_token"] = page_token
        return self._get("/account/activities", query)

    def account(self) -> Exchange:
        return self._get("/account")

    def positions(self) -> Exchange:
        return self._get("/positions")

    def quote(self, symbol: str) -> Exchange:
        if "/" in symbol:
            return self._get("/crypto/us/latest/quotes", {"symbols": symbol}, self._data_url, "v1beta3")
        return self._get("/stocks/quotes/latest", {"symbols": symbol}, self._data_url)

    def asset(self, symbol: str) -> Exchange:
        return self._get(f"/assets/{quote_path(symbol, safe='')}")

    def clock(self) -> Exchange:
        return self._get("/clock")

    def calendar(self, start: str, end: str) -> Exchange:
        return self._get("/calendar", {"start": start, "end": end})

    def _get(
        self,
        path: str,
        query: dict[str, str] | None = None,
        base_url: str | None = None,
        version: str | None = None,
    ) -> Exchange:
        def call() -> Any:
            return self._sdk._request("GET", path, query or {}, base_url=base_url, api_version=version)

        return self._call("GET", path, call, None)

    def _call(self, method: str, path: str, call: Callable[[], Any], body: str | None) -> Exchange:
        """Make one call within the total deadline, and return what was on the wire.

        The call runs on a thread of its own: a server that drips one byte at a time stays below any
        read time-out, and only the outside can end it.
        """
        wire = self._wire
        wire.forget()
        failures: list[BaseException] = []

        def run() -> None:
            try:
                call()
            except (APIError, RetryException, requests.RequestException, ValueError, TypeError) as error:
                # The SDK's reading of bytes that the adapter has kept; ours is in outbox/responses.py.
                failures.append(error)

        started = clock.now_text()
        thread = threading.Thread(target=run, name="alpaca-call", daemon=True)
        thread.start()
        thread.join(self._connect + self._read)
        if wire.exchange is not None:
            return wire.exchange
        is_alive = thread.is_alive()
        # From here on the abandoned call can no longer leave, if it has not left yet.
        url = wire.abandon()
        if is_alive:
            # Its connection may still be read from: never use that session again.
            self._open()
            error = f"no complete answer within {self._connect + self._read:g} s"
        else:
            error = f"{type(failures[0]).__name__}: {failures[0]}" if failures else "the call ended unseen"
        return Exchange(
            method=method,
            url=url or f"{self._base_url}/v2{path}",
            request_body=wire.body if url else body,
            started_at=started,
            ended_at=clock.now_text(),
            error=error,
            left_host=url is not None,
        )


class _Wire(HTTPAdapter):
    """Reads the whole body inside `send`, and keeps the exchange as it was."""

    def __init__(self, timeout: tuple[float, float]) -> None:
        super().__init__(max_retries=0)
        self._timeout = timeout
        self._leaving = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Forget the last call, before each one."""
        self.exchange: Exchange | None = None
        self.url: str | None = None
        self.body: str | None = None
        self._is_abandoned = False

    def abandon(self) -> str | None:
        """Prevent any further request; returns the URL of the one that has left, None where none has."""
        with self._leaving:
            self._is_abandoned = True
            return self.url

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        started = clock.now_text()
        raw = request.body
        with self._leaving:
            if self._is_abandoned:
                raise requests.ConnectionError("the call was given up before it left")
            self.url = request.url
            self.body = raw.decode() if isinstance(raw, bytes) else None if raw is None else str(raw)

        def keep(**answer: Any) -> None:
            self.exchange = Exchange(
                method=request.method or "",
                url=request.url or "",
                request_body=self.body,
                started_at=started,
                ended_at=clock.now_text(),
                **answer,
            )

        try:
            response = super().send(
                request,
                stream=True,
                timeout=self._timeout,
                verify=options.get("verify", True),
                cert=options.get("cert"),
                proxies={},
            )
            content = response.content
        except requests.RequestException as error:
            keep(error=f"{type(error).__name__}: {error}", left_host=not never_left(error))
            raise
        keep(
            status=response.status_code,
            headers={name: response.headers[name] for name in KEPT_HEADERS if name in response.headers},
            body=content,
        )
        return response


def never_left(error: requests.RequestException) -> bool:
    """Whether no connection was ever made, so that the request cannot have arrived."""
    if isinstance(
        error, requests.ConnectTimeout | InvalidURL | InvalidHeader | InvalidJSONError | MissingSchema
    ):
        return True
    cause = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    return isinstance(cause, NewConnectionError | ConnectTimeoutError)
