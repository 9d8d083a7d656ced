"""Layer 2: drivers that are not learnt: reference planners, the trajectory tracker, the expert."""
