"""Which keys of a config others than a person at the keyboard may set, and which only the file itself may say.

Whatever stands in neither table is refused. A test compares both with the config classes, so that a new key must be
put on one side or the other.
"""

from __future__ import annotations

from collections.abc import Iterator

_PPO = """rollout_steps minibatch_size epochs minibatch_order learning_rate learning_rate_final gamma gae_lambda
    clip_range value_clip_range value_coefficient entropy_coefficient entropy_coefficient_final max_grad_norm target_kl
    normalize_advantage normalize_reward advantage_filter shaping_warmup value_warmup anchor.coefficient
    anchor.coefficient_final"""
_SAC = """steps capacity minibatch_size updates_per_transition learning_starts num_steps gamma target_rate final_rate
    policy_learning_rate critic_learning_rate alpha alpha_learning_rate warm_alpha target_entropy policy_delay
    actor_freeze max_grad_norm weight_decay half_precision shaping_warmup imitation_coefficient
    imitation_coefficient_final critic.hidden critic.precision anchor.coefficient anchor.coefficient_final"""
_BC = """minibatch_size epochs learning_rate final_rate warmup weight_decay max_grad_norm label_smoothing
    class_weight_power standing_share state_dropout held_out_share iteration_steps dagger.rounds dagger.start
    dagger.steps dagger.share dagger.horizon dagger.capacity dagger.max_deviation_m trajectory.weight trajectory.points
    trajectory.interval_s trajectory.modes trajectory.width trajectory.share"""
_GAIL = """reward reward_limit horizon environment_weight relabel scouts rail.collision rail.offroad rail.red_light
    discriminator.hidden discriminator.inputs discriminator.without discriminator.nearest_agents
    discriminator.learning_rate discriminator.updates discriminator.batch_size discriminator.regularizer
    discriminator.gradient_penalty discriminator.penalty_sides discriminator.normalize_input discriminator.pause_above
    discriminator.replay_rollouts discriminator.replay_rows discriminator.absorbing_rows
    marginals.weight marginals.features marginals.bins marginals.memory marginals.limit"""
_CIMRL = """rl critic.hidden critic.precision proposals.count proposals.epsilon proposals.filter
    proposals.prior_temperature anchor.coefficient anchor.coefficient_final risk.gamma risk.trace risk.loss risk.balance
    risk.violating_share risk.learning_rate risk.target_rate risk.minibatch_size risk.updates risk.memory
    risk.pretrain_steps risk.pretrain_updates risk.random_actions risk.cost.collision risk.cost.collision_any
    risk.cost.offroad risk.cost.red_light"""
_ENVIRONMENT = """id num_worlds threads control agents_per_world traffic route at_goal action observation_dtype
    horizon_s min_distance_m start_speed acceleration_lag_s steering_lag_s reward.penalty_at_fault
    reward.penalty_other_collision reward.penalty_offroad reward.penalty_red_light reward.acceleration_change
    reward.steering_change num_players agents num_areas time_scale timeout_s"""
_POLICY = """encoder hidden value_width agents_width road_width nearest_agents normalize_observation gaussian
    initial_log_std precision"""
_DEMONSTRATIONS = """expert episodes seed agents match_horizon max_deviation_m relabel_horizon action_change_weight
    displaced_passes displacement_interval_s displacement_m displacement_mps displacement_rad"""
_EVALUATION = "episodes max_share evenly at_start split traffic best_by compare_motion seed"
_TRAINING = """total_steps epochs max_minutes max_cpu_minutes seed device threads processes overlap log_interval
    save_interval_s snapshots"""
_RULES = "kl_spike entropy_collapse explained_variance q_blow_up discriminator_saturation reward_hacking"


def _under(block: str, names: str) -> Iterator[str]:
    return (f"{block}.{name}" for name in names.split())


