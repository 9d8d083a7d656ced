"""A Slurm of one node for tests: sbatch, srun, squeue, sacct, scancel, scontrol and sinfo, as their manuals describe.

One file per job in the folder SLURM_STAND_IN: its state, its script and the process of its batch script. A file `full`
there keeps new jobs pending. Run as a program it plays the command by whose name it was called.
"""

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol", "sinfo")


def install(folder):
    """Write the commands into folder/bin and return that path."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    for name in COMMANDS:
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return programs


class Jobs:
    """The jobs of the cluster, on disk."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def read(self, job_id):
        path = self.folder / f"{job_id}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def change(self, job_id, **values):
        path = self.folder / f"{job_id}.json"
        document = {**(self.read(job_id) or {}), **values}
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(document))
        partial.replace(path)

    def launch(self, job_id):
        """Run the batch script to its end, in a process of its own; where it was queued again meanwhile, anew."""
        subprocess.Popen(
            [sys.executable, __file__, "run", str(job_id)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def run(jobs, job_id):
    while True:
        jobs.change(job_id, state="RUNNING", requeue=False)
        environment = {**os.environ, "SLURM_JOB_ID": job_id, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
        environment |= {
            "SLURM_LOCALID": "0",
            "SLURM_NODEID": "0",
            "SLURM_JOB_NUM_NODES": "1",
            "SLURM_JOB_NODELIST": "n1",
        }
        script = jobs.folder / f"{job_id}.sh"
        process = subprocess.Popen(["bash", str(script)], env=environment, start_new_session=True)
        jobs.change(job_id, pid=process.pid)
        code = process.wait()
        job = jobs.read(job_id)
        if job["requeue"]:
            jobs.change(job_id, state="PENDING")
            while (jobs.folder / "full").exists():
                signal.sigtimedwait([], 0.05)
            continue
        if job["state"] != "CANCELLED":
            jobs.change(job_id, state="FAILED" if code else "COMPLETED", code=code)
        return


def sbatch(jobs, words):
    text = Path(words[-1]).read_text()
    if "--partition=nowhere" in text:
        sys.exit("sbatch: error: invalid partition specified: nowhere\nsbatch: error: Batch job submission failed")
    job_id = str(1000 + len(list(jobs.folder.glob("*.sh"))))
    (jobs.folder / f"{job_id}.sh").write_text(text)
    jobs.change(job_id, state="PENDING", requeue=False, pid=0)
    if not (jobs.folder / "full").exists():
        jobs.launch(job_id)
    print(f"Submitted batch job {job_id}")


def srun(jobs, words):
    output = words[words.index("--output") + 1]
    command = next(index for index, word in enumerate(words) if "python" in word)
    names = {"%j": os.environ["SLURM_JOB_ID"], "%t": "0", "%A": os.environ["SLURM_JOB_ID"]}
    for pattern, value in names.items():
        output = output.replace(pattern, value)
    with open(output, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.execvp(words[command], words[command:])


def squeue(jobs, words):
    job = jobs.read(words[words.index("--jobs") + 1])
    if job is None or job["state"] not in ("PENDING", "RUNNING"):
        sys.exit("slurm_load_jobs error: Invalid job id specified")
    print(f"{job['state']}|{'Resources' if job['state'] == 'PENDING' else 'None'}")


def sacct(jobs, words):
    job = jobs.read(words[words.index("--jobs") + 1])
    if job is not None:
        print(f"{job['state']}|{job.get('code', 0)}:0")


def scancel(jobs, words):
    job = jobs.read(words[0])
    jobs.change(words[0], state="CANCELLED", requeue=False)
    if job["pid"]:
        os.killpg(job["pid"], signal.SIGTERM)


def scontrol(jobs, words):
    assert words[0] == "requeue"
    jobs.change(words[1], state="PENDING", requeue=True)


def sinfo(jobs, words):
    print("4|gpu:a100:2(S:0-1)|1/3/0/4")


if __name__ == "__main__":
    name, *words = sys.argv[1:]
    cluster = Jobs(os.environ["SLURM_STAND_IN"])
    if name == "run":
        run(cluster, words[0])
    else:
        assert not re.search(r"\W", name)
        globals()[name](cluster, words)
