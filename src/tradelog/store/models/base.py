"""What the tables share: columns, checks of enums, table options."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import CheckConstraint, Column
from sqlmodel import Field

STRICT = {"sqlite_strict": True}
STRICT_KEYED = {"sqlite_strict": True, "sqlite_with_rowid": False}


def one_of(name: str, column: str, values: Iterable[str]) -> CheckConstraint:
    """A check that a column holds one of these values."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=name)


def column(type_: Any, *args: Any, null: bool = False, **kw: Any) -> Any:
    """A column without a default, by default NOT NULL."""
    return Field(default=None, sa_column=Column(type_, *args, nullable=null, **kw))
