"""Runs of many protocols: what they scored, how they compare, what they cost."""
