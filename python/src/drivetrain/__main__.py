"""`python -m drivetrain` is the command `drivetrain`."""

import sys

from drivetrain.interfaces.cli import main

sys.exit(main())
