"""Ingestion: every fetch is a run that records what it read and how it ended."""
