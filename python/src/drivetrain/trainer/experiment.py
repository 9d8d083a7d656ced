"""From a config to something that trains: the only place where environments, policies and algorithms meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch

from drivetrain.algorithms.algorithm import Algorithm
from drivetrain.algorithms.bc import BC, BCConfig, epoch_order
from drivetrain.algorithms.cimrl import CIMRL, CIMRLConfig
from drivetrain.algorithms.cimrl_sac import CIMRLSAC
from drivetrain.algorithms.gail import GAIL, ExpertRows, GAILConfig
from drivetrain.algorithms.gymnasium_config import GymnasiumConfig
from drivetrain.algorithms.ppo import PPO, PPOConfig
from drivetrain.algorithms.sac import SAC, SACConfig
from drivetrain.algorithms.unity_config import UnityConfig
from drivetrain.config import BY_NAME, config_hash, plain
from drivetrain.data.demonstrations import DemonstrationConfig, Demonstrations
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import ConfigError
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.models.precision import has_bfloat16
from drivetrain.models.proposal_policy import ProposalPolicy, ProposalPolicyConfig
from drivetrain.parallel import Group
from drivetrain.processes import usable_cores
from drivetrain.run_record import DataChoice
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.environment import VectorEnvironment
from drivetrain.sim.kernels.vehicle import NUM_ACTIONS
from drivetrain.sim.scene_bank import DT, SceneBank
from drivetrain.trainer.anchor_choice import take_anchor
from drivetrain.trainer.arenas import Arena, driving_arena, gymnasium_arena, unity_arena
from drivetrain.trainer.checkpoint import Checkpoint, code_versions, host_copy
from drivetrain.trainer.data_choice import choose_data
from drivetrain.trainer.device_choice import check_device
from drivetrain.trainer.imitation import Imitated, Teacher, check_seen, expert_rows, imitated, prepared
from drivetrain.trainer.learner_processes import Learners, as_one, share_of
from drivetrain.trainer.player_logs import player_logs
from drivetrain.trainer.progress import Progress
from drivetrain.trainer.replay_file import Memory
from drivetrain.trainer.trainer import Evaluate
from drivetrain.trainer.training_config import EvaluationConfig, TrainingConfig
from drivetrain.trainer.training_scenes import TrainingScenes
from drivetrain.trainer.watchdog_config import WatchdogConfig

NOT_PART_OF_TRAINING = (
    "evaluation",
    "training.total_steps",
    "training.epochs",
    "training.max_minutes",
    "training.max_cpu_minutes",
    "training.log_interval",
    "training.save_interval_s",
    "training.snapshots",
    "training.workers",
    "watchdog",
    "algorithm.anchor.path",
    "algorithm.ppo.anchor.path",
)
"""Keys that may change on resume: budget, logging, what only looks on, and files whose content a checkpoint holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentConfig:
    """One YAML file, one experiment."""

    data: str = "auto"
    """Folder of a scenario store relative to the root, or auto: nuPlan, else the sample, else generate it."""
    max_scenes: int = 4000
    """Training scenes held in memory; more than that are drawn by the seed."""
    scenarios: str | None = None
    """File that lists the training scenes, one id a line, relative to the root; None: those of the train split."""
    environment: Annotated[DrivingConfig | GymnasiumConfig | UnityConfig, BY_NAME] = field(
        default_factory=DrivingConfig
    )
    """What the policy acts in."""
    demonstrations: DemonstrationConfig | None = None
    """What an imitation learns from; None: the default, the recorded drives."""
    algorithm: Annotated[PPOConfig | SACConfig | BCConfig | GAILConfig | CIMRLConfig, BY_NAME] = field(
        default_factory=PPOConfig
    )
    """How it learns."""
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """The network."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """Closed-loop evaluation while training."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Budget, randomness and cadence."""
    watchdog: WatchdogConfig = field(default_factory=WatchdogConfig)
    """When a run goes wrong, and what to do then."""

    def __post_init__(self) -> None:
        if self.max_scenes < 1:
            raise ConfigError(f"max_scenes: {self.max_scenes} is too small; use 1 or more")
        if self.scenarios is not None and not isinstance(self.environment, DrivingConfig):
            raise ConfigError(f"scenarios: environment '{self.environment.name}' has none; leave the key out")
        has_ppo = isinstance(self.algorithm, GAILConfig | CIMRLConfig)
        ppo = self.algorithm.ppo if isinstance(self.algorithm, GAILConfig | CIMRLConfig) else self.algorithm
        for name, most in (
            _most_processes(self.environment),
            (f"algorithm.{'ppo.' if has_ppo else ''}minibatch_size", ppo.minibatch_size),
        ):
            if most < self.training.processes:
                raise ConfigError(
                    f"training.processes: {self.training.processes} is more than {name} ({most}); use fewer"
                )
        by_sac = isinstance(self.algorithm, CIMRLConfig) and self.algorithm.rl == "sac"
        if (isinstance(self.algorithm, SACConfig) or by_sac) and self.training.processes > 1:
            raise ConfigError(
                f"training.processes: {self.training.processes} is more than sac knows; "
                "use 1, and training.threads for more cores"
            )
        if isinstance(self.algorithm, GAILConfig) and not isinstance(self.environment, DrivingConfig):
            for name, penalty in self.algorithm.rail.penalties().items():
                if penalty < 0:
                    where = _called(self.environment)
                    raise ConfigError(f"algorithm.rail.{name}: {where} knows no such event; use 0")
        if isinstance(self.algorithm, CIMRLConfig):
            self._check_cimrl(self.algorithm)
        is_ppo_driving = isinstance(self.algorithm, PPOConfig) and isinstance(self.environment, DrivingConfig)
        if self.training.overlap is True and not is_ppo_driving:
            raise ConfigError("training.overlap: only ppo in driving worlds overlaps; use false")
        if self.training.epochs is not None and not isinstance(self.algorithm, BCConfig):
            raise ConfigError(
                f"training.epochs: {self.algorithm.name} counts steps, not passes over data; use training.total_steps"
            )

    def _check_cimrl(self, algorithm: CIMRLConfig) -> None:
        env = self.environment
        if not isinstance(env, DrivingConfig):
            where = _called(env)
            raise ConfigError(f"algorithm: cimrl learns from the events of driving, and {where} knows none; use ppo")
        if env.action != "discrete":
            raise ConfigError("environment.action: cimrl chooses among categories; use discrete")
        if algorithm.proposals.count > NUM_ACTIONS:
            raise ConfigError(
                f"algorithm.proposals.count: {algorithm.proposals.count} is more than the {NUM_ACTIONS} actions; "
                f"use 1 to {NUM_ACTIONS}"
            )


