"""Order tracking after submission: polling, order updates and fills, reconciliation with the broker."""
