"""Checkpoints: everything a policy needs to act, and everything a run needs to continue bit by bit.

Both files load with ``torch.load(weights_only=True)``. ``best.pt`` holds the policy, ``last.pt`` also all the rest.
"""

from __future__ import annotations

import dataclasses
import io
import platform
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drivetrain.config import config_hash, from_plain, plain
from drivetrain.errors import CheckpointError, ConfigError, UsageError
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.models.proposal_policy import ProposalPolicy, ProposalPolicyConfig
from drivetrain.run_record import read_json, write_bytes_atomic
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.observation import ObservationSchema, decode

FORMAT = "drivetrain-checkpoint"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint in memory."""

    algorithm: str
    """Name of the algorithm that made it."""
    step: int
    """Steps done."""
    metric: dict[str, Any]
    """``name``, ``value`` and ``step`` of the evaluation that chose it; empty before the first."""
    observation_schema: ObservationSchema
    """What the policy sees."""
    action_space: ActionSpace
    """What the policy does."""
    dynamics: dict[str, Any]
    """How actions move the vehicle: kind, dt [s], actuator lags [s]; empty for Gymnasium."""
    policy_config: dict[str, Any]
    """Sizes of the network."""
    policy: dict[str, Tensor]
    """Weights of the policy."""
    config: dict[str, Any]
    """The resolved config of the run."""
    data: dict[str, Any]
    """``path``, ``fingerprint`` and ``choice`` of the data set."""
    code: dict[str, Any]
    """Package versions and commit."""
    heads: dict[str, dict[str, Tensor]] = dataclasses.field(default_factory=dict)
    """Weights of what was learnt besides the policy, by name: ``traj``, the trajectory head of BC."""
    training: dict[str, Any] | None
    """Algorithm, environment and random state and the trainer's progress; None in ``best.pt``."""


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically and durably: after a crash the file is the old one or the new one.

    Raises:
        RunError: The folder cannot be written or the disk is full; the old checkpoint is untouched.
    """
    document = {field.name: getattr(checkpoint, field.name) for field in dataclasses.fields(checkpoint)}
    document["observation_schema"] = {
        **plain(checkpoint.observation_schema),
        "hash": checkpoint.observation_schema.hash,
    }
    document["action_space"] = {**plain(checkpoint.action_space), "hash": config_hash(checkpoint.action_space)}
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "version": VERSION, **document}, buffer)
    write_bytes_atomic(path, buffer.getvalue(), durable=True)


def load_checkpoint(path: Path, *, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: It is missing, damaged, no checkpoint of ours, or of a newer format.
    """
    path = checkpoint_file(path)
    if not zipfile.is_zipfile(path):  # what torch says of such a file speaks of torch
        raise CheckpointError(f"{path}: cannot be read (no zip archive); it is damaged or no checkpoint")
    try:
        document = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises nearly anything for a damaged file
        reason = str(error).split("\n", 1)[0][:120]
        raise CheckpointError(f"{path}: cannot be read ({reason}); it is damaged or no checkpoint") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CheckpointError(f"{path}: is no drivetrain checkpoint; give the best.pt or last.pt of a run")
    if document["version"] > VERSION:
        raise CheckpointError(
            f"{path}: format version {document['version']} is newer than {VERSION}, which this program reads; update it"
        )
    try:
        schema, space = dict(document["observation_schema"]), dict(document["action_space"])
        for mapping in (schema, space):
            mapping.pop("hash")
        document["observation_schema"] = from_plain(ObservationSchema, schema)
        document["action_space"] = from_plain(ActionSpace, space)
        document.setdefault("heads", {})  # older files have none
        return Checkpoint(**{field.name: document[field.name] for field in dataclasses.fields(Checkpoint)})
    except (KeyError, ConfigError) as error:
        raise CheckpointError(f"{path}: incomplete checkpoint ({error}); train again, or use another file") from error


def checkpoint_file(path: Path) -> Path:
    """Return the checkpoint a path names: a file, or the best one of a run's folder.

    Raises:
        CheckpointError: There is none.
    """
    if path.is_dir():
        for name in ("best.pt", "last.pt"):
            if (path / name).is_file():
                return path / name
        raise CheckpointError(
            f"{path}: holds no best.pt or last.pt; give a checkpoint or a checkpoint folder{_of_run(path)}"
        )
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.pt")) if path.parent.is_dir() else []
        hint = f"; there are {', '.join(near)}" if near else "; train first, or check the path"
        raise CheckpointError(f"{path}: no such checkpoint{hint}")
    return path


def _of_run(folder: Path) -> str:
    """Return where the checkpoints of a run's log folder are, if it is one."""
    info = read_json(folder / "run.json") or {}
    return f", such as {info['checkpoint_dir']}" if "checkpoint_dir" in info else ""


