"""A player's bytes read by the kernel against the same bytes as protobuf objects."""

import numpy as np
import pytest

from drivetrain.errors import DataError

pytestmark = pytest.mark.needs_unity
messages = pytest.importorskip("drivetrain.mlagents.messages")
wire = pytest.importorskip("drivetrain.mlagents.wire")
NAME = "Walker?team=0"


def message_of(agents, behavior=NAME):
    message = messages.UnityMessage()
    message.header.status = messages.OK
    message.unity_output.rl_output.agentInfos[behavior].value.extend(agents)
    message.unity_output.rl_output.side_channel = b"side"
    return message


def random_agents(random, count):
    agents = []
    for _ in range(count):
        agent = messages.AgentInfo(
            id=int(random.integers(0, 2**31)),
            reward=float(random.choice([0.0, -1.5, 3.25])),
            group_reward=float(random.choice([0.0, 0.5])),
            done=bool(random.integers(2)),
            max_step_reached=bool(random.integers(2)),
        )
        if random.integers(2):
            agent.action_mask.extend([bool(x) for x in random.integers(0, 2, 5)])
        for name, size in (("ray", 4), ("speed", 1)):
            observation = agent.observations.add(name=name, shape=[size], dimension_properties=[1])
            observation.float_data.data.extend(random.normal(size=size))
        agents.append(agent)
    return agents


def test_the_kernel_reads_what_protobuf_reads():
    random = np.random.default_rng(0)
    reader = wire.AgentReader((4, 1), num_mask=5, most=2)  # has to grow
    for count in (0, 1, 40):
        message = message_of(random_agents(random, count))
        read = wire.take_apart(message.SerializeToString())
        assert (read.status, read.side_channel, read.has_output) == (200, b"side", True)
        rows = reader.read(read, NAME)
        expected = message.unity_output.rl_output.agentInfos[NAME].value
        assert rows.id.tolist() == [a.id for a in expected]
        assert rows.reward.tolist() == [a.reward + a.group_reward for a in expected]
        assert rows.done.tolist() == [a.done for a in expected]
        assert rows.cut_off.tolist() == [a.max_step_reached for a in expected]
        floats = [[*a.observations[0].float_data.data, *a.observations[1].float_data.data] for a in expected]
        assert np.array_equal(rows.observation, np.array(floats, np.float32).reshape(count, 5))
        masks = [list(a.action_mask) or [False] * 5 for a in expected]
        assert np.array_equal(rows.forbidden, np.array(masks, np.uint8).reshape(count, 5))


def test_numbers_one_by_one_and_unknown_fields_are_read_too():
    data = b"\x3d\x00\x00\x80\x3f"  # reward:7 = 1
    floats = b"\x0d\x00\x00\x00\x40" + b"\x0d\x00\x00\x40\x40"  # data:1 not packed: 2, 3
    data += b"\x6a" + bytes([len(floats) + 2]) + b"\x22" + bytes([len(floats)]) + floats
    data += b"\x58\x01\x58\x00"  # action_mask:11 not packed: true, false
    data += b"\xf8\x07\x05" + b"\xfa\x07\x02hi" + b"\xfd\x07abcd" + b"\xf9\x07abcdefgh"  # field 127 of every kind
    listed = b"\x0a" + bytes([len(data)]) + data
    whole = b"\x12" + wire.varint_bytes(len(listed)) + listed
    entry = wire.content(b"\x12", wire.content(b"\x0a", b"B") + whole)
    read = wire.take_apart(wire.content(b"\x12", wire.content(b"\x0a", entry)))
    rows = wire.AgentReader((2,), num_mask=2).read(read, "B")
    assert rows.reward.tolist() == [1.0]
    assert rows.observation.tolist() == [[2.0, 3.0]]
    assert rows.forbidden.tolist() == [[1, 0]]


def test_a_mask_of_another_length_means_nothing():
    agent = messages.AgentInfo(id=1, action_mask=[True] * 4)
    agent.observations.add(shape=[1]).float_data.data.append(0.0)
    read = wire.take_apart(message_of([agent]).SerializeToString())
    assert wire.AgentReader((1,), num_mask=3).read(read, NAME).forbidden.tolist() == [[0, 0, 0]]


def test_other_shapes_and_pictures_are_named():
    agent = messages.AgentInfo(id=7)
    agent.observations.add(name="ray", shape=[3]).float_data.data.extend([1, 2, 3])
    read = wire.take_apart(message_of([agent]).SerializeToString())
    expected = r"^behavior 'Walker\?team=0': agent 7 has observations of \[3\] values, the first one had \[4\]$"
    with pytest.raises(DataError, match=expected):
        wire.AgentReader((4,)).read(read, NAME)
    with pytest.raises(DataError, match=r"has observations of \[3\] values, the first one had \[3, 1\]$"):
        wire.AgentReader((3, 1)).read(read, NAME)
    agent.observations[0].compressed_data = b"\x89PNG"
    agent.observations[0].compression_type = messages.PNG
    read = wire.take_apart(message_of([agent]).SerializeToString())
    with pytest.raises(DataError, match=r"^behavior 'Walker\?team=0': observation 'ray' is a compressed picture$"):
        wire.AgentReader((3,)).read(read, NAME)


def test_damaged_bytes_are_told_never_read_beyond():
    random = np.random.default_rng(1)
    whole = message_of(random_agents(random, 6)).SerializeToString()
    reader = wire.AgentReader((4, 1), num_mask=5)
    good = reader.read(wire.take_apart(whole), NAME)
    assert len(good.id) == 6
    outcomes = set()
    for _ in range(2000):
        data = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            data[random.integers(len(data))] = random.integers(256)
        cut = bytes(data[: random.integers(1, len(data) + 1)]) if random.integers(2) else bytes(data)
        try:
            read = wire.take_apart(cut)
            for behavior in read.agents:
                reader.read(read, behavior)
            outcomes.add("read")
        except DataError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize(("size", "branches"), [(3, ()), (0, (3, 200)), (2, (5,))])
def test_answers_say_what_protobuf_would_say(size, branches):
    random = np.random.default_rng(2)
    continuous = random.normal(size=(7, size)).astype(np.float32)
    discrete = np.stack([random.integers(0, n, 7) for n in branches], axis=1) if branches else np.zeros((7, 0), int)
    data = wire.answer(
        command=messages.RESET, actions={NAME: wire.agent_actions(continuous, discrete)}, side_channel=b"abc"
    )
    message = messages.UnityMessage.FromString(data)
    told = message.unity_input.rl_input
    assert (message.header.status, told.command, told.side_channel) == (messages.OK, messages.RESET, b"abc")
    actions = told.agent_actions[NAME].value
    assert [list(a.continuous_actions) for a in actions] == continuous.tolist()
    assert [list(a.discrete_actions) for a in actions] == discrete.tolist()
    quit_message = messages.UnityMessage.FromString(wire.quit_answer())
    assert quit_message.header.status == 400
    assert not quit_message.HasField("unity_input")
