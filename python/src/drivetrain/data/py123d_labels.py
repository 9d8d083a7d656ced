"""What py123d's box labels mean here: one letter per label of each label class, in the order of their numbers.

Source: the classes' own conversion to py123d's default labels (parser/registry.py of release 0.7).
"""

from __future__ import annotations

from drivetrain.errors import DataError, nearest
from drivetrain.sim.scenario import AgentType

_LETTERS = {
    "v": AgentType.VEHICLE,
    "t": AgentType.VEHICLE,  # trains and trams: they move like large vehicles
    "b": AgentType.BICYCLE,
    "p": AgentType.PEDESTRIAN,
    "c": AgentType.TRAFFIC_CONE,
    "r": AgentType.BARRIER,
    "s": AgentType.CZONE_SIGN,
    "g": AgentType.GENERIC_OBJECT,
    "e": AgentType.EGO,
}
_CLASSES = {
    "DefaultBoxDetectionLabel": "evtbpgscgrgg",
    "NuPlanBoxDetectionLabel": "vbpcrsg",
    "NureasoningBoxDetectionLabel": "vbpcsggvvbbpc",
    "NuScenesBoxDetectionLabel": "vvvvvvvvbbpppppppcrgggg",
    "AV2SensorBoxDetectionLabel": "gvbprvvccgvvsbppptvvssgvvvvggp",
    "KITTI360BoxDetectionLabel": "bgvvvgbpgpgsgsvtgvg",
    "PandasetBoxDetectionLabel": "ggbvvcsvvbbvvvppgvcrgvsrvtt",
    "WODPerceptionBoxDetectionLabel": "gvpsb",
    "WODMotionBoxDetectionLabel": "gvpbg",
    "PhysicalAIAVBoxDetectionLabel": "vpvvvgbgvgtv",
    "GriffinBoxDetectionLabel": "pvvvbb",
    "TruckDriveBoxDetectionLabel": "bvprvvvsv",
}


def agent_types(qualified: object) -> list[AgentType]:
    """Return the type of every label of a class, by its number.

    Args:
        qualified: Name of the class, with or without its module.

    Raises:
        DataError: The class is not known here.
    """
    name = str(qualified).rpartition(".")[2]
    if name not in _CLASSES:
        raise DataError(
            f"box labels of class '{name}' are not known, only {', '.join(sorted(_CLASSES))}{nearest(name, _CLASSES)}"
        )
    return [_LETTERS[letter] for letter in _CLASSES[name]]
