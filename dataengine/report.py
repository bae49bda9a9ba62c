"""The end of a recipe: funnel, conservation, scores before and after, samples; on the screen and as one HTML file."""

import html
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataengine import pictures
from dataengine.scores import Attempt, Scores, read_attempts, score
from dataengine.status import conservation
from dataengine.tables import table
from schemas.keys import key
from schemas.recipe import Recipe, ReportStep
from warehouse.connect import connect
from warehouse.fetching import as_dicts
from warehouse.snapshot import list_snapshots
from warehouse.store import Warehouse
from warehouse.views import names_in

_SAMPLES = 3
_LARGEST = 20


@dataclass(frozen=True)
class Evaluation:
    """One evaluation to compare: the recipe's step, the policy, and the trajectories it looked at."""

    step: str
    policy: str
    trajectory_ids: Sequence[str]


@dataclass(frozen=True)
class _Compared:
    evaluation: Evaluation
    attempts: list[Attempt]

    def scores(self, sources: Sequence[str] | None = None) -> Scores:
        return score([a for a in self.attempts if sources is None or a.source in sources])


def write_report(
    warehouse: Warehouse,
    recipe: Recipe,
    step: ReportStep,
    evaluations: Sequence[Evaluation],
    target: Path,
    say: Callable[[str], None],
) -> bool:
    """Prints the report and writes it to `target`; False when the one that is there says the same already."""
    stamp = f"<!-- {_stamp(warehouse, recipe, evaluations)} -->"
    if target.is_file():
        with target.open(encoding="utf-8") as f:
            if f.readline().strip() == stamp:
                return False
    compared = [_Compared(e, read_attempts(warehouse.path, e.policy, e.trajectory_ids)) for e in evaluations]
    lines = conservation(warehouse.path)
    kept, rejected = _examples(warehouse, True), _examples(warehouse, False)
    say("\napplicable = pass + fail + undecided + error + pending, per stage and check:")
    for line in lines:
        say(line.text)
    overall, rungs = _overall(compared, step.solvable), _rungs(compared, step.solvable)
    if compared:
        say(f"\nheld-out prompts, {_samples(compared)} samples each, 95% intervals over prompts:\n{table(overall)}")
        say(f"\nstrict (lenient) per source; * the recipe counts it among those the model can do:\n{table(rungs)}")
    for title, examples in (("kept", kept), ("not kept", rejected)):
        say(f"\nsome {title}:")
        for e in examples:
            say(f"  [{e['stage']}, {e['source']}] {e['question']!r} -> {e['text']!r}{_why(e)}")
    page = _page(warehouse, recipe, stamp, lines, compared, overall, rungs, kept, rejected)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(".tmp")
    fresh.write_text(page, encoding="utf-8", errors="replace")
    fresh.replace(target)
    return True


def _stamp(warehouse: Warehouse, recipe: Recipe, evaluations: Sequence[Evaluation]) -> str:
    # Rows, not table versions: compaction changes a version and nothing that a reader sees.
    with connect(warehouse.path) as connection:
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM prompts), (SELECT count(*) FROM trajectories), "
            "(SELECT count(*) FROM verdicts), (SELECT count(*) FROM metrics)"
        ).fetchone()
    seen = [[e.step, e.policy, *e.trajectory_ids] for e in evaluations]
    return key(recipe.model_dump(mode="json"), list(counts or ()), seen)


def _samples(compared: Sequence[_Compared]) -> int:
    scores = compared[0].scores()
    return scores.samples // max(1, scores.prompts)


def _overall(compared: Sequence[_Compared], solvable: Sequence[str]) -> list[dict[str, Any]]:
    groups: list[tuple[str, Sequence[str] | None]] = [("all", None)]
    if solvable:
        groups.insert(0, ("can do", solvable))
    rows = []
    for label, sources in groups:
        for c in compared:
            s = c.scores(sources)
            rows.append(
                {
                    "evaluation": c.evaluation.step,
                    "sources": label,
                    "prompts": s.prompts,
                    "strict pass@1": s.strict.text,
                    "lenient pass@1": s.lenient.text,
                    "in form": s.form.text,
                    f"cons@{_samples(compared)}": s.cons.text if s.cons else None,
                    "not told": s.not_told,
                    "mean tokens": round(s.mean_tokens, 1),
                }
            )
    return rows


def _rungs(compared: Sequence[_Compared], solvable: Sequence[str]) -> list[dict[str, Any]]:
    sources = list(dict.fromkeys(a.source for c in compared for a in c.attempts))
    known = [s for s in solvable if s in sources]
    rows = []
    for source in known + sorted(s for s in sources if s not in known):
        row: dict[str, Any] = {"source": source + (" *" if source in solvable else "")}
        for c in compared:
            s = c.scores([source])
            row[c.evaluation.step] = f"{s.strict.value:.0%} ({s.lenient.value:.0%})"
        rows.append(row)
    return rows


def _examples(warehouse: Warehouse, kept: bool) -> list[dict[str, Any]]:
    """A few trajectories, of different sources, chosen by their ids."""
    return _rows(
        warehouse,
        "SELECT stage, source, messages[-1].content AS question, text, reference, trajectory_id, "
        "array_to_string(not_passed, ', ') AS not_passed FROM trajectory_facts "
        "WHERE stage <> 'eval' AND error IS NULL AND checks > 0 AND kept = ? "
        "QUALIFY row_number() OVER (PARTITION BY stage, source ORDER BY trajectory_id) = 1 "
        "ORDER BY sha256(trajectory_id) LIMIT ?",
        kept,
        _SAMPLES,
    )


