"""Reports at a million decisions: indexes that answer alone, figures of closed days, account activities."""

import sqlalchemy as sa
from alembic import op

from tradelog.store.types import Exact, Moment, Text, Written

revision = "0007"
down_revision = "0006"

ACCOUNT = ("broker", "environment", "account")
OURS = ["symbol", *ACCOUNT]
DATED = (*ACCOUNT, "created_at")
FAILED = (
    "failed_at IS NOT NULL AND adopted = 0"
    " AND (status = 'failed' OR failure_code IN ('expired_unsent', 'declined'))"
)
INDEXES = {
    "record_versions": {
        "ix_versions_symbol_seen": ["symbol", "first_seen_at", "run"],
        "ix_versions_symbol_event": ["symbol", "event_date", "first_seen_at", "run"],
    },
    # The status before the time: a count of each is then a range of its own.
    "trade_decisions": {"ix_decisions_symbol": [*OURS, "status", "created_at"]},
    "signals": {"ix_signals_symbol": [*OURS, "created_at"]},
    "fills": {
        "ix_fills_symbol": [*OURS, "transaction_time", "side", "quantity"],
        "ix_fills_time": [*ACCOUNT, "transaction_time"],
    },
}


def upgrade() -> None:
    for table, indexes in INDEXES.items():
        for name, columns in indexes.items():
            op.drop_index(name, table)
            op.create_index(name, table, columns)
    op.drop_index("ix_decisions_failed", "trade_decisions")
    for name, table, columns, where in (
        (
            "ix_decisions_failed",
            "trade_decisions",
            [*ACCOUNT, "failure_code", "failed_at", "strategy_name"],
            FAILED,
        ),
        ("ix_breaks_closed", "breaks", ["closed_at"], "closed_at IS NOT NULL"),
        ("ix_runs_unfinished", "data_ingestion_runs", ["id"], "status <> 'completed'"),
        ("ix_requests_refused", "order_requests", ["ended_at"], "kind = 'replace' AND status = 'refused'"),
    ):
        op.create_index(name, table, columns, sqlite_where=sa.text(where))
    op.create_index("ix_alerts_created", "alerts", ["created_at"])
    op.create_index("ix_alerts_subject", "alerts", ["subject"])
    op.create_index("ix_signals_run", "signals", ["strategy_run_id"])
    op.create_index("ix_runs_source", "data_ingestion_runs", ["data_source", "started_at"])
    create_figures()
    create_activities()


def create_figures() -> None:
    op.create_table(
        "report_figures",
        *(sa.Column(name, Text(), nullable=False) for name in ACCOUNT),
        sa.Column("before", Moment(), nullable=False),
        sa.Column("since", Moment(), nullable=False),
        sa.Column("body", Written(), nullable=False),
        sa.PrimaryKeyConstraint(*ACCOUNT, "before", "since"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    # What changes after its day was counted is counted again: the figures of its day go. New decisions are
    # later than any closed day, unless the clock was ahead and has been put right.
    for table, action in (
        *(("trade_decisions", action) for action in ("INSERT", "UPDATE", "DELETE")),
        *(("signals", action) for action in ("INSERT", "DELETE")),
    ):
        row = "OLD" if action == "DELETE" else "NEW"
        forget(table, action, f"SELECT {', '.join(f'{row}.{name} AS {name}' for name in DATED)}")
    found = f"SELECT {', '.join(f'd.{name}' for name in DATED)} FROM"
    of_decision = f"{found} trade_decisions d WHERE d.decision_id = NEW.decision_id"
    of_execution = (
        f"{found} trade_executions e CROSS JOIN trade_decisions d ON d.decision_id = e.decision_id"
        " WHERE e.execution_id = NEW.execution_id"
    )
    for action in ("INSERT", "UPDATE"):
        forget("trade_executions", action, of_decision)
    forget("fills", "INSERT", of_execution)
    forget("broker_calls", "INSERT", of_execution, when=" WHEN NEW.purpose IN ('submit', 'lookup')")


def forget(table: str, action: str, decided: str, *, when: str = "") -> None:
    """A trigger that forgets the spans which a decision is in; ``decided`` selects its account and its time."""
    op.execute(
        f"CREATE TRIGGER {table}_{action.lower()}_figures AFTER {action} ON {table}{when} BEGIN"
        " DELETE FROM report_figures WHERE (broker, environment, account, before, since) IN ("
        "SELECT f.broker, f.environment, f.account, f.before, f.since"
        f" FROM ({decided}) d CROSS JOIN report_figures f ON f.broker = d.broker"
        " AND f.environment = d.environment AND f.account = d.account"
        " AND f.before > d.created_at AND f.since <= d.created_at); END"
    )


def create_activities() -> None:
    op.create_table(
        "account_activities",
        *(sa.Column(name, Text(), nullable=False) for name in ("activity_id", *ACCOUNT, "kind")),
        sa.Column("sub_kind", Text(), nullable=True),
        sa.Column("status", Text(), nullable=True),
        sa.Column("symbol", Text(), nullable=True),
        sa.Column("quantity", Exact(), nullable=True),
        sa.Column("net_amount", Exact(), nullable=True),
        sa.Column("activity_date", Text(), nullable=False),
        sa.Column("raw", Written(), nullable=False),
        sa.Column("seen_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("activity_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_activities_kind", "account_activities", [*ACCOUNT, "kind", "activity_date"])
    for name, action in (("update", "UPDATE"), ("delete", "DELETE")):
        op.execute(
            f"CREATE TRIGGER account_activities_{name} BEFORE {action} ON account_activities BEGIN SELECT"
            " RAISE(ABORT, 'account_activities: what was written stands; a correction is a new row'); END"
        )
    op.execute(
        "CREATE TRIGGER account_activities_replace_0 BEFORE INSERT ON account_activities"
        " WHEN EXISTS (SELECT 1 FROM account_activities WHERE activity_id = NEW.activity_id)"
        " BEGIN SELECT RAISE(ABORT, 'account_activities: that row is already written'); END"
    )
    op.add_column("reconcile_marks", sa.Column("activities_until", Moment(), nullable=True))
