"""Execution: the worker that drains the outbox to the broker, exactly once in effect."""
