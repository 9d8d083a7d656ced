"""A checkout in which the commands of documents take seconds: the same sources, small configs, few generated scenes.

What a page takes for granted (a run, a store, recordings) is made once, by the commands with which a reader makes it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import yaml
from tests.docs import command_server
from tests.docs.pages import ROOT

LIMIT_S = 800.0
"""For the commands of one block; where nothing was compiled before, the first one takes minutes [s]."""
CAPS = {
    "total_steps": 64,
    "epochs": 1,
    "processes": 1,
    "threads": 1,
    "num_worlds": 4,
    "episodes": 4,
    "rollout_steps": 8,
    "minibatch_size": 32,
    "batch_size": 32,
    "updates": 1,
    "steps": 16,
    "capacity": 256,
    "learning_starts": 16,
    "pretrain_steps": 32,
    "rounds": 1,
    "hidden": 64,
}
"""The largest value that a key of a config keeps."""
TRAIN = "python python/src/training/train_{}.py --config python/configs/planning/{}.yaml --run-id {} "
TRAIN += "--set data=datasets/processed/sample"  # whatever else other pages have left there
RECIPES = {
    "sample": ("drivetrain data sample", [], ["datasets/processed/sample"]),
    "raw": ("drivetrain data sample --raw --train 3 --val 2 --test 1 --out nuplan", [], ["nuplan"]),
    "nuplan": (
        "drivetrain data convert --source nuplan --data-root nuplan/nuplan-v1.1 --maps-root nuplan/maps "
        "--out datasets/processed/nuplan",
        ["raw"],
        ["datasets/processed/nuplan"],
    ),
    "rollouts": (
        "drivetrain evaluate --planner idm --data datasets/processed/nuplan --save-trajectories rollouts.npz",
        ["nuplan"],
        ["rollouts.npz"],
    ),
    "scenes": (
        "drivetrain data export datasets/processed/sample --format waymo-json --output scenes --split val",
        ["sample"],
        ["scenes"],
    ),
    "sample-demo": (
        "drivetrain data sample --test 0 --out datasets/processed/sample-demo",
        [],
        ["datasets/processed/sample-demo"],
    ),
}
"""What a page may take for granted: the command that makes it, what that needs, and what it leaves."""


def recipe(name):
    """The recipe of a name; that of a run follows from how it is called: its config, then anything."""
    if name in RECIPES:
        return RECIPES[name]
    config = name.partition("_")[0]
    kind, config = {"bc": ("bc", "bc"), "gail": ("gail", "gail")}.get(config, ("rl", config))
    if not (ROOT / "python" / "configs" / "planning" / f"{config}.yaml").is_file():
        config = "ppo"
    needs, command = ["sample"], TRAIN.format(kind, config, name)
    if config == "cimrl":
        needs, command = ["sample", "bc_v1"], f"{command} --init-from experiments/checkpoints/bc_v1/"
    return command, needs, [f"experiments/logs/{name}", f"experiments/checkpoints/{name}"]


def shrink(value, key=""):
    """A config with every number of CAPS at most as large."""
    if isinstance(value, dict):
        return {inner: shrink(content, inner) for inner, content in value.items()}
    if isinstance(value, int) and not isinstance(value, bool) and key in CAPS:
        return min(value, CAPS[key])
    return value


class SmallCheckout:
    """A folder that looks like a checkout."""

    def __init__(self, folder, programs):
        self.folder = folder
        self._programs = programs
        (folder / "python").mkdir(parents=True)
        for name in ("python/src", "benchmarks", "docs", "examples"):
            (folder / name).symlink_to(ROOT / name)
        for name in ("pyproject.toml", "Makefile"):
            shutil.copy(ROOT / name, folder / name)
        shutil.copytree(ROOT / "results", folder / "results")
        for source in (ROOT / "python" / "configs").rglob("*.yaml"):
            target = folder / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            content = yaml.safe_load(source.read_text(encoding="utf-8"))
            target.write_text(yaml.safe_dump(shrink(content), sort_keys=False), encoding="utf-8")
        (folder / ".venv" / "bin").mkdir(parents=True)
        (folder / ".venv" / "bin" / "activate").touch()

    def run(self, script, *, busy=False):
        """(exit code, output) of a shell script, which ends at its first failure.

        Where it is busy, runs that it starts in the background go on until they are stopped.
        """
        environment = {
            **os.environ,
            **({command_server.BUSY: "1"} if busy else {}),
            "PATH": f"{self._programs}{os.pathsep}{os.environ['PATH']}",
            "DRIVETRAIN_ROOT": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "140",
            "PYTHONPATH": str(ROOT / "python" / "src"),
        }
        words = ["bash", "-e", "-u", "-o", "pipefail", "-c", script]
        # Standard output goes to a file: what a start leaves behind would keep a pipe open.
        with (self.folder / "output.log").open("w+b") as log:
            done = subprocess.run(
                words, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, timeout=LIMIT_S, check=False,
            )  # fmt: skip
            log.seek(0)
            return done.returncode, log.read().decode(errors="replace")

    def take(self, names, pantry):
        """Copy what a page takes for granted, as far as it is not there."""
        for path in pantry.paths(names):
            target = self.folder / path
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                source = pantry.checkout.folder / path
                shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)

    def end(self):
        """End what was left running in here."""
        mine = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("DRIVETRAIN_ROOT") == str(self.folder):
                    process.kill()
                    mine.append(process)
            except psutil.Error:
                continue
        psutil.wait_procs(mine, timeout=20)


class Pantry:
    """What pages take for granted, made when the first of them asks for it."""

    def __init__(self, checkout):
        self.checkout = checkout
        self._made = set()

    def paths(self, names):
        """Make what is called so; the paths that it consists of."""
        found = []
        for name in names:
            command, needs, paths = recipe(name)
            self.paths(needs)
            if name not in self._made:
                code, output = self.checkout.run(command)
                assert code == 0, f"{command}\n{output}"
                self._made.add(name)
            found += paths
        return found


class Server:
    """The command server as a process of its own."""

    def __init__(self, folder):
        address = str(folder / "s")
        self.programs = folder / "bin"
        command_server.write_clients(self.programs, address)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "python" / "src")}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(command_server.__file__)), address],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def close(self):
        """End it; the processor time of all commands, but for what they left in the background [s]."""
        self._process.stdin.close()
        used_s = float(self._process.stdout.readline())
        self._process.wait(timeout=20)
        self._process.stdout.close()
        return used_s
