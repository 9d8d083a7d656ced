"""The messages that an ML-Agents player and a trainer exchange (communication API 1.5.0).

The classes are made at run time from the table below, in a descriptor pool of their own: they live beside Unity's
generated stubs in one process without either noticing the other, and with any version of protobuf.

Source: Unity ML-Agents 1.1.0 (Apache-2.0), the field names and numbers of its ``communicator_objects``.
"""

from __future__ import annotations

import re
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

COMMUNICATION_VERSION: Final = "1.5.0"
"""Only its first number is compared by the two sides."""
PACKAGE_VERSION: Final = "1.1.0"
"""The Python package whose behaviour this is; a player may refuse what is newer than itself."""
EXCHANGE: Final = "/communicator_objects.UnityToExternalProto/Exchange"
"""The one gRPC method: the trainer serves it, the player calls it with a UnityMessage and is answered with one."""
OK: Final = 200
"""Header status of an ordinary message."""
QUIT_STATUS: Final = 400
"""Header status of an answer without content, after which the player ends."""
STEP: Final = 0
"""``UnityRLInput.command``: advance by one step with these actions."""
RESET: Final = 1
"""``UnityRLInput.command``: start every episode anew."""
QUIT: Final = 2
"""``UnityRLInput.command``: end."""
NO_COMPRESSION: Final = 0
"""``Observation.compression_type``: the numbers are in ``float_data``."""
PNG: Final = 1
"""``Observation.compression_type``: pictures, one after the other, are in ``compressed_data``."""

_PACKAGE = "communicator_objects"
_TABLE = {
    "Header": "status:1 int32, message:2 string",
    "UnityMessage": "header:1 Header, unity_output:2 UnityOutput, unity_input:3 UnityInput",
    "UnityOutput": "rl_output:1 UnityRLOutput, rl_initialization_output:2 UnityRLInitializationOutput",
    "UnityInput": "rl_input:1 UnityRLInput, rl_initialization_input:2 UnityRLInitializationInput",
    "UnityRLInitializationInput": (
        "seed:1 int32, communication_version:2 string, package_version:3 string, capabilities:4 UnityRLCapabilities, "
        "num_areas:5 int32"
    ),
    "UnityRLInitializationOutput": (
        "name:1 string, communication_version:2 string, log_path:3 string, brain_parameters:5 *BrainParameters, "
        "package_version:7 string, capabilities:8 UnityRLCapabilities"
    ),
    "UnityRLCapabilities": (
        "baseRLCapabilities:1 bool, concatenatedPngObservations:2 bool, compressedChannelMapping:3 bool, "
        "hybridActions:4 bool, trainingAnalytics:5 bool, variableLengthObservation:6 bool, multiAgentGroups:7 bool"
    ),
    "BrainParameters": "brain_name:7 string, is_training:8 bool, action_spec:9 ActionSpec",
    "ActionSpec": (
        "num_continuous_actions:1 int32, num_discrete_actions:2 int32, discrete_branch_sizes:3 *int32, "
        "action_descriptions:4 *string"
    ),
    "UnityRLOutput": "agentInfos:2 {ListAgentInfo}, side_channel:3 bytes",
    "UnityRLInput": "agent_actions:1 {ListAgentAction}, command:4 int32, side_channel:5 bytes",
    "ListAgentInfo": "value:1 *AgentInfo",
    "ListAgentAction": "value:1 *AgentAction",
    "AgentInfo": (
        "reward:7 float, done:8 bool, max_step_reached:9 bool, id:10 int32, action_mask:11 *bool, "
        "observations:13 *Observation, group_id:14 int32, group_reward:15 float"
    ),
    "Observation": (
        "shape:1 *int32, compression_type:2 int32, compressed_data:3 bytes | float_data:4 FloatData, "
        "compressed_channel_mapping:5 *int32, dimension_properties:6 *int32, observation_type:7 int32, name:8 string"
    ),
    "FloatData": "data:1 *float",
    "AgentAction": (
        "vector_actions_deprecated:1 *float, value:4 float, continuous_actions:6 *float, discrete_actions:7 *int32"
    ),
    "DemonstrationMeta": (
        "api_version:1 int32, demonstration_name:2 string, number_steps:3 int32, number_episodes:4 int32, "
        "mean_reward:5 float"
    ),
    "AgentInfoActionPair": "agent_info:1 AgentInfo, action_info:2 AgentAction",
}
"""Message -> its fields as ``name:number type``. ``*``: repeated; ``{}``: a map from string; ``|``: at most one of the
two is there. Unity's enumerations are int32 here: the bytes are the same."""

