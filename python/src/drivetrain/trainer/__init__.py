"""Layer 6: the training loop, evaluation, checkpoints, metric log."""
