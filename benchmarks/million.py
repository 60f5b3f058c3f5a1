"""A store as after three years of a busy desk: a million decisions, made by SQL in a few minutes.

The rows are plain and fit each other (inputs, signals, attempts, orders, events, fills), and none is journaled:
reports do not look there. Every twentieth decision and record is of AAPL.

    python -m benchmarks.million PATH [DECISIONS VERSIONS]
"""

from __future__ import annotations

import sqlite3
import sys
import time
from pathlib import Path

from tradelog.domain.account import AccountKey
from tradelog.domain.clock import MARKET_ZONE
from tradelog.store import figures
from tradelog.store.opening import open_writer

ACCOUNT = AccountKey("alpaca", "paper", "default")

SPAN = 3 * 365 * 86_400
# Up to now: this year is what reports are asked for.
START = int(time.time()) - SPAN
SYMBOLS = 2_000
STRATEGIES = 8
MEMBERS = 400
RUNS = 3_000


def make(path: Path, decisions: int = 1_000_000, versions: int = 3_000_000) -> None:
    """Write the store at ``path``, which must not be there yet."""
    open_writer(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=OFF")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA cache_size=-400000")
    connection.execute("PRAGMA temp_store=MEMORY")
    later = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE type IN ('trigger', 'index') AND sql IS NOT NULL"
    ).fetchall()
    for kind, name, _ in later:
        connection.execute(f"DROP {kind} {name}")
    connection.execute("BEGIN")
    numbers = {"decisions": decisions, "versions": versions}
    for statement in STATEMENTS:
        connection.execute(
            statement, {key: value for key, value in numbers.items() if f":{key}" in statement}
        )
    connection.execute("COMMIT")
    # The unique indexes of a table come with it; these are built at once, which is many times faster.
    for _, _, sql in sorted(later, key=lambda item: item[0] == "trigger"):
        connection.execute(sql)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    remember(path)


def remember(path: Path) -> None:
    """The figures of closed days, as the worker of a store like this has made them in time."""
    writer = open_writer(path)
    writer.connection.execute("PRAGMA synchronous=OFF")
    assert figures.remember(writer, ACCOUNT, MARKET_ZONE, seconds=3600)
    writer.close()


def _count(name: str) -> str:
    return f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {name})"


# Numbers that look like chance, and are the same every time.
def _mixed(i: str, salt: int) -> str:
    return f"(({i} * {2_654_435_761 + 2 * salt}) % 4294967296 / 7)"


def _moment(seconds: str) -> str:
    return f"strftime('%Y-%m-%dT%H:%M:%S', {seconds}, 'unixepoch') || '.000000Z'"


def _millisecond(seconds: str) -> str:
    return f"strftime('%Y-%m-%dT%H:%M:%f', {seconds}, 'unixepoch') || '000Z'"


def _id(kind: str, i: str) -> str:
    return f"printf('{kind}_%08x%08x', ({i} * 2654435761) % 4294967296, {i})"


# Every twentieth is AAPL, the others are spread.
def _symbol(i: str) -> str:
    return f"CASE WHEN {i} % 20 = 0 THEN 'AAPL' ELSE printf('S%04d', {_mixed(i, 1)} % {SYMBOLS}) END"


