"""The warehouse in the browser."""

from pathlib import Path

# The tab's picture. Pages have none of their own: for those the browser would ask another server.
ICON = str(Path(__file__).parent / "assets" / "icon.svg")
