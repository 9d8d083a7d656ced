"""Layer 4: torch modules."""