def _most_processes(env: DrivingConfig | GymnasiumConfig | UnityConfig) -> tuple[str, int]:
    """Return the key of what learner processes share, and how much of it there is."""
    if isinstance(env, UnityConfig):
        return "environment.num_players", env.num_players
    return "environment.num_worlds", env.num_worlds


def _called(env: GymnasiumConfig | UnityConfig) -> str:
    return env.id if isinstance(env, GymnasiumConfig) else env.path


Learner = PPO | SAC | BC | GAIL | CIMRL | CIMRLSAC
"""What learns in one process."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything a trainer needs, wired."""

    config: ExperimentConfig
    """With nothing left to chance: device and data set are named."""
    algorithm: Algorithm
    """The learner with its environment."""
    policy: ActorCritic | ProposalPolicy
    """The policy that it trains."""
    heads: Mapping[str, torch.nn.Module]
    """What it trains besides, by name."""
    replay: Memory | None
    """What it remembers of the past besides its state; None: nothing."""
    environment: VectorEnvironment
    """Where it learns."""
    reported: Mapping[str, str]
    """Metrics that the learner, having no episodes of its own, takes from the latest evaluation: name -> name there."""
    evaluate: Evaluate
    """Scores the policy on a fixed set."""
    data: DataChoice
    """What it learns from."""
    commit: str | None
    """Commit of the code."""

    @property
    def dynamics(self) -> dict[str, Any]:
        """How actions move the vehicle; empty where none drives."""
        return _dynamics(self.config)

    def checkpoint(self, progress: Progress, training: dict[str, Any] | None) -> Checkpoint:
        """Return a checkpoint of the present weights."""
        return Checkpoint(
            algorithm=self.config.algorithm.name,
            step=progress.step,
            metric=dict(progress.best),
            observation_schema=self.environment.observation_schema,
            action_space=self.environment.action_space,
            dynamics=self.dynamics,
            policy_config=_policy_config(self.config),
            policy=host_copy(self.policy.state_dict()),
            config=plain(self.config),
            data=asdict(self.data),
            code=code_versions(self.commit),
            heads={name: host_copy(head.state_dict()) for name, head in self.heads.items()},
            training=training,
        )