OPEN_KEYS = frozenset(
    (
        "max_scenes",
        *_under("algorithm", f"{_PPO} {_SAC} {_BC} {_GAIL} {_CIMRL}"),
        *_under("algorithm.ppo", _PPO),
        *_under("algorithm.sac", _SAC),
        *_under("environment", _ENVIRONMENT),
        *_under("policy", _POLICY),
        *_under("demonstrations", _DEMONSTRATIONS),
        *_under("evaluation", _EVALUATION),
        *_under("training", _TRAINING),
    )
)
"""May be set to a plain value: budget, seed, what an algorithm and its network are tuned by, how often is looked."""

_BY_FILE = "only the config file says this; choose another config"
CLOSED_KEYS = {
    "data": "only the config file names data; choose another config",
    "scenarios": "a path; only the config file names files",
    "algorithm.name": _BY_FILE,
    "algorithm.ppo.name": _BY_FILE,
    "algorithm.sac.name": _BY_FILE,
    "algorithm.anchor.path": "a path; only the config file names files",
    "algorithm.ppo.anchor.path": "a path; only the config file names files",
    "algorithm.sac.anchor.path": "a path; only the config file names files",
    "environment.name": _BY_FILE,
    "environment.behavior": _BY_FILE,
    "environment.graphics": _BY_FILE,
    "environment.parameters": _BY_FILE,
    "demonstrations.path": "a path; only the config file names files",
    "training.workers": "takes other machines into use; only the config file chooses it",
    "environment.backend": "the slow backend is for tests; only the config file chooses it",
    "watchdog.learning_rate_factor": "the watchdog guards the run; only the config file sets it",
    "watchdog.max_rollbacks": "the watchdog guards the run; only the config file sets it",
    "watchdog.non_finite.action": "the watchdog guards the run; only the config file sets it",
    "watchdog.non_finite.metrics": "the watchdog guards the run; only the config file sets it",
    "watchdog.reward_hacking.window": "the watchdog guards the run; only the config file sets it",
    **{
        f"watchdog.{rule}.{name}": "the watchdog guards the run; only the config file sets it"
        for rule in _RULES.split()
        for name in ("threshold", "patience", "patience_s", "action")
    },
}
"""May stand in a config file, but not be set from outside; with the reason."""

REFUSED_KEYS = {
    "environment.path": "starts a program; only a person does that, with 'drivetrain start'",
    "environment.arguments": "goes to a program; only a person starts one, with 'drivetrain start'",
}
"""May not even stand in a config file; with the reason."""

PATH_KEYS = frozenset(
    {
        "data",
        "scenarios",
        "demonstrations.path",
        "algorithm.anchor.path",
        "algorithm.ppo.anchor.path",
        "algorithm.sac.anchor.path",
    }
)
"""Name a file or folder; its place is checked."""

_MOST_SEED = 2**63 - 1
MOST = {
    "training.total_steps": 1e11,
    "training.max_minutes": 60.0 * 24 * 30,
    "training.max_cpu_minutes": 60.0 * 24 * 30,
    "training.seed": _MOST_SEED,
    "evaluation.seed": _MOST_SEED,
    "demonstrations.seed": _MOST_SEED,
    "environment.num_worlds": 65_536,
    "environment.agents_per_world": 1_024,
    "environment.num_players": 256,
    "environment.agents": 65_536,
    "environment.num_areas": 1_024,
    "evaluation.episodes": 100_000,
    "demonstrations.episodes": 1_000_000,
    "max_scenes": 1_000_000,
    "policy.hidden": 8_192,
    "algorithm.critic.hidden": 8_192,
    "algorithm.sac.critic.hidden": 8_192,
    "algorithm.discriminator.hidden": 8_192,
    "policy.value_width": 8_192,
    "policy.agents_width": 8_192,
    "policy.road_width": 8_192,
}
"""Largest size of a number, where a larger one would only fill memory."""
MOST_ELSE = 1e9
"""The same for every other key."""
PER_CORE_KEYS = frozenset({"training.processes", "training.threads", "environment.threads"})
"""At most the cores that this process may use."""
