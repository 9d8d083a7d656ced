"""The hook, in interpreters of its own, on a made-up ML-Agents whose files break exactly where the real ones do."""

import subprocess
import sys

import pytest

from drivetrain.mlagents.installation import HOOK_MODULE, HOOK_SOURCE

STUB = """
import sys
from google.protobuf import descriptor as _descriptor
{imports}
DESCRIPTOR = _descriptor.FileDescriptor(
  name='{name}', package='made_up', syntax='proto3',
  serialized_pb=(lambda x: x.encode('latin1'))({text!r}), dependencies=[])
raise TypeError('Descriptors cannot be created directly')
"""


def described(name, message, field, type_name=None, dependency=None):
    """A serialized description of a file with one message of one field."""
    from google.protobuf import descriptor_pb2

    file = descriptor_pb2.FileDescriptorProto(name=name, package="made_up", syntax="proto3")
    if dependency:
        file.dependency.append(dependency)
    made = file.message_type.add(name=message)
    added = made.field.add(name=field, number=1, label=1, type=11 if type_name else 5)
    if type_name:
        added.type_name = type_name
    kind = file.enum_type.add(name=f"{message}Kind")
    kind.value.add(name=f"{message.upper()}_NONE", number=0)
    return file.SerializeToString().decode("latin1")


@pytest.fixture
def site(tmp_path):
    """A folder with the hook and a made-up ML-Agents 1.1.0."""
    (tmp_path / f"{HOOK_MODULE}.py").write_bytes(HOOK_SOURCE.read_bytes())
    objects = tmp_path / "mlagents_envs" / "communicator_objects"
    objects.mkdir(parents=True)
    for folder in (objects.parent, objects):
        (folder / "__init__.py").touch()
    first = described("made/first.proto", "Level", "height")
    second = described("made/second.proto", "Tower", "level", ".made_up.Level", "made/first.proto")
    imports = "from mlagents_envs.communicator_objects import first_pb2 as made_dot_first__pb2"
    (objects / "first_pb2.py").write_text(STUB.format(imports="", name="made/first.proto", text=first))
    (objects / "second_pb2.py").write_text(STUB.format(imports=imports, name="made/second.proto", text=second))
    trainers = tmp_path / "mlagents" / "trainers"
    trainers.mkdir(parents=True)
    for folder in (trainers.parent, trainers):
        (folder / "__init__.py").touch()
    (trainers / "buffer.py").write_text("import numpy as np\ndef pad(value: np.float = 0): return value\n")
    (trainers / "training_status.py").write_text(
        "import json\ndef save(path, value):\n    with open(path, 'w') as file: json.dump(value, file)\n"
    )
    for name in ("mlagents", "mlagents_envs"):
        number_as(tmp_path, name, "1.1.0")
    return tmp_path


def number_as(site, name, version):
    folder = site / f"{name}-1.1.0.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def run(site, program):
    text = f"import sys; sys.path.insert(0, {str(site)!r}); import {HOOK_MODULE}\n{program}"
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)


def test_messages_are_built_from_their_description_and_what_they_refer_to_comes_first(site):
    done = run(
        site,
        "from mlagents_envs.communicator_objects import second_pb2\n"
        "tower = second_pb2.Tower.FromString(bytes([10, 2, 8, 7]))\n"
        "print(tower.level.height, second_pb2.TOWER_NONE)",
    )
    assert (done.stdout, done.stderr) == ("7 0\n", "")


def test_a_file_without_a_description_is_named(site):
    path = site / "mlagents_envs" / "communicator_objects" / "first_pb2.py"
    path.write_text("x = 1\n")
    done = run(site, "import mlagents_envs.communicator_objects.first_pb2")
    expected = f"ImportError: {path}: no serialized description found; reinstall mlagents-envs 1.1.0"
    assert done.stderr.splitlines()[-1] == expected


def test_numpy_has_its_old_name_for_who_needs_it_and_nobody_else(site):
    program = "import numpy\nprint('float' in vars(numpy))\nimport mlagents.trainers.buffer as b\nprint(b.pad(2.0))"
    assert run(site, program).stdout == "False\n2.0\n"


def test_only_the_status_file_takes_numbers_of_numpy(site):
    program = (
        "import json, numpy, mlagents.trainers.training_status as status\n"
        f"status.save({str(site / 'status.json')!r}, {{'reward': numpy.float32(0.5)}})\n"
        "try: json.dumps(numpy.float32(0.5))\n"
        "except TypeError: print('refused')"
    )
    assert run(site, program).stdout == "refused\n"
    assert (site / "status.json").read_text() == '{"reward": 0.5}'


def test_beside_another_version_it_says_so_once_and_does_nothing(site):
    number_as(site, "mlagents", "1.2.0")
    done = run(site, "import mlagents.trainers.training_status, json\nimport mlagents.trainers.buffer")
    said = "drivetrain: ML-Agents compatibility: made for 1.1.0, found mlagents 1.2.0: nothing is changed"
    assert done.stderr.splitlines()[0] == said
    assert done.stderr.count("ML-Agents compatibility") == 1
    assert "has no attribute 'float'" in done.stderr  # as it is without the hook


def test_it_costs_the_interpreter_nothing(site):
    bare = run(site, "").returncode
    loaded = f"import sys; before = set(sys.modules); sys.path.insert(0, {str(site)!r}); import {HOOK_MODULE}\n"
    program = loaded + "print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    new = eval(done.stdout)
    assert bare == 0
    assert not {"ast", "importlib.metadata", "numpy", "json", "re", "inspect"} & set(new)
