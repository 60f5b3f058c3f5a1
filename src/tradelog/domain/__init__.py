"""What the words of tradelog mean: values, states and their transitions. No I/O; only errors are imported."""
