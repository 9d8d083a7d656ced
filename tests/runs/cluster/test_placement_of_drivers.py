"""What a training asks of a Ray cluster whose learners are workers there: a driver only waits."""

import pytest

from drivetrain.runs.cluster.placement import Placement
from drivetrain.runs.launcher import LaunchRequest

TEXT = "training: {processes: 4, device: cuda, workers: ray}\n"


@pytest.mark.parametrize(
    ("backend", "changes", "asked"),
    [
        ("ray", (), (0.1, 0.0)),
        ("ray", ("training.workers=local",), (4.0, 1.0)),
        ("slurm", (), (4.0, 1.0)),  # a Ray of its own, on the machine of the job
    ],
)
def test_a_driver_asks_for_little(tmp_path, backend, changes, asked):
    config = tmp_path / "ray.yaml"
    config.write_text(TEXT)
    request = LaunchRequest(run_id="a", config=config, changes=changes)
    placement = Placement(backend=backend)
    assert (placement.cpus_for(request), placement.gpus_for(request)) == asked


def test_what_is_asked_for_by_hand_counts(tmp_path):
    request = LaunchRequest(run_id="a", config=tmp_path / "none.yaml", changes=("training.workers=ray",))
    assert Placement(backend="ray").cpus_for(request) == 0.1
    assert Placement(backend="ray", cpus=2.0).cpus_for(request) == 2.0
