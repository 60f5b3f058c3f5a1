"""Whether what reports remember of closed days is what the rows of those days come to."""

from __future__ import annotations

import json

from tradelog.domain.account import AccountKey
from tradelog.evidence.finding import Finding
from tradelog.store import figures
from tradelog.store.figures import ByStrategy, Figures
from tradelog.store.reader import Reader


def check(reader: Reader, findings: list[Finding]) -> None:
    """No entry of the journal covers these rows: each is counted anew, a longer span from the days of it."""
    accounts = reader.rows("SELECT DISTINCT broker, environment, account FROM report_figures")
    for row in accounts:
        account = AccountKey(row["broker"], row["environment"], row["account"])
        counted: dict[str, tuple[str, ByStrategy]] = {}
        # Shorter ones first: what is longer is made of them.
        spans = reader.rows(
            "SELECT since, before, body FROM report_figures WHERE broker = ? AND environment = ?"
            " AND account = ? ORDER BY julianday(before) - julianday(since), since",
            account,
        )
        for span in spans:
            since, before = span["since"], span["before"]
            found = _count(reader, account, since, before, counted)
            counted.setdefault(since, (before, found))
            if _read(span["body"]) != found:
                text = "is not what its rows come to; without that row, a worker counts them anew"
                findings.append(Finding("figures", f"report_figures {since} to {before}", text))


def _count(
    reader: Reader, account: AccountKey, since: str, before: str, counted: dict[str, tuple[str, ByStrategy]]
) -> ByStrategy:
    """From spans that were counted already where they make up all of it, else from the rows."""
    found: ByStrategy = {}
    done = since
    while done < before and done in counted and counted[done][0] <= before:
        done, part = counted[done]
        figures.merge(found, part)
    return found if done == before else figures.count(reader.rows, account, since, before)


def _read(body: str) -> ByStrategy | None:
    try:
        return {name: Figures.read(value) for name, value in json.loads(body).items()}
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError):
        return None
