"""What differs between two manifests in the mix, the checks and the code: field by field."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from schemas.mix import MixFile

# A source whose stage or domain differs is another source, not the same one changed.
_TELLS_APART = ("stage", "domain")


@dataclass(frozen=True)
class FieldChange:
    """A field that differs: `source 2.max_per_prompt`, from 2 to 4. None stands for a field that is not there."""

    field: str
    before: Any
    after: Any


def mix_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[FieldChange]:
    """The fields in which two mixes differ, as their manifests hold them.

    Sources are numbered from 1, as in `after`, and paired by what they have in common, so one put in at the front does
    not change all others. A source that only one of the mixes has is told whole. A mix of an older version is filled
    up with the defaults of this one, so a setting that came later is no difference.
    """
    was, now = _filled(before), _filled(after)
    sources = _source_changes(was.pop("sources", []), now.pop("sources", []))
    return [*changes(was, now), *sources]


def changes(before: Mapping[str, Any], after: Mapping[str, Any], within: str = "") -> list[FieldChange]:
    """The fields in which two mappings differ; of a mapping in both, the fields within it, by a dot."""
    return list(_changes(before, after, within))


def _changes(before: Mapping[str, Any], after: Mapping[str, Any], within: str) -> Iterator[FieldChange]:
    for name in dict.fromkeys([*before, *after]):
        was, now = before.get(name), after.get(name)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            yield from _changes(was, now, f"{within}{name}.")
        elif was != now:
            yield FieldChange(within + name, was, now)


def _filled(mix: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return MixFile.model_validate(mix).root.model_dump(mode="json")
    except ValidationError:
        return dict(mix)  # of a version that knew other fields: compared as it stands there


def _source_changes(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[FieldChange]:
    pairs = _paired(before, after)
    found = [
        FieldChange(f"source {i + 1} of the first", _said(source), None)
        for i, source in enumerate(before)
        if i not in pairs.values()
    ]
    for j, source in enumerate(after):
        if j not in pairs:
            found.append(FieldChange(f"source {j + 1}", None, _said(source)))
            continue
        i = pairs[j]
        name = f"source {j + 1}" if i == j else f"source {j + 1} (was {i + 1})"
        found += changes(before[i], source, f"{name}.")
    order = [pairs[j] + 1 for j in sorted(pairs)]
    if order != sorted(order):
        # What two sources would take, the first of them takes.
        found.append(FieldChange("order of sources", sorted(order), order))
    return found


def _paired(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """For sources of `after` the one of `before` that it was; those that have most fields in common first."""
    likeness = sorted(
        (-sum(source[name] == was.get(name) for name in source), abs(i - j), j, i)
        for i, was in enumerate(before)
        for j, source in enumerate(after)
        if all(source.get(name) == was.get(name) for name in _TELLS_APART)
    )
    pairs: dict[int, int] = {}
    for _, _, j, i in likeness:
        if j not in pairs and i not in pairs.values():
            pairs[j] = i
    return pairs


def _said(source: Mapping[str, Any]) -> dict[str, Any]:
    """A source without the fields that say nothing."""
    return {name: value for name, value in source.items() if value not in (None, [], {}, False, "")}
