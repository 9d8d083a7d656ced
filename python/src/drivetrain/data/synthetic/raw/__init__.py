"""Synthetic worlds in nuPlan's raw formats: city maps as GeoPackage, drives as SQLite logs.

``raw_sample.write_raw_sample`` makes a whole data set that ``drivetrain data convert`` reads like a recorded one.
"""
