"""The same bot in outbox mode: its orders are decisions with their reason, and the worker sends them.

The id that it gives an order makes a second run of the same day a no-op.

    APCA_API_KEY_ID=... APCA_API_SECRET_KEY=... python outbox.py
    tradelog run-worker
"""

import os
import time

from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import LimitOrderRequest

import tradelog
from tradelog.alpaca import TradingClient

PRICES = {"AAPL": 90, "MSFT": 300}

client = TradingClient(
    os.environ["APCA_API_KEY_ID"],
    os.environ["APCA_API_SECRET_KEY"],
    url_override=os.environ.get("APCA_API_BASE_URL"),
    mode="outbox",
    strategy="below-its-price",
)

day = time.strftime("%Y-%m-%d")
for symbol, price in PRICES.items():
    request = LimitOrderRequest(
        symbol=symbol,
        qty=2,
        side=OrderSide.BUY,
        time_in_force=TimeInForce.DAY,
        limit_price=price,
        client_order_id=f"{day}-{symbol}",
    )
    with tradelog.because({"why": "below its price", "price": str(price)}):
        order = client.submit_order(request)
    print(f"{symbol}: {order.status.value}")
