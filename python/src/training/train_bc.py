"""Launcher: ``python python/src/training/train_bc.py --help``."""

import sys
from pathlib import Path

# Runs from a plain checkout; and files beside this one can never shadow the standard library.
sys.path[0] = str(Path(__file__).resolve().parents[1])

if __name__ == "__main__":
    from drivetrain.trainer.command import main

    sys.exit(main("bc"))
