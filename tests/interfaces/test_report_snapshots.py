"""Whole reports in both languages, in the situations that people meet, against stored pages.

``python -m tests.interfaces.test_report_snapshots`` writes the pages anew; read every sentence before committing them.
"""

import os
import re
import tempfile
import time
from pathlib import Path
from unittest import mock

import pytest
from tests.interfaces.test_report import GPU, machine
from tests.runs.run_folders import noise, rewrite_state, rows_of, write_ended_run, write_run

from drivetrain.interfaces import report
from drivetrain.interfaces.report import build_report
from drivetrain.interfaces.report_words import LANGUAGES
from drivetrain.run_record import append_line

PAGES = Path(__file__).with_name("report_snapshots")
CUDA = {"uuid": "GPU-1", "name": "RTX 4090", "memory_reserved": 10**9}


def steady(count=35, **metrics):
    return rows_of(count, mean_reward=lambda i: 0.1 * i, collision=0.06, progress=0.8, loss=0.1, **metrics)


def nothing(root):
    return []


def on_the_processor(root):
    return [write_run(root, "ppo_v1", rows=steady())[1]]


def on_the_gpu(root):
    rows = steady(80, gpu_util=0.3, gpu_mem=0.2)
    return [write_run(root, "ppo_v1", rows=rows, state={"gpu": CUDA}, total_steps=2_000_000)[1]]


def young(root):
    return [write_run(root, "sac_v1", rows=steady(3), algorithm="sac")[1]]


def stalled(root):
    record, lock = write_run(root, "ppo_v1", rows=steady())
    rewrite_state(record, updated=time.time() - 300)
    return [lock]


def failed(root):
    write_ended_run(root, "gail_v1", rows=steady(), algorithm="gail", status="failed", message="loss is NaN")
    return _with_checkpoint(root, "gail_v1")


def lost(root):
    rewrite_state(write_ended_run(root, "ppo_v1", rows=steady()), boot_id="another")
    return _with_checkpoint(root, "ppo_v1")


def converged_and_slow(root):
    rows = rows_of(600, mean_reward=noise(start=5.0), frac_sim=0.7)
    return [write_run(root, "ppo_v1", rows=rows, total_steps=7_000_000)[1]]


def falling(root):
    rows = rows_of(400, mean_reward=noise(start=5.0, rise=-0.02), frac_learn=0.8)
    return [write_run(root, "ppo_v1", rows=rows, total_steps=9_000_000)[1]]


def warned(root):
    record, lock = write_run(root, "ppo_v1", rows=steady())
    alert = {
        "event": "alert",
        "life": 1,
        "rule": "kl_spike",
        "action": "rollback",
        "metric": "approx_kl",
        "step": 300_000,
    }
    append_line(record.paths.events_jsonl, alert | {"value": 0.51, "limit": 0.15, "iterations": 3})
    back = {"event": "rolled_back", "life": 1, "to_step": 280_000, "learning_rate_scale": 0.5, "rollbacks": 1}
    append_line(record.paths.events_jsonl, back)
    return [lock]


SITUATIONS = {
    each.__name__: each
    for each in (
        nothing, on_the_processor, on_the_gpu, young, stalled, failed, lost, converged_and_slow, falling, warned
    )
}  # fmt: skip


def _with_checkpoint(root, run_id):
    folder = root / "experiments" / "checkpoints" / run_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "last.pt").write_bytes(b"weights")
    return []


def pages(name, root):
    """The report of a situation in every language, with what hangs on the clock to the second made one."""
    gpus = (GPU,) if name == "on_the_gpu" else ()
    locks = SITUATIONS[name](root)
    try:
        with mock.patch.object(report, "read_resources", return_value=machine(gpus=gpus)):
            found = build_report(root)
            return {language: _steadied(found.to_markdown(language)) for language in LANGUAGES}
    finally:
        for lock in locks:
            lock.release()


def _steadied(text):
    text = re.sub(r"\b30\d( s |초)", r"300\1", text)
    return re.sub(r"\b15\d( s\)|초 )", r"158\1", text)


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_report_reads_as_it_was_last_read_by_a_person(name, tmp_path):
    for language, text in pages(name, tmp_path).items():
        assert text == (PAGES / f"{name}.{language}.md").read_text(encoding="utf-8")


def test_no_korean_sentence_is_left_in_english():
    for page in sorted(PAGES.glob("*.ko.md")):
        said = [line for line in page.read_text(encoding="utf-8").splitlines() if re.match(r"(\d+\. |- \w+: )", line)]
        for line in said:
            if not line.startswith(("- GPU: RTX", "- RAM", "- Disk")):
                assert re.search("[가-힣]", line), line


def main():
    PAGES.mkdir(exist_ok=True)
    for name in SITUATIONS:
        with tempfile.TemporaryDirectory() as folder:
            for language, text in pages(name, Path(os.path.realpath(folder))).items():
                (PAGES / f"{name}.{language}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