def training_hash(config: ExperimentConfig) -> str:
    """Return the hash of all that decides what is learnt."""
    # Runs that began before these keys existed go on.
    env, algorithm = config.environment, config.algorithm
    unused = {
        "scenarios": config.scenarios is None,
        "training.overlap": config.training.overlap is not True,
        "environment.route": isinstance(env, DrivingConfig) and env.route == "log",
        "environment.at_goal": isinstance(env, DrivingConfig) and env.at_goal == "end",
        "algorithm.anchor": isinstance(algorithm, SACConfig) and not algorithm.anchor.is_used,
        "algorithm.sac.anchor": isinstance(algorithm, CIMRLConfig),
        "algorithm.marginals": isinstance(algorithm, GAILConfig) and algorithm.marginals.weight == 0,
    }
    return config_hash(
        config, without=(*NOT_PART_OF_TRAINING, *(key for key, is_unused in unused.items() if is_unused))
    )


def resolve_device(config: ExperimentConfig, *, is_placed: bool = False) -> ExperimentConfig:
    """Return the config with the device named, and what follows from it: on GPUs one learner process each, overlapped.

    Args:
        config: As given.
        is_placed: Somebody else has started the processes, each where its GPU is: their number stays.

    Raises:
        UsageError: There is no such device, or not here.
    """
    device = config.training.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    else:
        check_device(device)
    processes = config.training.processes
    if device.startswith("cuda") and not is_placed:  # one learner per GPU, and a named GPU is one
        processes = 1 if ":" in device else min(processes, torch.cuda.device_count())
    overlap = config.training.overlap
    if overlap == "auto":
        drives = isinstance(config.algorithm, PPOConfig) and isinstance(config.environment, DrivingConfig)
        overlap = device.startswith("cuda") and drives
    return replace(config, training=replace(config.training, device=device, processes=processes, overlap=overlap))


def build_experiment(
    config: ExperimentConfig, *, root: Path, commit: str | None, say: Callable[[str], None], learners: Learners
) -> Experiment:
    """Return the wired experiment of a config.

    Args:
        config: With its device resolved.
        root: The project root, for data paths.
        commit: Commit of the code, for checkpoints.
        say: Told what was chosen and what takes long.
        learners: The processes that learn.

    Raises:
        DrivetrainError: Data, environment or policy cannot be made as configured.
    """
    env = config.environment
    bank: SceneBank | None = None
    if isinstance(env, GymnasiumConfig):
        arena, data = gymnasium_arena(env, config.evaluation)
    elif isinstance(env, UnityConfig):
        arena, data = unity_arena(env, config.evaluation, root=root)
    else:
        store, data = choose_data(config.data, root, say=say)
        config = replace(config, data=data.path)
        arena = driving_arena(env, config.evaluation, store, device=config.training.device, root=root, say=say)
        # Before the others are told: they find the compiled scenes on disk.
        bank = training_bank(config, env, store, root, say)
    if isinstance(config.algorithm, GAILConfig) or _asks_expert(config):
        # Likewise: made once, then mapped by everybody.
        _expert(config, root, say)
    for key in _bfloat16_keys(config):
        if config.training.device == "cpu" and not has_bfloat16():
            say(f"this processor has no bfloat16 arithmetic: {key} is float32 here, which is faster and as good")
    shown: Imitated | None = None
    if isinstance(config.algorithm, BCConfig):
        shown = _imitated(config, root, say)
        config = _with_budget(config, config.algorithm, shown)
    group = learners.connect((config, root))
    algorithm = build_learner(config, root=root, group=group, bank=bank, shown=shown, say=say)
    replay = algorithm.replay if isinstance(algorithm, SAC | CIMRLSAC) else None
    if replay is not None:
        size = f"{replay.num_bytes / 2**20:,.1f} MiB"
        say(f"replay: the latest {replay.most:,} transitions, {size} of memory, up to as much on disk beside last.pt")
    say(f"data: {data.path} ({data.choice}), fingerprint {data.fingerprint}")
    return Experiment(
        config=config,
        algorithm=as_one(algorithm, group),
        policy=algorithm.policy,
        heads=algorithm.heads,
        replay=replay,
        environment=algorithm.env,
        reported=_REPORTED if isinstance(algorithm, BC) else {},
        evaluate=lambda: _measured(algorithm, arena),
        data=data,
        commit=commit,
    )


def _bfloat16_keys(config: ExperimentConfig) -> list[str]:
    """Return the keys that ask for bfloat16."""
    asked = {"policy.precision": config.policy.precision}
    if isinstance(config.algorithm, SACConfig):
        asked["algorithm.critic.precision"] = config.algorithm.critic.precision
    return [key for key, precision in asked.items() if precision == "bfloat16"]


def _say_nothing(text: str) -> None:
    pass


