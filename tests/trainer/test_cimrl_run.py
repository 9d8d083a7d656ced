"""CIMRL under the trainer: from a clone to a run, its checkpoint in every use, exact continuation, bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.trainer.outcomes import rows_of
from tests.trainer.test_resume import Crash, die_at, same_end

from drivetrain.config import from_plain
from drivetrain.data.synthetic.sample import write_sample
from drivetrain.errors import UsageError
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.run_record import RunPaths
from drivetrain.sim.observation import CANONICAL
from drivetrain.trainer import data_choice, metric_log
from drivetrain.trainer.checkpoint import load_checkpoint, load_policy, save_checkpoint, without_filter
from drivetrain.trainer.command import main
from drivetrain.trainer.evaluate import evaluate
from drivetrain.trainer.initialization import initialize_from

POLICY = "{hidden: [16], agents_width: 32, road_width: 32, value_width: 8}"
CONFIG = f"""\
environment: {{name: driving, num_worlds: 6, threads: 1}}
algorithm:
  name: cimrl
  critic: {{hidden: [16]}}
  risk: {{pretrain_steps: 300, pretrain_updates: 2, updates: 2, minibatch_size: 32}}
  ppo: {{rollout_steps: 32, minibatch_size: 64, epochs: 1, value_warmup: 1}}
policy: {POLICY}
evaluation: {{episodes: 3, max_share: 0}}
training: {{total_steps: 900, threads: 1, device: cpu, save_interval_s: 0}}
"""


def rows(count=20):
    return torch.rand(count, CANONICAL.size, generator=torch.Generator().manual_seed(0)) - 0.5


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A root with a tiny sample, a plain policy that stands for a clone, and a finished run from it."""
    root = tmp_path_factory.mktemp("root")
    folder = root / data_choice.SAMPLE
    folder.parent.mkdir(parents=True)
    write_sample(folder, train=6, val=3, test=1, workers=1, progress=lambda done, total: None)
    (root / "cimrl.yaml").write_text(CONFIG)
    ppo = CONFIG[: CONFIG.index("algorithm:")] + "algorithm: {name: ppo, rollout_steps: 8, minibatch_size: 32}\n"
    (root / "ppo.yaml").write_text(ppo + CONFIG[CONFIG.index("policy:") :])
    with pytest.MonkeyPatch.context() as context:
        context.setenv("DRIVETRAIN_ROOT", str(root))
        flags = ("--run-id", "ppo", "--total-steps", "40", "--no-mlflow")
        assert main("rl", ["--config", str(root / "ppo.yaml"), *flags]) == 0
        made = load_checkpoint(root / "experiments/checkpoints/ppo/last.pt")
        weights = {**made.policy, "pi.weight": made.policy["pi.weight"] * 100}
        save_checkpoint(root / "clone.pt", replace(made, algorithm="bc", policy=weights, training=None))
        flags = ("--run-id", "whole", "--init-from", str(root / "clone.pt"), "--no-mlflow")
        assert main("rl", ["--config", str(root / "cimrl.yaml"), *flags, "--set", "training.snapshots=2"]) == 0
    return root


@pytest.fixture
def train(root, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(root))
    return lambda *flags: main("rl", ["--config", str(root / "cimrl.yaml"), "--no-mlflow", *flags])


def paths_of(root, run_id):
    return RunPaths(root=root, run_id=run_id)


def test_the_run_begins_as_the_truncated_clone(root):
    """Two iterations of 192 transitions for the critics, one for the values, then the policy."""
    first = without_filter(load_policy(paths_of(root, "whole").snapshot(0))).module
    clone = load_policy(root / "clone.pt").module
    prior = clone.distribution(rows()).log_probs.exp()
    proposal = first.context(rows())["proposal"]
    expected = prior * proposal / (prior * proposal).sum(1, keepdim=True)
    torch.testing.assert_close(first.distribution(rows()).log_probs.exp(), expected, atol=1e-6, rtol=0)
    told = [row for row in rows_of(paths_of(root, "whole")) if "risk/pretraining" in row]
    assert [row["risk/pretraining"] for row in told][:4] == [1.0, 1.0, 0.0, 0.0]
    assert [row.get("policy_frozen") for row in told][:4] == [None, None, 1.0, 0.0]
    last = load_policy(paths_of(root, "whole").last)
    assert torch.equal(last.module.prior.pi.weight, clone.pi.weight)
    assert last.module.task.pi.weight.abs().max() > 0


def test_the_table_of_the_start(root, train, capfd):
    flags = ("--run-id", "told", "--init-from", str(root / "clone.pt"), "--total-steps", "100")
    assert train(*flags) == 0
    told = [line.split() for line in capfd.readouterr().err.splitlines() if line.startswith("  ")]
    states = {words[0]: words[1] for words in told if words[0] in ("prior", "task", "q_risk")}
    assert states == {"prior": "loaded", "task": "fresh", "q_risk": "fresh"}
    assert ["precaution:", "only", "the", "risk", "critics"] in [words[:5] for words in told]


def test_death_and_continuation_to_the_same_end(root, train, monkeypatch):
    flags = ("--run-id", "a", "--set", "training.snapshots=2")
    with monkeypatch.context() as context:
        die_at(context, metric_log, "append_line", 5, after=True)
        with pytest.raises(Crash):
            train(*flags, "--init-from", str(root / "clone.pt"))
    assert 0 < load_checkpoint(paths_of(root, "a").last).step < 900
    assert train(*flags, "--resume") == 0
    same_end(paths_of(root, "whole"), paths_of(root, "a"))


