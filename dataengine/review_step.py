"""The step `review`: takes in what people said, checks what they edited, and tells what still waits for a look."""

from collections.abc import Sequence
from dataclasses import dataclass

from dataengine.checking import Checked, check_missing
from dataengine.reviewing import Settled, settle
from dataengine.runlog import RunLog
from schemas.errors import ConfigError
from schemas.recipe import CheckSpec, Recipe, ReviewStep
from schemas.records import HUMAN
from warehouse.looks import Looked, edited_from, looked_at
from warehouse.store import Warehouse

_HOW = "`dataengine import FILE --as reviews`"


@dataclass(frozen=True)
class LookedAt:
    """What a review step found. `ids` are the trajectories that it is of, and what people's edits made of them."""

    step: ReviewStep
    ids: list[str]
    looked: Looked
    settled: Settled
    checked: Checked

    @property
    def text(self) -> str:
        """In words; the parts add up to the whole."""
        found = self.looked
        words = {"approved": found.approved, "rejected": found.rejected, "edited": found.edited,
                 "undecided": found.undecided}  # fmt: skip
        told = ", ".join(f"{count:,} {word}" for word, count in words.items() if count)
        if self.step.waive is not None:
            return f"waived: {self.step.waive}" + (f" ({told})" if told else "")
        wait = f"; {found.waiting:,} wait: {_HOW}" if found.waiting else ""
        return f"{found.total - found.waiting:,} of {found.total:,} looked at ({told or 'nothing yet'}){wait}"


def look_over_review(name: str, step: ReviewStep, recipe: Recipe) -> None:
    """Raises ConfigError for a required check that none of the trajectories would have passed."""
    for other in step.steps:
        given = {spec.check for asked in recipe.sampled(other) for spec in asked.check_specs}
        given |= {*recipe.judges, HUMAN}
        for check in step.require:
            if check not in given:
                raise ConfigError(f"steps.{name}: asks for the check {check!r}, which is none of the checks of {other}")


def look(
    warehouse: Warehouse,
    run: RunLog,
    label: str,
    step: ReviewStep,
    made: Sequence[tuple[Sequence[str], Sequence[CheckSpec]]],
) -> LookedAt:
    """Does what is left of a review step; `made` gives for each step that it is of the trajectories and their checks.

    Never waits for anybody: the next run counts what was said in between.
    """
    settled = settle(warehouse)
    if settled.worked:
        run.begin()
    checked, ids = Checked(), []
    for own, specs in made:
        edited = edited_from(warehouse.path, own)
        checked.merge(check_missing(warehouse, run, label, specs, edited))
        ids += [*own, *edited]
    ids = list(dict.fromkeys(ids))
    looked = looked_at(warehouse.path, ids, looks=step.looks, require=step.require)
    return LookedAt(step, ids, looked, settled, checked)
