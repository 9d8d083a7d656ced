"""Runs of the real `mlagents-learn`, kept like every other run: its plugin, its processes, its start."""
