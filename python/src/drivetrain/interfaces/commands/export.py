"""`drivetrain export`: a policy or a planner in the form another program takes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from drivetrain.errors import UsageError, nearest
from drivetrain.interfaces.command_line import add_command, add_json_option, print_json

DEVKIT = "devkit"
MLAGENTS = "mlagents"
FORMATS = ("onnx", "torchscript", "safetensors", MLAGENTS, DEVKIT)


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "export",
        summary="write a policy as ONNX, TorchScript or weights, or as a planner of nuplan-devkit",
        text="onnx, torchscript and safetensors write one file, named arrays in and the action out, whose metadata say "
        "what every number means. Before it gets its name it must agree with the policy on 1,000 observations met in "
        "recorded scenes, to 1e-4. mlagents writes ONNX under the names that Unity's ML-Agents package reads. "
        "--format devkit writes a folder with drivetrain_planner.py, a class that the devkit (in its own environment, "
        "Python 3.8 or newer) loads like any planner. It plans in a process of this environment, with the code that "
        "'drivetrain evaluate' drives with.",
        examples="drivetrain export experiments/checkpoints/ppo_v1 --format onnx\n"
        "drivetrain export experiments/checkpoints/ppo_v1/best.pt --format torchscript --out ppo.torchscript --json\n"
        "drivetrain export experiments/checkpoints/ppo_v1/best.pt --format devkit --output exports/ppo_v1\n"
        "drivetrain export --planner idm --format devkit --output exports/idm",
    )
    parser.add_argument("checkpoint", nargs="?", type=Path, metavar="CHECKPOINT", help="file, or folder with best.pt")
    parser.add_argument("--planner", metavar="NAME", help="a planner of 'drivetrain evaluate' instead (devkit)")
    parser.add_argument("--format", required=True, metavar="NAME", help=f"{', '.join(FORMATS)}")
    parser.add_argument(
        "--out",
        "--output",
        type=Path,
        metavar="PATH",
        dest="output",
        help="file to write (default: beside the checkpoint); devkit: the folder, which must be named",
    )
    parser.add_argument(
        "--data", metavar="DIR", help="scenario store of the observations to compare on (default: the training's)"
    )
    parser.add_argument(
        "--split", choices=("train", "val", "test"), default="val", help="part of the store (default: val)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file, or write into a folder with files")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the export and say what to do with it.

    Raises:
        DrivetrainError: The policy or planner cannot be used, differs from what was written, or cannot be written.
    """
    if arguments.format not in FORMATS:
        hint = nearest(arguments.format, FORMATS)
        raise UsageError(f"export: format '{arguments.format}' is not one of {', '.join(FORMATS)}{hint}")
    if arguments.format == DEVKIT:
        return _export_planner(arguments)
    if arguments.planner is not None:
        raise UsageError("export: --planner goes with --format devkit only; give a checkpoint")
    if arguments.checkpoint is None:
        raise UsageError(
            "export: give a checkpoint, for example: drivetrain export experiments/checkpoints/ppo_v1 --format onnx"
        )
    return _export_model(arguments) if arguments.format == MLAGENTS else _export_policy(arguments)


def _export_model(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from drivetrain.trainer.export_unity import export_unity

    model = export_unity(
        arguments.checkpoint,
        out=arguments.output,
        data=arguments.data,
        split=arguments.split,
        overwrite=arguments.overwrite,
    )
    if arguments.json:
        print_json({**asdict(model), "file": str(model.file)})
        return 0
    print(f"{arguments.checkpoint}: exported to {model.file} (ONNX for Unity, {model.num_bytes / 1e6:.2f} MB)")
    print(f"  inputs   {', '.join(model.inputs)}; outputs {', '.join(model.outputs)}")
    print(f"  parity   {model.observations:,} observations: within {model.largest:.1e} of torch")
    return 0


def _export_policy(arguments: argparse.Namespace) -> int:
    from drivetrain.trainer.export_policy import export_policy

    export = export_policy(
        arguments.checkpoint,
        arguments.format,
        out=arguments.output,
        data=arguments.data,
        split=arguments.split,
        overwrite=arguments.overwrite,
    )
    document = export.to_json()
    slow = export.latency.processor_p99_ms > document["latency"]["limit_ms"]
    if slow:
        print(
            f"drivetrain: export: 1 of 100 calls takes {export.latency.processor_p99_ms:.3g} ms of a processor and "
            f"more, above the {document['latency']['limit_ms']:g} ms of a planner; try a smaller network",
            file=sys.stderr,
        )
    if arguments.json:
        print_json(document)
        return 0
    parity, latency, gap = export.parity, export.latency, export.parity.training_precision
    worst = max(parity.largest, key=lambda name: parity.largest[name])
    inputs = ", ".join(f"{entry['name']} {entry['shape'][1:]}" for entry in export.document["observation"]["inputs"])
    edge = f"; in {parity.undecided} more rounding made another of two equal choices" if parity.undecided else ""
    print(f"{export.checkpoint}: exported to {export.file} ({export.format}, {export.bytes / 1e6:.2f} MB)")
    print(f"  inputs   {inputs}, any batch; outputs {', '.join(export.document['outputs'])}")
    print(
        f"  parity   {parity.observations - parity.undecided:,} observations of {export.observations}: "
        f"within {parity.largest[worst]:.1e} of torch ({worst}; allowed {document['parity']['tolerance']:g}){edge}"
    )
    if gap["format"] != "float32":
        print(
            f"  numbers  float32; trained in {gap['format']}, whose actions differ by {gap['mean']:.1e} on average, "
            f"{gap['largest']:.1e} at most"
        )
    print(
        f"  latency  p50 {latency.p50_ms:.3f} ms, p99 {latency.p99_ms:.3f} ms at batch 1 on one thread "
        f"(p99 of processor time {latency.processor_p99_ms:.3f} ms)"
    )
    return 0


def _export_planner(arguments: argparse.Namespace) -> int:
    from drivetrain.interfaces.devkit_export import write_devkit_planner

    if (arguments.checkpoint is None) == (arguments.planner is None):
        raise UsageError("export: give either a checkpoint or --planner NAME")
    if arguments.data is not None or arguments.json:
        raise UsageError("export: --data and --json do not go with --format devkit; leave them out")
    if arguments.output is None:
        raise UsageError("export: --format devkit writes a folder; name it with --output DIR")
    output: Path = arguments.output.absolute()
    if output.exists() and not output.is_dir():
        raise UsageError(f"export: --output: {output} is a file; give a folder")
    if output.is_dir() and any(output.iterdir()) and not arguments.overwrite:
        raise UsageError(f"export: --output: {output} holds files; give another folder, or --overwrite")
    write_devkit_planner(output, checkpoint=arguments.checkpoint, planner=arguments.planner)
    what = arguments.planner or arguments.checkpoint
    print(f"{what}: exported to {output} as a nuplan-devkit planner; {output / 'README.md'} has the command")
    return 0
