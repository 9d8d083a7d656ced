"""The network: sizes, determinism, what it may and may not look at, refusals."""

from pathlib import Path

import numba
import pytest
import torch

from drivetrain.errors import ConfigError
from drivetrain.models import precision
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.models.observation_rows import to_numpy, to_torch
from drivetrain.models.precision import emulated_bfloat16
from drivetrain.models.running_moments import RunningMoments, batch_moments
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.observation import (
    CANONICAL,
    OBSERVATION_DTYPES,
    FeatureGroup,
    ObservationSchema,
    decode,
    encode,
)

GRID = ActionSpace(num_categories=91)
VECTOR = ObservationSchema(
    name="plain",
    groups=(FeatureGroup(name="vector", features=("a", "b", "c"), count=1, is_set=False, presence=""),),
)


def rows(num_rows=12, seed=0):
    return torch.rand(num_rows, CANONICAL.size, generator=torch.Generator().manual_seed(seed)) - 0.5


def test_driving_network_has_the_documented_size():
    policy = ActorCritic(CANONICAL, GRID, PolicyConfig())
    pools = (13 + 1) * 64 + (6 + 1) * 32
    inputs = 12 + 8 + 20 * 4 + 8 * 13 + 64 + 32
    dense = (inputs + 1) * 128 + 129 * 128 + 129 * 91 + 129 * 64 + 65
    assert inputs == 300
    assert sum(p.numel() for p in policy.parameters()) == pools + dense == 76_220


def test_flat_network_takes_the_row_as_it_is():
    policy = ActorCritic(CANONICAL, GRID, PolicyConfig(encoder="flat"), seed=0)
    assert policy.trunk[0].weight.shape == (64, CANONICAL.size)
    assert policy.value_trunk is None
    assert sum(p.numel() for p in policy.encoder.parameters()) == 0


def test_first_policy_is_almost_uniform_and_seeded():
    a, b, c = (ActorCritic(CANONICAL, GRID, PolicyConfig(), seed=seed) for seed in (1, 1, 2))
    entropy = a.distribution(rows()).entropy()
    assert (entropy > 4.51 - 0.01).all()
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.trunk[0].weight, c.trunk[0].weight)


def test_building_a_policy_leaves_the_global_random_numbers_alone():
    state = torch.get_rng_state()
    ActorCritic(CANONICAL, GRID, PolicyConfig(), seed=5)
    assert torch.equal(state, torch.get_rng_state())


def test_far_agents_are_a_set_and_near_agents_are_ordered():
    policy = ActorCritic(CANONICAL, GRID, PolicyConfig())
    observation = rows()
    start, group = CANONICAL.start("agents"), CANONICAL.group("agents")

    def swapped(i, j):
        order = list(range(group.count))
        order[i], order[j] = j, i
        agents = observation[:, start : start + group.size].unflatten(1, (len(group.features), group.count))
        result = observation.clone()
        result[:, start : start + group.size] = agents[:, :, order].flatten(1)
        return result

    value = policy.evaluate(observation)[1]
    assert torch.equal(policy.evaluate(swapped(9, 14))[1], value)
    assert not torch.equal(policy.evaluate(swapped(0, 1))[1], value)


def test_every_value_of_the_row_can_matter():
    policy = ActorCritic(CANONICAL, GRID, PolicyConfig())
    torch.nn.init.normal_(policy.encoder.pools["agents"].weight)
    torch.nn.init.normal_(policy.encoder.pools["road"].weight)
    base = rows(64)
    before = policy.encoder(base)
    for column in range(CANONICAL.size):
        changed = base.clone()
        changed[:, column] += 1.5
        assert not torch.equal(policy.encoder(changed), before), column


def test_bfloat16_stays_close_to_float32():
    exact = ActorCritic(CANONICAL, GRID, PolicyConfig(), seed=3)
    coarse = ActorCritic(CANONICAL, GRID, PolicyConfig(precision="bfloat16"), seed=3)
    with emulated_bfloat16():
        distribution, value = coarse.evaluate(rows())
    expected_distribution, expected_value = exact.evaluate(rows())
    assert value.dtype == torch.float32
    assert not torch.equal(value, expected_value), "bfloat16 rounds"
    torch.testing.assert_close(value, expected_value, atol=0.02, rtol=0.02)
    torch.testing.assert_close(distribution.log_probs, expected_distribution.log_probs, atol=0.01, rtol=0)


