"""Which account a fact belongs to."""

from __future__ import annotations

from typing import NamedTuple


class AccountKey(NamedTuple):
    """An account as tradelog.toml names it: a decision is fixed to one, and a worker serves one.

    ``environment`` is ``paper`` or ``live``; ``account`` is the name of ``[broker] account``, not the number
    that the broker answers with. Three empty texts stand for every account of the store.
    """

    broker: str
    environment: str
    account: str

    def as_columns(self) -> dict[str, str]:
        """The three columns of a row that belongs to this account."""
        return self._asdict()

    @property
    def label(self) -> str:
        """``default (alpaca, paper)``, for headings."""
        return f"{self.account} ({self.broker}, {self.environment})"

    def __str__(self) -> str:
        """``alpaca:paper:default``, as the journal names the subject of an entry about an account."""
        return ":".join(self)


EVERY_ACCOUNT = AccountKey("", "", "")
