"""The account as the broker tells it: bound to one number, and kept for decisions to look at."""

from __future__ import annotations

import json

from tradelog.config import Config
from tradelog.errors import BrokerRefusesUs
from tradelog.execute import settle
from tradelog.execute.brokers.base import Broker, Exchange
from tradelog.execute.outbox import Account
from tradelog.execute.outcome import Kind, of_lookup
from tradelog.execute.positions import Held, read
from tradelog.store.writer import Transaction, Writer


def bind_account(writer: Writer, broker: Broker, config: Config) -> str | None:
    """Tie the account name to the number the broker answers; None where it does not answer now.

    Raises BrokerRefusesUs for wrong keys, or a number other than the store's or the configured one.
    """
    exchange = broker.account()
    number = _account_number(writer, broker, exchange)
    if number is None:
        return None
    wanted = config.broker.account_number
    if wanted is not None and wanted != number:
        raise BrokerRefusesUs(
            f"the broker answers for account {number}, but tradelog.toml names {wanted}",
            hint="check the keys, or [broker] account_number",
        )
    with writer.transaction() as tx:
        bound = tx.one(
            "SELECT account_number FROM broker_accounts WHERE broker = ? AND environment = ? AND account = ?",
            config.account,
        )
        if bound is None:
            names = ("broker", "environment", "account")
            row = dict(zip(names, config.account, strict=True))
            tx.insert("broker_accounts", {**row, "account_number": number, "bound_at": tx.now})
            settle.log_call(tx, exchange, "account", None)
            tx.journal("account.bound", config.broker.account, account_number=number)
        elif bound[0] != number:
            raise BrokerRefusesUs(
                f"account {config.broker.account!r} of this store is number {bound[0]},"
                f" but the broker answers for {number}",
                hint="use another [broker] account name for another account",
            )
    return number


def refresh(writer: Writer, broker: Broker, account: Account) -> bool:
    """Store account and positions where they differ from the last ones; False without an answer."""
    answers = {"account": broker.account(), "position": broker.positions()}
    for kind, exchange in answers.items():
        answer = exchange.json()
        is_one = isinstance(answer, dict) if kind == "account" else read(answer) is not None
        if exchange.status != 200 or not is_one:
            return False
    with writer.transaction() as tx:
        for kind, exchange in answers.items():
            value, _ = exchange.text()
            last = tx.one(
                "SELECT value FROM broker_snapshots WHERE broker = ? AND environment = ? AND account = ?"
                " AND kind = ? AND subject = '' ORDER BY snapshot_id DESC LIMIT 1",
                (*account, kind),
            )
            if last is not None and last[0] == value:
                continue
            names = ("broker", "environment", "account")
            row = dict(zip(names, account, strict=True))
            tx.insert(
                "broker_snapshots", {**row, "kind": kind, "subject": "", "value": value, "as_of": tx.now}
            )
            tx.journal("snapshot.taken", kind)
    return True


def keep_positions(tx: Transaction, account: Account, held: Held, exchange: Exchange) -> None:
    """Keep the positions where the shares differ from the last ones kept: prices move all the time."""
    value, _ = exchange.text()
    last = tx.one(
        "SELECT value FROM broker_snapshots WHERE broker = ? AND environment = ? AND account = ?"
        " AND kind = 'position' AND subject = '' ORDER BY snapshot_id DESC LIMIT 1",
        account,
    )
    if last is not None and read(json.loads(last[0])) == held:
        return
    names = ("broker", "environment", "account")
    row = dict(zip(names, account, strict=True))
    tx.insert("broker_snapshots", {**row, "kind": "position", "subject": "", "value": value, "as_of": tx.now})
    tx.journal("snapshot.taken", "position")


def _account_number(writer: Writer, broker: Broker, exchange: Exchange) -> str | None:
    answer = exchange.json()
    if exchange.status == 200 and isinstance(answer, dict) and answer.get("account_number"):
        return str(answer["account_number"])
    with writer.transaction() as tx:
        settle.log_call(tx, exchange, "account", None)
        tx.journal("account.unanswered", broker.name)
    verdict = of_lookup(exchange)
    if verdict.kind is Kind.BAD_KEYS:
        raise BrokerRefusesUs(
            f"{broker.name} refuses our keys: {verdict.message}",
            hint="check APCA_API_KEY_ID and APCA_API_SECRET_KEY; decisions stay pending",
        )
    return None
