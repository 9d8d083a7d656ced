"""Takes the picture of `drivetrain watch` in the documentation: the screen as it is now, as an SVG.

python benchmarks/watch_picture.py --out docs/images/watch.svg
"""

import argparse
import asyncio
import re
from pathlib import Path

from drivetrain.interfaces.watch_app import WatchApp
from drivetrain.interfaces.watch_view import Watcher
from drivetrain.run_record import project_root


async def picture(root: Path, *, size: tuple[int, int]) -> str:
    """Return the screen after the first look."""
    app = WatchApp(Watcher(root), root=root, interval_s=3600.0, selected=None)
    async with app.run_test(size=size) as pilot:
        await app.workers.wait_for_complete()
        await pilot.pause()
        # No fonts from other hosts: a viewer has a monospaced one of its own.
        return re.sub(r"@font-face \{.*?\}\s*", "", app.export_screenshot(title="drivetrain watch"), flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="SVG to write")
    parser.add_argument("--columns", metavar="N", type=int, default=110, help="width [characters]")
    parser.add_argument("--lines", metavar="N", type=int, default=24, help="height [lines]")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(asyncio.run(picture(project_root(), size=(arguments.columns, arguments.lines))))


if __name__ == "__main__":
    main()
