"""Column types. STRICT tables know INTEGER, TEXT and BLOB only, and refuse SQLModel's defaults.

On PostgreSQL the same names will mean timestamptz and numeric; the text forms below are SQLite's.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BLOB, INTEGER, TEXT
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from tradelog.domain import clock, money


class Moment(TypeDecorator[datetime]):
    """An aware UTC datetime; ISO-8601 text of fixed width with microseconds and ``Z``."""

    impl = TEXT
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return None if value is None else clock.to_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else clock.from_text(value)


class Exact(TypeDecorator[Decimal]):
    """A Decimal as its plain digits: SQLAlchemy's own Numeric becomes a float on SQLite."""

    impl = TEXT
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        return None if value is None else money.to_text(money.parse(value))

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        return None if value is None else money.parse(value)


class Flag(TypeDecorator[bool]):
    """True or False as 1 or 0."""

    impl = INTEGER
    cache_ok = True

    def process_bind_param(self, value: bool | None, dialect: Dialect) -> Any:
        return None if value is None else int(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> bool | None:
        return None if value is None else bool(value)


class Written(TypeDecorator[str]):
    """Text exactly as written: payloads, bodies, rationale. Never re-serialised."""

    impl = TEXT
    cache_ok = True


Text = TEXT
Integer = INTEGER
Bytes = BLOB
