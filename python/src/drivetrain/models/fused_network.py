"""The driving network in one differentiable step on the CPU: encoder, trunk, policy head and value head.

B rows, D observation values, K action parameters, H features of the trunk.

At a few hundred rows a network of this size is bound by the cost of calling operations and of book-keeping, not by
its arithmetic. So its forward and backward passes are written out: some thirty matrix operations on flat parameters,
one gradient vector. In float32 equal to the module it is made of (``models/actor_critic.py``), which other devices use;
in bfloat16 the value head's first layer and all gradients are bfloat16 products here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.models.encoder import ObservationEncoder
from drivetrain.models.flat_parameters import FlatParameters
from drivetrain.models.set_encoder import FusedLayout


@dataclass(frozen=True, slots=True)
class _Linear:
    """Where a linear layer lies in the flat parameters."""

    weight_at: int
    bias_at: int
    num_inputs: int
    num_outputs: int

    @staticmethod
    def of(layer: nn.Module, flat: FlatParameters) -> _Linear:
        assert isinstance(layer, nn.Linear)
        return _Linear(flat.offset(layer.weight), flat.offset(layer.bias), layer.in_features, layer.out_features)

    def weight(self, theta: Tensor) -> Tensor:
        """Return the weights as a view of flat parameters (or their gradient), shape [outputs, inputs]."""
        size = self.num_outputs * self.num_inputs
        return theta[self.weight_at : self.weight_at + size].view(self.num_outputs, self.num_inputs)

    def bias(self, theta: Tensor) -> Tensor:
        """Return the biases as a view of flat parameters (or their gradient), shape [outputs]."""
        return theta[self.bias_at : self.bias_at + self.num_outputs]

    def apply(self, x: Tensor, theta: Tensor) -> Tensor:
        return torch.addmm(self.bias(theta), x, self.weight(theta).t())

    def write_gradient(self, x: Tensor, g: Tensor, d_theta: Tensor) -> None:
        """Write the gradients of weights and biases for inputs x [B, inputs] and output gradients g [B, outputs]."""
        self.weight(d_theta).copy_(g.t() @ x)
        torch.sum(g, 0, dtype=torch.float32, out=self.bias(d_theta))


@dataclass(frozen=True, slots=True)
class FusedNetwork:
    """The layers of a driving network with ReLU trunk, by their place in the flat parameters."""

    layout: FusedLayout
    trunk: tuple[_Linear, ...]
    pi: _Linear
    value: tuple[_Linear, _Linear]
    dtype: torch.dtype
    """Of the matrix products of the trunk, the value head's first layer and all gradients; outputs are float32."""

    @staticmethod
    def build(
        encoder: ObservationEncoder,
        *,
        trunk: nn.Sequential,
        pi: nn.Linear,
        value: nn.Sequential,
        flat: FlatParameters,
        dtype: torch.dtype,
    ) -> FusedNetwork:
        """Return the fused form of a network whose parameters are views of ``flat``."""
        sets = list(encoder.sets())
        offsets = [(flat.offset(pool.weight), flat.offset(pool.bias)) for pool in sets]
        return FusedNetwork(
            layout=FusedLayout.build(encoder.plain_columns, sets, offsets),
            trunk=tuple(_Linear.of(layer, flat) for layer in trunk if isinstance(layer, nn.Linear)),
            pi=_Linear.of(pi, flat),
            value=(_Linear.of(value[0], flat), _Linear.of(value[2], flat)),
            dtype=dtype,
        )

    def forward(self, rows: Tensor, theta: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Return action parameters [B, K], values [B], features [B, H], and what :meth:`backward` needs."""
        encoded, winner = self.layout.encode(rows, theta)
        small = theta.to(self.dtype)
        layers = [encoded.to(self.dtype)]
        for layer in self.trunk:
            layers.append(layer.apply(layers[-1], small).relu_())
        hidden, out = self.value
        value_hidden = hidden.apply(layers[-1], small).relu_()
        value = torch.mv(value_hidden.float(), out.weight(theta)[0]).add_(out.bias(theta))
        features = layers[-1].float()
        return self.pi.apply(features, theta), value, features, [winner, small, value_hidden, *layers]

    def backward(
        self,
        rows: Tensor,
        saved: list[Tensor],
        d_pi: Tensor | None,
        d_value: Tensor | None,
        d_features: Tensor | None = None,
    ) -> Tensor:
        """Return the gradient by the flat parameters for the gradients by the outputs; None: not used."""
        winner, small, value_hidden, *layers = saved
        d_theta = torch.zeros(len(small))
        g = torch.zeros_like(layers[-1]) if d_features is None else d_features.to(self.dtype)
        if d_pi is not None:
            d_pi = d_pi.to(self.dtype)
            self.pi.write_gradient(layers[-1], d_pi, d_theta)
            towards = d_pi @ self.pi.weight(small)
            g = towards if d_features is None else g + towards
        if d_value is not None:
            hidden, out = self.value
            d_column = d_value.to(self.dtype)[:, None]
            out.write_gradient(value_hidden, d_column, d_theta)
            d_hidden = torch.ops.aten.threshold_backward(d_column * out.weight(small), value_hidden, 0)
            hidden.write_gradient(layers[-1], d_hidden, d_theta)
            g = torch.addmm(g, d_hidden, hidden.weight(small))
        for i in range(len(self.trunk) - 1, -1, -1):
            layer = self.trunk[i]
            g = torch.ops.aten.threshold_backward(g, layers[i + 1], 0)
            layer.write_gradient(layers[i], g, d_theta)
            # The observation is data: below the first layer only the pooled features have a gradient.
            first = self.layout.num_outputs - self.layout.num_pooled if i == 0 else 0
            g = g @ layer.weight(small)[:, first:]
        self.layout.add_gradient(rows, winner, g.float(), d_theta)
        return d_theta


class _Evaluate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, theta: Tensor, network: FusedNetwork) -> tuple[Tensor, Tensor, Tensor]:
        pi, value, features, saved = network.forward(rows, theta.detach())
        ctx.save_for_backward(rows, *saved)
        ctx.network = network
        ctx.set_materialize_grads(False)
        return pi, value, features

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, Tensor, None]:
        rows, *saved = ctx.saved_tensors
        return None, ctx.network.backward(rows, saved, *grad_outputs), None


def evaluate(rows: Tensor, theta: Tensor, network: FusedNetwork) -> tuple[Tensor, Tensor, Tensor]:
    """Return action parameters [B, K], values [B] and features [B, H] of rows [B, D]; differentiable by ``theta``."""
    if torch.is_grad_enabled():
        return _Evaluate.apply(rows, theta, network)  # type: ignore[return-value]
    pi, value, features, _ = network.forward(rows, theta.detach())
    return pi, value, features
