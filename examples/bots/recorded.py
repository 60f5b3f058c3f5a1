"""A bot as it was written for alpaca-py, on the record: one import is another, and nothing else.

Buys what is below its price, with a limit, unless it is held or ordered already.

    APCA_API_KEY_ID=... APCA_API_SECRET_KEY=... python recorded.py
"""

import os

from alpaca.common.exceptions import APIError
from alpaca.trading.enums import OrderSide, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import GetOrdersRequest, LimitOrderRequest

from tradelog.alpaca import TradingClient  # was: from alpaca.trading.client import TradingClient

PRICES = {"AAPL": 90.0, "MSFT": 300.0}

client = TradingClient(
    os.environ["APCA_API_KEY_ID"],
    os.environ["APCA_API_SECRET_KEY"],
    url_override=os.environ.get("APCA_API_BASE_URL"),
)

held = {position.symbol for position in client.get_all_positions()}
waiting = {order.symbol for order in client.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN))}
for symbol, price in PRICES.items():
    if symbol in held | waiting:
        continue
    request = LimitOrderRequest(
        symbol=symbol, qty=2, side=OrderSide.BUY, time_in_force=TimeInForce.DAY, limit_price=price
    )
    try:
        order = client.submit_order(request)
    except APIError as error:
        print(f"{symbol}: refused: {error.message}")
    else:
        print(f"{symbol}: {order.status.value}")
