"""The store: one SQLite file. Writers go through `writer`, readers through `reader`."""
