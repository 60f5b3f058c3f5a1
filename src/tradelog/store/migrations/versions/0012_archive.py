"""The archive: where the source's rows and the exchanges of an attempt are, and a door back."""

import sqlalchemy as sa
from alembic import op

from tradelog.store.types import Bytes, Integer, Moment, Text

revision = "0012"
down_revision = "0011"
STANDS = "what was written stands; a correction is a new row"
# All columns of a version but its payload.
KEPT = (
    *(
        "version_id",
        "record_id",
        "run",
        "first_seen_at",
        "position",
        "event_date",
        "filed_at",
        "filed_as_given",
    ),
    *("symbol", "actor", "side", "amount_low", "amount_high", "flags", "backfill", "gone", "content_hash"),
    *("document", "reference", "amends", "person"),
)


def upgrade() -> None:
    op.create_table(
        "archived_payloads",
        sa.Column("version_id", Integer(), nullable=False),
        sa.Column("digest", Bytes(), nullable=False),
        sa.Column("path", Text(), nullable=False),
        sa.PrimaryKeyConstraint("version_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_payloads_path", "archived_payloads", ["path"])
    op.create_index("ix_archived_path", "archived_ranges", ["path"])
    op.create_table(
        "archived_calls",
        sa.Column("subject", Text(), nullable=False),
        sa.Column("calls", Integer(), nullable=False),
        sa.Column("sent_at", Moment(), nullable=True),
        sa.Column("acknowledged_at", Moment(), nullable=True),
        sa.Column("path", Text(), nullable=False),
        sa.PrimaryKeyConstraint("subject"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "archive_returns",
        sa.Column("return_id", Integer(), nullable=False),
        sa.Column("path", Text(), nullable=False),
        sa.Column("seq", Integer(), nullable=False),
        sa.Column("actor", Text(), nullable=False),
        sa.Column("returned_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("return_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_returns_path", "archive_returns", ["path"])
    for table, keys in (
        ("archived_payloads", ("version_id",)),
        ("archived_calls", ("subject",)),
        ("archive_returns", ("return_id",)),
    ):
        for action in ("DELETE", "UPDATE"):
            _forbid(table, action.lower(), action)
        for number, key in enumerate(keys):
            op.execute(
                f"CREATE TRIGGER {table}_replace_{number} BEFORE INSERT ON {table}"
                f" WHEN EXISTS (SELECT 1 FROM {table} WHERE {key} = NEW.{key})"
                f" BEGIN SELECT RAISE(ABORT, '{table}: that row is already written'); END"
            )
    # Of a version only the payload may leave, for a file that is named under the entry that comes next, and
    # come back. What comes back is proved by the run's digest.
    same = " AND ".join(f"NEW.{name} IS OLD.{name}" for name in KEPT)
    now = "> (SELECT max(seq) FROM journal)"
    named = (
        "EXISTS (SELECT 1 FROM archived_payloads p WHERE p.version_id = OLD.version_id AND EXISTS"
        f" (SELECT 1 FROM {{table}} a WHERE a.seq {now} AND a.path = p.path))"
    )
    leaves = f"NEW.payload = '' AND {named.format(table='archived_ranges')}"
    returns = f"OLD.payload = '' AND {named.format(table='archive_returns')}"
    op.execute("DROP TRIGGER record_versions_update")
    _forbid("record_versions", "update", "UPDATE", unless=f"{same} AND (({leaves}) OR ({returns}))")


def _forbid(table: str, name: str, action: str, *, unless: str | None = None) -> None:
    when = "" if unless is None else f" WHEN NOT ({unless})"
    op.execute(
        f"CREATE TRIGGER {table}_{name} BEFORE {action} ON {table}{when}"
        f" BEGIN SELECT RAISE(ABORT, '{table}: {STANDS}'); END"
    )
