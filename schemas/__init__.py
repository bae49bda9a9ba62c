"""What a row, a recipe, a mix and a manifest are: one definition each, from which the rest is derived.

Nothing is imported here: the command line reads `schemas.errors` at every start, and must not pay for the models.
"""
