"""Which trajectories a set of filters means: counted, paged by key, and searched for words within bounds of time."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from schemas.errors import QueryError
from warehouse.connect import connect
from warehouse.quoting import parquet
from warehouse.store import Warehouse
from warehouse.views import made_of, names_in

PAGE = 25
# A search stops after the files in which it has found so many matches, or at which it has taken so long.
MOST_MATCHES = 500
SECONDS = 1.2
_BATCH_BYTES = 24_000_000
MOST_WORDS = 8
_ID = re.compile("[0-9a-f]{64}")

# By name, what rows are ordered by (smallest first) and how; rows of equal keys are in the order of their ids.
_KEYS = {
    "newest": "-epoch_us(t.created_at)",
    "oldest": "epoch_us(t.created_at)",
    "longest": "-coalesce(t.completion_tokens, -1)",
    "shortest": "coalesce(t.completion_tokens, 1::BIGINT << 40)",
    "lowest score": "coalesce(v.score, 'infinity'::DOUBLE)",
    "highest score": "-coalesce(v.score, '-infinity'::DOUBLE)",
    "id": "0",
}
SORTS = tuple(_KEYS)
KEPT = ("all", "kept", "not")
TRUNCATED = ("all", "yes", "no")
OUTCOMES = ("pass", "fail", "undecided", "error", "pending")
_OF_TRAJECTORY = ("stage", "policy", "run", "step", "prompt")
_OF_PROMPT = ("source", "domain", "language")
_OF_VERDICT = ("check", "outcome", "reason")
NAMES = (*_OF_TRAJECTORY, *_OF_PROMPT, *_OF_VERDICT, "kept", "truncated", "text", "sort")


@dataclass(frozen=True)
class Filters:
    """What is asked for; an empty text asks for nothing. `outcome` pending is: no verdict of the check yet."""

    stage: str = ""
    policy: str = ""
    run: str = ""
    step: str = ""
    prompt: str = ""
    source: str = ""
    domain: str = ""
    language: str = ""
    check: str = ""
    outcome: str = ""
    reason: str = ""
    kept: str = "all"
    truncated: str = "all"
    text: str = ""
    sort: str = "newest"

    @classmethod
    def read(cls, given: Mapping[str, str]) -> "Filters":
        """The filters of an address. Raises QueryError, on one line that repeats nothing, for what none can be."""
        values = {name: given[name].strip() for name in NAMES if given.get(name, "").strip()}
        for name, value in values.items():
            if len(value) > 300 or not value.isprintable():
                raise QueryError(f"`{name}` in the address is no value of it: it has over 300 characters, or controls")
        for name, known in (("kept", KEPT), ("truncated", TRUNCATED), ("outcome", OUTCOMES), ("sort", SORTS)):
            if name in values and values[name] not in known:
                raise QueryError(f"`{name}` in the address is none of {', '.join(known)}")
        if "prompt" in values and not re.fullmatch("[0-9a-f]{4,64}", values["prompt"]):
            raise QueryError("`prompt` in the address is no id: give 4 to 64 hexadecimal characters")
        if "step" in values and not re.fullmatch("[0-9]{1,12}", values["step"]):
            raise QueryError("`step` in the address is no number")
        filters = cls(**values)
        if filters.sort.endswith("score") and not filters.check:
            raise QueryError("rows are sorted by the score of a check: choose the check, or sort otherwise")
        if filters.outcome == "pending" and not filters.check:
            raise QueryError("which verdict is pending is said by the check: choose one")
        if len(words_of(filters.text)) > MOST_WORDS:
            raise QueryError(f"search for at most {MOST_WORDS} words")
        return filters


@dataclass(frozen=True)
class Found:
    """Ids of one page in their order; `after` is where the next begins, None where there is none.

    `count` is how many rows there are in all, or for a search how many matches it knows of. Of a search `looked` of
    `files` files were looked through, the newest first, and `stopped` says why it ended before the last.
    """

    ids: list[str]
    count: int
    after: str | None
    seconds: float
    looked: int = 0
    files: int = 0
    stopped: str = ""


def words_of(text: str) -> list[str]:
    """The words of a search; several in double quotes are one.

    >>> words_of('wait "let me check"')
    ['wait', 'let me check']
    """
    found = (m[1] if m[1] is not None else m[2] for m in re.finditer(r'"([^"]+)"|([^\s"]+)', text))
    return list(dict.fromkeys(w for w in found if w.strip()))


def find(
    path: Path,
    filters: Filters,
    *,
    after: str | None = None,
    versions: Mapping[str, int] | None = None,
    page: int = PAGE,
    seconds: float = SECONDS,
    skip: int = 0,
) -> Found:
    """A page of the trajectories that the filters mean, the first one, or that after the trajectory `after`.

    A search for words is over reply and question, whatever their case; all have to be there. It leaves out the first
    `skip` files, which an earlier one has looked through. Raises QueryError for an `after` that is none of these rows.
    """
    if after is not None and not _ID.fullmatch(after):
        raise QueryError("`after` in the address is no whole id")
    began = time.monotonic()
    words = words_of(filters.text)
    source, parameters = _from(filters)
    where, wanted = _where(filters)
    parameters |= wanted
    rows_of = f"SELECT t.trajectory_id AS id, t.attempt, {_KEYS[filters.sort]} AS key FROM {source} WHERE {where}"
    only = names_in(rows_of) | ({"trajectories_current", "prompts"} if words else set())
    with connect(path, versions=versions, only=only) as connection:
        stopped, looked, files = "", 0, list[str]()
        if words or "verdicts" in made_of(only):
            # It is asked several times, and takes a while; without either that is over sooner than to write it down.
            connection.execute(f"CREATE TEMP TABLE candidates AS {rows_of}", parameters)
            rows_of, parameters = "FROM candidates", {}
        candidates = rows_of
        if words:
            files = _files(path, versions)
            stopped, looked = _search(connection, files[skip:], words, began + seconds)
            rows_of = "FROM candidates SEMI JOIN matches USING (id, attempt)"
        counted = connection.execute(f"SELECT count(*) FROM ({rows_of})", parameters).fetchone()
        following, at = "", {}
        if after is not None:
            place = connection.execute(
                f"SELECT key FROM ({candidates}) WHERE id = $after", {**parameters, "after": after}
            ).fetchone()
            if place is None:
                raise QueryError("`after` in the address is none of these rows: begin with the first page")
            following, at = "WHERE key > $at OR (key = $at AND id > $after)", {"after": after, "at": place[0]}
        rows = connection.execute(
            f"SELECT id FROM ({rows_of}) {following} ORDER BY key, id LIMIT {int(page) + 1}", {**parameters, **at}
        ).fetchall()
    ids = [row[0] for row in rows[:page]]
    more = ids[-1] if len(rows) > page else None
    return Found(ids, counted[0] if counted else 0, more, time.monotonic() - began, skip + looked, len(files), stopped)


def _from(filters: Filters) -> tuple[str, dict[str, Any]]:
    """The tables that the filters are about, as they stand in a FROM, with the parameters in it."""
    parts, parameters = ["trajectories_current t"], dict[str, Any]()
    if any(getattr(filters, name) for name in _OF_PROMPT):
        parts.append("JOIN prompts_current p ON p.prompt_id = t.prompt_id")
    about = {name: getattr(filters, name) for name in _OF_VERDICT if getattr(filters, name)}
    if about:
        pending = about.get("outcome") == "pending"
        if pending:
            about = {"check": filters.check}
        told = " AND ".join(f'"{name}" = ${name}' for name in about)
        parameters |= about
        given = f"(SELECT trajectory_id, any_value(score) AS score FROM verdicts_current WHERE {told} GROUP BY ALL)"
        if pending and not filters.sort.endswith("score"):
            parts.append(f"ANTI JOIN {given} v ON v.trajectory_id = t.trajectory_id")
        else:
            parts.append(f"{'LEFT ' * pending}JOIN {given} v ON v.trajectory_id = t.trajectory_id")
    if filters.kept != "all":
        join = "SEMI" if filters.kept == "kept" else "ANTI"
        kept = "(SELECT trajectory_id FROM trajectory_facts WHERE kept)"
        parts.append(f"{join} JOIN {kept} k ON k.trajectory_id = t.trajectory_id")
    return " ".join(parts), parameters


def _where(filters: Filters) -> tuple[str, dict[str, Any]]:
    conditions, parameters = ["true"], dict[str, Any]()
    columns = {"run": "run_id", "step": "step"}
    for name in _OF_TRAJECTORY:
        if value := getattr(filters, name):
            parameters[name] = int(value) if name == "step" else value
            told = "starts_with(t.prompt_id, $prompt)" if name == "prompt" else f"t.{columns.get(name, name)} = ${name}"
            conditions.append(told)
    for name in _OF_PROMPT:
        if value := getattr(filters, name):
            parameters[name] = value
            conditions.append(f"p.{name} = ${name}")
    if filters.truncated != "all":
        cut = "coalesce(t.finish_reason = 'length', false)"
        conditions.append(cut if filters.truncated == "yes" else f"NOT {cut}")
    return " AND ".join(conditions), parameters


def _files(path: Path, versions: Mapping[str, int] | None) -> list[str]:
    """The files of trajectories, those that were written last first."""
    files = Warehouse.open(path).files("trajectories", (versions or {}).get("trajectories"))[1]
    return sorted(files, key=lambda file: (-Path(file).stat().st_mtime_ns, file))


def _search(connection: duckdb.DuckDBPyConnection, files: list[str], words: list[str], until: float) -> tuple[str, int]:
    """Makes the table `matches` of candidates that have all words; why it stopped, and how many files it read.

    Files are read some at a time, so that a search among millions of texts answers while one waits.
    """
    sought = {f"w{i}": word.encode("utf-8", "replace").decode() for i, word in enumerate(words)}
    # All messages of a prompt, since a word may stand in any turn.
    said = "lower(array_to_string(list_transform(messages, lambda m: m.content), chr(10)))"
    has = ", ".join(f"bool_or(contains(said, lower(${name}))) AS {name}" for name in sought)
    connection.execute(
        f"CREATE TEMP TABLE asked AS SELECT * FROM (SELECT prompt_id, {has} FROM "
        f"(SELECT prompt_id, {said} AS said FROM prompts) GROUP BY prompt_id) WHERE {' OR '.join(sought)}",
        sought,
    )
    connection.execute("CREATE TEMP TABLE matches (id VARCHAR, attempt BIGINT)")
    everywhere = " AND ".join(f"(coalesce(a.{w}, false) OR contains(lower(t.text), lower(${w})))" for w in sought)
    looked, found = 0, 0
    for batch in _batches(files):
        added = connection.execute(
            f"INSERT INTO matches SELECT t.trajectory_id, t.attempt FROM {parquet(batch)} t "
            f"SEMI JOIN candidates c ON c.id = t.trajectory_id AND c.attempt = t.attempt "
            f"LEFT JOIN asked a ON a.prompt_id = t.prompt_id WHERE {everywhere}",
            sought,
        ).fetchone()
        looked, found = looked + len(batch), found + (int(added[0]) if added else 0)
        if looked < len(files) and (found >= MOST_MATCHES or time.monotonic() > until):
            return ("matches" if found >= MOST_MATCHES else "time"), looked
    return "", looked


def _batches(files: list[str]) -> list[list[str]]:
    batches: list[list[str]] = []
    held = _BATCH_BYTES
    for file in files:
        size = Path(file).stat().st_size
        if held + size > _BATCH_BYTES:
            batches.append([])
            held = 0
        batches[-1].append(file)
        held += size
    return batches
