"""Compiled loops of the synthetic worlds: traffic, its planning and right of way, and the checks on the result."""
