"""The reports once more, as slow and as plain as can be: every row, one after the other, in Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import ROUND_UP, Context, Decimal
from math import ceil
from typing import Any
from zoneinfo import ZoneInfo

from tests.report.made_up import Row, Tables
from tradelog.domain.account import AccountKey


class Obvious:
    """Answers for one account and the inclusive days from ``first`` to ``last`` of a zone."""

    def __init__(self, tables: Tables, account: AccountKey, first: date, last: date, zone: str) -> None:
        self.tables = tables
        self.account = account
        self.zone = ZoneInfo(zone)
        self.first, self.last = first, last
        self.decision_by_id = {row["decision_id"]: row for row in tables["trade_decisions"]}
        self.attempts: dict[str, list[Row]] = {}
        for row in tables["trade_executions"]:
            self.attempts.setdefault(row["decision_id"], []).append(row)
        self.execution_by_id = {row["execution_id"]: row for row in tables["trade_executions"]}
        self.calls: dict[str, list[Row]] = {}
        for row in tables["broker_calls"]:
            self.calls.setdefault(row["execution_id"], []).append(row)

    def day(self, moment: str) -> date:
        return datetime.fromisoformat(moment).astimezone(self.zone).date()

    def within(self, moment: str | None) -> bool:
        return moment is not None and self.first <= self.day(moment) <= self.last

    def ours(self, table: str) -> list[Row]:
        names = ("broker", "environment", "account")
        return [row for row in self.tables[table] if tuple(row[name] for name in names) == self.account]

    def decided(self, *, adopted: bool = True) -> list[Row]:
        return [
            row
            for row in self.ours("trade_decisions")
            if self.within(row["created_at"]) and (adopted or not row["adopted"])
        ]

    def fills(self) -> list[Row]:
        return [row for row in self.ours("fills") if self.within(row["transaction_time"])]

    # Of a symbol

    def data(self, symbol: str) -> tuple[list[int], list[int], int]:
        """(first seen in the period, about trades in it but seen outside of it, all about trades in it)."""
        done = {row["id"] for row in self.tables["data_ingestion_runs"] if row["status"] == "completed"}
        mine = [
            row for row in self.tables["record_versions"] if row["symbol"] == symbol and row["run"] in done
        ]
        seen = [row["version_id"] for row in mine if self.within(row["first_seen_at"])]
        traded = [
            row["version_id"]
            for row in mine
            if row["event_date"] and self.first <= date.fromisoformat(row["event_date"]) <= self.last
        ]
        return seen, [version for version in traded if version not in seen], len(traded)

    def signals(self, symbol: str) -> int:
        return sum(row["symbol"] == symbol and self.within(row["created_at"]) for row in self.ours("signals"))

    def shares(self, symbol: str, *, bought: bool) -> Decimal:
        result = Decimal(0)
        for row in self.fills():
            if row["symbol"] == symbol and (row["side"] == "buy") == bought:
                result += Decimal(row["quantity"])
        return result

    # Of failures

    def failures(self, strategy: str | None) -> dict[str, tuple[int, str, dict[str, int]]]:
        """Reason -> (count, latest, by month)."""
        result: dict[str, list[str]] = {}
        for row in self.ours("trade_decisions"):
            code = row["failure_code"]
            counts = row["status"] == "failed" or code in ("expired_unsent", "declined")
            if counts and not row["adopted"] and self.within(row["failed_at"]):
                self._note(result, code or "other", row, row["failed_at"], strategy)
        for row in self.tables["order_requests"]:
            if row["status"] == "refused" and row["kind"] == "replace" and self.within(row["ended_at"]):
                is_ours = row["refused_by"] not in ("broker", "venue")
                reason = f"replace: {row['refused_by']}" if is_ours else "replace refused"
                decision = self.decision_by_id[row["decision_id"]]
                self._note(result, reason, decision, row["ended_at"], strategy)
        for row in self.ours("trade_executions"):
            if row["status"] == "unknown" and self.within(row["started_at"]):
                decision = self.decision_by_id[row["decision_id"]]
                self._note(result, "no known outcome", decision, row["started_at"], strategy)
        return {
            reason: (len(times), max(times), dict(Counter(str(self.day(item))[:7] for item in times)))
            for reason, times in result.items()
        }

    def _note(
        self, found: dict[str, list[str]], reason: str, decision: Row, moment: str, strategy: str | None
    ) -> None:
        mine = tuple(decision[name] for name in ("broker", "environment", "account")) == self.account
        if mine and (strategy is None or decision["strategy_name"] == strategy):
            found.setdefault(reason, []).append(moment)

    # Of strategies

    def strategies(self) -> set[str]:
        """Those that decided or signalled anything in the period."""
        signals = [row for row in self.ours("signals") if self.within(row["created_at"])]
        return {row["strategy_name"] for row in (*self.decided(), *signals)}

    def strategy(self, name: str) -> dict[str, Any]:
        decided = [row for row in self.decided(adopted=False) if row["strategy_name"] == name]
        signals = [
            row
            for row in self.ours("signals")
            if row["strategy_name"] == name and self.within(row["created_at"])
        ]
        states = Counter(row["status"] for row in decided)
        parts, base, cost = [], Decimal(0), Decimal(0)
        priced = 0
        times: dict[str, list[int]] = {"sent": [], "acknowledged": [], "filled": [], "in all": []}
        for row in decided:
            attempts = self.attempts.get(row["decision_id"], [])
            quantity, value = self._filled(attempts)
            answered = self._call(attempts, ("submit", "lookup"), "ended_at", min, status=200)
            if row["status"] in ("executed", "failed", "cancelled") and (answered or quantity):
                parts.append(self._part(row, attempts[-1], quantity, value))
            price = self._price(row)
            if quantity and price is not None:
                priced += 1
                base += price * quantity
                cost += (value - price * quantity) * (1 if row["side"] == "buy" else -1)
            self._times(row, attempts, answered, times)
        return {
            "signals": len(signals),
            "not_taken": sum(not row["taken"] for row in signals),
            "decisions": len(decided),
            **{state: states[state] for state in ("executed", "failed", "cancelled")},
            "pending": states["pending"] + states["executing"],
            "adopted": sum(row["adopted"] and row["strategy_name"] == name for row in self.decided()),
            "fill_rate": sum(parts, Decimal(0)) / len(parts) if parts else None,
            "priced": priced,
            "slippage": cost if priced else None,
            "slippage_bps": cost / base * 10_000 if base else None,
            "times": {step: self._percentiles(result) for step, result in times.items()},
        }

    def _filled(self, attempts: Iterable[Row]) -> tuple[Decimal, Decimal]:
        quantity = value = Decimal(0)
        for row in attempts:
            filled = Decimal(row["filled_quantity"])
            quantity += filled
            value += filled * Decimal(row["filled_avg_price"] or 0)
        return quantity, value

    def _part(self, decision: Row, last: Row, quantity: Decimal, value: Decimal) -> Decimal:
        if last["status"] == "filled":
            return Decimal(1)
        ordered = last["quantity"] or decision["quantity"]
        part = quantity / Decimal(ordered) if ordered else value / Decimal(decision["notional"])
        return min(part, Decimal(1))

    def _price(self, decision: Row) -> Decimal | None:
        price = decision["rationale"]["market_context"]["price"]
        return None if price in (None, "none") else Decimal(str(price))

    def _call(
        self,
        attempts: Iterable[Row],
        purposes: tuple[str, ...],
        column: str,
        choose: Callable[[list[str]], str],
        status: int | None = None,
    ) -> str | None:
        result = [
            row[column]
            for attempt in attempts
            for row in self.calls.get(attempt["execution_id"], [])
            if row["purpose"] in purposes and (status is None or row["status"] == status)
        ]
        return choose(result) if result else None

    def _times(
        self, decision: Row, attempts: list[Row], answered: str | None, times: dict[str, list[int]]
    ) -> None:
        sent = self._call(attempts, ("submit",), "started_at", min)
        mine = {row["execution_id"] for row in attempts}
        fills = [row["transaction_time"] for row in self.tables["fills"] if row["execution_id"] in mine]
        over = decision["status"] in ("executed", "failed", "cancelled")
        ended = max(fills) if fills and over else None
        decided = decision["created_at"]
        for step, start, end in (
            ("sent", decided, sent),
            ("acknowledged", sent, answered),
            ("filled", answered, ended),
            ("in all", decided, ended),
        ):
            if start and end:
                took = datetime.fromisoformat(end) - datetime.fromisoformat(start)
                micros = round(took.total_seconds() * 1_000_000)
                times[step].append(max(0, micros // 1000))

    def _percentiles(self, found: list[int]) -> dict[str, int | None]:
        """By nearest rank, of the times rounded up to two digits."""

        two_digits = Context(prec=2, rounding=ROUND_UP)
        ordered = sorted(int(two_digits.create_decimal(value)) for value in found)
        return {"count": len(ordered)} | {
            f"p{share}": ordered[ceil(len(ordered) * share / 100) - 1] if ordered else None
            for share in (50, 90, 99)
        }

    # Of lots

    def lots(self, symbol: str) -> list[tuple[str, str, Decimal, Decimal, Decimal]]:
        """(opened, closed, shares, proceeds, basis) in thousandths of a share, each of its own."""
        owned: list[tuple[str, Decimal, int]] = []
        closed: Counter[tuple[str, str, Decimal, Decimal, int]] = Counter()
        trades = sorted(
            (row for row in self.ours("fills") if row["symbol"] == symbol),
            key=lambda row: (row["transaction_time"], row["fill_id"]),
        )
        for row in trades:
            sign = 1 if row["side"] == "buy" else -1
            for _ in range(int(Decimal(row["quantity"]) * 1000)):
                if owned and owned[0][2] == -sign:
                    at, price, _ = owned.pop(0)
                    key = (at, row["transaction_time"], price, Decimal(row["price"]), sign)
                    closed[key] += 1
                else:
                    owned.append((row["transaction_time"], Decimal(row["price"]), sign))
        result = []
        for (opened, ended, first, second, sign), number in closed.items():
            if not self.within(ended):
                continue
            shares = Decimal(number) / 1000
            # A sale closes what was bought: the second price is what it brought.
            proceeds, basis = (second, first) if sign < 0 else (first, second)
            result.append((opened, ended, shares, proceeds * shares, basis * shares))
        return result

    # Of what drove them

    def moves(
        self, closes: dict[date, Decimal], symbol: str, after: int
    ) -> dict[tuple[str, bool], list[Decimal]]:
        """By strategy and whether it was taken, of a symbol that has a close for every session."""
        days = sorted(closes)
        judged = [(row, True) for row in self.decided(adopted=False)]
        judged += [
            (row, False)
            for row in self.ours("signals")
            if self.within(row["created_at"]) and not row["taken"]
        ]
        result: dict[tuple[str, bool], list[Decimal]] = {}
        for row, taken in judged:
            moment = datetime.fromisoformat(row["created_at"])
            today = moment.astimezone(ZoneInfo("America/New_York")).date()
            past = [day for day in days if day <= today]
            later = [day for day in days if day > today]
            if row["symbol"] == symbol and past and len(later) >= after:
                move = closes[later[after - 1]] / closes[past[-1]] - 1
                result.setdefault((row["strategy_name"], taken), []).append(
                    move if row["side"] == "buy" else -move
                )
        return result

    def drivers(
        self, kind: str, gains: dict[str, Decimal]
    ) -> dict[str | None, tuple[int, int, int, Decimal]]:
        """Name -> (decisions, executed, with closed lots, realised), given what each decision realised."""
        versions = {row["version_id"]: row for row in self.tables["record_versions"]}
        runs = {row["id"]: row for row in self.tables["data_ingestion_runs"]}
        result: dict[str | None, tuple[int, int, int, Decimal]] = {}
        for row in self.decided(adopted=False):
            names: set[str | None] = {row["rationale"]["trigger"]}
            if kind != "trigger":
                cited = [
                    versions[link["version_id"]]
                    for link in self.tables["decision_inputs"]
                    if link["decision"] == row["id"]
                ]
                cited = [version for version in cited if version["symbol"] is not None]
                names = {
                    version["actor"] if kind == "member" else runs[version["run"]]["data_source"]
                    for version in cited
                }
            gain = gains.get(row["decision_id"])
            for name in names or {None}:
                decided, executed, closed, realised = result.get(name, (0, 0, 0, Decimal(0)))
                result[name] = (
                    decided + 1,
                    executed + (row["status"] == "executed"),
                    closed + (gain is not None),
                    realised + (gain or Decimal(0)),
                )
        return result
