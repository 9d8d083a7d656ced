"""The commands of `drivetrain`, one module each, named as people type them."""
