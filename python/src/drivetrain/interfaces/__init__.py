"""Layer 8: what people and programs talk to: the command line and reports. No torch at import."""
