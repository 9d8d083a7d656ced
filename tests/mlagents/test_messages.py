"""Messages against bytes written by hand from protobuf's wire format, and side channels against struct."""

import struct
import uuid

import pytest

from drivetrain.errors import DataError
from drivetrain.mlagents import side_channels as channels

pytestmark = pytest.mark.needs_unity


@pytest.fixture
def messages():
    return pytest.importorskip("drivetrain.mlagents.messages")


def test_an_agent_is_the_bytes_written_by_hand(messages):
    message = messages.UnityMessage()
    message.header.status = messages.OK
    agent = message.unity_output.rl_output.agentInfos["B?team=0"].value.add(reward=0.5, done=True, id=3)
    agent.observations.add(shape=[2]).float_data.data.extend([1.0, 2.0])
    floats = b"\x0a\x08" + struct.pack("<2f", 1.0, 2.0)  # data:1, packed
    observation = b"\x0a\x01\x02" + b"\x22" + bytes([len(floats)]) + floats  # shape:1 packed, float_data:4
    info = b"\x3d" + struct.pack("<f", 0.5) + b"\x40\x01" + b"\x50\x03" + b"\x6a" + bytes([len(observation)])
    info += observation
    listed = b"\x0a" + bytes([len(info)]) + info
    entry = b"\x0a\x08B?team=0" + b"\x12" + bytes([len(listed)]) + listed
    rl_output = b"\x12" + bytes([len(entry)]) + entry
    output = b"\x0a" + bytes([len(rl_output)]) + rl_output
    expected = b"\x0a\x03\x08\xc8\x01" + b"\x12" + bytes([len(output)]) + output  # status 200 is c8 01
    assert message.SerializeToString() == expected
    assert messages.UnityMessage.FromString(expected) == message


def test_actions_and_a_reset_are_the_bytes_written_by_hand(messages):
    rl_input = messages.UnityRLInput(command=messages.RESET, side_channel=b"xy")
    rl_input.agent_actions["B"].value.add(continuous_actions=[-1.0], discrete_actions=[5])
    action = b"\x32\x04" + struct.pack("<f", -1.0) + b"\x3a\x01\x05"
    listed = b"\x0a" + bytes([len(action)]) + action
    entry = b"\x0a\x01B\x12" + bytes([len(listed)]) + listed
    expected = b"\x0a" + bytes([len(entry)]) + entry + b"\x20\x01" + b"\x2a\x02xy"
    assert rl_input.SerializeToString() == expected


def test_the_initialization_is_the_bytes_written_by_hand(messages):
    message = messages.UnityMessage()
    asked = message.unity_input.rl_initialization_input
    asked.seed, asked.communication_version, asked.num_areas = 7, "1.5.0", 2
    messages.set_capabilities(asked.capabilities)
    capabilities = b"".join(bytes([8 * number, 1]) for number in range(1, 8))
    inner = b"\x08\x07" + b"\x12\x051.5.0" + b"\x22\x0e" + capabilities + b"\x28\x02"
    body = b"\x12" + bytes([len(inner)]) + inner
    assert message.SerializeToString() == b"\x1a" + bytes([len(body)]) + body


def test_an_observation_holds_numbers_or_a_picture_never_both(messages):
    observation = messages.Observation(compressed_data=b"png")
    observation.float_data.data.append(1.0)
    assert observation.WhichOneof("observation_data") == "float_data"
    assert observation.compressed_data == b""


def test_stats_there_and_back():
    stats = [
        channels.Stat(key="Driving/Collision", value=0.25),
        channels.Stat(key="a", value=-1.5, aggregation="histogram"),
    ]
    data = channels.stats_bytes(stats)
    content = struct.pack("<i", 17) + b"Driving/Collision" + struct.pack("<fi", 0.25, 0)
    head = uuid.UUID("a1d8f7b7-cec8-50f9-b78b-d3e165a78520").bytes_le + struct.pack("<i", len(content))
    assert data.startswith(head + content)
    other = channels.pack([(channels.TRAINING_ANALYTICS, b"whatever")])
    assert channels.read_stats(other + data) == stats


@pytest.mark.parametrize(
    ("parameter", "content"),
    [
        (
            channels.EnvironmentParameter(key="gravity", value=-9.5),
            struct.pack("<i7sif", 7, b"gravity", 0, -9.5),
        ),
        (
            channels.EnvironmentParameter(key="m", sampler="uniform", sampler_parameters=(0.5, 2.0), seed=9),
            struct.pack("<i1siii2f", 1, b"m", 1, 9, 0, 0.5, 2.0),
        ),
        (
            channels.EnvironmentParameter(
                key="m", sampler="multirangeuniform", sampler_parameters=(0.0, 1.0, 2.0, 3.0), seed=9
            ),
            struct.pack("<i1siiii4f", 1, b"m", 1, 9, 2, 4, 0.0, 1.0, 2.0, 3.0),
        ),
    ],
)
def test_environment_parameters_there_and_back(parameter, content):
    assert channels.parameter_content(parameter) == content
    assert channels.read_parameter(content) == parameter


@pytest.mark.parametrize(
    ("setting", "content"),
    [
        (channels.EngineSetting(kind="resolution", values=(84.0, 60.0)), struct.pack("<3i", 0, 84, 60)),
        (channels.EngineSetting(kind="time_scale", values=(20.0,)), struct.pack("<if", 2, 20.0)),
        (channels.EngineSetting(kind="capture_frame_rate", values=(60.0,)), struct.pack("<2i", 4, 60)),
    ],
)
def test_engine_settings_there_and_back(setting, content):
    assert channels.engine_content(setting) == content
    assert channels.read_engine(content) == setting


def test_bytes_that_end_early_are_named():
    data = channels.pack([(channels.STATS, channels.stat_content(channels.Stat(key="abc", value=1.0)))])
    with pytest.raises(DataError, match=r"^side channels: the message at byte 0 does not end within the 34 bytes$"):
        channels.unpack(data[:-1])
    with pytest.raises(DataError, match=r"^side channel 'stats': 6 bytes end where 3 more are announced at byte 4$"):
        channels.read_stat(struct.pack("<i2s", 3, b"ab"))
    with pytest.raises(DataError, match=r"^side channel 'stats': aggregation 4 of 'a' is none of 0 to 3$"):
        channels.read_stat(struct.pack("<i1sfi", 1, b"a", 1.0, 4))
    with pytest.raises(DataError, match=r"^side channel 'engine': kind 9 is none of 0 to 4$"):
        channels.read_engine(struct.pack("<i", 9))
