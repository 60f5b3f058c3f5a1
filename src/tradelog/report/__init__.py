"""One module a question. Each returns data, with its SQL beside it, and prints nothing."""
