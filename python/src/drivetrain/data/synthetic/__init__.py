"""Synthetic worlds: a road map with nuPlan's attributes and a 20 Hz log of traffic and a competent ego.

A world is drawn from a seed alone. ``world.generate_world`` makes one, ``sample.write_sample`` a whole data set.
"""
