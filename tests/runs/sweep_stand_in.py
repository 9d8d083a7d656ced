"""Trainings that a sweep starts, without training: every look at them brings them one evaluation further."""

import math
from concurrent.futures import Future

from tests.runs.run_folders import rewrite_state, write_run

from drivetrain.errors import RunError
from drivetrain.run_record import RunPaths, RunRecord, append_line, claim_run
from drivetrain.runs.launcher import StartedRun


class AtOnce:
    """An executor that has done what it is given: what comes next does not depend on the machine."""

    def __init__(self, **_):
        pass

    def submit(self, action):
        future = Future()
        try:
            future.set_result(action())
        except RunError as error:
            future.set_exception(error)
        return future

    def shutdown(self, *, wait):
        pass


class StandInTrainings:
    """In place of `start_run`, `resume_run` and `stop_runs`; the score is best at a learning rate of 0.01."""

    def __init__(self, root, *, rungs=4, total=400):
        self.root, self.rungs, self.total = root, rungs, total
        self.open = {}
        """Name -> (record, lock, request) of what trains."""
        self.requests = {}
        self.told = []
        """What was asked for, in order."""
        self.broken = set()
        """Names that cannot start."""
        self.most = 0
        """Most at once so far."""

    def patch(self, monkeypatch, fleet):
        monkeypatch.setattr(fleet, "ThreadPoolExecutor", AtOnce)
        monkeypatch.setattr(fleet, "start_run", self.start)
        monkeypatch.setattr(fleet, "resume_run", self.resume)
        monkeypatch.setattr(fleet, "stop_runs", self.stop)

    def start(self, request, *, root):
        self.told.append(f"start {request.run_id}")
        if request.run_id in self.broken:
            raise RunError(f"run '{request.run_id}': out of luck\nits last lines")
        record, lock = write_run(root, request.run_id, total_steps=self.total, seed=request.seed)
        self.requests[request.run_id] = request
        self._open(request.run_id, record, lock)
        return StartedRun(run_id=request.run_id, pid=1, folder=record.paths.folder, command=[])

    def resume(self, run_id, *, root):
        self.told.append(f"resume {run_id}")
        paths = RunPaths(root=root, run_id=run_id)
        lock = claim_run(paths, resume=True, overwrite=False)
        record = RunRecord.resume(paths, step=self.step(run_id), total_steps=self.total)
        record.update(status="running", phase="collecting", step=self.step(run_id), immediately=True)
        self._open(run_id, record, lock)

    def stop(self, run_ids, *, root):
        for run_id in run_ids:
            self.told.append(f"stop {run_id}")
            self._close(run_id, "stopped")

    def step(self, run_id):
        paths = RunPaths(root=self.root, run_id=run_id)
        lines = paths.metrics_jsonl.read_text().splitlines() if paths.metrics_jsonl.exists() else []
        return len(lines) * self.total // self.rungs

    def tick(self):
        """Bring every training one evaluation further; one whose budget is used ends."""
        for run_id, (record, _, request) in list(self.open.items()):
            step = self.step(run_id) + self.total // self.rungs
            row = {"step": step, "life": 1, "eval/score_basic": self.score(request, step)}
            append_line(record.paths.metrics_jsonl, row)
            record.update(step=step, immediately=True)
            if step >= self.total:
                self._close(run_id, "completed")

    def score(self, request, step):
        changes = dict(change.split("=", 1) for change in request.changes)
        rate = float(changes.get("algorithm.learning_rate", 1e-3))
        luck = 0.001 * (request.seed % 7)
        return (1.0 - 0.2 * abs(math.log10(rate / 0.01))) * (0.5 + 0.5 * step / self.total) + luck

    def lose(self, run_id):
        """SIGKILL."""
        record, lock, _ = self.open.pop(run_id)
        lock.release()
        rewrite_state(record, start_ticks=1)

    def _open(self, run_id, record, lock):
        self.open[run_id] = (record, lock, self.requests[run_id])
        self.most = max(self.most, len(self.open))

    def _close(self, run_id, status):
        record, lock, _ = self.open.pop(run_id)
        record.finish(status, exit_code=0)
        lock.release()
