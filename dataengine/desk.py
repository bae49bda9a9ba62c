"""A reviewer's desk: tasks taken from queues, drafts, words that are said and taken back; everything but the screen."""

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataengine.desk_reading import Contents, Reader, Reply
from dataengine.queue_lists import Listed, QueueLists
from dataengine.reviewing import Taken, preference_of, review_of, withdrawal_of
from schemas.access import Person
from schemas.errors import InputError, UserError
from schemas.keys import key
from schemas.queue import Queue
from schemas.records import OF_PAIRS, Review, Role, Verdict, Word
from warehouse.connect import connect
from warehouse.journal import Conflict, Draft, Journal, Refused
from warehouse.standing import Item, Lease, Said
from warehouse.store import Warehouse

# Before an item comes a second time to the same person, they do at least so many others.
_BETWEEN = 10
_AHEAD = 32

__all__ = ["Conflict", "Desk", "NotYours", "Refused", "Task", "Words", "send"]


class NotYours(UserError):
    """Something that another person has, or that the role does not allow."""


@dataclass(frozen=True)
class Words:
    """What a person says of a task; `text` is the reply as they left it, `nonce` draws the review's id."""

    verdict: Word
    nonce: str
    text: str | None = None
    note: str = ""
    reasons: Sequence[str] = ()
    base: str | None = None


@dataclass(frozen=True)
class Task:
    """One item before one person, and all that they may see of it."""

    queue: Queue
    lease: Lease
    contents: Contents
    a_first: bool | None
    draft: Draft | None
    others: tuple[Review, ...]
    edited: Review | None
    """The latest edit that somebody else made of it."""

    @property
    def item(self) -> Item:
        """What it is of."""
        return self.lease.item

    @property
    def id(self) -> str:
        """`queue/item/attempt/repeat`: the task's name in drafts and acts."""
        return f"{self.queue.queue}/{self.item.item_id}/{self.item.attempt}/{self.lease.repeat}"

    @property
    def base(self) -> str | None:
        """What came of the edit that the person knows of: as their draft has it, else the latest there was."""
        if self.draft is not None:
            base = self.draft.body.get("base")
            return base if isinstance(base, str) else None
        return self.edited.child_id if self.edited else None

    @property
    def shown(self) -> tuple[Reply, ...]:
        """The replies from left to right."""
        replies = self.contents.replies
        return replies if self.a_first is not False else replies[::-1]

    def preference(self, side: str) -> Word:
        """What `left`, `right` or `tie` means, as the sides were drawn."""
        if side == "tie":
            return "tie"
        return "prefer_a" if (side == "left") == bool(self.a_first) else "prefer_b"


