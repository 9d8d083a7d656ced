"""Whether a command that a page shows could be typed: program, options, files and config keys, without running it."""

import argparse
import importlib.util
import re
from pathlib import Path

import yaml
from tests.docs.pages import ROOT, SHELLS, shell_lines, split_fences

from drivetrain.config import Override, load_config, parse_override
from drivetrain.errors import DrivetrainError, UsageError
from drivetrain.interfaces.cli import build_parser
from drivetrain.interfaces.command_line import OneLineParser
from drivetrain.runs.pipeline import PipelineConfig
from drivetrain.trainer.command import add_arguments
from drivetrain.trainer.experiment import ExperimentConfig

FOREIGN = {"cat", "cd", "git", "grep", "kill", "mail", "pip", "ps", "source", "tail", "tensorboard", "watch"}
"""Programs that are not ours to check."""
PARSER = build_parser()


def shell_commands(text):
    """The words of all command lines in the shell blocks of a page."""
    for _, language, body, _ in split_fences(text)[0]:
        if language in SHELLS and not body.startswith("#!"):
            for _, words in shell_lines(body):
                yield words


def parts(words):
    """The simple commands of a line: what pipes, redirections and signs between commands leave."""
    found = [[]]
    for word in words:
        if word in ("|", "||", "&&", "&", ";"):
            found.append([])
        elif word in (">", ">>", "2>", "<"):
            break
        else:
            found[-1].append(word)
    return [part for part in found if part]


def complaint(words):
    """What is wrong with a command line shown in a document; None where nothing is."""
    return next(filter(None, map(_complaint, parts(words))), None)


def _complaint(words):
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if not words or words[0] in FOREIGN:
        return None
    command, *rest = words
    if command == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        missing = [word for word in rest if "=" not in word and not word.startswith("-") and word not in targets]
        return f"no make target {missing}" if missing else None
    if command == "mlagents-learn":
        return None if (ROOT / rest[0]).is_file() else f"no file {rest[0]}"
    if command == "drivetrain" or (command == "python" and rest[:2] == ["-m", "drivetrain"]):
        return _of_drivetrain(rest if command == "drivetrain" else rest[2:])
    if command == "python" and rest[:1] == ["-m"]:
        return None if importlib.util.find_spec(rest[1]) else f"no module {rest[1]}"
    if command == "python" and rest[:1] and rest[0].endswith(".py"):
        return _of_script(rest[0], rest[1:])
    if command == "python" and rest[:1] == ["-c"]:
        return None
    return None if (ROOT / command).is_file() else f"unknown command '{command}'"


def _of_drivetrain(words):
    try:
        arguments = PARSER.parse_args(words)
    except UsageError as error:
        return str(error)
    except SystemExit:  # --help and --version print and leave
        return None
    config = getattr(arguments, "first_config", None) or getattr(arguments, "config", None)
    return _of_config(config, arguments) if config else None


def _of_script(path, words):
    file = ROOT / path
    if not file.is_file():
        return f"no file {path}"
    if file.parent.name != "training":
        text = file.read_text(encoding="utf-8")
        missing = [word for word in words if word.startswith("--") and f'"{word.partition("=")[0]}"' not in text]
        return f"{path}: no option {missing}" if missing else None
    parser = OneLineParser(prog=file.name, allow_abbrev=False)
    add_arguments(parser, file.stem.removeprefix("train_"))
    try:
        arguments = parser.parse_args(words)
    except UsageError as error:
        return str(error)
    return _of_config(arguments.config, arguments) if arguments.config else None


def _of_config(config: Path, arguments: argparse.Namespace):
    """What is wrong with a config and what a command changes in it."""
    file = ROOT / config
    if not file.is_file():
        return f"no file {config}"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    if "behaviors" in content:  # of mlagents-learn
        return None
    flags = {"total_steps": getattr(arguments, "total_steps", None), "epochs": getattr(arguments, "epochs", None)}
    try:
        overrides = [parse_override(text) for text in arguments.set]
        overrides += [
            Override(path=("training", key), value=value, flag=f"--{key}") for key, value in flags.items() if value
        ]
        load_config(file, PipelineConfig if "pipeline" in content else ExperimentConfig, overrides=overrides)
    except DrivetrainError as error:
        return str(error)
    return None