def check_fits(checkpoint: Checkpoint, path: Path, schema: ObservationSchema, action_space: ActionSpace) -> None:
    """Make sure that a checkpoint was made for this observation and action.

    Raises:
        CheckpointError: It was not; both hashes are named.
    """
    made, here = checkpoint.observation_schema, schema
    if made.hash != here.hash:
        raise CheckpointError(
            f"{path}: made for observation schema {made.hash} ({made.name}, {made.size} values), "
            f"here it is {here.hash} ({here.name}, {here.size} values); use one of the same schema, or train anew"
        )
    made_actions, actions = config_hash(checkpoint.action_space), config_hash(action_space)
    if made_actions != actions:
        raise CheckpointError(
            f"{path}: made for action schema {made_actions} ({_describe(checkpoint.action_space)}), "
            f"here it is {actions} ({_describe(action_space)}); use one of the same actions, or train anew"
        )


def build_policy(checkpoint: Checkpoint, path: Path) -> ActorCritic | ProposalPolicy:
    """Return the network of a checkpoint with its weights, ready to act.

    Raises:
        CheckpointError: The weights do not fit the sizes stored beside them.
    """
    try:
        schema, space = checkpoint.observation_schema, checkpoint.action_space
        policy: ActorCritic | ProposalPolicy
        if "kind" in checkpoint.policy_config:
            composed = from_plain(ProposalPolicyConfig, checkpoint.policy_config)
            policy = ProposalPolicy(schema, space, composed.network, composed.proposals, composed.critic)
        else:
            policy = ActorCritic(schema, space, from_plain(PolicyConfig, checkpoint.policy_config))
        policy.load_state_dict(checkpoint.policy)
    except (RuntimeError, ConfigError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{path}: the weights do not fit the network ({reason}); it is damaged") from error
    return policy.eval()


def without_filter(loaded: LoadedPolicy) -> LoadedPolicy:
    """Return the same policy with its risk filter off: it may do whatever it proposes.

    Raises:
        UsageError: It has none.
    """
    checkpoint = loaded.checkpoint
    if "kind" not in checkpoint.policy_config:
        raise UsageError(
            f"risk_filter: {loaded.path} is a policy of {checkpoint.algorithm}, which has no risk filter; "
            "leave the option out"
        )
    proposals = {**checkpoint.policy_config["proposals"], "filter": False}
    policy_config = {**checkpoint.policy_config, "proposals": proposals}
    return LoadedPolicy(dataclasses.replace(checkpoint, policy_config=policy_config), loaded.path)


class LoadedPolicy:
    """A trained policy as a callable: observation in, action out."""

    def __init__(self, checkpoint: Checkpoint, path: Path) -> None:
        self.checkpoint = checkpoint
        """Where it came from: config, schema, step, data."""
        self.path = path
        """Of its file."""
        self.module = build_policy(checkpoint, path)
        """The network; its ``act`` also samples."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes as bytes: torch would share the weights' memory instead of sending them."""
        content = io.BytesIO()
        torch.save(self.checkpoint.policy, content)
        return _unpacked, (
            dataclasses.replace(self.checkpoint, policy={}, training=None),
            content.getvalue(),
            self.path,
        )

    def __call__(self, observation: NDArray) -> NDArray:
        """Return the deterministic action (``ActorCritic.act``) of rows [B, D]; no B for a single row [D].

        Rows may be of any type in which an environment stores them (``OBSERVATION_DTYPES``).
        """
        rows = np.atleast_2d(decode(np.asarray(observation)))
        size = self.checkpoint.observation_schema.size
        if rows.shape[-1] != size:
            raise CheckpointError(f"the policy takes observations of {size} values, got {rows.shape[-1]}")
        action = self.module.act(torch.from_numpy(rows), deterministic=True).numpy()
        return action if np.ndim(observation) > 1 else action[0]


def _unpacked(checkpoint: Checkpoint, weights: bytes, path: Path) -> LoadedPolicy:
    policy = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
    return LoadedPolicy(dataclasses.replace(checkpoint, policy=policy), path)


def load_policy(path: str | Path) -> LoadedPolicy:
    """Return the policy in a checkpoint file, or the best one of a checkpoint folder.

    Raises:
        CheckpointError: There is none, or it cannot be used.
    """
    file = checkpoint_file(Path(path))
    return LoadedPolicy(load_checkpoint(file), file)


def code_versions(commit: str | None) -> dict[str, Any]:
    """Return what the numbers depend on besides config and data."""
    from importlib.metadata import PackageNotFoundError, version

    def of(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    names = ("drivetrain", "torch", "numpy", "numba", "gymnasium")
    return {"python": platform.python_version(), "git_commit": commit, **{name: of(name) for name in names}}


def host_copy(state: Any) -> Any:
    """Return a state with its tensors on the CPU and NumPy arrays as tensors, as a checkpoint holds it."""
    if isinstance(state, Tensor):
        return state.detach().cpu().clone()
    if isinstance(state, np.ndarray):
        return torch.from_numpy(state.copy())
    if isinstance(state, Mapping):
        return {key: host_copy(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [host_copy(value) for value in state]
    return state


def _describe(space: ActionSpace) -> str:
    return f"{space.num_categories} categories" if space.is_discrete else f"{space.size} continuous values"
