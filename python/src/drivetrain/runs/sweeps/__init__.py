"""Sweeps: many trainings of one config with other values, of which the poor ones end early."""
