"""What keeps the log itself in order: alerts, the service manager."""
