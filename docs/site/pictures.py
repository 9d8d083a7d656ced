"""Makes the pictures of README and docs/ anew: `make pictures`, or `python docs/site/pictures.py [--only scene watch]`.

All of it in a project root of its own (build/pictures/), about ten minutes: `scene` is what `make demo` leaves, `watch`
the live screen over three CartPole runs, `player` the HTML player (it needs a Chromium on the path). The pictures of
docs/experiments.md come from the commands that stand beside them there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
WORK = ROOT / "build" / "pictures"
CARTPOLE = ROOT / "python" / "configs" / "gymnasium" / "ppo_cartpole.yaml"
DRIVING = ROOT / "python" / "configs" / "planning" / "ppo_minute.yaml"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PLAYER_SIZE = (1180, 640)
WATCH_SIZE = (110, 24)
"""Columns, lines."""


def run(*words: str) -> None:
    """Run a command of drivetrain in the pictures' own project."""
    print(f"$ drivetrain {' '.join(words)}".replace(f"{ROOT}/", ""), file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "drivetrain", *words], cwd=WORK, check=True, stdout=subprocess.DEVNULL)


def scene() -> None:
    """The log and the policy at the start, half-way and at the end of the demo's training."""
    subprocess.run(
        [sys.executable, "-m", "drivetrain.interfaces.demo"], cwd=WORK, check=True, stdout=subprocess.DEVNULL
    )
    shutil.copy(WORK / "experiments" / "demo" / "scene.png", IMAGES / "scene.png")


def watch() -> None:
    """The live screen: a run that goes on, one that is done and one that was stopped."""
    from drivetrain.interfaces.watch_app import WatchApp
    from drivetrain.interfaces.watch_view import Watcher

    for name, seed in (("cartpole_seed_0", "0"), ("cartpole_seed_1", "1")):
        run("train", str(CARTPOLE), "--run-id", name, "--seed", seed, "--total-steps", "60000", "--no-mlflow")
    run("start", str(CARTPOLE), "--run-id", "cartpole_long", "--total-steps", "3000000", "--no-mlflow")

    async def screen() -> str:
        await asyncio.sleep(30.0)
        app = WatchApp(Watcher(WORK), root=WORK, interval_s=3600.0, selected=None)
        async with app.run_test(size=WATCH_SIZE) as pilot:
            await app.workers.wait_for_complete()
            await pilot.pause()
            # No fonts from other hosts: a viewer has a monospaced one of its own.
            return re.sub(
                r"@font-face \{.*?\}\s*", "", app.export_screenshot(title="drivetrain watch"), flags=re.DOTALL
            )

    (IMAGES / "watch.svg").write_text(asyncio.run(screen()), encoding="utf-8")
    run("stop", "cartpole_long")


def player() -> None:
    """The player in the middle of a scene: a policy of a minute beside IDM, with what it saw and considered."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise SystemExit(f"the player's picture needs one of {', '.join(BROWSERS)}")
    run("data", "sample", "--train", "400", "--val", "100", "--test", "4")
    run("train", str(DRIVING), "--run-id", "first", "--overwrite", "--no-mlflow")
    page = WORK / "player.html"
    run("render", "experiments/checkpoints/first/best.pt", "--planner", "idm", "--scenario", "3", "--out", str(page))
    size = f"--window-size={PLAYER_SIZE[0]},{PLAYER_SIZE[1]}"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", size]
    command += [f"--screenshot={IMAGES / 'player.png'}", f"{page.as_uri()}#t=4"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


PICTURES = {"scene": scene, "watch": watch, "player": player}


def main() -> int:
    """Make what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PICTURES, default=list(PICTURES), metavar="NAME")
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    os.environ["DRIVETRAIN_ROOT"] = str(WORK)
    for name in arguments.only:
        PICTURES[name]()
        print(f"made the picture '{name}'", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