_CREATED = f"({START} + CAST(i * {SPAN}.0 / :decisions AS INTEGER))"
_STRATEGY = f"printf('strategy%d', {_mixed('i', 2)} % {STRATEGIES})"
_SIDE = f"CASE WHEN {_mixed('i', 3)} % 3 = 0 THEN 'sell' ELSE 'buy' END"
# Of a hundred: 80 executed, 12 failed, 5 cancelled, the rest pending (all of them of the last days).
_FATE = f"({_mixed('i', 4)} % 100)"
_PRICE = f"(10 + {_mixed('i', 5)} % 40000 / 100)"
_FAILURES = (
    f"CASE {_mixed('i', 6)} % 6 WHEN 0 THEN 'insufficient_buying_power' WHEN 1 THEN 'risk.order_notional'"
    " WHEN 2 THEN 'not_tradable' WHEN 3 THEN 'rejected_by_venue' WHEN 4 THEN 'wash_trade' ELSE 'market_rule' END"
)
STATEMENTS = (
    f"""{_count(str(RUNS))} INSERT INTO data_ingestion_runs (id, run_id, task_name, data_source, actor, host, pid,
    boot_id, heartbeat_at, started_at, completed_at, status, params, records_fetched, records_created,
    records_updated, records_skipped, records_quarantined, records_gone, api_calls)
    SELECT i, {_id("run", "i")}, 'data_fetch:congress', 'quiver-congress', 'trader@box', 'box', 1, 'b',
    {_moment(f"{START} + i * {SPAN} / {RUNS}")}, {_moment(f"{START} + i * {SPAN} / {RUNS}")},
    {_moment(f"{START} + i * {SPAN} / {RUNS} + 5")}, 'completed', '{{}}', 1000, 1000, 0, 0, 0, 0, '[]' FROM n""",
    f"""{_count(":versions")} INSERT INTO source_records (record_id, feed, kind, identity, occurrence)
    SELECT i, 'quiver-congress', 'congress_trade', CAST(printf('%032x', i) AS BLOB), 1 FROM n""",
    f"""{_count(":versions")} INSERT INTO record_versions (version_id, record_id, run, first_seen_at, position,
    event_date, filed_at, filed_as_given, symbol, actor, side, amount_low, amount_high, backfill, gone,
    content_hash, payload)
    SELECT i, i, 1 + (i - 1) * {RUNS} / :versions,
    {_moment(f"{START} + ((i - 1) * {RUNS} / :versions + 1) * {SPAN} / {RUNS} + 4")}, i % 1000,
    date({START} + CAST(i * {SPAN}.0 / :versions AS INTEGER) - 3000000, 'unixepoch'),
    {_moment(f"{START} + CAST(i * {SPAN}.0 / :versions AS INTEGER) - 86400")},
    date({START} + CAST(i * {SPAN}.0 / :versions AS INTEGER) - 86400, 'unixepoch'), {_symbol("i")},
    printf('Member %d', {_mixed("i", 7)} % {MEMBERS}),
    CASE WHEN {_mixed("i", 8)} % 2 = 0 THEN 'purchase' ELSE 'sale' END, '1001', '15000', 0, 0,
    CAST(printf('%032x', i) AS BLOB),
    '{{"Representative": "Member of Congress", "Ticker": "SOME", "Range": "$1,001 - $15,000"}}' FROM n""",
    f"""{_count(":versions")} INSERT INTO ingestion_records (record_id, run, outcome)
    SELECT i, 1 + (i - 1) * {RUNS} / :versions, 'created' FROM n""",
    f"""{_count("1000")} INSERT INTO strategy_runs (id, strategy_run_id, strategy_name, strategy_version, code_hash,
    parameters, includes_backfill, basis, context, broker, environment, account, started_at)
    SELECT i, {_id("srn", "i")}, printf('strategy%d', i % {STRATEGIES}), '1', 'x', '{{}}', 0, 1, '{{}}', 'alpaca',
    'paper', 'default', {_moment(f"{START} + i * {SPAN} / 1000")} FROM n""",
    f"""{_count(":decisions")} INSERT INTO signals (id, signal_id, strategy_run_id, strategy_name, broker,
    environment, account, symbol, side, episode, taken, reason, detail, created_at)
    SELECT i, {_id("sig", "i")}, {_id("srn", "(1 + i % 1000)")}, {_STRATEGY}, 'alpaca', 'paper', 'default',
    {_symbol("i")}, {_SIDE}, printf('e%d', i), 1, NULL, '{{"inputs": []}}', {_moment(_CREATED)} FROM n""",
    f"""{_count(":decisions")} INSERT INTO trade_decisions (id, decision_id, signal_id, strategy_name,
    strategy_version, actor, broker, environment, account, symbol, side, quantity, order_type, time_in_force,
    extended_hours, decision_rationale, basis, decision_hash, client_order_id, created_at, status, failure_code,
    failure_message, retry_count, executed_at, failed_at, lease_token, adopted)
    SELECT i, {_id("dec", "i")}, {_id("sig", "i")}, {_STRATEGY}, '1', 'trader@box', 'alpaca', 'paper', 'default',
    {_symbol("i")}, {_SIDE}, '10', 'market', 'day', 0,
    '{{"trigger_event": "3 members disclosed a purchase", "signal_strength": "0.5", "market_context": {{"price": "'
    || {_PRICE} || '"}}}}',
    1, printf('%064x', i), printf('tl-%016x-%012x-1', i, i), {_moment(_CREATED)},
    CASE WHEN {_FATE} < 80 THEN 'executed' WHEN {_FATE} < 92 THEN 'failed' WHEN {_FATE} < 97 THEN 'cancelled'
    WHEN i > :decisions - 100 THEN 'pending' ELSE 'executed' END,
    CASE WHEN {_FATE} BETWEEN 80 AND 91 THEN {_FAILURES} WHEN {_FATE} BETWEEN 92 AND 96 THEN 'expired_unsent' END,
    CASE WHEN {_FATE} BETWEEN 80 AND 96 THEN 'the reason in the words of whoever said no' END, 0,
    CASE WHEN {_FATE} < 80 OR {_FATE} > 96 THEN {_moment(f"{_CREATED} + 2")} END,
    CASE WHEN {_FATE} BETWEEN 80 AND 96 THEN {_moment(f"{_CREATED} + 2")} END, 1, 0 FROM n""",
    """INSERT INTO decision_inputs (decision, version_id)
    SELECT d.id, max(1, d.id * :versions / :decisions - k.k * 20) FROM trade_decisions d
    CROSS JOIN (SELECT 1 AS k UNION SELECT 2 UNION SELECT 3) k
    GROUP BY d.id, max(1, d.id * :versions / :decisions - k.k * 20)""",
    f"""INSERT INTO trade_executions (id, execution_id, decision_id, attempt_number, client_order_id, broker,
    environment, account, symbol, status, broker_status, alpaca_order_id, failure_code, error_message,
    filled_quantity, filled_avg_price, started_at, submitted_at, filled_at, rejected_at, fills_quantity)
    SELECT i, {_id("exe", "i")}, decision_id, 1, client_order_id, broker, environment, account, symbol,
    CASE status WHEN 'executed' THEN 'filled' WHEN 'failed' THEN 'rejected' WHEN 'cancelled' THEN 'expired'
    ELSE 'accepted' END, NULL, printf('order-%d', i), failure_code, failure_message,
    CASE status WHEN 'executed' THEN quantity ELSE '0' END,
    CASE status WHEN 'executed' THEN CAST({_PRICE} + i % 7 / 100.0 AS TEXT) END,
    {_moment(f"{_CREATED} + 1")}, {_moment(f"{_CREATED} + 1")},
    CASE status WHEN 'executed' THEN {_moment(f"{_CREATED} + 2")} END,
    CASE status WHEN 'failed' THEN {_moment(f"{_CREATED} + 2")} END,
    CASE status WHEN 'executed' THEN quantity ELSE '0' END
    FROM (SELECT id AS i, * FROM trade_decisions WHERE :decisions)""",
    f"""INSERT INTO broker_calls (call_id, execution_id, purpose, method, url, request_body, status, response_body,
    body_encoding, started_at, ended_at)
    SELECT i, execution_id, 'submit', 'POST', 'https://paper-api.alpaca.markets/v2/orders', '{{}}',
    CASE WHEN status = 'rejected' THEN 403 ELSE 200 END, '{{}}', 'utf-8',
    {_millisecond(f"{_CREATED} + {_mixed('i', 9)} % 900 / 1000.0")},
    {_millisecond(f"{_CREATED} + 0.9 + {_mixed('i', 10)} % 400 / 1000.0")}
    FROM (SELECT id AS i, * FROM trade_executions WHERE :decisions)""",
    """INSERT INTO alpaca_orders (broker_order_id, client_order_id, broker, environment, account, symbol, status,
    filled_quantity, filled_avg_price, decision_id, execution_id, raw, first_seen_at, updated_at)
    SELECT alpaca_order_id, client_order_id, broker, environment, account, symbol, status, filled_quantity,
    filled_avg_price, decision_id, execution_id, '{}', started_at, started_at FROM trade_executions""",
    """INSERT INTO order_events (broker_order_id, execution_id, status, filled_quantity, source, seen_at)
    SELECT alpaca_order_id, execution_id, status, filled_quantity, 'submit', started_at FROM trade_executions""",
    """INSERT INTO fills (fill_id, broker_order_id, execution_id, broker, environment, account, symbol, side,
    quantity, price, price_basis, transaction_time, seen_at)
    SELECT printf('fill-%d', e.id), e.alpaca_order_id, e.execution_id, e.broker, e.environment, e.account, e.symbol,
    d.side, e.filled_quantity, e.filled_avg_price, 'broker', e.filled_at, e.filled_at
    FROM trade_executions e JOIN trade_decisions d ON d.id = e.id WHERE e.status = 'filled'""",
)


if __name__ == "__main__":
    began = time.perf_counter()
    make(Path(sys.argv[1]), *map(int, sys.argv[2:]))
    print(f"{time.perf_counter() - began:.0f} s, {Path(sys.argv[1]).stat().st_size / 2**20:.0f} MiB")
