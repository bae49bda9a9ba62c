"""The review app: people look at one task after the other."""
