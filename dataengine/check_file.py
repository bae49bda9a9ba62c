"""Checks over a file, without a warehouse: every input line comes back with its verdicts, in order."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from dataengine.checks import Check, Opinion, Sample, SetCheck, load_check
from dataengine.progress import Progress
from dataengine.prompting import take_apart
from dataengine.rewriting import Unreadable, rewritten, taken
from dataengine.sources.files import prompt_of, reader_of
from dataengine.sources.rows import Row, read_rows
from schemas.errors import ConfigError
from schemas.keys import canonical_json
from schemas.recipe import FileSource

_BATCH = 512


@dataclass
class FileChecked:
    """Counts per check, and the rows that could not be read."""

    counts: dict[str, dict[str, int]]
    rows: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """The conservation line of each check."""
        told = []
        for check, counts in self.counts.items():
            parts = " + ".join(f"{n:,} {name}" for name, n in counts.items())
            told.append(f"{check:<14} {self.rows:>8,} rows = {parts} + {len(self.notes):,} unreadable")
        return told

    @property
    def balanced(self) -> bool:
        """Whether every check's counts and the unreadable rows sum to all rows."""
        return all(sum(c.values()) + len(self.notes) == self.rows for c in self.counts.values())

    @property
    def errors(self) -> int:
        """Verdicts with outcome `error`."""
        return sum(c["error"] for c in self.counts.values())


def check_file(
    file: Path,
    names: list[str],
    out: Path,
    *,
    settings: Sequence[str] = (),
    mapping: Mapping[str, str] | None = None,
    layout: str | None = None,
) -> FileChecked:
    """Runs the named checks over the rows of a file and writes each row with `verdicts` to the JSONL file `out`.

    A verifier is asked about every row, as if the row named it; a filter too. A line that cannot be read becomes a row
    with `problem` and no verdicts. `settings` of the checks are written `check.setting=value`, the value as in YAML.
    `out` appears whole or not at all. A check that compares the rows with each other has the file read once more,
    before. Raises ConfigError for an unknown check, setting or field, InputError for a file that cannot be read.
    """
    spec = FileSource(source="file", path=str(file), map=dict(mapping or {}), layout=layout)
    fields_of = reader_of(spec)
    params = _params([n.strip() for n in names if n.strip()], settings)
    checks = [load_check(name, given) for name, given in params.items()]
    if not checks:
        raise ConfigError("--with: name at least one check, such as --with math,language_mix")
    outcomes = ("pass", "fail", "undecided", "error")
    result = FileChecked({c.name: dict.fromkeys(outcomes, 0) for c in checks})
    columns = ["question", "answer"] if layout == "mgsm" else None
    try:
        with rewritten(file, out) as write, Progress("check", None) as progress:
            compared = _compared(_batches(read_rows(file, columns)), checks, fields_of)
            for batch in _batches(read_rows(file, columns)):
                for value in _checked(batch, checks, compared, fields_of, result):
                    write(value)
                progress.advance(len(batch))
    finally:
        for check in checks:
            check.close()
    return result


def _params(names: list[str], settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The settings of each check."""
    params: dict[str, dict[str, Any]] = {name: {} for name in names}
    for setting in settings:
        name, equals, text = setting.partition("=")
        check, _, key = name.partition(".")
        if not equals or not key:
            raise ConfigError(f"{setting}: settings are written check.setting=value, such as length.max_chars=4000")
        if check not in params:
            raise ConfigError(f"{setting}: --with does not name {check!r}")
        try:
            params[check][key] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):
            raise ConfigError(f"{setting}: {text!r} is no YAML value") from None
    return params


_FieldsOf = Callable[[dict[str, Any]], dict[str, Any]]


def _compared(batches: Iterator[list[Row]], checks: list[Check], fields_of: _FieldsOf) -> dict[str, Iterator[Opinion]]:
    """By check that compares the rows with each other its opinions on those that can be read, in order."""
    comparisons = {check.name: check.comparison() for check in checks if isinstance(check, SetCheck)}
    if not comparisons:
        return {}
    for batch in batches:
        samples = [taken(row, partial(_sample, fields_of)) for row in batch]
        for comparison in comparisons.values():
            comparison.add([s for s in samples if isinstance(s, Sample)])
    return {name: _in_order(dict(comparison.opinions())) for name, comparison in comparisons.items()}


def _in_order(opinions: dict[int, Opinion]) -> Iterator[Opinion]:
    return (opinions.pop(number) for number in range(len(opinions)))


def _checked(
    batch: list[Row],
    checks: list[Check],
    compared: Mapping[str, Iterator[Opinion]],
    fields_of: _FieldsOf,
    result: FileChecked,
) -> Iterator[dict[str, Any]]:
    samples = [taken(row, partial(_sample, fields_of)) for row in batch]
    present = [s for s in samples if isinstance(s, Sample)]
    opinions = {check.name: compared.get(check.name) or iter(check(present)) for check in checks}
    for row, sample in zip(batch, samples, strict=True):
        result.rows += 1
        if isinstance(sample, Unreadable):
            result.notes.append(f"{row.place}: {sample.problem}")
            yield {**row.value, "verdicts": {}, "problem": sample.problem}
            continue
        verdicts = {}
        for check in checks:
            opinion = next(opinions[check.name])
            result.counts[check.name][opinion.outcome] += 1
            verdicts[check.name] = {
                "outcome": opinion.outcome,
                "score": opinion.score,
                "reason": opinion.reason,
                "details": json.loads(canonical_json(dict(opinion.details))),
            }
        yield {**row.value, "verdicts": verdicts}


def _sample(fields_of: _FieldsOf, row: Row) -> Sample:
    fields, place = fields_of(row.value), row.place
    text = fields.get("response")
    if not isinstance(text, str):
        raise ValueError("there is no text in the field `response`; name its column with --map response=COLUMN")
    # A prompt is not needed by most checks; where there is none its place stands in.
    prompt = prompt_of({"prompt": place, **{k: v for k, v in fields.items() if v is not None}}, "file", place)
    parts = take_apart(text)
    return Sample(
        text=text,
        reasoning=parts.reasoning,
        answer=parts.answer,
        prompt=prompt.messages[-1].content,
        domain=prompt.domain,
        language=prompt.language,
        reference=prompt.reference,
        verifier=prompt.verifier,
        metadata=json.loads(prompt.metadata),
        trajectory_id=place,
        against=prompt.against,
    )


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
