"""The schema in one place, as SQLModel tables.

Writing goes through `store.writer` and reading through `store.reader`, both on plain SQL:
an ORM session costs more than the durable commit it wraps, and importing one more than a
report. These classes are what migrations are made from, and serve library users who want to
query the store with SQLModel.
"""

from __future__ import annotations

from sqlmodel import SQLModel

from tradelog.store.models.account import (
    AccountActivity,
    AlpacaOrder,
    Break,
    BrokerAccount,
    BrokerSnapshot,
    Fill,
    OrderEvent,
    PositionEntry,
    ReconcileMark,
)
from tradelog.store.models.alerts import Alert, AlertDelivery, AlertGroup, AlertMessage
from tradelog.store.models.decisions import DecisionInput, Signal, StrategyRun, TradeDecision
from tradelog.store.models.execution import (
    BrokerCall,
    ClientCommand,
    ControlEvent,
    Halt,
    OrderRequest,
    RiskCheck,
    TradeExecution,
)
from tradelog.store.models.ingestion import (
    IngestionRecord,
    IngestionRun,
    NameResolution,
    QuarantinedRow,
    RecordVersion,
    RunRowDigests,
    SourceRecord,
)
from tradelog.store.models.operation import (
    ArchivedCalls,
    ArchivedPayload,
    ArchivedRange,
    ArchiveReturn,
    ClockOffset,
    JournalEntry,
    MaintenanceRun,
    ReportFigures,
    Restore,
    SchemaUpgrade,
    Worker,
)

__all__ = [
    "AccountActivity",
    "Alert",
    "AlertDelivery",
    "AlertGroup",
    "AlertMessage",
    "AlpacaOrder",
    "ArchiveReturn",
    "ArchivedCalls",
    "ArchivedPayload",
    "ArchivedRange",
    "Break",
    "BrokerAccount",
    "BrokerCall",
    "BrokerSnapshot",
    "ClientCommand",
    "ClockOffset",
    "ControlEvent",
    "DecisionInput",
    "Fill",
    "Halt",
    "IngestionRecord",
    "IngestionRun",
    "JournalEntry",
    "MaintenanceRun",
    "NameResolution",
    "OrderEvent",
    "OrderRequest",
    "PositionEntry",
    "QuarantinedRow",
    "ReconcileMark",
    "RecordVersion",
    "ReportFigures",
    "Restore",
    "RiskCheck",
    "RunRowDigests",
    "SQLModel",
    "SchemaUpgrade",
    "Signal",
    "SourceRecord",
    "StrategyRun",
    "TradeDecision",
    "TradeExecution",
    "Worker",
]
