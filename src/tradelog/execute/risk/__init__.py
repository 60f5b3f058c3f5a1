"""What holds before an order is submitted: pre-trade checks, limit usage, expiry, halts, approvals."""
