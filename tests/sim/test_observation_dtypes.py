"""Compact observations: what is written equals the float32 observation, rounded as documented."""

import functools

import numpy as np
import pytest
from tests.sim import worlds
from tests.sim.comparison import make_env

from drivetrain.errors import ConfigError, SimulationError
from drivetrain.sim.observation import INT8_STEP, OBSERVATION_DTYPES, decode, encode
from drivetrain.sim.scene_bank import build_bank

OPTIONS = {"seed": 7, "num_worlds": 14, "control": "all", "agents_per_world": 3, "traffic": "idm"}


@functools.cache
def bank():
    return build_bank(worlds.all_worlds(), all_controllable=True)


def assert_rounded_to_int8(compact, exact):
    """Within half a unit of the clipped value; a hair more where float32 arithmetic makes a tie."""
    assert compact.dtype == np.int8
    np.testing.assert_allclose(compact, np.clip(exact.astype(np.float64) * 63.5, -127, 127), rtol=0, atol=0.5 + 1e-5)


def assert_rounded_to_bfloat16(compact, exact):
    """The nearer of the two 16-bit neighbours, of two equally near ones the even."""
    assert compact.dtype == np.uint16
    values = np.ascontiguousarray(exact)
    below = values.view(np.uint32) & np.uint32(0xFFFF0000)
    rest = values.view(np.uint32) & np.uint32(0xFFFF)
    up = (rest > 0x8000) | ((rest == 0x8000) & (below & np.uint32(0x10000) > 0))
    expected = (below + np.where(up, np.uint32(0x10000), np.uint32(0))).view(np.float32)
    np.testing.assert_array_equal(decode(compact), expected)


@pytest.mark.parametrize("backend", ["kernels", "oracle"])
@pytest.mark.parametrize("name", ["int8", "bfloat16"])
def test_a_compact_environment_sees_the_float_one_rounded(name, backend):
    steps = 30 if backend == "kernels" else 6
    exact = make_env(bank(), backend=backend, **OPTIONS)
    compact = make_env(bank(), backend=backend, observation_dtype=name, **OPTIONS)
    assert_rounded = {"int8": assert_rounded_to_int8, "bfloat16": assert_rounded_to_bfloat16}[name]
    assert_rounded(compact.current_observation(), exact.current_observation())
    random, ended = np.random.default_rng(2), 0
    for _ in range(steps):
        action = random.integers(0, 91, exact.num_rows)
        a, b = exact.step(action), compact.step(action)
        assert_rounded(b.observation, a.observation)
        assert_rounded(b.final_observation, a.final_observation)
        np.testing.assert_array_equal(a.reward, b.reward)
        ended += len(b.final_rows)
    assert ended > 10 or backend == "oracle"


def test_encoding_by_hand():
    values = np.array(
        [0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5 * INT8_STEP, -0.5 * INT8_STEP, 0.51 * INT8_STEP], np.float32
    )
    assert encode(values, np.int8).tolist() == [0, 64, -63, 127, -127, 127, -127, 1, 0, 1]
    exact = np.array([0.0, 1.0, -1.5, 2.0**-40, 1.0 + 2.0**-7], np.float32)
    np.testing.assert_array_equal(decode(encode(exact, np.uint16)), exact)
    halfway = np.array([1.0 + 2.0**-8, 1.0 + 3 * 2.0**-8], np.float32)
    np.testing.assert_array_equal(decode(encode(halfway, np.uint16)), np.array([1.0, 1.0 + 2 * 2.0**-7], np.float32))


@pytest.mark.parametrize("name", OBSERVATION_DTYPES)
@pytest.mark.parametrize("place", [0, 300, 691])
def test_rows_that_drive_nobody_are_cleared_wherever_the_buffer_was_dirty(name, place):
    env = make_env(bank(), observation_dtype=name, **OPTIONS)
    for _ in range(40):
        env.step(np.full(env.num_rows, 90))
    idle = env.state.running == 0
    assert 0 < idle.sum() < env.num_rows
    expected = env.current_observation().copy()
    assert not expected[idle].any()
    dirty = np.zeros_like(expected)
    dirty[:, place] = 1
    np.testing.assert_array_equal(env.current_observation(out=dirty), expected)


def test_more_threads_than_cores_and_worlds_change_nothing():
    many = make_env(bank(), threads=64, **(OPTIONS | {"num_worlds": 100}))
    one = make_env(bank(), threads=1, **(OPTIONS | {"num_worlds": 100}))
    for _ in range(10):
        action = np.full(one.num_rows, 45)
        np.testing.assert_array_equal(one.step(action).observation, many.step(action).observation)
    many.close()


def test_a_buffer_of_another_type_is_refused():
    env = make_env(bank(), observation_dtype="int8", **OPTIONS)
    with pytest.raises(SimulationError, match=r"out: a contiguous int8 array of shape \(42, 692\) is needed"):
        env.current_observation(out=np.zeros((42, 692), np.float32))


def test_an_unknown_type_is_refused():
    with pytest.raises(
        ConfigError, match=r"environment\.observation_dtype: 'int4' must be one of float32, bfloat16, int8"
    ):
        make_env(bank(), observation_dtype="int4")
