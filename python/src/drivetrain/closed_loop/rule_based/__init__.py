"""A planner by rules: it drives several proposals in its mind, judges them as nuPlan does, and takes the best.

The idea is that of PDM-Closed: Dauner, Hallgarten, Geiger, Chitta, "Parting with Misconceptions about Learning-based
Vehicle Motion Planning", CoRL 2023, arXiv 2306.07962.
"""