_SCALARS = {"int32": 5, "bool": 8, "string": 9, "bytes": 12, "float": 2}
"""Type numbers of protobuf."""
_MESSAGE, _OPTIONAL, _REPEATED = 11, 1, 3


def _add_field(message: Any, words: str, *, in_oneof: bool) -> None:
    parts = re.fullmatch(r"(\w+):(\d+) ([*{]?)(\w+)\}?", words)
    assert parts is not None, words
    name, number, kind, type_name = parts.groups()
    field = message.field.add(name=name, number=int(number), label=_REPEATED if kind else _OPTIONAL)
    if kind == "{":
        # protobuf knows a map by this spelling of its entries' type.
        words = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
        entry = message.nested_type.add(name=f"{words}Entry")
        entry.options.map_entry = True
        _add_field(entry, "key:1 string", in_oneof=False)
        _add_field(entry, f"value:2 {type_name}", in_oneof=False)
        field.type, field.type_name = _MESSAGE, f".{_PACKAGE}.{message.name}.{entry.name}"
    elif type_name in _SCALARS:
        field.type = _SCALARS[type_name]
    else:
        field.type, field.type_name = _MESSAGE, f".{_PACKAGE}.{type_name}"
    if in_oneof:
        field.oneof_index = 0


def _classes() -> dict[str, Any]:
    file: Any = descriptor_pb2.FileDescriptorProto(name="drivetrain_mlagents.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _TABLE.items():
        message = file.message_type.add(name=name)
        if "|" in fields:
            message.oneof_decl.add(name="observation_data")
        for group in fields.split(", "):
            for words in group.split(" | "):
                _add_field(message, words, in_oneof="|" in group)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _TABLE}


_CLASSES = _classes()
UnityMessage: Any = _CLASSES["UnityMessage"]
"""The envelope: a header, and what a player says (``unity_output``) or is told (``unity_input``)."""
UnityRLOutput: Any = _CLASSES["UnityRLOutput"]
"""Agents by behavior and side channels, from the player."""
UnityRLInput: Any = _CLASSES["UnityRLInput"]
"""Actions by behavior, a command and side channels, for the player."""
ListAgentInfo: Any = _CLASSES["ListAgentInfo"]
"""The agents of one behavior."""
AgentInfo: Any = _CLASSES["AgentInfo"]
"""One agent: reward since its last decision, flags, observations."""
AgentAction: Any = _CLASSES["AgentAction"]
"""What one agent does."""
Observation: Any = _CLASSES["Observation"]
"""One sensor of one agent."""
BrainParameters: Any = _CLASSES["BrainParameters"]
"""Name and action specification of a behavior."""
DemonstrationMeta: Any = _CLASSES["DemonstrationMeta"]
"""What a demonstration file says of itself."""
AgentInfoActionPair: Any = _CLASSES["AgentInfoActionPair"]
"""One row of a demonstration file."""
CAPABILITIES: Final = tuple(_CLASSES["UnityRLCapabilities"].DESCRIPTOR.fields_by_name)
"""What a side can do; we can all of it."""


def set_capabilities(capabilities: Any) -> None:
    """Say in a UnityRLCapabilities message that all of them are there."""
    for name in CAPABILITIES:
        setattr(capabilities, name, True)
