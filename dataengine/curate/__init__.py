"""Rules by which prompts and replies are told apart for a data set."""
