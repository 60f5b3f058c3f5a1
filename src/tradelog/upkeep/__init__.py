"""What keeps a store well for years: backup and restore, the archive, the daily maintenance."""
