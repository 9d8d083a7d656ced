"""ML-Agents without Unity's packages: its messages, its side channels, its demonstration files and our server."""
