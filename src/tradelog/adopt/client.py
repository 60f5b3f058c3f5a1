"""alpaca-py's TradingClient, whose calls that trade are recorded or become decisions.

Everything of the SDK's client passes ``_request`` (a logical call) and ``_one_request`` (each attempt of it):
these two are overridden, so that a call by any method, also by ``client.post``, is seen.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from alpaca.trading.client import TradingClient as SdkTradingClient

from tradelog.adopt import calls, client_log, recording
from tradelog.adopt.calls import Call
from tradelog.adopt.client_log import ClientLog
from tradelog.adopt.outbox import OutboxOrders
from tradelog.adopt.recording import Recording
from tradelog.adopt.wire import Capture
from tradelog.errors import ConfigError, TradelogError


class TradingClient(SdkTradingClient):
    """alpaca-py's client with the same constructor, methods, models and exceptions, on the record.

    ``mode`` (``off``, ``record``, ``outbox``), ``strategy`` (the bot's name), ``on_error`` (``refuse``,
    ``send``) and ``wait_seconds`` stand in ``[client]`` of tradelog.toml; an argument wins. ``config`` is the
    path of that file, by default looked up as the command line does. Threads may share a client; a fork gets
    a connection of its own.

    Raises ConfigError, StoreError. In ``record`` a call that trades raises StoreError, before anything is
    sent, where it cannot be recorded and ``on_error`` is ``refuse``.
    """

    def __init__(
        self,
        api_key: str | None = None,
        secret_key: str | None = None,
        oauth_token: str | None = None,
        paper: bool = True,
        raw_data: bool = False,
        url_override: str | None = None,
        *,
        mode: str | None = None,
        strategy: str | None = None,
        on_error: str | None = None,
        wait_seconds: float | None = None,
        config: Path | str | None = None,
    ) -> None:
        super().__init__(api_key, secret_key, oauth_token, paper, raw_data, url_override)
        self._log: ClientLog | None = None
        self._outbox: OutboxOrders | None = None
        self._calls = threading.local()
        if mode == "off":
            return
        given = {"mode": mode, "strategy": strategy, "on_error": on_error, "wait_seconds": wait_seconds}
        try:
            log = client_log.configured(config, paper=paper, given=given)
        except ConfigError as error:
            if on_error != "send":
                raise
            recording.complain(f"nothing is recorded: {error.message}")
            return
        if log.settings.mode == "off":
            return
        self._log = log
        if log.settings.mode == "outbox":
            self._outbox = OutboxOrders(log, lambda method, path, data: self._pass(method, path, data))
        try:
            _ = log.writer
        except TradelogError as error:
            if log.settings.on_error == "refuse":
                raise
            recording.complain(f"the log cannot be opened: {error.message}")

    def _request(
        self,
        method: str,
        path: str,
        data: Any = None,
        base_url: Any = None,
        api_version: str | None = None,
    ) -> Any:
        if self._log is None or base_url is not None:
            return super()._request(method, path, data, base_url, api_version)
        if self._outbox is not None:
            handled, answer = self._outbox.answer(method, path, data)
            if handled:
                return answer
        call = calls.trading_call(method, path)
        if call is None:
            return super()._request(method, path, data, base_url, api_version)
        return self._recorded(self._log, call, method, path, data)

    def _recorded(self, log: ClientLog, call: Call, method: str, path: str, data: Any) -> Any:
        current, data = recording.begin(log, call, method, path, data)
        self._calls.current = current
        try:
            answer = self._pass(method, path, data)
        except BaseException:
            current.end()
            if current.landed_before:
                return self._look_up(current)
            raise
        finally:
            self._calls.current = None
        current.end()
        return answer

    def _look_up(self, current: Recording) -> Any:
        """The order of a call whose repetition was refused because the first attempt had landed."""
        assert current.sent is not None
        self._calls.current = None
        path = "/orders:by_client_order_id"
        capture = Capture("GET", path)
        self._calls.capture = capture
        try:
            order = self._pass("GET", path, {"client_order_id": current.sent.client_order_id})
        except BaseException as error:
            current.end_by_lookup(capture.exchange(error))
            raise
        finally:
            self._calls.capture = None
        current.end_by_lookup(capture.exchange(None))
        return order

    def _pass(self, method: str, path: str, data: Any) -> Any:
        """The call as alpaca-py makes it."""
        return super()._request(method, path, data)

    def _one_request(self, method: str, url: str, opts: dict[str, Any], retry: int) -> Any:
        current: Recording | None = getattr(self._calls, "current", None)
        one = super()._one_request
        if current is not None:
            return current.attempt(
                self._session, method, url, opts, lambda options: one(method, url, dict(options), retry)
            )
        capture: Capture | None = getattr(self._calls, "capture", None)
        if capture is not None:
            opts = {**opts, "hooks": capture.hooks(self._session)}
        return one(method, url, opts, retry)
