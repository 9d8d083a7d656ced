"""Bytes written by columns are what protobuf writes and reads for the same agents."""

import numpy as np
import pytest

pytestmark = pytest.mark.needs_unity


@pytest.fixture
def records():
    pytest.importorskip("google.protobuf")
    from drivetrain.mlagents.agent_records import AgentRecords

    return AgentRecords("Driver?team=0", {"near": 2, "far": 150})


def test_agents_read_back_as_they_were(records):
    from drivetrain.mlagents.messages import UnityMessage

    ids = np.array([0, 127, 300, 2**31 - 1])
    observation = np.arange(4 * 152, dtype=np.float32).reshape(4, 152) / 7
    done, interrupted = np.array([0, 1, 1, 0], dtype=bool), np.array([0, 0, 1, 0], dtype=bool)
    reward = np.array([0.5, -4.0, 0.0, 1e-3], dtype=np.float32)
    agents = records.pack(ids=ids, reward=reward, done=done, interrupted=interrupted, observation=observation)
    assert len(agents) == 4 * records.bytes_per_agent
    message = UnityMessage.FromString(records.output(agents))
    read = message.unity_output.rl_output.agentInfos["Driver?team=0"].value
    assert [agent.id for agent in read] == ids.tolist()
    assert [(agent.done, agent.max_step_reached) for agent in read] == list(zip(done, interrupted, strict=True))
    np.testing.assert_array_equal([agent.reward for agent in read], reward)
    for agent, row in zip(read, observation, strict=True):
        near, far = agent.observations
        assert (list(near.shape), list(far.shape), near.name, far.name) == ([2], [150], "near", "far")
        assert list(near.dimension_properties) == [1]
        np.testing.assert_array_equal([*near.float_data.data, *far.float_data.data], row)


def test_an_agent_is_the_bytes_written_by_hand():
    from drivetrain.mlagents.agent_records import AgentRecords

    agents = AgentRecords("B", {"o": 1}).pack(
        ids=np.array([5]),
        reward=np.array([0.0], dtype=np.float32),
        done=np.array([True]),
        interrupted=np.array([False]),
        observation=np.array([[1.0]], dtype=np.float32),
    )
    observation = bytes.fromhex("0a0101" "2206" "0a04" "0000803f" "320101" "4201" "6f")  # fmt: skip
    info = bytes.fromhex("3d00000000400148005085808080006a") + bytes([len(observation)]) + observation
    assert agents == b"\x0a" + bytes([len(info)]) + info


def test_messages_may_be_appended(records):
    from drivetrain.mlagents.messages import OK, UnityMessage

    header = UnityMessage(header={"status": OK}).SerializeToString()
    channel = UnityMessage()
    channel.unity_output.rl_output.side_channel = b"abc"
    both = UnityMessage.FromString(header + records.output(b"") + channel.SerializeToString())
    assert (both.header.status, both.unity_output.rl_output.side_channel) == (200, b"abc")
    assert list(both.unity_output.rl_output.agentInfos) == ["Driver?team=0"]
