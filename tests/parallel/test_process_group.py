"""Processes that average: the same bits in all, equal to the mean, whichever road the numbers take."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from drivetrain.errors import RunError
from drivetrain.parallel import ALONE
from drivetrain.parallel.shared_mean import SharedMean, shared_bytes

PROGRAM = """
    import hashlib, sys, torch
    from pathlib import Path
    from drivetrain.parallel import ProcessGroup, join_by_file

    rank, rendezvous, shared = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "shared"
    join_by_file(rendezvous, rank=rank, size=3)
    group = ProcessGroup(capacity=5000, shared=shared)
    assert (group.rank_here, group.size_here, group.shares_memory) == (rank, 3, shared)
    digest = hashlib.sha256()
    for turn, length in enumerate((5000, 1, 777) * 20):
        generator = torch.Generator().manual_seed(turn)
        vectors = torch.randn(3, length, generator=generator)
        mine = vectors[rank].clone()
        group.mean_(mine)
        torch.testing.assert_close(mine, vectors.mean(0), rtol=1e-5, atol=1e-6)
        digest.update(mine.numpy().tobytes())
    told = group.broadcast({"from": rank, "rows": torch.arange(3)})
    assert told["from"] == 0 and told["rows"].tolist() == [0, 1, 2]
    assert group.all_gather(rank * 10) == [0, 10, 20]
    assert group.gather(str(rank)) == (["0", "1", "2"] if rank == 0 else [])
    group.close()
    print(digest.hexdigest())
"""


@pytest.mark.parametrize("road", ["shared", "gloo"])
def test_three_processes_get_the_same_mean(tmp_path, road):
    program = textwrap.dedent(PROGRAM)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(rank), str(tmp_path / "rendezvous"), road],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(3)
    ]
    digests = {process.communicate(timeout=120)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(digests) == 1


def test_one_process_is_its_own_mean():
    vector = torch.tensor([1.0, 2.0])
    ALONE.mean_(vector)
    assert vector.tolist() == [1.0, 2.0]
    assert ALONE.all_gather("x") == ["x"]


def shared_file(tmp_path, capacity):
    path = tmp_path / "mean"
    path.write_bytes(b"\0" * shared_bytes(size=2, capacity=capacity))
    return path


def test_waiting_for_a_dead_process_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("drivetrain.parallel.shared_mean.PATIENCE_S", 0.01)

    def check() -> None:
        raise RunError("learner process 1 is dead")

    mean = SharedMean(shared_file(tmp_path, 4), rank=0, size=2, capacity=4, check=check)
    with pytest.raises(RunError, match="learner process 1 is dead"):
        mean.mean_(np.ones(4, np.float32))


def test_too_long_a_vector_is_refused(tmp_path):
    mean = SharedMean(shared_file(tmp_path, 4), rank=0, size=2, capacity=4, check=lambda: None)
    with pytest.raises(RunError, match="exchange of 5 values: the shared memory holds 4"):
        mean.mean_(np.ones(5, np.float32))
