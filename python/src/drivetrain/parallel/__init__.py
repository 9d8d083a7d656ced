"""Several learner processes that stay equal: who they are, what they tell each other, how they average gradients."""

from drivetrain.parallel.group import ALONE, Group, ProcessGroup, all_finite

__all__ = ["ALONE", "Group", "ProcessGroup", "all_finite"]
"""The public names of this room."""
