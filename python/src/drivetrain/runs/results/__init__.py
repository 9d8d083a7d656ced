"""The algorithm table of `drivetrain results`: its cells, how they are filled, what is written of them."""
