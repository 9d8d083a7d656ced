"""`drivetrain ask`: says which command a sentence means, and runs it once it is confirmed."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import TYPE_CHECKING, Any

from drivetrain.errors import UsageError
from drivetrain.interfaces.command_line import add_command, add_json_option, print_json

if TYPE_CHECKING:
    from drivetrain.interfaces.ask.commands import Answer

_WORDS = {
    "en": {
        "run": "Run it? [y/N] ",
        "not_run": "not run; give --yes, or type the command",
        "unclear": "no single command: {why}",
        "maybe": "Perhaps you mean:",
    },
    "ko": {
        "run": "실행할까요? [y/N] ",
        "not_run": "실행하지 않았습니다. --yes를 주거나 명령을 직접 입력하세요",
        "unclear": "명령을 하나로 정할 수 없습니다: {why}",
        "maybe": "혹시 다음 중 하나인가요?",
    },
}


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "ask",
        summary="find the command that a sentence in English or Korean means, and run it once confirmed",
        text="A fixed grammar reads the sentence (docs/ask.md); it never guesses: what is negated, compound or unclear "
        "gets candidates and runs nothing.",
        examples='drivetrain ask "train ppo with lr 1e-4 for 2M steps"\n'
        'drivetrain ask "ppo 학습 시작해줘"\ndrivetrain ask --yes "한글로 보고서 보여줘"\n'
        'drivetrain ask --json "stop ppo_v1"',
    )
    parser.add_argument("sentence", nargs="+", metavar="SENTENCE", help="what is to be done")
    parser.add_argument("--yes", action="store_true", help="run it without asking (delete still asks)")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the command that the sentence means; run it if that is confirmed.

    Raises:
        UsageError: The sentence means no single command; says why and what it may mean.
    """
    from drivetrain.interfaces.ask.commands import answer
    from drivetrain.interfaces.ask.known import look_up
    from drivetrain.run_record import project_root

    found = answer(" ".join(arguments.sentence), look_up(project_root()))
    if arguments.json:
        if found.why_not:
            print(f"drivetrain: ask: {found.why_not}", file=sys.stderr)
        command = None if found.command is None else list(found.command)
        print_json({"command": command, "candidates": [list(argv) for argv in found.candidates]})
        return 0
    words = _WORDS[found.language]
    if found.command is None:
        if found.candidates:
            print(words["maybe"])
            print("\n".join(f"  {shlex.join(argv)}" for argv in found.candidates))
        raise UsageError(f"ask: {words['unclear'].format(why=found.why_not)}")
    print(shlex.join(found.command), flush=True)
    return _run_confirmed(found, is_confirmed=arguments.yes)


def _run_confirmed(found: Answer, *, is_confirmed: bool) -> int:
    """Run the command if somebody says so; `delete` asks by itself, whatever was given here.

    Raises:
        UsageError: Nobody confirmed it.
    """
    command = list(found.command or ())
    words = _WORDS[found.language]
    asks_itself = command[1] == "delete"
    if not (is_confirmed or asks_itself):
        if not sys.stdin.isatty():
            raise UsageError(f"ask: {words['not_run']}")
        try:
            said = input(words["run"]).strip().lower()
        except EOFError:
            said = ""
        if said not in ("y", "yes", "네", "예", "응", "ㅇㅇ"):
            return 1
    from drivetrain.interfaces.cli import main

    return main(command[1:])
