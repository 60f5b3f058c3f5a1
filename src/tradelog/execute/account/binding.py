"""Account binding: an account name of this store stands for one account number at the broker, for good."""

from __future__ import annotations

from tradelog.config.schema import Config
from tradelog.domain.account import AccountKey
from tradelog.errors import BrokerRefusesUs
from tradelog.execute.brokers.base import Broker, Exchange
from tradelog.execute.outbox import exchanges
from tradelog.execute.outbox.exchanges import Purpose
from tradelog.execute.outbox.responses import ResponseKind, classify_lookup
from tradelog.operate.alerts import clear, raise_alert
from tradelog.store import clocks
from tradelog.store.writer import Transaction, Writer

KEYS_REFUSED = "keys_refused"
# A clock that differs by more, uncertainty of the measurement aside, raises an alert.
MAX_CLOCK_OFFSET_MS = 5_000


def bind_account(writer: Writer, broker: Broker, config: Config, worker_id: str | None) -> str | None:
    """Bind the account name to the number that the broker answers with; None where it does not answer now.

    The response also shows the offset of our clock from the broker's: recorded for a worker process.

    Raises BrokerRefusesUs for wrong keys, or a number other than the store's or the configured one.
    """
    exchange = broker.account()
    number = _account_number(writer, broker, exchange, config.account)
    if number is None:
        return None
    configured = config.broker.account_number
    if configured is not None and configured != number:
        raise BrokerRefusesUs(
            f"the broker answers for account {number}, but tradelog.toml names {configured}",
            hint="check the keys, or [broker] account_number",
        )
    with writer.transaction() as tx:
        bound = tx.one(
            "SELECT account_number FROM broker_accounts WHERE broker = ? AND environment = ? AND account = ?",
            config.account,
        )
        if bound is None:
            row = config.account.as_columns()
            tx.insert("broker_accounts", {**row, "account_number": number, "bound_at": tx.now})
            exchanges.record_exchange(tx, exchange, Purpose.ACCOUNT, None)
            tx.journal("account.bound", config.broker.account, account_number=number)
        elif bound[0] != number:
            raise BrokerRefusesUs(
                f"account {config.broker.account!r} of this store is number {bound[0]},"
                f" but the broker answers for {number}",
                hint="use another [broker] account name for another account",
            )
        if worker_id is not None:
            _compare_clocks(tx, exchange, broker.name, worker_id)
        clear(tx, str(config.account), (KEYS_REFUSED,))
        tx.journal_rest("account.answered", config.broker.account)
    return number


def note_refused_keys(writer: Writer, account: AccountKey, broker: str, message: str) -> None:
    """Raise the alert that no request of this account can be made, until one is answered."""
    with writer.transaction() as tx:
        raise_alert(tx, KEYS_REFUSED, str(account), f"{broker} refuses our keys: {message}")
        tx.journal_rest("account.refused", str(account))


def _compare_clocks(tx: Transaction, exchange: Exchange, source: str, worker_id: str) -> None:
    offset = clocks.measure(exchange.headers, exchange.started_at, exchange.ended_at)
    if offset is None:
        return
    clocks.keep(tx, source, worker_id, offset)
    if offset.least_ms > MAX_CLOCK_OFFSET_MS:
        ahead = "ahead of" if offset.offset_ms > 0 else "behind"
        text = f"this machine's clock is {abs(offset.offset_ms) / 1000:.1f} s {ahead} that of {source}"
        raise_alert(tx, "clock_offset", source, text)
    else:
        clear(tx, source, ("clock_offset",))
    tx.journal("clock.measured", source)


def _account_number(writer: Writer, broker: Broker, exchange: Exchange, account: AccountKey) -> str | None:
    answer = exchange.json()
    if exchange.status == 200 and isinstance(answer, dict) and answer.get("account_number"):
        return str(answer["account_number"])
    with writer.transaction() as tx:
        exchanges.record_exchange(tx, exchange, Purpose.ACCOUNT, None)
        tx.journal("account.unanswered", broker.name)
    classification = classify_lookup(exchange)
    if classification.kind is ResponseKind.BAD_KEYS:
        note_refused_keys(writer, account, broker.name, classification.message)
        raise BrokerRefusesUs(
            f"{broker.name} refuses our keys: {classification.message}",
            hint="check APCA_API_KEY_ID and APCA_API_SECRET_KEY; decisions stay pending",
        )
    return None
