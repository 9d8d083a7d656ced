"""A policy under the names by which Unity's ML-Agents package reads a model.

B rows, M continuous actions, R discrete branches, K choices of all branches together.

Source: Unity ML-Agents 1.1.0 (Apache-2.0), ``mlagents.trainers.torch_entities.model_serialization`` (names), version 3.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from drivetrain.models.export_form import ExportedPolicy, input_shape
from drivetrain.sim.observation import FORBIDDEN_ACTIONS

VERSION = 3.0
"""Of ML-Agents' model format."""
OPSET = 9
"""Of ONNX, as ML-Agents' own exporter writes it."""
CONSTANTS = ("version_number", "memory_size", "continuous_action_output_shape", "discrete_action_output_shape")
"""Outputs without a batch."""


class UnityForm(nn.Module):
    """Inputs ``obs_0``, ``obs_1``, ... [B, size], and if actions are discrete ``action_masks`` [B, K], 1 where allowed.

    Outputs ``version_number``, ``memory_size``, and for either kind of action the actions, their number, and the
    actions again as the deterministic ones: the policy leaves in its deterministic form.
    """

    version_number: Tensor
    memory_size: Tensor
    action_shape: Tensor
    choices: Tensor
    """The choice in each branch of every category, shape [categories, R]."""
    columns: Tensor
    """Where these are in ``action_masks``, shape [categories, R]."""

    def __init__(self, form: ExportedPolicy) -> None:
        super().__init__()
        self.form = form
        schema, space = form.schema, form.policy.action_space
        self.sensors = tuple(group for group in schema.groups if group.name != FORBIDDEN_ACTIONS)
        self.has_masks = len(self.sensors) < len(schema.groups)
        self.is_discrete = space.is_discrete and not space.category_values
        kind = "discrete" if self.is_discrete else "continuous"
        self.input_names = tuple(f"obs_{i}" for i in range(len(self.sensors)))
        self.input_names += ("action_masks",) if self.is_discrete else ()
        self.output_names = ("version_number", "memory_size", f"{kind}_actions", f"{kind}_action_output_shape")
        self.output_names += (f"deterministic_{kind}_actions",)
        self.register_buffer("version_number", torch.tensor([VERSION]))
        self.register_buffer("memory_size", torch.tensor([0.0]))
        choices = self._choices()
        branches = choices.max(axis=0) + 1
        starts = np.concatenate([[0], np.cumsum(branches)[:-1]])
        self.num_choices = int(branches.sum())
        self.register_buffer("choices", torch.from_numpy(choices))
        self.register_buffer("columns", torch.from_numpy(choices + starts))
        size = len(space.category_values[0]) if space.category_values else space.size
        shape = [branches.tolist()] if self.is_discrete else [size]
        self.register_buffer("action_shape", torch.tensor(shape, dtype=torch.float32))

    def _choices(self) -> np.ndarray:
        schema = self.form.schema
        if not self.has_masks:
            return np.arange(max(self.form.policy.action_space.num_categories, 1))[:, None]
        names = schema.group(FORBIDDEN_ACTIONS).features
        return np.array([[int(choice) for choice in name.split("_")[1:]] for name in names], np.int64)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs in the order of their names."""
        arrays = [x.reshape(-1, *input_shape(g)) for x, g in zip(inputs, self.sensors, strict=False)]
        if self.has_masks:
            forbidden = 1.0 - inputs[-1]
            by_branch = [forbidden.index_select(1, column) for column in self.columns.unbind(1)]
            arrays.append(torch.stack(by_branch, dim=2).amax(2))
        action = self.form(*arrays)[0]
        if self.is_discrete:
            action = self.choices.index_select(0, action)
            if not self.has_masks:  # an input that nothing reads would vanish from the file
                action = action + (0.0 * inputs[-1].sum(1, keepdim=True)).to(torch.int64)
        return self.version_number, self.memory_size, action, self.action_shape, action

    def masks_of(self, forbidden: Tensor) -> Tensor:
        """Return ``action_masks`` for rows that say which categories are forbidden [B, categories]."""
        masks = torch.zeros(len(forbidden), self.num_choices)
        for column in self.columns.unbind(1):
            masks.scatter_reduce_(1, column.expand(len(forbidden), -1), (forbidden == 0).float(), "amax")
        return masks
