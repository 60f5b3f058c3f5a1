"""Reasons as columns: what a request did and proved, who refused one, why a break was closed."""

import sqlalchemy as sa
from alembic import op

from tradelog.store.types import Flag, Text

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("broker_calls", sa.Column("left_host", Flag))
    op.add_column("broker_calls", sa.Column("proves", Text))
    op.add_column("breaks", sa.Column("resolution", Text))
    op.add_column("order_requests", sa.Column("refused_by", Text))
    # Measured offsets are in clock_offsets.
    op.drop_column("workers", "clock_offset_ms")
    op.execute(
        "UPDATE order_requests SET refused_by = CASE WHEN message LIKE 'risk.%:%'"
        " THEN substr(message, 1, instr(message, ':') - 1) WHEN message LIKE 'halted:%' THEN 'halted'"
        " ELSE 'broker' END WHERE status = 'refused'"
    )
    op.execute(
        "UPDATE breaks SET resolution = CASE WHEN closed_why LIKE 'accepted:%' THEN 'accepted'"
        " ELSE 'agreed' END WHERE closed_at IS NOT NULL"
    )
