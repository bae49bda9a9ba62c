"""Plain tables for the screen."""

from collections.abc import Sequence
from typing import Any

from dataengine.screen import printable


def table(rows: Sequence[dict[str, Any]], *, most: int = 60) -> str:
    """Rows as aligned columns, numbers to the right; cells longer than `most` characters are cut."""
    if not rows:
        return "(no rows)"
    names = list(rows[0])
    cells = [[_cell(row[n], most) for n in names] for row in rows]
    widths = [max(len(n), *(len(r[i]) for r in cells)) for i, n in enumerate(names)]
    right = [all(isinstance(r[n], int | float | None) for r in rows) for n in names]
    lines = ["  ".join(n.rjust(w) if r else n.ljust(w) for n, w, r in zip(names, widths, right, strict=True)).rstrip()]
    lines.append("  ".join("-" * w for w in widths))
    for row in cells:
        aligned = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def _cell(value: Any, most: int) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:,.0f}"
    text = printable(" ".join(str(value).split()))
    return text if len(text) <= most else text[: most - 1] + "…"
