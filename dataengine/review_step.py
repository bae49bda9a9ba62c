"""The step `review`: takes in what people said, checks what they edited, and tells what still waits for a look."""

from collections.abc import Sequence
from dataclasses import dataclass

from dataengine.checking import Checked, load_checks, pending, run_checks
from dataengine.reviewing import Settled, settle
from dataengine.runlog import RunLog
from schemas.recipe import CheckSpec, ReviewStep
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
        seen = {"approved": self.looked.approved, "rejected": self.looked.rejected, "edited": self.looked.edited,
                "undecided": self.looked.undecided}  # fmt: skip
        told = (
            "; " + ", ".join(f"{count:,} {word}" for word, count in seen.items() if count) if any(seen.values()) else ""
        )
        total, left = self.looked.total, self.looked.waiting
        if not total:
            return "there is nothing to look at"
        if self.step.waive is not None:
            return f"{left:,} of {total:,} go on without a look: {self.step.waive}{told}"
        if left:
            return f"{left:,} of {total:,} wait for a look: {_HOW}{told}"
        return f"all {total:,} were looked at{told}"


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
        checked.merge(_check(warehouse, run, label, specs, edited))
        ids += [*own, *edited]
    ids = list(dict.fromkeys(ids))
    looked = looked_at(warehouse.path, ids, looks=step.looks, require=step.require)
    return LookedAt(step, ids, looked, settled, checked)


def _check(warehouse: Warehouse, run: RunLog, label: str, specs: Sequence[CheckSpec], ids: Sequence[str]) -> Checked:
    """The checks that the edited ones went through, on what was made of them."""
    checks = load_checks(specs) if ids else []
    try:
        if not pending(warehouse, checks, ids):
            return Checked()
        run.begin()
        return run_checks(warehouse, run.run_id, checks, ids, label)
    finally:
        for check in checks:
            check.close()
