"""Our table of messages against the descriptors that Unity's own package brings."""

import importlib
import re
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.needs_unity,
    pytest.mark.needs_mlagents,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # ML-Agents' own
]
ENUM, INT32 = 14, 5


def stubs():
    """Return Unity's message descriptors by name, those within others included."""
    from mlagents_envs import communicator_objects

    found = {}
    for file in Path(communicator_objects.__path__[0]).glob("*_pb2.py"):
        if file.stem == "unity_to_external_pb2":  # the service, without a message
            continue
        module = importlib.import_module(f"mlagents_envs.communicator_objects.{file.stem}")
        waiting = list(module.DESCRIPTOR.message_types_by_name.values())
        while waiting:
            descriptor = waiting.pop()
            found[descriptor.name.removesuffix("Proto")] = descriptor
            waiting += descriptor.nested_types
    return found


def fields_of(descriptor):
    return {
        field.name: (
            field.number,
            INT32 if field.type == ENUM else field.type,
            field.is_repeated,
            re.sub(r"Proto$", "", field.message_type.name) if field.message_type else "",
            field.containing_oneof.name if field.containing_oneof else "",
        )
        for field in descriptor.fields
    }


def test_every_field_has_unitys_number_and_type():
    from drivetrain.mlagents import messages

    theirs = stubs()
    for name, ours in messages._CLASSES.items():
        expected = fields_of(theirs[name])
        left_out = {field for field in expected if field.endswith("_deprecated")} - set(fields_of(ours.DESCRIPTOR))
        assert fields_of(ours.DESCRIPTOR) == {k: v for k, v in expected.items() if k not in left_out}, name
