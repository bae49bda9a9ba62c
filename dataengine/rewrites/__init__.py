"""Rewrites: how replies are put to a model to be rewritten, and what is made of what it writes."""