def test_act_modes():
    policy = ActorCritic(CANONICAL, GRID, PolicyConfig(), seed=3)
    torch.nn.init.normal_(policy.pi.weight, std=0.3)
    observation = rows(400)
    mode = policy.act(observation, deterministic=True)
    assert torch.equal(mode, policy.distribution(observation).log_probs.argmax(-1))
    warm = policy.act(observation, generator=torch.Generator().manual_seed(0))
    cold = policy.act(observation, temperature=0.05, generator=torch.Generator().manual_seed(0))
    assert (cold == mode).float().mean() > (warm == mode).float().mean()


def test_gaussian_temperature_scales_the_spread():
    policy = ActorCritic(
        VECTOR, ActionSpace(size=2, low=(-1.0, -1.0), high=(1.0, 1.0)), PolicyConfig(initial_log_std=-0.5)
    )
    distribution = policy.distribution(torch.zeros(4, 3), temperature=0.5)
    assert distribution.log_std.exp().tolist() == pytest.approx([0.5 * 0.60653] * 2, rel=1e-4)


def test_plain_vector_has_separate_networks():
    policy = ActorCritic(VECTOR, ActionSpace(num_categories=2), PolicyConfig())
    _, value = policy.evaluate(torch.rand(5, 3))
    value.sum().backward()
    assert policy.trunk[0].weight.grad is None
    assert policy.value_trunk[0].weight.grad.abs().sum() > 0


def test_observation_statistics_are_exact_and_travel_with_the_weights():
    moments = RunningMoments(2)
    data = torch.tensor([[1.0, 10.0], [2.0, 30.0], [6.0, 20.0], [3.0, 0.0], [4.0, -5.0]])
    moments.update(batch_moments(data[:2]))
    moments.update(batch_moments(data[2:]))
    torch.testing.assert_close(moments.mean, data.double().mean(0))
    torch.testing.assert_close(moments.variance, data.double().var(0, unbiased=False))
    policy = ActorCritic(VECTOR, ActionSpace(num_categories=2), PolicyConfig(normalize_observation=True))
    assert "encoder.moments.mean" in policy.state_dict()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"agents_width": 48}, "policy.agents_width: 48 is no multiple of 32; use 32, 64, 96 ..."),
        ({"hidden": ()}, "policy.hidden: [] is no list of widths; use for example [128, 128]"),
        ({"nearest_agents": -1}, "policy.nearest_agents: -1 is negative; use 0 or more"),
        ({"encoder": "graph"}, "policy.encoder: 'graph' is unknown; use sets or flat"),
        ({"precision": "int4"}, "policy.precision: 'int4' is unknown; use float32 or bfloat16"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError) as error:
        PolicyConfig(**settings)
    assert str(error.value) == message


def outputs_and_gradient(policy, observation):
    distribution, value = policy.evaluate(observation)
    weights = torch.randn(len(observation), 92, generator=torch.Generator().manual_seed(5))
    loss = (distribution.log_probs * weights[:, :91]).sum() + (value * weights[:, 91]).sum()
    return value.detach(), distribution.log_probs.detach(), policy.flat_parameters().gradient(loss)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="compilation is off: there is one path only")
@pytest.mark.parametrize("encoder", ["sets", "flat"])
@pytest.mark.parametrize("hidden", [None, (32,), (64, 48, 32)])
def test_portable_operations_give_the_same_network(monkeypatch, hidden, encoder):
    policy = ActorCritic(CANONICAL, GRID, PolicyConfig(hidden=hidden, encoder=encoder), seed=3)
    observation = rows(40)
    start, group = CANONICAL.start("agents"), CANONICAL.group("agents")
    observation[:20, start : start + group.size] = 0.0  # nobody around
    results = []
    for disabled in (0, 1):
        monkeypatch.setattr("numba.config.DISABLE_JIT", disabled)
        results.append(outputs_and_gradient(policy, observation))
    for compiled, portable in zip(*results, strict=True):
        assert compiled.abs().max() > 0.1
        torch.testing.assert_close(compiled, portable, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("has", [True, False])
def test_bfloat16_is_computed_where_the_processor_multiplies_it(monkeypatch, has):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: has)
    configs = PolicyConfig(), PolicyConfig(precision="bfloat16")
    policies = [ActorCritic(CANONICAL, GRID, config, seed=3) for config in configs]
    observation = rows(64)
    exact, computed = (policy.evaluate(observation)[1] for policy in policies)
    assert torch.equal(exact, computed) != has
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)  # the same of the portable path
    exact, computed = (policy.evaluate(observation)[1] for policy in policies)
    assert torch.equal(exact, computed) != has