class Desk:
    """The desks of all people at one warehouse. One a process; its methods may be called by any thread."""

    def __init__(
        self, warehouse: Warehouse, queues: Mapping[str, Queue], *, clock: Callable[[], float] = time.time
    ) -> None:
        self.warehouse = warehouse
        self.queues = dict(queues)
        self.journal = Journal(warehouse, clock=clock)
        self.lists = QueueLists(warehouse, self.queues, self.journal)
        self.reader = Reader(warehouse)
        self._clock = clock

    def close(self) -> None:
        """Ends its threads and connections."""
        self.lists.close()
        self.reader.close()
        self.journal.close()

    # -- taking

    def allowed(self, person: Person) -> list[Queue]:
        """The queues that a person may work in."""
        return [q for q in self.queues.values() if _role_in(q, person) is not None]

    def take(self, name: str, person: Person) -> Task | None:
        """The task that the person has before them, or the next one; None when nothing waits for them.

        Now and then that is a gold item, or one that they did before: by how many they have done, so that a reload
        changes nothing. Raises NotYours, and UserError where the queue has no list.
        """
        queue = self._queue(name, person)
        listed = self.lists.of(name)
        if listed.problem:
            raise UserError(listed.problem)
        for items, looks, repeat in self._offers(queue, person, listed):
            lease = self.journal.take(
                name,
                items,
                person.name,
                looks=looks,
                repeat=repeat,
                # Of gold items nobody knows what others made, and everybody is given them.
                edited=queue.kind == "adjudicate" or looks is None,
                seconds=queue.lease,
            )
            if lease is not None:
                self._read_ahead(lease, queue, listed)
                return self._task(queue, lease)
        return None

    def _offers(self, queue: Queue, person: Person, listed: Listed) -> Iterable[tuple[Sequence[Item], int | None, int]]:
        with self.journal.standing() as standing:
            done = list(standing.done.get((queue.queue, person.name), {}).values())
        # What the person had begun comes first: their lease may have ended meanwhile.
        begun = [draft.item for draft in self.journal.drafts(person.name) if draft.queue == queue.queue]
        yield [item for item in begun if item not in self.lists.gold], queue.reviewers, 0
        draw = _share(queue.queue, person.name, str(len(done)))
        if draw < queue.gold and (gold := self._of_gold(queue)):
            yield sorted(gold, key=lambda item: _share(person.name, item.item_id)), None, 0
        elif queue.gold <= draw < queue.gold + queue.repeats and (again := _again(done)):
            yield again[:1], None, 1
        yield listed.items, queue.reviewers, 0

    def _of_gold(self, queue: Queue) -> list[Item]:
        return [item for item in self.lists.gold if bool(item.attempt) == (queue.rows == "attempts")]

    def _read_ahead(self, lease: Lease, queue: Queue, listed: Listed) -> None:
        """Has the next items read before they are asked for; people take from the head of one list."""
        ahead: list[Item] = []
        now, edited = self._clock(), queue.kind == "adjudicate"
        with self.journal.standing() as standing:
            for item in listed.items:
                if item != lease.item and standing.wants(
                    queue.queue, item, lease.reviewer, queue.reviewers, now, edited=edited
                ):
                    ahead.append(item)
                    if len(ahead) == _AHEAD:
                        break
        if self.reader.lacks(ahead[: _AHEAD // 2]):
            self.reader.read_ahead(ahead)

    def open(self, name: str, item: Item, person: Person) -> Task:
        """The task of an address, which has to be one that the person has before them; raises NotYours."""
        queue = self._queue(name, person)
        with self.journal.standing() as standing:
            lease = standing.held(name, item, self._clock()).get(person.name)
        if lease is None:
            raise NotYours("you do not have this item before you: take the next one of the queue")
        return self._task(queue, lease)

    def _task(self, queue: Queue, lease: Lease) -> Task:
        contents = self.reader.read(lease.item)
        draft = self.journal.draft(queue.queue, lease.item, lease.reviewer)
        others: tuple[Review, ...] = ()
        with self.journal.standing() as standing:
            blind = self._looks(queue, lease) is None
            edits = [] if blind else [s for s in standing.edits(lease.item) if s.reviewer != lease.reviewer]
            words = [w for w in standing.words.get(lease.item, {}).values() if w.reviewer != lease.reviewer]
        if queue.kind == "adjudicate":
            found = (self.journal.review(word.review_id) for word in words)
            others = tuple(review for review in found if review is not None)
        edited = self.journal.review(edits[-1].review_id) if edits else None
        return Task(
            queue,
            lease,
            contents,
            _a_first(lease) if contents.pair else None,
            draft,
            others,
            edited,
        )

    def renew(self, task: Task) -> bool:
        """Takes the lease for as long again; False when the place was taken by others meanwhile."""
        looks = self._looks(task.queue, task.lease)
        return self.journal.renew(task.lease, looks=looks, seconds=task.queue.lease) is not None

    # -- saying

    def save_draft(self, task: Task, body: dict[str, object], *, seen: int | None = None) -> int:
        """Keeps what a person has written, and their lease with it; see `Journal.save_draft`."""
        number = self.journal.save_draft(task.queue.queue, task.item, task.lease.reviewer, body, seen=seen)
        now = self._clock()
        with self.journal.standing() as standing:
            held = standing.held(task.queue.queue, task.item, now).get(task.lease.reviewer)
        if held is None or held.until - now < task.queue.lease / 2:
            self.renew(task)
        return number

    def submit(self, task: Task, person: Person, words: Words) -> Review | None:
        """Writes what a person says; None when it was written before, under the same nonce.

        Raises ValueError for what is no review, Refused and Conflict as `Journal.submit_taken`.
        """
        role = _role_in(task.queue, person)
        if role is None or person.name != task.lease.reviewer:
            raise NotYours("this is another person's task")
        taken = Taken(task.queue.queue, task.queue.guideline_version, role, task.lease.repeat)
        ident = key("review", task.id, person.name, words.nonce)
        unknown = [code for code in words.reasons if code not in task.queue.reasons]
        if unknown:
            raise ValueError(f"there is no reason {unknown[0]!r} in queue {task.queue.queue}")
        if words.verdict == "reject" and not words.reasons and not words.note.strip():
            raise ValueError("say why: pick a reason, or write a note")
        if task.contents.pair is not None:
            if words.verdict not in (*OF_PAIRS, "flag"):
                raise ValueError(f"{words.verdict} is not said of pairs")
            assert task.a_first is not None
            review = preference_of(
                task.contents.pair,
                person.name,
                words.verdict,
                a_first=task.a_first,
                attempt=task.contents.replies[0].trajectory.attempt,
                note=words.note,
                tags=words.reasons,
                review_id=ident,
                taken=taken,
            )
        else:
            if words.verdict in OF_PAIRS or words.verdict == "withdraw":
                raise ValueError(f"{words.verdict} is not said of a reply")
            if words.verdict == "edit" and not task.queue.edit:
                raise ValueError("replies of this queue are not edited")
            review = review_of(
                task.contents.replies[0].trajectory,
                person.name,
                words.verdict,
                text=words.text,
                note=words.note,
                tags=words.reasons,
                review_id=ident,
                taken=taken,
            )
        return self.journal.submit_taken(
            review, looks=self._looks(task.queue, task.lease), base=words.base or task.base
        )

    def skip(self, task: Task) -> None:
        """Passes a task over: the person is not given it again."""
        self.journal.release(task.queue.queue, task.item, task.lease.reviewer, skip=True)

    def undo(self, name: str, person: Person, review_id: str | None = None) -> Task | None:
        """Takes back what a person said in a queue, last or by its id, and gives them the task with their text again.

        None where others have taken the place meanwhile. What else they have before them of the queue goes back to it,
        and its draft stays. Raises Refused where there is nothing to be taken back.
        """
        queue = self._queue(name, person)
        said = self.said(name, person)
        if review_id is not None:
            said = [word for word in said if word.review_id == review_id]
        if not said:
            raise Refused("there is nothing of yours to take back in this queue")
        review = self.journal.review(said[-1].review_id)
        assert review is not None
        # One task at a time: else the next to be taken is the one that was before them.
        self.journal.release_all(person.name, name)
        looks = None if said[-1].item in self.lists.gold or review.repeat else queue.reviewers
        back = withdrawal_of(review)
        lease = self.journal.withdraw(back, of=review.review_id, looks=looks, seconds=queue.lease)
        if lease is None:
            return None
        body = {
            "text": review.text,
            "note": review.note,
            "reasons": review.tags,
            "verdict": review.verdict,
            "window": "",
        }
        self.journal.save_draft(name, lease.item, person.name, body)
        return self._task(queue, lease)

    def said(self, name: str, person: Person) -> list[Said]:
        """What a person has said in a queue, the last one last."""
        with self.journal.standing() as standing:
            return list(standing.done.get((name, person.name), {}).values())

    def edit_of(self, child_id: str) -> Review | None:
        """The review that edited a text into being."""
        return self.journal.edit_of(child_id)

    def verdicts_on(self, trajectory_id: str) -> list[Verdict]:
        """What verifiers and filters found of an edited text; empty until they did."""
        return self.reader.verdicts_on(trajectory_id)

    # -- what leads do

    def release(self, reviewer: str, name: str) -> int:
        """Gives back all that a person has from a queue; how many that were."""
        return self.journal.release_all(reviewer, name)

    def send(self, ids: Sequence[str], person: Person, name: str) -> int:
        """Puts trajectories (of a queue of pairs: pairs) into a queue; how many are new there. Raises InputError."""
        queue = self.queues.get(name)
        if queue is None:
            raise InputError(f"there is no queue {name}; there are: {', '.join(self.queues)}")
        count = self.journal.send(_items(self.warehouse.path, ids, pairs=queue.rows == "pairs"), person.name, name)
        self.lists.forget(name)
        return count

    def withdraw(self, reviews: Sequence[Review], person: Person) -> int:
        """Takes back, as a lead, what people said; how many of the reviews still stood."""
        if "lead" not in person.roles:
            raise NotYours("only a lead takes back what others said")
        count = 0
        for review in reviews:
            try:
                back = withdrawal_of(review).model_copy(update={"note": f"taken back by {person.name}"})
                self.journal.withdraw(back, of=review.review_id, looks=0)
                count += 1
            except Refused:
                continue  # taken back already
        return count

    def _queue(self, name: str, person: Person) -> Queue:
        queue = self.queues.get(name)
        if queue is None or _role_in(queue, person) is None:
            raise NotYours(f"there is no queue {name!r} for you")
        return queue

    def _looks(self, queue: Queue, lease: Lease) -> int | None:
        return None if lease.repeat or lease.item in self.lists.gold else queue.reviewers


def send(warehouse: Warehouse, ids: Sequence[str], person: Person, queue: str) -> int:
    """Puts trajectories into a queue by hand; how many are new there. Raises InputError for ids that are none."""
    with Journal(warehouse) as journal:
        return journal.send(_items(warehouse.path, ids, pairs=False), person.name, queue)


def _items(path: Path, ids: Sequence[str], *, pairs: bool) -> list[Item]:
    wanted = list(dict.fromkeys(ids))
    sql = (
        "SELECT pair_id, 0 FROM pairs WHERE pair_id IN (SELECT unnest(?::VARCHAR[]))"
        if pairs
        else "SELECT trajectory_id, attempt FROM trajectories_current "
        "WHERE error IS NULL AND trajectory_id IN (SELECT unnest(?::VARCHAR[]))"
    )
    with connect(path, only=("pairs", "trajectories_current")) as connection:
        found = {row[0]: Item(*row) for row in connection.execute(sql, [wanted]).fetchall()}
    if missing := [ident for ident in wanted if ident not in found]:
        what = "pair" if pairs else "trajectory with a reply"
        raise InputError(f"{len(missing)} of {len(wanted)} are no {what}: {missing[0][:64]!r}")
    return [found[ident] for ident in wanted]


def _role_in(queue: Queue, person: Person) -> Role | None:
    """As what a person works in a queue; None where they may not."""
    if queue.kind == "adjudicate":
        return "adjudicator" if "adjudicator" in person.roles else None
    return "annotator" if person.roles else None


def _again(done: Sequence[Said]) -> list[Item]:
    """What a person said long enough ago and was not given again, the oldest first."""
    repeated = {said.item for said in done if said.repeat}
    old = [said for said in done[:-_BETWEEN] if not said.repeat and said.verdict not in ("edit", "flag")]
    return [said.item for said in old if said.item not in repeated]


def _share(*parts: str) -> float:
    """A number from 0 to 1, drawn by hash."""
    return int.from_bytes(hashlib.sha256("\x1f".join(parts).encode()).digest()[:6]) / 2**48


def _a_first(lease: Lease) -> bool:
    """Which side `a` stands on: drawn for each person and pair, so that a reload shows the same."""
    return _share("side", lease.item.item_id, lease.reviewer, str(lease.repeat)) < 0.5
