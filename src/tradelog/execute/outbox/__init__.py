"""The outbox: attempts claimed under a lease, what responses prove, and the transitions that follow."""
