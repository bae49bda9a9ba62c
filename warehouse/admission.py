"""Which rows may still be written: the rules by which the first row of a key wins.

Each class remembers what a table holds and admits only rows that say something new. They see a record's columns, not
the table, so that a writer reads every file once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Protocol

from schemas.keys import storable
from schemas.records import Prompt, Record, Trajectory


class Admission(Protocol):
    """The memory of one writer about one table."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table that are remembered."""
        ...

    def absorb(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Remembers rows that are in the table: `self.columns` as equally long lists."""
        ...

    def admit(self, rows: Iterable[Record]) -> list[Record]:
        """Those of `rows` that may be written, numbered where the table numbers its rows; does not remember them."""
        ...


_DIGEST = 16
_UNKNOWN = (0, b"")


def _digest(values: Sequence[Any]) -> bytes:
    # 16 bytes a key instead of some 200: a table of ten million keys must fit in memory.
    joined = "\x1f".join("\x1e" if v is None else str(v) for v in values)
    return blake2b(storable(joined).encode("utf-8"), digest_size=_DIGEST).digest()


class KeyOnce:
    """The first row of a key wins, whatever the rest of the row says."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns
        self._seen: set[bytes] = set()

    def absorb(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Remembers the keys of stored rows."""
        self._seen.update(map(_digest, zip(*(columns[c] for c in self.columns), strict=True)))

    def admit(self, rows: Iterable[Record]) -> list[Record]:
        """Rows whose key is new, the first of each key."""
        new: dict[bytes, Record] = {}
        for row in rows:
            digest = _digest([getattr(row, c) for c in self.columns])
            if digest not in self._seen:
                new.setdefault(digest, row)
        return list(new.values())


_FAILED, _TRUNCATED, _COMPLETE = 0, 1, 2


def _quality(error: str | None, finish_reason: str | None) -> int:
    if error is not None:
        return _FAILED
    return _TRUNCATED if finish_reason == "length" else _COMPLETE


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is known of one trajectory: attempts so far, the best one's quality, the largest budget that was cut."""

    attempts: int = 0
    best: int = _FAILED
    budget: int = 0

    def after(self, attempt: int, error: str | None, finish_reason: str | None, max_tokens: int | None) -> "_Asked":
        quality = _quality(error, finish_reason)
        cut = max_tokens or 0 if quality == _TRUNCATED else 0
        return _asked(max(self.attempts, attempt), max(self.best, quality), max(self.budget, cut))

    def wants(self, max_tokens: int | None) -> bool:
        if self.attempts == 0 or self.best == _FAILED:
            return True
        return self.best == _TRUNCATED and (max_tokens or 0) > self.budget


@lru_cache(maxsize=4096)
def _asked(attempts: int, best: int, budget: int) -> _Asked:
    # Nearly all trajectories share a handful of these: one object for each saves a table of millions its memory.
    return _Asked(attempts, best, budget)


class Attempts:
    """A trajectory's attempts: a further one counts only while the ones before left something to be wished for.

    A complete reply is final. A truncated one is followed only by one with a larger budget, a failed one by anything.
    Two processes that ask the same question at once thus leave one row, the first to be committed.
    """

    columns = ("trajectory_id", "attempt", "error", "finish_reason", "max_tokens")

    def __init__(self) -> None:
        self._state: dict[bytes, _Asked] = {}

    def absorb(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Remembers stored attempts."""
        for trajectory_id, *values in zip(*(columns[c] for c in self.columns), strict=True):
            digest = _digest([trajectory_id])
            self._state[digest] = self._state.get(digest, _Asked()).after(*values)

    def admit(self, rows: Iterable[Record]) -> list[Record]:
        """Rows that add something, with `attempt` counted on from what is stored."""
        fresh: dict[bytes, _Asked] = {}
        admitted: list[Record] = []
        for row in rows:
            assert isinstance(row, Trajectory)
            digest = _digest([row.trajectory_id])
            asked = fresh.get(digest) or self._state.get(digest) or _Asked()
            if not asked.wants(row.max_tokens):
                continue
            attempt = asked.attempts + 1
            fresh[digest] = asked.after(attempt, row.error, row.finish_reason, row.max_tokens)
            admitted.append(row if row.attempt == attempt else row.model_copy(update={"attempt": attempt}))
        return admitted


class Revisions:
    """A prompt's rows of one source: a row that differs from all before is a further revision, any other is nothing.

    From all, not from the latest alone: a run that reads the uncorrected file again must not undo a correction. Only
    the source `resolution`, which is written by hand to choose between references, may go back to what it said before.
    """

    columns = ("prompt_id", "source", "revision", "against", "domain", "language", "license", "metadata")

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[int, bytes]] = {}

    def absorb(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Remembers the stored revisions of each prompt and source."""
        stored = zip(*(columns[c] for c in self.columns), strict=True)
        for prompt_id, source, revision, *rest in sorted(stored, key=lambda row: row[2]):
            digest = _digest([prompt_id, source])
            self._known[digest] = self._after(self._known.get(digest, _UNKNOWN), source, revision, _digest(rest))

    @staticmethod
    def _after(known: tuple[int, bytes], source: str, revision: int, content: bytes) -> tuple[int, bytes]:
        """The latest revision, and the digests of the contents that may not come again, one after the other."""
        latest, contents = known
        return max(latest, revision), content if source == "resolution" else contents + content

    def admit(self, rows: Iterable[Record]) -> list[Record]:
        """Rows that change a prompt, with `revision` counted on."""
        fresh: dict[bytes, tuple[int, bytes]] = {}
        admitted: list[Record] = []
        for row in rows:
            assert isinstance(row, Prompt)
            digest = _digest([row.prompt_id, row.source])
            content = _digest([row.against, row.domain, row.language, row.license, row.metadata])
            latest, contents = known = fresh.get(digest) or self._known.get(digest, _UNKNOWN)
            if any(contents.startswith(content, at) for at in range(0, len(contents), _DIGEST)):
                continue
            fresh[digest] = self._after(known, row.source, latest + 1, content)
            admitted.append(row if row.revision == latest + 1 else row.model_copy(update={"revision": latest + 1}))
        return admitted


def admission_for(record: type[Record]) -> Admission:
    """The rules of a table, by its record."""
    if record is Trajectory:
        return Attempts()
    if record is Prompt:
        return Revisions()
    return KeyOnce(record.KEYS)
