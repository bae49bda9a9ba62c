"""Questions and reference solutions of benchmarks, from the files they are published in."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dataengine.filters.ngrams import Part
from dataengine.sources.rows import read_rows
from schemas.errors import ConfigError, InputError

Texts = tuple[str | None, str | None]
"""(question, reference solution)"""

_EXAMPLE = "benchmarks: [gsm8k/test.jsonl, {path: mine.jsonl, name: mine, map: {question: q, solution: s}}]"
_ENDINGS = (".jsonl", ".ndjson", ".json", ".tsv", ".parquet")
_SETTINGS = ("path", "name", "layout", "map")
_IDS = ("task_id", "unique_id", "id", "key")


def _columns(question: str, solution: str | None = None) -> Callable[[dict[str, Any]], Texts]:
    return lambda row: (row[question], row[solution] if solution else None)


def _arc(row: dict[str, Any]) -> Texts:
    """ARC in instruction form: the question stands between an instruction and the options."""
    question = row["instruction"].partition("\n\n")[0]
    return question.removeprefix("Please choose the correct answer to the question:"), None


# By the columns that tell one. An answer in a word is no solution: it would be found everywhere.
LAYOUTS: dict[str, tuple[set[str], Callable[[dict[str, Any]], Texts]]] = {
    "gsm8k": ({"question", "answer"}, _columns("question", "answer")),
    "mgsm": ({"question", "number"}, _columns("question")),
    "math": ({"problem"}, lambda row: (row["problem"], row.get("solution"))),
    "humaneval": ({"prompt", "canonical_solution"}, _columns("prompt", "canonical_solution")),
    "mbpp": ({"code", "task_id"}, lambda row: (row.get("text") or row["prompt"], row["code"])),
    "arc": ({"instruction", "output", "answer"}, _arc),
    "bbh": ({"input", "target"}, _columns("input")),
    "ifeval": ({"prompt"}, _columns("prompt")),
}


def read_benchmarks(benchmarks: Any) -> list[Part]:
    """The questions and solutions of benchmarks: each a path, or a mapping of `path`, `name`, `layout` and `map`.

    A folder means all files in it. The name is that of the file or folder; benchmarks of one name are one. Without
    `layout` or `map` the columns of the first row tell the layout. Every row counts: raises ConfigError for one that
    cannot be read, as for a file that is missing or a setting that is wrong.
    """
    if not isinstance(benchmarks, Sequence) or isinstance(benchmarks, str) or not benchmarks:
        raise ConfigError(f"check contamination: benchmarks names no file; write {_EXAMPLE}")
    return [part for entry in benchmarks for part in _entry(entry)]


def _entry(entry: Any) -> list[Part]:
    spec = {"path": entry} if isinstance(entry, str | Path) else entry
    if not isinstance(spec, Mapping) or not spec.get("path"):
        raise ConfigError(f"check contamination: {entry!r} is no benchmark; write {_EXAMPLE}")
    for setting in spec:
        if setting not in _SETTINGS:
            raise ConfigError(
                f"check contamination: benchmarks have no setting {setting!r}; there are: {', '.join(_SETTINGS)}"
            )
    path = Path(spec["path"]).expanduser()
    texts_of = _reader(spec)
    files = sorted(f for f in path.rglob("*") if f.suffix in (*_ENDINGS, ".gz")) if path.is_dir() else [path]
    if not files:
        raise ConfigError(f"check contamination: {path}: no file in it that ends in {', '.join(_ENDINGS)}")
    name = str(spec.get("name") or path.name.split(".")[0])
    return [part for file in files for part in _file(file, name, texts_of)]


def _reader(spec: Mapping[str, Any]) -> Callable[[dict[str, Any]], Texts] | None:
    """How a row's texts are read; None where the columns have to tell."""
    layout, columns = spec.get("layout"), spec.get("map")
    if layout and layout not in LAYOUTS:
        raise ConfigError(f"check contamination: there is no layout {layout!r}; there are: {', '.join(LAYOUTS)}")
    if not columns:
        return LAYOUTS[layout][1] if layout else None
    if not isinstance(columns, Mapping) or not {"question"} <= set(columns) <= {"question", "solution"}:
        raise ConfigError(
            f"check contamination: map is {columns!r}; write map: {{question: COLUMN}} or "
            "map: {question: COLUMN, solution: COLUMN}"
        )
    return _columns(columns["question"], columns.get("solution"))


def _file(file: Path, name: str, texts_of: Callable[[dict[str, Any]], Texts] | None) -> list[Part]:
    parts: list[Part] = []
    try:
        for row in read_rows(file, ["question", "number"]):
            if row.problem:
                raise ConfigError(f"check contamination: {row.place}: {row.problem}")
            texts_of = texts_of or _told(row.place, row.value)
            texts = _texts(texts_of, row.place, row.value)
            item = next((str(row.value[c]) for c in _IDS if row.value.get(c) is not None), row.place)
            parts += [Part(name, item, k, t) for k, t in zip(("question", "solution"), texts, strict=True) if t]
    except InputError as e:
        raise ConfigError(f"check contamination: {e}") from None
    return parts


def _told(place: str, row: Mapping[str, Any]) -> Callable[[dict[str, Any]], Texts]:
    for columns, texts_of in LAYOUTS.values():
        if columns <= set(row):
            return texts_of
    raise ConfigError(
        f"check contamination: {place}: no known benchmark has the columns {', '.join(row)}; write map: "
        "{question: COLUMN, solution: COLUMN}"
    )


def _texts(texts_of: Callable[[dict[str, Any]], Texts], place: str, row: dict[str, Any]) -> Texts:
    try:
        question, solution = texts_of(row)
    except KeyError as e:
        raise ConfigError(
            f"check contamination: {place}: there is no column {e}; the row has: {', '.join(row)}"
        ) from None
    except (AttributeError, TypeError) as e:
        raise ConfigError(f"check contamination: {place}: {e}") from None
    for text in (question, solution):
        if text is not None and not isinstance(text, str):
            raise ConfigError(f"check contamination: {place}: {text!r} is no text")
    return question, solution