def test_what_a_processor_has_is_read_from_its_flags(monkeypatch):
    has = precision.has_bfloat16.__wrapped__
    for flags, expected in (("fpu avx2", False), ("avx512f avx512_bf16", True), ("asimd bf16 i8mm", True)):
        monkeypatch.setattr(Path, "read_text", lambda self, flags=flags, **_: f"flags : {flags}\n")
        assert has("cpu") is expected
    monkeypatch.setattr(Path, "read_text", lambda self, **_: (_ for _ in ()).throw(OSError))
    assert has("cpu") is False


def test_bfloat16_gradient_points_the_same_way():
    observation = rows(256)
    with emulated_bfloat16():
        single, half = (
            outputs_and_gradient(ActorCritic(CANONICAL, GRID, PolicyConfig(precision=asked), seed=3), observation)[2]
            for asked in ("float32", "bfloat16")
        )
    assert not torch.equal(single, half)
    assert torch.cosine_similarity(single, half, dim=0) > 0.999


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_observations_are_standardised_on_every_path(monkeypatch, dtype):
    policy = ActorCritic(CANONICAL, GRID, PolicyConfig(normalize_observation=True), seed=3)
    stored = encode(rows(64).numpy(), OBSERVATION_DTYPES[dtype])
    assert policy.encoder.moments is not None
    policy.encoder.moments.update(batch_moments(3.0 + 2.0 * torch.from_numpy(decode(stored))))
    compiled = outputs_and_gradient(policy, to_torch(stored))
    monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    for got, expected in zip(compiled, outputs_and_gradient(policy, to_torch(stored)), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    plain = ActorCritic(CANONICAL, GRID, PolicyConfig(), seed=3)
    assert not torch.allclose(compiled[0], outputs_and_gradient(plain, to_torch(stored))[0])


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize("dtype", ["int8", "bfloat16"])
def test_stored_types_are_read_as_the_values_they_stand_for(monkeypatch, dtype, jit):
    if not jit:
        monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    policy = ActorCritic(CANONICAL, GRID, PolicyConfig(), seed=3)
    stored = encode(rows(64).numpy(), OBSERVATION_DTYPES[dtype])
    compact = outputs_and_gradient(policy, to_torch(stored))
    for got, expected in zip(compact, outputs_and_gradient(policy, torch.from_numpy(decode(stored))), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    assert to_numpy(to_torch(stored)).tobytes() == stored.tobytes()


@pytest.mark.parametrize("uses", ["features", "actions", "both", "all"])
def test_features_for_further_heads_have_the_gradient_of_the_plain_network(uses):
    """The written-out pass on the CPU against the modules it is made of, whichever outputs a loss reads."""
    policy = ActorCritic(CANONICAL, GRID, PolicyConfig(), seed=3)
    observation = rows(7)

    def loss(logits, value, features):
        parts = {"features": features.square().sum(), "actions": logits.square().sum(), "value": value.sum()}
        chosen = {"both": ("features", "actions"), "all": tuple(parts)}.get(uses, (uses,))
        return sum(parts[name] for name in chosen)

    distribution, features = policy.evaluate_features(observation)
    assert features.shape == (7, policy.num_features) == (7, 128)
    flat = policy.flat_parameters()
    fused = flat.gradient(loss(*policy._outputs(observation)))
    plain_features, value_features = policy._features(observation)
    plain = flat.gradient(loss(policy.pi(plain_features), policy.value(value_features).squeeze(-1), plain_features))
    torch.testing.assert_close(features, plain_features)
    torch.testing.assert_close(distribution.log_probs, policy.distribution(observation).log_probs)
    torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-5)
    assert fused.abs().sum() > 0


def test_a_squashed_policy_has_a_spread_of_its_own_in_every_state():
    plane = ActionSpace(size=2, low=(-1.0, -1.0), high=(1.0, 1.0))
    policy = ActorCritic(VECTOR, plane, PolicyConfig(gaussian="squashed", initial_log_std=-1.0), seed=0)
    observation = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    log_std = policy.distribution(observation).base.log_std
    assert log_std.shape == (50, 2)
    assert (log_std + 1.0).abs().max() < 0.1
    assert len(log_std.unique()) > 50
    action = policy.act(observation)
    assert (action.abs() < 1).all()
    assert torch.equal(policy.act(observation, deterministic=True), policy.distribution(observation).mode())
    assert "log_std" not in dict(policy.named_parameters())
    with pytest.raises(ConfigError, match=r"policy.gaussian: 'beta' is unknown; use plain or squashed"):
        PolicyConfig(gaussian="beta")
