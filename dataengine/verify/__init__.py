"""Checks that compare an answer with its reference."""
