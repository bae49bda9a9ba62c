"""Where prompts come from: generated tasks, files, and recipes themselves."""
