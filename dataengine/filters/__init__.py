"""Checks that read a trajectory's text alone."""
