"""The golden sets of the package, unpacked once for all tests of a session."""

import atexit
import shutil
import tempfile
from pathlib import Path

from drivetrain.data.golden import unpack

_FOLDER = Path(tempfile.mkdtemp(prefix="drivetrain_golden_"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)

GOLDEN = unpack("set1", _FOLDER)
"""One straight road, one log, one scored scenario."""

GOLDEN2 = unpack("set2", _FOLDER)
"""A small town, three logs, six scored scenarios."""
