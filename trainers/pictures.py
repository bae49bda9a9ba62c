"""The curves of a training as one picture of small multiples, from what `curves` works out of the warehouse's rows."""

import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import ConfigError, QueryError
from warehouse.connect import connect
from warehouse.fetching import as_dicts
from warehouse.writing import IO_ERRORS, fsync, io_error

#: What a picture may be, by the end of its file's name.
FORMS = (".png", ".svg")

_COLOURS = ("#2f6f9f", "#e0a030", "#3a7d44", "#c0504d", "#6b4c9a", "#9aa5b1", "#444444")


@dataclass(frozen=True)
class _Panel:
    """Curves that are drawn together: patterns of their names in the view `curves`, with what a line is called."""

    title: str
    unit: str
    lines: Mapping[str, str]
    share: bool = False


_PANELS = (
    _Panel(
        "Held-out pass@1 and cons@k",
        "share of prompts",
        {r"eval/(pass@1)": "{source} {what}", r"eval/(cons@\d+)": "{source} {what}"},
        share=True,
    ),
    _Panel("Response length", "tokens per reply", {"rollout/length": "rollouts", "eval/length": "{source}"}),
    _Panel("Reflective words", "per reply", {"rollout/reflections": "rollouts", "eval/reflections": "{source}"}),
    _Panel(
        "Language consistency",
        "share of words in the prompt's language",
        {"rollout/rewards/language": "rollouts, reasoning", "eval/language_consistency": "{source}, whole reply"},
        share=True,
    ),
    _Panel("Reward and its parts", "mean over replies", {"rollout/reward": "sum", r"rollout/rewards/(\w+)": "{what}"}),
    _Panel(
        "Groups without spread, replies cut",
        "share",
        {"rollout/groups_without_spread": "groups without spread", "rollout/clipped": "replies cut at the limit"},
        share=True,
    ),
)


@dataclass(frozen=True)
class _Curve:
    """One line: values by step, and the fewest and most that they are means of."""

    label: str
    steps: list[int]
    values: list[float]
    least: int
    most: int

    @property
    def text(self) -> str:
        count = f"{self.least:,}" if self.least == self.most else f"{self.least:,} to {self.most:,}"
        # A dollar sign would start a formula.
        return f"{self.label}, n = {count}".replace("$", r"\$")


def draw_curves(warehouse: Path, training: str, out: Path) -> str:
    """Draws the curves of a training into a PNG or SVG file; returns the training's key.

    `training` is the key or its beginning, or the checkpoint's folder, whose name ends in it; of an evaluation that
    belongs to no training the policy. Panels without rows are left out; `n` counts replies, groups or prompts of each
    point. Raises ConfigError for another kind of file, QueryError where the warehouse has no such training or no rows
    of it.
    """
    if out.suffix.lower() not in FORMS:
        raise ConfigError(f"{out}: a picture's name ends in {' or '.join(FORMS)}")
    run_id, points = _points(warehouse, training)
    panels = [(panel, curves) for panel in _PANELS if (curves := _curves(points, panel.lines))]
    if not panels:
        raise QueryError(f"{training}: the warehouse has no rollouts and no evaluations of this training")
    _write(out, _draw(run_id, panels, out.suffix.lower()[1:]))
    return run_id


def _points(warehouse: Path, training: str) -> tuple[str, list[dict[str, Any]]]:
    name = Path(training).name
    folder = re.search(r"-([0-9a-f]{12})(?:\.partial)?$", name)
    start = folder[1] if folder else training
    with connect(warehouse, only=("curves",)) as connection:
        found = as_dicts(
            connection.execute(
                "SELECT run_id, name, step, value, n, source, setting FROM curves "
                "WHERE origin = 'rows' AND starts_with(run_id, ?) ORDER BY ALL",
                [start],
            )
        )
    runs = sorted({point["run_id"] for point in found})
    if not runs:
        raise QueryError(f"{training}: no training or policy with curves begins so; `dataengine sql --name curves`")
    if len(runs) > 1 and start not in runs:
        raise QueryError(f"{training}: {len(runs)} trainings begin so, {runs[0][:16]} and others; give more of the key")
    chosen = start if start in runs else runs[0]
    return chosen, [point for point in found if point["run_id"] == chosen]


def _curves(points: Sequence[dict[str, Any]], lines: Mapping[str, str]) -> list[_Curve]:
    """The lines of a panel, in the order of their names and sources."""
    settings = {(point["source"], point["setting"]) for point in points}
    found: dict[str, list[dict[str, Any]]] = {}
    for pattern, label in lines.items():
        for point in points:
            if match := re.fullmatch(pattern, point["name"]):
                text = label.format(source=point["source"], what="".join(match.groups()))
                if sum(source == point["source"] for source, _ in settings) > 1:
                    text += f" ({point['setting']})"
                found.setdefault(text, []).append(point)
    curves = []
    for text, line in found.items():
        counts = [point["n"] for point in line]
        steps, values = [point["step"] for point in line], [point["value"] for point in line]
        curves.append(_Curve(text, steps, values, min(counts), max(counts)))
    return curves


def _draw(run_id: str, panels: Sequence[tuple[_Panel, Sequence[_Curve]]], form: str) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.5 * columns, 3.1 * rows), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (panel, curves) in zip(places, panels, strict=False):
        for i, curve in enumerate(curves):
            style = "-" if i < len(_COLOURS) else "--"
            axes.plot(curve.steps, curve.values, style, marker="o", ms=3, lw=1.3, color=_COLOURS[i % len(_COLOURS)],
                      label=curve.text)  # fmt: skip
        axes.set_title(panel.title, fontsize=10, loc="left")
        axes.set_xlabel("optimizer step", fontsize=8)
        axes.set_ylabel(panel.unit, fontsize=8)
        axes.set_ylim((-0.02, 1.02) if panel.share else (min(0.0, axes.get_ylim()[0]), None))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=7)
    for axes in places[len(panels) :]:
        axes.set_visible(False)
    figure.suptitle(f"Training {run_id[:12]}" if re.fullmatch("[0-9a-f]{64}", run_id) else run_id, fontsize=11)
    drawn = io.BytesIO()
    # A fixed salt and no date: the same rows give the same picture.
    with matplotlib.rc_context({"svg.hashsalt": "trainers"}):
        figure.savefig(drawn, format=form, dpi=150, metadata={"Date": None} if form == "svg" else None)
    return drawn.getvalue()


def _write(out: Path, content: bytes) -> None:
    fresh = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        fresh.write_bytes(content)
        fsync(fresh)
        fresh.replace(out)
    except IO_ERRORS as e:
        raise io_error(e, out, ConfigError) from e
    finally:
        fresh.unlink(missing_ok=True)
