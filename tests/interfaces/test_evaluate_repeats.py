"""`drivetrain evaluate --json` in processes of its own: the same bytes on one thread and process as on two."""

import os
import subprocess
import sys

import pytest
from tests.test_api import saved

from drivetrain.data.convert import convert
from drivetrain.data.synthetic.raw.raw_sample import write_raw_sample

PROGRAM = """\
import sys
from drivetrain.interfaces import cli
from drivetrain.trainer import closed_loop_evaluation
closed_loop_evaluation.SCENARIOS_AT_ONCE = 2  # so that few scenarios are enough to keep two processes busy
store, checkpoint, workers = sys.argv[1:]
for words in (
    ["--planner", "idm", "--traffic", "both", "--dynamics", "direct"],
    [checkpoint, "--traffic", "both", "--dynamics", "direct"],
    [checkpoint, "--traffic", "idm", "--dynamics", "tracker", "--stochastic", "--seed", "5"],
):
    alone = ["--no-reference", "--per-scenario", "--json", "--workers", workers]
    if code := cli.main(["evaluate", *words, *alone, "--data", store]):
        sys.exit(code)
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Four logs as nuPlan's raw files, converted, and a policy that has learnt nothing."""
    folder = tmp_path_factory.mktemp("repeats")
    write_raw_sample(folder / "raw", train=0, val=4, test=0, workers=1)
    convert("nuplan", [folder / "raw"], folder / "store", workers=1)
    return folder / "store", saved(folder / "best.pt")


def test_the_same_bytes_on_one_and_on_two_threads_and_processes(inputs, tmp_path):
    """Nothing is taken from a cache of rows: each run has one of its own; compiled kernels are shared.

    Planners by name in several processes: ``tests/trainer/test_closed_loop_evaluation.py``.
    """
    from drivetrain.sim.kernel_cache import cache_root

    documents = []
    for number in ("1", "2"):
        cache = tmp_path / number
        cache.mkdir()
        (cache / "kernels").symlink_to(cache_root(), target_is_directory=True)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"), number)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *map(str, inputs), number],
            env={**os.environ, **threads, "DRIVETRAIN_CACHE_DIR": str(cache)},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        documents.append(done.stdout)
    assert documents[0].count(b'"per_scenario"') == 5
    assert documents[0] == documents[1]
