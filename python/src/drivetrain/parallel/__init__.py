"""Several learner processes that stay equal: who they are, what they tell each other, how they average gradients."""

from drivetrain.parallel.group import ALONE, KEPT, Group, ProcessGroup, all_finite
from drivetrain.parallel.joining import join_by_address, join_by_file, loopback, stay_on_this_machine

__all__ = [
    "ALONE",
    "KEPT",
    "Group",
    "ProcessGroup",
    "all_finite",
    "join_by_address",
    "join_by_file",
    "loopback",
    "stay_on_this_machine",
]
"""The public names of this room."""
