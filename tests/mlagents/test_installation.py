"""What is installed, left alone, replaced and taken back; pip and the list of packages are stand-ins."""

import sys

import pytest

from drivetrain.errors import RunError, UsageError
from drivetrain.mlagents import installation
from drivetrain.mlagents.installation import HOOK_MODULE, RECORD, Environment
from drivetrain.mlagents.requirements import REQUIREMENTS, normal, standings

GOOD = {normal(r.name): r.pin for r in REQUIREMENTS}


class Index:
    """An environment without pip: `install` and `uninstall` change a dictionary."""

    def __init__(self, site, packages):
        self.packages, self.calls, self.fails_at = dict(packages), [], None
        self.environment = Environment(site=site, pip=self.pip, list_installed=lambda: dict(self.packages))

    def pip(self, arguments):
        self.calls.append(arguments)
        if self.fails_at == len(self.calls):
            raise RunError("pip failed")
        action, *words = [word for word in arguments if not word.startswith("--")]
        for word in words:
            name, _, version = word.partition("==")
            if action == "uninstall":
                del self.packages[normal(name)]
            elif version:
                self.packages[normal(name)] = version


@pytest.fixture(autouse=True)
def _a_fit_interpreter(monkeypatch):
    monkeypatch.setattr(installation, "PYTHON", sys.version_info[:2])
    monkeypatch.setattr(sys, "base_prefix", "/elsewhere")


def said():
    lines = []
    return lines, lines.append


def test_good_enough_stays_too_new_is_replaced_and_said_first(tmp_path):
    packages = {**GOOD, "numpy": "2.1.0", "setuptools": "84.2.1"}
    del packages["cattrs"], packages["onnx"]
    index = Index(tmp_path, packages)
    lines, say = said()
    installation.install(index.environment, say=say)
    assert lines == [
        "replace setuptools 84.2.1 by 80.10.2: ML-Agents imports pkg_resources, which later ones have given up",
        "add onnx 1.23.2, cattrs 1.5.0",
        "add mlagents and mlagents-envs 1.1.0, without what their metadata asks for",
        f"write the compatibility hook {HOOK_MODULE} into site-packages",
    ]
    assert index.packages == {**GOOD, "numpy": "2.1.0", "mlagents": "1.1.0", "mlagents-envs": "1.1.0"}
    assert index.calls[1] == [
        "install", "--no-deps", "--ignore-requires-python", "mlagents==1.1.0", "mlagents-envs==1.1.0",
    ]  # fmt: skip


def test_the_second_time_there_is_nothing_to_do(tmp_path):
    index = Index(tmp_path, {"six": "1.17.0"})
    installation.install(index.environment, say=lambda line: None)
    count = len(index.calls)
    assert installation.install(index.environment, say=lambda line: None).is_empty
    assert len(index.calls) == count


def test_remove_leaves_what_was_there_and_no_trace(tmp_path):
    before = {**GOOD, "setuptools": "84.2.1", "own": "1.0"}
    del before["h5py"]
    index = Index(tmp_path, before)
    installation.install(index.environment, say=lambda line: None)
    assert {path.name for path in tmp_path.iterdir()} == {f"{HOOK_MODULE}.py", f"{HOOK_MODULE}.pth", RECORD}
    assert installation.remove(index.environment, say=lambda line: None)
    assert index.packages == before
    assert list(tmp_path.iterdir()) == []
    assert not installation.remove(index.environment, say=lambda line: None)


def test_an_installation_that_broke_off_can_be_finished_and_taken_back(tmp_path):
    before = {"setuptools": "65.5.0"}
    index = Index(tmp_path, before)
    index.fails_at = 2
    with pytest.raises(RunError):
        installation.install(index.environment, say=lambda line: None)
    assert "mlagents" not in index.packages
    installation.install(index.environment, say=lambda line: None)
    assert index.packages["mlagents"] == "1.1.0"
    installation.remove(index.environment, say=lambda line: None)
    assert index.packages == before


@pytest.mark.parametrize(
    ("name", "version", "state"),
    [
        ("cattrs", "1.5.0", "good"),
        ("cattrs", "22.2.0", "unfit"),
        ("setuptools", "80.10.2", "good"),
        ("setuptools", "82.0.0", "unfit"),
        ("torch", "2.13.0+cpu", "good"),
        ("protobuf", "3.20.3", "unfit"),
        ("protobuf", "6.30.0", "good"),
    ],
)
def test_which_versions_do(name, version, state):
    found = {s.requirement.name: s.state for s in standings({name: version})}
    assert found.pop(name) == state
    assert set(found.values()) == {"missing"}


def test_another_python_is_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(installation, "PYTHON", (3, 9))
    have = ".".join(map(str, sys.version_info[:2]))
    with pytest.raises(UsageError) as caught:
        installation.install(Index(tmp_path, GOOD).environment, say=print)
    assert str(caught.value) == (
        f"mlagents install: this is Python {have}; ML-Agents 1.1.0 and drivetrain meet on 3.9: "
        "make install PYTHON=python3.9 in a fresh checkout, or a venv of its own"
    )


def test_no_virtual_environment_and_no_pip_are_refused(tmp_path, monkeypatch):
    index = Index(tmp_path, GOOD)
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    with pytest.raises(UsageError, match="is no virtual environment; activate one"):
        installation.install(index.environment, say=print)
    monkeypatch.setattr(sys, "base_prefix", "/elsewhere")
    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"has no pip \(uv makes environments without it\); add it with"):
        installation.install(index.environment, say=print)
    assert index.calls == []
