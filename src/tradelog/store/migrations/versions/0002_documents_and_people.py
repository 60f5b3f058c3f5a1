"""Documents and what they amend; the people behind the names of members."""

import sqlalchemy as sa
from alembic import op

from tradelog.store.types import Integer, Text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for name in ("document", "reference", "amends", "person"):
        op.add_column("record_versions", sa.Column(name, Text(), nullable=True))
    for name in ("document", "reference", "amends"):
        op.create_index(
            f"ix_versions_{name}",
            "record_versions",
            [name],
            unique=False,
            sqlite_where=sa.text(f"{name} IS NOT NULL"),
        )
    op.create_table(
        "name_resolutions",
        sa.Column("resolution_id", Integer(), nullable=False),
        sa.Column("run", Integer(), nullable=False),
        sa.Column("feed", Text(), nullable=False),
        sa.Column("name", Text(), nullable=False),
        sa.Column("person", Text(), nullable=True),
        sa.Column("version_id", Integer(), nullable=True),
        sa.Column("reason", Text(), nullable=False),
        sa.CheckConstraint("(person IS NULL) = (version_id IS NULL)", name="ck_resolutions_person"),
        sa.ForeignKeyConstraint(["run"], ["data_ingestion_runs.id"]),
        sa.ForeignKeyConstraint(["version_id"], ["record_versions.version_id"]),
        sa.PrimaryKeyConstraint("resolution_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_resolutions_name", "name_resolutions", ["feed", "name", "resolution_id"])
    op.create_index("ix_resolutions_run", "name_resolutions", ["run", "resolution_id"])
    for action in ("DELETE", "UPDATE"):
        op.execute(
            f"CREATE TRIGGER name_resolutions_{action.lower()} BEFORE {action} ON name_resolutions"
            " BEGIN SELECT RAISE(ABORT, 'name_resolutions: what was written stands;"
            " a correction is a new row'); END"
        )
    op.execute(
        "CREATE TRIGGER name_resolutions_replace_0 BEFORE INSERT ON name_resolutions"
        " WHEN EXISTS (SELECT 1 FROM name_resolutions WHERE resolution_id = NEW.resolution_id)"
        " BEGIN SELECT RAISE(ABORT, 'name_resolutions: that row is already written'); END"
    )
