"""`drivetrain ui`: the pages of TensorBoard and MLflow on this machine."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivetrain.errors import UsageError
from drivetrain.interfaces.command_line import add_command

if TYPE_CHECKING:
    from drivetrain.interfaces.web_pages import Page

MLFLOW_PAGES_HINT = "MLflow       its pages need the full package: pip install mlflow (runs are recorded without it)"


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "ui",
        summary="show curves and runs in the browser: TensorBoard's and MLflow's pages",
        text="Both listen on this machine's own address 127.0.0.1 only; from elsewhere: ssh -L 6006:127.0.0.1:6006 "
        "HOST. A port in use is replaced by the next free one. Ctrl-C ends both.",
        examples="drivetrain ui\ndrivetrain ui --port 7000 --no-mlflow",
    )
    parser.add_argument("--port", type=int, default=6006, metavar="N", help="TensorBoard's port (default: 6006)")
    parser.add_argument("--mlflow-port", type=int, default=5000, metavar="N", help="MLflow's port (default: 5000)")
    parser.add_argument("--no-mlflow", action="store_true", help="TensorBoard alone")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C.

    Raises:
        UsageError: A port is none.
        RunError: A server could not be started or ended by itself.
    """
    from drivetrain.interfaces.web_pages import serve
    from drivetrain.run_record import project_root

    for option, port in (("--port", arguments.port), ("--mlflow-port", arguments.mlflow_port)):
        if not 1 <= port <= 65535:
            raise UsageError(f"ui: {option} {port}: give a port from 1 to 65535")
    root = project_root().resolve()
    pages = [tensorboard_page(root, arguments.port)]
    if not arguments.no_mlflow:
        page, hint = mlflow_page(root, arguments.mlflow_port)
        pages += [page] if page else []
        if hint:
            _say(hint)
    try:
        serve(pages, folder=root, say=_say)
    except KeyboardInterrupt:
        # The usual end of this command is no interruption.
        _say("ended")
    return 0


def tensorboard_page(root: Path, port: int) -> Page:
    """Return the server of curves."""
    from drivetrain.interfaces.web_pages import LOOPBACK, Page
    from drivetrain.run_record import RunPaths

    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(RunPaths.logs(root)), "--host", LOOPBACK]
    return Page(name="TensorBoard", command=command, port=port)


def mlflow_page(root: Path, port: int) -> tuple[Page | None, str]:
    """Return MLflow's server, or None and a line that says why there is none."""
    from drivetrain.interfaces.web_pages import LOOPBACK, Page
    from drivetrain.runs.mlflow_mirror import tracking_uri

    uri = tracking_uri(root)
    if uri.startswith(("http://", "https://")):
        return None, f"MLflow       {uri} (MLFLOW_TRACKING_URI)"
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        # Its server would create the store, at the same moment perhaps as a training that begins.
        return None, "MLflow       no store yet: the first training creates mlflow.db"
    if any(importlib.util.find_spec(name) is None for name in ("mlflow", "flask")):
        return None, MLFLOW_PAGES_HINT
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", LOOPBACK]
    environment = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # It would run jobs for language models in processes of their own, three times the memory.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
    return Page(name="MLflow", command=[*command, "--workers", "1"], port=port, environment=environment), ""


def _say(line: str) -> None:
    print(line, flush=True)
