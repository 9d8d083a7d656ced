"""Where a policy computes, as people name it."""

from __future__ import annotations

import torch

from drivetrain.errors import UsageError

DEVICES = ("cpu", "cuda")
"""What a policy runs on; a number may follow, as in ``cuda:1``."""


def check_device(device: str) -> None:
    """Check that a policy can run there.

    Raises:
        UsageError: There is no such device, or not here.
    """
    try:
        kind = torch.device(device).type
    except RuntimeError:  # torch's answer is a list of everything it was ever ported to
        kind = ""
    if kind not in DEVICES:
        raise UsageError(f"device: '{device}' is not one of {', '.join(DEVICES)}")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # an assertion where torch was built without CUDA
        raise UsageError(
            f"device: '{device}' is not there on this machine or for this build of torch; use cpu"
        ) from error
