"""The warehouse in the browser."""
