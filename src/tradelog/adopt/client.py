"""alpaca-py's TradingClient, whose calls that trade are recorded or become decisions.

Everything of the SDK's client passes ``_request`` (a logical call) and ``_one_request`` (each attempt of it):
these two are overridden, so that a call by any method, also by ``client.post``, is seen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from alpaca.trading.client import TradingClient as SdkTradingClient

from tradelog.adopt import calls, client_log, recording
from tradelog.adopt.calls import Call
from tradelog.adopt.client_log import ClientLog
from tradelog.adopt.outbox import OutboxOrders
from tradelog.adopt.recording import Recording
from tradelog.adopt.wire import Capture
from tradelog.domain.status import CommandKind
from tradelog.errors import ConfigError, StoreError, TradelogError


class TradingClient(SdkTradingClient):
    """alpaca-py's client with the same constructor, methods, models and exceptions, on the record.

    ``mode`` (``off``, ``record``, ``outbox``), ``strategy`` (the bot's name), ``on_error`` (``refuse``,
    ``send``) and ``wait`` (seconds, ``wait_seconds`` there) stand in ``[client]`` of tradelog.toml; an
    argument wins. ``config`` is the path of that file, by default looked up as the command line does.
    Threads may share a client; a fork gets a connection of its own.

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
        wait: float | None = None,
        config: Path | str | None = None,
    ) -> None:
        super().__init__(api_key, secret_key, oauth_token, paper, raw_data, url_override)
        self._log: ClientLog | None = None
        self._outbox: OutboxOrders | None = None
        self._calls = threading.local()
        if mode == "off":
            return
        given = {"mode": mode, "strategy": strategy, "on_error": on_error, "wait_seconds": wait}
        host = str(getattr(self._base_url, "value", self._base_url))
        try:
            log = client_log.configured(config, paper=paper, host=host, given=given)
        except ConfigError as error:
            if on_error != "send":
                raise
            recording.complain(f"nothing is recorded: {error.message}")
            return
        if log.settings.mode == "off":
            return
        self._log = log
        self._outbox = self._make_outbox(log)
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
        def send(given: Any) -> Any:
            return super(TradingClient, self)._request(method, path, given, base_url, api_version)

        if self._log is None:
            return send(data)
        plain, _, query = path.partition("?")
        if query and not data:
            # What stands in the path is data all the same.
            params: Any = dict(parse_qsl(query))
        else:
            params = data
        outbox = self._outbox
        if outbox is not None and (outbox.is_on or outbox.names_decision(plain, params)):
            handled, answer = outbox.answer(method, plain, params)
            if handled:
                return answer
        call = calls.trading_call(method, plain)
        if call is None:
            return send(data)
        answer = self._recorded(self._log, call, (method, plain, data), send)
        if call.kind is CommandKind.CANCEL_ALL and outbox is not None and isinstance(answer, list):
            try:
                answer += outbox.cancel_waiting()
            except StoreError as error:
                recording.complain(f"what waits in the outbox could not be cancelled: {error.message}")
        return answer

    def _recorded(
        self, log: ClientLog, call: Call, request: tuple[str, str, Any], send: Callable[[Any], Any]
    ) -> Any:
        current, data = recording.begin(log, call, *request)
        self._calls.current = current
        try:
            answer = send(data)
        except BaseException as error:
            self._calls.current = None
            current.end()
            if current.landed_before:
                return self._look_up(current, error)
            raise
        finally:
            self._calls.current = None
        current.end()
        return answer

    def _look_up(self, current: Recording, refused: BaseException) -> Any:
        """The order of a call whose repetition was refused because the first attempt had landed.

        Raises what the broker refused it with, where no such order is found.
        """
        capture = Capture("GET", "/orders:by_client_order_id")
        self._calls.capture = capture
        try:
            order = self._pass("GET", "/orders:by_client_order_id", current.lookup)
        except Exception as error:
            current.end_by_lookup(capture.exchange(error))
            raise refused from error
        finally:
            self._calls.capture = None
        if not current.end_by_lookup(capture.exchange(None)):
            raise refused
        return order

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: a connection and a lock stay behind, and are made anew."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_calls", "_outbox")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._calls = threading.local()
        self._outbox = None if self._log is None else self._make_outbox(self._log)

    def _make_outbox(self, log: ClientLog) -> OutboxOrders:
        return OutboxOrders(
            log,
            lambda method, path, data: self._pass(method, path, data),
            lambda method, path: self._recorded(
                log,
                calls.Call(CommandKind.CANCEL, path.rpartition("/")[2]),
                (method, path, None),
                lambda data: self._pass(method, path, data),
            ),
        )

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
