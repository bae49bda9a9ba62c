"""The rewrites that a step shows its rewriter: given in the recipe, or people's edits in a file."""

from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from dataengine.rewrites.rewriting import Rewriting, load_rewriting
from dataengine.sources.rows import Row, read_rows
from schemas.errors import ConfigError, first_problem
from schemas.recipe import RewriteExample, RewriteExamples, RewriteStep


def rewriting_of(step: RewriteStep) -> Rewriting:
    """The prompt file of a step with its examples. Raises ConfigError or InputError."""
    given = step.demonstrations
    return load_rewriting(step.rewrite, _from_file(given) if isinstance(given, RewriteExamples) else given)


def _from_file(file: RewriteExamples) -> list[RewriteExample]:
    path = Path(file.path).expanduser()
    rows = list(islice(read_rows(path), file.count))
    if len(rows) < file.count:
        raise ConfigError(f"{path}: {len(rows)} rows, the step shows {file.count}; write more")
    return [_example(row) for row in rows]


def _example(row: Row) -> RewriteExample:
    if row.problem:
        raise ConfigError(f"{row.place}: {row.problem}")
    names = RewriteExample.model_fields
    try:
        # Other columns are left alone: a file of edits may say who made them, and when.
        return RewriteExample.model_validate({k: v for k, v in row.value.items() if k in names and v is not None})
    except ValidationError as e:
        raise ConfigError(f"{row.place}: {first_problem(e)}") from None