def build_learner(
    config: ExperimentConfig,
    *,
    root: Path,
    group: Group,
    bank: SceneBank | None = None,
    shown: Imitated | None = None,
    say: Callable[[str], None] = _say_nothing,
) -> Learner:
    """Return this process's learner with its share of the worlds.

    Args:
        config: With device and data named.
        root: The project root, for data paths.
        group: The processes that learn together.
        bank: The compiled training scenes; None: read or compile them.
        shown: What an imitation learns from; None: read or make it.
        say: Told what takes long.
    """
    training, env = config.training, config.environment
    torch.set_num_threads(training.threads)
    torch.manual_seed(training.seed)
    device = torch.device(training.device)
    if device.type == "cuda" and group.size > 1:
        # All GPUs of the machine, or the one that whoever started this process has chosen for it.
        device = torch.device("cuda", group.rank_here % torch.cuda.device_count())
    first, share = share_of(_most_processes(env)[1], group.rank, group.size)
    environment: VectorEnvironment
    if isinstance(env, GymnasiumConfig):
        from drivetrain.algorithms.gymnasium_environment import GymnasiumEnvironment  # Gymnasium comes with it

        environment = GymnasiumEnvironment(replace(env, num_worlds=share), seed=training.seed, first_world=first)
    elif isinstance(env, UnityConfig):
        from drivetrain.algorithms.unity_environment import UnityEnvironment  # gRPC is loaded by those who play alone

        shared = replace(env, num_players=share)
        environment = UnityEnvironment(
            shared, root=root, seed=training.seed, first_player=first, logs=player_logs(root)
        )
    else:
        bank = bank or training_bank(config, env, ScenarioStore(root / config.data), root, say)
        threads = env.threads or max(usable_cores() // group.size_here, 1)
        environment = DrivingEnv(
            bank,
            replace(env, num_worlds=share, threads=threads),
            first_world=first,
            num_worlds_global=env.num_worlds,
        )
    schema, space = environment.observation_schema, environment.action_space
    if isinstance(config.algorithm, CIMRLConfig):
        cimrl = config.algorithm
        composed = ProposalPolicy(schema, space, config.policy, cimrl.proposals, cimrl.critic, seed=training.seed)
        if cimrl.rl == "sac":
            return CIMRLSAC(environment, composed, cimrl, device=device, seed=training.seed)
        return CIMRL(environment, composed, cimrl, device=device, seed=training.seed, group=group)
    policy = ActorCritic(schema, space, config.policy, seed=training.seed)
    if isinstance(config.algorithm, GAILConfig):
        expert = _expert(config, root, _say_nothing)
        has_categories = expert.action.ndim == 1
        check_seen(expert.observation, environment, has_categories=has_categories, has_vectors=not has_categories)
        learner = GAIL(
            environment,
            policy,
            config.algorithm,
            expert=expert,
            device=device,
            seed=training.seed,
            group=group,
        )
        take_anchor(learner, root)
        return learner
    if isinstance(config.algorithm, SACConfig):
        expert = _expert(config, root, _say_nothing) if _asks_expert(config) else None
        learner = SAC(environment, policy, config.algorithm, expert=expert, device=device, seed=training.seed)
        take_anchor(learner, root)
        return learner
    if isinstance(config.algorithm, BCConfig):
        shown = shown or _imitated(config, root, _say_nothing)
        seen = shown.demonstrations
        has_categories, has_vectors = len(seen.action_index) > 0, seen.action.shape[1] > 0
        check_seen(seen.observation, environment, has_categories=has_categories, has_vectors=has_vectors)
        return BC(
            environment,
            policy,
            config.algorithm,
            demonstrations=shown.demonstrations,
            held_out=shown.held_out,
            budget=training.total_steps,
            device=device,
            seed=training.seed,
            group=group,
        )
    learner = PPO(
        environment,
        policy,
        config.algorithm,
        device=device,
        seed=training.seed,
        group=group,
        overlap=training.overlap is True,
    )
    take_anchor(learner, root)
    return learner


def prepare_demonstrations(
    config: ExperimentConfig, *, root: Path, say: Callable[[str], None], workers: int
) -> dict[str, Demonstrations]:
    """Return what a training of this config will imitate, made now and kept: ``demonstrations``, for BC ``held_out``.

    Args:
        config: Of the training.
        root: The project root.
        say: Told how many there are.
        workers: Processes that re-drive logs; a crew elsewhere has its own number.

    Raises:
        ConfigError: The training imitates nobody.
        DrivetrainError: There is nothing to imitate.
    """
    learns_by_imitation = isinstance(config.algorithm, BCConfig | GAILConfig) or _asks_expert(config)
    if not learns_by_imitation:
        raise ConfigError(
            f"algorithm.name: '{config.algorithm.name}' learns from no demonstrations; name the config of a training "
            "that imitates, such as python/configs/planning/bc.yaml"
        )
    if isinstance(config.environment, DrivingConfig):
        _, data = choose_data(config.data, root, say=say)
        config = replace(config, data=data.path)
    evaluation = config.evaluation if isinstance(config.algorithm, BCConfig) else None
    return prepared(replace(_teacher(config, root), workers=workers), evaluation=evaluation, say=say)


def learner_of(task: tuple[ExperimentConfig, Path], group: Group) -> Learner:
    """Return the learner of a process besides the first, by the task that the leader tells it."""
    config, root = task
    return build_learner(config, root=root, group=group)


def _asks_expert(config: ExperimentConfig) -> bool:
    """Return whether SAC also imitates."""
    return isinstance(config.algorithm, SACConfig) and config.algorithm.imitates


def _imitated(config: ExperimentConfig, root: Path, say: Callable[[str], None]) -> Imitated:
    assert isinstance(config.algorithm, BCConfig)
    return imitated(
        _teacher(config, root),
        evaluation=config.evaluation,
        held_out_share=config.algorithm.held_out_share,
        say=say,
        is_shown=say is not _say_nothing,
    )


def _expert(config: ExperimentConfig, root: Path, say: Callable[[str], None]) -> ExpertRows:
    return expert_rows(_teacher(config, root), say=say, is_shown=say is not _say_nothing)


def _teacher(config: ExperimentConfig, root: Path) -> Teacher:
    return Teacher(
        demonstrations=config.demonstrations or DemonstrationConfig(),
        environment=config.environment,
        store=None if not isinstance(config.environment, DrivingConfig) else ScenarioStore(root / config.data),
        root=root,
        max_scenes=config.max_scenes,
        seed=config.training.seed,
        listed=None if config.scenarios is None else root / config.scenarios,
    )


def _with_budget(config: ExperimentConfig, algorithm: BCConfig, shown: Imitated) -> ExperimentConfig:
    """Return the config with its epochs as gradient steps."""
    training = config.training
    if training.epochs is None:
        return config
    steps = epoch_order(shown.demonstrations, algorithm, seed=training.seed).steps
    return replace(config, training=replace(training, total_steps=training.epochs * steps))


_REPORTED = {
    "mean_reward": "mean_reward",
    "collision": "collision_at_fault_rate",
    "progress": "progress",
    "mean_abs_jerk": "mean_abs_jerk",
}
"""What a row of an imitation, which has no episodes of its own, says of the latest evaluation."""


def _measured(algorithm: Learner, arena: Arena) -> dict[str, float]:
    """Return the closed-loop evaluation, and the open-loop one where there is something to predict."""
    return {**arena(algorithm.policy), **(algorithm.open_loop() if isinstance(algorithm, BC) else {})}


def training_bank(
    config: ExperimentConfig, env: DrivingConfig, store: ScenarioStore, root: Path, say: Callable[[str], None]
) -> SceneBank:
    """Return the compiled scenes that a config trains in; ``say`` is told how many, and if evaluations score them."""
    scenes = TrainingScenes.choose(
        store,
        split="train",
        most=config.max_scenes,
        seed=config.training.seed,
        all_controllable=env.control == "all",
        min_distance_m=env.min_distance_m,
        route=env.route,
        listed=None if config.scenarios is None else root / config.scenarios,
    )
    scored = int(np.isin(scenes.rows, store.rows(config.evaluation.split)).sum())
    if scored:
        say(
            f"training: {scored} of its {len(scenes.rows)} scenes are in split '{config.evaluation.split}', which "
            "evaluations score: what they say of held-out scenes is too good"
        )
    return scenes.compile(say=say, is_shown=say is not _say_nothing)


def _policy_config(config: ExperimentConfig) -> dict[str, Any]:
    """Return what a checkpoint says of the network."""
    if isinstance(config.algorithm, CIMRLConfig):
        cimrl = config.algorithm
        return plain(ProposalPolicyConfig(network=config.policy, critic=cimrl.critic, proposals=cimrl.proposals))
    return plain(config.policy)


def _dynamics(config: ExperimentConfig) -> dict[str, Any]:
    env = config.environment
    if not isinstance(env, DrivingConfig):
        return {}
    return {
        "name": "kinematic_bicycle",
        "dt_s": DT,
        "acceleration_lag_s": env.acceleration_lag_s,
        "steering_lag_s": env.steering_lag_s,
    }