def _why(example: dict[str, Any]) -> str:
    return (
        f"   ({example['not_passed']} did not pass; reference {example['reference']!r})"
        if example["not_passed"]
        else ""
    )


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
th { border-bottom: 2px solid #888 } td.n { text-align: right }
pre { background: #f6f6f4; padding: .7rem; white-space: pre-wrap; margin: .3rem 0 }
.muted { color: #666 } svg { max-width: 100%; height: auto }
"""


def _page(
    warehouse: Warehouse,
    recipe: Recipe,
    stamp: str,
    lines: Sequence[Any],
    compared: Sequence[_Compared],
    overall: Sequence[dict[str, Any]],
    rungs: Sequence[dict[str, Any]],
    kept: Sequence[dict[str, Any]],
    rejected: Sequence[dict[str, Any]],
) -> str:
    funnel = [{"stage": x.stage, "check": x.check, "applicable": x.applicable, **x.counts} for x in lines]
    snapshots = [
        {
            "snapshot": s.manifest.id,
            "rows": s.manifest.rows,
            "prompts": s.manifest.prompts,
            "hash": s.manifest.logical_hash,
        }
        for s in list_snapshots(warehouse.path)
    ]
    parts = [
        stamp,
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        f"<title>{_escape(recipe.recipe)}</title><style>{_STYLE}</style>",
        f"<h1>{_escape(recipe.recipe)}</h1><p>{_escape(recipe.description)}</p>",
    ]
    if compared:
        bars = {c.evaluation.step: {a: c.scores([a]) for a in _order(rungs)} for c in compared}
        parts += [
            "<h2>Held-out scores</h2>",
            "<p>Bars are strict: right and in the required form. Diamonds are lenient: right in any form. "
            "Lines and brackets: 95 % bootstrap intervals over prompts.</p>",
            pictures.score_bars(bars),
            _html_table(overall),
            "<p class='muted'>Strict (lenient) by source; * counted among those the model can do.</p>",
            _html_table(rungs),
        ]
    parts += [
        "<h2>Funnel</h2><p>applicable = pass + fail + undecided + error + pending</p>",
        pictures.funnel_bars(lines),
        _html_table(funnel),
        *_balance(warehouse),
        "<h2>Snapshots</h2>",
        _html_table(snapshots),
    ]
    if curves := _curves(warehouse):
        parts += ["<h2>Training</h2>", pictures.loss_curves(curves)]
    for title, examples in (("Kept", kept), ("Not kept", rejected)):
        parts.append(f"<h2>{title}</h2>")
        for e in examples:
            about = f"{e['stage']}, {e['source']}, reference {e['reference']!r}{_why(e)}, {e['trajectory_id'][:12]}"
            parts.append(f"<p class='muted'>{_escape(about)}</p><pre>{_escape(e['question'])}</pre>")
            parts.append(f"<pre>{_escape(e['text'])}</pre>")
    return "\n".join(parts) + "\n</html>\n"


def _balance(warehouse: Warehouse) -> list[str]:
    """How balanced and varied the replies are, before and after the checks; nothing where there are none."""
    shown = "WHERE stage <> 'eval'"
    every = _rows(warehouse, f"SELECT * FROM balance {shown}")
    if not every:
        return []
    # The largest of each dimension: sources may be hundreds.
    balance = [
        row
        for _, group in itertools.groupby(every, lambda r: (r["stage"], r["dimension"]))
        for row in itertools.islice(group, _LARGEST)
    ]
    return [
        "<h2>Balance</h2><p>By source, domain, language and difficulty (share of a prompt's replies that are right): "
        f"what a group is of its stage's replies, and of those kept. The {_LARGEST} largest of each.</p>",
        pictures.balance_shift(balance),
        _html_table(balance),
        "<p class='muted'>Effective numbers: so many equally frequent ones would be as varied.</p>",
        _html_table(_rows(warehouse, f"SELECT * FROM diversity {shown}")),
    ]


def _rows(warehouse: Warehouse, sql: str, *parameters: Any) -> list[dict[str, Any]]:
    with connect(warehouse.path, only=names_in(sql)) as connection:
        return as_dicts(connection.execute(sql, parameters))


def _order(rungs: Sequence[dict[str, Any]]) -> list[str]:
    return [row["source"].removesuffix(" *") for row in rungs]


def _curves(warehouse: Warehouse) -> dict[str, list[tuple[int, float]]]:
    """The loss of each training by step; a training is called as its checkpoint's folder, <name>-<start of its key>."""
    folders = {p.name[-12:]: p.name for p in (warehouse.path / "checkpoints").glob("*-*")}
    curves: dict[str, list[tuple[int, float]]] = {}
    with connect(warehouse.path, only=("metrics",)) as connection:
        for run, step, value in connection.execute(
            "SELECT left(run_id, 12), step, value FROM metrics WHERE name = 'train/loss' ORDER BY 1, 2"
        ).fetchall():
            curves.setdefault(folders.get(run, run), []).append((step, value))
    return curves


def _html_table(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "<p>none</p>"
    head = "".join(f"<th>{_escape(n)}</th>" for n in rows[0])
    body = []
    for row in rows:
        cells = (
            f"<td class='n'>{v:,}</td>" if isinstance(v, int | float) else f"<td>{'' if v is None else _escape(v)}</td>"
            for v in row.values()
        )
        body.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _escape(value: Any) -> str:
    # Model text is hostile: nothing of it may become markup.
    return html.escape(str(value))
