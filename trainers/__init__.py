"""Training on snapshots: nothing else comes in, and checkpoints in Hugging Face format go out."""