def test_by_sac_it_dies_and_continues_to_the_same_end_with_its_memory(root, train, monkeypatch):
    sac = "{steps: 8, capacity: 400, learning_starts: 64, minibatch_size: 16, actor_freeze: 2}"
    flags = ("--set", "algorithm.rl=sac", "--set", f"algorithm.sac={sac}", "--set", "algorithm.risk.pretrain_steps=100")
    flags += ("--total-steps", "400", "--set", "algorithm.sac.updates_per_transition=0.05")
    clone = ("--init-from", str(root / "clone.pt"))
    assert train("--run-id", "sac", *flags, *clone) == 0
    with monkeypatch.context() as context:
        die_at(context, metric_log, "append_line", 6, after=True)
        with pytest.raises(Crash):
            train("--run-id", "sac_dies", *flags, *clone)
    assert 0 < load_checkpoint(paths_of(root, "sac_dies").last).step < 400
    assert train("--run-id", "sac_dies", *flags, "--resume") == 0
    same_end(paths_of(root, "sac"), paths_of(root, "sac_dies"))
    told = {name for row in rows_of(paths_of(root, "sac")) for name in row}
    assert {"risk/loss", "risk/pretraining", "q_loss", "kl_to_prior"} <= told


def test_two_processes_keep_one_policy(root, train):
    """The leader refuses to save if they do not."""
    flags = ("--init-from", str(root / "clone.pt"), "--set", "training.processes=2", "--total-steps", "600")
    assert train("--run-id", "two", *flags) == 0
    ours, theirs = load_checkpoint(paths_of(root, "two").last).training["algorithm"]["processes"]
    assert "policy" not in theirs
    assert ours["pretrained"] == theirs["pretrained"] >= 300


def test_it_is_evaluated_with_and_without_its_filter(root, train):
    path = paths_of(root, "whole").last
    loaded = load_policy(path)
    with torch.no_grad():
        for twin in loaded.module.q_risk.twins:
            twin[-1].bias.fill_(9.0)  # nothing is safe: it brakes, or whatever is least risky
    checkpoint = load_checkpoint(path)
    fearful = root / "fearful.pt"
    save_checkpoint(fearful, replace(checkpoint, policy=loaded.module.state_dict()))
    data, config = root / data_choice.SAMPLE, {"episodes": 3, "dynamics": "direct"}
    on, off = (evaluate(fearful, data, **config, risk_filter=which) for which in (True, False))
    assert (on.inputs.get("risk_filter"), off.inputs["risk_filter"]) == (None, False)
    same = evaluate(path, data, **config, risk_filter=False)
    assert off.metrics["mean_reward"].mean == same.metrics["mean_reward"].mean
    assert not np.allclose(on.metrics["mean_reward"].mean, off.metrics["mean_reward"].mean)
    with pytest.raises(UsageError, match=r"clone.pt is a policy of bc, which has no risk filter; leave the option out"):
        evaluate(root / "clone.pt", data, **config, risk_filter=False)


def test_it_goes_on_as_another_cimrl_and_its_prior_as_a_plain_policy(root, train, capfd):
    source = paths_of(root, "whole").last
    assert train("--run-id", "again", "--init-from", str(source), "--total-steps", "100") == 0
    assert "only the risk critics" not in capfd.readouterr().err
    first = rows_of(paths_of(root, "again"))
    assert [row["risk/pretraining"] for row in first if "risk/pretraining" in row] == [0.0]
    plain = ActorCritic(
        CANONICAL,
        load_checkpoint(source).action_space,
        from_plain(PolicyConfig, load_checkpoint(source).policy_config["network"]),
    )
    done = initialize_from(plain, source, learner="ppo")
    assert done.names("ignored") == ["task", "q_risk"]
    clone = load_policy(root / "clone.pt").module
    torch.testing.assert_close(
        plain.distribution(rows()).log_probs, clone.distribution(rows()).log_probs, atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            (),
            "--init-from is missing: cimrl needs a prior, such as --init-from experiments/checkpoints/cimrl_bc/ "
            "(made by train_bc.py)",
        ),
        (
            ("--set", "algorithm.proposals.count=92"),
            "algorithm.proposals.count: 92 is more than the 91 actions; use 1 to 91",
        ),
        (
            ("--set", "algorithm.proposals.epsilon=2"),
            "algorithm.proposals.epsilon: 2.0 is no risk; use a number from 0 to 1",
        ),
        (
            ("--set", "environment.action=continuous"),
            "environment.action: cimrl chooses among categories; use discrete",
        ),
        (
            ("--set", "policy.hidden=[8]", "--init-from", "clone.pt"),
            "module 'trunk' does not fit (policy.hidden is [16] there and [8] here); use the same policy settings, "
            "or train anew",
        ),
    ],
)
def test_wrong_input_is_one_line(root, train, capfd, monkeypatch, flags, expected):
    monkeypatch.chdir(root)
    assert train("--run-id", "wrong", *flags) != 0
    assert capfd.readouterr().err.strip().splitlines()[-1].endswith(expected)
    assert not paths_of(root, "wrong").folder.exists()


def test_a_prior_without_an_action_head_is_one_line(root, train, capfd):
    made = load_checkpoint(root / "clone.pt")
    headless = {name: value for name, value in made.policy.items() if not name.startswith("pi.")}
    save_checkpoint(root / "headless.pt", replace(made, policy=headless))
    assert train("--run-id", "wrong", "--init-from", str(root / "headless.pt")) == 1
    line = capfd.readouterr().err.strip().splitlines()[-1]
    assert line.endswith("has no action head 'pi', which a prior needs; give a policy of bc, gail, ppo, sac")
