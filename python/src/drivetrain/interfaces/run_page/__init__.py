"""A run as one HTML page: `drivetrain report RUN --html`."""
