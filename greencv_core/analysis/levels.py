"""The error rates that every test and every interval is held to."""

ALPHA = 0.05
"""Of a test: the share of true nulls that it may reject."""
CONFIDENCE = 0.95
"""Of an interval: the share of intervals that hold the truth."""
