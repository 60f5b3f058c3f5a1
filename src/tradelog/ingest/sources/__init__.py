"""One module a source: what its rows look like, and how to ask it."""
