"""A policy under ML-Agents' names: what comes in, what goes out, and that a file of it does the same."""

import numpy as np
import pytest
import torch

from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.models.export_form import ExportedPolicy, split_rows
from drivetrain.models.unity_form import CONSTANTS, OPSET, UnityForm
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.observation import FORBIDDEN_ACTIONS, FeatureGroup, ObservationSchema
from drivetrain.trainer.export_files import onnx_content

pytestmark = pytest.mark.needs_export


def group(name, features):
    return FeatureGroup(name=name, features=tuple(features), count=1, is_set=False, presence="")


SENSORS = (group("near", "ab"), group("far", "cde"))
CHOICES = [f"choices_{i}_{j}" for i in range(3) for j in range(2)]


def policy_of(kind):
    config = PolicyConfig(hidden=(16,), normalize_observation=True)
    if kind == "continuous":
        schema, space = ObservationSchema(name="unity:B", groups=SENSORS), ActionSpace(size=2)
    else:
        groups = (*SENSORS, group(FORBIDDEN_ACTIONS, CHOICES))
        schema, space = ObservationSchema(name="unity:B", groups=groups), ActionSpace(num_categories=6)
    policy = ActorCritic(schema, space, config, seed=1)
    with torch.no_grad():
        policy.pi.weight.mul_(400.0)  # an untrained head would prefer nothing
    return policy


def allowed_of(random, count):
    """Return masks of branches of 3 and 2 choices, 1 where allowed, with at least one of each."""
    allowed = random.integers(0, 2, (count, 5))
    allowed[np.arange(count), random.integers(0, 3, count)] = 1
    allowed[np.arange(count), 3 + random.integers(0, 2, count)] = 1
    return torch.from_numpy(allowed.astype(np.float32))


def test_continuous_actions_have_ml_agents_names_and_numbers():
    policy = policy_of("continuous")
    form = UnityForm(ExportedPolicy(policy)).eval()
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32))
    assert form.input_names == ("obs_0", "obs_1")
    outputs = dict(zip(form.output_names, form(rows[:, :2], rows[:, 2:]), strict=True))
    assert list(outputs) == [
        "version_number",
        "memory_size",
        "continuous_actions",
        "continuous_action_output_shape",
        "deterministic_continuous_actions",
    ]
    assert outputs["version_number"].tolist() == [3.0]
    assert outputs["memory_size"].tolist() == [0.0]
    assert outputs["continuous_action_output_shape"].tolist() == [2.0]
    expected = policy.act(rows, deterministic=True).clamp(-1, 1)
    assert torch.allclose(outputs["continuous_actions"], expected, atol=1e-6)
    assert (outputs["continuous_actions"].abs() == 1).any()


def test_discrete_actions_are_the_best_allowed_choices():
    policy = policy_of("discrete")
    form = UnityForm(ExportedPolicy(policy)).eval()
    random = np.random.default_rng(0)
    sensors = torch.from_numpy(random.normal(size=(200, 5)).astype(np.float32))
    allowed = allowed_of(random, 200)
    # Category 2 i + j takes choice i of the first branch and j of the second.
    forbidden = torch.stack([1 - allowed[:, i] * allowed[:, 3 + j] for i in range(3) for j in range(2)], dim=1)
    assert torch.equal(form.masks_of(forbidden), allowed)
    assert form.input_names == ("obs_0", "obs_1", "action_masks")
    outputs = dict(zip(form.output_names, form(sensors[:, :2], sensors[:, 2:], allowed), strict=True))
    assert outputs["discrete_action_output_shape"].tolist() == [[3.0, 2.0]]
    category = policy.act(torch.cat([sensors, forbidden], dim=1), deterministic=True)
    expected = torch.stack([category // 2, category % 2], dim=1)
    assert torch.equal(outputs["discrete_actions"], expected)
    assert torch.equal(outputs["deterministic_discrete_actions"], expected)
    taken = allowed.gather(1, expected + torch.tensor([0, 3]))
    assert (taken == 1).all()


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_a_file_does_the_same(kind):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    form = UnityForm(ExportedPolicy(policy_of(kind))).eval()
    random = np.random.default_rng(1)
    arrays = list(split_rows(torch.from_numpy(random.normal(size=(50, 5)).astype(np.float32)), sensors_schema()))
    if kind == "discrete":
        arrays.append(allowed_of(random, 50))
    content = onnx_content(
        form,
        [array[:2] for array in arrays],
        inputs=form.input_names,
        outputs=form.output_names,
        document={},
        constants=CONSTANTS,
        opset=OPSET,
    )
    model = onnx.load_from_string(content)
    assert model.opset_import[0].version == 9
    assert [entry.name for entry in model.graph.input] == list(form.input_names)
    assert [entry.name for entry in model.graph.output] == list(form.output_names)
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = session.run(None, dict(zip(form.input_names, [array.numpy() for array in arrays], strict=True)))
    for ours, theirs in zip(form(*arrays), found, strict=True):
        assert tuple(ours.shape) == theirs.shape
        assert np.allclose(ours.detach().numpy(), theirs, atol=1e-5)


def sensors_schema():
    return ObservationSchema(name="unity:B", groups=SENSORS)
