"""Layer 7: pictures of driving."""
