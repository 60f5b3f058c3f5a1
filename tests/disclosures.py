"""Small inputs of each known form. The rows are invented; their shapes and their dirt are real."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests import wall_clock

QUIVER_HEADER = "ReportDate,TransactionDate,Ticker,Representative,Transaction,Amount,Party,House,Range"
QUIVER_ROWS = [
    '2023-04-03,2023-03-07,AAPL,Ann Example,Purchase,1001,D,Senate,"$1,001 - $15,000"',
    '2023-04-03,2023-03-07,AAPL,Ann Example,Sale,1001,D,Senate,"$1,001 - $15,000"',
    '2023-04-02,2023-03-01,BRK.B,Bo Sample,Purchase,1001,R,Representatives,"$1,001-$15,000"',
    '2023-04-02,2023-03-01,BRK.B,Bo Sample,Purchase,1001,R,Representatives,"$1,001-$15,000"',
    "2023-04-01,2023-02-01,DUK$A,Cy  Dr Test,Exchange,439.25, ,Representatives,$439.25",
]
HOUSE_HEADER = (
    "disclosure_year,disclosure_date,transaction_date,owner,ticker,asset_description,type,amount,"
    "representative,district,ptr_link,cap_gains_over_200_usd"
)
SENATE_HEADER = (
    "transaction_date,owner,ticker,asset_description,asset_type,type,amount,comment,senator,ptr_link,"
    "disclosure_date"
)


def quiver_csv(rows: Sequence[str] = QUIVER_ROWS, *, newline: str = "\n") -> str:
    return newline.join([QUIVER_HEADER, *rows]) + newline


def house_row(
    member: str,
    ticker: str,
    disclosed: date | str,
    *,
    kind: str = "purchase",
    traded: date | str | None = None,
) -> dict[str, str]:
    filed = disclosed.strftime("%m/%d/%Y") if isinstance(disclosed, date) else disclosed
    when = traded if traded is not None else disclosed
    return {
        "disclosure_year": "2026",
        "disclosure_date": filed,
        "transaction_date": when.isoformat() if isinstance(when, date) else when,
        "owner": "self",
        "ticker": ticker,
        "asset_description": f"{ticker} common stock",
        "type": kind,
        "amount": "$1,001 - $15,000",
        "representative": member,
        "district": "XX01",
        "ptr_link": f"https://example.org/ptr/{member.replace(' ', '-')}",
        "cap_gains_over_200_usd": "False",
    }


def house_csv(rows: Sequence[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, HOUSE_HEADER.split(","), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def senate_row(**changes: str) -> dict[str, str]:
    row = {
        "transaction_date": "04/04/2022",
        "owner": "Spouse",
        "ticker": "--",
        "asset_description": 'Fund <div class="text-muted">x</div>',
        "asset_type": "Other Securities",
        "type": "Purchase",
        "amount": "$15,001 - $50,000",
        "comment": "--",
        "senator": "Tess Sample",
        "ptr_link": "https://example.org/ptr/1",
        "disclosure_date": "04/20/2022",
    }
    return row | changes


def senate_csv(rows: Sequence[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, SENATE_HEADER.split(","), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def efd_report(rows: int = 2, **changes: Any) -> dict[str, Any]:
    row = {
        "transaction-date": "04/24/2017",
        "owner": "Self",
        "ticker": "IBM",
        "asset-name": "International Business Machines Corporation",
        "asset-type": "Stock",
        "type": "Purchase",
        "amount": "$50,001 - $100,000",
        "comment": "--",
    }
    return {
        "report_id": "0068462f-0000-4000-8000-000000000001",
        "type": "periodic transaction",
        "title": "Periodic Transaction Report for 05/03/2017",
        "filer": "The Honorable Max Sample (Sample, Max)",
        "filed-date": "05/03/2017",
        "filed-time": "11:15 AM",
        "calendar-year": None,
        "data-entry-complete": True,
        "data": [{"heading": "Transactions", "amended": False, "rows": [row] * rows}],
        **changes,
    }


def write(path: Path, content: str | bytes) -> Path:
    if isinstance(content, str):
        content = content.encode()
    path.write_bytes(content)
    return path


def as_json(rows: Sequence[Any]) -> str:
    return json.dumps(rows, ensure_ascii=False, indent=1)


def today() -> date:
    """The market's day, which in the evening of New York is not yet that of UTC."""
    return wall_clock.now().astimezone(ZoneInfo("America/New_York")).date()
