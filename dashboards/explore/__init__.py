"""Pages that show what is in a warehouse."""
