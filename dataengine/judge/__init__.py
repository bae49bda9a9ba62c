"""Judges: models that are asked for verdicts on what other models wrote."""
