"""Ways into the log for what trades already: alpaca-py's client, recorded or through the outbox."""
