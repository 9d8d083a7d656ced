"""Driving metrics: nuPlan's closed-loop metrics and score, with physically right figures beside them."""
