"""The values and states that all rooms share, and what they mean. No I/O; imports errors only."""
