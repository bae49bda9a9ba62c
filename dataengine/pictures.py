"""The report's plots as inline SVG, so that the page needs nothing beside itself."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

_OUTCOMES = {"pass": "#3a7d44", "fail": "#c0504d", "undecided": "#d9a441", "error": "#6b4c9a", "pending": "#bbbbbb"}
_SERIES = ("#9aa5b1", "#e0a030", "#2f6f9f", "#3a7d44")


def score_bars(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Bars of strict scores with their intervals, a mark for the lenient ones: evaluation -> source -> Scores."""
    figure, axes = _figure(9, 3.6)
    sources = list(next(iter(scores.values())))
    width = 0.8 / len(scores)
    for i, (name, values) in enumerate(scores.items()):
        places = [x + (i - (len(scores) - 1) / 2) * width for x in range(len(sources))]
        strict = [values[s].strict for s in sources]
        heights = [x.value for x in strict]
        # Rounding may leave a bound a hair on the wrong side of the value.
        errors = [[max(0.0, x.value - x.low) for x in strict], [max(0.0, x.high - x.value) for x in strict]]
        style = {"elinewidth": 0.8, "ecolor": "#555555"}
        axes.bar(places, heights, width, label=name, color=_SERIES[i % len(_SERIES)], yerr=errors, error_kw=style)
        lenient = [values[s].lenient.value for s in sources]
        axes.plot(places, lenient, "D", ms=4, mfc="white", mec=_SERIES[i % len(_SERIES)], label=None)
    axes.set_xticks(range(len(sources)), sources, rotation=20, ha="right")
    axes.set_ylim(0, 1.05)
    axes.set_ylabel("pass@1")
    axes.legend(frameon=False, ncols=len(scores), loc="upper right", bbox_to_anchor=(1, 1.15))
    return _svg(figure)


def funnel_bars(lines: Sequence[Any]) -> str:
    """Stacked bars of outcomes, one per conservation line."""
    figure, axes = _figure(9, 0.6 + 0.28 * max(1, len(lines)))
    labels = [f"{line.stage}: {line.check}" for line in lines]
    left = [0.0] * len(lines)
    for outcome, colour in _OUTCOMES.items():
        shares = [line.counts[outcome] / max(1, line.applicable) for line in lines]
        axes.barh(range(len(lines)), shares, left=left, color=colour, label=outcome)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axes.set_yticks(range(len(lines)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.legend(frameon=False, ncols=len(_OUTCOMES), loc="lower right", bbox_to_anchor=(1, 1.0), fontsize=8)
    return _svg(figure)


def balance_shift(rows: Sequence[Mapping[str, Any]]) -> str:
    """Share of the replies (hollow) and of those kept (full), one line per row of the view `balance`."""
    figure, axes = _figure(9, 0.8 + 0.22 * len(rows))
    places = range(len(rows))
    before, after = [row["share"] for row in rows], [row["kept_share"] for row in rows]
    axes.hlines(places, before, after, color="#bbbbbb", lw=1.5, zorder=1)
    axes.plot(before, places, "o", ms=5, mfc="white", mec=_SERIES[2], label="share of the replies")
    axes.plot(after, places, "o", ms=5, color=_SERIES[2], label="share of those kept")
    # A dollar sign would start a formula.
    labels = [f"{row['stage']}, {row['dimension']}: {row['value']}".replace("$", r"\$") for row in rows]
    axes.set_yticks(places, labels, fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1.0), fontsize=8)
    return _svg(figure)


def loss_curves(curves: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """Training loss over steps, one line per training."""
    figure, axes = _figure(9, 3)
    for i, (name, points) in enumerate(curves.items()):
        axes.plot([s for s, _ in points], [v for _, v in points], label=name, color=_SERIES[(i + 1) % len(_SERIES)])
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss per labelled token (nats)")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return _svg(figure)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> str:
    import matplotlib

    out = io.StringIO()
    # A fixed salt and no date: the same rows give the same page.
    with matplotlib.rc_context({"svg.hashsalt": "dataengine"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
