"""Autonomous-driving planners: train, score and manage them in a fast batched closed-loop simulator.

    policy = drivetrain.load_policy("experiments/checkpoints/ppo_v1/best.pt")   # observation in, action out
    env = drivetrain.make_env("datasets/processed/sample")                      # a gymnasium.vector.VectorEnv
    result = drivetrain.evaluate(my_planner, "datasets/processed/sample")       # closed loop, with intervals

    env = gymnasium.make_vec("drivetrain/Driving-v0", num_envs=64, data="datasets/processed/sample")

Nothing heavy is imported before one of these functions is called.
"""

from __future__ import annotations

from drivetrain.registration import register_with_gymnasium

TYPE_CHECKING = False  # type checkers take it for True; importing ``typing`` would cost as much as all the rest
if TYPE_CHECKING:
    from typing import Any

    from drivetrain.sim.gymnasium_vector import GymnasiumVector
    from drivetrain.trainer.checkpoint import LoadedPolicy
    from drivetrain.trainer.evaluation_result import EvaluationResult

__version__ = "0.1.0"
__all__ = ["__version__", "evaluate", "load_policy", "make_env"]


def load_policy(path: Any) -> LoadedPolicy:
    """Return the policy in a checkpoint (or a checkpoint folder): a callable, observation in, action out."""
    from drivetrain.trainer.checkpoint import load_policy as load

    return load(path)


def make_env(data: Any = "auto", **options: Any) -> GymnasiumVector:
    """Return a ``gymnasium.vector.VectorEnv`` of driving worlds.

    Options: see :func:`drivetrain.trainer.make_env.make_env`.
    """
    from drivetrain.trainer.make_env import make_env as make

    return make(data, **options)


def evaluate(planner: Any, data: Any = "auto", **options: Any) -> EvaluationResult:
    """Return the closed-loop result of a planner; options: :func:`drivetrain.trainer.evaluate.evaluate`.

    Args:
        planner: A callable from a scenario view to a trajectory, an object whose ``begin(view)`` returns one for each
            scenario, a reference planner's name, or a checkpoint.
        data: A scenario store, its folder, scenarios, or ``auto``.
        **options: ``split``, ``episodes``, ``traffic``, ``seed``, ``reference``, ...
    """
    from drivetrain.trainer.evaluate import evaluate as score

    return score(planner, data, **options)


register_with_gymnasium()
