"""What happens to reviews beside the screen: into the tables, and what people edited is checked again at once."""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from dataengine.checking import check_missing
from dataengine.generate import run_id
from dataengine.reviewing import settle
from dataengine.runlog import RunLog
from schemas.errors import UserError
from schemas.recipe import CheckSpec
from warehouse.connect import connect
from warehouse.journal import Journal
from warehouse.store import Warehouse

# Seconds between commits: each costs five files. Whoever edited waits for what their text is found to be, so not then.
_EVERY = 10.0
# What an edit is checked by beside what its parent was: whether it kept the answer.
_KEPT_ANSWER = "same_answer"
# Edited texts that lack a verdict which the edited one has, of verifiers and filters; and all of their answers' check.
_UNCHECKED = """
WITH edits AS (
    SELECT DISTINCT trajectory_id AS parent, child_id AS child FROM reviews_current WHERE verdict = 'edit'
), wanted AS (
    SELECT child, v."check", v.kind FROM edits JOIN verdicts v ON v.trajectory_id = parent
    WHERE v.kind IN ('verifier', 'filter') AND v."check" NOT IN ('duplicate', 'contamination')
    UNION SELECT child, $kept_answer, 'filter' FROM edits
)
SELECT "check", list(child ORDER BY child) FROM wanted
WHERE child IN (SELECT trajectory_id FROM trajectories)
    AND (child, "check") NOT IN (SELECT trajectory_id, "check" FROM verdicts)
GROUP BY "check", kind ORDER BY kind DESC, "check"
"""


class Settler:
    """Settles what was submitted; `tick` is cheap when nothing was."""

    def __init__(self, warehouse: Warehouse, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._warehouse = warehouse
        self._journal = Journal(warehouse)
        self._clock = clock
        self._settled = -1
        self._at = -_EVERY
        self._tried: set[tuple[str, str]] = set()

    def close(self) -> None:
        """Closes the journal."""
        self._journal.close()

    def tick(self) -> bool:
        """Publishes and settles reviews that are new, and gives edited texts their verdicts; whether there were any.

        `duplicate` and `contamination` are left to the run of a recipe: they compare with all other replies, or with
        benchmarks that the recipe names.
        """
        if self._clock() - self._at < _EVERY and not self._journal.has_edits(self._settled):
            return False
        return self.finish()

    def finish(self) -> bool:
        """As `tick`, without waiting for more."""
        last = self._journal.last_review()
        if last == self._settled:
            return False
        settle(self._warehouse)
        # What was made of an edited text has the checks that the edited text gets.
        while self._check_edits():
            pass
        self._settled, self._at = last, self._clock()
        return True

    def _check_edits(self) -> bool:
        with connect(self._warehouse.path, only=("reviews_current", "verdicts", "trajectories")) as connection:
            missing = connection.execute(_UNCHECKED, {"kept_answer": _KEPT_ANSWER}).fetchall()
        # What a check has no opinion on it is not asked about again and again.
        wanted: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for check, children in missing:
            new = tuple(child for child in children if (child, check) not in self._tried)
            self._tried.update((child, check) for child in new)
            if new:
                wanted[new].append(check)
        for children, checks in wanted.items():
            if not self._check(checks, children) and len(checks) > 1:
                # One that is not to be had here keeps no other from its work.
                for check in checks:
                    self._check([check], children)
        return bool(wanted)

    def _check(self, checks: Sequence[str], children: Sequence[str]) -> bool:
        log = RunLog(self._warehouse, run_id(), "review", {}, [])
        try:
            check_missing(self._warehouse, log, "edited", [CheckSpec(check=check) for check in checks], children)
        except UserError as e:
            log.end("failed", {})
            if len(checks) == 1:
                print(f"edited texts are not checked by {checks[0]}: {e}", file=sys.stderr)
            return False
        log.end("finished", {})
        return True
