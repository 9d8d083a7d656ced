"""Trainings as jobs of a cluster: Ray's Jobs API and Slurm. The run folder, on shared storage, stays the truth."""
