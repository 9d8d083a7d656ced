"""All parameters of a module as one vector: one optimiser step, one norm, one exchange between processes.

P parameters in all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


class FlatParameters:
    """One vector whose pieces are the module's parameters.

    The parameters become views of the vector, so that either changes with the other; what is stored, loaded and
    named stays the module's own. Moving or copying the module gives its parameters memory of their own again:
    ``is_current`` tells.
    """

    def __init__(self, module: nn.Module) -> None:
        self.parameters = list(module.parameters())
        self.theta = torch.cat([p.detach().flatten() for p in self.parameters]).requires_grad_()
        """All parameters, shape [P]; a leaf of the graph."""
        self._offsets: dict[int, int] = {}
        at = 0
        for parameter in self.parameters:
            self._offsets[id(parameter)] = at
            parameter.data = self.theta.detach()[at : at + parameter.numel()].view_as(parameter)
            at += parameter.numel()

    @property
    def is_current(self) -> bool:
        """True while the module's parameters are views of ``theta``."""
        return self.parameters[0].data_ptr() == self.theta.data_ptr()

    def offset(self, parameter: Tensor) -> int:
        """Return where a parameter begins."""
        return self._offsets[id(parameter)]

    def mask(self, parameters: Iterable[Tensor]) -> Tensor:
        """Return 1 where ``theta`` holds one of the parameters and 0 elsewhere, shape [P]."""
        mask = torch.zeros_like(self.theta, requires_grad=False)
        for parameter in parameters:
            at = self.offset(parameter)
            mask[at : at + parameter.numel()] = 1.0
        return mask

    def gradient(self, loss: Tensor) -> Tensor:
        """Return the gradient of a loss by ``theta``, shape [P], whichever of the two it was computed from."""
        return joint_gradient(loss, [self])


def joint_gradient(loss: Tensor, vectors: Sequence[FlatParameters]) -> Tensor:
    """Return the gradients of a loss by the ``theta`` of several modules, one after the other, shape [sum of P]."""
    leaves = [leaf for vector in vectors for leaf in (vector.theta, *vector.parameters)]
    found = iter(torch.autograd.grad(loss, leaves, allow_unused=True))
    gradients: list[Tensor] = []
    for vector in vectors:
        whole, parts = next(found), [next(found) for _ in vector.parameters]
        if all(part is None for part in parts):
            gradients.append(torch.zeros_like(vector.theta) if whole is None else whole)
            continue
        pairs = zip(parts, vector.parameters, strict=True)
        joined = torch.cat([torch.zeros_like(p).flatten() if g is None else g.flatten() for g, p in pairs])
        gradients.append(joined if whole is None else joined + whole)
    return gradients[0] if len(gradients) == 1 else torch.cat(gradients)
