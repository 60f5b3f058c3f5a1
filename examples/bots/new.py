"""A bot written for tradelog from the start: no client of a broker, one call a decision.

python new.py
tradelog run-worker
"""

import time

import tradelog

PRICES = {"AAPL": "90", "MSFT": "300"}

with tradelog.open_log() as log:
    day = time.strftime("%Y-%m-%d")
    for symbol, price in PRICES.items():
        decision_id = log.decide(
            strategy="below-its-price",
            symbol=symbol,
            side="buy",
            quantity="2",
            order_type="limit",
            limit_price=price,
            rationale={"why": "below its price", "price": price},
            key=f"{day}-{symbol}",
        )
        print(f"{symbol}: {decision_id}")
