"""Ingestion: every fetch is a run, and every run says what it brought."""
