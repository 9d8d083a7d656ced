"""Autonomous-driving planners: train, score and manage them in a fast batched closed-loop simulator."""

__version__ = "0.1.0"
