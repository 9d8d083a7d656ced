"""Failures of a driver, sorted by what happened."""
