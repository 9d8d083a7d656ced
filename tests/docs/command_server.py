"""Runs the commands of documents in processes that have loaded everything before: seconds less for each of them.

A shell finds `drivetrain` and `python` in a folder of small programs that hand their arguments, environment and open
files to a server, which forks a process that does what the real program does. Whatever trains or generates is made
small on the way (`smaller`).
"""

import contextlib
import importlib
import json
import os
import pty
import runpy
import signal
import socket
import sys
import threading
from pathlib import Path

PRELOADED = (
    "torch",
    "numba",
    "matplotlib.figure",
    "drivetrain.config",
    "drivetrain.trainer.command",
    "drivetrain.trainer.session",
    "drivetrain.trainer.evaluate",
    "drivetrain.runs.launcher",
    "drivetrain.rendering.many",
)
CAPS = {
    "--train": 8,
    "--val": 4,
    "--test": 2,
    "--train-scenes": 8,
    "--validation-scenes": 4,
    "--episodes": 4,
    "--max": 2,
    "--worst": 2,
    "--drives": 2,
    "--epochs": 1,
    "--workers": 1,
    "--worlds": 4,
}
"""The largest number that an option keeps."""
BUSY = "DRIVETRAIN_DOCUMENTS_BUSY"
"""Environment variable: a run that is started in the background goes on until it is stopped."""
ENDLESS_S = 5
"""How long a command may show something that would never end [s]."""
_CONNECTION = []
"""Where a forked process says how it ended."""
CLIENT = """\
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = json.dumps([{name!r}, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
server.sendall(request)
sys.exit(int(server.recv(8) or b"70"))
"""


def smaller(words):
    """The arguments of a command, so that it takes seconds: fewer scenes, episodes and steps."""
    words = list(words)
    for index, word in enumerate(words[:-1]):
        if word in CAPS and words[index + 1].isdigit():
            words[index + 1] = str(min(CAPS[word], int(words[index + 1])))
        if word == "--total-steps":
            # In the order of the numbers as printed, so that a larger budget goes on.
            words[index + 1] = str(32 * len(words[index + 1].replace("_", "")))
    if BUSY in os.environ and (words[:1] == ["start"] or words[:2] == ["queue", "add"]):
        words += ["--total-steps", "1000000"]
    if BUSY in os.environ and words[:1] == ["resume"]:
        words = [word for word in words if word != "--total-steps" and not word.isdigit()]
    if words[:2] == ["data", "sample"]:
        for option in ("--train", "--val", "--test"):
            words += [] if option in words else [option, str(CAPS[option])]
    return words


def is_endless(words):
    """Whether these arguments of `drivetrain` show something until they are interrupted."""
    follows = words[:1] == ["logs"] and "-f" in words and BUSY in os.environ
    return follows or words[:1] == ["ui"] or (words[:1] == ["watch"] and "--once" not in words)


def _allow(seconds):
    """End this process as a success after so long: an endless command was seen to run."""
    signal.signal(signal.SIGALRM, lambda number, frame: _leave(0))
    signal.alarm(seconds)


def _leave(code):
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    with contextlib.suppress(OSError):
        _CONNECTION[0].sendall(str(code).encode())
    os._exit(code)


def trains(words):
    """Whether these arguments of `drivetrain` start a training."""
    return words[:1] in (["train"], ["start"]) or words[:2] == ["queue", "add"]


def run(name, words):
    """What `name` does with these arguments; its exit code."""
    sys.argv[:] = [name, *words]
    try:
        if name == "drivetrain" or (name == "python" and words[:2] == ["-m", "drivetrain"]):
            return _drivetrain(words if name == "drivetrain" else words[2:])
        if name == "tensorboard":
            _allow(2 * ENDLESS_S)
            words = ["-m", "tensorboard.main", *words]
        _python(words)
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(end.code + "\n")
            return 1
        return end.code or 0
    return 0


def _drivetrain(words):
    from drivetrain.interfaces.cli import main

    if is_endless(words):
        _allow(ENDLESS_S)
        if words[0] == "watch":
            # A screen needs a terminal.
            for descriptor in (0, 1):
                os.dup2(pty.openpty()[1], descriptor)
    # `train` becomes the launcher by replacing its process.
    os.execv = lambda path, words: sys.exit(run("python", list(words[1:])))
    return main([*smaller(words), *(["--no-mlflow"] if trains(words) else [])])


def _python(words):
    if words[0] == "-m":
        sys.argv[:] = [words[1], *smaller(words[2:])]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        return
    file = Path(words[0])
    sys.argv[:] = [str(file), *smaller(words[1:]), *(["--no-mlflow"] if file.name.startswith("train_") else [])]
    sys.path.insert(0, str(file.resolve().parent))
    runpy.run_path(str(file), run_name="__main__")


def _in_child(connection, files):
    code = 70
    _CONNECTION.append(connection)
    try:
        size = int.from_bytes(files[0], "big")
        content = b""
        while len(content) < size:
            content += connection.recv(1 << 16)
        name, words, folder, environment = json.loads(content)
        for number, descriptor in enumerate(files[1]):
            os.dup2(descriptor, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = run(name, words)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        _leave(code)


def serve(address):
    """Load everything, then fork a process for each request until stdin is closed."""
    for module in PRELOADED:
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, _reap)
    if hasattr(os, "sched_setaffinity"):
        # One core: what waits in the queue waits here as well, whatever machine this is.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen()
    print("ready", flush=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        connection, _ = server.accept()
        head, descriptors, _, _ = socket.recv_fds(connection, 8, 3)
        if os.fork() == 0:
            server.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _in_child(connection, (head, descriptors))
        connection.close()
        for descriptor in descriptors:
            os.close(descriptor)


def _reap(number, frame):
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _end_with_parent():
    sys.stdin.read()
    used = os.times()
    print(sum(used[:4]), flush=True)
    os._exit(0)


def write_clients(folder, address):
    """Write the programs that a shell finds first."""
    folder.mkdir()
    for name in ("drivetrain", "python", "tensorboard"):
        program = folder / name
        program.write_text(f"#!{sys.executable} -SEs\n" + CLIENT.format(address=address, name=name), encoding="utf-8")
        program.chmod(0o755)


if __name__ == "__main__":
    serve(sys.argv[1])
