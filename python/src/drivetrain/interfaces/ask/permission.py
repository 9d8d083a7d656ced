"""What `ask` may run: its commands pass the gate that the tools of language models pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from drivetrain.errors import DrivetrainError
from drivetrain.runs.gate import allowed_changes, allowed_request, allowed_run_id, check_recorded_config
from drivetrain.runs.gate_text import inside
from drivetrain.runs.launcher import LaunchRequest

_RUN_COMMANDS = ("stop", "resume", "delete", "logs", "status", "compare")
_PATH_OPTIONS = ("--data", "--init-from", "--out")


def refusal(argv: Sequence[str], root: Path) -> str:
    """Return why the gate keeps a command out, in one line; empty where it lets it pass."""
    try:
        _check(list(argv[1:]), root)
    except DrivetrainError as error:
        return str(error).splitlines()[0]
    return ""


def _check(words: list[str], root: Path) -> None:
    """Hold a command against the gate.

    Raises:
        DrivetrainError: The gate refuses it.
    """
    given = {option: words[k + 1] for k, option in enumerate(words[:-1]) if option.startswith("-")}
    changes = tuple(words[k + 1] for k, option in enumerate(words[:-1]) if option == "--set")
    if words[0] == "start" or words[:2] == ["queue", "add"]:
        _check_start(words[1 if words[0] == "start" else 2], given, changes, root)
        return
    for option in _PATH_OPTIONS:
        if option in given:
            inside(given[option], root, what=option)
    if words[0] == "resume":
        check_recorded_config(words[1], root)
        allowed_changes(changes)
    if words[0] in _RUN_COMMANDS:
        for word in words[1:]:
            if word.startswith("-"):
                break
            allowed_run_id(word)
    if words[0] in ("evaluate", "render") and not words[1].startswith("-"):
        inside(words[1], root, what="checkpoint")


def _check_start(config: str, given: dict[str, str], changes: tuple[str, ...], root: Path) -> None:
    def path(option: str) -> Path | None:
        return Path(given[option]) if option in given else None

    def number(option: str) -> int | None:
        return int(given[option]) if option in given else None

    request = LaunchRequest(
        config=Path(config),
        run_id=given.get("--run-id"),
        changes=changes,
        data=given.get("--data"),
        total_steps=number("--total-steps"),
        epochs=number("--epochs"),
        seed=number("--seed"),
        device=given.get("--device"),
        init_from=path("--init-from"),
    )
    allowed_request(request, root)
