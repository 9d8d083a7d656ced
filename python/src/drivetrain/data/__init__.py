"""Layer 3: where scenarios come from and how they are stored."""
